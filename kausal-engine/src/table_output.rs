//! Writes the tables of a flush or a compaction: opens files, cuts them at the target size, makes them durable.
//!
//! Range tombstones go with the entries: a table gets those fragments that lie between the border before it and its own, cut
//! at both.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kausal_arena::Budget;
use kausal_index::{EntryRef, Kind, SeqNo};
use kausal_sstable::{TableOptions, TableSink, TableWriter};

use crate::blob::{BlobFile, BlobRef};
use crate::environment::Environment;
use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::{FileNumber, KeyspaceId, TableId};
use crate::job_memory::JobMemory;
use crate::manifest::TableMeta;
use crate::memory::TableMemory;
use crate::options::Options;
use crate::planted::is_planted;
use crate::range_fragments::RangeFragments;
use crate::same_key::is_same_key;
use crate::table_syncs::TableSyncs;
use crate::version::TableFile;
use crate::vfs::{OpenMode, Vfs, VfsFile};

/// A file as the table writer wants it.
struct Sink {
    file: Arc<dyn VfsFile>,
    /// Of a file that is written over, how far that has come.
    over: Option<u64>,
}

impl TableSink for Sink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let offset = match &mut self.over {
            None => self.file.append(bytes)?,
            Some(end) => {
                self.file.write_at(bytes, *end)?;
                std::mem::replace(end, *end + bytes.len() as u64)
            }
        };
        // The disk works while the next blocks are built, and the sync at the end is short.
        self.file.begin_writeback(offset, bytes.len() as u64);
        Ok(())
    }
}

/// A table being written.
struct Open {
    writer: TableWriter<Sink>,
    number: FileNumber,
    path: PathBuf,
    blobs: BTreeSet<FileNumber>,
    hidden_count: u64,
}

/// Finished tables, and the bytes of their files.
pub(crate) type Written = (Vec<Arc<TableFile>>, u64);

/// What a table output works with.
#[derive(Clone, Copy)]
pub(crate) struct Workplace<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) directory: &'a std::path::Path,
    pub(crate) options: &'a Options,
    /// Has the writer's buffers.
    pub(crate) memory: &'a JobMemory,
    /// Pays for what stays resident of the finished tables.
    pub(crate) tables: &'a TableMemory,
    /// Hands out file numbers.
    pub(crate) new_number: &'a dyn Fn() -> FileNumber,
    /// Finds the blob file with a number.
    pub(crate) blob: &'a dyn Fn(FileNumber) -> Option<Arc<BlobFile>>,
    /// Hears how far the work is.
    pub(crate) pace: &'a dyn Pace,
}

/// Hears how far a job is, and may let it wait.
pub(crate) trait Pace {
    /// So many more entries were read, and so many bytes of them were put into a table.
    fn step(&self, entries: u64, bytes: u64);
}

/// Nobody hears.
pub(crate) struct NoPace;

impl Pace for NoPace {
    fn step(&self, _entries: u64, _bytes: u64) {}
}

/// Entries and bytes between two steps.
const STEP_ENTRIES: u64 = 256;
const STEP_BYTES: u64 = 32 << 10;

/// Which tables are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) level: u8,
    /// Length from which on a file ends.
    pub(crate) file_bytes: u64,
}

/// Tables of one level, in order.
pub(crate) struct TableOutput<'a> {
    place: Workplace<'a>,
    target: Target,
    fragments: RangeFragments,
    /// Where the last table's range ended.
    border: Vec<u8>,
    open: Option<Open>,
    /// Where tables are synced, if not by the thread that writes them.
    syncs: Option<TableSyncs>,
    finished: Vec<Arc<TableFile>>,
    written: u64,
    /// Entries and bytes since the last step.
    since: (u64, u64),
}

impl<'a> TableOutput<'a> {
    pub(crate) fn new(place: Workplace<'a>, target: Target, fragments: RangeFragments) -> Self {
        let (border, finished) = (Vec::new(), Vec::new());
        Self {
            place,
            target,
            fragments,
            border,
            open: None,
            syncs: None,
            finished,
            written: 0,
            since: (0, 0),
        }
    }

    /// Lets tables be synced on the lane of flushes while the next one is written. For whoever keeps flushes away: else one waits
    /// for the other.
    pub(crate) fn sync_behind(mut self) -> Self {
        self.syncs = Some(TableSyncs::new(&self.place.environment.scheduler));
        self
    }

