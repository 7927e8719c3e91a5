//! Rows of real runs, with few samples: their schema, and what the rows of the memory architecture ask of them. No time is
//! asserted.

use kausal_bench::arena::{architecture_table, release_memtable};
use kausal_bench::options::Options;
use kausal_bench::row::Row;
use kausal_bench::{index, memtable, table};

fn quick() -> Options {
    Options { quick: true, rounds: Some(2), entries: Some(2000), ..Options::default() }
}

/// The rows of the last recorded run of `benchmark`.
fn recorded(benchmark: &str) -> Vec<Row> {
    let file = format!("{}/../docs/benchmarks/{benchmark}.json", env!("CARGO_MANIFEST_DIR"));
    let json = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[track_caller]
fn value(rows: &[Row], subject: &str, metric: &str) -> f64 {
    let row = rows.iter().find(|row| row.subject == subject && row.metric == metric);
    row.unwrap_or_else(|| panic!("no row `{metric}` of {subject}")).value
}

/// The allocators in the table that are not arenas.
fn allocators(rows: &[Row]) -> Vec<&str> {
    rows.iter().filter_map(|row| row.peer.as_deref()).collect()
}

#[test]
fn s18_malloc_table_names_its_allocator() {
    let rows = architecture_table::run(&quick());
    let named = allocators(&rows);
    let is_version = |name: &&&str| name.starts_with("glibc 2.");
    let libc = named.iter().find(is_version);
    assert!(libc.is_some() || !cfg!(target_env = "gnu"), "glibc stands with its version: {named:?}");
    for allocator in named {
        assert!(
            value(&rows, allocator, "allocate_1000") > 0.0 && value(&rows, allocator, "give_back_1000") > 0.0
        );
        let fragmentation = value(&rows, allocator, "fragmentation");
        assert!((1.0..100.0).contains(&fragmentation), "mixed sizes leave holes: {fragmentation} %");
    }
}

#[test]
fn s19_arena_stands_in_the_same_table() {
    let rows = architecture_table::run(&quick());
    for metric in ["allocate_1000", "give_back_1000"] {
        let compared =
            rows.iter().find(|row| row.subject == "Arena" && row.metric == metric && row.peer.is_some());
        let compared = compared.expect("the arena is compared in the same run");
        assert!(compared.ratio.is_some_and(|ratio| ratio.is_finite() && ratio > 0.0));
    }
    let (live, dead, slack) =
        (value(&rows, "Arena", "live"), value(&rows, "Arena", "dead"), value(&rows, "Arena", "slack"));
    assert!(live >= 16_000.0 && dead > live, "a thousand live objects, ten thousand replaced: {live} {dead}");
    let fragmentation = value(&rows, "Arena", "fragmentation");
    assert!((fragmentation - 100.0 * slack / (live + dead + slack)).abs() < 1e-9);
    assert_eq!(value(&rows, "Arena", "used_after_reset"), 0.0);
    assert!(value(&rows, "Arena", "overhead") <= 16.0);
}

#[test]
fn s30_release_is_compared_at_three_sizes() {
    let options = Options { rounds: Some(1), ..quick() };
    for entries in [100, 1_000, 10_000] {
        let rows = release_memtable::size(&options, entries);
        let compared: Vec<&Row> = rows.iter().filter(|row| row.peer.is_some()).collect();
        assert!(compared.iter().any(|row| row.peer.as_deref() == Some("BTreeMap")), "{entries}: {rows:?}");
        assert!(
            compared.iter().all(|row| row.ratio.is_some() && row.workload == format!("release/{entries}"))
        );
    }
}

/// The sizes of the row take minutes and gigabytes: what a run of them said is on record.
#[test]
fn s30_the_record_has_the_sizes_of_the_row() {
    let rows = recorded("arena");
    for entries in [100_000, 1_000_000, 10_000_000] {
        for peer in ["BTreeMap", "crossbeam SkipMap"] {
            let is_it = |row: &&Row| {
                row.workload == format!("release/{entries}") && row.peer.as_deref() == Some(peer)
            };
            let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("no {peer} at {entries}"));
            assert!(
                row.ratio.is_some_and(|ratio| ratio > 1000.0),
                "milliseconds against microseconds: {row:?}"
            );
        }
    }
}

