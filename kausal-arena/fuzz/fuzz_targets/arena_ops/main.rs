//! Fuzz target `arena_ops`: random operations on arenas of every kind, held against a model of every byte.
//!
//! 1. The input is a list of [`Op`]s. Each is done to the real thing and foretold by the model, in that order of names: what
//!    the model says must be granted is granted, and what must be refused is refused with the right error.
//! 2. Every allocation is filled with a pattern of its own, which is checked just before its generation ends: whoever wrote
//!    over it, is found. No two living allocations overlap, whichever arenas they are from.
//! 3. After each operation the statistics and the budget tree must add up; at the end nothing is charged.
//!
//! | room | what lives there |
//! |---|---|
//! | `memory` | patterns in raw memory: the only unsafe code |
//! | `model` | generations, who holds them, and what lies where |
//! | `world` | arenas, pools, rings, and the doors to them that are open |
//! | `doing` | what each operation on owners and doors does, and what must come of it |
//! | `allocating`, `charging` | the same for allocations and for charges |
//!
//! With `--cfg kausal_asan` the arenas poison what is nobody's, so a stray access is a report. The planted bug
//! `--cfg 'kausal_planted="arena_ops"'` must be found within seconds.
#![no_main]

mod allocating;
mod charging;
mod doing;
mod memory;
mod model;
mod world;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use crate::world::World;

/// A size that is mostly small, sometimes large, rarely absurd.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Size {
    Small(u8),
    Medium(u16),
    Large(u16),
    Absurd(u8),
}

impl Size {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small(bytes) => bytes.into(),
            Self::Medium(bytes) => usize::from(bytes) >> 3,
            Self::Large(bytes) => usize::from(bytes) << 4,
            Self::Absurd(shift) => usize::MAX >> (shift % 24),
        }
    }
}

/// What a reset keeps.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Keep {
    All,
    UpTo(u16),
    Nothing,
}

/// One step. Numbers choose among what there is, modulo how much there is.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Op {
    // Doors.
    Lease { arena: u8, is_named: bool },
    CloneDoor { door: u8 },
    Write { arena: u8 },
    WriterOf { door: u8 },
    Close { door: u8 },
    // Allocations through a writer or a permit.
    Layout { door: u8, size: Size, align: u8 },
    Slice { door: u8, size: Size },
    HandleValue { door: u8 },
    HandleSlice { door: u8, size: Size },
    Vector { door: u8, pushes: u8, between: u8, is_popped: bool },
    Offset { door: u8, size: Size },
    Dead { door: u8, bytes: u8 },
    Resolve { door: u8, handle: u8 },
    Dupe { from: u8, to: u8, handle: u8 },
    // Owners.
    Reset { arena: u8, keep: Keep },
    Retire { arena: u8 },
    Replace { arena: u8, kind: u8, size: Size },
    // Regions and permits.
    TakeRegion,
    Permit { door: u8, size: Size },
    Freeze { door: u8 },
    ReplacePool,
    // Buffers.
    BufferWriter,
    BufferPermit { size: Size },
    Swap,
    // Subsystems.
    Child { parent: u8 },
    ChildWriter { child: u8 },
    ResetChild { child: u8, keep: Keep },
    DropChild { child: u8 },
    // Charges.
    Reserve { node: u8, size: Size },
    Resize { charge: u8, size: Size },
    Transfer { from: u8, to: u8, part: u8 },
    Release { charge: u8 },
    Allot { size: Size },
    Unallot,
    Settle,
    Shrink { size: Size },
    // Requests and objects.
    Scratch { size: Size },
    ScratchSlice { size: Size },
    ResetScratch,
    DropScratch,
    Borrow,
    GiveBack,
}

fuzz_target!(|ops: Vec<Op>| {
    let mut world = World::new();
    for op in ops.into_iter().take(400) {
        world.run(op);
        world.check();
    }
    world.end();
});
