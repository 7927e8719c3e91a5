//! An index of one's own, held against its contract: `cargo run -p kausal-index --example own_index`.
//!
//! Prints which laws the index claims and holds. The page docs/write-your-own-index.md walks through it.
#![forbid(unsafe_code)]

mod plain_tree;

use std::process::ExitCode;

use kausal_index::conformance::{self, Settings};
use plain_tree::PlainTree;

fn main() -> ExitCode {
    let report = conformance::check::<PlainTree>(&Settings::new());
    print!("{report}");
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
