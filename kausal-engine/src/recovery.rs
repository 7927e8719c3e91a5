//! Opening a database: from what the last owner left, however it ended, to a state that takes writes.
//!
//! 1. Take the lock. Read `CURRENT` and the manifest; open the tables they name.
//! 2. Replay the logs in order into memtables, many changes at a time and sorted ([`Gathered`]), flushing each full one to a table of level 0, so that memory is bounded
//!    whatever the logs' size. The synced-through rule of the log decides between torn tail and corruption; behind a
//!    torn tail every later log is dropped.
//! 3. Begin a new log, and switch to a new manifest that names all of it: one atomic step. A crash before it leaves the old state
//!    as it was, to be recovered again.
//! 4. Remove what the new manifest does not name.
//! 5. The last memtable stays and takes writes. The logs it came from stay with it: the manifest says of each where it ended
//!    ([`RecoveredLog`]), the next open reads that much of it and no more, and the flush of the memtable, whenever it is full,
//!    forgets them. So an open writes no table that a memtable has room for. If somebody syncs what he writes here, what of the
//!    logs was not synced is made durable first.
//!
//! The memtable is flushed at once if that would not do: what salvage let pass would be damage again, and a record too long for a
//! smaller budget would be in its way. It is flushed behind the open if there are many logs.
//!
//! A recovered log is never appended to. A database that is only read is replayed into memory, and that is all: steps 3 to 5
//! are for those who write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kausal_arena::{MemoryEventKind, Permit, PermitRefused, RegionPool};
use kausal_index::{BlockIndex, EntryRef, SeqNo};
use kausal_memtable::{BatchPart, BatchRefused, Memtable, MemtableManager, RotateRefused};

use crate::batch::{ChangeKind, ChangeRef};
use crate::blob::{BlobFile, BlobRef};
use crate::commit::WriteState;
use crate::compaction::CompactionPolicy;
use crate::core::{Core, Parts};
use crate::environment::Environment;
use crate::error::{Damage, Error};
use crate::event::Event;
use crate::file_names::{FileKind, file_path};
use crate::flush::write_memtable;
use crate::generation::Generation;
use crate::ids::{FileNumber, KeyspaceId};
use crate::listener::Events;
use crate::manifest::{ManifestState, ManifestWriter, VersionEdit, read_manifest};
use crate::memory::{MemoryPlan, REGION_COUNT};
use crate::metrics::Recorder;
use crate::options::{Durability, MEMORY_BUDGET_MIN, Options};
use crate::planted::is_planted;
use crate::replay::{Ahead, Filled, Gathered, LogReader, LogSource, Reading, Replayed};
use crate::retention::Stripes;
use crate::table_output::{NoPace, Workplace};
use crate::version::{TableFile, Version, VersionSet};
use crate::vfs::{OpenMode, Vfs};
use crate::wal::{RecoveredLog, WINDOW_BYTES, WalWriter};

/// With more recovered logs than these, the memtable that keeps them is flushed behind the open: each open that is not closed by a
/// flush leaves one more, and each costs the next open a file.
const RECOVERED_LOGS_MAX: usize = 8;

/// A log with a longer frame is not kept: the database may be opened with the smallest budget next, whose memtables and buffers take
/// this much in any case.
const KEPT_FRAME_BYTES_MAX: u64 = MEMORY_BUDGET_MIN as u64 / 16;

/// Bytes of the part of the logs that is read before anything is inserted. Each further one is twice as large while there is room:
/// reading it takes about as long as inserting the one before, so that neither waits for the other.
const FIRST_PART_BYTES: usize = 256 << 10;

/// So few changes of the logs are not halved again to find a permit.
const REPLAYED_SINGLY_MAX: usize = 128;

/// Keyspaces that one memtable has places for. A batch for one more rotates to the next memtable.
pub(crate) const KEYSPACES_PER_MEMTABLE: usize = 64;

