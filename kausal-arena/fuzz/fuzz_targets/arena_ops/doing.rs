//! What each operation does, and what must come of it.
//!
//! Each function first asks the model what must happen, then does it, then compares. Whatever ends a generation tells the
//! model before, because afterwards the memory must not be read.

use std::alloc::Layout;
use std::ptr::NonNull;

use kausal_arena::{
    AllocError, ArenaClosed, ArenaVec, DupeRefused, PermitRefused, RegionPool, RegionUnavailable,
    Reservation, Retain, Subsystem, Writer,
};

use crate::memory::{Memory, pattern};
use crate::model::Home;
use crate::world::{CHILD_BYTES, Child, Door, Kind, Name, OBJECTS, Open, REGIONS, ROOT_BYTES, Slot, World};
use crate::{Keep, Op, Size};

const NAMES_MAX: usize = 64;
const CHILDREN_MAX: usize = 3;

impl Keep {
    fn retain(self) -> Retain {
        match self {
            Self::All => Retain::Capacity,
            Self::UpTo(bytes) => Retain::UpTo(usize::from(bytes) << 2),
            Self::Nothing => Retain::Nothing,
        }
    }
}

/// What decides about an allocation, as it was before.
struct Before {
    left: usize,
    used: usize,
    /// What the budget admits, if the arena can grow; 0 if nobody knows.
    free: usize,
}

impl World {
    pub(crate) fn run(&mut self, op: Op) {
        match op {
            Op::Lease { .. }
            | Op::CloneDoor { .. }
            | Op::Write { .. }
            | Op::WriterOf { .. }
            | Op::Close { .. } => {
                self.doors(op);
            }
            Op::Layout { .. } | Op::Slice { .. } | Op::HandleValue { .. } | Op::HandleSlice { .. } => {
                self.allocate(op)
            }
            Op::Vector { door, pushes, between, is_popped } => self.vector(door, pushes, between, is_popped),
            Op::Offset { door, size } => self.offset(door, size),
            Op::Dead { door, bytes } => self.note_dead(door, bytes.into()),
            Op::Resolve { door, handle } => self.resolve(door, handle),
            Op::Dupe { from, to, handle } => self.dupe(from, to, handle),
            Op::Reset { arena, keep } => self.reset(pick(arena, self.slots.len()), keep.retain()),
            Op::Retire { arena } => self.retire(pick(arena, self.slots.len())),
            Op::Replace { arena, kind, size } => self.replace(pick(arena, self.slots.len()), kind, size),
            Op::TakeRegion | Op::Permit { .. } | Op::Freeze { .. } | Op::ReplacePool => self.regions(op),
            Op::BufferWriter | Op::BufferPermit { .. } | Op::Swap => self.buffers(op),
            Op::Child { .. } | Op::ChildWriter { .. } | Op::ResetChild { .. } | Op::DropChild { .. } => {
                self.children(op);
            }
            Op::Reserve { .. } | Op::Resize { .. } | Op::Transfer { .. } | Op::Release { .. } => {
                self.charges(op)
            }
            Op::Allot { .. } | Op::Unallot | Op::Settle | Op::Shrink { .. } => self.small_charges(op),
            Op::Scratch { .. } | Op::ScratchSlice { .. } | Op::ResetScratch | Op::DropScratch => {
                self.requests(op)
            }
            Op::Borrow => match self.objects.take() {
                Ok(object) => {
                    assert!(self.lent.len() < OBJECTS);
                    self.lent.push(object);
                }
                Err(error) => assert_eq!((self.lent.len(), error.capacity), (OBJECTS, OBJECTS)),
            },
            Op::GiveBack => drop(self.lent.pop()),
        }
    }

