//! Looking into single files of a database, for tools: what a table, a log or a manifest holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::Budget;
use kausal_sstable::{BlockInfo, FORMAT_VERSION, Properties, Residency, Table, TableSource};

pub use kausal_sstable::BlockKind;

use crate::batch::ChangeKind;
use crate::error::Error;
use crate::file_names::FileKind;
use crate::ids::{FileNumber, KeyspaceId, TableId};
use crate::manifest::read_manifest;
use crate::version::Source;
use crate::vfs::{OpenMode, Vfs};
use crate::wal::{Extent, LogScan, Scanned};

/// Memory that looking into a file may take.
const BUDGET_BYTES: usize = 256 << 20;

/// A table, seen whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    /// Identity of the table.
    pub table: TableId,
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes held in memory while it is open.
    pub resident_bytes: usize,
    /// Version of its format.
    pub format: u32,
    /// Counts and bounds.
    pub properties: Properties,
    /// Fragments of range tombstones: start, end, sequence number.
    pub range_tombstones: Vec<(Vec<u8>, Vec<u8>, u64)>,
    /// Its blocks, in order of the file, up to the first damage.
    pub blocks: Vec<BlockInfo>,
    /// Whether every checksum and every promise of the format holds; else what does not.
    pub damage: Option<String>,
}

/// A log, seen whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDescription {
    /// Batches in it.
    pub batch_count: u64,
    /// Puts, deletes, blob references and range deletes of all batches.
    pub put_count: u64,
    /// See `put_count`.
    pub delete_count: u64,
    /// See `put_count`.
    pub blob_count: u64,
    /// Range deletes of all batches.
    pub range_delete_count: u64,
    /// First and last sequence number.
    pub seqnos: Option<(u64, u64)>,
    /// Bytes that were known to be synced when its last batch was written.
    pub synced_through: u64,
    /// Where the good batches end.
    pub end: u64,
    /// Bytes behind them.
    pub torn_bytes: u64,
}

/// One table as the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestTable {
    /// Its keyspace.
    pub keyspace: KeyspaceId,
    /// Its level.
    pub level: u8,
    /// Its file.
    pub file: FileNumber,
    /// Length of the file.
    pub file_bytes: u64,
    /// Entries in it.
    pub entry_count: u64,
    /// Fragments of range tombstones in it.
    pub range_tombstone_count: u64,
    /// First key.
    pub key_min: Vec<u8>,
    /// Last key, or the end of the last range tombstone.
    pub key_max: Vec<u8>,
    /// Blob files that it refers to.
    pub blob_count: usize,
}

/// A manifest, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestDescription {
    /// Identity of the database.
    pub database_id: u64,
    /// The manifest's number.
    pub number: FileNumber,
    /// Whether the database was closed cleanly.
    pub was_clean: bool,
    /// Records in it.
    pub record_count: u64,
    /// The last sequence number that tables hold.
    pub last_seqno: u64,
    /// The oldest log that still counts.
    pub oldest_log: FileNumber,
    /// Logs before it that count until the memtable they were recovered into is in tables.
    pub recovered_logs: Vec<FileNumber>,
    /// The keyspaces beside the default one.
    pub keyspaces: Vec<(KeyspaceId, String)>,
    /// Every table.
    pub tables: Vec<ManifestTable>,
}

fn number_of(path: &Path) -> Result<FileNumber, Error> {
    let number = path.file_name().and_then(FileKind::of).and_then(FileKind::number);
    number.ok_or_else(|| Error::invalid(format!("{} is not named like a file of a database", path.display())))
}