    /// The range tombstones that go with the entries.
    pub(crate) fn fragments(&self) -> &RangeFragments {
        &self.fragments
    }

    /// Adds the next entry. A table ends at its target size, but never between two versions of a key.
    pub(crate) fn add(&mut self, entry: EntryRef<'_>) -> Result<(), Error> {
        let is_older_version = self.open.as_ref().is_some_and(|open| {
            open.writer.entry_count() > 0 && is_same_key(open.writer.last_key(), entry.key)
        });
        let full = self.open.as_ref().is_some_and(|open| {
            !is_older_version && open.writer.estimated_file_bytes() >= self.target.file_bytes
        });
        if full {
            self.end_table(Some(entry.key))?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(self.place.open(self.target)?),
        };
        let covering = self.fragments.covering(entry.key, SeqNo::MAX);
        let is_hidden = is_older_version || covering.is_some_and(|seqno| seqno > entry.seqno);
        open.hidden_count += u64::from(is_hidden);
        if entry.kind == Kind::Blob {
            let reference = BlobRef::from_bytes(entry.value)
                .ok_or_else(|| Error::corruption(&open.path, 0, Damage::BlobReference))?;
            open.blobs.insert(reference.file);
        }
        self.since.1 += (entry.key.len() + entry.value.len()) as u64;
        open.writer.add(entry).map_err(|error| Error::table_write(&open.path, error))
    }

    /// Counts an entry that was read, whether it was added or not.
    #[inline]
    pub(crate) fn step(&mut self) {
        self.since.0 += 1;
        let (entries, bytes) = self.since;
        if entries >= STEP_ENTRIES || bytes >= STEP_BYTES {
            self.since = (0, 0);
            self.place.pace.step(entries, bytes);
        }
    }

    /// Ends the last table and makes the names durable. Returns the tables and their bytes.
    pub(crate) fn finish(mut self) -> Result<Written, Error> {
        self.end_table(None)?;
        self.syncs.as_ref().map_or(Ok(()), TableSyncs::finish)?;
        if !self.finished.is_empty() && !is_planted("forget_directory_sync") {
            let directory = self.place.directory;
            self.place.environment.vfs.sync_dir(directory).map_err(Error::io("sync", directory))?;
        }
        Ok((std::mem::take(&mut self.finished), self.written))
    }

    /// Ends the open table, if there is one, before the key `upper`, or as the last.
    fn end_table(&mut self, upper: Option<&[u8]>) -> Result<(), Error> {
        if self.open.is_none() && self.fragments.between(&self.border, upper).next().is_some() {
            self.open = Some(self.place.open(self.target)?);
        }
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut unnamed = Unnamed { vfs: &*self.place.environment.vfs, path: Some(open.path.clone()) };
        self.finish_table(open, upper)?;
        unnamed.path = None;
        if let Some(upper) = upper {
            upper.clone_into(&mut self.border);
        }
        Ok(())
    }

