//! Models of everything whose soundness depends on an order between threads, for a checker of interleavings.
//!
//! | command | what it explores |
//! |---|---|
//! | `cargo xtask model loom --crate kausal-arena` | every interleaving, every allowed memory order |
//! | `cargo xtask model shuttle --crate kausal-arena` | 20,000 random schedules of each |
//! | `cargo test -p kausal-arena --test models` | a hundred runs on real threads |
//!
//! [`Witness`] is how a model sees an order: a plain cell beside the arena, touched under a lease or a permit and after its
//! end. If the arena did not order the two, loom reports a data race on the cell.

use std::alloc::Layout;

use kausal_arena::sync::{Arc, AtomicU64, Ordering, model, thread};
use kausal_arena::{Allowance, Arena, Budget, ChunkPool, DoubleBuffer, Published, RegionPool, Retain};

/// A cell whose accesses must be ordered by something else.
#[derive(Default)]
struct Witness {
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<u64>,
}

impl Witness {
    fn read(&self) {
        #[cfg(loom)]
        self.cell.with(|_| ());
    }

    fn write(&self) {
        #[cfg(loom)]
        self.cell.with_mut(|_| ());
    }
}

// SAFETY: the cell's contents are never touched; the checker follows its accesses and reports unordered ones.
#[cfg(loom)]
unsafe impl Sync for Witness {}

/// Explores a model and says how far.
fn explore(name: &str, check: impl Fn() + Send + Sync + 'static) {
    println!("{name}: {} runs", model(check));
}

/// [`explore`] for what has too many interleavings: under loom those with up to three preemptions, which find the planted
/// defects too.
fn explore_bounded(name: &str, check: impl Fn() + Send + Sync + 'static) {
    #[cfg(loom)]
    {
        let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = std::sync::Arc::clone(&runs);
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            check();
        });
        println!("{name}: {} runs", runs.load(std::sync::atomic::Ordering::Relaxed));
    }
    #[cfg(not(loom))]
    explore(name, check);
}

/// Tracing would take a lock per lease, and so hide what the counts alone order.
fn quiet(name: &'static str, bytes: usize) -> Budget {
    let budget = Budget::root(name, bytes);
    budget.trace_leases(false);
    budget
}

