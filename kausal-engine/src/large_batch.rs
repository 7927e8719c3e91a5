//! Batches too large for a memtable: written to tables of level 0 at once, without a log.
//!
//! 1. The writer that has its turn lets every memtable be flushed first, so that what the batch replaces is in older tables.
//! 2. The batch is cut into chunks, in the order of its changes. Each chunk is sorted by key and written to a table of its own
//!    for each keyspace: the working set is a chunk's order and a table writer, whatever the size of the batch.
//! 3. One edit of the manifest makes all tables part of the database: the batch is there as a whole or not at all, and
//!    durable in either case. A later chunk has the larger file number, so what it says wins.
//!
//! The source of the idea is the design of this engine; RocksDB and Pebble keep such a batch whole in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use kausal_index::{BlockIndex, EntryRef, RangeTombstone, SeqNo};

use crate::batch::{ChangeKind, ChangeRef};
use crate::blob::BlobFile;
use crate::changes::Changes;
use crate::core::Core;
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::range_fragments::FragmentsBuilder;
use crate::read::View;
use crate::retention::{Retention, Stripes};
use crate::scheduler::Lane;
use crate::table_output::{NoPace, TableOutput, Target, Workplace, Written};
use crate::version::Change;

/// Changes of a chunk, at most.
const CHUNK_CHANGES_MAX: usize = 32 << 10;

/// What an entry may take of a memtable beside its key and value, for the question whether a batch is large.
const ENTRY_BYTES: usize = 64;

/// A change and its number.
type Numbered<'a> = (SeqNo, ChangeRef<'a>);

impl<I: BlockIndex + 'static> Core<I> {
    /// Whether a batch goes to tables rather than to a memtable.
    pub(crate) fn is_large(&self, changes: &impl Changes) -> bool {
        changes.bytes() + ENTRY_BYTES * changes.count() > self.plan.region_bytes / 2
    }

    /// Applies a batch as tables. The caller tries again after an error that passes: nothing of the batch is there then.
    pub(crate) fn write_as_tables(
        self: &Arc<Self>,
        changes: &impl Changes,
        blobs: &[Arc<BlobFile>],
    ) -> Result<(), Error> {
        let _fence = self.fence()?;
        self.check_required(changes)?;
        self.empty_memtables()?;
        let before = self.visible();
        let first = before.checked_add(1).ok_or(Error::SequenceExhausted)?;
        let last = before.checked_add(changes.count() as u64).ok_or(Error::SequenceExhausted)?;
        let (added, bytes) = self.write_chunks(changes, blobs, first)?;
        let mut change = Change { added, ..Change::default() };
        self.install_new(&mut change, |view, version| View { version, ..view.clone() })?;
        self.publish_alone(first, last)?;
        self.counters.flush_bytes_written.add(bytes);
        self.schedule_compaction();
        Ok(())
    }

    /// Lets every memtable be flushed. The caller keeps other writers out.
    pub(crate) fn empty_memtables(self: &Arc<Self>) -> Result<(), Error> {
        let mut deadline = None;
        loop {
            let ticket = self.progress.ticket();
            self.health.check()?;
            let mut state = self.writer.lock();
            if !self.memtables.active().is_empty() && self.memtables.can_rotate() {
                self.rotate(&mut state)?;
            }
            drop(state);
            if self.memtables.active().is_empty() && self.memtables.frozen_count() == 0 {
                return Ok(());
            }
            self.schedule_flush();
            let obstacle = self.background.obstacle(Lane::Flush);
            let until = obstacle.map(|obstacle| self.next_look(obstacle, &mut deadline)).transpose()?;
            self.environment.scheduler.wait(&self.progress, ticket, until);
        }
    }

    fn write_chunks(
        &self,
        batch: &impl Changes,
        blobs: &[Arc<BlobFile>],
        first: SeqNo,
    ) -> Result<Written, Error> {
        let find_blob = |number| blobs.iter().find(|blob| blob.number() == number).cloned();
        let new_number = || self.new_file_number();
        let place = self.workplace(&self.plan.flush, &new_number, &find_blob, &NoPace);
        let chunk_bytes = self.plan.region_bytes / 2;
        // An eighth of what a flush may have, for the order of a chunk's changes.
        let fitting = self.plan.flush.budget().ceiling() / 8 / size_of::<Numbered<'_>>();
        let entries = fitting.clamp(1, CHUNK_CHANGES_MAX).min(batch.count());
        let (mut tables, mut bytes) = (Vec::new(), 0);
        let mut changes = batch.changes().enumerate().peekable();
        while changes.peek().is_some() {
            let _charge = self.plan.flush.budget().reserve(entries * size_of::<Numbered<'_>>())?;
            let mut chunk: Vec<Numbered<'_>> = Vec::with_capacity(entries);
            let mut payload = 0;
            while payload < chunk_bytes
                && chunk.len() < entries
                && let Some((place, change)) = changes.next()
            {
                payload += change.key.len() + change.value.len();
                let seqno = first.checked_add(place as u64).ok_or(Error::SequenceExhausted)?;
                chunk.push((seqno, change));
            }
            // Of what was written for earlier chunks nothing is named yet if this one fails.
            let written = write_chunk(place, &mut chunk).inspect_err(|_| {
                tables.iter().for_each(|table: &Arc<crate::version::TableFile>| table.mark_obsolete());
            })?;
            tables.extend(written.0);
            bytes += written.1;
        }
        Ok((tables, bytes))
    }
}

/// Writes a chunk to a table for each of its keyspaces.
fn write_chunk(place: Workplace<'_>, chunk: &mut [Numbered<'_>]) -> Result<Written, Error> {
    // Key ascending, the newest first: the order of tables.
    chunk.sort_unstable_by(|(left_seqno, left), (right_seqno, right)| {
        (left.keyspace, left.key, right_seqno).cmp(&(right.keyspace, right.key, left_seqno))
    });
    let (mut tables, mut bytes) = (Vec::new(), 0);
    let keyspaces: BTreeSet<KeyspaceId> = chunk.iter().map(|(_, change)| change.keyspace).collect();
    for keyspace in keyspaces {
        let start = chunk.partition_point(|(_, change)| change.keyspace < keyspace);
        let end = chunk.partition_point(|(_, change)| change.keyspace <= keyspace);
        let written = write_part(place, keyspace, &chunk[start..end]).inspect_err(|_| {
            tables.iter().for_each(|table: &Arc<crate::version::TableFile>| table.mark_obsolete());
        })?;
        tables.extend(written.0);
        bytes += written.1;
    }
    Ok((tables, bytes))
}

fn write_part(place: Workplace<'_>, keyspace: KeyspaceId, part: &[Numbered<'_>]) -> Result<Written, Error> {
    // No snapshot is between two changes of a batch.
    let stripes = Stripes::default();
    let mut fragments = FragmentsBuilder::new(place.memory.budget())?;
    for (seqno, change) in part.iter().filter(|(_, change)| change.kind == ChangeKind::DeleteRange) {
        fragments.add(RangeTombstone { start: change.key, end: change.value, seqno: *seqno })?;
    }
    let fragments = fragments.build(&stripes, |_, _| false)?;
    let target = Target { keyspace, level: 0, file_bytes: u64::MAX };
    let mut output = TableOutput::new(place, target, fragments);
    let mut retention = Retention::new(stripes);
    for &(seqno, change) in part {
        let Some(kind) = change.kind.of_entry() else { continue };
        let entry = EntryRef { key: change.key, seqno, kind, value: change.value };
        if retention.keeps(entry, output.fragments(), || false) {
            output.add(entry)?;
        }
    }
    output.finish()
}
