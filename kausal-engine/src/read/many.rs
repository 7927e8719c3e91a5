//! Many keys in one call, side by side: while the lines of one come from memory, the others are attended to.
//!
//! 1. The keys are sorted, so that those of one block find it fetched by the one before.
//! 2. The memtables are asked for some of them at a time, see [`BlockIndex::get_many`].
//! 3. Of those that no memtable decides, each goes one step towards the first table that may hold it, then each the next one: its
//!    line of the filter; filter and index, and where the cache notes the block; the block's header; the block's end. Then
//!    they are looked up one by one, and find what they need near at hand.
//!
//! "Asynchronous Memory Access Chaining" (Kocberber, Falsafi, Grot; VLDB 2015). Not here: reads from the disk, which are made
//! one after the other.

use kausal_index::{BlockIndex, EntryRef, SeqNo};
use kausal_sstable::{Approach, BlockSource, KeyHash};

use super::{Found, Origin, View};
use crate::core::Core;
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::snapshot::Snapshot;
use crate::version::{TableFile, Tree};

/// Keys of one call that are looked up side by side: enough to overlap their misses, and little to clear.
const SIDE_BY_SIDE: usize = 32;

/// What the memtables have of a key.
#[derive(Clone, Copy)]
enum InMemory<'v> {
    /// Nothing: the tables decide.
    Unknown,
    Entry(EntryRef<'v>),
    /// A range tombstone over it.
    Hidden,
}

/// The table that each key was approached in, if there is one.
type Approached<'t> = [Option<(&'t TableFile, Approach)>; SIDE_BY_SIDE];

impl<I: BlockIndex> View<I> {
    /// What the memtables have of `keys`, of which there are at most [`SIDE_BY_SIDE`].
    fn in_memtables<'v>(
        &'v self,
        keyspace: KeyspaceId,
        keys: &[&[u8]],
        at: SeqNo,
    ) -> [InMemory<'v>; SIDE_BY_SIDE] {
        let mut answers = [InMemory::Unknown; SIDE_BY_SIDE];
        for memtable in self.memtables() {
            let Some(part) = memtable.keyspace(keyspace) else { continue };
            let (mut places, mut asked, mut count) = ([0; SIDE_BY_SIDE], [&[][..]; SIDE_BY_SIDE], 0);
            for (place, key) in keys.iter().enumerate() {
                if matches!(answers[place], InMemory::Unknown) {
                    (places[count], asked[count]) = (place, *key);
                    count += 1;
                }
            }
            let ranges = part.range_tombstones();
            part.get_many(&asked[..count], at, |turn, entry| {
                let hidden = ranges.covering(asked[turn], at);
                answers[places[turn]] = match entry {
                    Some(entry) if hidden.is_none_or(|hidden| hidden < entry.seqno) => InMemory::Entry(entry),
                    None if hidden.is_none() => InMemory::Unknown,
                    _ => InMemory::Hidden,
                };
            });
        }
        answers
    }
}

impl<I: BlockIndex + 'static> Core<I> {
    /// The values of `keys` at a snapshot or now, all of one moment. `each` is given a key's place and what `inline` made of
    /// its value, in the order of the keys: `order` is room for their places.
    pub(crate) fn find_many<T>(
        &self,
        keyspace: KeyspaceId,
        keys: &[&[u8]],
        order: &mut [u32],
        snapshot: Option<&Snapshot>,
        mut inline: impl FnMut(&[u8]) -> Result<T, Error>,
        mut each: impl FnMut(usize, Option<Found<T>>),
    ) -> Result<(), Error> {
        order.iter_mut().zip(0..).for_each(|(place, number)| *place = number);
        order.sort_unstable_by_key(|&place| keys[place as usize]);
        self.look_up(|view, blocks| {
            let Some(tree) = view.version.tree(keyspace) else { return Err(Error::NoKeyspace { keyspace }) };
            let at = self.moment(snapshot);
            for places in order.chunks(SIDE_BY_SIDE) {
                let mut asked = [&[][..]; SIDE_BY_SIDE];
                asked.iter_mut().zip(places).for_each(|(key, &place)| *key = keys[place as usize]);
                let asked = &asked[..places.len()];
                let in_memory = view.in_memtables(keyspace, asked, at);
                let approached = approach(tree, asked, &in_memory, at, blocks)?;
                for (turn, &place) in places.iter().enumerate() {
                    let mut origin = None;
                    let mut value = |entry: EntryRef<'_>, from| {
                        origin = Some(from);
                        self.value_of(view, entry, &mut inline)
                    };
                    let found = match in_memory[turn] {
                        InMemory::Entry(entry) => Some(value(entry, Origin::Memtable)),
                        InMemory::Hidden => None,
                        // In order of the keys: one in the same block as the one before finds it fetched.
                        InMemory::Unknown => View::<I>::get_from_tables(
                            tree,
                            asked[turn],
                            at,
                            blocks,
                            approached[turn],
                            value,
                        )?,
                    };
                    self.metrics.count_get(origin);
                    each(place as usize, found.unwrap_or(Ok(None))?);
                }
            }
            Ok(())
        })
    }
}

/// Approaches those of `keys` that no memtable decides, all of them a step at a time.
fn approach<'t>(
    tree: &'t Tree,
    keys: &[&[u8]],
    in_memory: &[InMemory<'_>],
    at: SeqNo,
    blocks: &mut impl BlockSource,
) -> Result<Approached<'t>, Error> {
    let mut approached = [None; SIDE_BY_SIDE];
    if keys.len() == 1 {
        return Ok(approached);
    }
    let mut first = [None; SIDE_BY_SIDE];
    for (turn, &key) in keys.iter().enumerate() {
        if matches!(in_memory[turn], InMemory::Unknown) {
            let hash = KeyHash::of(key);
            first[turn] = tree.find_in_candidates(key, |file| Some((file, hash)));
            if let Some((file, hash)) = first[turn] {
                file.table().ask_for_filter(key, hash, at);
            }
        }
    }
    for (turn, &key) in keys.iter().enumerate() {
        if let Some((file, hash)) = first[turn] {
            let approach = file.table().approach(key, hash, at, blocks);
            let approach = approach.map_err(|error| Error::table(file.path(), error))?;
            approached[turn] = approach.map(|approach| (file, approach));
        }
    }
    for step in 1..=2 {
        for &(file, approach) in approached.iter().flatten() {
            file.table().approach_further(approach, step, blocks);
        }
    }
    Ok(approached)
}