/// What opening a database did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the last owner closed the database.
    pub was_clean: bool,
    /// Logs replayed.
    pub log_count: usize,
    /// Batches replayed from them.
    pub batch_count: u64,
    /// Bytes of torn tails that were cut.
    pub dropped_bytes: u64,
    /// Logs dropped because a torn tail came before them.
    pub dropped_log_count: usize,
    /// Files removed that nothing named.
    pub removed_file_count: usize,
    /// Damage that [`Options::salvage`] let pass. All writes behind the first are lost.
    pub salvaged: Vec<Salvaged>,
}

/// Damage to synced bytes of a log that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The log.
    pub file: PathBuf,
    /// Where the good part of it ended, in bytes; 0 if the log was missing.
    pub offset: u64,
}

/// The database while it is being opened.
struct Opening<'a, I: BlockIndex> {
    environment: &'a Environment,
    directory: &'a Path,
    options: &'a Options,
    plan: &'a MemoryPlan,
    database_id: u64,
    next_file: AtomicU64,
    memtables: MemtableManager<I, Generation>,
    tables: Vec<Arc<TableFile>>,
    keyspaces: BTreeMap<KeyspaceId, String>,
    next_keyspace: KeyspaceId,
    last_seqno: SeqNo,
    /// The number of the log that is to begin.
    log: FileNumber,
    /// The logs that were replayed, with the last sequence number of each.
    replayed: Vec<(RecoveredLog, SeqNo)>,
    /// What of them is in tables.
    flushed: SeqNo,
    /// Length of the longest frame of them.
    frame_bytes_max: u64,
    report: RecoveryReport,
}

/// Opens the database in `directory`, creating it if there is none and the options say so.
pub(crate) fn open<I: BlockIndex + 'static>(
    environment: Environment,
    directory: PathBuf,
    options: Options,
    compaction_policy: Arc<dyn CompactionPolicy>,
    events: Events,
) -> Result<(Arc<Core<I>>, RecoveryReport), Error> {
    crate::trace::span!("recovery", folder = tracing::field::display(directory.display()));
    if options.memory_budget < MEMORY_BUDGET_MIN {
        return Err(Error::BudgetTooSmall { asked: options.memory_budget, min: MEMORY_BUDGET_MIN });
    }
    let vfs = Arc::clone(&environment.vfs);
    let mut missing = 0;
    if options.create && !options.read_only {
        missing = directory.ancestors().take_while(|path| is_missing(&*vfs, path)).count();
        vfs.create_dir(&directory).map_err(Error::io("create", &directory))?;
    } else if vfs.list(&directory).is_err() {
        return Err(Error::NotFound { path: directory });
    }
    let lock_path = file_path(&directory, FileKind::Lock);
    let lock = if options.read_only { vfs.lock_shared(&lock_path) } else { vfs.lock(&lock_path) };
    let lock = lock.map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked { path: directory.clone() },
        _ => Error::io("lock", &lock_path)(error),
    })?;
    let state = read_manifest(&*vfs, &directory)?;
    if state.is_none() {
        check_new(&*vfs, &directory, &options)?;
        sync_folders(&*vfs, &directory, missing)?;
    }
    let plan = MemoryPlan::new(&options)?;
    let metrics = Recorder::new(&plan.root)?;
    let progress = Arc::new(Event::new());
    let signal = Arc::clone(&progress);
    let (node, region_bytes) = (plan.memtables.clone(), plan.region_bytes);
    let on_return = move || {
        node.note(MemoryEventKind::RegionReturned, region_bytes);
        signal.signal();
    };
    let regions = RegionPool::new(&plan.memtables, region_bytes, REGION_COUNT, on_return)?;
    let files = files_of(&*vfs, &directory)?;
    let highest = files.iter().filter_map(|kind| kind.number()).max().unwrap_or(FileNumber(0));
    let log = state.as_ref().map_or(1, |state| state.next_file.0).max(highest.0 + 1);
    let generation = Generation::new(FileNumber(log));
    let memtables =
        MemtableManager::with_keyspaces(regions.coordinator(), KEYSPACES_PER_MEMTABLE, generation)
            .map_err(rotate_error)?;
    let database_id = state.as_ref().map(|state| state.current.database_id);
    let database_id = database_id.unwrap_or_else(|| environment.entropy.u64());
    let mut opening = Opening::<I> {
        environment: &environment,
        directory: &directory,
        options: &options,
        plan: &plan,
        database_id,
        next_file: AtomicU64::new(log + 1),
        memtables,
        tables: Vec::new(),
        keyspaces: BTreeMap::new(),
        next_keyspace: KeyspaceId(1),
        last_seqno: SeqNo::ZERO,
        log: FileNumber(log),
        replayed: Vec::new(),
        flushed: SeqNo::ZERO,
        frame_bytes_max: 0,
        report: RecoveryReport::default(),
    };
    if let Some(state) = &state {
        opening.open_tables(state)?;
        opening.replay(state, &files)?;
    }
    let (writer, versions) = if options.read_only {
        opening.stay()?
    } else {
        let begun = opening.begin()?;
        opening.remove_unnamed(&files)?;
        begun
    };
    let Opening { memtables, last_seqno, report, next_file, .. } = opening;
    let core = Arc::new(Core::new(Parts {
        database_id,
        writer,
        versions,
        compaction_policy,
        memtables,
        progress,
        visible: last_seqno,
        next_file: FileNumber(next_file.into_inner()),
        regions,
        lock,
        environment,
        directory,
        options,
        plan,
        metrics,
        events,
    }));
    core.schedule_compaction();
    if core.recovered_logs().len() > RECOVERED_LOGS_MAX {
        // If the disk is full, the next open tries again.
        let _ = core.rotate_if_possible();
    }
    Ok((core, report))
}

