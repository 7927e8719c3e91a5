//! The write path: permit, log, memtable, publish.
//!
//! 1. Values too large to lie beside their keys go to blob files first, durable before anything names them.
//! 2. Under the writer's lock: what the batch requires is looked at, and it gets a permit for all of it (rotating to an empty
//!    memtable if the active one has no room). The commit queue numbers it and brings its record to the log.
//! 3. Without the lock the memtable is filled, which cannot fail any more, and the batch is published in order.
//! 4. A writer that is ahead of what has to be done behind it is slowed down before it begins (`flow`). When no region is
//!    free, level 0 is too deep or the disk is full, it waits for progress without any lock, up to the stall timeout.
//!    Nothing tells that somebody made room on the disk: that is looked at again and again.
//!
//! A single put or delete is borrowed from its caller ([`SingleChange`]): with a warm memtable
//! it makes no call to the global allocator.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use kausal_arena::{MemoryEventKind, Permit, PermitRefused};
use kausal_index::{BlockIndex, EntryRef, Kind, SeqNo};
use kausal_memtable::{BatchRefused, Memtable, RotateRefused};

use crate::batch::{ChangeKind, ChangeRef, ConditionRef, WriteBatch};
use crate::blob::{BlobFile, BlobRef, VALUE_BYTES_MAX, write_blob};
use crate::changes::{Changes, SingleChange};
use crate::commit::{Guard, IsFreezing, Logged, Numbered, OrderBroken, WriteState};
use crate::core::Core;
use crate::error::Error;
use crate::file_names::{FileKind, file_path};
use crate::flow::StallGuard;
use crate::generation::Generation;
use crate::ids::{FileNumber, KeyspaceId};
use crate::metrics::StallReason;
use crate::options::{Durability, WriteOptions};
use crate::planted::is_planted;
use crate::read::View;
use crate::scheduler::{Lane, Waited};
use crate::vfs::OpenMode;
use crate::wal::{PreviousLog, WalWriter};

/// How often a writer looks again that waits for room on the disk, or for memory. Nothing tells when somebody makes room.
pub(crate) const OBSTACLE_POLL: Duration = Duration::from_millis(50);

/// A batch ready for the log: large values replaced by references.
struct Prepared {
    batch: WriteBatch,
    blobs: Vec<Arc<BlobFile>>,
}

