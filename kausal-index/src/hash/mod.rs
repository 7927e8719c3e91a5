//! `HashIndex`: a concurrent hash table over a log of entries, in a fixed region.
//!
//! 1. An entry is a node in the log: written once, by one pen, linked to the next older version of its key.
//! 2. A table of buckets finds a key's newest node with about one cache miss, and the node is the second: there is no
//!    order to be walked. An absent key costs the first miss only.
//! 3. The table grows by one small page at a time, by linear hashing, within what the permits of the inserts cover.
//!    Nothing is moved that a reader stands on, and no reader waits.
//! 4. Each page brings room for the order of the entries it was added for. [`freeze`](crate::BlockIndex::freeze) sorts
//!    there, once, and takes no other memory; cursors walk the sorted offsets.
//!
//! The trade-off: there is no ordered scan before the index is frozen. Where point look-ups dominate and scans can wait
//! for the flush, it reads and writes several times as fast as an ordered index.
//!
//! | room | what lives there |
//! |---|---|
//! | `node` | the log: layout of an entry, chains of versions |
//! | `page` | layout of table pages, records and the directory that finds them |
//! | `state` | the state word of a bucket, and its lock |
//! | `table` | look-ups and inserts |
//! | `split` | growth by a page |
//! | `order` | the sort of the freeze |
//! | `cursor` | the ordered walk |

mod cursor;
mod node;
mod order;
mod page;
mod split;
mod state;
mod table;

use std::convert::Infallible;

use kausal_arena::sync::{AtomicUsize, Mutex, Ordering};
use kausal_arena::{AllocError, Lease, Writer};

use crate::block_index::{BlockIndex, IndexBytes, InsertError, Unordered};
use crate::cursor::Cursor;
use crate::entry::{EntryRef, KEY_BYTES_MAX, SeqNo};
use cursor::HashCursor;
use node::NODE_OVERHEAD_MAX;
use order::Order;
use page::{PIECE_BYTES, RECORD_BYTES_MAX};
use table::Table;

/// The offset that names nothing.
const NIL: u32 = 0;

/// Slots of a bucket: with its state they fill two cache lines.
#[cfg(not(any(loom, shuttle)))]
const SLOTS: usize = 15;
/// Buckets of a page.
#[cfg(not(any(loom, shuttle)))]
const BUCKETS: usize = 4;
/// Entries for which a table has a page: a bucket has 6 to 12 of them on average.
#[cfg(not(any(loom, shuttle)))]
const PAGE_ENTRIES: usize = 24;
/// Pages or nodes below a node of the directory.
#[cfg(not(any(loom, shuttle)))]
const FAN: usize = 64;
/// Nodes below the root. Three million pages: a region of 4 GiB has no room for more with their entries.
#[cfg(not(any(loom, shuttle)))]
const ROOT: usize = 768;

// A model explores tables that are full and grow after two entries.
#[cfg(any(loom, shuttle))]
const SLOTS: usize = 2;
#[cfg(any(loom, shuttle))]
const BUCKETS: usize = 1;
#[cfg(any(loom, shuttle))]
const PAGE_ENTRIES: usize = 2;
#[cfg(any(loom, shuttle))]
const FAN: usize = 2;
#[cfg(any(loom, shuttle))]
const ROOT: usize = 4;

/// Not frozen: [`HashIndex::sorted`] has no length yet.
const LIVE: usize = usize::MAX;