fn is_missing(vfs: &dyn Vfs, path: &Path) -> bool {
    !path.as_os_str().is_empty() && vfs.list(path).is_err()
}

/// Makes the names of a new database's folder, and of the `missing` last folders of its path, durable: without them
/// nothing in it is. The folder's own always, because an open that was killed may have created it.
fn sync_folders(vfs: &dyn Vfs, directory: &Path, missing: usize) -> Result<(), Error> {
    for path in directory.ancestors().take(missing.max(1)) {
        let Some(parent) = path.parent() else { break };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match vfs.sync_dir(parent) {
            // A folder that this user may not look into.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(Error::io("sync", parent))?,
        }
    }
    Ok(())
}

/// Without `CURRENT` there is no database; but a folder that holds tables has lost it, and is not to be overwritten.
fn check_new(vfs: &dyn Vfs, directory: &Path, options: &Options) -> Result<(), Error> {
    if !options.create || options.read_only {
        return Err(Error::NotFound { path: directory.to_owned() });
    }
    let lost =
        files_of(vfs, directory)?.iter().any(|kind| matches!(kind, FileKind::Table(_) | FileKind::Blob(_)));
    if lost {
        let current = file_path(directory, FileKind::Current);
        return Err(Error::corruption(&current, 0, Damage::Current));
    }
    Ok(())
}

/// The database's files in the directory.
pub(crate) fn files_of(vfs: &dyn Vfs, directory: &Path) -> Result<Vec<FileKind>, Error> {
    let names = vfs.list(directory).map_err(Error::io("list", directory))?;
    Ok(names.iter().filter(|entry| !entry.is_dir).filter_map(|entry| FileKind::of(&entry.name)).collect())
}

fn rotate_error(refused: RotateRefused) -> Error {
    match refused {
        RotateRefused::Alloc(error) => error.into(),
        _ => Error::Stalled { reason: "no memtable region is free", waited: Duration::ZERO },
    }
}

