//! How large the types are that a subsystem, a child or a thread keeps.

use kausal_arena::{Arena, ArenaCoordinator, Handle, Lease, Region, RegionCoordinator, Writer};

use crate::options::Options;
use crate::row::Row;

/// The memory architecture's claim: bytes per arena, and per storable pointer.
const TARGET: f64 = 16.0;

/// One row per type.
pub fn run(options: &Options) -> Vec<Row> {
    let workload = "sizes";
    if !options.wants(workload) {
        return Vec::new();
    }
    let row = |subject: &str, bytes: usize| Row::lower(workload, subject, "size", bytes as f64, "bytes");
    vec![
        row("ArenaCoordinator", size_of::<ArenaCoordinator>()).with_target(TARGET),
        row("RegionCoordinator", size_of::<RegionCoordinator>()).with_target(TARGET),
        row("Handle", size_of::<Handle<u64>>()).with_target(TARGET),
        row("Lease", size_of::<Lease>()),
        row("Writer", size_of::<Writer>()),
        row("Region", size_of::<Region>()),
        row("Arena", size_of::<Arena>()),
    ]
}