    fn doors(&mut self, op: Op) {
        match op {
            Op::Lease { arena, is_named } => {
                let slot = &self.slots[pick(arena, self.slots.len())];
                let coordinator = &slot.coordinator;
                let lease = if is_named { coordinator.lease_named("reader") } else { coordinator.lease() };
                let lease = lease.expect("the owner lives");
                assert_eq!(lease.generation(), slot.generation);
                self.model.hold(slot.generation);
                self.open(Door::Lease(lease), slot_generation(&self.slots, arena));
            }
            Op::Write { arena } => {
                let slot = &self.slots[pick(arena, self.slots.len())];
                let (writer, generation) =
                    (slot.coordinator.writer().expect("the owner lives"), slot.generation);
                self.model.hold(generation);
                self.open(Door::Writer(writer), generation);
            }
            Op::CloneDoor { door } | Op::WriterOf { door } => {
                let Some(open) = self.door(door) else { return };
                let (lease, generation) = (open.lease(), open.generation);
                assert_eq!(lease.generation(), generation);
                self.model.hold(generation);
                let door = match op {
                    Op::CloneDoor { .. } => Door::Lease(lease),
                    _ => Door::Writer(lease.writer()),
                };
                self.open(door, generation);
            }
            Op::Close { door } if !self.doors.is_empty() => self.close(pick(door, self.doors.len())),
            _ => {}
        }
    }

    fn door(&self, number: u8) -> Option<&Open> {
        (!self.doors.is_empty()).then(|| &self.doors[pick(number, self.doors.len())])
    }

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

