//! Flush: a frozen memtable becomes a table of level 0, and its region goes back in O(1).
//!
//! 1. Walk each keyspace of the memtable in order into a table of its own, leaving out what no snapshot can see, and
//!    keyspaces that were dropped.
//! 2. Sync the tables, then their names, then the manifest edit that adds them and forgets the log.
//! 3. Exchange the view; the memtable's region returns with its last reader. Remove the log, and those it was recovered from.

use std::sync::Arc;

use kausal_index::{BlockIndex, Cursor, SeqNo};
use kausal_memtable::{FreezeRefused, Keyspace, Memtable};

use crate::blob::BlobFile;
use crate::core::Core;
use crate::error::Error;
use crate::file_names::{FileKind, file_path};
use crate::generation::Generation;
use crate::ids::{FileNumber, KeyspaceId};
use crate::job_memory::JobMemory;
use crate::listener::EngineEvent;
use crate::manifest::VersionEdit;
use crate::pace::{JobPace, JobState};
use crate::planted::is_planted;
use crate::range_fragments::FragmentsBuilder;
use crate::read::View;
use crate::retention::{Retention, Stripes};
use crate::scheduler::Lane;
use crate::table_output::{Pace, TableOutput, Target, Workplace, Written};
use crate::version::{Change, Place, TableFile};
use crate::wal::RecoveredLog;

/// Writes what the `stripes` let somebody see of `memtable` into tables of level 0, one for each keyspace that `is_there`.
pub(crate) fn write_memtable<I: BlockIndex>(
    memtable: &Memtable<I, Generation>,
    place: Workplace<'_>,
    stripes: &Stripes,
    is_there: impl Fn(KeyspaceId) -> bool,
) -> Result<Written, Error> {
    // No permit is out: the caller has waited for those of the batches that were being written at the rotation.
    memtable.freeze()?;
    let (mut tables, mut bytes) = (Vec::new(), 0);
    for keyspace in memtable.keyspaces().filter(|keyspace| is_there(keyspace.id()) && !keyspace.is_empty()) {
        // Of what was written for other keyspaces nothing is named yet if this one fails.
        let written = write_keyspace(keyspace, place, stripes).inspect_err(|_| {
            tables.iter().for_each(|table: &Arc<TableFile>| table.mark_obsolete());
        })?;
        tables.extend(written.0);
        bytes += written.1;
    }
    Ok((tables, bytes))
}

fn write_keyspace<I: BlockIndex>(
    keyspace: &Keyspace<I>,
    place: Workplace<'_>,
    stripes: &Stripes,
) -> Result<Written, Error> {
    let mut fragments = FragmentsBuilder::new(place.memory.budget())?;
    for fragment in keyspace.range_tombstones().fragments() {
        fragments.add(fragment)?;
    }
    let fragments = fragments.build(stripes, |_, _| false)?;
    let target = Target { keyspace: keyspace.id(), level: 0, file_bytes: u64::MAX };
    let mut output = TableOutput::new(place, target, fragments);
    let mut retention = Retention::new(stripes.clone());
    let mut cursor = keyspace.cursor()?;
    let Ok(mut more) = cursor.seek_to_first();
    while more {
        if let Some(entry) = cursor.entry()
            && retention.keeps(entry, output.fragments(), || false)
        {
            output.add(entry)?;
        }
        output.step();
        let Ok(moved) = cursor.next();
        more = moved;
    }
    output.finish()
}

/// The logs of a memtable, when it is in tables and they are not needed any more.
struct FlushedLogs {
    own: FileNumber,
    recovered: Vec<RecoveredLog>,
}

impl FlushedLogs {
    fn of(flushed: &Generation) -> Self {
        Self { own: flushed.log(), recovered: flushed.recovered() }
    }
}

