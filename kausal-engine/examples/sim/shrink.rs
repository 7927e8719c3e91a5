//! Makes a failing script short: leaves out operations, and then shortens values, while it still fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::examine::{Plan, examine};
use crate::machine::Outcome;
use crate::script::Script;

/// Every crash point of a script, four times each.
pub(crate) const CLOSELY: Plan = Plan { points: u64::MAX, rounds: 4, flips: 40 };

/// Scripts are tried for so long.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Examines a script; a panic is a violation too.
pub(crate) fn examine_caught(script: &Script, plan: Plan, counts: &mut Counts) -> Outcome<u64> {
    catch_unwind(AssertUnwindSafe(|| examine(script, plan, counts))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// The shortest script found that still fails, and how it does. `None` if the whole one does not fail when it is looked
/// at closely.
pub(crate) fn shrink(script: &Script) -> Option<(Script, String)> {
    let fails = |script: &Script| examine_caught(script, CLOSELY, &mut Counts::default()).err();
    let mut found = (script.clone(), fails(script)?);
    let mut step = script.places.len().div_ceil(2);
    let begun = Instant::now();
    while step > 0 && begun.elapsed() < TIME_MAX {
        let mut start = 0;
        while start < found.0.places.len() && begun.elapsed() < TIME_MAX {
            let places = &found.0.places;
            let end = (start + step).min(places.len());
            let kept: Vec<usize> = [&places[..start], &places[end..]].concat();
            let shorter = found.0.keep(&kept);
            match fails(&shorter) {
                Some(what) => found = (shorter, what),
                None => start = end,
            }
        }
        step /= 2;
    }
    let shorter = found.0.shorten();
    if let Some(what) = fails(&shorter) {
        found = (shorter, what);
    }
    Some(found)
}