/// A concurrent hash table over a log of entries: look-ups in two cache misses, no order before it is frozen.
///
/// Readers take no lock. Inserts lock one bucket for the few instructions that publish an entry. A batch of keys is
/// looked up with overlapping misses by [`get_many`](BlockIndex::get_many).
///
/// # Memory
///
/// Beside its key and value an entry takes a node header of 18 bytes and its share of table, order and directory: about
/// 50 bytes in all. What a permit must cover ([`bytes_max`](BlockIndex::bytes_max)) is more, because the insert that
/// adds a page pays for its neighbours too; the rest comes back with the permit.
///
/// [`freeze`](BlockIndex::freeze) needs no memory: the room for the order was taken with the pages, by the inserts. Only
/// if inserts were refused for want of memory while others succeeded may pages be missing; then it takes them from its
/// pen, 704 bytes per 24 entries at most.
///
/// # Examples
///
/// ```
/// use kausal_index::{BlockIndex, Cursor, EntryRef, HashIndex, Kind, SeqNo};
///
/// let region = kausal_arena::testing::region(1 << 16);
/// let pen = region.writer();
/// let index = HashIndex::create(region.lease(), &pen).unwrap();
/// for (number, key, value) in [(1, b"pear", b"red "), (2, b"plum", b"blue"), (3, b"pear", b"ripe")] {
///     let seqno = SeqNo::new(number).unwrap();
///     index.insert(&pen, EntryRef { key, seqno, kind: Kind::Put, value }).unwrap();
/// }
/// assert_eq!(index.get(b"pear", SeqNo::MAX).unwrap().value, b"ripe");
/// assert_eq!(index.get(b"pear", SeqNo::new(2).unwrap()).unwrap().value, b"red ");
///
/// assert!(index.cursor().is_err(), "no order yet");
/// index.freeze(&pen).unwrap();
/// let mut cursor = index.cursor().unwrap();
/// cursor.seek_to_last().unwrap();
/// assert_eq!(cursor.entry().unwrap().key, b"plum");
/// ```
pub struct HashIndex {
    table: Table,
    /// Number of sorted entries, or [`LIVE`].
    sorted: AtomicUsize,
    /// Held while sorting.
    freezing: Mutex<()>,
}

impl HashIndex {
    fn order(&self) -> Order<'_> {
        Order::new(&self.table)
    }
}

impl BlockIndex for HashIndex {
    const IN_ARENA: bool = true;
    const ORDERED_WHILE_LIVE: bool = false;

    fn create(lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
        let table = Table::new(lease, pen)?;
        Ok(Self { table, sorted: AtomicUsize::new(LIVE), freezing: Mutex::new(()) })
    }

    fn bytes_max(entries: usize, payload: usize) -> usize {
        // Two nodes of the directory and a page.
        let empty = 3 * PIECE_BYTES;
        let own = entries.saturating_mul(NODE_OVERHEAD_MAX + RECORD_BYTES_MAX).saturating_add(payload);
        // Each node that reaches a multiple of a piece's size may add a piece, and each node at most one. A batch's
        // nodes lie in one range, in which pieces do not count: they are exactly that long.
        let pieces = entries.min(own / PIECE_BYTES + 1);
        own.saturating_add(pieces.saturating_mul(PIECE_BYTES)).saturating_add(empty)
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        if entry.key.len() > KEY_BYTES_MAX {
            return Err(InsertError::KeyTooLong { len: entry.key.len() });
        }
        self.table.insert(pen, entry)
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let nodes = self.table.nodes();
        let node = nodes.newest_at(self.table.find(key), at);
        (node != NIL).then(|| nodes.entry(node))
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let nodes = self.table.nodes();
        let mut node = nodes.newest_at(self.table.find(key), at);
        std::iter::from_fn(move || {
            let entry = (node != NIL).then(|| nodes.entry(node))?;
            node = nodes.older(node);
            Some(entry)
        })
    }

    fn get_many<'i>(&'i self, keys: &[&[u8]], at: SeqNo, mut found: impl FnMut(usize, Option<EntryRef<'i>>)) {
        let nodes = self.table.nodes();
        self.table.find_many(keys, |place, newest| {
            let node = nodes.newest_at(newest, at);
            found(place, (node != NIL).then(|| nodes.entry(node)));
        });
    }

    fn freeze(&self, pen: &Writer) -> Result<(), AllocError> {
        let _held = self.freezing.lock();
        // Relaxed: the lock is held.
        if self.sorted.load(Ordering::Relaxed) == LIVE {
            let count = self.order().sort_all(pen)?;
            // Release: pairs with the Acquire in `cursor`; who sees the count sees the order.
            self.sorted.store(count, Ordering::Release);
        }
        Ok(())
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        // Acquire: pairs with the Release in `freeze`.
        match self.sorted.load(Ordering::Acquire) {
            LIVE => Err(Unordered),
            count => Ok(HashCursor::new(self.order(), count)),
        }
    }

    fn len(&self) -> usize {
        self.table.tally.len()
    }

    fn bytes(&self) -> IndexBytes {
        self.table.tally.bytes()
    }
}

impl std::fmt::Debug for HashIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HashIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}
