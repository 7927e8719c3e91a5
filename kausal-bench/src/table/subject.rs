//! What is asked of a table format, and ours.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::{AllocError, Budget};
use kausal_index::{Cursor, EntryRef, Kind, SeqNo};
use kausal_sstable::{
    BlockCache, BlockCacheOptions, BlockHandle, BlockKind, BlockSource, BufferPool, CachedBlocks,
    Compression, FileNumber, KeyHash, KeyspaceId, LookupBlocks, MergingCursor, Table, TableError, TableFile,
    TableId, TableOptions, TableSink, TableSource, TableWriter,
};

use super::data::{Answers, Entries, Key};

/// The same for everybody.
pub const BLOCK_BYTES: usize = 4 << 10;
/// See [`BLOCK_BYTES`].
pub const BITS_PER_KEY: u32 = 10;
/// See [`BLOCK_BYTES`]. What ours has is part of its format.
pub const RESTART_INTERVAL: u8 = 16;

/// How data blocks are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As they are.
    Plain,
    /// Compressed with LZ4.
    Lz4,
}

impl Stored {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Lz4];

    /// As it stands in the names of workloads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lz4 => "lz4",
        }
    }
}

/// A table format.
pub trait Subject {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Writes a table of `entries` as a new file, and syncs it.
    ///
    /// # Errors
    ///
    /// What the format or the system answers.
    fn write(&self, path: &Path, entries: &Entries, stored: Stored) -> io::Result<()>;

    /// Opens tables with a cache of `cache_bytes` for all of them together. Filters and indexes stay in memory.
    ///
    /// # Errors
    ///
    /// What the format or the system answers.
    fn open(&self, tables: &[PathBuf], cache_bytes: usize) -> io::Result<Box<dyn Opened>>;
}

/// Tables that were opened.
pub trait Opened {
    /// Looks up each of `keys` in the only table, and answers what was found.
    ///
    /// # Errors
    ///
    /// What the format or the system answers.
    fn look_up(&mut self, keys: &[Key]) -> io::Result<Answers>;

    /// Walks over all entries of all tables, in order.
    ///
    /// # Errors
    ///
    /// What the format or the system answers.
    fn walk(&mut self) -> io::Result<Answers>;
}

/// kausal-sstable.
pub struct Ours;

/// Its name.
pub const OURS: &str = "kausal-sstable";

struct Sink(File);

impl TableSink for Sink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, bytes)
    }
}

struct Source(File);

impl TableSource for Source {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Subject for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    fn write(&self, path: &Path, entries: &Entries, stored: Stored) -> io::Result<()> {
        let compression = match stored {
            Stored::Plain => Compression::None,
            Stored::Lz4 => Compression::Lz4,
        };
        let options = TableOptions {
            block_bytes: BLOCK_BYTES,
            filter_bits_per_key: BITS_PER_KEY,
            compression,
            ..TableOptions::default()
        };
        let sink = Sink(File::create_new(path)?);
        let budget = Budget::unlimited("writer");
        let mut writer = TableWriter::new(sink, TableId(7), KeyspaceId::DEFAULT, options, &budget)
            .map_err(io::Error::other)?;
        let seqno = SeqNo::new(1).expect("1 is one");
        for (key, value) in entries.iter() {
            let entry = EntryRef { key, seqno, kind: Kind::Put, value };
            writer.add(entry).map_err(io::Error::other)?;
        }
        let (sink, _) = writer.finish().map_err(io::Error::other)?;
        sink.0.sync_all()
    }

    fn open(&self, tables: &[PathBuf], cache_bytes: usize) -> io::Result<Box<dyn Opened>> {
        Ok(Box::new(Reader::new(tables, cache_bytes)?))
    }
}

/// Our tables and their cache.
pub struct Reader {
    cache: BlockCache,
    tables: Vec<Table>,
    buffers: BufferPool,
}

