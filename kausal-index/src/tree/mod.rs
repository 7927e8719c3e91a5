//! `TreeIndex`: a concurrent B-link tree in a fixed region.
//!
//! 1. Leaves hold up to 64 slots: eight bytes of the key, and the offset of the entry. What all keys of a node begin
//!    with is left out, so that these eight bytes tell keys apart. Inner nodes have a child besides.
//! 2. Every node leads to its right neighbour (Lehman and Yao 1981). A split is one store: a reader that comes too early
//!    or too late goes on to the right. Slot 0 of a node is its low key and never changes, so there are no high keys.
//! 3. Nothing is removed before the region's generation ends, so readers need neither locks nor epochs: they search
//!    while slots shift, and search a node again only if it was split meanwhile.
//! 4. Writers lock one node at a time, each with one compare-and-swap on the word it searched under.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. An offset read from the tree is that of an entry or a node that was written whole before it was stored there
//!    (Release on storing, Acquire on reading). An entry is not written again.
//! 2. A node is changed through its atomics only, and only by who holds its lock.
//! 3. The region stays mapped at its base while the lease lives.
//!
//! From Lehman and Yao 1981, with their high keys replaced by the neighbour's low key, and with an in-place shift that
//! readers tolerate because keys in a slot only get smaller. Bytes in common are left out as in prefix B-trees (Bayer
//! and Unterauer 1977), per node. That a missing separator is put in by the next who notices is the adoption of Foster
//! B-trees (Graefe, Kimura and Kuno 2012).
//!
//! | room | what lives there |
//! |---|---|
//! | `memory`, `node` | records and nodes: layout, and the unsafe access to them |
//! | `search` | a position in a node, and the way down |
//! | `read`, `cursor`, `batch` | look-ups while others insert, the ordered walk, many look-ups at once |
//! | `insert`, `split` | the place, the lock, separators; shifting and splitting |

mod batch;
mod cursor;
mod insert;
mod memory;
mod node;
mod read;
mod search;
mod split;

use std::convert::Infallible;

use kausal_arena::sync::{AtomicU32, Ordering};
use kausal_arena::{AllocError, Lease, Writer};

use crate::block_index::{BlockIndex, IndexBytes, InsertError, Unordered};
use crate::cursor::Cursor;
use crate::entry::{EntryRef, KEY_BYTES_MAX, SeqNo};
use crate::tally::Tally;
use cursor::TreeCursor;
use memory::{Memory, PADDING_MAX, RECORD_BYTES};
use node::{NODE_SLACK, Node, node_bytes};
use search::Target;

/// A concurrent B-link tree: readers never wait, writers lock one node at a time.
///
/// # Examples
///
/// ```
/// use kausal_index::{BlockIndex, Cursor, EntryRef, Kind, SeqNo, TreeIndex};
///
/// let region = kausal_arena::testing::region(1 << 16);
/// let pen = region.writer();
/// let index = TreeIndex::create(region.lease(), &pen).unwrap();
/// for (number, value) in [(1, b"red "), (2, b"blue")] {
///     let seqno = SeqNo::new(number).unwrap();
///     index.insert(&pen, EntryRef { key: b"/a/path", seqno, kind: Kind::Put, value }).unwrap();
/// }
/// assert_eq!(index.get(b"/a/path", SeqNo::MAX).unwrap().value, b"blue");
/// let mut cursor = index.cursor().unwrap();
/// assert!(cursor.seek(b"/a", SeqNo::MAX).unwrap() && cursor.next().unwrap());
/// assert_eq!(cursor.entry().unwrap().value, b"red ");
/// ```
pub struct TreeIndex {
    memory: Memory,
    root: AtomicU32,
    /// Where every level-0 walk begins. Splits make new right halves, so it stays the leftmost.
    leftmost_leaf: u32,
    tally: Tally,
}

impl TreeIndex {
    #[inline]
    fn root(&self) -> u32 {
        // Acquire: pairs with the Release in `set_root`.
        self.root.load(Ordering::Acquire)
    }

    /// Makes `new` the root if `old` still is.
    fn set_root(&self, old: Node<'_>, new: Node<'_>) -> bool {
        // Release: pairs with the Acquire in `root`; who sees the root sees the node whole.
        let set = self.root.compare_exchange(old.offset, new.offset, Ordering::Release, Ordering::Relaxed);
        set.is_ok()
    }

    fn allocate_node(&self, pen: &Writer, level: u8) -> Result<Node<'_>, AllocError> {
        let node = self.memory.allocate_node(pen, level)?;
        count_node(&self.tally, node);
        Ok(node)
    }
}

impl BlockIndex for TreeIndex {
    const IN_ARENA: bool = true;
    const ORDERED_WHILE_LIVE: bool = true;

    fn create(lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
        let memory = Memory::new(lease)?;
        let tally = Tally::new();
        let leaf = memory.allocate_node(pen, 0)?;
        count_node(&tally, leaf);
        let leaf = leaf.offset;
        Ok(Self { memory, root: AtomicU32::new(leaf), leftmost_leaf: leaf, tally })
    }

    /// A single insert can split a full leaf and a full inner node, and the inserts of a batch can each meet full ones.
    fn bytes_max(entries: usize, payload: usize) -> usize {
        let leaf = node_bytes(0) + NODE_SLACK;
        let inner = node_bytes(1) + NODE_SLACK;
        entries
            .saturating_mul(PADDING_MAX + RECORD_BYTES + leaf + inner)
            .saturating_add(payload)
            .saturating_add(leaf)
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        check_key(entry.key)?;
        let descent = self.descend(0, &Target::before(entry.key, entry.seqno));
        self.insert_from(descent.node, descent.unled, pen, entry).map(|_| ())
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let place = self.find_at_or_after(&Target::before(key, at))?;
        let entry = self.memory.entry(place.entry);
        (entry.key == key).then_some(entry)
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let mut place = self.find_at_or_after(&Target::before(key, at));
        let newest = place.map(|place| self.memory.key(place.entry)).filter(|found| *found == key);
        std::iter::from_fn(move || {
            let here = place.as_mut()?;
            let entry = self.memory.entry(here.entry);
            if Some(entry.key) != newest {
                return None;
            }
            if !self.advance(here) {
                place = self.next_place(here);
            }
            Some(entry)
        })
    }

    fn freeze(&self, _pen: &Writer) -> Result<(), AllocError> {
        Ok(())
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        Ok(TreeCursor::new(self))
    }

    fn insert_sorted<'e>(
        &self,
        pen: &Writer,
        entries: impl Iterator<Item = EntryRef<'e>>,
    ) -> Result<(), InsertError> {
        self.insert_run(pen, entries)
    }

    fn get_many<'i>(&'i self, keys: &[&[u8]], at: SeqNo, found: impl FnMut(usize, Option<EntryRef<'i>>)) {
        self.get_interleaved(keys, at, found);
    }

    fn len(&self) -> usize {
        self.tally.len()
    }

    fn bytes(&self) -> IndexBytes {
        self.tally.bytes()
    }
}

fn count_node(tally: &Tally, node: Node<'_>) {
    tally.add_live(node.offset, node_bytes(node.level()));
    tally.add_slack(node.offset, NODE_SLACK);
}

fn check_key(key: &[u8]) -> Result<(), InsertError> {
    if key.len() > KEY_BYTES_MAX { Err(InsertError::KeyTooLong { len: key.len() }) } else { Ok(()) }
}

impl std::fmt::Debug for TreeIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TreeIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}
