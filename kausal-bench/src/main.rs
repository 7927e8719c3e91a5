//! Prints the ratios: `cargo run --release -p kausal-bench`.
#![forbid(unsafe_code)]

use kausal_bench::release_memtable;

fn main() {
    println!("{:>10} {:>14} {:>14} {:>12}", "entries", "region", "BTreeMap", "advantage");
    for entries in [1_000, 10_000, 100_000, 500_000] {
        let ratio = release_memtable::run(entries, 5);
        let (ours, other) = (format!("{:?}", ratio.ours), format!("{:?}", ratio.other));
        println!("{entries:>10} {ours:>14} {other:>14} {:>11.0}x", ratio.advantage());
    }
}
