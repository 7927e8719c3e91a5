//! The write path: permit, log, memtable, publish.
//!
//! 1. Values too large to lie beside their keys go to blob files first, durable before anything names them.
//! 2. Under the writer's lock: a permit for the whole batch (rotating to an empty memtable if the active one has no
//!    room), one log record, a sync if asked for, then the inserts, which cannot fail any more, then publication.
//! 3. When no region is free or level 0 is too deep, the writer waits for progress without any lock, up to the
//!    stall timeout.
//!
//! A log that fails to store a record is cut back to the record before. If that fails too, or any sync fails,
//! the database is poisoned: no later write is acknowledged, reads go on, reopening recovers.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use kausal_arena::{Permit, PermitRefused, Reservation};
use kausal_index::{BlockIndex, EntryRef, Kind, SeqNo};
use kausal_memtable::{BatchRefused, Memtable, RotateRefused};

use crate::batch::{ChangeKind, ChangeRef, ConditionRef, WriteBatch};
use crate::blob::{BlobFile, BlobRef, VALUE_BYTES_MAX, write_blob};
use crate::core::Core;
use crate::error::Error;
use crate::file_names::{FileKind, file_path};
use crate::generation::Generation;
use crate::ids::{FileNumber, KeyspaceId};
use crate::options::{Durability, WriteOptions};
use crate::read::View;
use crate::scheduler::Waited;
use crate::vfs::OpenMode;
use crate::wal::{FrameBuilder, PreviousLog, WalWriter};

/// Memory of the frame builder that is kept from batch to batch.
const FRAME_BYTES_KEPT: usize = 64 << 10;

/// What the writer's lock guards.
#[derive(Debug)]
pub(crate) struct WriteState {
    pub(crate) log: WalWriter,
    /// Logs of frozen memtables that were not synced to their end: a sync of `log` syncs them first, so that what
    /// survives has no hole.
    pub(crate) unsynced: Vec<WalWriter>,
    pub(crate) last_seqno: SeqNo,
    pub(crate) frame: FrameBuilder,
    /// Pays for the memory of `frame`.
    pub(crate) frame_charge: Reservation,
    /// Whether the name of `log` is durable.
    pub(crate) name_synced: bool,
}

/// A batch ready for the log: large values replaced by references.
struct Prepared {
    batch: WriteBatch,
    blobs: Vec<Arc<BlobFile>>,
}

