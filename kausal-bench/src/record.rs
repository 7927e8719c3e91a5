//! The record of a run, as Markdown: where, when and what; both sides of every ratio; what flatters or hurts us.

use std::fmt::Write as _;

use crate::machine;
use crate::options::Options;
use crate::peers::{compare, table};
use crate::row::Row;
use crate::text::{distinct, number, verdict};

/// The peers whose versions a record names.
const PEERS: [&str; 25] = [
    "arc-swap",
    "blink-alloc",
    "bumpalo",
    "bumpalo-herd",
    "crossbeam-skiplist",
    "librocksdb-sys",
    "fjall",
    "heed",
    "lmdb-master-sys",
    "lsm-tree",
    "mimalloc",
    "moka",
    "papaya",
    "parking_lot",
    "quick_cache",
    "rart",
    "redb",
    "rocksdb",
    "scc",
    "skipdb",
    "sled",
    "surrealkv",
    "tikv-jemallocator",
    "tikv-jemalloc-sys",
    "typed-arena",
];

/// What a reader must know about the arena rows.
const ARENA_NOTES: &str = "\
- Every subject writes the same bytes into what it hands out, by the same inlined code. typed-arena cannot: it is given
  the value, and being unable to reset it is new for each sample, sized beforehand where it says `warm`.
- Hurts us: each of our resets in `give_back_1000` checks that nobody holds the generation, and the arena's region is
  advised to use huge pages, which makes the first touch of a small one dearer. What is `fresh` to bumpalo, blink-alloc
  and typed-arena are chunks of glibc's heap, often warm from the sample before; ours are new mappings.
- Flatters us: the pen of the arena is obtained before the clock starts. An arena frees nothing singly: what is dead in
  it stays until the reset. General purpose allocators note each address, as their user must: under a nanosecond each.
- `malloc_table/*/give_back_1000` of the arena is one reset, timed in a loop with and without it; frees are timed as one
  run of a thousand, in the order of allocation.
- The memory architecture says of `architecture_table`: malloc 45 µs, free 38 µs, fragmentation 15 to 30 %; arena 12 µs,
  reset below 1 µs, 0 %, 16 bytes per arena. Fragmentation of an allocator is the share of the pages under live objects that
  no live object covers, after a pattern of mixed sizes; that of an arena is its slack, and `dead` stands beside it.
- Wholly initialising an object costs the same on both sides and pulls a ratio towards 1, the more the larger the object;
  `allocate_1000_one_word` and `obtain_1000` show the allocation without it.
- `release`: above a million entries keys come in order, which makes the peers' nodes neighbours and their drop faster.
  One sample there, nine to three below.
- At most 256 MiB per sample, so that there are fewer objects of 4 KiB than of the other sizes.
";

/// What a reader must know about the index rows.
const INDEX_NOTES: &str = "\
- Entries are distinct keys with 100-byte values; the first eight bytes of a value repeat the sequence number. Ours keep
  versions and kinds of entries, skipdb versions, the other peers neither: that flatters them.
- Flatters us: the region is warm and uses huge pages, as it does in an engine that runs; the peers' memory is that of
  glibc's heap, warm as well, in small pages. Peers own keys and values (`Vec<u8>`), two allocations an entry.
- skipdb commits a thousand entries a transaction; its look-ups open a read transaction each.
- `insert_2t` and the like are wall time per operation of all threads together. `overhead` is what is taken beyond keys and
  values, for the heap as glibc's `mallinfo2` counts it.
- The keys that are looked for lie side by side in the order of looking; fetching them is no part of a look-up.
- `seek_10` makes up to 50,000 short scans, and no more after a second: rart takes a fraction of a millisecond for each.
- The oracle `BTreeIndex` takes part up to 100,000 entries. At four million, and in `growth` from ten million on, slow peers are
  left out. Rows are of several invocations, one per workload; a ratio is of one, but for those `with` other keys, which are
  of two.
- rart and `BTreeMap` alone are for one thread and have no samples with several.
";

/// What a reader must know about the cache rows.
const CACHE_NOTES: &str = "\
- Blocks of 4,096 bytes. Ours has the given bytes for everything, directory included. So have `quick_cache` and `moka`: what a
  full one takes of glibc's heap for an entry beside its block is measured once and weighed with each block; `held` is what
  that comes to. `by blocks` are the same caches by the weight of their blocks alone, which then hold more than was given.
- A block fills a page. Ours rounds a block up to whole pages, which a heap does not: one of 4,100 bytes would take 8,192.
- `drift` and `round` have no target: they show what is lost where popularity changes, and in a loop. The policy was chosen by
  simulations of all four traces.
- Flatters us: peers hold `Arc<[u8]>`, two counts a look-up beside their own locks. They need it: a block must stay while it
  is read.
- Each peer hashes as it comes: quick_cache fast, moka with SipHash.
- A miss copies the block once, into a frame or into a new `Arc`; no file is read. `miss_insert` asks for blocks none of which
  comes twice, of a full cache of 64 MiB. `access` is the mean of hits and misses of a cache that is full, `warm_up`
  that of those before, into a new one: ours is memory that the system maps then, the peers' is the heap's, warm from the
  rounds before.
