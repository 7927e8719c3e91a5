//! Parts of one compaction: ranges of keys that are merged at the same time (RocksDB's subcompactions).
//!
//! 1. A merge with the bytes of several tables is cut at keys, so never between versions of one: where the inputs' tables,
//!    their segments or their blocks end. Each part has the bytes of a table, or nearly.
//! 2. Every part but one has its working set set aside before any begins. What cannot be had now makes fewer parts, or none.
//! 3. The parts lie in a list. The thread that compacts takes one after the other, and so does every helper, a job on the lane of
//!    compactions; who finds none left ends. So any number of threads does it, also that one alone, and nobody waits but for a
//!    part that is being merged.
//! 4. The first part that fails stops the others, and what all of them wrote is removed. Where it failed for want of memory, the
//!    merge is done again whole by the one thread, in what is set aside for that whatever others hold.
//!
//! The tables of all parts are installed in one edit of the manifest by whoever asked for the compaction.
//!
//! **Invariant:** when the merge is over, no helper holds anything of it, nor of the core: not one that still waits in its queue,
//! and one that has begun was waited for.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Weak};

use kausal_arena::Reservation;
use kausal_arena::sync::Mutex;
use kausal_index::{BlockIndex, RangeTombstone};
use kausal_sstable::Compression;

use crate::compaction::Pick;
use crate::compaction::job::{Merge, ahead_bytes};
use crate::core::Core;
use crate::error::Error;
use crate::event::Event;
use crate::job_memory::JobMemory;
use crate::manifest::TableMeta;
use crate::range_fragments::FragmentsBuilder;
use crate::scheduler::{Lane, Scheduler};
use crate::table_output::{Written, output_bytes};

/// Places at which a part could end have so many-th a part's bytes between them, in each table.
const PLACES: u64 = 16;

/// A block buffer beside what it reads: the longest key put together, and the index of a segment where it is not resident.
const SOURCE_BYTES: usize = 64 << 10;

/// A table writer beside its output and the block being written: hashes of a segment's keys, its filter, its index, the root.
const WRITER_BYTES: usize = 512 << 10;

/// Contexts of a compression.
const LZ4_BYTES: usize = 64 << 10;
const ZSTD_BYTES: usize = 1 << 20;

/// Keys from one to before another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part<'a> {
    /// `None` is the beginning.
    pub(super) lower: Option<&'a [u8]>,
    /// `None` is the end.
    pub(super) upper: Option<&'a [u8]>,
}

impl Part<'_> {
    /// Whether a table may hold a key of the part.
    pub(super) fn overlaps(&self, meta: &TableMeta) -> bool {
        self.lower.is_none_or(|lower| !meta.ends_before(lower))
            && self.upper.is_none_or(|upper| meta.begins_within(Bound::Excluded(upper)))
    }

    /// What a range tombstone says of the part's keys.
    pub(super) fn clip<'r>(&'r self, range: RangeTombstone<'r>) -> Option<RangeTombstone<'r>> {
        let start = self.lower.map_or(range.start, |lower| lower.max(range.start));
        let end = self.upper.map_or(range.end, |upper| upper.min(range.end));
        (start < end).then_some(RangeTombstone { start, end, ..range })
    }
}

/// A merge and where it is cut.
struct Cut {
    merge: Arc<Merge>,
    /// The keys that parts begin with, but for the first, ascending.
    borders: Vec<Vec<u8>>,
    /// For the borders.
    _charge: Reservation,
}

impl Cut {
    fn part_count(&self) -> usize {
        self.borders.len() + 1
    }

    fn part(&self, place: usize) -> Part<'_> {
        let border = |place: usize| self.borders.get(place).map(Vec::as_slice);
        Part { lower: place.checked_sub(1).and_then(border), upper: border(place) }
    }
}

/// Why a merge ended before all its parts were done.
enum Early {
    GivenUp,
    Failed(Error),
}

/// What those who merge parts share.
struct Shared {
    state: Mutex<State>,
    /// Signalled when a helper ends.
    ended: Event,
}

struct State {
    /// `None` when the merge is over.
    cut: Option<Arc<Cut>>,
    /// The next part that nobody has taken.
    next: usize,
    /// Of helpers that have not begun.
    memories: Vec<JobMemory>,
    /// Helpers that have begun and not ended.
    working: usize,
    /// The tables of each part that is done.
    written: Vec<Option<Written>>,
    early: Option<Early>,
}

impl Shared {
    fn new(cut: &Arc<Cut>, memories: Vec<JobMemory>) -> Self {
        let written = (0..cut.part_count()).map(|_| None).collect();
        let cut = Some(Arc::clone(cut));
        let state = State { cut, next: 0, memories, working: 0, written, early: None };
        Self { state: Mutex::new(state), ended: Event::new() }
    }

    /// Takes the next part, if there is one.
    fn take(&self) -> Option<usize> {
        let mut state = self.state.lock();
        let place = state.next;
        if !state.has_parts() {
            return None;
        }
        state.next += 1;
        Some(place)
    }

