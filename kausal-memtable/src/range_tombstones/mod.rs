//! Range tombstones of one keyspace: "every key from start to before end has no value from this sequence number down".
//!
//! 1. [`RangeTombstones::add`] takes them in any order. Each becomes a record and a place in a search tree (`tree`), all of it
//!    in the memtable's region, on the permit of the batch.
//! 2. [`RangeTombstones::covering`] answers a look-up at a snapshot: the newest one that covers a key and is not newer than
//!    the snapshot.
//! 3. [`RangeTombstones::fragments`] shows them in the shape that a table stores: cut at every start and end, so that two
//!    fragments have the same range or none in common (`fragments`).
//!
//! Nodes of the tree never change: adding copies the path to the new place and then exchanges the root. So a reader takes
//! the root, under a lock held for as long as copying it takes, and walks what nobody changes; where there is no range
//! tombstone, which is most often, it takes no lock. What was replaced is dead and comes back with the region.
//!
//! Invariants:
//! 1. What a root reaches is never changed. All handles in it are of the leased generation.
//! 2. `live + dead + slack` is what the pens handed out, to the byte.
//!
//! Not here: which entries a range tombstone hides from whom. The reader compares sequence numbers.

mod fragments;
mod tree;

use kausal_arena::sync::{AtomicUsize, Mutex, Ordering};
use kausal_arena::{AllocError, Lease, Writer};
use kausal_index::{IndexBytes, KEY_BYTES_MAX, RangeTombstone, SeqNo};

pub use self::fragments::Fragments;
use self::tree::{Root, Tree};

/// Why a range tombstone was refused. What there was is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RangeRefused {
    /// The permit has no room left.
    #[error(transparent)]
    Alloc(#[from] AllocError),
    /// The range is empty: its end is not behind its start.
    #[error("invalid argument: a range that ends where it starts, or before, covers no key")]
    Empty,
    /// A bound is longer than [`KEY_BYTES_MAX`].
    #[error("invalid argument: a key of {len} bytes, the longest has 65535")]
    KeyTooLong {
        /// Length of the bound in bytes.
        len: usize,
    },
    /// The very same range tombstone is there already.
    #[error("invalid argument: sequence number {0} was written twice for one range")]
    Duplicate(SeqNo),
}

/// The range tombstones of one keyspace in one memtable.
///
/// # Examples
///
/// ```
/// use kausal_index::{SeqNo, TreeIndex};
/// use kausal_memtable::{BatchPart, KeyspaceId, Memtable, RangeTombstone};
///
/// let region = kausal_arena::testing::region(1 << 16);
/// let memtable = Memtable::<TreeIndex>::new(region, ()).unwrap();
/// let number = |number| SeqNo::new(number).unwrap();
/// let part = BatchPart { range_deletes: 2, range_bytes: 4, ..BatchPart::new(KeyspaceId::DEFAULT) };
/// let permit = memtable.permit_batch(&[part]).unwrap();
/// memtable.delete_range(&permit, KeyspaceId::DEFAULT, b"b", b"f", number(7)).unwrap();
/// memtable.delete_range(&permit, KeyspaceId::DEFAULT, b"d", b"h", number(4)).unwrap();
///
/// let ranges = memtable.default_keyspace().range_tombstones();
/// assert_eq!(ranges.covering(b"e", SeqNo::MAX), Some(number(7)));
/// assert_eq!(ranges.covering(b"e", number(6)), Some(number(4)), "an older snapshot");
/// assert_eq!(ranges.covering(b"c", number(6)), None);
/// let fragments: Vec<_> = ranges.fragments().map(|f| (f.start, f.end, f.seqno.get())).collect();
/// assert_eq!(
///     fragments,
///     [(&b"b"[..], &b"d"[..], 7), (b"d", b"f", 7), (b"d", b"f", 4), (b"f", b"h", 4)]
/// );
/// ```
#[derive(Debug)]
pub struct RangeTombstones {
    /// How many there are; the fast way to learn that there is none.
    count: AtomicUsize,
    state: Mutex<State>,
    lease: Lease,
}

