//! The world: arenas of every kind, and the doors to them that are open.

use kausal_arena::{
    Allotment, Allowance, Arena, ArenaCoordinator, Budget, BufferCoordinator, ChunkPool, DoubleBuffer,
    Handle, Lease, Permit, Pool, Pooled, Region, RegionPool, Reservation, Scratch, ScratchPool, Sealed,
    Subsystem, Writer,
};

use crate::model::{Home, Model};

pub(crate) const ROOT_BYTES: usize = 4 << 20;
const ARENA_BYTES: usize = 1 << 20;
const REGION_BYTES: usize = 40 << 10;
pub(crate) const REGIONS: usize = 2;
pub(crate) const CHILD_BYTES: usize = 256 << 10;
pub(crate) const OBJECTS: usize = 3;
const DOORS_MAX: usize = 24;
const REQUEST: u64 = 1 << 63;

pub(crate) enum Door {
    Lease(Lease),
    Writer(Writer),
    Permit(Permit),
    Region(Region),
    Sealed(Sealed),
}

pub(crate) struct Open {
    pub(crate) door: Door,
    pub(crate) generation: u64,
}

impl Open {
    pub(crate) fn writer(&self) -> Option<&Writer> {
        match &self.door {
            Door::Writer(writer) => Some(writer),
            Door::Permit(permit) => Some(permit.pen()),
            Door::Lease(_) | Door::Region(_) | Door::Sealed(_) => None,
        }
    }