- `hit/2`: time of all threads by the look-ups of one. `scan` counts the accesses of the scans too, which
  nobody can hit.
- `merge`: both sides walk the same cursors; the heap is std's, with `peek_mut`, and compares whole keys.
";

/// What a reader must know about the memtable rows.
const MEMTABLE_NOTES: &str = "\
- `release`: ours is all that is left to do once a table has the entries: the manager forgets the memtable, its last holder
  lets go, and its region of 64 MiB is empty and back in its pool. The region stays charged, and warm for the next memtable.
  The peers give their nodes to glibc's heap one by one. A walk over all entries comes before the clock starts, as a flush
  does; the peers have just been filled.
- Entries come in scattered order, so that neighbours in order are strangers in memory: what a memtable meets.
- `put`: one permit per entry on both sides, in one region; the index alone lacks the memtable's counts of bytes and sequence
  numbers, and its look at whose permit it is.
- `covering`: the list is searched from the newest on, which is the right order for a look-up at the newest snapshot. Half of
  the keys lie where no range does.
";

/// What a reader must know about the table rows.
const TABLE_NOTES: &str = "\
- Keys of 16 random bytes, values of 100 of which half can be compressed. Everybody has blocks of 4 KiB, a Bloom filter of
  10 bits a key, restart points (or what comes nearest) every 16 entries, xxh3 checksums that are checked when a block is
  read, filter and index in memory, and LZ4 where it says so; the rest is as it comes. The peers' hash index in a block is
  off, as it comes; ours is part of the format.
- Files lie in memory (tmpfs), so that a sync costs nobody anything. Everybody syncs: the peers' writers insist.
- RocksDB's reader of single tables is not in its C interface. Its tables are ingested into a database of one level with
  nothing else in it, no compaction, no writes: a look-up passes an empty memtable and the version first, and a walk the
  database's own cursor. That flatters us. Its writer and cursors are called through C, once or twice an entry.
- lsm-tree's tables are written and opened by its own table types, without its tree, and merged by its own merger: that
  flatters it. Its writer takes entries in buffers it can keep, made anew for each, which is what its tree does as well.
- Ours looks at the block in the cache and lends the value for as long as that lasts, as the engine does; RocksDB pins it (`get_pinned`), lsm-tree
  hands out counted slices. Walks of ours pin.
- `look_up/page_cache` has a cache of 1 MiB: nearly each look-up reads 4 KiB of the file, at the same price for everybody.
- `4 dependent misses`: loads of which each needs the one before, over as many bytes as the entries have. Successive
  look-ups do not depend on each other, so that their computing may overlap; the chain's loads may not. `hit_near` looks a
  few keys up over and over, so that no line is far; `misses` is what a hit takes beyond that, in loads of the chain.
- `walk` touches the key and the first bytes of each value. `filter` has no peer: who is admitted is counted by the blocks
  that are fetched for absent keys.
";

/// What a reader must know about the rows of whole stores.
const PEERS_NOTES: &str = "\
- Keys of 16 bytes, values of 100 of which half can be compressed, nothing is compressed (sled cannot be told so: zstd's lowest
  level), filters of 10 bits a key, blocks of 4 KiB, two background threads, and the same memory: half for memtables and half
  for the cache where a store has both, the sum where it has one budget.
- Quick runs have 200,000 entries and 16 MiB, full ones 2 million and 64 MiB; `readrandom/cached`, `readmissing`, `seekrandom` and
  `readseq` have room for everything three times over, `readrandom/quarter` a cache of a quarter of the data.
- Hurts us: our cache is what the memtables, three eighths whether there are writers or not, and the floors of other parts
  leave: about three tenths. In `readrandom/quarter` it is an eighth of the data.
- **Page cache.** LMDB maps its file and has no cache of its own: the kernel's page cache comes on top of its budget, in every
  row. It does so for everybody who reads a file, so a block that is not in a store's cache is a copy, not a disk access.
- `kausal-mapped` is kausal with mapped tables, an option: blocks are used where the kernel's page cache has them, so that comes on
  top of its budget as well. Its stretch is against LMDB; no other row is compared with it.
- A killed process loses nothing committed by kausal, fjall, RocksDB, LMDB (no sync, but written), and surrealkv, whose log is
  told to go to the kernel after each commit (it would not by itself). redb keeps commits without a sync to itself, sled writes
  when it likes: their unsynced rows are of less than the others do.
- Each group of workloads of each store is a process of its own; stores take turns. All that is written is read again and
  compared; what is read in a timed loop is compared by length and number.
- `rate_with_settle` adds flush and compaction, or the sync of what has neither. kausal, fjall and surrealkv are watched until
  their process rests; RocksDB says when it does. surrealkv does not flush its last memtable. `cpu` is of all threads, settling
  included. `bytes_written` is what the process made the kernel owe to the disk.