impl<I: BlockIndex + 'static> Opening<'_, I> {
    fn new_number(&self) -> FileNumber {
        FileNumber(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    fn open_tables(&mut self, state: &ManifestState) -> Result<(), Error> {
        let (vfs, mode) = (&self.environment.vfs, self.options.table_open_mode());
        let mut blobs: BTreeMap<FileNumber, Arc<BlobFile>> = BTreeMap::new();
        for meta in state.tables.values() {
            let held = meta.blobs.iter().map(|&number| {
                let blob = blobs
                    .entry(number)
                    .or_insert_with(|| Arc::new(BlobFile::new(vfs, self.directory, number)));
                Arc::clone(blob)
            });
            let held = held.collect();
            let file = TableFile::open(vfs, self.directory, meta.clone(), held, &self.plan.tables, mode)?;
            self.tables.push(Arc::new(file));
        }
        self.keyspaces.clone_from(&state.keyspaces);
        self.next_keyspace = state.next_keyspace;
        self.last_seqno = state.last_seqno;
        self.report.was_clean = state.current.clean_log.is_some();
        self.report.dropped_bytes = state.dropped;
        Ok(())
    }

    /// Inserts what the logs hold, and meanwhile lets the next part of them be read, if there is more than one.
    fn replay(&mut self, state: &ManifestState, files: &[FileKind]) -> Result<(), Error> {
        // At open nothing compacts.
        let compaction = self.plan.compaction.budget();
        let half = compaction.ceiling() / 2;
        let source = LogSource {
            vfs: Arc::clone(&self.environment.vfs),
            directory: self.directory.to_owned(),
            database_id: self.database_id,
            salvages: self.options.salvage,
            wal: self.plan.wal.clone(),
            compaction: compaction.clone(),
        };
        let mut reader = LogReader::new(source, state, files)?;
        let (mut gathered, mut spare) = (Gathered::new(compaction, half), None);
        let mut room = FIRST_PART_BYTES;
        gathered.limit(room);
        let mut filled = reader.fill(&mut gathered)?;
        while filled != Filled::End {
            room = room.saturating_mul(2);
            let mut next = match filled {
                Filled::Full => spare.take().unwrap_or_else(|| Gathered::new(compaction, half)),
                _ => Gathered::none(),
            };
            if !next.has_room() {
                self.insert_gathered(&mut gathered)?;
                if filled == Filled::TooLarge {
                    reader.one(|change, seqno| self.insert(change, seqno))?;
                }
                filled = reader.fill(&mut gathered)?;
                continue;
            }
            next.limit(room);
            let environment = self.environment;
            let ahead = Ahead::begin(&*environment.scheduler, Reading { reader, gathered: next });
            let inserted = self.insert_gathered(&mut gathered);
            let (read, outcome) = ahead.end()?;
            inserted?;
            filled = outcome?;
            reader = read.reader;
            spare = Some(std::mem::replace(&mut gathered, read.gathered));
        }
        self.insert_gathered(&mut gathered)?;
        let Replayed { logs, last_seqno, frame_bytes_max, report } = reader.end();
        self.last_seqno = self.last_seqno.max(last_seqno);
        (self.replayed, self.frame_bytes_max) = (logs, frame_bytes_max);
        let manifest = std::mem::replace(&mut self.report, report);
        self.report.was_clean = manifest.was_clean;
        self.report.dropped_bytes += manifest.dropped_bytes;
        Ok(())
    }

    /// Inserts what was gathered: in as large parts as there are permits for, each in the order of a memtable; see `replay`.
    fn insert_gathered(&mut self, gathered: &mut Gathered) -> Result<(), Error> {
        let (mut begin, mut count) = (0, gathered.len());
        while begin < gathered.len() {
            let part = begin..(begin + count).min(gathered.len());
            let active = self.memtables.active();
            if let Ok(permit) = active.permit_batch(&gathered.parts(part.clone())) {
                gathered.sort(part.clone());
                let mut changes = gathered.changes(part.clone());
                changes.try_for_each(|(change, seqno)| self.insert_into(&active, &permit, change, seqno))?;
            } else if part.len() > REPLAYED_SINGLY_MAX {
                gathered.unsort();
                count = part.len() / 2;
                continue;
            } else {
                let full = Arc::as_ptr(&active);
                drop(active);
                gathered.unsort();
                gathered.changes(part.clone()).try_for_each(|(change, seqno)| self.insert(change, seqno))?;
                if Arc::as_ptr(&self.memtables.active()) != full {
                    count = gathered.len();
                }
            }
            begin = part.end;
        }
        gathered.clear();
        Ok(())
    }

    /// Inserts one change, making room if need be.
    fn insert(&mut self, change: ChangeRef<'_>, seqno: SeqNo) -> Result<(), Error> {
        let active = self.memtables.active();
        let mut part = BatchPart::new(change.keyspace);
        change.count_in(&mut part);
        let permit = match active.permit_batch(&[part]) {
            Ok(permit) => permit,
            Err(BatchRefused::Permit(PermitRefused::TooLarge { need, max })) => {
                return Err(Error::ChangeTooLarge { need, max });
            }
            Err(_) => {
                drop(active);
                self.flush_active()?;
                return self.insert(change, seqno);
            }
        };
        self.insert_into(&active, &permit, change, seqno)
    }

    /// Inserts one change on a permit that covers it.
    fn insert_into(
        &self,
        active: &Memtable<I, Generation>,
        permit: &Permit,
        change: ChangeRef<'_>,
        seqno: SeqNo,
    ) -> Result<(), Error> {
        let ChangeRef { keyspace, key, value, .. } = change;
        if change.kind == ChangeKind::Blob
            && let Some(reference) = BlobRef::from_bytes(value)
        {
            let blob = BlobFile::new(&self.environment.vfs, self.directory, reference.file);
            active.attached().keep(Arc::new(blob));
        }
        let repeated =
            |error: &dyn std::fmt::Display| Error::invalid(format!("the log repeats a change: {error}"));
        match change.kind.of_entry() {
            Some(kind) => active
                .insert_into(permit, keyspace, EntryRef { key, seqno, kind, value })
                .map_err(|error| repeated(&error)),
            None => {
                active.delete_range(permit, keyspace, key, value, seqno).map_err(|error| repeated(&error))
            }
        }
    }

    /// Writes the active memtable to a table of level 0 and puts an empty one in its place.
    fn flush_active(&mut self) -> Result<(), Error> {
        if self.options.read_only {
            return self.keep_active();
        }
        let frozen = self.memtables.rotate(Generation::new(self.log)).map_err(rotate_error)?;
        let place = Workplace {
            environment: self.environment,
            directory: self.directory,
            options: self.options,
            memory: &self.plan.flush,
            tables: &self.plan.tables,
            new_number: &|| self.new_number(),
            blob: &|number| frozen.attached().blob(number),
            pace: &NoPace,
        };
        // What was dropped is not inserted.
        let (tables, _) = write_memtable(&frozen, place, &Stripes::default(), |_| true)?;
        self.flushed = frozen.seqno_bounds().map_or(self.flushed, |(_, last)| last);
        self.memtables.release(&frozen);
        self.tables.extend(tables);
        Ok(())
    }

    /// Keeps the active memtable and goes on in an empty one, if there is one more.
    fn keep_active(&mut self) -> Result<(), Error> {
        match self.memtables.rotate(Generation::new(self.log)) {
            Ok(frozen) => Ok(frozen.freeze()?),
            Err(RotateRefused::Alloc(error)) => Err(error.into()),
            Err(_) => Err(Error::invalid(
                "the logs hold more than the memtables, and who only reads flushes nothing: open the database for \
                 writing once, or with a larger memory budget",
            )),
        }
    }

    /// The state of a database that is only read: nothing begins.
    fn stay(&mut self) -> Result<(WriteState, VersionSet), Error> {
        let version = Arc::new(Version::of(self.tables.drain(..), &self.keyspaces, &self.plan.keyspaces)?);
        let log = WalWriter::read_only(self.directory);
        let writer = WriteState::new(log, self.last_seqno, &self.plan.wal, &[])?;
        Ok((writer, VersionSet::new(None, version, self.next_keyspace)))
    }

    /// Which logs the active memtable needs: those with changes that no table has. None if it is flushed instead.
    fn keep_logs(&mut self) -> Result<Vec<RecoveredLog>, Error> {
        let active = self.memtables.active();
        if active.is_empty() {
            return Ok(Vec::new());
        }
        if !self.report.salvaged.is_empty() || self.frame_bytes_max > KEPT_FRAME_BYTES_MAX {
            drop(active);
            self.flush_active()?;
            return Ok(Vec::new());
        }
        let flushed = self.flushed;
        let needed = self.replayed.iter().filter(|(_, last)| *last > flushed);
        let mut logs: Vec<RecoveredLog> =
            needed.map(|(log, _)| RecoveredLog { flushed: log.flushed.max(flushed), ..*log }).collect();
        // Nobody has let the flush behind an open come to its end.
        if logs.len() > 2 * RECOVERED_LOGS_MAX {
            drop(active);
            self.flush_active()?;
            return Ok(Vec::new());
        }
        let is_asked_for = self.options.durability == Durability::Power;
        if is_asked_for || logs.iter().any(|log| log.synced > 0) {
            let _charge = self.plan.wal.reserve(WINDOW_BYTES)?;
            logs.iter_mut().filter(|log| !log.is_synced()).try_for_each(|log| self.confirm(log))?;
        }
        active.attached().recover(logs.clone());
        Ok(logs)
    }

    /// Makes a log durable: who syncs what he writes may act on what an open shows, as he does on what was acknowledged.
    fn confirm(&self, log: &mut RecoveredLog) -> Result<(), Error> {
        if is_planted("recovered_log_not_synced") {
            return Ok(());
        }
        let confirmed = log.confirm(&*self.environment.vfs, self.directory, self.database_id);
        let path = file_path(self.directory, FileKind::Log(log.number));
        confirmed.map_err(|(error, _)| Error::io("write again and sync", &path)(error))?;
        log.synced = log.len;
        Ok(())
    }

    /// Begins a new log and a new manifest: from here on the new state counts.
    fn begin(&mut self) -> Result<(WriteState, VersionSet), Error> {
        let recovered = self.keep_logs()?;
        let (number, database_id) = (self.log, self.database_id);
        let path = file_path(self.directory, FileKind::Log(number));
        let vfs = &self.environment.vfs;
        let file = vfs.open_log(&path, OpenMode::CreateNew).map_err(Error::io("create", &path))?;
        let log = WalWriter::create(file, path, number, database_id, None)?;
        let manifest = self.new_number();
        let state = VersionEdit {
            next_file: Some(FileNumber(self.next_file.load(Ordering::Relaxed))),
            last_seqno: Some(self.last_seqno),
            oldest_log: Some(number),
            recovered_logs: if is_planted("forget_recovered_logs") { Vec::new() } else { recovered.clone() },
            added_tables: self.tables.iter().map(|file| file.meta().clone()).collect(),
            next_keyspace: Some(self.next_keyspace),
            added_keyspaces: self.keyspaces.iter().map(|(&id, name)| (id, name.clone())).collect(),
            ..VersionEdit::default()
        };
        let manifest = ManifestWriter::begin(vfs, self.directory, database_id, manifest, &state)?;
        let version = Arc::new(Version::of(self.tables.drain(..), &self.keyspaces, &self.plan.keyspaces)?);
        // The manifest's switch has synced the directory.
        let writer = WriteState::new(log, self.last_seqno, &self.plan.wal, &recovered)?;
        Ok((writer, VersionSet::new(Some(manifest), version, self.next_keyspace)))
    }

    /// Removes the files found at the beginning that the new manifest does not name.
    fn remove_unnamed(&mut self, files: &[FileKind]) -> Result<(), Error> {
        let vfs = &self.environment.vfs;
        let Some(state) = read_manifest(&**vfs, self.directory)? else { return Ok(()) };
        let mut blobs: Vec<FileNumber> =
            state.tables.values().flat_map(|table| table.blobs.clone()).collect();
        blobs.extend(self.memtables.active().attached().blobs().iter().map(|blob| blob.number()));
        for &kind in files {
            let named = match kind {
                FileKind::Table(number) => state.tables.contains_key(&number),
                FileKind::Blob(number) => blobs.contains(&number),
                FileKind::Log(number) => state.needs_log(number),
                FileKind::Manifest(number) => number == state.current.manifest,
                FileKind::CurrentTemporary | FileKind::SpareLog => false,
                FileKind::Current | FileKind::Lock => true,
            };
            if !named {
                let path = file_path(self.directory, kind);
                match vfs.remove(&path) {
                    Ok(()) => self.report.removed_file_count += 1,
                    // Gone already, as `CURRENT.tmp` is when a new `CURRENT` was written.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::io("remove", &path)(error)),
                }
            }
        }
        Ok(())
    }
}
