//! `SkipListIndex`: a concurrent skip list in a fixed region.
//!
//! 1. A node is one allocation: a header, its links, then key and value. A link is a word: the `u32` offset of the next
//!    node from the region's base (0 is the end) below the first four bytes of that node's key.
//! 2. So a search compares with the next node without touching it, unless those four bytes are equal: it misses the
//!    cache only where it moves on, not where it turns down.
//! 3. An insert finds its neighbours on every level, writes the node whole, and links it from level 0 upwards with one
//!    compare-and-swap per level. A lost race repeats the search on that level only.
//! 4. Readers follow links and never wait: nothing is ever removed, so whatever they stand on stays until the
//!    region's generation ends, which the index's lease prevents.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. An offset reached from the head is that of a node that was written whole before it was linked (Release on
//!    linking, Acquire on following).
//! 2. Apart from its links, a node is not written after it was linked.
//! 3. The region stays mapped at its base while the lease lives.
//!
//! After Pugh 1990, with towers of branching factor 4 as in LevelDB, arena offsets as in Pebble's `arenaskl`, and
//! neighbours kept from one sorted insert to the next as RocksDB's hints.
//!
//! | room | what lives there |
//! |---|---|
//! | `node` | the layout of a node and the unsafe access to it |
//! | `splice` | the neighbours of a position, and the searches that find them |
//! | `cursor` | the ordered walk |

mod cursor;
mod node;
mod splice;

use std::convert::Infallible;

use kausal_arena::sync::{AtomicU32, Ordering};
use kausal_arena::{AllocError, Lease, Writer};

use crate::block_index::{BlockIndex, IndexBytes, InsertError, Unordered};
use crate::cursor::Cursor;
use crate::entry::{EntryRef, KEY_BYTES_MAX, SeqNo};
use crate::tally::Tally;
use cursor::SkipListCursor;
use node::{NODE_OVERHEAD_MAX, Nodes, Target};
use splice::Splice;

/// The offset that names no node.
const NIL: u32 = 0;

/// Highest tower: at branching factor 4 that indexes 4¹⁴ ≈ 268 million entries, and a 4 GiB region of nodes of 24
/// bytes or more holds at most 179 million.
#[cfg(not(any(loom, shuttle)))]
const HEIGHT_MAX: usize = 14;
/// A model explores two levels.
#[cfg(any(loom, shuttle))]
const HEIGHT_MAX: usize = 2;

/// A concurrent skip list: lock-free inserts from any number of threads, readers that never wait.
///
/// An entry takes about 31 bytes beside its key and value: a header of 16, a third more than one link of 8, and what
/// alignment costs. Keys that have their first four bytes in common are compared in their nodes, at a cache miss each.
///
/// # Examples
///
/// ```
/// use kausal_index::{BlockIndex, EntryRef, Kind, SeqNo, SkipListIndex};
///
/// let region = kausal_arena::testing::region(1 << 16);
/// let pen = region.writer();
/// let index = SkipListIndex::create(region.lease(), &pen).unwrap();
/// for (number, value) in [(1, b"red "), (2, b"blue")] {
///     let seqno = SeqNo::new(number).unwrap();
///     index.insert(&pen, EntryRef { key: b"k", seqno, kind: Kind::Put, value }).unwrap();
/// }
/// assert_eq!(index.get(b"k", SeqNo::MAX).unwrap().value, b"blue");
/// assert_eq!(index.get(b"k", SeqNo::new(1).unwrap()).unwrap().value, b"red ");
/// ```
pub struct SkipListIndex {
    nodes: Nodes,
    head: u32,
    /// Levels in use: a search begins at the highest of them.
    height: AtomicU32,
    tally: Tally,
    /// Mixed into tower heights, so that two memtables with the same keys differ.
    seed: u64,
}

