//! `SkipListIndex`: a concurrent skip list in a fixed region.
//!
//! 1. A node is one allocation: a 32-byte header with the first eight bytes of the key, the links above level 0, then
//!    key and value. Links are `u32` offsets from the region's base; 0 is the end.
//! 2. An insert finds its neighbours on every level, writes the node whole, and links it from level 0 upwards with one
//!    compare-and-swap per level. A lost race repeats the search on that level only.
//! 3. Readers follow links and never wait: nothing is ever removed, so whatever they stand on stays until the
//!    region's generation ends, which the index's lease prevents.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. An offset reached from the head is that of a node that was written whole before it was linked (Release on
//!    linking, Acquire on following).
//! 2. Apart from its links, a node is not written after it was linked.
//! 3. The region stays mapped at its base while the lease lives.
//!
//! After Pugh 1990, with towers of branching factor 4 as in LevelDB and arena offsets as in Pebble's `arenaskl`; the
//! key prefix in the header makes most comparisons touch one cache line.
//!
//! | room | what lives there |
//! |---|---|
//! | `node` | the layout of a node and the unsafe access to it |
//! | `cursor` | the ordered walk |

mod cursor;
mod node;

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use kausal_arena::{AllocError, Lease, Writer};

use crate::block_index::{BlockIndex, IndexBytes, InsertError, Unordered};
use crate::cursor::Cursor;
use crate::entry::{EntryRef, KEY_BYTES_MAX, PackedSeqNo, SeqNo};
use cursor::SkipListCursor;
use node::{HEADER_BYTES, NIL, Nodes};

/// Highest tower: at branching factor 4 that indexes 4¹⁴ ≈ 268 million entries, and a 4 GiB region of nodes of 32
/// bytes or more holds at most 134 million.
const HEIGHT_MAX: usize = 14;

/// A position looked for: the key, its prefix computed once, the sequence number.
#[derive(Clone, Copy)]
struct Target<'a> {
    key: &'a [u8],
    prefix: u64,
    seqno: SeqNo,
}

impl<'a> Target<'a> {
    fn new(key: &'a [u8], seqno: SeqNo) -> Self {
        Self { key, prefix: node::prefix_of(key), seqno }
    }
}

/// What a node of `bytes` adds to the upper half of [`SkipListIndex::len_and_padding`].
fn padding_word(bytes: usize) -> u64 {
    (node::padding_of(bytes) as u64) << 32
}

/// The neighbours of a position on every level.
struct Splice {
    before: [u32; HEIGHT_MAX],
    after: [u32; HEIGHT_MAX],
}

/// A concurrent skip list: lock-free inserts from any number of threads, readers that never wait.
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
    /// Entries in the lower half, bytes of padding in the upper: one word, because every insert adds to both. Neither
    /// half overflows: a region of 4 GiB holds at most 134 million nodes, each with at most seven bytes of padding.
    len_and_padding: AtomicU64,
    live: AtomicUsize,
    dead: AtomicUsize,
    /// Mixed into tower heights, so that two memtables with the same keys differ.
    seed: u64,
}

impl SkipListIndex {
    /// The neighbours of `target` on every level: `before` is the last node before it, `after` the first at or
    /// after it.
    fn find_splice(&self, target: Target<'_>) -> Splice {
        let mut splice = Splice { before: [self.head; HEIGHT_MAX], after: [NIL; HEIGHT_MAX] };
        let mut before = self.head;
        // Relaxed: a stale height costs a longer walk on a lower level, nothing else.
        for level in (0..self.height.load(Ordering::Relaxed) as usize).rev() {
            let after;
            (before, after) = self.walk(before, level, target);
            splice.before[level] = before;
            splice.after[level] = after;
        }
        splice
    }

    /// From `before` along `level` to the neighbours of `target`.
    fn walk(&self, mut before: u32, level: usize, target: Target<'_>) -> (u32, u32) {
        loop {
            let after = self.nodes.next(before, level);
            if after == NIL || !self.nodes.is_before(after, target) {
                return (before, after);
            }
            before = after;
        }
    }

    /// The first node at or after `target`, or nil.
    fn find_at_or_after(&self, target: Target<'_>) -> u32 {
        self.find_neighbours(target).1
    }

    /// The last node before `target`, or nil.
    fn find_before(&self, target: Target<'_>) -> u32 {
        let before = self.find_neighbours(target).0;
        if before == self.head { NIL } else { before }
    }