    /// Writes what comes behind the entries of a table, and opens it to be read.
    fn finish_table(&mut self, open: Open, upper: Option<&[u8]>) -> Result<(), Error> {
        let Open { mut writer, number, path, blobs, hidden_count } = open;
        let mut bounds: Option<(Vec<u8>, &[u8])> = None;
        for range in self.fragments.between(&self.border, upper) {
            if is_planted("lose_range_tombstone_at_border")
                && !self.border.is_empty()
                && range.start == self.border
            {
                continue;
            }
            writer.add_range_tombstone(range).map_err(|error| Error::table_write(&path, error))?;
            bounds.get_or_insert_with(|| (range.start.to_vec(), range.end)).1 = range.end;
        }
        let bounds = bounds.map(|(start, end)| (start, end.to_vec()));
        let finished = writer.finish_with_memory();
        let (Sink { file, over }, summary, memory) =
            finished.map_err(|error| Error::table_write(&path, error))?;
        self.place.memory.give_writer(memory);
        if over.is_some() && !is_planted("keep_rest_of_spare") {
            file.truncate(summary.file_bytes).map_err(Error::io("cut", &path))?;
        }
        if !is_planted("skip_sync") {
            match &self.syncs {
                Some(syncs) => syncs.begin(file, &path),
                None => file.sync().map_err(Error::io("sync", &path))?,
            }
        }
        let properties = summary.properties;
        let (key_min, key_max, key_max_is_excluded) =
            widen((properties.entry_count > 0).then_some((properties.key_min, properties.key_max)), bounds);
        let meta = TableMeta {
            keyspace: properties.keyspace,
            level: self.target.level,
            file: number,
            table_id: summary.table,
            file_bytes: summary.file_bytes,
            entry_count: properties.entry_count,
            tombstone_count: properties.tombstone_count,
            range_tombstone_count: properties.range_tombstone_count,
            hidden_count,
            key_min,
            key_max,
            key_max_is_excluded,
            seqno_min: properties.seqno_min,
            seqno_max: properties.seqno_max,
            blobs: blobs.iter().copied().collect(),
        };
        let place = &self.place;
        let blobs = blobs.into_iter().filter_map(|number| (place.blob)(number)).collect();
        let vfs = &place.environment.vfs;
        let table = TableFile::open(
            vfs,
            place.directory,
            meta,
            blobs,
            place.tables,
            place.options.table_open_mode(),
        )?;
        self.finished.push(Arc::new(table));
        self.written += summary.file_bytes;
        Ok(())
    }
}

impl Drop for TableOutput<'_> {
    /// Of an output that was not finished nothing is named by anybody: its files go at once.
    fn drop(&mut self) {
        self.finished.iter().for_each(|file| file.mark_obsolete());
        if let Some(open) = self.open.take() {
            drop(open.writer);
            // A file that stays is removed by the next open.
            let _ = self.place.environment.vfs.remove(&open.path);
        }
    }
}

/// A file that is neither open nor finished, so that nobody else knows of it: it goes, even in a panic, unless its path is taken.
struct Unnamed<'a> {
    vfs: &'a dyn Vfs,
    path: Option<PathBuf>,
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = self.vfs.remove(path);
        }
    }
}

impl Workplace<'_> {
    fn open(&self, target: Target) -> Result<Open, Error> {
        let number = (self.new_number)();
        let path = file_path(self.directory, FileKind::Table(number));
        let table = TableId(self.environment.entropy.u64());
        let options = TableOptions {
            block_bytes: self.options.block_bytes,
            compression: self.options.compression_of(target.level),
            filter_bits_per_key: self.options.filter_bits_per_key,
            created_micros: self.environment.clock.unix_time().as_micros() as u64,
            output_bytes: output_bytes(self.memory.budget()),
            ..TableOptions::default()
        };
        let vfs = &self.environment.vfs;
        let spare = self.tables.spares().take(&**vfs, self.directory, &path);
        let sink = match spare {
            Some(file) => Sink { file, over: Some(0) },
            None => {
                let file = vfs.open(&path, OpenMode::CreateNew).map_err(Error::io("create", &path))?;
                Sink { file, over: None }
            }
        };
        let memory = self.memory.take_writer();
        let writer = TableWriter::with_memory(sink, table, target.keyspace, options, None, memory);
        let writer = writer.map_err(|error| {
            // Nobody else knows of the file.
            let _ = vfs.remove(&path);
            Error::table_write(&path, error)
        })?;
        Ok(Open { writer, number, path, blobs: BTreeSet::new(), hidden_count: 0 })
    }
}

/// Bytes that a table's writer gathers before it writes them, with the memory of `budget`.
pub(crate) fn output_bytes(budget: &Budget) -> usize {
    (budget.ceiling() / 8).clamp(64 << 10, 1 << 20)
}

/// First and last key of a table, from those of its entries and the range of its range tombstones; and whether the last one
/// is only the end of that range.
fn widen(keys: Option<(Vec<u8>, Vec<u8>)>, ranges: Option<(Vec<u8>, Vec<u8>)>) -> (Vec<u8>, Vec<u8>, bool) {
    match (keys, ranges) {
        (Some((first, last)), Some((start, end))) if end > last => (first.min(start), end, true),
        (Some((first, last)), Some((start, _))) => (first.min(start), last, false),
        (Some((first, last)), None) => (first, last, false),
        (None, Some((start, end))) => (start, end, true),
        (None, None) => unreachable!("a table writer finishes no empty table"),
    }
}
