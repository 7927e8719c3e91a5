//! kausal-arena through its public interface, a module per room. Tests whose names begin with a row's number prove that row
//! of the memory architecture.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod budget;
mod double_buffer;
mod growing_things;
mod misuse;
mod ownership;
mod pools;
mod regions;
mod report;
mod subsystem;
mod writing;