    /// A further lease on the same generation.
    pub(crate) fn lease(&self) -> Lease {
        match &self.door {
            Door::Lease(lease) => lease.clone(),
            Door::Writer(writer) => writer.lease().clone(),
            Door::Permit(permit) => permit.pen().lease().clone(),
            Door::Region(region) => region.lease(),
            Door::Sealed(sealed) => (**sealed).clone(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Growing,
    Pooled,
    Fixed(usize),
}

pub(crate) struct Slot {
    pub(crate) node: Budget,
    pub(crate) arena: Arena,
    pub(crate) coordinator: ArenaCoordinator,
    pub(crate) generation: u64,
    pub(crate) kind: Kind,
    /// What a fixed arena charges.
    pub(crate) charge: usize,
}

pub(crate) struct Child {
    pub(crate) subsystem: Subsystem,
    pub(crate) generation: u64,
    pub(crate) parent: u64,
}

#[derive(Clone, Copy)]
pub(crate) enum Name {
    Value(Handle<[u8; 24]>),
    Slice(Handle<[u8]>, usize),
}

/// A node that is charged by hand.
pub(crate) struct Node {
    pub(crate) budget: Budget,
    pub(crate) floor: usize,
    pub(crate) parent: Option<usize>,
}

pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) doors: Vec<Open>,
    pub(crate) children: Vec<Child>,
    pub(crate) names: Vec<(Name, u64)>,
    pub(crate) charges: Vec<(usize, Reservation)>,
    pub(crate) allotments: Vec<Allotment>,
    pub(crate) lent: Vec<Pooled<Vec<u8>>>,
    pub(crate) scratch: Option<Scratch>,
    pub(crate) scratches: ScratchPool,
    pub(crate) scratch_node: Budget,
    pub(crate) slots: Vec<Slot>,
    pub(crate) chunks: ChunkPool,
    pub(crate) idle_node: Budget,
    pub(crate) regions: RegionPool,
    pub(crate) regions_number: u32,
    pub(crate) region_charge: usize,
    pub(crate) region_node: Budget,
    pub(crate) ring: DoubleBuffer,
    pub(crate) ring_door: BufferCoordinator,
    pub(crate) ring_active: u64,
    pub(crate) ring_capacity: usize,
    pub(crate) objects: Pool<Vec<u8>>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) allowance: Allowance,
    pub(crate) allowance_node: Budget,
    pub(crate) requests: u64,
    pub(crate) root: Budget,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = Budget::root("root", ROOT_BYTES);
        let node =
            |name: &'static str, floor, ceiling| root.child(name, floor, ceiling).expect("an empty tree");
        let (idle_node, region_node) = (node("idle chunks", 0, 512 << 10), node("regions", 0, 512 << 10));
        let (scratch_node, allowance_node) = (node("scratch", 0, 512 << 10), node("allowance", 0, 64 << 10));
        let chunks = ChunkPool::new(&idle_node);
        let mut model = Model::default();
        let slots: Vec<_> =
            [("first", Kind::Growing), ("second", Kind::Pooled), ("third", Kind::Fixed(50_000))]
                .into_iter()
                .enumerate()
                .map(|(place, (name, kind))| {
                    Slot::new(place, node(name, 0, ARENA_BYTES), kind, &chunks, &mut model)
                        .expect("an empty tree")
                })
                .collect();
        let regions = RegionPool::new(&region_node, REGION_BYTES, REGIONS, || {}).expect("an empty tree");
        let ring = DoubleBuffer::new(&node("ring", 0, 512 << 10), REGION_BYTES).expect("an empty tree");
        let ring_door = ring.coordinator();
        let ring_active = ring_door.lease().expect("an owner").generation();
        // Both kinds of buffers have the same size, and one region says what that is.
        let ring_capacity = regions.coordinator().take().expect("a new pool").capacity();
        model.begin(ring_active, Home::Ring, Some(ring_capacity));
        let first = Node { budget: node("a", 64 << 10, 1 << 20), floor: 64 << 10, parent: None };
        let below = first.budget.child("b", 16 << 10, 512 << 10).expect("an empty tree");
        let below = Node { budget: below, floor: 16 << 10, parent: Some(0) };
        let third = Node { budget: node("c", 0, usize::MAX), floor: 0, parent: None };
        Self {
            model,
            doors: Vec::new(),
            children: Vec::new(),
            names: Vec::new(),
            charges: Vec::new(),
            allotments: Vec::new(),
            lent: Vec::new(),
            scratch: None,
            scratches: ScratchPool::new(&scratch_node, 256 << 10),
            scratch_node,
            slots,
            chunks,
            idle_node,
            region_charge: region_node.used() / REGIONS,
            regions,
            regions_number: 0,
            region_node,
            ring,
            ring_door,
            ring_active,
            ring_capacity,
            objects: Pool::new(&node("objects", 0, 4096), OBJECTS, Vec::new).expect("an empty tree"),
            nodes: vec![first, below, third],
            allowance: Allowance::new(&allowance_node, 4096),
            allowance_node,
            requests: REQUEST,
            root,
        }
    }

    /// Keeps a door open, or closes it at once if there are too many.
    pub(crate) fn open(&mut self, door: Door, generation: u64) {
        self.doors.push(Open { door, generation });
        if self.doors.len() > DOORS_MAX {
            self.close(self.doors.len() - 1);
        }
    }

    pub(crate) fn close(&mut self, place: usize) {
        let open = self.doors.swap_remove(place);
        if let Door::Permit(_) = open.door {
            self.model.get_mut(open.generation).permits -= 1;
        }
        self.model.let_go(open.generation);
        drop(open);
    }

    pub(crate) fn drop_child(&mut self, place: usize) {
        let child = self.children.swap_remove(place);
        self.model.let_go(child.generation);
        self.model.let_go(child.parent);
        drop(child);
    }

    pub(crate) fn end_request(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            self.model.let_go(self.requests);
            drop(scratch);
        }
    }

    /// Bytes that can still be charged at `node` without a floor, and above it.
    pub(crate) fn free(&self, node: &Budget) -> usize {
        let here = node.ceiling() - node.reserved();
        node.parent().map_or(here, |parent| here.min(self.free(parent)))
    }

    /// What must hold after every operation.
    pub(crate) fn check(&self) {
        let report = self.root.report();
        assert_eq!(report.root().used, report.leaves_used(), "\n{report}");
        for node in report.nodes() {
            assert!(node.used <= node.reserved && node.floor <= node.reserved, "{node:?}");
            assert!(node.reserved <= node.limit && node.used <= node.used_max, "{node:?}");
        }
        for (place, slot) in self.slots.iter().enumerate() {
            self.check_slot(place, slot);
        }
        for child in &self.children {
            let stats = child.subsystem.stats();
            assert_eq!(stats.generation, child.generation);
            assert_eq!(stats.leases + 1, self.model.get(child.generation).holds);
            assert!(self.model.bytes(child.generation) <= stats.used && stats.capacity <= CHILD_BYTES);
        }
        let out = self.model.count_pools_but(self.regions_number) + REGIONS;
        assert_eq!(self.region_node.used(), out * self.region_charge);
        assert_eq!(self.idle_node.used(), self.chunks.idle_bytes());
        self.check_ring();
        for (place, node) in self.nodes.iter().enumerate() {
            let children = (0..self.nodes.len()).filter(|&child| self.nodes[child].parent == Some(place));
            assert_eq!(
                node.budget.used(),
                self.own(place) + children.map(|child| self.own(child)).sum::<usize>()
            );
        }
        let allotted: usize = self.allotments.iter().map(Allotment::bytes).sum();
        assert!(self.allowance.used() == allotted && allotted <= self.allowance_node.used());
        assert_eq!(self.objects.in_use(), self.lent.len());
    }

    fn check_slot(&self, place: usize, slot: &Slot) {
        let (stats, generation) = (slot.arena.stats(), self.model.get(slot.generation));
        assert_eq!((stats.generation, generation.home), (slot.generation, Home::Arena(place)));
        assert_eq!(stats.leases + 1, generation.holds);
        assert!(self.model.bytes(slot.generation) <= stats.used && stats.used <= stats.capacity, "{stats:?}");
        assert!(stats.slack <= stats.used && stats.dead <= generation.dead_max, "{stats:?}");
        assert!(stats.capacity <= slot.node.used(), "{stats:?}");
        if self.model.count(Home::Arena(place)) == 1 && !matches!(slot.kind, Kind::Fixed(_)) {
            let children: usize = self.children.iter().map(|child| child.subsystem.stats().capacity).sum();
            assert!(slot.node.used() <= stats.capacity + children + self.orphans(), "{stats:?}");
        }
    }

    /// Most that children's generations can hold whose child is gone.
    fn orphans(&self) -> usize {
        self.model.count(Home::Child).saturating_sub(self.children.len()) * CHILD_BYTES
    }

    fn check_ring(&self) {
        let (states, out) = (self.ring.states(), self.model.count(Home::Ring));
        let is_sealed = |open: &&Open| matches!(open.door, Door::Sealed(_));
        let sealed = self.doors.iter().filter(is_sealed).count();
        assert_eq!((states.active, states.sealed, states.standby), (1, sealed, 2 - out));
        assert_eq!(states.draining, out - 1 - sealed);
    }

    /// Bytes charged by hand at a node.
    pub(crate) fn own(&self, node: usize) -> usize {
        self.charges.iter().filter(|(at, _)| *at == node).map(|(_, charge)| charge.bytes()).sum()
    }

    /// Lets everything go; nothing may be charged then.
    pub(crate) fn end(mut self) {
        while !self.doors.is_empty() {
            self.close(0);
        }
        while !self.children.is_empty() {
            self.drop_child(0);
        }
        self.end_request();
        for slot in self.slots {
            self.model.let_go(slot.generation);
        }
        self.model.let_go(self.ring_active);
        assert!(self.model.is_empty(), "{:?}", self.model);
        drop((self.ring, self.ring_door, self.regions, self.chunks, self.scratches, self.scratch_node));
        drop((self.charges, self.allotments, self.allowance, self.lent, self.objects, self.nodes));
        drop((self.allowance_node, self.idle_node, self.region_node));
        assert_eq!((self.root.used(), self.root.reserved()), (0, 0), "\n{}", self.root.report());
    }
}

impl Slot {
    pub(crate) fn new(
        place: usize,
        node: Budget,
        kind: Kind,
        chunks: &ChunkPool,
        model: &mut Model,
    ) -> Result<Self, kausal_arena::AllocError> {
        let before = node.used();
        let arena = match kind {
            Kind::Growing => Arena::growing(&node),
            Kind::Pooled => Arena::pooled(&node, chunks),
            Kind::Fixed(bytes) => Arena::fixed(&node, bytes)?,
        };
        let stats = arena.stats();
        let capacity = matches!(kind, Kind::Fixed(_)).then_some(stats.capacity);
        model.begin(stats.generation, Home::Arena(place), capacity);
        let (coordinator, charge) = (arena.coordinator(), node.used() - before);
        Ok(Self { node, arena, coordinator, generation: stats.generation, kind, charge })
    }
}
