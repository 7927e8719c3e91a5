//! The table: from a key to the node of its newest version.
//!
//! 1. Linear hashing (Litwin 1980) over pages: with `n` pages, `2^l <= n`, the low `l` or `l + 1` bits of a hash name its
//!    page, so a table grows by one page at a time and no insert pays for a doubling. Two upper bits name the bucket.
//! 2. Look-ups take no lock. They scan the bucket's slots, whose 32 bits of hash answer nearly all misses without
//!    touching a node, then its records, and begin anew if the bucket was split meanwhile: a split only ever helps
//!    another operation on, so this ends.
//! 3. An insert writes its node, takes the lock bit of the key's bucket, and either puts its word into a free slot or
//!    links the node into the chain of the key's versions. Nothing is allocated or copied under the lock, save a
//!    record where a bucket is full.
//! 4. An insert whose node passes a milestone adds a page to a table that is behind its entries (see `split`).
//!
//! Invariants:
//! 1. Only the holder of a bucket's lock writes its state, its slots, and the chains that begin in it.
//! 2. The depth in a bucket's state says which hashes are its own: those that agree with its page's number in that many
//!    low bits. A slot with another hash is stale, that is free; the depth is raised before it is used again.
//! 3. Chains are sorted by sequence number, newest first, without equals.
//!
//! Not here: order. The table knows only which keys are equal.

use kausal_arena::sync::{self, AtomicU32, AtomicU64, Mutex, Ordering};
use kausal_arena::{AllocError, Lease, Writer};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::block_index::InsertError;
use crate::entry::{EntryRef, SeqNo};
use crate::hash::node::{NewNode, Nodes};
use crate::hash::page::{self, Bucket, PIECE_BYTES, Pages};
use crate::hash::state::{Locked, State};
use crate::hash::{BUCKETS, NIL, PAGE_ENTRIES};
use crate::memory::{self, Memory};
use crate::tally::Tally;

/// Look-ups of a batch that are under way at once: more than a core has misses outstanding, few enough for its L1.
const BATCH: usize = 16;

/// Lines of the log that an insert asks for ahead of itself.
const LOG_LINES_AHEAD: u32 = 3;

/// Tries to lock a bucket before the core is given to another thread.
const SPINS_MAX: u32 = 100;

pub(super) struct Table {
    pub(super) memory: Memory,
    pub(super) pages: Pages,
    pub(super) tally: Tally,
    /// Pages that look-ups may begin at.
    pub(super) page_count: AtomicU32,
    /// Held by who adds a page. Nobody waits for it.
    pub(super) growth: Mutex<()>,
    /// Two indexes with the same keys differ, so that reading one into the other does not fill buckets in their order.
    seed: u64,
}

/// A slot's content: the hash above the offset of the newest node.
pub(super) fn word(hash: u32, node: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(node)
}

pub(super) fn hash_of(word: u64) -> u32 {
    (word >> 32) as u32
}

pub(super) fn node_of(word: u64) -> u32 {
    word as u32
}

