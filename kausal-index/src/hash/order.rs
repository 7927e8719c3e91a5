//! The order: offsets of all nodes, sorted once, in the room that the table's pages brought.
//!
//! 1. The newest node of every key is gathered from the buckets.
//! 2. They are sorted in place by a sample sort (Frazer and McKellar 1970): splitters drawn from the keys divide a range
//!    into parts, in one pass that counts and one that permutes, and parts of up to [`LEAF`] keys are sorted on the
//!    stack as pairs of eight key bytes and an offset. Both passes keep many nodes in hand, so that their misses
//!    overlap: a comparison sort would take twenty dependent misses an entry.
//! 3. The eight bytes are taken behind what all keys of a range have in common, so shared prefixes cost one look.
//! 4. Chains of versions, which are sorted already, are unfolded from the end.
//!
//! Needs no memory but the pages, and about 200 KiB of stack.

use std::cmp::Ordering as Comparison;
use std::ops::Range;

use kausal_arena::sync::Ordering;
use kausal_arena::{AllocError, Writer};

use crate::entry::EntryRef;
use crate::hash::node::Nodes;
use crate::hash::page;
use crate::hash::state::State;
use crate::hash::table::{Table, hash_of, node_of};
use crate::hash::{NIL, PAGE_ENTRIES};

/// Keys that are sorted on the stack.
const LEAF: usize = 2048;
/// Most splitters of one division.
const SPLITTERS_MAX: usize = 1023;
/// Parts of a division: before, between and behind the splitters, and one for the keys that are like each of them. What
/// is written at random, their heads, stays in the L1 cache.
const PARTS_MAX: usize = 2 * SPLITTERS_MAX + 1;
/// Keys drawn for each splitter.
const OVERSAMPLING: usize = 2;
/// Nodes asked for before they are looked at.
const HAND: usize = 16;
/// Divisions within divisions before the sort gives up on splitters: only keys made for the purpose get there.
const DEPTH_MAX: usize = 8;

/// The places of the order, each with the offset of a node.
#[derive(Clone, Copy)]
pub(super) struct Order<'index> {
    table: &'index Table,
}

/// Parts of a range: what separates them, and where they lie.
struct Parts {
    /// Ascending, without equals.
    splitters: [u64; SPLITTERS_MAX],
    splitter_count: usize,
    /// Where the next key of each part goes.
    heads: [u32; PARTS_MAX],
    ends: [u32; PARTS_MAX],
}

impl Parts {
    /// The part of `code`: an even one between splitters, an odd one if it is like a splitter. So keys that all begin
    /// alike have a part of their own, and the next division looks behind what they share.
    #[inline]
    fn of(&self, code: u64) -> usize {
        let splitters = &self.splitters[..self.splitter_count];
        let before = splitters.partition_point(|&splitter| splitter < code);
        2 * before + usize::from(splitters.get(before) == Some(&code))
    }

    fn count(&self) -> usize {
        2 * self.splitter_count + 1
    }
}

/// Seven bytes of `key` behind `skip`, and how many there are: compares like the keys do, if they have their first
/// `skip` bytes in common, and equal codes mean at least eight more bytes each, seven of them in common.
#[inline]
fn code(key: &[u8], skip: usize) -> u64 {
    let rest = &key[skip..];
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes) & !0xFF | 8,
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes) & !0xFF | rest.len() as u64
        }
    }
}

impl<'index> Order<'index> {
    pub(super) fn new(table: &'index Table) -> Self {
        Self { table }
    }

