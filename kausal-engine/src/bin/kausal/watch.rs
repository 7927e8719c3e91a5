//! The memory tree, looked at again and again.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use kausal_engine::{MemoryReport, StorageEngine};

use crate::{Failure, Outcome};

/// Clears a terminal's screen and goes to its first place.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Prints the tree `count` times, and below it what changed since the look before.
pub(crate) fn run(engine: &StorageEngine, every: Duration, count: u64) -> Result<Outcome, Failure> {
    let mut output = io::stdout().lock();
    let clear = if output.is_terminal() { CLEAR } else { "" };
    let mut last: Option<MemoryReport> = None;
    for look in 0..count {
        if look > 0 {
            thread::sleep(every);
        }
        let report = engine.memory_report();
        let text = format!("{clear}{report}{}", changes(&report, last.as_ref()));
        output
            .write_all(text.as_bytes())
            .and_then(|()| output.flush())
            .map_err(Failure::io("write the memory tree"))?;
        last = Some(report);
    }
    Ok(Outcome::Good)
}

fn changes(report: &MemoryReport, last: Option<&MemoryReport>) -> String {
    let Some(last) = last else { return String::new() };
    let changes = report.changes_since(last);
    if changes.is_empty() {
        return "no change since the last look\n".to_owned();
    }
    changes.iter().map(|change| format!("{change}\n")).collect()
}