    /// Notes how a part ended. Answers whether the others shall stop.
    fn put(&self, place: usize, ended: Result<Option<Written>, Error>) -> bool {
        let mut state = self.state.lock();
        match ended {
            // The thread that compacts has ended in a panic.
            Ok(Some((tables, _))) if state.cut.is_none() => {
                tables.iter().for_each(|table| table.mark_obsolete());
                drop(state);
            }
            Ok(Some(written)) => state.written[place] = Some(written),
            Ok(None) => {
                state.early.get_or_insert(Early::GivenUp);
                return true;
            }
            Err(error) => {
                state.fail(error);
                return true;
            }
        }
        false
    }

    /// Begins the work of a helper, if there is any.
    fn begin(self: &Arc<Self>) -> Option<(Working, Arc<Cut>, JobMemory)> {
        let mut state = self.state.lock();
        if !state.has_parts() {
            return None;
        }
        let cut = state.cut.clone()?;
        let memory = state.memories.pop()?;
        state.working += 1;
        Some((Working { shared: Arc::clone(self), has_ended: false }, cut, memory))
    }

    /// Waits until no helper works any more, and lets none begin after that.
    fn finish(&self, scheduler: &dyn Scheduler) {
        loop {
            let mut state = self.state.lock();
            if state.working == 0 {
                let held = (state.cut.take(), std::mem::take(&mut state.memories));
                drop(state);
                drop(held);
                return;
            }
            // Under the lock: a helper that ends from here on moves the event past it.
            let ticket = self.ended.ticket();
            drop(state);
            scheduler.wait(&self.ended, ticket, None);
        }
    }

    /// The tables of all parts in order; `None` if they were given up.
    fn result(&self) -> Result<Option<Written>, Error> {
        let mut state = self.state.lock();
        match state.early.take() {
            Some(Early::GivenUp) => return Ok(None),
            Some(Early::Failed(error)) => return Err(error),
            None => {}
        }
        let (mut tables, mut bytes) = (Vec::new(), 0);
        for (added, written) in std::mem::take(&mut state.written).into_iter().flatten() {
            tables.extend(added);
            bytes += written;
        }
        Ok(Some((tables, bytes)))
    }
}

impl State {
    fn has_parts(&self) -> bool {
        self.early.is_none() && self.cut.as_ref().is_some_and(|cut| self.next < cut.part_count())
    }

    fn fail(&mut self, error: Error) {
        // What is for want of memory is tried again, so it must hide no other failure.
        if !matches!(&self.early, Some(Early::Failed(first)) if !matches!(first, Error::MemoryBudget(_))) {
            self.early = Some(Early::Failed(error));
        }
    }
}

/// The merge is over when this drops, in whatever way: tables that nobody has taken go.
struct Over<'a> {
    shared: &'a Shared,
    merge: &'a Merge,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.merge.state.stop();
        let mut state = self.shared.state.lock();
        let held = (state.cut.take(), std::mem::take(&mut state.memories));
        let written = std::mem::take(&mut state.written);
        drop(state);
        written.iter().flatten().flat_map(|(tables, _)| tables).for_each(|table| table.mark_obsolete());
        drop(held);
    }
}

/// A helper at work. Ends it, even if it panics.
struct Working {
    shared: Arc<Shared>,
    has_ended: bool,
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.working -= 1;
        if !self.has_ended {
            state.fail(Error::BackgroundPanic);
            if let Some(cut) = &state.cut {
                cut.merge.state.stop();
            }
        }
        drop(state);
        self.shared.ended.signal();
    }
}

/// A job that merges parts for as long as there are some.
struct Helper<I: BlockIndex + 'static> {
    core: Weak<Core<I>>,
    shared: Arc<Shared>,
}

