//! Only a region mints permits.
use kausal_arena::{Permit, Region};

fn forged(region: &Region) -> Permit {
    Permit { pen: region.writer(), bytes: 1000 }
}

fn main() {}