/// What came of one attempt at a write.
enum Attempt {
    Done,
    /// Something has changed meanwhile: begin again.
    Again,
    Wait(StallReason),
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Applies `batch` as one.
    pub(crate) fn write_batch(
        self: &Arc<Self>,
        batch: &WriteBatch,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.health.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let is_large = |change: ChangeRef<'_>| {
            change.kind == ChangeKind::Put && change.value.len() > self.plan.inline_value_bytes_max
        };
        if !batch.iter().any(is_large) {
            return self.write_prepared(batch, &[], options);
        }
        let prepared = self.separate_large_values(batch)?;
        self.write_separated(prepared, options)
    }

    /// Applies one change, without an allocation unless its value is large: a chunk of that then.
    pub(crate) fn write_single(
        self: &Arc<Self>,
        change: &SingleChange<'_>,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let inline_max = self.plan.inline_value_bytes_max;
        let is_large =
            |change: &ChangeRef<'_>| change.kind == ChangeKind::Put && change.value.len() > inline_max;
        match change.changes().find(is_large) {
            // From where the caller has it: a copy of all of it would be memory that no node accounts for.
            Some(ChangeRef { keyspace, key, mut value, .. }) => {
                let len = value.len() as u64;
                self.put_reader(keyspace, key, &mut value, len, options)
            }
            None => self.write_prepared(change, &[], options),
        }
    }

    /// Sets `key` to the `len` bytes of `source`, holding at most a chunk of them in memory.
    pub(crate) fn put_reader(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        key: &[u8],
        source: &mut dyn Read,
        len: u64,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.health.check()?;
        if len > VALUE_BYTES_MAX {
            return Err(Error::invalid(format!("a value of {len} bytes, the longest has {VALUE_BYTES_MAX}")));
        }
        let mut batch = WriteBatch::new();
        if len > self.plan.inline_value_bytes_max as u64 {
            // Checked first: a key that is refused must not cost a file.
            batch.put_in(keyspace, key, b"")?;
            self.check_keyspaces(&batch)?;
            batch.clear();
            let (blob, reference) = self.write_blob(source, len)?;
            batch.push(ChangeRef { keyspace, kind: ChangeKind::Blob, key, value: &reference.to_bytes() })?;
            return self.write_separated(Prepared { batch, blobs: vec![blob] }, options);
        }
        let _charge = self.plan.lookups.reserve(len as usize)?;
        let mut value = Vec::with_capacity(len as usize);
        source.take(len).read_to_end(&mut value).map_err(|error| Error::short_source(error, len, 0))?;
        if (value.len() as u64) < len {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            return Err(Error::short_source(error, len, value.len() as u64));
        }
        if source.read(&mut [0]).map_err(|error| Error::short_source(error, len, len))? > 0 {
            return Err(Error::invalid(format!("the source has more than the {len} bytes announced")));
        }
        batch.put_in(keyspace, key, &value)?;
        self.write_prepared(&batch, &[], options)
    }

    /// Writes the large values of `batch` to blob files and returns the batch with references in their place.
    fn separate_large_values(&self, batch: &WriteBatch) -> Result<Prepared, Error> {
        let mut prepared = Prepared { batch: WriteBatch::new(), blobs: Vec::new() };
        prepared.batch.copy_conditions(batch);
        for change in batch.iter() {
            let mut value = change.value;
            if change.kind != ChangeKind::Put || value.len() <= self.plan.inline_value_bytes_max {
                prepared.batch.push(change)?;
                continue;
            }
            let len = value.len() as u64;
            match self.write_blob(&mut value, len) {
                Ok((blob, reference)) => {
                    prepared.blobs.push(blob);
                    let value = &reference.to_bytes();
                    prepared.batch.push(ChangeRef { kind: ChangeKind::Blob, value, ..change })?;
                }
                Err(error) => {
                    prepared.blobs.iter().for_each(|blob| blob.mark_obsolete());
                    return Err(error);
                }
            }
        }
        Ok(prepared)
    }

    pub(crate) fn write_blob(
        &self,
        source: &mut dyn Read,
        len: u64,
    ) -> Result<(Arc<BlobFile>, BlobRef), Error> {
        let _charge = self.plan.lookups.reserve(crate::blob::CHUNK_BYTES)?;
        let number = self.new_file_number();
        let file = BlobFile::new(&self.environment.vfs, &self.directory, number);
        let id = self.environment.entropy.u64();
        let (file, reference) = write_blob(file, id, source, len, &mut Vec::new())?;
        self.counters.blob_bytes_written.add(len);
        Ok((Arc::new(file), reference))
    }

    /// Writes a batch whose blob files are on disk; removes them again if it fails.
    fn write_separated(self: &Arc<Self>, prepared: Prepared, options: WriteOptions) -> Result<(), Error> {
        let vfs = &self.environment.vfs;
        let named = vfs.sync_dir(&self.directory).map_err(Error::io("sync", &self.directory));
        let written = named.and_then(|()| self.write_prepared(&prepared.batch, &prepared.blobs, options));
        // After a failure nobody knows whether the log names the files: they stay, and the next open decides.
        if written.is_err() && !self.health.is_poisoned() {
            prepared.blobs.iter().for_each(|blob| blob.mark_obsolete());
        }
        written
    }

    fn write_prepared(
        self: &Arc<Self>,
        changes: &impl Changes,
        blobs: &[Arc<BlobFile>],
        options: WriteOptions,
    ) -> Result<(), Error> {
        let clock = &*self.environment.clock;
        let begun = self.metrics.begin(clock);
        if !options.no_wait {
            self.slow_down(changes.bytes());
        }
        let written = self.write_waiting(changes, blobs, options);
        // A failure may have been noticed under a lock.
        written.inspect_err(|_| self.events.tell_kept())?;
        self.metrics.end_write(begun, changes.count(), changes.bytes(), clock);
        Ok(())
    }

    /// Writes, and waits for what is in the way.
    fn write_waiting(
        self: &Arc<Self>,
        changes: &impl Changes,
        blobs: &[Arc<BlobFile>],
        options: WriteOptions,
    ) -> Result<(), Error> {
        let durability = options.durability.unwrap_or(self.options.durability);
        // A write that need not wait pays for neither clock nor ticket.
        let (mut deadline, mut stall) = (None, None::<StallGuard<'_, I>>);
        loop {
            // Taken before the attempt, so that progress made after it is not slept through.
            let ticket = deadline.map(|_| self.progress.ticket());
            let reason = match self.try_write(changes, blobs, durability)? {
                Attempt::Done => return Ok(()),
                Attempt::Again => continue,
                Attempt::Wait(reason) => reason,
            };
            if options.no_wait {
                return Err(Error::Stalled { reason: reason.text(), waited: Duration::ZERO });
            }
            if stall.as_ref().is_none_or(|stall| stall.reason() != reason) {
                // One ends before the next begins.
                drop(stall.take());
                stall = Some(self.begin_stall(reason));
            }
            let now = self.environment.clock.now();
            let (Some(ticket), Some(deadline)) = (ticket, deadline) else {
                self.counters.write_stalls.add(1);
                deadline = Some(now + self.options.stall_timeout);
                continue;
            };
            let is_told = !matches!(reason, StallReason::Disk | StallReason::Memory);
            let until = if is_told { deadline } else { deadline.min(now + OBSTACLE_POLL) };
            let until = if is_planted("busy_wait") && now < deadline { now } else { until };
            let waited = self.environment.scheduler.wait(&self.progress, ticket, Some(until));
            if waited == Waited::DeadlinePassed && until == deadline {
                return Err(Error::Stalled { reason: reason.text(), waited: self.options.stall_timeout });
            }
        }
    }

    fn try_write(
        self: &Arc<Self>,
        changes: &impl Changes,
        blobs: &[Arc<BlobFile>],
        durability: Durability,
    ) -> Result<Attempt, Error> {
        if self.is_large(changes) {
            return self.try_write_as_tables(changes, blobs);
        }
        let requires = changes.required().next().is_some() && !is_planted("require_without_fence");
        let state = if requires { self.lock_alone()? } else { self.lock_writer()? };
        self.check_required(changes)?;
        let active = self.memtables.active();
        let permit = match active.permit_batch(changes.keyspace_parts()) {
            Ok(permit) => permit,
            Err(
                BatchRefused::Permit(PermitRefused::TooLarge { .. }) | BatchRefused::TooManyKeyspaces { .. },
            ) => {
                drop(state);
                return self.try_write_as_tables(changes, blobs);
            }
            Err(_) if is_planted("ignore_full_region") => return Ok(Attempt::Wait(StallReason::Memtables)),
            Err(_) => return self.try_rotate(state),
        };
        // From here on a number may be taken: if a panic comes between, nobody waits for it for ever.
        let unpublished = Unpublished { core: self, is_published: false };
        let early = is_planted("publish_before_wal").then(|| {
            let behind =
                |count| state.last_seqno.checked_add(count).expect("a planted defect needs few numbers");
            Numbered { first: behind(1), last: behind(changes.count() as u64) }
        });
        if let Some(numbered) = early {
            fill(&active, &permit, changes, numbered);
            let _ = self.order.finish(numbered.first, numbered.last, &*self.environment.scheduler);
        }
        let numbered = match self.log(state, &permit, changes, durability) {
            Ok(Logged::Yes(numbered)) => numbered,
            not_logged => {
                unpublished.forget();
                drop(permit);
                // There may have been a rotation meanwhile, whose flush waits for this permit.
                if self.order.is_freezing() {
                    self.progress.signal();
                }
                return not_logged.map(|logged| match logged {
                    Logged::DiskFull => Attempt::Wait(StallReason::Disk),
                    _ => Attempt::Again,
                });
            }
        };
        blobs.iter().for_each(|blob| active.attached().keep(Arc::clone(blob)));
        if early.is_some() {
            unpublished.forget();
            return Ok(Attempt::Done);
        }
        fill(&active, &permit, changes, numbered);
        drop(permit);
        let finished = self.order.finish(numbered.first, numbered.last, &*self.environment.scheduler);
        unpublished.forget();
        let IsFreezing(is_freezing) = finished.map_err(|OrderBroken| self.broken())?;
        if is_freezing {
            self.progress.signal();
        }
        Ok(Attempt::Done)
    }

    fn try_write_as_tables(
        self: &Arc<Self>,
        changes: &impl Changes,
        blobs: &[Arc<BlobFile>],
    ) -> Result<Attempt, Error> {
        match self.write_as_tables(changes, blobs) {
            Ok(()) => Ok(Attempt::Done),
            Err(error) => error.obstacle().map(StallReason::of_obstacle).map(Attempt::Wait).ok_or(error),
        }
    }

    /// An error if the batch writes to a keyspace that is not there, or requires what does not hold. Nothing is written
    /// meanwhile.
    pub(crate) fn check_required(&self, changes: &impl Changes) -> Result<(), Error> {
        self.check_keyspaces(changes)?;
        self.check_conditions(changes)
    }

    /// An error if the batch writes to a keyspace that is not there.
    fn check_keyspaces(&self, batch: &impl Changes) -> Result<(), Error> {
        let mut others =
            batch.keyspace_parts().iter().map(|part| part.keyspace).filter(|&id| id != KeyspaceId::DEFAULT);
        let Some(first) = others.next() else { return Ok(()) };
        let missing = self.read_view(|view| {
            std::iter::once(first).chain(others).find(|&id| view.version.tree(id).is_none())
        });
        missing.map_or(Ok(()), |keyspace| Err(Error::NoKeyspace { keyspace }))
    }

    /// An error if something that the batch requires does not hold. Every earlier batch is visible.
    fn check_conditions(&self, batch: &impl Changes) -> Result<(), Error> {
        for condition in batch.required() {
            let ConditionRef { keyspace, key, expected } = condition;
            let holds = self.look_up(|view, blocks| {
                view.get(keyspace, key, self.visible(), blocks, |entry| match (entry.kind, expected) {
                    (Kind::Delete, expected) => Ok(expected.is_none()),
                    (_, None) => Ok(false),
                    (Kind::Blob, Some(expected)) => self.open_blob(view, entry.value)?.equals(expected),
                    (_, Some(expected)) => Ok(entry.value == expected),
                })
            })?;
            if !holds.unwrap_or(Ok(expected.is_none()))? {
                return Err(Error::Conflict { keyspace, key: key.to_vec() });
            }
        }
        Ok(())
    }

    /// Puts an empty memtable and an empty log in the place of the full ones, if a region is free.
    fn try_rotate(self: &Arc<Self>, mut state: Guard<'_>) -> Result<Attempt, Error> {
        let level0_count = self.read_view(|view| view.version.level0_count());
        // Where nothing would be compacted there is nothing to wait for.
        if level0_count >= self.level0_limits().stop && self.is_compaction_due() {
            self.schedule_compaction();
            let obstacle = self.background.obstacle(Lane::Compaction);
            return Ok(Attempt::Wait(obstacle.map_or(StallReason::Level0, StallReason::of_obstacle)));
        }
        if !self.memtables.can_rotate() {
            self.schedule_flush();
            let obstacle = self.background.obstacle(Lane::Flush);
            return Ok(Attempt::Wait(obstacle.map_or(StallReason::Memtables, StallReason::of_obstacle)));
        }
        if !state.is_quiet() {
            drop(self.approach_turn(state));
            return Ok(Attempt::Again);
        }
        match self.rotate(&mut state) {
            Ok(()) => Ok(Attempt::Again),
            Err(error) if error.is_disk_full() => Ok(Attempt::Wait(StallReason::Disk)),
            Err(error) => Err(error),
        }
    }

    /// Seals the active memtable, however full, and schedules its flush. Nobody may be between number and log.
    ///
    /// # Errors
    ///
    /// If there is no log to be had. Nothing has changed then.
    pub(crate) fn rotate(self: &Arc<Self>, state: &mut WriteState) -> Result<(), Error> {
        self.store_buffered(state)?;
        let number = self.new_file_number();
        let log = self.create_log(number, Some(PreviousLog::of(&state.log)))?;
        let frozen = match self.memtables.rotate(Generation::new(number)) {
            Ok(frozen) => frozen,
            Err(refused) => {
                let _ = self.environment.vfs.remove(&file_path(&self.directory, FileKind::Log(number)));
                return Err(match refused {
                    RotateRefused::Alloc(error) => error.into(),
                    _ => Error::Stalled { reason: "no memtable region is free", waited: Duration::ZERO },
                });
            }
        };
        self.plan.memtables.note(MemoryEventKind::RegionTaken, self.plan.region_bytes);
        let active = self.memtables.active();
        self.change_view(|view| View {
            active,
            frozen: view.frozen.iter().cloned().chain([frozen]).collect(),
            version: Arc::clone(&view.version),
        });
        self.begin_log(state, log);
        self.schedule_flush();
        Ok(())
    }

    fn create_log(&self, number: FileNumber, previous: Option<PreviousLog>) -> Result<WalWriter, Error> {
        let path = file_path(&self.directory, FileKind::Log(number));
        let vfs = &self.environment.vfs;
        let file = match self.take_spare_log(&path) {
            Some(file) => file,
            None => vfs.open_log(&path, OpenMode::CreateNew).map_err(Error::io("create", &path))?,
        };
        WalWriter::create(file, path.clone(), number, self.database_id, previous).inspect_err(|_| {
            // A file that stays is removed by the next open.
            let _ = vfs.remove(&path);
        })
    }
}

