//! Runs a law: random cases from a seed, and the smallest one that fails.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::conformance::case::{Case, cases};
use crate::conformance::law::Law;
use crate::conformance::report::{Broken, Verdict};
use crate::conformance::{Outcome, Settings};

/// Entries of a case, and of one whose law looks at all entries again after each step.
const ENTRIES_MAX: usize = 160;
const ENTRIES_MAX_SMALL: usize = 50;

/// Entries in the index before a case begins, at most.
const LOADED_MAX: usize = 6000;

/// One law, about to be run.
pub(super) struct Run {
    law: Law,
    cases: u32,
    seed: u64,
}

impl Run {
    pub(super) fn new(law: Law, settings: &Settings) -> Self {
        let fresh = || RandomState::new().build_hasher().finish();
        Self { law, cases: settings.cases, seed: settings.seed.unwrap_or_else(fresh) }
    }

    /// Over cases of every size.
    pub(super) fn cases(self, check: impl Fn(&Case) -> Outcome) -> Verdict {
        self.run(self.cases, cases(ENTRIES_MAX, LOADED_MAX), check)
    }

    /// Over small cases, for a law that takes long on each.
    pub(super) fn small_cases(self, check: impl Fn(&Case) -> Outcome) -> Verdict {
        self.run(self.cases.div_ceil(3), cases(ENTRIES_MAX_SMALL, 70), check)
    }

    /// Over a few cases, for a law to which they matter little.
    pub(super) fn few_cases(self, check: impl Fn(&Case) -> Outcome) -> Verdict {
        self.run(self.cases.div_ceil(12), cases(ENTRIES_MAX_SMALL, LOADED_MAX), check)
    }

    /// Over seeds alone, for what several threads do at once.
    pub(super) fn seeds(self, check: impl Fn(&u64) -> Outcome) -> Verdict {
        self.run(self.cases.div_ceil(16), any::<u64>().no_shrink(), check)
    }

    fn run<T: fmt::Debug>(
        &self,
        cases: u32,
        strategy: impl Strategy<Value = T>,
        check: impl Fn(&T) -> Outcome,
    ) -> Verdict {
        let config = Config {
            cases,
            rng_seed: RngSeed::Fixed(self.seed),
            failure_persistence: None,
            max_shrink_iters: 2000,
            ..Config::default()
        };
        let result = TestRunner::new(config).run(&strategy, |case| check(&case).map_err(TestCaseError::fail));
        let (what, case) = match result {
            Ok(()) => return Verdict::Held,
            Err(TestError::Fail(what, case)) => (what.message().to_owned(), format!("{case:?}")),
            Err(TestError::Abort(why)) => (why.message().to_owned(), "none was tried".to_owned()),
        };
        Verdict::Broken(Broken { law: self.law, seed: self.seed, case, what })
    }
}