impl Reader {
    /// Opens `tables` with a cache of `cache_bytes`.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if one cannot be opened, or the cache is too small for its directory.
    pub fn new(tables: &[PathBuf], cache_bytes: usize) -> io::Result<Self> {
        let budget = Budget::unlimited("tables");
        let node = Budget::root("block cache", cache_bytes);
        let cache = BlockCache::new(&node, BlockCacheOptions::default()).map_err(io::Error::other)?;
        let open = |(number, path): (usize, &PathBuf)| {
            let source = Arc::new(Source(File::open(path)?));
            Table::open(source, FileNumber(number as u64 + 1), None, &budget).map_err(io::Error::other)
        };
        let tables = tables.iter().enumerate().map(open).collect::<io::Result<_>>()?;
        Ok(Self { cache, tables, buffers: BufferPool::new(&budget) })
    }

    fn blocks(&self) -> CachedBlocks<&BlockCache, &BufferPool> {
        CachedBlocks::new(&self.cache, &self.buffers)
    }

    /// How many of `keys` the filters admit.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if a table cannot be read.
    pub fn admitted(&self, keys: &[Key]) -> io::Result<usize> {
        let (mut blocks, table) = (self.blocks(), &self.tables[0]);
        let mut count = 0;
        for key in keys {
            let admits = table.may_hold(&key[..], KeyHash::of(&key[..]), &mut blocks);
            count += usize::from(admits.map_err(io::Error::other)?);
        }
        Ok(count)
    }

    /// How many data blocks looking up `keys`, none of which is there, fetches.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if a table cannot be read.
    ///
    /// # Panics
    ///
    /// If it holds one of them.
    pub fn fetched(&self, keys: &[Key]) -> io::Result<usize> {
        let mut blocks = Counting { blocks: self.blocks(), fetched: 0 };
        for key in keys {
            let found = self.tables[0].get(key, SeqNo::MAX, &mut blocks).map_err(io::Error::other)?;
            assert_eq!(found, None, "an absent key");
        }
        Ok(blocks.fetched)
    }
}

impl Opened for Reader {
    fn look_up(&mut self, keys: &[Key]) -> io::Result<Answers> {
        let table = &self.tables[0];
        let mut answers = Answers::default();
        // As the engine looks keys up: peeking at blocks.
        self.cache.peek(|peek| {
            let mut blocks = LookupBlocks::new(&self.cache, peek, &self.buffers);
            for key in keys {
                if let Some(entry) = table.get(key, SeqNo::MAX, &mut blocks).map_err(io::Error::other)? {
                    answers.add(key, entry.value);
                }
            }
            io::Result::Ok(())
        })?;
        Ok(answers)
    }

    fn walk(&mut self) -> io::Result<Answers> {
        let cursors = self.tables.iter().map(|table| table.cursor_from(self.blocks()));
        let mut cursors: Vec<_> = cursors.collect();
        let walked = match cursors.len() {
            1 => walked(&mut cursors[0]),
            _ => walked(&mut MergingCursor::new(cursors)),
        };
        walked.map_err(io::Error::other)
    }
}

/// As the engine walks.
fn walked(cursor: &mut impl Cursor<Error = TableError>) -> Result<Answers, TableError> {
    let mut answers = Answers::default();
    if cursor.seek_to_first()? {
        cursor.walk(|entry| {
            answers.add(entry.key, entry.value);
            true
        })?;
    }
    Ok(answers)
}

/// Counts what is fetched.
struct Counting<'c> {
    blocks: CachedBlocks<&'c BlockCache, &'c BufferPool>,
    fetched: usize,
}

impl BlockSource for Counting<'_> {
    fn fetch(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        self.fetched += 1;
        self.blocks.fetch(file, handle, kind, ahead)
    }

    fn bytes(&self) -> &[u8] {
        self.blocks.bytes()
    }

    fn forget(&mut self) {
        self.blocks.forget();
    }

    fn sibling(&self) -> Result<Self, AllocError> {
        Ok(Self { blocks: self.blocks.sibling()?, fetched: 0 })
    }
}
