//! The conformance kit: the whole contract of [`BlockIndex`] as tests that any index can be held against.
//!
//! 1. [`conformance!`](crate::conformance!) stamps one test a law onto an index, in one line.
//! 2. [`check`] runs all laws and answers a [`Report`]: what the index claims, and whether it holds.
//! 3. A law runs over random cases (keys from small alphabets, keys that are prefixes of each other, many versions of
//!    one key, sequence numbers in any order) and over several starting states (an empty region, one in its second
//!    generation with the first one's bytes still in it, one that is nearly full, an index with thousands of entries).
//!    The oracle is a sorted list.
//! 4. A broken law names itself, the seed, and the smallest case that the kit could shrink the failure to.
//!
//! Each law asks only for the methods it is about, so that one defect breaks one law where that is possible: the law of
//! `versions` says nothing of `get`.
//!
//! | room | what lives there |
//! |---|---|
//! | `law`, `report` | the list of laws, and what became of each |
//! | `case`, `model`, `bed` | what a law is tried on, the oracle, the memory below the index |
//! | `runner` | random cases, seeds, shrinking |
//! | `reading`, `writing`, `cursors`, `freezing`, `memory`, `threads` | the laws themselves |
//!
//! The page docs/write-your-own-index.md shows how an index is written and held against this.
//!
//! Not here: speed, which is kausal-bench's matter, and memory ordering, which loom's models prove. Threads here are
//! real ones: they find what is badly wrong, and cannot show that nothing is.
//!
//! # Examples
//!
//! The two lines that hold an index against its contract, in a test file of its crate:
//!
//! ```
//! use kausal_index::SkipListIndex;
//!
//! kausal_index::conformance!(skip_list, SkipListIndex);
//! # fn main() {}
//! ```
//!
//! The same as a value:
//!
//! ```
//! use kausal_index::{BTreeIndex, conformance};
//!
//! let report = conformance::check::<BTreeIndex>(&conformance::Settings::new().cases(4));
//! assert!(report.holds(), "{report}");
//! assert!(!report.claims(conformance::Law::AllocatorSilent), "the oracle lives on the heap, and says so");
//! ```

mod bed;
mod case;
mod cursors;
mod freezing;
mod law;
mod memory;
mod model;
mod reading;
mod report;
mod runner;
mod threads;
mod writing;

pub use law::Law;
pub use report::{Broken, Report, Verdict};

use crate::block_index::BlockIndex;

/// What a law's check answers: nothing, or what it saw in the place of what it expected.
type Outcome = Result<(), String>;

/// Ends a check with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
use ensure;

/// How thoroughly, and from which seed.
///
/// The environment overrides the defaults, so that a failure can be replayed without touching the test:
/// `KAUSAL_CONFORMANCE_SEED` (decimal) and `KAUSAL_CONFORMANCE_CASES`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    cases: u32,
    seed: Option<u64>,
    allocator_calls: Option<fn() -> u64>,
}