/// What an insert found in its bucket.
enum Found<'m> {
    /// The slot of the key, and the newest node in it.
    Key(&'m AtomicU64, u32),
    /// A slot for it.
    Free(&'m AtomicU64),
    Full,
}

impl Table {
    pub(super) fn new(lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
        let seed = memory::seed(&lease);
        let memory = Memory::new(lease)?;
        let tally = Tally::new();
        let pages = Pages::new(&memory, &tally, pen, State::new(0).to_u64())?;
        Ok(Self { memory, pages, tally, page_count: AtomicU32::new(1), growth: Mutex::new(()), seed })
    }

    pub(super) fn nodes(&self) -> Nodes<'_> {
        Nodes(&self.memory)
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        xxh3_64_with_seed(key, self.seed) as u32
    }

    /// The page at which the way to `hash` begins.
    #[inline]
    fn first_page(&self, hash: u32) -> u32 {
        // Acquire: pairs with the Release in `add_page`; who sees the number sees the page.
        let count = self.page_count.load(Ordering::Acquire);
        let half = 1 << count.ilog2();
        let number = hash & (2 * half - 1);
        // The page that does not exist yet is still part of the one it will be split from.
        if number < count { number } else { number - half }
    }

    /// The page to go on at when `hash` has moved away from page `number`: the first that was split from it with the
    /// lowest bit in which the two differ.
    #[inline]
    fn next_page(number: u32, hash: u32) -> u32 {
        let bit = (number ^ hash).trailing_zeros();
        hash & (2_u32 << bit).wrapping_sub(1)
    }

    /// The bucket of `hash` in page `number`. Upper bits choose it: the lower ones are the same within a page.
    #[inline]
    fn bucket(&self, number: u32, hash: u32) -> &Bucket {
        &self.pages.get(&self.memory, number).buckets[bucket_of(hash)]
    }

    /// Asks for the lines of a bucket.
    #[inline]
    fn prefetch(&self, number: u32, hash: u32) {
        let bucket = self.pages.offset(&self.memory, number) + (bucket_of(hash) * size_of::<Bucket>()) as u32;
        for line in (0..size_of::<Bucket>() as u32).step_by(64) {
            self.memory.prefetch(bucket + line);
        }
    }

    /// The newest node of `key`, or nil.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> u32 {
        let hash = self.hash(key);
        self.find_from(self.first_page(hash), hash, |node| {
            // What follows the key is read next, from another line as a rule.
            self.memory.prefetch(node.wrapping_add(64));
            self.nodes().key(node) == key
        })
    }

    /// The first node with this hash, in the order slots, records, that `is_it` accepts.
    #[inline]
    fn find_from(&self, mut number: u32, hash: u32, is_it: impl Fn(u32) -> bool) -> u32 {
        loop {
            let bucket = self.bucket(number, hash);
            // Acquire: pairs with the Release of whoever held the lock.
            let state = State::from_u64(bucket.state.load(Ordering::Acquire));
            if !state.owns(number, hash) {
                number = Self::next_page(number, hash);
                continue;
            }
            let found = self.scan(bucket, state, hash, &is_it);
            if found != NIL {
                return found;
            }
            // What was not found may have moved on while we looked. A slot or record that was changed by a split is
            // read with Acquire, so that the state stored before is seen here.
            if state.has_same_content(State::from_u64(bucket.state.load(Ordering::Relaxed))) {
                return NIL;
            }
        }
    }

    #[inline]
    fn scan(&self, bucket: &Bucket, state: State, hash: u32, is_it: &impl Fn(u32) -> bool) -> u32 {
        let matching = |word: u64| hash_of(word) == hash && node_of(word) != NIL && is_it(node_of(word));
        for slot in &bucket.slots {
            // Acquire: pairs with the Release in `publish`; who sees the word sees the node whole.
            let word = slot.load(Ordering::Acquire);
            if matching(word) {
                return node_of(word);
            }
        }
        for (_, record) in page::records(&self.memory, state.spill()) {
            // Acquire: as above, and pairs with the Release that empties records.
            let word = record.word.load(Ordering::Acquire);
            if matching(word) {
                return node_of(word);
            }
        }
        NIL
    }

    /// Looks many keys up. Each of three steps is taken for a whole batch, so that its misses overlap.
    pub(super) fn find_many(&self, keys: &[&[u8]], mut found: impl FnMut(usize, u32)) {
        let mut hashes = [(0, 0); BATCH];
        let mut candidates = [NIL; BATCH];
        for (batch, keys) in keys.chunks(BATCH).enumerate() {
            for (key, hashed) in keys.iter().zip(&mut hashes) {
                let hash = self.hash(key);
                *hashed = (hash, self.first_page(hash));
                self.prefetch(hashed.1, hash);
            }
            for (&(hash, number), candidate) in hashes.iter().zip(&mut candidates).take(keys.len()) {
                *candidate = self.find_from(number, hash, |_| true);
                // A node without links to be followed is read from its second line as well.
                self.memory.prefetch(*candidate);
                self.memory.prefetch(candidate.wrapping_add(64));
            }
            for (place, key) in keys.iter().enumerate() {
                let candidate = candidates[place];
                let node = if candidate == NIL || self.nodes().key(candidate) == *key {
                    candidate
                } else {
                    let (hash, number) = hashes[place];
                    self.find_from(number, hash, |node| self.nodes().key(node) == *key)
                };
                found(batch * BATCH + place, node);
            }
        }
    }

    /// Adds an entry.
    pub(super) fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        let hash = self.hash(entry.key);
        let number = self.first_page(hash);
        self.prefetch(number, hash);
        let node = self.nodes().allocate(pen, entry)?;
        // Taking the lock waits for all stores before it. So the lines of the node after the next are asked for now.
        for line in 0..LOG_LINES_AHEAD {
            self.memory.prefetch(node.offset.wrapping_add(2 * node.bytes as u32 + 64 * line));
        }
        self.tally.add_slack(node.offset, node.slack);
        let inserted = self
            .grow_at_milestone(pen, node)
            .map_err(InsertError::from)
            .and_then(|()| self.publish(pen, number, hash, entry.key, entry.seqno, node.offset));
        match inserted {
            Ok(()) => self.tally.add_entry(node.offset, node.bytes),
            Err(_) => self.tally.add_dead(node.offset, node.bytes),
        }
        inserted
    }

    /// Makes a written node findable.
    #[inline]
    fn publish(
        &self,
        pen: &Writer,
        number: u32,
        hash: u32,
        key: &[u8],
        seqno: SeqNo,
        node: u32,
    ) -> Result<(), InsertError> {
        let mut locked = self.lock(number, hash);
        match self.find_place(&locked, hash, key) {
            Found::Key(slot, newest) => self.link(slot, hash, newest, seqno, node),
            Found::Free(slot) => {
                // Release: pairs with the Acquire in `scan`.
                #[cfg(not(kausal_planted = "hash_publish_relaxed"))]
                slot.store(word(hash, node), Ordering::Release);
                #[cfg(kausal_planted = "hash_publish_relaxed")]
                slot.store(word(hash, node), Ordering::Relaxed);
                Ok(())
            }
            Found::Full => {
                let spill = locked.state.spill();
                let record = page::allocate_record(&self.memory, &self.tally, pen, word(hash, node), spill)?;
                // Published by the Release of the unlocking.
                locked.state = locked.state.with_spill(record);
                Ok(())
            }
        }
    }

    /// Takes the lock of the bucket that owns `hash`, beginning at page `number`.
    #[inline]
    pub(super) fn lock(&self, mut number: u32, hash: u32) -> Locked<'_> {
        let mut waits = 0;
        loop {
            let bucket = self.bucket(number, hash);
            // Acquire: whoever moves on to the next page must see it.
            let state = State::from_u64(bucket.state.load(Ordering::Acquire));
            if !state.owns(number, hash) {
                number = Self::next_page(number, hash);
                continue;
            }
            waits += 1;
            match Locked::try_new(bucket, number, state) {
                Some(locked) => return locked,
                // The holder needs a few instructions; unless it was preempted, and then it needs this core.
                None if waits < SPINS_MAX => sync::spin_loop(),
                None => sync::thread::yield_now(),
            }
        }
    }

    #[inline]
    fn find_place<'m>(&'m self, locked: &Locked<'m>, hash: u32, key: &[u8]) -> Found<'m> {
        let is_it = |word: u64| {
            hash_of(word) == hash && node_of(word) != NIL && self.nodes().key(node_of(word)) == key
        };
        // Two sets, gathered without a branch: where the first free slot is cannot be foretold.
        let (mut alike, mut free) = (0_u32, 0_u32);
        for (place, slot) in locked.bucket.slots.iter().enumerate() {
            // Relaxed, here and below: only holders of the lock write them, and locking was an Acquire.
            let word = slot.load(Ordering::Relaxed);
            alike |= u32::from(hash_of(word) == hash) << place;
            free |= u32::from(!locked.holds(word)) << place;
        }
        while alike != 0 {
            let slot = &locked.bucket.slots[alike.trailing_zeros() as usize];
            let word = slot.load(Ordering::Relaxed);
            if is_it(word) {
                return Found::Key(slot, node_of(word));
            }
            alike &= alike - 1;
        }
        for (_, record) in page::records(&self.memory, locked.state.spill()) {
            let word = record.word.load(Ordering::Relaxed);
            if is_it(word) {
                return Found::Key(&record.word, node_of(word));
            }
        }
        locked.bucket.slots.get(free.trailing_zeros() as usize).map_or(Found::Full, Found::Free)
    }

    /// Links `node` into the chain of versions that begins with `newest` in `slot`.
    fn link(
        &self,
        slot: &AtomicU64,
        hash: u32,
        newest: u32,
        seqno: SeqNo,
        node: u32,
    ) -> Result<(), InsertError> {
        let nodes = self.nodes();
        let (mut before, mut after) = (NIL, newest);
        while after != NIL && nodes.seqno(after) > seqno.get() {
            (before, after) = (after, nodes.older(after));
        }
        if after != NIL && nodes.seqno(after) == seqno.get() {
            return Err(InsertError::Duplicate(seqno));
        }
        nodes.link_older(node, after);
        if before == NIL {
            // Release: pairs with the Acquire in `scan`.
            slot.store(word(hash, node), Ordering::Release);
        } else {
            nodes.link_older(before, node);
        }
        Ok(())
    }

    /// Adds a page if the table is behind its entries and the node entitles its insert to that.
    ///
    /// A node that reaches a multiple of a piece's size does. So what a batch takes for pages is bounded by the
    /// bytes of its own nodes, whoever inserts beside it; and as the nodes of one page's entries are at least a piece
    /// long together, the table keeps up.
    #[inline]
    fn grow_at_milestone(&self, pen: &Writer, node: NewNode) -> Result<(), AllocError> {
        let passed = (node.offset as usize % PIECE_BYTES) + node.bytes >= PIECE_BYTES;
        if passed { self.grow_if_behind(pen) } else { Ok(()) }
    }

    fn grow_if_behind(&self, pen: &Writer) -> Result<(), AllocError> {
        let len = self.tally.len();
        // Relaxed: whether to add a page is a matter of speed, and of keeping ahead by one or two.
        let room = self.page_count.load(Ordering::Relaxed) as usize * PAGE_ENTRIES;
        if room >= len + 2 * PAGE_ENTRIES {
            return Ok(());
        }
        match self.growth.try_lock() {
            // While there is room for its place in the order, an entry needs no page.
            Some(_held) => self.add_page(pen).or_else(|error| if room > len { Ok(()) } else { Err(error) }),
            None => Ok(()),
        }
    }
}

pub(super) fn bucket_of(hash: u32) -> usize {
    hash.rotate_left(BUCKETS.ilog2()) as usize % BUCKETS
}
