//! The model: which generations there are, how many hold each, and what lies where.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::memory::Memory;

/// Whose generation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Arena(usize),
    Pool(u32),
    Ring,
    Child,
    Request,
}

#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) home: Home,
    /// Owner, leases, writers, permits.
    pub(crate) holds: usize,
    pub(crate) permits: usize,
    pub(crate) is_sealed: bool,
    /// Bytes there are in all, if it cannot grow.
    pub(crate) capacity: Option<usize>,
    /// Most that can be dead: what was noted, and what vectors left behind.
    pub(crate) dead_max: usize,
    allocations: Vec<(Memory, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    generations: HashMap<u64, Generation>,
    /// End of each living allocation by its start.
    living: BTreeMap<usize, usize>,
    /// All that ever were.
    numbers: HashSet<u64>,
    seeds: u64,
}

impl Model {
    pub(crate) fn next_seed(&mut self) -> u64 {
        self.seeds += 1;
        self.seeds
    }

    /// A generation begins, with its owner's hold.
    pub(crate) fn begin(&mut self, number: u64, home: Home, capacity: Option<usize>) {
        assert!(self.numbers.insert(number), "generation {number} was there before");
        let generation = Generation {
            home,
            holds: 1,
            permits: 0,
            is_sealed: false,
            capacity,
            dead_max: 0,
            allocations: Vec::new(),
        };
        self.generations.insert(number, generation);
    }

    pub(crate) fn get(&self, number: u64) -> &Generation {
        self.generations.get(&number).unwrap_or_else(|| panic!("generation {number} is held by nobody"))
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> &mut Generation {
        self.generations.get_mut(&number).unwrap_or_else(|| panic!("generation {number} is held by nobody"))
    }

    pub(crate) fn hold(&mut self, number: u64) {
        self.get_mut(number).holds += 1;
    }

    /// A hold is about to end. With the last one the generation ends: what lies in it must be as it was written.
    pub(crate) fn let_go(&mut self, number: u64) {
        self.get_mut(number).holds -= 1;
        if self.get(number).holds == 0 {
            self.end(number);
        }
    }

    /// The generation is about to end.
    pub(crate) fn end(&mut self, number: u64) {
        let generation = self.generations.remove(&number).expect("a living generation");
        for (memory, seed) in generation.allocations {
            assert_eq!(
                memory.first_difference(seed),
                None,
                "{memory:x?} of generation {number} was overwritten"
            );
            self.living.remove(&memory.address());
        }
    }

    /// Something was allocated, and holds the pattern of `seed`.
    pub(crate) fn allocated(&mut self, number: u64, memory: Memory, align: usize, seed: u64) {
        assert!(memory.address().is_multiple_of(align), "{memory:x?} is not aligned to {align}");
        if memory.bytes == 0 {
            return;
        }
        let (start, end) = (memory.address(), memory.address() + memory.bytes);
        let before = self.living.range(..end).next_back();
        assert!(before.is_none_or(|(_, before)| *before <= start), "{memory:x?} overlaps {before:x?}");
        self.living.insert(start, end);
        self.get_mut(number).allocations.push((memory, seed));
    }

    /// Generations alive at `home`.
    pub(crate) fn count(&self, home: Home) -> usize {
        self.generations.values().filter(|generation| generation.home == home).count()
    }

    /// Generations alive of region pools that are closed.
    pub(crate) fn count_pools_but(&self, current: u32) -> usize {
        let is_closed = |home| matches!(home, Home::Pool(number) if number != current);
        self.generations.values().filter(|generation| is_closed(generation.home)).count()
    }

    /// Bytes that live in a generation.
    pub(crate) fn bytes(&self, number: u64) -> usize {
        self.get(number).allocations.iter().map(|(memory, _)| memory.bytes).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.living.is_empty()
    }
}
