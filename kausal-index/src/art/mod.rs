//! `ArtIndex`: an adaptive radix tree in a fixed region, for any number of writers beside readers that never wait.
//!
//! 1. An inner node branches on one byte of the key, at the place that is its *level*. Its kind adapts to the number of
//!    its children. Levels where all keys below agree have no node (path compression), and a key that is alone below a
//!    byte hangs there as a leaf (lazy expansion); so there are fewer inner nodes than keys, however long these are.
//! 2. No node holds a prefix. What a walk skips it takes on trust, and the leaf where it ends, which holds the whole key,
//!    proves or refutes it. So a look-up touches no byte of a prefix but the leaf's, and a node that gets another above it
//!    does not change.
//! 3. A key that ends where others go on hangs in its node's slot `here`, before all children.
//! 4. A leaf is one version of a key and links to the next older one; the tree holds the newest.
//! 5. A writer locks the one node whose slot it changes. A node without room is replaced by a larger copy and becomes
//!    obsolete. Readers follow links and never look at locks: what they stand on stays, as it was or larger, until the
//!    region's generation ends. So there is nothing to reclaim, no epoch and no restart.
//!
//! Invariants (cited by number in SAFETY comments):
//! 1. A link reached from the root names what its low bits say, written whole before the link was stored (Release on
//!    storing, Acquire on loading).
//! 2. What a link names is immutable from then on, but for atomics.
//! 3. The region stays mapped at its base while the lease lives.
//! 4. All keys below a node agree before its level, which never changes; every key of the index that agrees with them
//!    lies below that node or the copy that replaced it.
//! 5. Slots change only under the lock of the node they are in, and never in an obsolete node.
//!
//! After Leis, Kemper and Neumann (ICDE 2013), with the synchronisation called ROWEX in Leis, Scheibner, Kemper and
//! Neumann (DaMoN 2016). Ours: offsets with the kind in them, levels in place of prefixes, kinds that are searched
//! sixteen bytes at a time in place of an index of 256 bytes, versions, and no reclamation because the region has an end.
//! Why these: `docs/decisions/0006-the-radix-tree-s-shape.md`.
//!
//! | room | what lives there |
//! |---|---|
//! | `memory` | links, slots, the region's base |
//! | `leaf`, `chain` | one version; the versions of a key |
//! | `lock`, `node`, `search` | a node's word and its lock; layouts of nodes; bytes found in words |
//! | `insert` | the way of an entry into the tree |
//! | `cursor` | the ordered walk |
//! | `tally` | what became of the bytes |

mod chain;
mod cursor;
mod insert;
mod leaf;
mod lock;
mod memory;
mod node;
mod search;
mod tally;

use std::convert::Infallible;

use kausal_arena::{AllocError, Lease, Writer};

use crate::block_index::{BlockIndex, IndexBytes, InsertError, Unordered};
use crate::cursor::Cursor;
use crate::entry::{EntryRef, KEY_BYTES_MAX, SeqNo};
use cursor::ArtCursor;
use insert::{Insert, Place};
use leaf::LEAF_OVERHEAD_BYTES_MAX;
use lock::Word;
use memory::{Link, Memory, Slot, UNIT};
use node::NODE_BYTES_MAX;
use tally::{Changes, Tally, Totals};

/// Keys that [`ArtIndex::get_many`](BlockIndex::get_many) walks down side by side: more than the misses a core keeps in
/// flight (10 to 16), few enough for registers and stack.
const WALKS: usize = 16;

/// An adaptive radix tree: ordered, for any number of writers and readers; long shared prefixes cost nothing.
///
/// `get` costs one step per byte at which keys differ, O(key length) at worst and about log₂₅₆ of the number of entries
/// for random keys, and one comparison of whole keys. `insert` costs the same, a lock on one node, and now and then a copy
/// of a node. Versions of one key are found in O(log versions) if they were inserted in ascending order.
///
/// # Examples
///
/// ```
/// use kausal_index::{ArtIndex, BlockIndex, Cursor, EntryRef, Kind, SeqNo};
///
/// let region = kausal_arena::testing::region(1 << 16);
/// let pen = region.writer();
/// let index = ArtIndex::create(region.lease(), &pen).unwrap();
/// for (number, key, value) in [(1, "usr/share", "red"), (2, "usr", "blue"), (3, "usr/share", "green")] {
///     let seqno = SeqNo::new(number).unwrap();
///     let (key, value) = (key.as_bytes(), value.as_bytes());
///     index.insert(&pen, EntryRef { key, seqno, kind: Kind::Put, value }).unwrap();
/// }
/// assert_eq!(index.get(b"usr/share", SeqNo::MAX).unwrap().value, b"green");
/// assert_eq!(index.get(b"usr/share", SeqNo::new(2).unwrap()).unwrap().value, b"red");
/// assert!(index.get(b"usr/", SeqNo::MAX).is_none());
///
/// let mut cursor = index.cursor().unwrap();
/// cursor.seek(b"usr/", SeqNo::MAX).unwrap();
/// assert_eq!(cursor.entry().unwrap().value, b"green");
/// cursor.prev().unwrap();
/// assert_eq!(cursor.entry().unwrap().key, b"usr");
/// ```
pub struct ArtIndex {
    memory: Memory,
    /// Guards `root`; of no node, so never obsolete.
    root_word: Word,
    root: Slot,
    changes: Changes,
    totals: Totals,
}