#[test]
fn s26_the_record_has_synced_writes_on_a_real_file_system_beside_the_peers() {
    let rows = recorded("peers");
    for threads in [1, 4, 16] {
        for store in ["kausal", "fjall", "rocksdb", "redb"] {
            let is_it = |row: &&Row| {
                row.workload.starts_with(&format!("fillsync/{threads}/"))
                    && row.subject == store
                    && row.metric == "rate"
            };
            let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("no {store} with {threads} threads"));
            assert!(row.value > 0.0, "{row:?}");
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks/peers.md");
    let record = std::fs::read_to_string(file).unwrap();
    let line = record.lines().find_map(|line| line.strip_prefix("| file system | ")).expect("it is named");
    let name = line.trim_end_matches(" |");
    assert!(!["tmpfs", "ramfs", "unknown", ""].contains(&name), "{name} syncs nothing");
}

#[test]
fn a_memtable_is_compared_in_every_workload() {
    let rows = memtable::release(&quick(), 1_000);
    assert!(
        rows.iter().any(|row| row.peer.as_deref() == Some("BTreeMap") && row.ratio.is_some()),
        "{rows:?}"
    );
    let rows = memtable::put(&quick(), 1_000);
    assert!(value(&rows, "memtable", "put") > 0.0 && value(&rows, "its index alone", "put") > 0.0);
    // Each checks that both sides answer the same.
    for ranges in [0, 50] {
        assert_eq!(memtable::covering(&quick(), ranges).len(), 3);
    }
}

#[test]
fn every_workload_of_the_table_is_measured_and_named_with_its_size() {
    let options = Options { subjects: vec!["kausal".into()], ..quick() };
    let rows = table::run(&options).expect("room for small files");
    let workloads = [
        ("write/plain", "write"),
        ("write/lz4", "file"),
        ("look_up/cache", "hit"),
        ("look_up/page_cache", "hit"),
        ("look_up/absent", "miss"),
        ("walk/cache", "walk"),
        ("merge/8", "walk"),
        ("filter", "probe"),
    ];
    for (workload, metric) in workloads {
        let name = format!("{workload}/2000");
        let row = rows.iter().find(|row| row.workload == name && row.metric == metric);
        assert!(row.is_some_and(|row| row.value > 0.0), "{name} {metric}: {rows:?}");
    }
    let compressed = value(&rows, "kausal-sstable", "file");
    assert!(compressed > 100.0 * 2000.0, "a plain table holds what was put in: {compressed}");
    let admitted = value(&rows, "kausal-sstable", "false_positives");
    assert!((0.0..3.0).contains(&admitted), "{admitted} %");
    let chain = rows.iter().find(|row| row.peer.as_deref() == Some("4 dependent misses"));
    assert!(chain.is_some_and(|row| row.ratio.is_some()), "a look-up is compared with the chain");
}

#[test]
fn rows_written_as_json_have_the_schema() {
    let options = Options { only: vec!["random_16".into()], ..quick() };
    let rows = index::run(&options).expect("made up keys need nothing");
    let json = serde_json::to_value(&rows).expect("rows are plain data");
    let fields = ["workload", "subject", "metric", "value", "unit", "peer", "ratio", "better", "target"];
    let written = json.as_array().expect("an array");
    assert!(written.len() > 20);
    for row in written {
        let row = row.as_object().expect("an object");
        assert_eq!(row.len(), fields.len());
        assert!(fields.iter().all(|field| row.contains_key(*field)), "{row:?}");
        assert!(row["better"] == "lower" || row["better"] == "higher");
        assert_eq!(row["peer"].is_null(), row["ratio"].is_null(), "{row:?}");
    }
    assert_eq!(serde_json::from_value::<Vec<Row>>(json).expect("what was written can be read"), rows);
}
