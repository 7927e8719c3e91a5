//! Checks a closed database without changing it: manifest, every table, every log, every blob file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use kausal_arena::Budget;
use kausal_sstable::Table;

use crate::batch::{ChangeKind, ChangeRef};
use crate::blob::{BlobReader, BlobRef};
use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::manifest::{ManifestState, TableMeta, read_manifest};
use crate::memory::TableMemory;
use crate::recovery::files_of;
use crate::replay::plan_logs;
use crate::version::TableFile;
use crate::vfs::{OpenMode, Vfs};
use crate::wal::{LogScan, Scanned};

/// What a check went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Tables read whole.
    pub table_count: u64,
    /// Data blocks of them.
    pub block_count: u64,
    /// Entries of them.
    pub entry_count: u64,
    /// Logs read whole.
    pub log_count: u64,
    /// Batches in them.
    pub batch_count: u64,
    /// Blob files read whole.
    pub blob_count: u64,
    /// Bytes behind the last good record of a log or manifest: the torn tail of a crash, no damage.
    pub torn_bytes: u64,
    /// Files that nothing names; the next open removes them.
    pub unnamed_file_count: u64,
}

/// Reads everything in the database at `directory` and checks every promise of its formats. Takes the database's lock,
/// writes nothing, holds at most `memory_budget` bytes.
///
/// # Errors
///
/// The first [`Error::Corruption`] with its file and offset; [`Error::Locked`], [`Error::NotFound`], [`Error::Io`].
pub fn check(vfs: &Arc<dyn Vfs>, directory: &Path, memory_budget: usize) -> Result<CheckReport, Error> {
    if vfs.list(directory).is_err() {
        return Err(Error::NotFound { path: directory.to_owned() });
    }
    let lock_path = file_path(directory, FileKind::Lock);
    let _lock = vfs.lock(&lock_path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked { path: directory.to_owned() },
        _ => Error::io("lock", &lock_path)(error),
    })?;
    let state = read_manifest(&**vfs, directory)?;
    let Some(state) = state else { return Err(Error::NotFound { path: directory.to_owned() }) };
    let budget = Budget::root("check", memory_budget);
    let mut check = Check { vfs, directory, budget, blobs: BTreeMap::new(), report: CheckReport::default() };
    check.report.torn_bytes = state.dropped;
    check.levels(&state)?;
    for meta in state.tables.values() {
        check.table(meta)?;
    }
    let files = files_of(&**vfs, directory)?;
    check.logs(&state, &files)?;
    check.blob_files()?;
    check.count_unnamed(&state, &files);
    Ok(check.report)
}

struct Check<'a> {
    vfs: &'a Arc<dyn Vfs>,
    directory: &'a Path,
    budget: Budget,
    /// Every blob file that an entry refers to.
    blobs: BTreeMap<FileNumber, BlobRef>,
    report: CheckReport,
}

