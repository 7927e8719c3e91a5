//! Allocations through pens, and handles to what was allocated.
//!
//! The model knows what is left and what the budget admits, but not where in its block a pen stands: what depends on the
//! padding in front of an allocation may be granted or refused, everything else is foretold.

use std::alloc::Layout;
use std::ptr::NonNull;

use kausal_arena::{AllocError, ArenaVec, DupeRefused, Writer};

use crate::doing::pick;
use crate::memory::{Memory, pattern};
use crate::model::Home;
use crate::world::{Door, Name, ROOT_BYTES, World};
use crate::{Op, Size};

const NAMES_MAX: usize = 64;

/// What decides about an allocation, as it was before.
struct Before {
    left: usize,
    used: usize,
    /// What the budget admits, if the arena can grow; 0 if nobody knows.
    free: usize,
}

impl World {
    /// An open door with a pen, at or behind `number`, and its place.
    fn pen(&self, number: u8) -> Option<usize> {
        let count = self.doors.len();
        let places = (0..count).map(|step| (usize::from(number) + step) % count);
        places.into_iter().find(|&place| self.doors[place].writer().is_some())
    }

    fn before(&self, place: usize) -> (Before, &Writer) {
        let open = &self.doors[place];
        let writer = open.writer().expect("chosen for its pen");
        let free = match self.model.get(open.generation).home {
            Home::Arena(slot) => self.free(&self.slots[slot].node),
            Home::Pool(_) | Home::Ring | Home::Child | Home::Request => 0,
        };
        (Before { left: writer.block_bytes_left(), used: writer.lease().used(), free }, writer)
    }

    /// Whether an answer to a request for `layout` is the right one.
    fn judge(&self, place: usize, before: &Before, layout: Layout, error: Option<&AllocError>) {
        let open = &self.doors[place];
        let (size, align) = (layout.size(), layout.align());
        let need = size.saturating_add(align.saturating_sub(16));
        let surely_fits = size == 0 || before.left >= size.saturating_add(align - 1);
        let (home, capacity) = {
            let generation = self.model.get(open.generation);
            (generation.home, generation.capacity)
        };
        let context = || format!("{layout:?} in {home:?}, {} left, {error:?}", before.left);
        match (&open.door, capacity, error) {
            (Door::Permit(_), _, None) => assert!(size <= before.left, "{}", context()),
            (Door::Permit(_), _, Some(error)) => {
                assert!(!surely_fits, "{}", context());
                assert_eq!(*error, AllocError::Exhausted { need: size, have: before.left });
            }
            (_, Some(capacity), None) => {
                assert!(size <= before.left || need <= capacity - before.used, "{}", context());
            }
            (_, Some(capacity), Some(error)) => {
                assert!(!surely_fits && need > capacity - before.used, "{}", context());
                assert!(matches!(error, AllocError::Exhausted { .. }), "{}", context());
            }
            (_, None, None) => assert!(size <= ROOT_BYTES, "{}", context()),
            (_, None, Some(AllocError::TooLarge { bytes, max })) => {
                assert!(bytes > max && !surely_fits && size > ROOT_BYTES, "{}", context());
            }
            (_, None, Some(AllocError::BudgetExceeded { need: asked, have, .. })) => {
                assert!(asked > have && !surely_fits, "{}", context());
                if let Home::Arena(_) = home {
                    assert!(before.free < chunk_bytes_max(need), "{} bytes free: {}", before.free, context());
                }
            }
            (_, None, Some(_)) => panic!("{}", context()),
        }
    }

    pub(crate) fn allocate(&mut self, op: Op) {
        let (Op::Layout { door, .. }
        | Op::Slice { door, .. }
        | Op::HandleValue { door }
        | Op::HandleSlice { door, .. }) = op
        else {
            return;
        };
        let Some(place) = self.pen(door) else { return };
        let (seed, generation) = (self.model.next_seed(), self.doors[place].generation);
        let (before, writer) = self.before(place);
        let (layout, answer) = match op {
            Op::Layout { size, align, .. } => {
                let Ok(layout) = Layout::from_size_align(size.bytes(), 1 << (align % 13)) else { return };
                let fill = |start: NonNull<u8>| {
                    let memory = Memory::new(start, layout.size());
                    memory.fill(seed);
                    (memory, None)
                };
                (layout, writer.try_alloc_layout(layout).map(fill))
            }
            Op::Slice { size, .. } => {
                let source = pattern(seed, size.bytes().min(100_000));
                let answer = writer.try_alloc_slice_copy(&source).map(|slice| (Memory::of(slice), None));
                (Layout::for_value(&*source), answer)
            }
            Op::HandleSlice { size, .. } => {
                let source = pattern(seed, size.bytes().min(100_000));
                let answer = writer.try_alloc_handle_slice_copy(&source).map(|handle| {
                    let slice = writer.lease().resolve(handle).expect("made in this generation");
                    (Memory::of(slice), Some(Name::Slice(handle, source.len())))
                });
                (Layout::for_value(&*source), answer)
            }
            _ => {
                let source: [u8; 24] = pattern(seed, 24).try_into().expect("24 bytes");
                let answer = writer.try_alloc_handle(source).map(|handle| {
                    let value = writer.lease().resolve(handle).expect("made in this generation");
                    (Memory::of(value), Some(Name::Value(handle)))
                });
                (Layout::for_value(&source), answer)
            }
        };
        self.judge(place, &before, layout, answer.as_ref().err());
        if let Ok((memory, name)) = answer {
            self.model.allocated(generation, memory, layout.align(), seed);
            name.into_iter().for_each(|name| self.keep(name, seed));
        }
    }