    fn allocate(&mut self, op: Op) {
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

    fn vector(&mut self, door: u8, pushes: u8, between: u8, is_popped: bool) {
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

    fn offset(&mut self, door: u8, size: Size) {
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

    fn note_dead(&mut self, door: u8, bytes: usize) {
        if let Some(place) = self.pen(door) {
            self.doors[place].writer().expect("chosen for its pen").note_dead(bytes);
            self.model.get_mut(self.doors[place].generation).dead_max += bytes;
        }
    }

    fn resolve(&self, door: u8, handle: u8) {
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

    fn dupe(&mut self, from: u8, to: u8, handle: u8) {
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

    fn reset(&mut self, place: usize, retain: Retain) {
        let slot = &mut self.slots[place];
        let (before, generation) = (slot.arena.stats(), slot.generation);
        let holds = self.model.get(generation).holds;
        if holds > 1 {
            let refused = slot.arena.reset(retain).expect_err("it is leased");
            assert_eq!((refused.leases, refused.generation), (holds - 1, generation));
            return;
        }
        let capacity = self.model.get(generation).capacity;
        self.model.let_go(generation);
        let released = slot.arena.reset(retain).expect("nobody leases it");
        let after = slot.arena.stats();
        slot.generation = after.generation;
        self.model.begin(after.generation, Home::Arena(place), capacity);
        assert_eq!((released.reclaimed, released.returned), (before.used, before.capacity - after.capacity));
        assert_eq!((after.used, after.dead, after.slack), (0, 0, 0));
        match retain {
            _ if capacity.is_some() => assert_eq!(after.capacity, before.capacity),
            Retain::Capacity => assert_eq!(after.capacity, before.capacity),
            Retain::UpTo(bytes) => assert!(after.capacity <= bytes),
            Retain::Nothing => assert_eq!((after.capacity, after.chunks), (0, 0)),
        }
    }

    fn retire(&mut self, place: usize) {
        let slot = &self.slots[place];
        let (old, capacity) = (slot.generation, self.model.get(slot.generation).capacity);
        let is_admitted = capacity.is_none() || slot.charge <= self.free(&slot.node);
        if is_admitted {
            self.model.let_go(old);
        }
        let slot = &mut self.slots[place];
        let answer = slot.arena.retire();
        assert_eq!(answer.is_ok(), is_admitted, "{answer:?}");
        if is_admitted {
            slot.generation = slot.coordinator.generation().expect("the owner lives");
            self.model.begin(slot.generation, Home::Arena(place), capacity);
        }
    }

    /// The owner goes, and another comes in its place, charged to the same node.
    fn replace(&mut self, place: usize, kind: u8, size: Size) {
        let kind = match kind % 3 {
            0 => Kind::Growing,
            1 => Kind::Pooled,
            _ => Kind::Fixed(size.bytes()),
        };
        self.model.let_go(self.slots[place].generation);
        let slot = self.slots.swap_remove(place);
        let (node, coordinator) = (slot.node.clone(), slot.coordinator.clone());
        drop(slot);
        assert_eq!(coordinator.lease().expect_err("the owner is gone"), ArenaClosed);
        assert!(
            coordinator.stats().is_err()
                && coordinator.generation().is_err()
                && coordinator.writer().is_err()
        );
        let free = self.free(&node);
        let slot = Slot::new(place, node.clone(), kind, &self.chunks, &mut self.model);
        let slot = slot.unwrap_or_else(|error| {
            let Kind::Fixed(bytes) = kind else { panic!("nothing is obtained yet: {error}") };
            match error {
                AllocError::TooLarge { max, .. } => assert!(bytes > max),
                AllocError::BudgetExceeded { .. } => assert!(free < chunk_bytes_max(bytes)),
                error => panic!("{error}"),
            }
            Slot::new(place, node, Kind::Growing, &self.chunks, &mut self.model)
                .expect("nothing is obtained yet")
        });
        self.slots.push(slot);
        let last = self.slots.len() - 1;
        self.slots.swap(place, last);
    }

    fn regions(&mut self, op: Op) {
        match op {
            Op::TakeRegion => {
                let (home, coordinator) = (Home::Pool(self.regions_number), self.regions.coordinator());
                let out = self.model.count(home);
                assert_eq!(coordinator.free_count(), REGIONS - out);
                match coordinator.take() {
                    Ok(region) => {
                        assert!(out < REGIONS && region.used() == 0);
                        let generation = region.generation();
                        self.model.begin(generation, home, Some(region.capacity()));
                        self.open(Door::Region(region), generation);
                    }
                    Err(error) => {
                        assert_eq!(error, RegionUnavailable::Exhausted { total: REGIONS });
                        assert_eq!(out, REGIONS);
                    }
                }
            }
            Op::Permit { door, size } => {
                let Some(Open { door: Door::Region(region), generation }) = self.door(door) else { return };
                let (generation, used) = (*generation, region.used());
                let answer = region.permit(size.bytes());
                self.permitted(generation, used, size.bytes(), answer);
            }
            Op::Freeze { door } => {
                let Some(open) = self.door(door) else { return };
                let answer = match &open.door {
                    Door::Region(region) => region.freeze(),
                    Door::Sealed(sealed) => sealed.freeze(),
                    Door::Lease(_) | Door::Writer(_) | Door::Permit(_) => return,
                };
                let generation = open.generation;
                let generation = self.model.get_mut(generation);
                generation.is_sealed = true;
                assert_eq!(answer.err().map_or(0, |live| live.permits), generation.permits);
            }
            _ => {
                // One pool more than its node admits is refused; then the old one goes first.
                let old = self.regions.coordinator();
                let bytes = old.region_bytes();
                let free = self.free(&self.region_node);
                if let Ok(pool) = RegionPool::new(&self.region_node, bytes, REGIONS, || {}) {
                    assert!(free >= REGIONS * self.region_charge);
                    self.regions = pool;
                    self.regions_number += 1;
                    assert_eq!(old.take().expect_err("its owner is gone"), RegionUnavailable::Closed);
                } else {
                    assert!(free < REGIONS * self.region_charge);
                }
            }
        }
    }

    /// Whether a permit was rightly granted or refused; keeps it.
    fn permitted(
        &mut self,
        generation: u64,
        used: usize,
        bytes: usize,
        answer: Result<kausal_arena::Permit, PermitRefused>,
    ) {
        let model = self.model.get_mut(generation);
        let capacity = model.capacity.expect("a region does not grow");
        let have = capacity - used;
        let expected = match bytes {
            _ if bytes > capacity => Err(PermitRefused::TooLarge { need: bytes, max: capacity }),
            _ if model.is_sealed => Err(PermitRefused::Sealed),
            _ if bytes > have => Err(PermitRefused::Full { need: bytes, have }),
            _ => Ok(bytes.next_multiple_of(16)),
        };
        assert_eq!(
            answer.as_ref().map(|permit| permit.pen().block_bytes_left()).map_err(|error| *error),
            expected
        );
        if let Ok(permit) = answer {
            assert_eq!((permit.bytes(), permit.generation()), (bytes, generation));
            model.permits += 1;
            model.holds += 1;
            self.open(Door::Permit(permit), generation);
        }
    }

    fn buffers(&mut self, op: Op) {
        let active = self.ring_active;
        match op {
            Op::BufferWriter => {
                let writer = self.ring_door.writer().expect("the owner lives");
                assert_eq!(writer.lease().generation(), active);
                self.model.hold(active);
                self.open(Door::Writer(writer), active);
            }
            Op::BufferPermit { size } => {
                let used = self.ring_door.lease().expect("the owner lives").used();
                let answer = self.ring_door.permit(size.bytes());
                self.permitted(active, used, size.bytes(), answer);
            }
            _ => {
                let out = self.model.count(Home::Ring);
                match self.ring.swap() {
                    Ok(sealed) => {
                        assert!(out < 2 && sealed.generation() == active);
                        self.ring_active = self.ring_door.lease().expect("the owner lives").generation();
                        self.model.begin(self.ring_active, Home::Ring, Some(self.ring_capacity));
                        self.open(Door::Sealed(sealed), active);
                    }
                    Err(refused) => assert_eq!((out, refused.sealed + refused.draining), (2, 1)),
                }
            }
        }
    }

    fn children(&mut self, op: Op) {
        let choose = |number: u8| pick(number, self.children.len());
        match op {
            Op::Child { parent } if self.children.len() < CHILDREN_MAX => {
                let slot = &self.slots[pick(parent, self.slots.len())];
                let subsystem =
                    Subsystem::new(&slot.coordinator, "child", CHILD_BYTES).expect("no floor, an owner");
                let (generation, parent) = (subsystem.stats().generation, slot.generation);
                assert_eq!(subsystem.parent().generation(), parent);
                self.model.hold(parent);
                self.model.begin(generation, Home::Child, None);
                self.children.push(Child { subsystem, generation, parent });
            }
            _ if self.children.is_empty() => {}
            Op::ChildWriter { child } => {
                let child = &self.children[choose(child)];
                let (writer, generation) = (child.subsystem.coordinator().writer(), child.generation);
                self.model.hold(generation);
                self.open(Door::Writer(writer.expect("the owner lives")), generation);
            }
            Op::ResetChild { child, keep } => {
                let place = choose(child);
                let child = &mut self.children[place];
                let leases = self.model.get(child.generation).holds - 1;
                if leases > 0 {
                    let refused = child.subsystem.reset(keep.retain()).expect_err("it is leased");
                    assert_eq!(refused.leases, leases);
                    return;
                }
                self.model.let_go(child.generation);
                child.subsystem.reset(keep.retain()).expect("nobody leases it");
                child.generation = child.subsystem.stats().generation;
                self.model.begin(child.generation, Home::Child, None);
            }
            Op::DropChild { child } => self.drop_child(choose(child)),
            _ => {}
        }
    }

    /// Whether `bytes` more may be charged to a node that is charged by hand: worked out anew from all that is charged.
    fn admits(&self, node: usize, bytes: usize) -> bool {
        let held = |place: usize, more: usize| {
            let children = (0..self.nodes.len()).filter(|&child| self.nodes[child].parent == Some(place));
            let below: usize = children.map(|child| self.nodes[child].budget.reserved()).sum();
            (self.own(place) + below).saturating_add(more)
        };
        let (mut place, mut more) = (node, bytes);
        loop {
            let (at, inner) = (&self.nodes[place], held(place, more));
            if inner > at.budget.ceiling() {
                return false;
            }
            more = inner.max(at.floor) - at.budget.reserved();
            match at.parent {
                Some(parent) => place = parent,
                None => return more <= ROOT_BYTES - self.root.reserved(),
            }
        }
    }

    fn charges(&mut self, op: Op) {
        let count = self.charges.len();
        match op {
            Op::Reserve { node, size } => {
                let node = pick(node, self.nodes.len());
                let is_admitted = self.admits(node, size.bytes());
                let answer = self.nodes[node].budget.reserve(size.bytes());
                assert_eq!(answer.is_ok(), is_admitted, "{answer:?}");
                if let Ok(charge) = answer {
                    self.charges.push((node, charge));
                }
            }
            _ if count == 0 => {}
            Op::Resize { charge, size } => {
                let (node, before) = {
                    let (node, charge) = &self.charges[pick(charge, count)];
                    (*node, charge.bytes())
                };
                let is_admitted = size.bytes() <= before || self.admits(node, size.bytes() - before);
                let charge = &mut self.charges[pick(charge, count)].1;
                assert_eq!(charge.resize(size.bytes()).is_ok(), is_admitted);
                assert_eq!(charge.bytes(), if is_admitted { size.bytes() } else { before });
            }
            Op::Transfer { from, to, part } => self.transfer(pick(from, count), pick(to, count), part),
            Op::Release { charge } => drop(self.charges.swap_remove(pick(charge, count))),
            _ => {}
        }
    }

    fn transfer(&mut self, from: usize, to: usize, part: u8) {
        if from == to {
            return;
        }
        let sum = self.charges[from].1.bytes() + self.charges[to].1.bytes();
        let bytes = self.charges[from].1.bytes() * usize::from(part) / 255;
        let surely_admitted =
            self.charges[from].0 == self.charges[to].0 || self.admits(self.charges[to].0, bytes);
        let node = self.charges[from].0;
        let mut source =
            std::mem::replace(&mut self.charges[from].1, Reservation::empty(&self.nodes[node].budget));
        let answer = source.transfer(&mut self.charges[to].1, bytes);
        assert!(answer.is_ok() || !surely_admitted, "{answer:?}");
        self.charges[from].1 = source;
        assert_eq!(self.charges[from].1.bytes() + self.charges[to].1.bytes(), sum);
    }

    fn small_charges(&mut self, op: Op) {
        match op {
            Op::Allot { size } => {
                let (used, free) = (self.allowance.used(), self.free(&self.allowance_node));
                let drawn = self.allowance_node.used();
                let answer = self.allowance.take(size.bytes());
                let need = used.saturating_add(size.bytes());
                assert_eq!(answer.is_ok(), need <= drawn || need - drawn <= free, "{answer:?}");
                self.allotments.extend(answer);
            }
            Op::Unallot => drop(self.allotments.pop()),
            Op::Settle => {
                let before = self.allowance_node.used();
                let returned = self.allowance.settle();
                let after = self.allowance_node.used();
                assert_eq!(
                    (before - after, after),
                    (returned, self.allowance.used().next_multiple_of(4096).min(before))
                );
            }
            Op::Shrink { size } => {
                let before = self.root.used();
                let freed = self.root.please_shrink(size.bytes());
                assert_eq!(before - self.root.used(), freed);
                assert!(freed >= size.bytes() || self.chunks.idle_bytes() == 0);
            }
            _ => {}
        }
    }

    fn requests(&mut self, op: Op) {
        match op {
            Op::Scratch { size } => {
                self.end_request();
                let (bytes, free) = (size.bytes(), self.free(&self.scratch_node));
                match self.scratches.take(bytes) {
                    Ok(scratch) => {
                        assert!(bytes <= self.scratches.bytes_max() && scratch.bytes_left() >= bytes);
                        self.scratch = Some(scratch);
                        self.requests += 1;
                        self.model.begin(self.requests, Home::Request, None);
                    }
                    Err(AllocError::TooLarge { max, .. }) => assert!(bytes > max),
                    Err(error) => {
                        assert!(matches!(error, AllocError::BudgetExceeded { .. }), "{error}");
                        assert!(free < bytes.max(64 << 10).next_power_of_two() + 256, "{error}");
                    }
                }
            }
            Op::ScratchSlice { size } => {
                let Some(scratch) = &self.scratch else { return };
                let seed = self.model.next_seed();
                let source = pattern(seed, size.bytes().min(300_000));
                let left = scratch.bytes_left();
                match scratch.try_alloc_slice_copy(&source) {
                    Ok(slice) => self.model.allocated(self.requests, Memory::of(slice), 1, seed),
                    Err(AllocError::Exhausted { .. } | AllocError::BudgetExceeded { .. }) => {
                        assert!(source.len() > left);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Op::ResetScratch => {
                let Some(scratch) = &mut self.scratch else { return };
                self.model.let_go(self.requests);
                scratch.reset();
                self.requests += 1;
                self.model.begin(self.requests, Home::Request, None);
            }
            _ => self.end_request(),
        }
    }
}

/// Most that a chunk for an allocation of `need` bytes can charge.
fn chunk_bytes_max(need: usize) -> usize {
    // Header, canary and rounding, and then the next size of the pool, which no other kind exceeds.
    need.saturating_add(48).max(4096).checked_next_power_of_two().unwrap_or(usize::MAX)
}

fn pick(number: u8, count: usize) -> usize {
    usize::from(number) % count.max(1)
}

fn slot_generation(slots: &[Slot], arena: u8) -> u64 {
    slots[pick(arena, slots.len())].generation
}