/// Describes the table in the file `path`, verifying all of it.
///
/// # Errors
///
/// [`Error::Corruption`] if it cannot even be opened, [`Error::Io`], [`Error::InvalidArgument`].
pub fn table(vfs: &dyn Vfs, path: &Path) -> Result<TableDescription, Error> {
    let budget = Budget::root("inspect", BUDGET_BYTES);
    let file = vfs.open(path, OpenMode::Read).map_err(Error::io("open", path))?;
    let file_bytes = file.len().map_err(Error::io("read the length of", path))?;
    let source: Arc<dyn TableSource> = Arc::new(Source(file));
    let number = number_of(path)?;
    let open = |residency| Table::open_with(Arc::clone(&source), number, None, residency, &budget);
    // A table whose filter or index is damaged can still be explained.
    let table = open(Residency::Indexes)
        .or_else(|_| open(Residency::Root))
        .map_err(|error| Error::table(path, error))?;
    let damage = table.verify(&budget, |_| {}).err().map(|error| Error::table(path, error).to_chain());
    let mut blocks = Vec::new();
    // What stops this is damage, and has been found above.
    let _ = table.blocks(&budget, |block| blocks.push(block.clone()));
    let fragments = table.range_tombstones();
    let fragments = fragments.iter().map(|one| (one.start.to_vec(), one.end.to_vec(), one.seqno.get()));
    Ok(TableDescription {
        table: table.footer().table,
        file_bytes,
        resident_bytes: table.resident_bytes(),
        format: FORMAT_VERSION,
        properties: table.properties().clone(),
        range_tombstones: fragments.collect(),
        blocks,
        damage,
    })
}

/// Describes the log in the file `path` of the database in the same folder.
///
/// # Errors
///
/// [`Error::Corruption`], [`Error::Io`], [`Error::InvalidArgument`], [`Error::NotFound`].
pub fn log(vfs: &dyn Vfs, path: &Path) -> Result<LogDescription, Error> {
    let directory = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let state = read_manifest(vfs, &directory)?.ok_or(Error::NotFound { path: directory })?;
    let file = vfs.open(path, OpenMode::Read).map_err(Error::io("open", path))?;
    let charge = Budget::root("inspect", BUDGET_BYTES).reserve(0)?;
    let extent = Extent::default();
    let mut scan =
        LogScan::open(file, path, number_of(path)?, state.current.database_id, extent, false, charge)?;
    let mut described = LogDescription {
        batch_count: 0,
        put_count: 0,
        delete_count: 0,
        blob_count: 0,
        range_delete_count: 0,
        seqnos: None,
        synced_through: 0,
        end: 0,
        torn_bytes: 0,
    };
    loop {
        match scan.next()? {
            Scanned::Batch(batch) => {
                described.batch_count += 1;
                let first = described.seqnos.map_or(batch.first.get(), |(first, _)| first);
                described.seqnos = Some((first, batch.last().get()));
                for (_, change) in batch.changes() {
                    match change.kind {
                        ChangeKind::Put => described.put_count += 1,
                        ChangeKind::Delete => described.delete_count += 1,
                        ChangeKind::Blob => described.blob_count += 1,
                        ChangeKind::DeleteRange => described.range_delete_count += 1,
                    }
                }
            }
            Scanned::End { end, dropped } => {
                described.end = end;
                described.torn_bytes = dropped;
                break;
            }
        }
    }
    described.synced_through = scan.synced_through();
    Ok(described)
}

/// Describes the manifest of the database in `directory`.
///
/// # Errors
///
/// [`Error::Corruption`], [`Error::Io`], [`Error::NotFound`].
pub fn manifest(vfs: &dyn Vfs, directory: &Path) -> Result<ManifestDescription, Error> {
    let state = read_manifest(vfs, directory)?;
    let state = state.ok_or_else(|| Error::NotFound { path: directory.to_owned() })?;
    let tables = state.tables.into_values().map(|table| ManifestTable {
        keyspace: table.keyspace,
        level: table.level,
        file: table.file,
        file_bytes: table.file_bytes,
        entry_count: table.entry_count,
        range_tombstone_count: table.range_tombstone_count,
        key_min: table.key_min,
        key_max: table.key_max,
        blob_count: table.blobs.len(),
    });
    Ok(ManifestDescription {
        database_id: state.current.database_id,
        number: state.current.manifest,
        was_clean: state.current.clean_log.is_some(),
        record_count: state.record_count,
        last_seqno: state.last_seqno.get(),
        oldest_log: state.oldest_log,
        recovered_logs: state.recovered_logs.iter().map(|log| log.number).collect(),
        keyspaces: state.keyspaces.into_iter().collect(),
        tables: tables.collect(),
    })
}
