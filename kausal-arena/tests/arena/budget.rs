//! Budgets: sums, limits, floors, transfers, hosts, allowances.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kausal_arena::{AllocError, Allowance, Budget, HOST_QUANTUM_BYTES, HostPool, Reservation};
use proptest::prelude::*;

/// A tree of five nodes, and what may be done to it.
#[derive(Clone, Debug)]
enum Op {
    Reserve { leaf: usize, bytes: usize },
    Release { which: usize },
    Resize { which: usize, bytes: usize },
    Transfer { from: usize, to: usize, bytes: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..4_usize, 0..60_usize).prop_map(|(leaf, bytes)| Op::Reserve { leaf, bytes }),
        any::<usize>().prop_map(|which| Op::Release { which }),
        (any::<usize>(), 0..60_usize).prop_map(|(which, bytes)| Op::Resize { which, bytes }),
        (any::<usize>(), any::<usize>(), 0..60_usize).prop_map(|(from, to, bytes)| Op::Transfer {
            from,
            to,
            bytes
        }),
    ];
    proptest::collection::vec(op, 1..80)
}

fn apply(op: Op, leaves: &[Budget], held: &mut Vec<Reservation>) {
    match op {
        Op::Reserve { leaf, bytes } => held.extend(leaves[leaf % leaves.len()].reserve(bytes)),
        Op::Release { which } if !held.is_empty() => drop(held.swap_remove(which % held.len())),
        Op::Resize { which, bytes } if !held.is_empty() => {
            let place = which % held.len();
            let before = held[place].bytes();
            let resized = held[place].resize(bytes);
            assert_eq!(held[place].bytes(), if resized.is_ok() { bytes } else { before });
        }
        Op::Transfer { from, to, bytes } if held.len() > 1 => {
            let mut source = held.swap_remove(from % held.len());
            let place = to % held.len();
            let bytes = bytes.min(source.bytes());
            let before = (source.bytes(), held[place].bytes());
            let moved = source.transfer(&mut held[place], bytes).is_ok();
            let moved = if moved { bytes } else { 0 };
            assert_eq!((source.bytes(), held[place].bytes()), (before.0 - moved, before.1 + moved));
            held.push(source);
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn sums_hold_and_limits_are_never_passed(ops in ops()) {
        let root = Budget::root("root", 100);
        let middle = root.child("middle", 20, 80).unwrap();
        let leaves = [
            root.child("a", 10, 100).unwrap(),
            middle.child("b", 5, 50).unwrap(),
            middle.child("c", 0, 80).unwrap(),
            middle.clone(),
        ];
        let mut held = Vec::new();
        for op in ops {
            apply(op, &leaves, &mut held);
            let report = root.report();
            prop_assert_eq!(report.root().used, held.iter().map(Reservation::bytes).sum::<usize>());
            prop_assert_eq!(report.root().used, report.leaves_used());
            for node in report.nodes() {
                prop_assert!(node.used <= node.limit && node.used <= node.reserved && node.floor <= node.reserved);
                prop_assert!(node.reserved <= node.limit && node.used <= node.used_max);
            }
        }
        drop(held);
        drop(leaves);
        drop(middle);
        prop_assert_eq!((root.used(), root.reserved()), (0, 0));
    }
}

#[test]
fn a_floor_is_there_whatever_others_hold() {
    let root = Budget::root("root", 100);
    let flush = root.child("flush", 30, 60).unwrap();
    let cache = root.child("cache", 0, 100).unwrap();
    let held = cache.reserve(70).unwrap();
    let refused = cache.reserve(1).unwrap_err();
    assert!(matches!(&refused, AllocError::BudgetExceeded { node, .. } if &**node == "root"), "{refused}");
    assert!(refused.to_string().contains("cache (70 bytes)"), "{refused}");
    let own = flush.reserve(30).unwrap();
    assert!(flush.reserve(1).is_err());
    drop(held);
    drop((own, flush.reserve(60).unwrap_err()));
    assert_eq!(flush.reserve(60).unwrap().bytes(), 60);
}

#[test]
fn a_refusal_names_the_three_largest_holders() {
    let root = Budget::root("root", 100);
    let nodes: Vec<_> = [("a", 5), ("b", 40), ("c", 20), ("d", 30)]
        .map(|(name, bytes)| (root.child(name, 0, 100).unwrap(), bytes))
        .into();
    let _held: Vec<_> = nodes.iter().map(|(node, bytes)| node.reserve(*bytes).unwrap()).collect();
    let AllocError::BudgetExceeded { need, have, holders, .. } = root.reserve(6).unwrap_err() else {
        panic!("another refusal")
    };
    assert_eq!((need, have), (6, 5));
    assert_eq!(holders.iter().collect::<Vec<_>>(), [("b", 40), ("d", 30), ("c", 20)]);
}

#[test]
fn many_threads_never_pass_a_limit_and_leave_nothing() {
    let root = Budget::root("root", 10_000);
    let leaves: Vec<_> = (0..4).map(|_| root.child("leaf", 100, 4_000).unwrap()).collect();
    std::thread::scope(|threads| {
        for (number, leaf) in leaves.iter().enumerate() {
            let root = &root;
            threads.spawn(move || {
                let mut held = Vec::new();
                for round in 0..5_000_usize {
                    held.extend(leaf.reserve((round * 37 + number) % 900));
                    if round % 3 == 0 {
                        held.clear();
                    }
                    assert!(root.used() <= 10_000 && leaf.used() <= 4_000);
                }
            });
        }
    });
    assert_eq!(root.used(), 0);
    assert!(root.used_max() <= 10_000);
}

/// A host with a quota, which can be told to grow once when asked to shrink.
#[derive(Default)]
struct Quota {
    used: AtomicUsize,
    limit: AtomicUsize,
    has_slack: AtomicBool,
}

impl HostPool for Quota {
    fn reserve(&self, bytes: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let taken = |used: usize| (used + bytes <= limit).then_some(used + bytes);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn please_shrink(&self, bytes: usize) -> bool {
        let has_slack = self.has_slack.swap(false, Ordering::Relaxed);
        if has_slack {
            self.limit.fetch_add(bytes, Ordering::Relaxed);
        }
        has_slack
    }
}

#[test]
fn a_tree_below_a_host_holds_no_more_than_it_was_granted() {
    let host = Arc::new(Quota { limit: AtomicUsize::new(3 * HOST_QUANTUM_BYTES + 100), ..Quota::default() });
    let granted = || host.used.load(Ordering::Relaxed);
    let root = Budget::root_in(host.clone(), "engine", usize::MAX);
    let node = root.child("memtables", HOST_QUANTUM_BYTES, usize::MAX).unwrap();
    assert_eq!(granted(), HOST_QUANTUM_BYTES, "a floor is the host's too");
    let most = node.reserve(3 * HOST_QUANTUM_BYTES + 50).unwrap();
    assert!(granted() >= root.reserved());
    // Not another quantum, but just what is missing.
    let rest = node.reserve(50).unwrap();
    assert_eq!(granted(), 3 * HOST_QUANTUM_BYTES + 100);
    let refused = node.reserve(200).unwrap_err();
    assert!(matches!(refused, AllocError::HostRefused { need: 200 }), "{refused}");
    host.has_slack.store(true, Ordering::Relaxed);
    drop(node.reserve(200).unwrap());
    drop((most, rest));
    assert!(granted() <= 2 * HOST_QUANTUM_BYTES, "all but a quantum above the floor went back");
    root.please_shrink(0);
    assert_eq!(granted(), HOST_QUANTUM_BYTES);
    drop((node, root));
    assert_eq!(granted(), 0);
}

#[test]
fn an_allowance_never_hands_out_more_than_its_node_was_charged() {
    let node = Budget::root("pins", 1_000);
    let allowance = Allowance::new(&node, 64);
    std::thread::scope(|threads| {
        for number in 0..4_usize {
            let (allowance, node) = (allowance.clone(), node.clone());
            threads.spawn(move || {
                let mut held = Vec::new();
                for round in 0..3_000_usize {
                    held.extend(allowance.take((round * 31 + number) % 90));
                    assert!(allowance.used() <= 1_000 && node.used() <= 1_000);
                    if round % 5 == number {
                        held.clear();
                        allowance.settle();
                    }
                }
            });
        }
    });
    assert_eq!(allowance.used(), 0);
    allowance.settle();
    assert_eq!(node.used(), 0);
    let all = allowance.take(1_000).unwrap();
    assert!(matches!(allowance.take(1), Err(AllocError::BudgetExceeded { .. })));
    drop(all);
    assert!(allowance.take(usize::MAX).is_err());
}