impl<I: BlockIndex + 'static> Helper<I> {
    fn run(self) {
        // What is held is dropped before the work is seen to have ended: last first.
        let Some((mut working, cut, memory)) = self.shared.begin() else { return };
        if let Some(core) = self.core.upgrade() {
            core.merge_parts(&self.shared, &cut, &memory);
        }
        working.has_ended = true;
    }
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Merges in parts, if the merge is large enough and there is memory for that; the outer `None` if not.
    pub(super) fn try_merge_in_parts(
        self: &Arc<Self>,
        merge: &Arc<Merge>,
    ) -> Result<Option<Option<Written>>, Error> {
        let Some((cut, memories)) = self.cut(merge)? else { return Ok(None) };
        let part_count = cut.part_count();
        match self.merge_in_parts(&Arc::new(cut), memories) {
            Err(Error::MemoryBudget(_)) => {
                merge.state.reset();
                Ok(None)
            }
            Ok(Some(written)) => {
                self.counters.compaction_parts.add(part_count as u64);
                Ok(Some(Some(written)))
            }
            ended => ended.map(Some),
        }
    }

    fn merge_in_parts(
        self: &Arc<Self>,
        cut: &Arc<Cut>,
        memories: Vec<JobMemory>,
    ) -> Result<Option<Written>, Error> {
        let (helpers, scheduler) = (memories.len(), &self.environment.scheduler);
        let shared = Arc::new(Shared::new(cut, memories));
        let _over = Over { shared: &shared, merge: &cut.merge };
        for _ in 0..helpers {
            let helper = Helper { core: Arc::downgrade(self), shared: Arc::clone(&shared) };
            scheduler.spawn(Lane::Compaction, Box::new(move || helper.run()));
        }
        self.merge_parts(&shared, cut, &self.plan.compaction);
        shared.finish(&**scheduler);
        shared.result()
    }

    /// Merges one part after the other, until none is left or the merge is over.
    fn merge_parts(&self, shared: &Shared, cut: &Cut, memory: &JobMemory) {
        while let Some(place) = shared.take() {
            let ended = self.merge_part(&cut.merge, cut.part(place), memory);
            if shared.put(place, ended) {
                cut.merge.state.stop();
                // Those who wait for their share of the rate look again.
                self.progress.signal();
            }
        }
    }

    /// Where to cut, and the memory of each part but one; `None` if the merge is to stay whole.
    fn cut(&self, merge: &Arc<Merge>) -> Result<Option<(Cut, Vec<JobMemory>)>, Error> {
        let Some(parts_memory) = &self.plan.compaction_parts else { return Ok(None) };
        let picked = &merge.picked;
        let bytes: u64 = picked.inputs().map(|file| file.meta().file_bytes).sum();
        let most = (bytes / self.table_bytes().max(1)).min(self.options.compaction_threads as u64);
        let need = self.part_bytes(picked);
        let mut memories: Vec<_> = (1..most).map_while(|_| parts_memory.set_aside(need).ok()).collect();
        if memories.is_empty() {
            return Ok(None);
        }
        let part_count = memories.len() as u64 + 1;
        let (places, charge) = match self.places(picked, bytes / (part_count * PLACES)) {
            Err(Error::MemoryBudget(_)) => return Ok(None),
            places => places?,
        };
        let borders = borders(&places, bytes, part_count);
        memories.truncate(borders.len());
        let cut = Cut { merge: Arc::clone(merge), borders, _charge: charge };
        Ok((!memories.is_empty()).then_some((cut, memories)))
    }

    /// Places at which a part could end, about `stride` bytes of a table apart, in order of their keys.
    fn places(&self, picked: &Pick, stride: u64) -> Result<(Vec<Place>, Reservation), Error> {
        let memory = &self.plan.compaction;
        let (mut buffer, mut charge) = (memory.buffers().lend()?, memory.budget().reserve(0)?);
        let mut places: Vec<Place> = Vec::new();
        for file in picked.inputs().filter(|file| file.meta().entry_count > 0) {
            let mut charged = Ok(());
            let add = |key: &[u8], bytes: u64| {
                if charged.is_ok() {
                    // The vector grows to twice its size.
                    charged = charge.resize(charge.bytes() + key.len() + 2 * size_of::<Place>());
                }
                if charged.is_ok() {
                    places.push((key.to_vec(), bytes));
                }
            };
            let walked = file.table().split_points(stride, &mut buffer, add);
            walked.map_err(|error| Error::table(file.path(), error))?;
            charged?;
        }
        places.sort();
        Ok((places, charge))
    }

    /// What a part holds while it is merged. One with values far longer than the mean holds more, if it can be had.
    fn part_bytes(&self, picked: &Pick) -> usize {
        let memory = &self.plan.compaction;
        let (bytes, entries) = picked.inputs().fold((0, 0), |(bytes, entries), file| {
            (bytes + file.meta().file_bytes, entries + file.meta().entry_count)
        });
        let block = self.options.block_bytes.max((bytes / entries.max(1)) as usize);
        let compressor = match self.options.compression_of(picked.level as u8) {
            Compression::None => 0,
            Compression::Lz4 => LZ4_BYTES,
            _ => ZSTD_BYTES,
        };
        let runs = picked.runs.len();
        let source = ahead_bytes(memory.budget(), runs) as usize + 2 * block + SOURCE_BYTES;
        let writer = output_bytes(memory.budget()) + 3 * block + WRITER_BYTES + compressor;
        let ranges = picked.inputs().flat_map(|file| file.table().range_tombstones().iter());
        runs * source + writer + ranges.map(FragmentsBuilder::bytes).sum::<usize>()
    }
}

/// A key at which a part could end, and the bytes of a table that lie before it and behind the table's place before that.
type Place = (Vec<u8>, u64);

/// The keys that parts of about as many bytes begin with, but for the first.
fn borders(places: &[Place], bytes: u64, parts: u64) -> Vec<Vec<u8>> {
    let mut borders = BTreeSet::new();
    let mut before = 0;
    let Some((last, _)) = places.last() else { return Vec::new() };
    for (key, more) in places.iter().take_while(|(key, _)| key < last) {
        let part = before * parts / bytes.max(1);
        before += more;
        if before * parts / bytes.max(1) > part {
            borders.insert(key.clone());
        }
    }
    borders.into_iter().collect()
}