impl Check<'_> {
    /// Below level 0 no two tables of a level share a key.
    fn levels(&self, state: &ManifestState) -> Result<(), Error> {
        let mut tables: Vec<&TableMeta> = state.tables.values().filter(|table| table.level > 0).collect();
        let place = |table: &&TableMeta| (table.keyspace, table.level);
        tables.sort_by(|left, right| (place(left), &left.key_min).cmp(&(place(right), &right.key_min)));
        for pair in tables.windows(2) {
            if place(&pair[0]) == place(&pair[1]) && !pair[0].ends_before(&pair[1].key_min) {
                let path = file_path(self.directory, FileKind::Table(pair[1].file));
                return Err(Error::corruption(&path, 0, Damage::LevelOverlap));
            }
        }
        Ok(())
    }

    fn table(&mut self, meta: &TableMeta) -> Result<(), Error> {
        let file = TableFile::open(
            self.vfs,
            self.directory,
            meta.clone(),
            Vec::new(),
            &TableMemory::new(self.budget.clone(), None, 1),
            OpenMode::Read,
        )?;
        let properties = file.table().properties();
        let agrees = properties.entry_count == meta.entry_count
            && properties.tombstone_count == meta.tombstone_count
            && properties.range_tombstone_count == meta.range_tombstone_count
            && properties.keyspace == meta.keyspace
            && is_inside(file.table(), meta)
            && (properties.seqno_min, properties.seqno_max) == (meta.seqno_min, meta.seqno_max);
        if !agrees {
            let offset = file.table().footer().properties.offset;
            return Err(Error::corruption(file.path(), offset, Damage::TableMeta));
        }
        let mut malformed = false;
        let blobs = &mut self.blobs;
        let verified = file.table().verify(&self.budget, |value| match BlobRef::from_bytes(value) {
            Some(reference) if meta.blobs.contains(&reference.file) => {
                blobs.insert(reference.file, reference);
            }
            _ => malformed = true,
        });
        let verified = verified.map_err(|error| Error::table(file.path(), error))?;
        if malformed {
            return Err(Error::corruption(file.path(), 0, Damage::BlobReference));
        }
        self.report.table_count += 1;
        self.report.block_count += verified.block_count;
        self.report.entry_count += verified.entry_count;
        Ok(())
    }

    fn logs(&mut self, state: &ManifestState, files: &[FileKind]) -> Result<(), Error> {
        let scan = |number, extent| {
            let path = file_path(self.directory, FileKind::Log(number));
            let file = self.vfs.open(&path, OpenMode::Read).map_err(Error::io("open", &path))?;
            let charge = self.budget.reserve(64 << 10)?;
            LogScan::open(file, &path, number, state.current.database_id, extent, false, charge)
        };
        let plans = plan_logs(self.directory, state, files, false, scan)?;
        for plan in plans.logs {
            let mut log = scan(plan.number, plan.extent)?;
            self.report.log_count += 1;
            let end = loop {
                match log.next()? {
                    Scanned::Batch(batch) => {
                        self.report.batch_count += 1;
                        let is_blob = |change: &ChangeRef<'_>| change.kind == ChangeKind::Blob;
                        // What tables hold of the log, they name; what they do not name any more is gone, with its file.
                        let changes = batch.changes().filter(|(seqno, _)| *seqno > plan.flushed);
                        let changes = changes.map(|(_, change)| change);
                        for change in changes.filter(is_blob).filter(|change| state.has(change.keyspace)) {
                            if let Some(reference) = BlobRef::from_bytes(change.value) {
                                self.blobs.insert(reference.file, reference);
                            }
                        }
                    }
                    Scanned::End { end, dropped } => {
                        self.report.torn_bytes += dropped;
                        break end;
                    }
                }
            };
            let clean = state.current.clean_log.filter(|clean| clean.number == plan.number);
            if let Some(clean) = clean.filter(|clean| clean.len != end) {
                let path = file_path(self.directory, FileKind::Log(plan.number));
                let what = Damage::LogEnd { expected: clean.len, actual: end };
                return Err(Error::corruption(&path, end, what));
            }
            if plan.expected_end.is_some_and(|expected| expected != end) {
                break;
            }
        }
        Ok(())
    }

    fn blob_files(&mut self) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        for &reference in self.blobs.values() {
            let mut reader = BlobReader::open(&**self.vfs, self.directory, reference, None)?;
            loop {
                let count = reader.read(&mut buffer).map_err(|error| match error.downcast::<Error>() {
                    Ok(error) => error,
                    Err(error) => Error::io("read a blob of", self.directory)(error),
                })?;
                if count == 0 {
                    break;
                }
            }
            self.report.blob_count += 1;
        }
        Ok(())
    }

    fn count_unnamed(&mut self, state: &ManifestState, files: &[FileKind]) {
        let unnamed = files.iter().filter(|kind| match kind {
            FileKind::Table(number) => !state.tables.contains_key(number),
            FileKind::Blob(number) => !self.blobs.contains_key(number),
            FileKind::Log(number) => !state.needs_log(*number),
            FileKind::Manifest(number) => *number != state.current.manifest,
            FileKind::CurrentTemporary | FileKind::SpareLog => true,
            FileKind::Current | FileKind::Lock => false,
        });
        self.report.unnamed_file_count = unnamed.count() as u64;
    }
}

/// Whether the bounds in the manifest are those of the table's entries and range tombstones.
fn is_inside(table: &Table, meta: &TableMeta) -> bool {
    let properties = table.properties();
    let ranges = table.range_tombstones();
    let first = ranges.iter().next().map(|range| range.start);
    let end = ranges.iter().last().map(|range| range.end);
    let keys = (properties.entry_count > 0).then_some((&properties.key_min[..], &properties.key_max[..]));
    let lower = keys.map(|(first, _)| first).into_iter().chain(first).min();
    let last = keys.map(|(_, last)| last);
    let upper = match (last, end) {
        (Some(last), Some(end)) if end <= last => Some((last, false)),
        (_, Some(end)) => Some((end, true)),
        (last, None) => last.map(|last| (last, false)),
    };
    lower == Some(&meta.key_min[..]) && upper == Some((&meta.key_max[..], meta.key_max_is_excluded))
}