/// Why a write has to wait before it can try again.
enum Attempt {
    Done,
    /// An empty memtable is in place.
    Rotated,
    Wait(&'static str),
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Applies `batch` as one.
    pub(crate) fn write(self: &Arc<Self>, batch: &WriteBatch, options: WriteOptions) -> Result<(), Error> {
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
        let _charge = self.plan.reads.reserve(len as usize)?;
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

    fn write_blob(&self, source: &mut dyn Read, len: u64) -> Result<(Arc<BlobFile>, BlobRef), Error> {
        let _charge = self.plan.reads.reserve(crate::blob::CHUNK_BYTES)?;
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
        batch: &WriteBatch,
        blobs: &[Arc<BlobFile>],
        options: WriteOptions,
    ) -> Result<(), Error> {
        let durability = options.durability.unwrap_or(self.options.durability);
        let deadline = self.environment.clock.now() + self.options.stall_timeout;
        loop {
            // Taken before the attempt, so that progress made after it is not slept through.
            let ticket = self.progress.ticket();
            self.health.check()?;
            match self.try_write(batch, blobs, durability)? {
                Attempt::Done => return Ok(()),
                Attempt::Rotated => {}
                Attempt::Wait(reason) => {
                    self.counters.write_stalls.add(1);
                    let scheduler = &self.environment.scheduler;
                    if scheduler.wait(&self.progress, ticket, Some(deadline)) == Waited::DeadlinePassed {
                        return Err(Error::Stalled { reason, waited: self.options.stall_timeout });
                    }
                }
            }
        }
    }

    fn try_write(
        self: &Arc<Self>,
        batch: &WriteBatch,
        blobs: &[Arc<BlobFile>],
        durability: Durability,
    ) -> Result<Attempt, Error> {
        let mut state = self.writer.lock();
        // Again under the lock: a close or a failure may have come between.
        self.health.check()?;
        self.check_keyspaces(batch)?;
        self.check_conditions(batch)?;
        let active = self.memtables.active();
        let permit = match active.permit_batch(batch.parts()) {
            Ok(permit) => permit,
            Err(BatchRefused::Permit(PermitRefused::TooLarge { need, max })) => {
                return Err(Error::BatchTooLarge { need, max });
            }
            Err(BatchRefused::TooManyKeyspaces { need, max }) => {
                return Err(Error::invalid(format!("a batch of {need} keyspaces, {max} is the most")));
            }
            Err(_) => return self.try_rotate(&mut state),
        };
        let last = self.log(&mut state, &permit, batch, durability)?;
        blobs.iter().for_each(|blob| active.attached().keep(Arc::clone(blob)));
        let mut seqno = state.last_seqno;
        for change in batch.iter() {
            seqno = seqno.checked_add(1).expect("the last number of the batch fits");
            insert(&active, &permit, change, seqno);
        }
        drop(permit);
        state.last_seqno = last;
        self.publish(last);
        self.counters.puts.add(batch.len() as u64);
        self.counters.user_bytes_written.add(batch.payload_bytes() as u64);
        Ok(Attempt::Done)
    }

    /// An error if the batch writes to a keyspace that is not there.
    fn check_keyspaces(&self, batch: &WriteBatch) -> Result<(), Error> {
        let mut others =
            batch.parts().iter().map(|part| part.keyspace).filter(|&id| id != KeyspaceId::DEFAULT);
        let Some(first) = others.next() else { return Ok(()) };
        let missing = self.read_view(|view| {
            std::iter::once(first).chain(others).find(|&id| view.version.tree(id).is_none())
        });
        missing.map_or(Ok(()), |keyspace| Err(Error::NoKeyspace { keyspace }))
    }

    /// An error if something that the batch requires does not hold. Nothing is written meanwhile: the caller holds the
    /// writer's lock, and every earlier batch is visible.
    fn check_conditions(&self, batch: &WriteBatch) -> Result<(), Error> {
        for condition in batch.conditions() {
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

    /// Writes the batch's record, syncing as `durability` asks. Returns the batch's last sequence number.
    fn log(
        &self,
        state: &mut WriteState,
        permit: &Permit,
        batch: &WriteBatch,
        durability: Durability,
    ) -> Result<SeqNo, Error> {
        let first = state.last_seqno.checked_add(1).ok_or(Error::SequenceExhausted)?;
        let last = state.last_seqno.checked_add(batch.len() as u64).ok_or(Error::SequenceExhausted)?;
        self.charge_frame(state, batch)?;
        state.frame.begin(first);
        batch.iter().for_each(|change| state.frame.push(change));
        let appended = match durability {
            Durability::Buffered => state.log.append_buffered(permit, &mut state.frame),
            Durability::Process | Durability::Power => state.log.append(permit, &mut state.frame),
        };
        if let Err(error) = appended {
            if state.log.is_broken() {
                self.poison(&error);
            }
            return Err(error);
        }
        if durability == Durability::Power
            && let Err(error) = self.sync_logs(state)
        {
            self.poison(&error);
            return Err(error);
        }
        Ok(last)
    }

    /// Charges the frame of `batch` before its memory is taken; gives what a large one took back.
    fn charge_frame(&self, state: &mut WriteState, batch: &WriteBatch) -> Result<(), Error> {
        // Header, and for each change keyspace, kind and two lengths.
        let needed = 64 + 24 * batch.len() + batch.payload_bytes();
        if needed > state.frame.capacity() {
            state.frame_charge.resize(needed.max(FRAME_BYTES_KEPT))?;
            state.frame.reserve(needed.max(FRAME_BYTES_KEPT));
        } else if needed <= FRAME_BYTES_KEPT && state.frame.capacity() > FRAME_BYTES_KEPT {
            state.frame.shrink_to(FRAME_BYTES_KEPT);
            state.frame_charge.resize(FRAME_BYTES_KEPT)?;
        }
        Ok(())
    }

    /// Makes everything logged so far durable: older logs first, then the name of the current one, then itself.
    pub(crate) fn sync_logs(&self, state: &mut WriteState) -> Result<(), Error> {
        if !state.name_synced {
            let vfs = &self.environment.vfs;
            vfs.sync_dir(&self.directory).map_err(Error::io("sync", &self.directory))?;
            state.name_synced = true;
        }
        let flushed_below = self.memtables.tables();
        let oldest = flushed_below.frozen.first().unwrap_or(&flushed_below.active).attached().log();
        state.unsynced.retain(|log| log.number() >= oldest);
        for log in &mut state.unsynced {
            log.sync()?;
        }
        state.unsynced.clear();
        state.log.sync()
    }

    /// Puts an empty memtable and an empty log in the place of the full ones, if a region is free.
    fn try_rotate(self: &Arc<Self>, state: &mut WriteState) -> Result<Attempt, Error> {
        let level0_count = self.read_view(|view| view.version.level0_count());
        // Where nothing would be compacted there is nothing to wait for.
        if level0_count >= self.options.level0_stall_count && self.is_compaction_due() {
            self.schedule_compaction();
            return Ok(Attempt::Wait("level 0 is being compacted"));
        }
        if !self.memtables.can_rotate() {
            self.schedule_flush();
            return Ok(Attempt::Wait("every memtable region is waiting for its flush"));
        }
        self.rotate(state)?;
        Ok(Attempt::Rotated)
    }

    /// Seals the active memtable, however full, and schedules its flush.
    pub(crate) fn rotate(self: &Arc<Self>, state: &mut WriteState) -> Result<(), Error> {
        state.log.flush().inspect_err(|error| self.poison(error))?;
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
        let active = self.memtables.active();
        self.change_view(|view| View {
            active,
            frozen: view.frozen.iter().cloned().chain([frozen]).collect(),
            version: Arc::clone(&view.version),
        });
        let old = std::mem::replace(&mut state.log, log);
        if !old.is_synced() {
            state.unsynced.push(old);
        }
        state.name_synced = false;
        self.schedule_flush();
        Ok(())
    }

    fn create_log(&self, number: FileNumber, previous: Option<PreviousLog>) -> Result<WalWriter, Error> {
        let path = file_path(&self.directory, FileKind::Log(number));
        let vfs = &self.environment.vfs;
        let file = vfs.open_log(&path, OpenMode::CreateNew).map_err(Error::io("create", &path))?;
        WalWriter::create(file, path, number, self.database_id, previous)
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
