//! The memory report: who holds what.

use kausal_arena::{Arena, Budget, ChunkPool, RegionPool};

/// The report with ages taken out, which differ from run to run.
fn without_ages(text: &str) -> String {
    let age = |word: &str| word.parse::<f64>().is_ok();
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.rsplit_once(", ") {
            Some((head, tail)) if tail.split(' ').next().is_some_and(age) => {
                lines.push(format!("{head}, AGE)"))
            }
            _ => lines.push(line.trim_end().to_owned()),
        }
    }
    lines.join("\n")
}

#[test]
fn a_report_shows_the_tree_and_who_leases_it() {
    let root = Budget::root("database", 1 << 20);
    root.trace_leases(false);
    let storage = root.child("storage", 256 << 10, 512 << 10).unwrap();
    let pool =
        RegionPool::new(&storage.child("memtables", 0, 512 << 10).unwrap(), 64 << 10, 2, || {}).unwrap();
    let idle = ChunkPool::new(&root.child("idle chunks", 0, 1 << 20).unwrap());
    let requests = Arena::pooled(&root.child("requests", 0, 100 << 10).unwrap(), &idle);
    requests.scope().alloc([1_u8; 1_000]);
    let region = pool.coordinator().take().unwrap();
    let _pinned = region.lease().clone_named("pinned values", 4_000);
    let _export = requests.coordinator().lease_named("nightly export").unwrap();
    insta::assert_snapshot!(without_ages(&root.report().to_string()));
    let report = root.report();
    let pins: Vec<_> = report.nodes().iter().flat_map(|node| &node.leases).map(|lease| lease.bytes).collect();
    assert_eq!(pins, [4_000, 1_008]);
    assert_eq!(report.root().used, report.leaves_used());
}

#[test]
fn tracing_names_the_place_that_took_a_lease_and_silence_does_not() {
    let root = Budget::root("test", 1 << 20);
    let arena = Arena::growing(&root);
    let leases = || root.report().nodes()[0].leases.clone();
    root.trace_leases(true);
    let lease = arena.coordinator().lease().unwrap();
    let line = line!() - 1;
    assert!(leases()[0].owner.ends_with(&format!("report.rs:{line}")), "{:?}", leases());
    let second = lease.clone();
    assert_eq!(leases().len(), 2);
    drop((lease, second));
    root.trace_leases(false);
    let _quiet = arena.coordinator().lease().unwrap();
    assert!(leases().is_empty());
}

#[test]
fn s29_the_tree_is_exact_is_printed_and_is_compared_between_two_moments() {
    let root = Budget::root("database", 1 << 20);
    let cache = root.child("cache", 0, 1 << 20).unwrap();
    let (data, index) = (cache.child("data", 0, 1 << 20).unwrap(), cache.child("index", 0, 1 << 20).unwrap());
    let mut held = [data.reserve(1000).unwrap(), index.reserve(300).unwrap()];
    let first = root.report();
    held[1].resize(8492).unwrap();
    let flush = root.child("flush", 0, 1 << 20).unwrap();
    let _writes = flush.reserve(50).unwrap();
    let second = root.report();

    // Exact, at both moments: what a node uses is its own and its children's, to the byte.
    for report in [&first, &second] {
        assert_eq!(report.root().used, report.leaves_used());
        let children = report.nodes().iter().filter(|node| node.depth == 1);
        assert_eq!(report.root().used, children.map(|node| node.used).sum::<usize>());
    }
    // Printed: a line for each node under the heading.
    assert_eq!(second.to_string().lines().count(), 1 + second.nodes().len());
    // Compared: which nodes changed, by how much, and no other.
    let changes: Vec<_> = second.changes_since(&first).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "database: 1.27 KiB, then 9.32 KiB",
            "database/cache: 1.27 KiB, then 9.27 KiB",
            "database/cache/index: 300 B, then 8.29 KiB",
            "database/flush: not there, then 50 B",
        ]
    );
    let back = first.changes_since(&second);
    assert_eq!(back.last().map(|change| (&*change.path, change.after)), Some(("database/flush", None)));
    assert_eq!(second.changes_since(&second), []);
}

#[cfg(feature = "serde")]
#[test]
fn a_report_is_serialised() {
    let root = Budget::root("database", 1 << 20);
    let _held = root.child("cache", 100, 1000).unwrap().reserve(70).unwrap();
    let json = serde_json::to_value(root.report()).unwrap();
    assert_eq!(json["nodes"][1]["name"], "cache");
    assert_eq!(json["nodes"][1]["used"], 70);
    assert_eq!(json["nodes"][0]["leases"], serde_json::json!([]));
}
