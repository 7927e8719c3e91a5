//! What runs in a process of its own, below `strace` or `valgrind`: this program again, in a mode that does one thing.
//!
//! A mode prepares, and then does what is to be counted or leaves it out. Its counts with and without are compared, or
//! only one function of it is counted, so that start and end of the process do not matter.

use std::alloc::Layout;
use std::hint::black_box;
use std::process::Command;

use kausal_arena::{Arena, Budget, Region, RegionPool, Retain, Writer};

use super::source::fill;

/// Objects of the mode `allocate`.
pub const ALLOCATIONS: usize = 1_000_000;

/// The name by which `valgrind` knows the function whose instructions count.
pub const COUNTED: &str = "*counted_by_callgrind*";

/// A command that runs `program`, if that is not empty, over this executable in the mode `arguments`.
pub fn command(program: &[&str], arguments: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap_or_else(|_| "kausal-bench".into());
    let mut command = match program {
        [] => Command::new(this),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(this);
            command
        }
    };
    command.arg("child").args(arguments);
    command
}

/// Does what the mode says; `None` if there is no such mode, or no memory for it.
pub fn run(arguments: &[String]) -> Option<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["allocate", count] => allocate(count.parse().ok()?),
        ["reset", bytes] => reset(bytes.parse().ok()?),
        ["return", bytes] => give_back(bytes.parse().ok()?),
        ["hot", path] => crate::hot_paths::child(path)?,
        ["release", index, entries] => crate::index::release::run(index, entries.parse().ok()?)?,
        ["work", index, operation, entries] => {
            crate::index::work::run(index, operation, entries.parse().ok()?)?;
        }
        _ => return None,
    }
    Some(())
}

/// Fills an arena and resets it; then allocates `count` objects of 16 bytes in the memory it kept.
fn allocate(count: usize) {
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    fill::<2>(&arena.coordinator().writer().expect("the owner is here"), ALLOCATIONS);
    arena.reset(Retain::Capacity).expect("the pen is gone");
    fill::<2>(&arena.coordinator().writer().expect("the owner is here"), count);
}

fn reset(bytes: usize) {
    let mut arena = Arena::growing(&Budget::unlimited("bench"));
    // The first reset of a generation is that of a process that has reset before.
    for bytes in [16, bytes] {
        use_up(&arena.coordinator().writer().expect("the owner is here"), bytes);
        if bytes > 16 {
            counted_by_callgrind_reset(&mut arena);
        } else {
            arena.reset(Retain::Capacity).expect("the pen is gone");
        }
    }
    black_box(arena.stats());
}

fn give_back(bytes: usize) {
    let pool = RegionPool::new(&Budget::unlimited("bench"), bytes + (1 << 20), 1, || {})
        .expect("memory for a benchmark");
    let region = pool.coordinator().take().expect("a new pool has its region");
    drop(region);
    let region = pool.coordinator().take().expect("it came back");
    use_up(&region.writer(), bytes);
    counted_by_callgrind_return(region);
}

/// Takes `bytes` bytes in pieces of up to 64 KiB and leaves them unwritten: what is counted does not touch them.
fn use_up(writer: &Writer, bytes: usize) {
    let piece = bytes.min(64 << 10);
    let layout = Layout::from_size_align(piece, 8).expect("a small size");
    for _ in 0..bytes / piece {
        black_box(writer.try_alloc_layout(layout).expect("memory for a benchmark"));
    }
}

#[inline(never)]
fn counted_by_callgrind_reset(arena: &mut Arena) {
    let _ = black_box(arena.reset(Retain::Capacity));
}

#[inline(never)]
fn counted_by_callgrind_return(region: Region) {
    drop(black_box(region));
}