/// A writer that may have a number which it has not published.
struct Unpublished<'a, I: BlockIndex> {
    core: &'a Core<I>,
    is_published: bool,
}

impl<I: BlockIndex> Unpublished<'_, I> {
    fn forget(mut self) {
        self.is_published = true;
    }
}

impl<I: BlockIndex> Drop for Unpublished<'_, I> {
    fn drop(&mut self) {
        if !self.is_published {
            self.core.poison(&Error::BackgroundPanic);
            self.core.order.break_off();
        }
    }
}

/// Changes of a batch whose inserts wait for memory together, and how many a batch must have for that.
const APPROACHED: usize = 16;

/// Asks for what inserts of those of `changes` that are of `keyspace` will look at.
fn approach<'c, I: BlockIndex>(
    memtable: &Memtable<I, Generation>,
    keyspace: KeyspaceId,
    changes: impl Iterator<Item = ChangeRef<'c>>,
) {
    let Some(part) = memtable.keyspace(keyspace) else { return };
    let (mut keys, mut count) = ([&[][..]; APPROACHED], 0);
    let alike = changes.filter(|change| change.keyspace == keyspace);
    for (key, change) in keys.iter_mut().zip(alike) {
        *key = change.key;
        count += 1;
    }
    part.approach_many(&keys[..count]);
}

