//! The engine on a simulated machine, where background jobs run when the test says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compaction;
mod compaction_parts;
mod flush;
mod format;
mod reopen;
