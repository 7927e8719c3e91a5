//! Replay: from the logs that count to changes in the order of a memtable.
//!
//! 1. `plan` says which logs count, and how much of each.
//! 2. The reader reads and checks them a window at a time, and gathers as many changes as fit.
//! 3. Recovery inserts them. If there are more, the next part is read, checked, copied and sorted meanwhile, on a thread
//!    of the scheduler: that is two fifths of the work, inserting the rest.
//!
//! Not here: memtables, and what becomes of the database then.

mod ahead;
mod gathered;
mod plan;
mod reader;

pub(crate) use ahead::{Ahead, Reading};
pub(crate) use gathered::Gathered;
pub(crate) use plan::plan_logs;
pub(crate) use reader::{Filled, LogReader, LogSource, Replayed};
