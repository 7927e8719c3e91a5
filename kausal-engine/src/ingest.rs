//! Ingestion: entries in order of their keys stream into tables, past the log and the memtables.
//!
//! 1. A fence keeps other writers out, and every memtable is flushed: what the stream replaces is in older tables.
//! 2. All entries get one sequence number, the next one: no two have the same key. They go to tables of the usual size as they
//!    come, in the memory that is set aside for a flush; values too large to lie beside their keys go to blob files.
//!    Each table is synced in the background while the next one is written.
//! 3. Each table goes to the deepest level where neither it nor anything above it overlaps another table, so that nobody has to
//!    merge it; to level 0 if there is none. No compaction runs between that choice and the next step.
//! 4. One edit of the manifest makes all tables part of the database, durable: all of the stream is there or nothing. Files of
//!    a stream that failed are removed, at the latest by the next open.
//!
//! The idea is that of RocksDB's `SstFileWriter` and `IngestExternalFile`, and of LMDB's `MDB_APPEND`. Here the tables are
//! written by the database itself, so that no sequence number has to be put into a table after the fact and nothing has to be
//! linked or copied. The price is that other writers wait for the whole stream, not for its last step only.
//!
//! Not here: deletes. A range delete before the stream costs one write.

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::Arc;

use kausal_index::{BlockIndex, EntryRef, KEY_BYTES_MAX, Kind, SeqNo};

use crate::blob::{BlobFile, BlobRef};
use crate::core::Core;
use crate::error::Error;
use crate::ids::{FileNumber, KeyspaceId};
use crate::range_fragments::{FragmentsBuilder, RangeFragments};
use crate::read::View;
use crate::retention::Stripes;
use crate::table_output::{NoPace, TableOutput, Target, Workplace};
use crate::version::{Change, TableFile, Tree, Version};

/// Takes the entries of one [ingestion](crate::StorageEngine::ingest), in order of their keys.
pub struct Ingestion<'a> {
    place: Workplace<'a>,
    target: Target,
    tree: &'a Tree,
    merges: bool,
    seqno: SeqNo,
    inline_value_bytes_max: usize,
    write_blob: &'a dyn Fn(&[u8]) -> Result<BlobRef, Error>,
    note_failure: &'a dyn Fn(&Error),
    /// Since the first entry.
    output: Option<TableOutput<'a>>,
    last_key: Vec<u8>,
    entry_count: u64,
    bytes: usize,
    /// An entry was refused or could not be written: what came before it is not to be ingested either.
    is_broken: bool,
}

impl Ingestion<'_> {
    /// Sets `key`, which comes after all keys so far, to `value`. Costs a copy into the block being written; a full block is
    /// checksummed, and now and then a piece of about 1 MiB goes to the file.
    ///
    /// # Errors
    ///
    /// [`Error::Unsorted`], [`Error::InvalidArgument`] if the key is too long, [`Error::Io`], [`Error::MemoryBudget`]. After any of
    /// them nothing is ingested, whatever the caller makes of it.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if self.is_broken {
            return Err(refused_before());
        }
        self.is_broken = true;
        self.add(key, value).inspect_err(self.note_failure)?;
        self.is_broken = false;
        self.entry_count += 1;
        self.bytes += key.len() + value.len();
        Ok(())
    }

    /// Entries so far.
    pub fn entry_count(&self) -> u64 {
        self.entry_count
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::key_too_long(key.len()));
        }
        if self.entry_count > 0 && key <= self.last_key.as_slice() {
            return Err(Error::Unsorted { previous: self.last_key.clone(), key: key.to_vec() });
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        if value.len() <= self.inline_value_bytes_max {
            let entry = EntryRef { key, seqno: self.seqno, kind: Kind::Put, value };
            return self.output(key)?.add(entry);
        }
        let reference = (self.write_blob)(value)?.to_bytes();
        let entry = EntryRef { key, seqno: self.seqno, kind: Kind::Blob, value: &reference };
        self.output(key)?.add(entry)
    }
}

impl<'a> Ingestion<'a> {
    /// Where entries go, from `key` on if it is the first: packed as the level that a stream without an end could go to.
    fn output(&mut self, key: &[u8]) -> Result<&mut TableOutput<'a>, Error> {
        // Not taken out and put back: it has several hundred bytes.
        if self.output.is_none() {
            let level = level_for(self.tree, self.merges, key, Bound::Unbounded);
            let target = Target { level, ..self.target };
            let output = TableOutput::new(self.place, target, no_fragments(&self.place)?);
            self.output = Some(output.sync_behind());
        }
        Ok(self.output.as_mut().expect("made above"))
    }
}

impl std::fmt::Debug for Ingestion<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ingestion")
            .field("keyspace", &self.target.keyspace)
            .field("entry_count", &self.entry_count)
            .finish_non_exhaustive()
    }
}