/// Marks those of `before` that no table of `after` refers to.
pub(crate) fn retire_blobs(before: &[Arc<BlobFile>], after: &[Arc<TableFile>]) {
    for blob in before {
        let kept = after.iter().any(|file| file.blobs().iter().any(|held| held.number() == blob.number()));
        if !kept {
            blob.mark_obsolete();
        }
    }
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Flushes frozen memtables, oldest first, until there is none.
    pub(crate) fn flush_frozen(self: &Arc<Self>) -> Result<(), Error> {
        while let Some(memtable) = self.memtables.oldest_frozen() {
            if self.health.is_closed() {
                return Ok(());
            }
            self.wait_for_writers(&memtable)?;
            if self.health.is_closed() {
                return Ok(());
            }
            self.flush_memtable(&memtable)?;
            let logs = FlushedLogs::of(memtable.attached());
            drop(memtable);
            self.progress.signal();
            self.table_use.judge(&self.metrics);
            self.schedule_compaction();
            // Last: no writer waits for it, only who flushes on request.
            self.remove_logs(&logs);
            self.background.set_tidying(false);
            self.progress.signal();
        }
        Ok(())
    }

    /// Waits until the batches that were being written at the rotation are in the memtable and visible: what is flushed is
    /// complete, and the manifest's last sequence number is not below that of its tables. Ends early when the database is
    /// closed.
    fn wait_for_writers(&self, memtable: &Arc<Memtable<I, Generation>>) -> Result<(), Error> {
        let scheduler = &*self.environment.scheduler;
        self.order.set_freezing(true);
        let frozen = loop {
            // Taken before the permits are counted: who ends one from here on moves the event past it.
            let ticket = self.progress.ticket();
            match memtable.freeze() {
                Err(FreezeRefused::Permits(_)) if !self.health.is_closed() => {}
                Err(FreezeRefused::Permits(_)) | Ok(()) => break Ok(()),
                Err(refused) => break Err(refused),
            }
            self.health.check_poisoned()?;
            scheduler.wait(&self.progress, ticket, None);
        };
        self.order.set_freezing(false);
        frozen?;
        let Some((_, last)) = memtable.seqno_bounds() else { return Ok(()) };
        self.order.wait_until(last, scheduler).map_err(|_| self.broken())
    }

    fn flush_memtable(&self, memtable: &Arc<Memtable<I, Generation>>) -> Result<(), Error> {
        let blobs = memtable.attached().blobs();
        let find_blob = |number| memtable.attached().blob(number);
        let new_number = || self.new_file_number();
        crate::trace::span!("flush", log = memtable.attached().log().0, entries = memtable.len());
        let begun = self.environment.clock.now();
        let (sealed, entry_count) = (memtable.attached().log(), memtable.len());
        self.events.tell(|| EngineEvent::LogRotated { sealed });
        self.events.tell(|| EngineEvent::FlushBegun { log: sealed, entry_count });
        let _running = self.flow.begin_job(Lane::Flush, 0);
        let state = JobState::default();
        let pace = JobPace::new(self, Lane::Flush, entry_count as u64, &state);
        let place = self.workplace(&self.plan.flush, &new_number, &find_blob, &pace);
        let stripes = self.stripes();
        let version = Arc::clone(&self.view().version);
        let is_there = |keyspace| version.tree(keyspace).is_some();
        let (added, bytes) = write_memtable(memtable, place, &stripes, is_there)?;
        let after = self.memtables.tables();
        let next = after.frozen.get(1).unwrap_or(&after.active).attached().log();
        let mut change = Change { added, oldest_log: Some(next), removed: Vec::new() };
        self.install_new(&mut change, |view, version| View {
            active: Arc::clone(&view.active),
            frozen: view.frozen.iter().filter(|frozen| !Arc::ptr_eq(frozen, memtable)).cloned().collect(),
            version,
        })?;
        self.background.set_tidying(true);
        self.memtables.release(memtable);
        if is_planted("keep_flushed_memtable") {
            std::mem::forget(Arc::clone(memtable));
        }
        retire_blobs(&blobs, &change.added);
        self.counters.flushes.add(1);
        self.counters.flush_bytes_written.add(bytes);
        self.tell_tables(&[], &change.added);
        let took = self.environment.clock.now().saturating_sub(begun);
        let table_count = change.added.len();
        self.events.tell(|| EngineEvent::FlushCompleted { log: sealed, table_count, bytes, took });
        Ok(())
    }

    /// Removes the logs of a memtable that is in tables, or keeps the file of its own one if nobody has it open. One that stays is
    /// removed by the next open: the manifest has forgotten it.
    fn remove_logs(&self, logs: &FlushedLogs) {
        let are_forgotten = self.forget_flushed_logs();
        if is_planted("keep_flushed_log") {
            return;
        }
        let remove = |number| {
            let _ = self.environment.vfs.remove(&file_path(&self.directory, FileKind::Log(number)));
        };
        logs.recovered.iter().for_each(|log| remove(log.number));
        if are_forgotten { self.retire_log(logs.own) } else { remove(logs.own) }
    }

    /// Length from which on a table below level 0 ends.
    pub(crate) fn table_bytes(&self) -> u64 {
        self.options.table_bytes.unwrap_or((self.plan.region_bytes as u64).max(1 << 20))
    }

    /// Where tables of this database are written, with buffers of `memory`.
    pub(crate) fn workplace<'a>(
        &'a self,
        memory: &'a JobMemory,
        new_number: &'a dyn Fn() -> FileNumber,
        blob: &'a dyn Fn(FileNumber) -> Option<Arc<BlobFile>>,
        pace: &'a dyn Pace,
    ) -> Workplace<'a> {
        Workplace {
            environment: &self.environment,
            directory: &self.directory,
            options: &self.options,
            memory,
            tables: &self.plan.tables,
            new_number,
            blob,
            pace,
        }
    }

    /// Tells which tables went and came.
    pub(crate) fn tell_tables(&self, removed: &[Arc<TableFile>], added: &[Arc<TableFile>]) {
        for meta in removed.iter().map(|file| file.meta()) {
            let (keyspace, level, file) = (meta.keyspace, usize::from(meta.level), meta.file);
            self.events.tell(|| EngineEvent::TableDeleted { keyspace, level, file });
        }
        for meta in added.iter().map(|file| file.meta()) {
            let (keyspace, level, file) = (meta.keyspace, usize::from(meta.level), meta.file);
            let bytes = meta.file_bytes;
            self.events.tell(|| EngineEvent::TableCreated { keyspace, level, file, bytes });
        }
    }

    /// [`install`](Self::install) of a change whose added tables were written for it: they go if the disk is full.
    pub(crate) fn install_new(
        &self,
        change: &mut Change,
        view: impl FnOnce(&View<I>, Arc<crate::version::Version>) -> View<I>,
    ) -> Result<(), Error> {
        let installed = self.install(change, view);
        // After another error the manifest may name them: they stay, and the next open decides.
        if installed.as_ref().is_err_and(Error::is_disk_full) {
            change.added.iter().for_each(|file| file.mark_obsolete());
        }
        installed
    }

    /// Makes a change of the version durable and visible.
    ///
    /// # Errors
    ///
    /// One that [is for a full disk](Error::is_disk_full): nothing has changed. Any other poisons the database.
    pub(crate) fn install(
        &self,
        change: &mut Change,
        view: impl FnOnce(&View<I>, Arc<crate::version::Version>) -> View<I>,
    ) -> Result<(), Error> {
        let mut versions = self.versions.lock();
        self.health.check_poisoned()?;
        // Tables may hold what is about to be published.
        let newest = change.added.iter().map(|file| file.meta().seqno_max).max();
        let last_seqno = self.visible().max(newest.unwrap_or(SeqNo::ZERO));
        let applied = versions.apply(change, self.next_file_number(), last_seqno);
        let version = applied.inspect_err(|error| self.poison_unless_full(error))?;
        self.change_view(|current| view(current, version));
        if versions.is_full() {
            let state = VersionEdit {
                next_file: Some(self.next_file_number()),
                last_seqno: Some(last_seqno),
                oldest_log: Some(self.oldest_log()),
                recovered_logs: self.recovered_logs(),
                ..VersionEdit::default()
            };
            let (vfs, directory) = (&self.environment.vfs, self.directory.as_path());
            let place = Place { vfs, directory, database_id: self.database_id };
            let begun = versions.begin_manifest(&place, self.new_file_number(), state);
            match begun {
                // The old one goes on, and the next change tries again: this one is made.
                Err(error) if error.is_disk_full() => {}
                begun => begun.inspect_err(|error| self.poison(error))?,
            }
        }
        Ok(())
    }

    /// After an edit of the manifest that failed: only one that found the disk full left the manifest as it was.
    pub(crate) fn poison_unless_full(&self, error: &Error) {
        if !error.is_disk_full() {
            self.poison(error);
        }
    }

    /// The stripes that readers tell apart: those of live snapshots, and the present moment, because a table may hold what is not
    /// published yet.
    pub(crate) fn stripes(&self) -> Stripes {
        // First: a snapshot that is taken after this is not older.
        let visible = self.visible();
        let mut moments = self.snapshots.seqnos();
        if let Err(place) = moments.binary_search(&visible) {
            moments.insert(place, visible);
        }
        if is_planted("wrong_snapshot_floor") {
            moments.remove(0);
        }
        Stripes::new(moments)
    }

    /// The logs that the oldest memtable was recovered from, if it was and is not in tables. No later one was.
    pub(crate) fn recovered_logs(&self) -> Vec<RecoveredLog> {
        self.view().oldest_memtable().attached().recovered()
    }

    /// The log of the oldest memtable that is not in tables.
    pub(crate) fn oldest_log(&self) -> FileNumber {
        self.view().oldest_memtable().attached().log()
    }
}
