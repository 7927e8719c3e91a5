//! `bench table`: the table format against RocksDB's and lsm-tree's.
//!
//! | workload | what is measured |
//! |---|---|
//! | `write/plain`, `write/lz4` | keys and values that go into a new, synced file in a second; the file's size |
//! | `look_up/cache` | a look-up of a key that is there, all blocks in the cache; beside it a chain of cache misses |
//! | `look_up/page_cache` | the same with a cache that holds nothing: a block is read and checked each time |
//! | `look_up/absent` | a look-up of a key that is not there, within the range of those that are |
//! | `walk/cache` | keys and values that a walk over the whole table passes in a second, all blocks in the cache |
//! | `merge/8` | the same over eight tables at once |
//! | `filter` | the filter asked alone, and the share of absent keys that it admits |
//!
//! Each is followed by the number of entries. Files lie in memory where the system has a file system there, so that a sync,
//! without which no peer finishes a table, costs nobody anything.
//!
//! | room | what lives there |
//! |---|---|
//! | [`data`] | entries, what is looked for, what is to be answered |
//! | [`subject`], `peers` | ours and the others behind one trait |
//! | [`chain`] | the yardstick of a look-up |
//! | [`measure`] | the samples |
//! | [`targets`] | what the format is held to |

pub mod chain;
pub mod data;
pub mod measure;
#[cfg(feature = "table-peers")]
pub mod peers;
pub mod subject;
pub mod targets;

use std::io;

use crate::options::Options;
use crate::row::Row;
use data::Data;
use measure::Bench;
use subject::{Ours, Subject};

const ENTRIES: usize = 1_000_000;
const ENTRIES_QUICK: usize = 100_000;

/// Everybody who takes part, ours first.
fn subjects() -> Vec<Box<dyn Subject>> {
    let mut subjects: Vec<Box<dyn Subject>> = vec![Box::new(Ours)];
    subjects.extend(peers());
    subjects
}

#[cfg(not(feature = "table-peers"))]
fn peers() -> [Box<dyn Subject>; 0] {
    []
}

#[cfg(feature = "table-peers")]
fn peers() -> [Box<dyn Subject>; 2] {
    [Box::new(peers::RocksDb), Box::new(peers::LsmTree)]
}

/// Measures what `options` ask for.
///
/// # Errors
///
/// [`io::Error`] if a file cannot be written or read.
///
/// # Panics
///
/// If somebody answers wrongly.
pub fn run(options: &Options) -> io::Result<Vec<Row>> {
    let count = options.entries.unwrap_or(if options.quick { ENTRIES_QUICK } else { ENTRIES });
    let workloads: [(&str, Workload<'_>); 7] = [
        ("write/plain", |bench, name| bench.write(name, subject::Stored::Plain)),
        ("write/lz4", |bench, name| bench.write(name, subject::Stored::Lz4)),
        ("look_up/cache", Bench::hit_cache),
        ("look_up/page_cache", Bench::hit_page_cache),
        ("look_up/absent", Bench::absent),
        ("walk/cache", Bench::walk),
        ("merge/8", |bench, name| bench.merge(name, 8)),
    ];
    let names: Vec<String> = workloads.iter().map(|(name, _)| format!("{name}/{count}")).collect();
    let filter = format!("filter/{count}");
    if !names.iter().chain([&filter]).any(|name| options.wants(name)) {
        return Ok(Vec::new());
    }
    let mut subjects = subjects();
    subjects.retain(|subject| options.wants_subject(subject.name()));
    let bench = Bench::new(options, subjects, Data::new(count, options.seed))?;
    let mut rows = Vec::new();
    for ((_, workload), name) in workloads.iter().zip(&names) {
        if options.wants(name) {
            rows.extend(workload(&bench, name)?);
        }
    }
    if options.wants(&filter) {
        rows.extend(bench.filter(&filter)?);
    }
    targets::judge(&mut rows);
    Ok(rows)
}

/// A workload under its full name.
type Workload<'o> = fn(&Bench<'o>, &str) -> io::Result<Vec<Row>>;
