//! What is asked of a table format, and ours.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::{AllocError, Budget};
use kausal_index::{Cursor, EntryRef, Kind, SeqNo};
use kausal_sstable::{
    BlockCache, BlockCacheOptions, BlockHandle, BlockKind, BlockSource, CachedBlocks, Compression,
    FileNumber, KeyHash, KeyspaceId, MergingCursor, Table, TableError, TableFile, TableId, TableOptions,
    TableSink, TableSource, TableWriter,
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

/// A table format. Every failure of a file is a panic: a benchmark without its files is none.
pub trait Subject {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Writes a table of `entries` as a new file, and syncs it.
    fn write(&self, path: &Path, entries: &Entries, stored: Stored);

    /// Opens tables with a cache of `cache_bytes` for all of them together. Filters and indexes stay in memory.
    fn open(&self, tables: &[PathBuf], cache_bytes: usize) -> Box<dyn Opened>;
}

/// Tables that were opened.
pub trait Opened {
    /// Looks up each of `keys` in the only table, and answers what was found.
    fn look_up(&mut self, keys: &[Key]) -> Answers;

    /// Walks over all entries of all tables, in order.
    fn walk(&mut self) -> Answers;
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

    fn write(&self, path: &Path, entries: &Entries, stored: Stored) {
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
        let sink = Sink(File::create_new(path).expect("a new file"));
        let budget = Budget::unlimited("writer");
        let mut writer = TableWriter::new(sink, TableId(7), KeyspaceId::DEFAULT, options, &budget)
            .expect("the budget is unlimited");
        let seqno = SeqNo::new(1).expect("1 is one");
        for (key, value) in entries.iter() {
            let entry = EntryRef { key, seqno, kind: Kind::Put, value };
            writer.add(entry).expect("entries are sorted");
        }
        let (sink, _) = writer.finish().expect("the file takes it");
        sink.0.sync_all().expect("the file takes it");
    }

    fn open(&self, tables: &[PathBuf], cache_bytes: usize) -> Box<dyn Opened> {
        Box::new(Reader::new(tables, cache_bytes))
    }
}

/// Our tables and their cache.
pub struct Reader {
    cache: BlockCache,
    tables: Vec<Table>,
    budget: Budget,
}

impl Reader {
    /// Opens `tables` with a cache of `cache_bytes`.
    ///
    /// # Panics
    ///
    /// If one cannot be opened.
    pub fn new(tables: &[PathBuf], cache_bytes: usize) -> Self {
        let budget = Budget::unlimited("tables");
        let node = Budget::root("block cache", cache_bytes);
        let cache = BlockCache::new(&node, BlockCacheOptions::default()).expect("room for the directory");
        let open = |(number, path): (usize, &PathBuf)| {
            let source = Arc::new(Source(File::open(path).expect("it was written")));
            Table::open(source, FileNumber(number as u64 + 1), None, &budget).expect("a sound table")
        };
        let tables = tables.iter().enumerate().map(open).collect();
        Self { cache, tables, budget }
    }

    fn blocks(&self) -> CachedBlocks<&BlockCache> {
        CachedBlocks::new(&self.cache, &self.budget).expect("the budget is unlimited")
    }

    /// How many of `keys` the filters admit.
    ///
    /// # Panics
    ///
    /// If a table cannot be read.
    pub fn admitted(&self, keys: &[Key]) -> usize {
        let (mut blocks, table) = (self.blocks(), &self.tables[0]);
        let admits = |key: &&Key| {
            table.may_hold(&key[..], KeyHash::of(&key[..]), &mut blocks).expect("filters are resident")
        };
        keys.iter().filter(admits).count()
    }

    /// How many data blocks looking up `keys`, none of which is there, fetches.
    ///
    /// # Panics
    ///
    /// If a table cannot be read, or holds one of them.
    pub fn fetched(&self, keys: &[Key]) -> usize {
        let mut blocks = Counting { blocks: self.blocks(), fetched: 0 };
        for key in keys {
            let found = self.tables[0].get(key, SeqNo::MAX, &mut blocks).expect("a sound table");
            assert_eq!(found, None, "an absent key");
        }
        blocks.fetched
    }
}

impl Opened for Reader {
    fn look_up(&mut self, keys: &[Key]) -> Answers {
        let (mut blocks, table) = (self.blocks(), &self.tables[0]);
        let mut answers = Answers::default();
        for key in keys {
            if let Some(entry) = table.get(key, SeqNo::MAX, &mut blocks).expect("a sound table") {
                answers.add(key, entry.value);
            }
        }
        answers
    }

    fn walk(&mut self) -> Answers {
        let mut cursors: Vec<_> = self.tables.iter().map(|table| table.cursor_from(self.blocks())).collect();
        match cursors.len() {
            1 => walked(&mut cursors[0]),
            _ => walked(&mut MergingCursor::new(cursors)),
        }
    }
}

fn walked(cursor: &mut impl Cursor<Error = TableError>) -> Answers {
    let mut answers = Answers::default();
    let mut stands = cursor.seek_to_first().expect("a sound table");
    while stands {
        if let Some(entry) = cursor.entry() {
            answers.add(entry.key, entry.value);
        }
        stands = cursor.next().expect("a sound table");
    }
    answers
}

/// Counts what is fetched.
struct Counting<'c> {
    blocks: CachedBlocks<&'c BlockCache>,
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
