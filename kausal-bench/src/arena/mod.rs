//! `bench arena`: the arenas of kausal-arena against the field's.
//!
//! | room | what lives there |
//! |---|---|
//! | [`allocate`], [`threads`], [`single`] | allocation by one thread, by several, one at a time |
//! | [`malloc_table`] | a thousand allocations and giving them back, by size, against general purpose allocators |
//! | [`architecture_table`], [`fragmentation`] | the memory architecture's own table, as it is here |
//! | [`release_memtable`] | a full memtable given back |
//! | [`faults`], [`counts`], [`child`] | what the kernel and tools count |
//! | [`sizes`] | bytes per type |
//! | [`source`] | where objects come from, and how all are initialised alike |

pub mod allocate;
pub mod architecture_table;
pub mod child;
pub mod counts;
pub mod faults;
pub mod fragmentation;
pub mod malloc_table;
pub mod release_memtable;
pub mod single;
pub mod sizes;
pub mod source;
pub mod threads;

use crate::options::Options;
use crate::row::Row;

/// Measures what `options` ask for.
pub fn run(options: &Options) -> Vec<Row> {
    // Counts first: they need the least memory, and a fresh heap.
    let parts = [
        sizes::run,
        counts::run,
        faults::run,
        single::run,
        architecture_table::run,
        malloc_table::run,
        allocate::run,
        threads::run,
        release_memtable::run,
    ];
    parts.into_iter().flat_map(|part| part(options)).collect()
}