#[test]
fn a_reset_comes_after_everything_done_under_leases() {
    explore("a_reset_comes_after_everything_done_under_leases", || {
        let mut arena = Arena::growing(&quiet("test", 1 << 20));
        let coordinator = arena.coordinator();
        let first = coordinator.generation().unwrap();
        let witness = Arc::new(Witness::default());
        let reader = {
            let (coordinator, witness) = (coordinator.clone(), Arc::clone(&witness));
            thread::spawn(move || {
                let lease = coordinator.lease().unwrap();
                if lease.generation() == first {
                    witness.read();
                    drop(lease.clone());
                }
            })
        };
        if arena.reset(Retain::Capacity).is_ok() {
            witness.write();
            assert_ne!(coordinator.generation().unwrap(), first);
        } else {
            assert_eq!(coordinator.generation().unwrap(), first);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_retired_generation_lives_until_its_last_lease() {
    explore("a_retired_generation_lives_until_its_last_lease", || {
        let budget = quiet("test", 1 << 20);
        let mut arena = Arena::growing(&budget);
        let handle = arena.coordinator().writer().unwrap().alloc_handle(7_u64);
        let lease = arena.coordinator().lease().unwrap();
        let reader = thread::spawn(move || {
            assert_eq!(lease.resolve(handle), Ok(&7));
            drop(lease);
        });
        arena.retire().unwrap();
        assert!(arena.coordinator().lease().unwrap().resolve(handle).is_err());
        reader.join().unwrap();
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn an_owner_that_goes_leaves_leases_their_memory() {
    explore("an_owner_that_goes_leaves_leases_their_memory", || {
        let budget = quiet("test", 1 << 20);
        let arena = Arena::growing(&budget);
        let coordinator = arena.coordinator();
        let handle = coordinator.writer().unwrap().alloc_handle(7_u64);
        let reader = thread::spawn(move || {
            if let Ok(lease) = coordinator.lease() {
                assert_eq!(lease.resolve(handle), Ok(&7));
            }
        });
        drop(arena);
        reader.join().unwrap();
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn a_region_is_taken_again_after_everything_done_under_leases() {
    explore("a_region_is_taken_again_after_everything_done_under_leases", || {
        let pool = RegionPool::new(&quiet("test", 1 << 20), 4096, 1, || {}).unwrap();
        let coordinator = pool.coordinator();
        let region = coordinator.take().unwrap();
        let (witness, lease) = (Arc::new(Witness::default()), region.lease());
        let reader = {
            let witness = Arc::clone(&witness);
            thread::spawn(move || {
                witness.read();
                drop(lease);
            })
        };
        drop(region);
        if let Ok(next) = coordinator.take() {
            witness.write();
            assert_eq!(next.used(), 0);
        }
        reader.join().unwrap();
        assert_eq!(coordinator.free_count(), 1);
    });
}

#[test]
fn concurrent_writers_get_disjoint_bytes() {
    explore("concurrent_writers_get_disjoint_bytes", || {
        let arena = Arena::fixed(&quiet("test", 1 << 20), 4096).unwrap();
        let write = |writer: kausal_arena::Writer| {
            let layout = Layout::new::<u64>();
            let taken = [writer.try_alloc_offset(layout), writer.try_alloc_offset(layout)];
            taken.into_iter().flatten().map(|(offset, _)| offset).collect::<Vec<_>>()
        };
        let other = arena.coordinator().writer().unwrap();
        let other = thread::spawn(move || write(other));
        let mut offsets = write(arena.coordinator().writer().unwrap());
        offsets.extend(other.join().unwrap());
        // A writer that found the whole region taken by the other's block got nothing, and nothing twice.
        assert!(offsets.len() >= 2);
        offsets.sort_unstable();
        assert!(offsets.windows(2).all(|pair| pair[0] + 8 <= pair[1]), "{offsets:?}");
    });
}

#[test]
fn permit_rotate_and_flush_lose_no_write() {
    explore("permit_rotate_and_flush_lose_no_write", || {
        let pool = RegionPool::new(&quiet("test", 1 << 20), 1024, 1, || {}).unwrap();
        let coordinator = pool.coordinator();
        let region = Arc::new(coordinator.take().unwrap());
        let witness = Arc::new(Witness::default());
        let writer = {
            let (region, witness) = (Arc::clone(&region), Arc::clone(&witness));
            thread::spawn(move || {
                let Ok(permit) = region.permit(64) else { return None };
                let handle = permit.pen().alloc_handle(7_u64);
                witness.write();
                Some(handle)
            })
        };
        // Rotate: no new permits from here on.
        let is_frozen = region.freeze().is_ok();
        if is_frozen {
            // Flush: whoever froze reads what was written under permits, and nobody writes any more.
            witness.read();
            assert!(region.permit(1).is_err());
        }
        let handle = writer.join().unwrap();
        assert!(region.freeze().is_ok());
        let lease = region.lease();
        if let Some(handle) = handle {
            assert_eq!(lease.resolve(handle), Ok(&7));
        }
        drop((region, lease));
        assert_eq!(coordinator.take().unwrap().used(), 0);
    });
}

#[test]
fn permits_that_end_at_once_leave_nothing_reserved() {
    explore("permits_that_end_at_once_leave_nothing_reserved", || {
        let pool = RegionPool::new(&quiet("test", 1 << 20), 1024, 1, || {}).unwrap();
        let region = Arc::new(pool.coordinator().take().unwrap());
        let other = {
            let region = Arc::clone(&region);
            thread::spawn(move || drop(region.permit(64)))
        };
        drop(region.permit(64));
        other.join().unwrap();
        assert!(region.freeze().is_ok());
        assert!(region.used() <= 64, "one rest may be behind the other when it comes back");
    });
}

#[test]
fn a_rest_that_lies_between_permits_is_one_permits_at_a_time() {
    explore_bounded("a_rest_that_lies_between_permits_is_one_permits_at_a_time", || {
        let pool = RegionPool::new(&quiet("test", 1 << 20), 4096, 1, || {}).unwrap();
        let region = Arc::new(pool.coordinator().take().unwrap());
        let (first, second) = (region.permit(512).unwrap(), region.permit(64).unwrap());
        // The second lies behind its rest, which is there to be taken now.
        drop(first);
        let work = |region: &kausal_arena::Region, value: u64| {
            let permit = region.permit(400).unwrap();
            permit.pen().alloc_handle(value)
        };
        let other = {
            let region = Arc::clone(&region);
            thread::spawn(move || work(&region, 1))
        };
        let mine = work(&region, 2);
        let others = other.join().unwrap();
        let lease = region.lease();
        assert_eq!((lease.resolve(others), lease.resolve(mine)), (Ok(&1), Ok(&2)));
        drop(second);
        assert!(region.freeze().is_ok());
        assert!(region.used() < 4096);
    });
}

#[test]
fn chunks_of_a_pool_are_one_arenas_at_a_time() {
    explore("chunks_of_a_pool_are_one_arenas_at_a_time", || {
        let budget = quiet("test", 1 << 20);
        let pool = ChunkPool::new(&budget);
        let work = |budget: &Budget, pool: &ChunkPool| {
            let arena = Arena::pooled(budget, pool);
            let scope = arena.scope();
            scope.alloc([1_u8; 100]).iter().for_each(|&byte| assert_eq!(byte, 1));
        };
        let other = {
            let (budget, pool) = (budget.clone(), pool.clone());
            thread::spawn(move || work(&budget, &pool))
        };
        work(&budget, &pool);
        other.join().unwrap();
        assert_eq!(budget.used(), pool.idle_bytes());
        pool.shrink(usize::MAX);
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn a_swap_keeps_what_was_written_before_it() {
    explore("a_swap_keeps_what_was_written_before_it", || {
        let mut buffers = DoubleBuffer::new(&quiet("test", 1 << 20), 1024).unwrap();
        let coordinator = buffers.coordinator();
        let writer = thread::spawn(move || {
            let writer = coordinator.writer().unwrap();
            let handle = writer.alloc_handle(7_u64);
            (writer.lease().clone(), handle)
        });
        let sealed = buffers.swap().unwrap();
        drop(sealed);
        let swapped_back = buffers.swap().is_ok();
        let (lease, handle) = writer.join().unwrap();
        assert_eq!(lease.resolve(handle), Ok(&7));
        drop(lease);
        assert!(swapped_back || buffers.swap().is_ok());
    });
}

#[test]
fn limits_hold_at_every_instant() {
    explore("limits_hold_at_every_instant", || {
        let root = quiet("root", 100);
        let child = root.child("child", 10, 80).unwrap();
        let other = {
            let child = child.clone();
            thread::spawn(move || {
                let held = child.reserve(60);
                assert!(child.used() <= 80);
                drop(held);
            })
        };
        let held = root.reserve(50);
        assert!(root.used() <= 100 && root.reserved() <= 100);
        drop(held);
        other.join().unwrap();
        assert_eq!((root.used(), root.reserved()), (0, 10));
    });
}

#[test]
fn an_allowance_settles_only_what_nobody_took() {
    explore("an_allowance_settles_only_what_nobody_took", || {
        let node = quiet("node", 100);
        let allowance = Allowance::new(&node, 10);
        drop(allowance.take(10).unwrap());
        let other = {
            let (allowance, node) = (allowance.clone(), node.clone());
            thread::spawn(move || {
                let held = allowance.take(5).unwrap();
                assert!(held.bytes() <= node.used(), "what is handed out stays charged");
            })
        };
        allowance.settle();
        other.join().unwrap();
        allowance.settle();
        assert_eq!((allowance.used(), node.used()), (0, 0));
    });
}

/// A value that is dead when it is dropped: its witness is written then, and read under a reading.
struct Mortal {
    number: u64,
    witness: Arc<Witness>,
    drops: Arc<AtomicU64>,
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.witness.write();
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Publishes over values that others read, and sees that each is dropped once, after them, and without another publication.
///
/// Planted: `published_enter_unfenced` (a reader that a publisher may not see), `published_leave_unfenced` (one that may
/// leave without seeing that something waits for it).
fn publish_over(readers: usize, slots: usize, publications: u64, read: fn(&Published<Mortal>)) {
    let drops = Arc::new(AtomicU64::new(0));
    let mortal = {
        let drops = Arc::clone(&drops);
        move |number| Mortal { number, witness: Arc::default(), drops: Arc::clone(&drops) }
    };
    let published = Arc::new(Published::with_slots(mortal(0), slots));
    let readers: Vec<_> = (0..readers)
        .map(|_| {
            let published = Arc::clone(&published);
            thread::spawn(move || read(&published))
        })
        .collect();
    (1..=publications).for_each(|number| published.publish(mortal(number)));
    readers.into_iter().for_each(|reader| reader.join().expect("the reader holds its laws"));
    assert_eq!(published.waiting_count(), 0, "the last to leave dropped it");
    assert_eq!(drops.load(Ordering::Relaxed), publications);
}

fn read_once(published: &Published<Mortal>) {
    published.read(|value| value.witness.read());
}

fn read_nested(published: &Published<Mortal>) {
    published.read(|outer| {
        published.read(|inner| {
            inner.witness.read();
            assert!(inner.number >= outer.number, "values never go back");
        });
        outer.witness.read();
    });
}

fn read_twice(published: &Published<Mortal>) {
    read_once(published);
    read_once(published);
}

#[test]
fn a_value_outlives_its_reader_and_not_by_more() {
    explore("a_value_outlives_its_reader_and_not_by_more", || publish_over(1, 2, 1, read_once));
}

#[test]
fn a_value_outlives_a_reading_inside_of_a_reading() {
    explore("a_value_outlives_a_reading_inside_of_a_reading", || publish_over(1, 2, 1, read_nested));
}

#[test]
fn a_value_outlives_a_reader_that_comes_again() {
    explore("a_value_outlives_a_reader_that_comes_again", || publish_over(1, 2, 1, read_twice));
}

#[test]
fn values_published_one_after_the_other_go_in_turn() {
    explore_bounded("values_published_one_after_the_other_go_in_turn", || publish_over(1, 2, 2, read_twice));
}

#[test]
fn a_value_outlives_two_readers() {
    explore_bounded("a_value_outlives_two_readers", || publish_over(2, 3, 1, read_once));
}

#[test]
fn a_value_outlives_readers_without_slots() {
    explore("a_value_outlives_readers_without_slots", || publish_over(1, 0, 1, read_nested));
}