impl ArtIndex {
    /// The versions of `key`, newest first, or nil.
    #[inline]
    fn chain(&self, key: &[u8]) -> Link {
        let mut link = self.root.load();
        while link.is_node() {
            link = self.step(link, key);
        }
        self.if_key(link, key)
    }

    /// One step from a node towards `key`.
    #[inline]
    fn step(&self, node: Link, key: &[u8]) -> Link {
        let header = self.memory.header(node);
        let state = header.word.load();
        match key.get(state.level()) {
            Some(byte) => self.memory.node(node).child(state, *byte).map_or(Link::NIL, Slot::load),
            None if key.len() == state.level() => header.here.load(),
            None => Link::NIL,
        }
    }

    /// Where walks towards up to [`WALKS`] keys end: leaves that may be theirs, whose memory is on its way, or nil.
    #[inline]
    fn walk_side_by_side(&self, keys: &[&[u8]]) -> [Link; WALKS] {
        let mut walks = [self.root.load(); WALKS];
        let mut under_way = true;
        while under_way {
            under_way = false;
            for (link, key) in walks.iter_mut().zip(keys) {
                if link.is_node() {
                    *link = self.step(*link, key);
                    self.memory.prefetch_start(*link);
                    under_way = true;
                }
            }
        }
        walks
    }

    /// `leaf`, if its key is `key`, else nil.
    #[inline]
    fn if_key(&self, leaf: Link, key: &[u8]) -> Link {
        if leaf.is_leaf() && self.memory.leaf(leaf).key() == key { leaf } else { Link::NIL }
    }

    fn entry_at(&self, chain: Link, at: SeqNo) -> Option<EntryRef<'_>> {
        let version = self.memory.at_or_below(chain, at.get());
        (!version.is_nil()).then(|| self.memory.leaf(version).entry())
    }
}

/// Number of bytes at the beginning of both keys that are equal.
fn agreed_bytes(left: &[u8], right: &[u8]) -> usize {
    let (eights_left, _) = left.as_chunks::<8>();
    let (eights_right, _) = right.as_chunks::<8>();
    let mut agreed = 0;
    for (left, right) in eights_left.iter().zip(eights_right) {
        let difference = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if difference != 0 {
            return agreed + difference.trailing_zeros() as usize / 8;
        }
        agreed += 8;
    }
    let rest = left[agreed..].iter().zip(&right[agreed..]);
    agreed + rest.take_while(|(left, right)| left == right).count()
}

impl BlockIndex for ArtIndex {
    const IN_ARENA: bool = true;
    const ORDERED_WHILE_LIVE: bool = true;

    fn create(lease: Lease, _pen: &Writer) -> Result<Self, AllocError> {
        Ok(Self {
            memory: Memory::new(lease)?,
            root_word: Word::new(0, 0),
            root: Slot::new(Link::NIL),
            changes: Changes::new(),
            totals: Totals::new(),
        })
    }

    /// An empty tree takes nothing. An insert writes its leaf and at most one node: the first above two leaves, or a
    /// larger copy. The largest is what any single insert may need, whatever was there before; over the life of a tree a
    /// node's copies add up to at most 66 bytes per child (see `docs/decisions/0006-the-radix-tree-s-shape.md`).
    fn bytes_max(entries: usize, payload: usize) -> usize {
        let entry = LEAF_OVERHEAD_BYTES_MAX + NODE_BYTES_MAX + 2 * (UNIT - 1);
        entries.saturating_mul(entry).saturating_add(payload)
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        if entry.key.len() > KEY_BYTES_MAX {
            return Err(InsertError::KeyTooLong { len: entry.key.len() });
        }
        let root = Place { word: &self.root_word, slot: &self.root };
        let tally = Tally::default();
        let (memory, changes) = (&self.memory, &self.changes);
        let mut insert = Insert { memory, changes, pen, entry, root, tally, leaf: None };
        let done = insert.run();
        let (mut tally, unlinked) = (insert.tally, insert.leaf);
        tally.refused += unlinked.map_or(0, |leaf| leaf.bytes);
        self.totals.add(done.is_ok().into(), tally);
        done
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.entry_at(self.chain(key), at)
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let mut version = self.memory.at_or_below(self.chain(key), at.get());
        std::iter::from_fn(move || {
            let leaf = (!version.is_nil()).then(|| self.memory.leaf(version))?;
            version = leaf.older();
            Some(leaf.entry())
        })
    }

    fn freeze(&self, _pen: &Writer) -> Result<(), AllocError> {
        Ok(())
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        Ok(ArtCursor::new(self))
    }

    fn approach_many(&self, keys: &[&[u8]]) {
        for keys in keys.chunks(WALKS) {
            self.walk_side_by_side(keys);
        }
    }

    fn get_many<'i>(&'i self, keys: &[&[u8]], at: SeqNo, mut found: impl FnMut(usize, Option<EntryRef<'i>>)) {
        for (group, keys) in keys.chunks(WALKS).enumerate() {
            let ends = self.walk_side_by_side(keys);
            for (place, (link, key)) in ends.iter().zip(keys).enumerate() {
                found(group * WALKS + place, self.entry_at(self.if_key(*link, key), at));
            }
        }
    }

    fn len(&self) -> usize {
        self.totals.entries()
    }

    fn bytes(&self) -> IndexBytes {
        self.totals.bytes()
    }
}

impl std::fmt::Debug for ArtIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ArtIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}