    fn keep(&mut self, name: Name, seed: u64) {
        if self.names.len() == NAMES_MAX {
            self.names.remove(0);
        }
        self.names.push((name, seed));
    }

    pub(crate) fn vector(&mut self, door: u8, pushes: u8, between: u8, is_popped: bool) {
        let Some(place) = self.pen(door) else { return };
        let (seed, other) = (self.model.next_seed(), self.model.next_seed());
        let generation = self.doors[place].generation;
        let writer = self.doors[place].writer().expect("chosen for its pen");
        let source = pattern(seed, 8 * usize::from(pushes));
        let numbers =
            source.chunks_exact(8).map(|bytes| u64::from_ne_bytes(bytes.try_into().expect("8 bytes")));
        let (mut vec, mut neighbour) = (ArenaVec::new(writer), None);
        for (step, number) in numbers.enumerate() {
            if vec.try_push(number).is_err() {
                assert_eq!(vec.len(), step, "a refused push changes nothing");
                break;
            }
            if step == usize::from(between) {
                let answer = writer.try_alloc_slice_copy(&pattern(other, 5));
                neighbour = answer.ok().map(|slice| Memory::of(slice));
            }
        }
        let left_behind = 2 * 8 * vec.capacity();
        if is_popped && let Some(last) = vec.pop() {
            assert_eq!(last.to_ne_bytes(), source[8 * vec.len()..][..8]);
        }
        let slice = vec.into_slice();
        let memory = Memory::new(NonNull::from(&mut *slice).cast(), size_of_val(slice));
        self.model.get_mut(generation).dead_max += left_behind;
        self.model.allocated(generation, memory, 8, seed);
        neighbour.into_iter().for_each(|memory| self.model.allocated(generation, memory, 1, other));
    }

    pub(crate) fn offset(&mut self, door: u8, size: Size) {
        let Some(place) = self.pen(door) else { return };
        let (seed, generation) = (self.model.next_seed(), self.doors[place].generation);
        let Ok(layout) = Layout::from_size_align(size.bytes(), 8) else { return };
        let (before, writer) = self.before(place);
        let (base, answer) = (writer.lease().base(), writer.try_alloc_offset(layout));
        let Some(base) = base else {
            assert_eq!(answer.expect_err("a growing arena has none"), AllocError::NoOffsets);
            return;
        };
        self.judge(place, &before, layout, answer.as_ref().err());
        if let Ok((offset, start)) = answer {
            assert!(
                offset > 0
                    && (layout.size() == 0 || start.addr().get() == base.addr().get() + offset as usize)
            );
            let memory = Memory::new(start, layout.size());
            memory.fill(seed);
            self.model.allocated(generation, memory, 8, seed);
        }
    }

    pub(crate) fn note_dead(&mut self, door: u8, bytes: usize) {
        if let Some(place) = self.pen(door) {
            self.doors[place].writer().expect("chosen for its pen").note_dead(bytes);
            self.model.get_mut(self.doors[place].generation).dead_max += bytes;
        }
    }

    pub(crate) fn resolve(&self, door: u8, handle: u8) {
        let Some(open) = self.door(door) else { return };
        let Some(&(name, seed)) = self.names.get(pick(handle, self.names.len())) else { return };
        let lease = open.lease();
        let (made_in, found) = match name {
            Name::Value(handle) => (handle.generation(), lease.resolve(handle).map(|value| value.as_slice())),
            Name::Slice(handle, _) => (handle.generation(), lease.resolve(handle)),
        };
        match found {
            Ok(bytes) => {
                let len = if let Name::Slice(_, len) = name { len } else { 24 };
                assert!(made_in == open.generation && bytes == pattern(seed, len));
            }
            Err(stale) => {
                assert_ne!(made_in, open.generation);
                assert_eq!((stale.made_in, stale.lease), (made_in, open.generation));
            }
        }
    }

    pub(crate) fn dupe(&mut self, from: u8, to: u8, handle: u8) {
        let (Some(source), Some(target)) = (self.door(from), self.pen(to)) else { return };
        let Some(&(Name::Slice(handle, len), seed)) = self.names.get(pick(handle, self.names.len())) else {
            return;
        };
        let (lease, is_stale) = (source.lease(), handle.generation() != source.generation);
        let generation = self.doors[target].generation;
        let (before, writer) = self.before(target);
        match lease.dupe(handle, writer) {
            Err(DupeRefused::Stale(_)) => assert!(is_stale),
            Err(DupeRefused::Alloc(error)) => {
                let layout = Layout::array::<u8>(len).expect("it exists");
                self.judge(target, &before, layout, Some(&error));
            }
            Err(error) => panic!("{error}"),
            Ok(copy) => {
                assert!(!is_stale);
                let memory = Memory::of(writer.lease().resolve(copy).expect("made in this generation"));
                self.model.allocated(generation, memory, 1, seed);
                self.keep(Name::Slice(copy, len), seed);
            }
        }
    }
}

/// Most that a chunk for an allocation of `need` bytes can charge.
pub(crate) fn chunk_bytes_max(need: usize) -> usize {
    // Header, canary and rounding, and then the next size of the pool, which no other kind exceeds.
    need.saturating_add(48).max(4096).checked_next_power_of_two().unwrap_or(usize::MAX)
}
