//! How much is done, with how much memory, and which workloads share a process.
//!
//! A group is a process: it opens a store, fills it, and does its workloads one after the other. What belongs to no other
//! workload of the group is left out where it is not asked for.

use crate::options::Options;

use super::store::Memory;

/// Entries, unless `--entries` says otherwise.
const ENTRIES: usize = 2_000_000;
const ENTRIES_QUICK: usize = 200_000;

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// Bytes of a value, but for `fill1k`.
pub const VALUE_BYTES: usize = 100;

/// Memtables and cache together, in bytes, for each entry of 116: 64 MiB for 2 million entries would be 32. The quick run keeps
/// more, because nobody works with memtables of a mebibyte.
const MEMORY: usize = 64 << 20;
const MEMORY_QUICK: usize = 16 << 20;

/// The least that every store opens with.
const MEMORY_MIN: usize = 8 << 20;

/// How the metric of the memory in the course of a fill begins; the percent done follow.
pub const MEMORY_AT: &str = "memory_at_";

/// A process and its workloads, in the order in which it does them.
pub struct Group {
    /// Its name on the child's command line.
    pub name: &'static str,
    /// What it measures.
    pub workloads: &'static [&'static str],
}

/// All of them.
pub const GROUPS: &[Group] = &[
    Group { name: "fillseq", workloads: &["fillseq"] },
    Group {
        name: "main",
        workloads: &[
            "fillrandom",
            "readrandom/cached",
            "readmissing",
            "seekrandom",
            "readseq",
            "readrandom/quarter",
            "readwhilewriting",
            "ycsb_a",
            "ycsb_b",
            "overwrite",
            "ycsb_e",
        ],
    },
    Group { name: "fillbatch", workloads: &["fillbatch"] },
    Group { name: "put", workloads: &["put/2", "put/4"] },
    Group { name: "delete", workloads: &["deleterandom"] },
    Group { name: "fillsync", workloads: &["fillsync/1", "fillsync/4", "fillsync/16"] },
    Group { name: "load", workloads: &["load"] },
    Group { name: "fill1k", workloads: &["fill1k"] },
    Group { name: "latency", workloads: &["latency/put", "latency/paced"] },
    Group { name: "open", workloads: &["open"] },
];

/// The workloads in the order of the table.
pub fn workloads() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.workloads.iter().copied())
}

/// The sizes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Entries of a store.
    pub entries: u64,
    /// Memtables and cache while something is written.
    pub memory: usize,
    /// Commits that are synced, by each thread.
    pub synced: u64,
    /// No workload of reads, of reads and writes, or of synced writes takes longer.
    pub seconds_max: u64,
    /// Samples per store, unless `--rounds` says otherwise.
    pub rounds: usize,
}

impl Plan {
    /// What `options` ask for.
    pub fn new(options: &Options) -> Self {
        let (entries, memory) = if options.quick { (ENTRIES_QUICK, MEMORY_QUICK) } else { (ENTRIES, MEMORY) };
        Self {
            entries: options.entries.unwrap_or(entries) as u64,
            memory,
            synced: if options.quick { 2000 } else { 5000 },
            seconds_max: if options.quick { 1 } else { 20 },
            rounds: options.rounds.unwrap_or(3),
        }
    }

    /// Bytes of all keys and values.
    pub fn data_bytes(&self) -> usize {
        self.entries as usize * (KEY_BYTES + VALUE_BYTES)
    }

    /// What a store has while it is written to.
    pub fn writing(&self) -> Memory {
        Memory::halves(self.memory)
    }

    /// Room for everything three times over in the cache of who has half of its memory for that.
    pub fn cached(&self) -> Memory {
        Memory::halves(6 * self.data_bytes().max(8 << 20))
    }

    /// A cache for a quarter of the data, and little for writing: together no less than anybody opens with.
    pub fn quarter(&self) -> Memory {
        let cache = self.data_bytes() / 4;
        Memory { write_buffer: (cache / 4).max(MEMORY_MIN / 2).max(MEMORY_MIN.saturating_sub(cache)), cache }
    }

    /// Memtables that hold everything, so that all of it is in the log.
    pub fn logged(&self) -> Memory {
        // Ours has the smallest memtable for what it is given: 3/16 of both halves.
        Memory::halves((12 * self.logged_entries() as usize * (KEY_BYTES + VALUE_BYTES)).max(64 << 20))
    }

    /// Entries in the log of a store that is killed.
    pub fn logged_entries(&self) -> u64 {
        self.entries / 4
    }

    /// Entries of a kibibyte.
    pub fn large_entries(&self) -> u64 {
        self.entries / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_belongs_to_one_group() {
        let mut names: Vec<&str> = workloads().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn memory_follows_the_data() {
        let plan = Plan::new(&Options { entries: Some(1_000_000), ..Options::default() });
        assert_eq!(plan.quarter().cache, 29_000_000);
        assert!(plan.cached().cache > 2 * plan.data_bytes());
        assert_eq!(plan.writing().total(), 64 << 20);
        let small = Plan::new(&Options { entries: Some(1000), ..Options::default() });
        assert!(small.quarter().total() >= 8 << 20);
        assert!(plan.logged().total() / 8 > 29_000_000, "a memtable holds a quarter of the entries");
    }
}