/// A stream that is in tables, which nothing names yet.
struct Streamed {
    tables: Vec<Arc<TableFile>>,
    table_bytes: u64,
    entry_count: u64,
    bytes: usize,
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Makes what `source` puts part of `keyspace`, as a whole, and answers how many entries that were.
    pub(crate) fn ingest<E: From<Error>>(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        source: impl FnOnce(&mut Ingestion<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.health.check()?;
        let fence = self.fence()?;
        fence.refuse_own_writes();
        self.empty_memtables()?;
        let seqno = self.visible().checked_add(1).ok_or(Error::SequenceExhausted)?;
        let version = Arc::clone(&self.view().version);
        let blobs = RefCell::new(Vec::new());
        let streamed = self.stream(keyspace, &version, seqno, &blobs, source).inspect_err(|_| {
            // Of a stream that failed nothing is named.
            blobs.borrow().iter().for_each(|blob| blob.mark_obsolete());
        })?;
        if streamed.entry_count == 0 {
            return Ok(0);
        }
        let (entry_count, bytes) = (streamed.entry_count, streamed.bytes);
        self.install_stream(keyspace, seqno, streamed, &blobs.into_inner())?;
        self.metrics.end_write(None, entry_count as usize, bytes, &*self.environment.clock);
        drop(fence);
        self.schedule_compaction();
        Ok(entry_count)
    }

    fn stream<E: From<Error>>(
        &self,
        keyspace: KeyspaceId,
        version: &Version,
        seqno: SeqNo,
        blobs: &RefCell<Vec<Arc<BlobFile>>>,
        source: impl FnOnce(&mut Ingestion<'_>) -> Result<(), E>,
    ) -> Result<Streamed, E> {
        let tree = version.tree(keyspace).ok_or(Error::NoKeyspace { keyspace })?;
        let find_blob =
            |number: FileNumber| blobs.borrow().iter().find(|blob| blob.number() == number).cloned();
        let write_blob = |mut value: &[u8]| {
            let len = value.len() as u64;
            let (blob, reference) = self.write_blob(&mut value, len)?;
            blobs.borrow_mut().push(blob);
            Ok(reference)
        };
        let new_number = || self.new_file_number();
        let note_failure = |error: &Error| {
            if matches!(error, Error::Io { op: "sync", .. }) {
                self.poison(error);
            }
        };
        let mut ingestion = Ingestion {
            place: self.workplace(&self.plan.flush, &new_number, &find_blob, &NoPace),
            target: Target { keyspace, level: 0, file_bytes: self.table_bytes() },
            tree,
            merges: self.compaction_policy.merges(),
            seqno,
            inline_value_bytes_max: self.plan.inline_value_bytes_max,
            write_blob: &write_blob,
            note_failure: &note_failure,
            output: None,
            last_key: Vec::new(),
            entry_count: 0,
            bytes: 0,
            is_broken: false,
        };
        source(&mut ingestion)?;
        let Ingestion { output, entry_count, bytes, is_broken, .. } = ingestion;
        if is_broken {
            return Err(refused_before().into());
        }
        let finished = output.map_or(Ok((Vec::new(), 0)), TableOutput::finish);
        let (tables, table_bytes) = finished.inspect_err(note_failure)?;
        Ok(Streamed { tables, table_bytes, entry_count, bytes })
    }

    /// Gives each table its level, and makes them durable and visible.
    fn install_stream(
        self: &Arc<Self>,
        keyspace: KeyspaceId,
        seqno: SeqNo,
        streamed: Streamed,
        blobs: &[Arc<BlobFile>],
    ) -> Result<(), Error> {
        // A compaction that ends now might put a table on the level that was chosen, around ours.
        let turn = self.compaction_turn.lock();
        let version = Arc::clone(&self.view().version);
        let tree = version.tree(keyspace).expect("nobody drops a keyspace behind the fence");
        let merges = self.compaction_policy.merges();
        let placed = streamed.tables.into_iter().map(|table| {
            let meta = table.meta();
            let level = level_for(tree, merges, &meta.key_min, meta.upper());
            if level == meta.level { table } else { Arc::new(table.on_level(level)) }
        });
        let mut change = Change { added: placed.collect(), ..Change::default() };
        let installed = self.install_new(&mut change, |view, version| View { version, ..view.clone() });
        drop(turn);
        if installed.as_ref().is_err_and(Error::is_disk_full) {
            blobs.iter().for_each(|blob| blob.mark_obsolete());
        }
        installed?;
        self.publish_alone(seqno, seqno)?;
        self.counters.flush_bytes_written.add(streamed.table_bytes);
        self.tell_tables(&[], &change.added);
        Ok(())
    }
}

/// The deepest level that a table of these keys may go to.
fn level_for(tree: &Tree, merges: bool, lower: &[u8], upper: Bound<&[u8]>) -> u8 {
    // Without merges all tables are in level 0, in order of their age.
    if merges { tree.deepest_free(lower, upper) as u8 } else { 0 }
}

fn no_fragments(place: &Workplace<'_>) -> Result<RangeFragments, Error> {
    Ok(FragmentsBuilder::new(place.memory.budget())?.build(&Stripes::default(), |_, _| false)?)
}

fn refused_before() -> Error {
    Error::invalid("an entry of the ingestion was refused, so nothing is ingested")
}
