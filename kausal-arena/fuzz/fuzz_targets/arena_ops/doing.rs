//! What each operation does, and what must come of it.
//!
//! Each function first asks the model what must happen, then does it, then compares. Whatever ends a generation tells the
//! model before, because afterwards the memory must not be read.

use kausal_arena::{
    AllocError, ArenaClosed, PermitRefused, RegionPool, RegionUnavailable, Retain, Subsystem,
};

use crate::allocating::chunk_bytes_max;
use crate::model::Home;
use crate::world::{CHILD_BYTES, Child, Door, Kind, OBJECTS, Open, REGIONS, Slot, World};
use crate::{Keep, Op, Size};

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

    pub(crate) fn door(&self, number: u8) -> Option<&Open> {
        (!self.doors.is_empty()).then(|| &self.doors[pick(number, self.doors.len())])
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
}

pub(crate) fn pick(number: u8, count: usize) -> usize {
    usize::from(number) % count.max(1)
}

fn slot_generation(slots: &[Slot], arena: u8) -> u64 {
    slots[pick(arena, slots.len())].generation
}