- `memory` is the highest sum of anonymous and shared pages during `fillrandom`, beyond what the process had before it opened
  the store; `mapped_files` are those of files, which the kernel can take back.
- LMDB's synced commit is a commit without one and a sync after it, which threads share. It is on the disk then, but a loss of
  power in between may damage the file, as it would not in its own synced mode: that flatters it in `fillsync`.
- `load`: kausal, fjall and RocksDB write tables and take them in, LMDB appends, redb has one transaction; the others have no
  other way than batches. What kausal took in is on the disk when it answers, what LMDB appended is not.
- `readwhilewriting`: a writer overwrites at 20,000 a second beside one reader, for everybody; `writes` is what it reached.
- `latency/paced`: a put every 100 µs; its time is from when it was due.
- `open`: all memtables had room for everything, so it is all in the log. Until the first look-up is answered.
";

/// The record of `rows`.
pub fn shown(title: &str, command: &str, options: &Options, rows: &[Row]) -> String {
    let mut out = format!("# {title}\n\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "Made by `{command}`.\n\n\
         | | |\n|---|---|\n\
         | date | {} |\n| machine | {} |\n| file system | {} |\n| revision | {} |\n| compiler | {}, release profile of the workspace |\n\
         | C library | {} |\n| peers | {} |\n| seed | {} |\n| rounds | {} |\n",
        machine::date(),
        machine::class(),
        machine::file_system(),
        machine::revision(),
        machine::rustc(),
        machine::libc_name(),
        machine::versions(&PEERS).join(", "),
        options.seed,
        options.rounds.map_or("each workload's own".into(), |rounds| rounds.to_string()),
    );
    out += "Absolute figures on a shared machine move from run to run; the ratios were taken in one interleaved run. A value \
            is the median of its samples. **Ratios are larger where we are better.**\n\n## Verdict\n\n```text\n";
    out += &verdict(rows);
    out += "```\n";
    let is_of_peers = rows.iter().any(compare::is_ours);
    if is_of_peers {
        let _ = write!(
            out,
            "\n## Stores\n\nThe best of a row is 1, or named where smaller is better; compare within a row only.\n\n{}",
            table::shown(rows)
        );
    }
    out += "\n## What flatters or hurts us\n\n";
    let is_index = |row: &Row| row.workload.starts_with("growth") || row.metric == "get_hit";
    let is_table = |row: &Row| row.workload.starts_with("look_up/") || row.workload.starts_with("write/");
    let is_cache = |row: &Row| row.metric == "hit_ratio" || row.workload.starts_with("hit/");
    let is_memtable = |row: &Row| row.workload.starts_with("covering/");
    out += match () {
        () if is_of_peers => PEERS_NOTES,
        () if rows.iter().any(is_index) => INDEX_NOTES,
        () if rows.iter().any(is_cache) => CACHE_NOTES,
        () if rows.iter().any(is_memtable) => MEMTABLE_NOTES,
        () if rows.iter().any(is_table) => TABLE_NOTES,
        () => ARENA_NOTES,
    };
    out += "\n## Numbers\n";
    for workload in distinct(rows.iter().map(|row| row.workload.as_str())) {
        numbers(&mut out, workload, rows);
    }
    out
}

fn numbers(out: &mut String, workload: &str, rows: &[Row]) {
    let _ = write!(
        out,
        "\n### {workload}\n\n| metric | subject | value | peer | its value | ratio | target | |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    let of_workload: Vec<&Row> = rows.iter().filter(|row| row.workload == workload).collect();
    for row in &of_workload {
        let is_shown_with_peer = |other: &&&Row| {
            other.peer.is_some()
                && other.metric == row.metric
                && (other.subject == row.subject || other.peer.as_ref() == Some(&row.subject))
        };
        if row.peer.is_none()
            && row.target.is_none()
            && of_workload.iter().any(|other| is_shown_with_peer(&other))
        {
            continue;
        }
        let or_empty = |value: Option<f64>| value.map_or(String::new(), number);
        let _ = writeln!(
            out,
            "| {} | {} | {} {} | {} | {} | {} | {} | {} |",
            row.metric,
            row.subject,
            number(row.value),
            row.unit,
            row.peer.as_deref().unwrap_or(""),
            or_empty(row.peer_value()),
            or_empty(row.ratio),
            or_empty(row.target),
            row.is_met().map_or("", |met| if met { "met" } else { "**MISSED**" }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_shows_both_sides_of_a_ratio_once() {
        let ours = Row::lower("w", "ours", "m", 2.0, "ns");
        let peer = Row::lower("w", "peer", "m", 8.0, "ns");
        let record = shown(
            "t",
            "c",
            &Options::default(),
            &[ours.clone(), peer.clone(), ours.against(&peer, Some(3.0))],
        );
        assert!(record.contains("| m | ours | 2.00 ns | peer | 8.00 | 4.00 | 3.00 | met |"), "{record}");
        assert!(!record.contains("| m | peer |"), "{record}");
    }
}
