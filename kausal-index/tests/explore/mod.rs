//! How far a model is explored, and what must have been seen.
//!
//! 1. Under loom a model runs in every interleaving and every allowed memory order, or in those with a few preemptions
//!    where it says so. Under shuttle and on real threads [`kausal_arena::sync::model`] says how often.
//! 2. Each run has an outcome, such as what a reader saw. No other than the expected ones may come up, and under loom each
//!    of them must: a model in which a reader always comes too late asks nothing.
//! 3. The number of runs is printed, for `cargo xtask model` to sum up; if one fails, which one.
//!
//! What shall meet in a model runs on threads of its own: see [`at_once`]. What shall not, such as the arena's own counts,
//! is kept out: writers have permits, made before and given back after, and what they share is counted by `std`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kausal_arena::sync::thread;
use kausal_arena::{Permit, Region};

/// Which interleavings loom tries. Nothing else asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// All of them.
    All,
    /// Those in which threads are taken off the processor at most this often without having asked for it. Most defects
    /// need one or two (Musuvathi and Qadeer 2007). `LOOM_MAX_PREEMPTIONS` says otherwise, if set.
    Preemptions(#[cfg_attr(not(loom), expect(dead_code, reason = "nothing but loom asks"))] usize),
}

impl Bound {
    /// The bound that the environment asks for, or else this one.
    fn as_told(self) -> Self {
        let told = std::env::var("LOOM_MAX_PREEMPTIONS").ok().and_then(|most| most.parse().ok());
        told.map_or(self, Self::Preemptions)
    }
}

/// Runs `check` as said above, and prints under `name` how often.
pub(crate) fn explore<O: Ord + Debug + Send + 'static>(
    name: &str,
    bound: Bound,
    expected: &[O],
    check: impl Fn() -> O + Send + Sync + 'static,
) {
    let bound = bound.as_told();
    // Not through the facade: the counts are no part of the model.
    let seen =
        std::sync::Arc::new(Progress { begun: AtomicU64::new(0), outcomes: Mutex::new(BTreeMap::new()) });
    let progress = std::sync::Arc::clone(&seen);
    let explored = catch_unwind(AssertUnwindSafe(|| {
        run(bound, move || {
            progress.begun.fetch_add(1, Ordering::Relaxed);
            let outcome = check();
            *progress.outcomes().entry(outcome).or_default() += 1;
        });
    }));
    if let Err(panic) = explored {
        println!("{name}: failed in run {}", seen.begun.load(Ordering::Relaxed));
        resume_unwind(panic);
    }
    let outcomes = seen.outcomes();
    assert!(outcomes.keys().all(|outcome| expected.contains(outcome)), "{name}: {outcomes:?}");
    assert!(!cfg!(loom) || outcomes.len() == expected.len(), "{name}: only {outcomes:?} of {expected:?}");
    let bound = if cfg!(loom) { format!(" ({bound:?})") } else { String::new() };
    println!("{name}{bound}, {outcomes:?}: {} runs", outcomes.values().sum::<u64>());
}

/// How far a model has come.
struct Progress<O> {
    begun: AtomicU64,
    /// How often each came up.
    outcomes: Mutex<BTreeMap<O, u64>>,
}

impl<O> Progress<O> {
    fn outcomes(&self) -> MutexGuard<'_, BTreeMap<O, u64>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(loom)]
fn run(bound: Bound, check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = match bound {
        Bound::All => None,
        Bound::Preemptions(most) => Some(most),
    };
    // An insert with two splits takes more steps than loom expects of a run.
    builder.max_branches = builder.max_branches.max(20_000);
    builder.check(check);
}

#[cfg(not(loom))]
fn run(_: Bound, check: impl Fn() + Send + Sync + 'static) {
    kausal_arena::sync::model(check);
}

/// A pen for the inserts of one thread, which then share nothing but the index.
pub(crate) fn permit(region: &Region) -> Permit {
    region.permit(1 << 13).expect("a model's region has room for a few inserts")
}

/// What was written before an entry must be seen by whoever sees the entry. A checker follows atomics, and the bytes of an
/// entry are none; this one, written without any order of its own, stands for them.
pub(crate) struct Witness(kausal_arena::sync::AtomicU64);

impl Witness {
    pub(crate) fn new() -> Self {
        Self(kausal_arena::sync::AtomicU64::new(0))
    }

    /// To be called before the insert.
    pub(crate) fn write(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// Returns what was `seen`, after a look at whether it came with the bytes.
    pub(crate) fn of<E>(&self, seen: Option<E>) -> Option<E> {
        assert!(seen.is_none() || self.0.load(Ordering::Relaxed) == 1, "an entry is seen without its bytes");
        seen
    }
}

/// Runs both on threads of their own, and returns their results. A thread returns its permit, so that it ends after both.
///
/// Neither runs on the model's main thread: loom takes what that one does after a spawn for something that happened before
/// it, and would try no other order.
pub(crate) fn at_once<A: Send + 'static, B: Send + 'static>(
    one: impl FnOnce() -> A + Send + 'static,
    other: impl FnOnce() -> B + Send + 'static,
) -> (A, B) {
    let (one, other) = (spawn(one), spawn(other));
    let finished = "the thread ended well";
    (one.join().expect(finished), other.join().expect(finished))
}

/// Starts a thread that can sort: a model checker's own threads have small stacks.
fn spawn<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    thread::Builder::new().stack_size(1 << 18).spawn(work).expect("there is room for a thread")
}
