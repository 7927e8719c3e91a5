//! Vectors and strings in an arena, and collections of other crates.

use std::fmt::Write;

use kausal_arena::{AllocError, Arena, ArenaString, ArenaVec, Budget};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_vector_is_a_vector(ops in proptest::collection::vec((0..5_u8, any::<u16>()), 0..400), shared in any::<bool>()) {
        let arena = Arena::growing(&Budget::unlimited("test"));
        let scope = arena.scope();
        let (mut ours, mut model) = (ArenaVec::new(&scope), Vec::new());
        for (op, value) in ops {
            match op {
                0 | 1 => {
                    ours.push(value);
                    model.push(value);
                }
                2 => prop_assert_eq!(ours.pop(), model.pop()),
                3 => {
                    ours.extend_from_slice(&[value; 9]);
                    model.extend_from_slice(&[value; 9]);
                }
                _ => {
                    ours.truncate(usize::from(value % 50));
                    model.truncate(usize::from(value % 50));
                    if shared {
                        scope.alloc(value);
                    }
                }
            }
            prop_assert_eq!(&*ours, &*model);
        }
        prop_assert_eq!(ours.into_slice(), &*model);
    }
}

#[test]
fn a_vector_alone_in_its_block_grows_in_place() {
    let arena = Arena::growing(&Budget::unlimited("test"));
    let scope = arena.scope();
    let mut numbers = ArenaVec::try_with_capacity(&scope, 1).unwrap();
    numbers.push(1_u64);
    let first = std::ptr::from_ref(&numbers[0]);
    (0..200).for_each(|number| numbers.push(number));
    assert_eq!(std::ptr::from_ref(&numbers[0]), first);
    assert_eq!(arena.stats().dead, 0);
}

#[test]
fn a_vector_that_cannot_grow_is_as_before() {
    let arena = Arena::fixed(&Budget::unlimited("test"), 1024).unwrap();
    let scope = arena.scope();
    let mut bytes = ArenaVec::new(&scope);
    let refused = loop {
        if let Err(error) = bytes.try_push(7_u8) {
            break error;
        }
    };
    assert!(matches!(refused, AllocError::Exhausted { .. }), "{refused}");
    assert!(bytes.len() > 700 && bytes.iter().all(|&byte| byte == 7));
    assert!(matches!(bytes.try_reserve(usize::MAX), Err(AllocError::TooLarge { .. })));
    let mut nothing = ArenaVec::new(&scope);
    (0..1_000).for_each(|_| nothing.push(()));
    assert_eq!(nothing.into_slice().len(), 1_000);
}

#[test]
fn a_string_is_written_to_and_refuses_as_a_value() {
    let arena = Arena::fixed(&Budget::unlimited("test"), 1024).unwrap();
    let scope = arena.scope();
    let mut text = ArenaString::new(&scope);
    text.push_str("größer ");
    write!(text, "als {}", 7).unwrap();
    assert_eq!(&*text, "größer als 7");
    assert!(text.try_push_str(&"x".repeat(2_000)).is_err() && text.try_push_str("!").is_ok());
    assert_eq!(text.into_str(), "größer als 7!");
}

#[cfg(feature = "allocator-api2")]
mod other_crates {
    use hashbrown::HashMap;
    use kausal_arena::{Arena, Budget, Retain};

    #[test]
    fn a_hash_map_lives_in_an_arena() {
        let budget = Budget::root("test", 8 << 20);
        let mut arena = Arena::growing(&budget);
        {
            let scope = arena.scope();
            let mut map = HashMap::new_in(&scope);
            for number in 0..10_000_u64 {
                map.insert(number, number * 2);
            }
            map.retain(|number, _| number % 3 == 0);
            assert!(
                (0..10_000)
                    .all(|number| map.get(&number).copied() == (number % 3 == 0).then_some(2 * number))
            );
        }
        let stats = arena.stats();
        assert!(stats.dead > 0 && stats.used >= 10_000 * 16, "{stats:?}: the tables it grew out of are dead");
        arena.reset(Retain::Nothing).unwrap();
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_collection_may_own_its_pen_and_move_to_another_thread() {
        let arena = Arena::growing(&Budget::unlimited("test"));
        let mut numbers = allocator_api2::vec::Vec::new_in(arena.coordinator().writer().unwrap());
        numbers.extend(0..1_000_u32);
        let sum = std::thread::spawn(move || {
            numbers.push(1_000);
            numbers.shrink_to_fit();
            numbers.iter().sum::<u32>()
        });
        assert_eq!(sum.join().unwrap(), 500_500);
        assert_eq!(arena.stats().leases, 0);
    }

    #[test]
    fn what_was_freed_last_is_free_again() {
        let arena = Arena::growing(&Budget::unlimited("test"));
        let scope = arena.scope();
        for _ in 0..1_000 {
            allocator_api2::vec::Vec::<u64, _>::with_capacity_in(100, &scope);
        }
        assert!(arena.stats().used <= 4096);
    }
}