    fn find_neighbours(&self, target: Target<'_>) -> (u32, u32) {
        let mut before = self.head;
        let mut after = NIL;
        for level in (0..self.height.load(Ordering::Relaxed) as usize).rev() {
            (before, after) = self.walk(before, level, target);
        }
        (before, after)
    }

    /// The last node of all, or nil.
    fn find_last(&self) -> u32 {
        let mut last = self.head;
        for level in (0..self.height.load(Ordering::Relaxed) as usize).rev() {
            loop {
                let next = self.nodes.next(last, level);
                if next == NIL {
                    break;
                }
                last = next;
            }
        }
        if last == self.head { NIL } else { last }
    }

    /// Links `node` on `level` between the splice's neighbours; looks for new ones after a lost race.
    fn link(
        &self,
        node: u32,
        level: usize,
        splice: &mut Splice,
        target: Target<'_>,
    ) -> Result<(), InsertError> {
        loop {
            let (before, after) = (splice.before[level], splice.after[level]);
            if level == 0 && after != NIL && self.nodes.is_at(after, target) {
                return Err(InsertError::Duplicate(target.seqno));
            }
            if self.nodes.link(before, level, after, node) {
                return Ok(());
            }
            (splice.before[level], splice.after[level]) = self.walk(before, level, target);
        }
    }

    /// Tower height of an entry: 1, and one more with probability 1/4 each.
    fn height_of(&self, target: Target<'_>) -> usize {
        // SplitMix64's finaliser over what makes the entry unique.
        let mut word = self.seed ^ target.seqno.get() ^ target.prefix.rotate_left(17);
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
        let seed = lease.generation().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let nodes = Nodes::new(lease)?;
        let (head, bytes) = nodes.allocate_head(pen)?;
        Ok(Self {
            nodes,
            head,
            height: AtomicU32::new(1),
            len_and_padding: AtomicU64::new(padding_word(bytes)),
            live: AtomicUsize::new(bytes),
            dead: AtomicUsize::new(0),
            seed,
        })
    }

    fn bytes_max(entries: usize, payload: usize) -> usize {
        // Header, the tallest tower, and the padding behind it; the head is one more of these.
        let node = HEADER_BYTES + 4 * (HEIGHT_MAX - 1) + 8;
        entries.saturating_add(1).saturating_mul(node).saturating_add(payload)
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        if entry.key.len() > KEY_BYTES_MAX {
            return Err(InsertError::KeyTooLong { len: entry.key.len() });
        }
        let target = Target::new(entry.key, entry.seqno);
        let mut splice = self.find_splice(target);
        if splice.after[0] != NIL && self.nodes.is_at(splice.after[0], target) {
            return Err(InsertError::Duplicate(entry.seqno));
        }
        let height = self.height_of(target);
        let packed = PackedSeqNo::new(entry.seqno, entry.kind);
        let (node, bytes) =
            self.nodes.allocate(pen, packed, target.prefix, height, entry.key, entry.value)?;
        for level in 0..height {
            if let Err(error) = self.link(node, level, &mut splice, target) {
                // Only level 0 refuses, so nobody has seen the node.
                self.dead.fetch_add(bytes, Ordering::Relaxed);
                self.len_and_padding.fetch_add(padding_word(bytes), Ordering::Relaxed);
                return Err(error);
            }
        }
        self.height.fetch_max(height as u32, Ordering::Relaxed);
        self.len_and_padding.fetch_add(padding_word(bytes) | 1, Ordering::Relaxed);
        self.live.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let node = self.find_at_or_after(Target::new(key, at));
        (node != NIL).then(|| self.nodes.entry(node)).filter(|entry| entry.key == key)
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let first = self.get(key, at).map(|_| self.find_at_or_after(Target::new(key, at)));
        let mut node = first.unwrap_or(NIL);
        let key = first.map(|node| self.nodes.entry(node).key);
        std::iter::from_fn(move || {
            let entry = (node != NIL).then(|| self.nodes.entry(node))?;
            (Some(entry.key) == key).then(|| {
                node = self.nodes.next(node, 0);
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
        self.len_and_padding.load(Ordering::Relaxed) as u32 as usize
    }

    fn bytes(&self) -> IndexBytes {
        let (live, dead) = (self.live.load(Ordering::Relaxed), self.dead.load(Ordering::Relaxed));
        let slack = (self.len_and_padding.load(Ordering::Relaxed) >> 32) as usize;
        IndexBytes { live, dead, slack }
    }
}

impl std::fmt::Debug for SkipListIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SkipListIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}