#[derive(Debug, Default)]
struct State {
    root: Root,
    bytes: RangeBytes,
}

/// What became of the bytes, and how many of the live ones are keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RangeBytes {
    pub(crate) keys: usize,
    pub(crate) all: IndexBytes,
}

impl RangeTombstones {
    pub(crate) fn new(lease: Lease) -> Self {
        Self { count: AtomicUsize::new(0), state: Mutex::new(State::default()), lease }
    }

    /// Upper bound of the bytes that `count` of them take from a pen, with `key_bytes` of starts and ends between them, in a
    /// region of `capacity` bytes: the copied path to a place is never longer than a balanced tree of the smallest possible
    /// nodes in such a region is deep. 1.9 KiB each in a region of 1 MiB, 2.6 KiB in one of 64 MiB; most of it comes back with
    /// the permit.
    #[inline]
    pub fn bytes_max(count: usize, key_bytes: usize, capacity: usize) -> usize {
        // Nearly every batch has none: the height of a tree is not to be found out for it.
        if count == 0 {
            return key_bytes;
        }
        count.saturating_mul(tree::bytes_max(capacity)).saturating_add(key_bytes)
    }

    /// Adds one. Writers wait for each other, readers for nobody but the exchange of the root.
    pub(crate) fn add(&self, pen: &Writer, range: RangeTombstone<'_>) -> Result<(), RangeRefused> {
        let len = range.start.len().max(range.end.len());
        if len > KEY_BYTES_MAX {
            return Err(RangeRefused::KeyTooLong { len });
        }
        if range.start >= range.end {
            return Err(RangeRefused::Empty);
        }
        if cfg!(kausal_planted = "memtable_range_count_first") {
            self.count.fetch_add(1, Ordering::Release);
        }
        let mut state = self.state.lock();
        let before = pen.block_bytes_left();
        let added = Tree { lease: &self.lease }.add(pen, state.root, range);
        let taken = before - pen.block_bytes_left();
        let bytes = &mut state.bytes.all;
        let added = match added {
            Ok(added) => added,
            Err(refused) => {
                bytes.dead += taken;
                return Err(refused);
            }
        };
        bytes.live += added.live_bytes;
        bytes.dead += added.dead_bytes;
        bytes.slack += taken - added.live_bytes - added.dead_bytes;
        state.bytes.keys += range.start.len() + range.end.len();
        state.root = added.root;
        // Release: pairs with the Acquire in `root`; who sees the count finds the root that goes with it, or a later one.
        if !cfg!(kausal_planted = "memtable_range_count_first") {
            self.count.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    fn root(&self) -> Root {
        // Acquire: pairs with the Release in `add`.
        if self.is_empty() { Root::default() } else { self.state.lock().root }
    }

    fn tree(&self) -> Tree<'_> {
        Tree { lease: &self.lease }
    }

    /// The largest sequence number at or below `at` of a range tombstone that covers `key`.
    ///
    /// One load if there is none in the keyspace. Otherwise a short lock and a walk of O(log n) steps and one for each that
    /// covers the key and is not ruled out by a newer one found before.
    #[inline]
    pub fn covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        if self.is_empty() { None } else { self.tree().newest(self.root(), key, at) }
    }

    /// All of them, as fragments in ascending order of their ranges, those of one range with descending sequence numbers: as
    /// they were when this was called. Allocates nothing.
    pub fn fragments(&self) -> Fragments<'_> {
        Fragments::new(self.tree(), self.root())
    }

    /// The smallest start and the largest end, or `None` if there is none. O(log n).
    pub fn bounds(&self) -> Option<(&[u8], &[u8])> {
        self.tree().bounds(self.root())
    }

    /// How many were added.
    #[inline]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of the bytes they took: live, dead, slack.
    pub fn bytes(&self) -> IndexBytes {
        self.range_bytes().all
    }

    pub(crate) fn range_bytes(&self) -> RangeBytes {
        if self.is_empty() { RangeBytes::default() } else { self.state.lock().bytes }
    }
}