impl SkipListIndex {
    /// Writes `entry` and links it at `splice`, which may be out of date, but for what stands before the entry.
    fn insert_at(&self, pen: &Writer, entry: EntryRef<'_>, splice: &mut Splice) -> Result<(), InsertError> {
        let target = Target::new(entry.key, entry.seqno);
        if self.nodes.is_at(splice.after[0], target) {
            return Err(InsertError::Duplicate(entry.seqno));
        }
        let height = self.height_of(target);
        let new = self.nodes.allocate(pen, entry, height)?;
        self.tally.add_slack(new.offset, new.slack);
        let link = target.link_to(new.offset);
        for level in 0..height {
            if let Err(error) = self.link(link, level, splice, target) {
                // Only level 0 refuses, so nobody has seen the node.
                self.tally.add_dead(new.offset, new.bytes);
                return Err(error);
            }
            splice.before[level] = new.offset;
        }
        // Relaxed: a stale height costs a longer walk on a lower level, nothing else.
        if self.height.load(Ordering::Relaxed) < height as u32 {
            self.height.fetch_max(height as u32, Ordering::Relaxed);
        }
        self.tally.add_entry(new.offset, new.bytes);
        Ok(())
    }

    /// Links a node on `level` between the splice's neighbours; looks for new ones after a lost race.
    fn link(
        &self,
        link: u64,
        level: usize,
        splice: &mut Splice,
        target: Target<'_>,
    ) -> Result<(), InsertError> {
        loop {
            let (before, after) = (splice.before[level], splice.after[level]);
            if level == 0 && self.nodes.is_at(after, target) {
                return Err(InsertError::Duplicate(target.seqno));
            }
            if self.nodes.link(before, level, after, link) {
                return Ok(());
            }
            (splice.before[level], splice.after[level]) = self.walk(before, level, target);
        }
    }

    /// Tower height of an entry: 1, and one more with probability 1/4 each.
    fn height_of(&self, target: Target<'_>) -> usize {
        // SplitMix64's finaliser over what makes the entry unique.
        let mut word = self.seed ^ target.seqno.get() ^ u64::from(target.code).rotate_left(17);
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        (1 + word.trailing_zeros() as usize / 2).min(HEIGHT_MAX)
    }
}

impl BlockIndex for SkipListIndex {
    const IN_ARENA: bool = true;
    const ORDERED_WHILE_LIVE: bool = true;

    fn create(lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
        let seed = crate::memory::seed(&lease);
        let nodes = Nodes::new(lease)?;
        let head = nodes.allocate_head(pen)?;
        let tally = Tally::new();
        tally.add_live(head.offset, head.bytes);
        tally.add_slack(head.offset, head.slack);
        Ok(Self { nodes, head: head.offset, height: AtomicU32::new(1), tally, seed })
    }

    fn bytes_max(entries: usize, payload: usize) -> usize {
        // Every entry may have the tallest tower; the head is one more of these.
        entries.saturating_add(1).saturating_mul(NODE_OVERHEAD_MAX).saturating_add(payload)
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        check_key(entry.key)?;
        let mut splice = self.find_splice(Target::new(entry.key, entry.seqno));
        self.insert_at(pen, entry, &mut splice)
    }

    /// Searches from the neighbours of the entry before: where an entry follows soon after, a few comparisons.
    fn insert_sorted<'e>(
        &self,
        pen: &Writer,
        entries: impl Iterator<Item = EntryRef<'e>>,
    ) -> Result<(), InsertError> {
        let mut splice = Splice::new(self.head);
        for entry in entries {
            check_key(entry.key)?;
            self.move_splice(&mut splice, Target::new(entry.key, entry.seqno));
            self.insert_at(pen, entry, &mut splice)?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.versions(key, at).next()
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let mut node = self.find_at_or_after(Target::new(key, at));
        // The node found has the key, or no node has; borrowing it from there frees the iterator from the caller's.
        let key = (node != NIL).then(|| self.nodes.key(node)).filter(|found| *found == key);
        std::iter::from_fn(move || {
            let entry = (node != NIL && key.is_some()).then(|| self.nodes.entry(node))?;
            (Some(entry.key) == key).then(|| {
                node = node::node_of(self.nodes.next(node, 0));
                entry
            })
        })
    }

    fn freeze(&self, _pen: &Writer) -> Result<(), AllocError> {
        Ok(())
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        Ok(SkipListCursor::new(self))
    }

    fn len(&self) -> usize {
        self.tally.len()
    }

    fn bytes(&self) -> IndexBytes {
        self.tally.bytes()
    }
}

fn check_key(key: &[u8]) -> Result<(), InsertError> {
    if key.len() > KEY_BYTES_MAX { Err(InsertError::KeyTooLong { len: key.len() }) } else { Ok(()) }
}

impl std::fmt::Debug for SkipListIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SkipListIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}