/// Writes the entries of a batch, on a permit that covers it.
fn fill<I: BlockIndex>(
    memtable: &Memtable<I, Generation>,
    permit: &Permit,
    changes: &impl Changes,
    numbered: Numbered,
) {
    let mut seqno = numbered.first;
    let mut ahead = changes.changes();
    for (place, change) in changes.changes().enumerate() {
        if place.is_multiple_of(APPROACHED) && changes.count() >= APPROACHED {
            approach(memtable, change.keyspace, ahead.by_ref().take(APPROACHED));
        }
        insert(memtable, permit, change, seqno);
        // Behind the last one there may be none: it is not used.
        seqno = seqno.checked_add(1).unwrap_or(seqno);
    }
}

/// Adds one change to a memtable, on a permit that covers it.
pub(crate) fn insert<I: BlockIndex>(
    memtable: &Memtable<I, Generation>,
    permit: &Permit,
    change: ChangeRef<'_>,
    seqno: SeqNo,
) {
    let ChangeRef { keyspace, key, value, .. } = change;
    match change.kind.of_entry() {
        Some(kind) => memtable
            .insert_into(permit, keyspace, EntryRef { key, seqno, kind, value })
            .expect("the permit covers the batch, its numbers are new"),
        None => memtable
            .delete_range(permit, keyspace, key, value, seqno)
            .expect("the permit covers the batch, its ranges were checked"),
    }
}
