//! Arenas below arenas, and the chunks that go round between them.

use kausal_arena::{AllocError, Arena, ArenaClosed, Budget, ChunkPool, Retain, Subsystem, SubsystemRefused};

#[test]
fn s22_a_parent_is_not_reset_while_a_child_lives() {
    let root = Budget::root("root", 4 << 20);
    let (node, idle) = (root.child("parent", 0, 1 << 20).unwrap(), root.child("idle", 0, 4 << 20).unwrap());
    let pool = ChunkPool::new(&idle);
    let mut parent = Arena::pooled(&node, &pool);
    let child = Subsystem::new(&parent.coordinator(), "child", 256 << 10).unwrap();
    let grandchild = Subsystem::new(child.coordinator(), "grandchild", 100 << 10).unwrap();
    grandchild.scope().alloc_slice_copy(&[1_u8; 20_000]);
    assert!(node.used() >= 20_000, "a child's chunks are charged below its parent");

    // Moving them changes nothing.
    let (child, grandchild) = (Box::new(child), Box::new(grandchild));
    grandchild.scope().alloc(1_u8);
    let refused = parent.reset(Retain::Nothing).unwrap_err();
    assert!(refused.holders.iter().any(|lease| lease.owner == "child"), "{refused}");

    drop(grandchild);
    assert_eq!((node.used(), child.stats().leases), (0, 0));
    assert!(idle.used() >= 20_000, "its chunks went back to the pool");
    drop(child);
    parent.reset(Retain::Nothing).unwrap();
    assert_eq!(root.used(), idle.used());
}

/// What every level is made of: a node of the tree, an arena charged to it, the pool that all share, and children of the same
/// kind. So what holds for one holds for all, and one test goes down a chain of any depth.
#[test]
fn s25_every_level_is_a_node_an_arena_the_shared_pool_and_children() {
    let root = Budget::root("root", 16 << 20);
    let (top, idle) = (root.child("top", 0, 8 << 20).unwrap(), root.child("idle", 0, 8 << 20).unwrap());
    let pool = ChunkPool::new(&idle);
    let parent = Arena::pooled(&top, &pool);
    let names = ["engine", "keyspace", "index", "cursor"];
    let mut chain: Vec<Subsystem> = Vec::new();
    for name in names {
        let above = chain.last().map_or_else(|| parent.coordinator(), |child| child.coordinator().clone());
        chain.push(Subsystem::new(&above, name, 1 << 20).unwrap());
    }
    for (level, child) in chain.iter().enumerate() {
        child.scope().alloc_slice_copy(&vec![level as u8; 30_000]);
    }
    let report = root.report();
    assert_eq!(report.root().used, top.used() + idle.used());
    let used = |name: &str| report.nodes().iter().find(|node| &*node.name == name).unwrap().used;
    for (level, name) in names.into_iter().enumerate() {
        // Its own arena, and what is below it.
        let below = names.get(level + 1).map_or(0, |child| used(child));
        assert_eq!(used(name), chain[level].stats().capacity + below, "{name}: {report}");
        let depth = report.nodes().iter().find(|node| &*node.name == name).unwrap().depth;
        assert_eq!(depth, level + 2, "{name} is a node below the level above: {report}");
    }
    // Each is given back as a whole, from below, to the one pool, and nobody else is touched.
    let held = top.used();
    while let Some(child) = chain.pop() {
        let (capacity, before) = (child.stats().capacity, pool.idle_bytes());
        drop(child);
        assert_eq!(pool.idle_bytes(), before + capacity);
        assert_eq!(top.used() + pool.idle_bytes(), held);
    }
}

#[test]
fn s22_a_childs_ceiling_holds_whatever_its_parent_has() {
    let parent = Arena::growing(&Budget::root("root", 4 << 20));
    let mut child = Subsystem::new(&parent.coordinator(), "child", 64 << 10).unwrap();
    let refused = child.scope().try_alloc_slice_copy(&[1_u8; 100_000]).unwrap_err();
    assert!(matches!(&refused, AllocError::BudgetExceeded { node, .. } if &**node == "child"), "{refused}");
    child.scope().alloc_slice_copy(&[1_u8; 40_000]);
    child.reset(Retain::Nothing).unwrap();
    assert_eq!(child.stats().capacity, 0);
}

#[test]
fn a_child_of_a_closed_parent_is_refused_and_one_that_lives_goes_on() {
    let budget = Budget::root("root", 1 << 20);
    let parent = Arena::growing(&budget);
    let coordinator = parent.coordinator();
    let child = Subsystem::new(&coordinator, "child", 64 << 10).unwrap();
    drop(parent);
    child.scope().alloc(7_u8);
    let refused = Subsystem::new(&coordinator, "late", 1).unwrap_err();
    assert_eq!(refused, SubsystemRefused::Closed(ArenaClosed));
    drop(child);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_borrowed_child_is_a_subsystem_too() {
    let mut parent = Arena::growing(&Budget::unlimited("root"));
    let mut child = parent.child("child", 64 << 10).unwrap();
    child.scope().alloc(7_u8);
    child.reset(Retain::Capacity).unwrap();
    assert_eq!(child.parent().name(), "root");
    drop(child);
    parent.reset(Retain::Capacity).unwrap();
}

#[test]
fn chunks_go_round_and_the_sum_stays_exact() {
    let root = Budget::root("root", 8 << 20);
    let pool = ChunkPool::new(&root.child("idle", 0, 300 << 10).unwrap());
    let nodes: Vec<_> = (0..3).map(|_| root.child("arena", 0, 4 << 20).unwrap()).collect();
    std::thread::scope(|threads| {
        for node in &nodes {
            let (pool, root) = (&pool, &root);
            threads.spawn(move || {
                for round in 0..200_usize {
                    let mut arena = Arena::pooled(node, pool);
                    arena.scope().alloc_slice_copy(&vec![7_u8; (round * 997) % 200_000]);
                    if round % 2 == 0 {
                        arena.reset(Retain::UpTo(10_000)).unwrap();
                    }
                    assert!(pool.idle_bytes() <= 300 << 10 && root.used() <= 8 << 20);
                }
            });
        }
    });
    assert_eq!(nodes.iter().map(Budget::used).sum::<usize>(), 0);
    assert_eq!(root.used(), pool.idle_bytes());
    drop(nodes);
    drop(pool);
    assert_eq!(root.used(), 0);
}

#[test]
fn a_pool_lets_idle_chunks_go_when_its_budget_is_asked() {
    let root = Budget::root("root", 8 << 20);
    let pool = ChunkPool::new(&root);
    drop({
        let arena = Arena::pooled(&root, &pool);
        arena.scope().alloc_slice_copy(&[1_u8; 500_000]);
        arena
    });
    assert!(pool.idle_bytes() >= 500_000);
    assert!(root.please_shrink(1) > 0);
    root.please_shrink(usize::MAX);
    assert_eq!((pool.idle_bytes(), root.used()), (0, 0));
}
