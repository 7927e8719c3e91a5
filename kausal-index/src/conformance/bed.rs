//! The memory below an index on trial: a region in one of the starting states, and neighbours that must stay as they are.

use kausal_arena::{Budget, Handle, Lease, Region, RegionPool, Writer, testing};

use crate::block_index::BlockIndex;
use crate::conformance::case::{Case, Start};
use crate::conformance::model::Model;
use crate::conformance::{Outcome, ensure};
use crate::entry::Entry;

/// What others have written beside the index, in pieces of this size.
type Piece = [u8; 1024];

/// Byte of the generation before, and of neighbours in this one.
const OLD: u8 = 0xA5;
const NEIGHBOUR: u8 = 0x5A;

/// A region on trial.
pub(super) struct Bed {
    pub(super) region: Region,
    pub(super) pool: RegionPool,
    pub(super) budget: Budget,
    neighbours: Vec<Handle<Piece>>,
    lease: Lease,
}

impl Bed {
    /// A region in which an index finds at least `bytes`.
    pub(super) fn new(start: Start, bytes: usize) -> Self {
        let budget = Budget::unlimited("conformance");
        // One block of a pen more than is needed: a pen that fills its block takes another whole one.
        let bytes = bytes + (64 << 10);
        let beside = if start == Start::NearlyFull { 256 << 10 } else { 0 };
        let pool = testing::pool_in(&budget, bytes + beside, 1);
        let take = || pool.coordinator().take().expect("the pool's one region is free");
        let mut region = take();
        if start == Start::SecondGeneration {
            fill(&region.writer(), OLD, usize::MAX);
            drop(region);
            region = take();
        }
        let neighbours = fill(&region.writer(), NEIGHBOUR, beside);
        let lease = region.lease();
        Self { region, pool, budget, neighbours, lease }
    }

    /// A bed for all entries of `case`, and room to freeze an index over them.
    pub(super) fn for_case<I: BlockIndex>(case: &Case, entries: &[Entry]) -> Self {
        let loaded: usize = case.preloaded().map(|entry| entry.as_ref().payload_bytes()).sum();
        let payload = loaded + entries.iter().map(|entry| entry.as_ref().payload_bytes()).sum::<usize>();
        let count = case.loaded + entries.len();
        Self::new(case.start, I::bytes_max(0, 0) + 3 * I::bytes_max(count, payload) + 16 * count)
    }

    /// An index in this region with the loaded entries of `case` in it, and its model.
    pub(super) fn create<I: BlockIndex>(&self, case: &Case) -> Result<(I, Model), String> {
        let pen = self.region.writer();
        let index = I::create(self.region.lease(), &pen).map_err(|error| format!("create: {error}"))?;
        let mut model = Model::default();
        for entry in case.preloaded() {
            insert(&index, &pen, &entry)?;
            model.insert(&entry);
        }
        Ok((index, model))
    }

    /// Lets go of everything but the pool.
    pub(super) fn into_pool(self) -> RegionPool {
        self.pool
    }

    /// Whether nobody has written over the neighbours.
    pub(super) fn check_neighbours(&self) -> Outcome {
        for handle in &self.neighbours {
            let piece = self.lease.resolve(*handle).map_err(|error| error.to_string())?;
            ensure!(*piece == [NEIGHBOUR; 1024], "the index wrote over memory that was not handed to it");
        }
        Ok(())
    }
}

/// An index with all entries of `case`, each position once; with its memory and its model.
pub(super) fn built<I: BlockIndex>(case: &Case) -> Result<(Bed, I, Model), String> {
    let entries = case.unique();
    let bed = Bed::for_case::<I>(case, &entries);
    let (index, mut model) = bed.create::<I>(case)?;
    let pen = bed.region.writer();
    for entry in &entries {
        insert(&index, &pen, entry)?;
        model.insert(entry);
    }
    bed.check_neighbours()?;
    Ok((bed, index, model))
}

/// Inserts what must be taken.
pub(super) fn insert<I: BlockIndex>(index: &I, pen: &Writer, entry: &Entry) -> Outcome {
    let refused =
        |error| format!("insert of {} is refused: {error}", super::model::shown(Some(entry.as_ref())));
    index.insert(pen, entry.as_ref()).map_err(refused)
}

/// Freezes what must freeze.
pub(super) fn freeze<I: BlockIndex>(index: &I, bed: &Bed) -> Outcome {
    index.freeze(&bed.region.writer()).map_err(|error| format!("freeze with room is refused: {error}"))
}

/// Fills `bytes` of the region, or what there is, with `byte`.
fn fill(pen: &Writer, byte: u8, bytes: usize) -> Vec<Handle<Piece>> {
    let pieces = std::iter::from_fn(|| pen.try_alloc_handle([byte; 1024]).ok());
    pieces.take(bytes / size_of::<Piece>()).collect()
}