    fn nodes(&self) -> Nodes<'index> {
        self.table.nodes()
    }

    /// The entry at `place`, which must be below the number of sorted entries.
    pub(super) fn entry(&self, place: usize) -> EntryRef<'index> {
        self.nodes().entry(self.at(place))
    }

    /// Asks for the entry at `place`.
    pub(super) fn prefetch(&self, place: usize) {
        let node = self.at(place);
        self.table.memory.prefetch(node);
        self.table.memory.prefetch(node.wrapping_add(64));
    }

    #[inline]
    fn place(&self, place: usize) -> &'index kausal_arena::sync::AtomicU32 {
        let page = self.table.pages.get(&self.table.memory, (place / PAGE_ENTRIES) as u32);
        &page.order[place % PAGE_ENTRIES]
    }

    #[inline]
    fn at(&self, place: usize) -> u32 {
        // Relaxed, here and below: whoever sorts is alone, and publishes the order as a whole.
        self.place(place).load(Ordering::Relaxed)
    }

    #[inline]
    fn put(&self, place: usize, node: u32) {
        self.place(place).store(node, Ordering::Relaxed);
    }

    #[inline]
    fn replace(&self, place: usize, node: u32) -> u32 {
        let place = self.place(place);
        let before = place.load(Ordering::Relaxed);
        place.store(node, Ordering::Relaxed);
        before
    }

    /// Sorts all entries and returns their number.
    pub(super) fn sort_all(&self, pen: &Writer) -> Result<usize, AllocError> {
        let len = self.table.tally.len();
        while self.room() < len {
            let _held = self.table.growth.lock();
            let before = self.room();
            self.table.add_page(pen)?;
            debug_assert!(self.room() >= before, "a table does not shrink");
        }
        let (keys, entries) = self.gather();
        self.sort(0..keys, DEPTH_MAX);
        if keys < entries {
            self.unfold(keys, entries);
        }
        Ok(entries)
    }

    fn room(&self) -> usize {
        self.table.page_count.load(Ordering::Acquire) as usize * PAGE_ENTRIES
    }

    /// Writes the newest node of every key to the first places. Returns the numbers of keys and of entries.
    fn gather(&self) -> (usize, usize) {
        let room = self.room();
        let (mut keys, mut entries) = (0, 0);
        for number in 0..self.table.page_count.load(Ordering::Acquire) {
            for bucket in &self.table.pages.get(&self.table.memory, number).buckets {
                let state = State::from_u64(bucket.state.load(Ordering::Acquire));
                let slots = bucket.slots.iter();
                let records = page::records(&self.table.memory, state.spill());
                for slot in slots.chain(records.map(|(_, record)| &record.word)) {
                    let word = slot.load(Ordering::Acquire);
                    if node_of(word) == NIL || !state.owns(number, hash_of(word)) {
                        continue;
                    }
                    let versions = self.versions(node_of(word)).count();
                    // More entries than were counted can only come from inserts after the last.
                    if entries + versions <= room {
                        self.put(keys, node_of(word));
                        (keys, entries) = (keys + 1, entries + versions);
                    }
                }
            }
        }
        (keys, entries)
    }

    fn versions(&self, newest: u32) -> impl Iterator<Item = u32> {
        let nodes = self.nodes();
        std::iter::successors(Some(newest), move |&node| Some(nodes.older(node)).filter(|&node| node != NIL))
    }

    /// Spreads `keys` newest nodes, in order, to `entries` nodes with their older versions, from the end.
    fn unfold(&self, keys: usize, entries: usize) {
        let mut end = entries;
        for key in (0..keys).rev() {
            let newest = self.at(key);
            let begin = end - self.versions(newest).count();
            for (place, node) in (begin..end).zip(self.versions(newest)) {
                self.put(place, node);
            }
            end = begin;
        }
    }

    /// Sorts the places of `range`, whose keys are distinct.
    fn sort(&self, range: Range<usize>, depth: usize) {
        if range.len() <= LEAF {
            return self.sort_leaf(range);
        }
        if depth == 0 {
            return self.sort_by_heap(range);
        }
        let skip = self.common_prefix(range.clone());
        let mut parts = self.draw_parts(range.clone(), skip);
        self.count_parts(range.clone(), skip, &mut parts);
        self.permute(skip, &mut parts);
        let mut begin = range.start;
        for part in 0..parts.count() {
            let end = parts.ends[part] as usize;
            self.sort(begin..end, depth - 1);
            begin = end;
        }
    }

    /// Calls `each` with the nodes of `range` in turn, asking for each a while before.
    #[inline]
    fn for_each(&self, range: Range<usize>, mut each: impl FnMut(u32)) {
        for place in range.clone() {
            if place + HAND < range.end {
                self.table.memory.prefetch(self.at(place + HAND));
            }
            each(self.at(place));
        }
    }

    /// How many first bytes all keys of `range` have in common.
    fn common_prefix(&self, range: Range<usize>) -> usize {
        let nodes = self.nodes();
        let first = nodes.key(self.at(range.start));
        let mut common = first.len();
        for place in range {
            let key = nodes.key(self.at(place));
            common = key.iter().zip(&first[..common]).take_while(|(left, right)| left == right).count();
            if common == 0 {
                break;
            }
        }
        common
    }

    /// Splitters that divide `range` into parts of about half a leaf.
    #[inline(never)]
    fn draw_parts(&self, range: Range<usize>, skip: usize) -> Parts {
        let count = (range.len() / (LEAF / 2)).clamp(1, SPLITTERS_MAX);
        let mut sample = [0; SPLITTERS_MAX * OVERSAMPLING];
        let sample = &mut sample[..count * OVERSAMPLING];
        let step = range.len() / sample.len();
        for (drawn, place) in sample.iter_mut().zip(range.clone().step_by(step)) {
            *drawn = code(self.nodes().key(self.at(place)), skip);
        }
        sample.sort_unstable();
        let mut splitters = [0; SPLITTERS_MAX];
        let mut splitter_count = 0;
        for &drawn in sample.iter().skip(OVERSAMPLING / 2).step_by(OVERSAMPLING) {
            if splitter_count == 0 || splitters[splitter_count - 1] != drawn {
                splitters[splitter_count] = drawn;
                splitter_count += 1;
            }
        }
        Parts { splitters, splitter_count, heads: [0; PARTS_MAX], ends: [0; PARTS_MAX] }
    }

    /// Finds out where the parts of `range` lie.
    fn count_parts(&self, range: Range<usize>, skip: usize, parts: &mut Parts) {
        let mut counts = [0_u32; PARTS_MAX];
        self.for_each(range.clone(), |node| counts[parts.of(code(self.nodes().key(node), skip))] += 1);
        let mut begin = range.start as u32;
        for (part, count) in counts[..parts.count()].iter().enumerate() {
            parts.heads[part] = begin;
            begin += count;
            parts.ends[part] = begin;
        }
    }

    /// Brings every key to its part, as in an American flag sort (McIlroy, Bostic and McIlroy 1993) with [`HAND`] keys
    /// in hand at once: a place whose key was taken up is a hole, and a key that is put down in a place that is none
    /// takes up the key there.
    fn permute(&self, skip: usize, parts: &mut Parts) {
        let mut hand = [NIL; HAND];
        let mut held = 0;
        let (mut part, mut next) = (0, parts.heads[0]);
        loop {
            while held < HAND && part < parts.count() {
                let place = next.max(parts.heads[part]);
                if place >= parts.ends[part] {
                    part += 1;
                    continue;
                }
                next = place + 1;
                let node = self.replace(place as usize, NIL);
                if node != NIL {
                    self.table.memory.prefetch(node);
                    hand[held] = node;
                    held += 1;
                }
            }
            if held == 0 {
                return;
            }
            let mut left = 0;
            for place in 0..held {
                let node = hand[place];
                let part = parts.of(code(self.nodes().key(node), skip));
                let displaced = self.replace(parts.heads[part] as usize, node);
                parts.heads[part] += 1;
                if displaced != NIL {
                    self.table.memory.prefetch(displaced);
                    hand[left] = displaced;
                    left += 1;
                }
            }
            held = left;
        }
    }

    #[inline(never)]
    fn sort_leaf(&self, range: Range<usize>) {
        if range.len() < 2 {
            return;
        }
        let nodes = self.nodes();
        let skip = self.common_prefix(range.clone());
        let mut pairs = [(0_u64, NIL); LEAF];
        let pairs = &mut pairs[..range.len()];
        let mut filled = 0;
        self.for_each(range.clone(), |node| {
            pairs[filled] = (code(nodes.key(node), skip), node);
            filled += 1;
        });
        pairs.sort_unstable_by(|left, right| {
            left.0.cmp(&right.0).then_with(|| nodes.key(left.1).cmp(nodes.key(right.1)))
        });
        for (place, &(_, node)) in range.zip(pairs.iter()) {
            self.put(place, node);
        }
    }

    /// Heapsort (Williams 1964): slow, but in place and `n log n` whatever the keys are.
    fn sort_by_heap(&self, range: Range<usize>) {
        for root in (0..range.len() / 2).rev() {
            self.sift(range.start, root, range.len());
        }
        for len in (1..range.len()).rev() {
            let largest = self.at(range.start);
            let last = self.replace(range.start + len, largest);
            self.put(range.start, last);
            self.sift(range.start, 0, len);
        }
    }

    fn sift(&self, start: usize, mut root: usize, len: usize) {
        let nodes = self.nodes();
        let compare = |left: usize, right: usize| -> Comparison {
            nodes.key(self.at(start + left)).cmp(nodes.key(self.at(start + right)))
        };
        while 2 * root + 1 < len {
            let mut child = 2 * root + 1;
            if child + 1 < len && compare(child, child + 1).is_lt() {
                child += 1;
            }
            if compare(root, child).is_ge() {
                return;
            }
            let (upper, lower) = (self.at(start + root), self.at(start + child));
            self.put(start + root, lower);
            self.put(start + child, upper);
            root = child;
        }
    }
}