impl Settings {
    /// 48 cases a law, and a fresh seed for each.
    pub fn new() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
        let cases = number("KAUSAL_CONFORMANCE_CASES").map_or(48, |cases| cases as u32);
        Self { cases, seed: number("KAUSAL_CONFORMANCE_SEED"), allocator_calls: None }
    }

    /// Tries every law on `cases` cases, at least one.
    pub fn cases(self, cases: u32) -> Self {
        Self { cases: cases.max(1), ..self }
    }

    /// Chooses the cases from `seed`; the seed that a broken law names finds the same failure again.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Checks [`Law::AllocatorSilent`] with `calls`, which answers how often this thread has called the global allocator.
    /// Only a program with a counting allocator of its own can know; without it the law is not checked.
    pub fn allocator_calls(self, calls: fn() -> u64) -> Self {
        Self { allocator_calls: Some(calls), ..self }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// Checks one law of `I`.
pub fn check_law<I: BlockIndex>(law: Law, settings: &Settings) -> Verdict {
    if let Some(reason) = law.unclaimed::<I>() {
        return Verdict::NotClaimed(reason);
    }
    let run = runner::Run::new(law, settings);
    match law {
        Law::Get => run.cases(reading::get::<I>),
        Law::Versions => run.cases(reading::versions::<I>),
        Law::GetMany => run.cases(reading::get_many::<I>),
        Law::Insert => run.cases(writing::insert::<I>),
        Law::Duplicate => run.cases(writing::duplicate::<I>),
        Law::KeyTooLong => run.cases(writing::key_too_long::<I>),
        Law::ExtremeSizes => run.few_cases(writing::extreme_sizes::<I>),
        Law::InsertSorted => run.cases(writing::insert_sorted::<I>),
        Law::Exhaustion => run.small_cases(writing::exhaustion::<I>),
        Law::CursorWalk => run.cases(cursors::walk::<I>),
        Law::CursorSeek => run.cases(cursors::seek::<I>),
        Law::CursorMoves => run.cases(cursors::moves::<I>),
        Law::CursorWhileInserting => run.cases(cursors::while_inserting::<I>),
        Law::OrderAsClaimed => run.cases(freezing::order_as_claimed::<I>),
        Law::Freeze => run.cases(freezing::freeze::<I>),
        Law::FreezeRefused => run.cases(freezing::freeze_refused::<I>),
        Law::BytesMax => run.cases(memory::bytes_max::<I>),
        Law::BytesAccounted => run.cases(memory::bytes_accounted::<I>),
        Law::OnlyFromPens => run.cases(memory::only_from_pens::<I>),
        Law::RegionReturns => run.cases(memory::region_returns::<I>),
        Law::AllocatorSilent => match settings.allocator_calls {
            Some(calls) => run.cases(|case| memory::allocator_silent::<I>(case, calls)),
            None => Verdict::NotChecked("needs a counting allocator: Settings::allocator_calls"),
        },
        Law::WritersAtOnce => run.seeds(threads::writers::<I>),
        Law::ReadersAtOnce => run.seeds(threads::readers::<I>),
        Law::CursorsAtOnce => run.seeds(threads::cursors::<I>),
        Law::DuplicatesAtOnce => run.seeds(threads::duplicates::<I>),
        Law::PermitsAtOnce => run.seeds(threads::permits::<I>),
    }
}

/// Checks every law of `I`.
pub fn check<I: BlockIndex>(settings: &Settings) -> Report {
    Report::new::<I>(Law::ALL.map(|law| (law, check_law::<I>(law, settings))))
}

/// Fails the test it is called in if `I` claims `law` and does not hold it: what the stamped tests call.
///
/// # Panics
///
/// If the law is broken, with its name, the seed and the smallest case found.
pub fn assert_law<I: BlockIndex>(law: Law) {
    match check_law::<I>(law, &Settings::new()) {
        Verdict::Held => {}
        Verdict::Broken(broken) => panic!("{broken}"),
        verdict => println!("{law}: {verdict}"),
    }
}

/// Stamps the whole contract of an index as tests: `conformance!(module, IndexType)`, in a test file or a `tests` module.
///
/// One test a law, named after it. See [the kit](mod@crate::conformance).
#[macro_export]
macro_rules! conformance {
    ($module:ident, $index:ty) => {
        $crate::conformance!(@laws $module, $index,
            get Get, versions Versions, get_many GetMany,
            insert Insert, duplicate Duplicate, key_too_long KeyTooLong, extreme_sizes ExtremeSizes,
            insert_sorted InsertSorted, exhaustion Exhaustion,
            cursor_walk CursorWalk, cursor_seek CursorSeek, cursor_moves CursorMoves,
            cursor_while_inserting CursorWhileInserting,
            order_as_claimed OrderAsClaimed, freeze Freeze, freeze_refused FreezeRefused,
            bytes_max BytesMax, bytes_accounted BytesAccounted, only_from_pens OnlyFromPens,
            region_returns RegionReturns, allocator_silent AllocatorSilent,
            writers_at_once WritersAtOnce, readers_at_once ReadersAtOnce, cursors_at_once CursorsAtOnce,
            duplicates_at_once DuplicatesAtOnce, permits_at_once PermitsAtOnce,
        );
    };
    (@laws $module:ident, $index:ty, $($name:ident $law:ident,)+) => {
        mod $module {
            #[allow(unused_imports, reason = "the index may be named by its whole path")]
            use super::*;

            // A law that is not stamped would be a law that nobody checks.
            const _: () = assert!([$($crate::conformance::Law::$law),+].len() == $crate::conformance::Law::ALL.len());

            $(
                #[test]
                fn $name() {
                    $crate::conformance::assert_law::<$index>($crate::conformance::Law::$law);
                }
            )+
        }
    };
}
