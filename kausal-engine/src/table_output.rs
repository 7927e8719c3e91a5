//! Writes the tables of a flush or a compaction: opens files, cuts them at the target size, makes them durable.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kausal_arena::Budget;
use kausal_index::{EntryRef, Kind};
use kausal_sstable::{TableOptions, TableSink, TableWriter};

use crate::blob::{BlobFile, BlobRef};
use crate::environment::Environment;
use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::{FileNumber, KeyspaceId, TableId};
use crate::manifest::TableMeta;
use crate::options::Options;
use crate::version::TableFile;
use crate::vfs::{OpenMode, VfsFile};

/// A file as the table writer wants it.
struct Sink(Arc<dyn VfsFile>);

impl TableSink for Sink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes).map(|_| ())
    }
}

/// A table being written.
struct Open {
    writer: TableWriter<Sink>,
    number: FileNumber,
    path: PathBuf,
    blobs: BTreeSet<FileNumber>,
}

/// Finished tables, and the bytes of their files.
pub(crate) type Written = (Vec<Arc<TableFile>>, u64);

/// What a table output works with.
pub(crate) struct Workplace<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) directory: &'a std::path::Path,
    pub(crate) options: &'a Options,
    /// Pays for the writer's buffers.
    pub(crate) budget: &'a Budget,
    /// Pays for what stays resident of the finished tables.
    pub(crate) tables_budget: &'a Budget,
    /// Hands out file numbers.
    pub(crate) new_number: &'a dyn Fn() -> FileNumber,
    /// Finds the blob file with a number.
    pub(crate) blob: &'a dyn Fn(FileNumber) -> Option<Arc<BlobFile>>,
}

/// Tables of one level, in order.
pub(crate) struct TableOutput<'a> {
    place: Workplace<'a>,
    level: u8,
    file_bytes_target: u64,
    open: Option<Open>,
    finished: Vec<Arc<TableFile>>,
    written: u64,
}

impl<'a> TableOutput<'a> {
    pub(crate) fn new(place: Workplace<'a>, level: u8, file_bytes_target: u64) -> Self {
        Self { place, level, file_bytes_target, open: None, finished: Vec::new(), written: 0 }
    }

    /// Adds the next entry. A table ends at its target size, but never between two versions of a key.
    pub(crate) fn add(&mut self, entry: EntryRef<'_>) -> Result<(), Error> {
        let full = self.open.as_ref().is_some_and(|open| {
            open.writer.estimated_file_bytes() >= self.file_bytes_target
                && open.writer.last_key() != entry.key
        });
        if full {
            self.end_table()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(self.place.open(self.level)?),
        };
        if entry.kind == Kind::Blob {
            let reference = BlobRef::from_bytes(entry.value)
                .ok_or_else(|| Error::corruption(&open.path, 0, Damage::BlobReference))?;
            open.blobs.insert(reference.file);
        }
        open.writer.add(entry).map_err(|error| Error::table_write(&open.path, error))
    }

    /// Ends the last table and makes the names durable. Returns the tables and their bytes.
    pub(crate) fn finish(mut self) -> Result<Written, Error> {
        self.end_table()?;
        if !self.finished.is_empty() {
            let directory = self.place.directory;
            self.place.environment.vfs.sync_dir(directory).map_err(Error::io("sync", directory))?;
        }
        Ok((std::mem::take(&mut self.finished), self.written))
    }

    fn end_table(&mut self) -> Result<(), Error> {
        let Some(Open { writer, number, path, blobs }) = self.open.take() else { return Ok(()) };
        let (Sink(file), summary) = writer.finish().map_err(|error| Error::table_write(&path, error))?;
        file.sync().map_err(Error::io("sync", &path))?;
        let properties = summary.properties;
        let meta = TableMeta {
            keyspace: properties.keyspace,
            level: self.level,
            file: number,
            table_id: summary.table,
            file_bytes: summary.file_bytes,
            entry_count: properties.entry_count,
            tombstone_count: properties.tombstone_count,
            key_min: properties.key_min,
            key_max: properties.key_max,
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
            place.tables_budget,
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

impl Workplace<'_> {
    fn open(&self, level: u8) -> Result<Open, Error> {
        let number = (self.new_number)();
        let path = file_path(self.directory, FileKind::Table(number));
        let table = TableId(self.environment.entropy.u64());
        let options = TableOptions {
            block_bytes: self.options.block_bytes,
            compression: self.options.compression_of(level),
            filter_bits_per_key: self.options.filter_bits_per_key,
            created_micros: self.environment.clock.unix_time().as_micros() as u64,
            output_bytes: (self.budget.ceiling() / 8).clamp(64 << 10, 1 << 20),
            ..TableOptions::default()
        };
        let vfs = &self.environment.vfs;
        let file = vfs.open(&path, OpenMode::CreateNew).map_err(Error::io("create", &path))?;
        let writer = TableWriter::new(Sink(file), table, KeyspaceId::DEFAULT, options, self.budget)
            .map_err(|error| Error::table_write(&path, error))?;
        Ok(Open { writer, number, path, blobs: BTreeSet::new() })
    }
}
