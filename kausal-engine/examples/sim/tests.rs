//! The driver's own promises.

use crate::counts::Counts;
use crate::examine::Plan;
use crate::script::Script;
use crate::shrink::examine_caught;

const QUICK: Plan = Plan { points: 6, rounds: 1, flips: 1 };

#[test]
fn u7_a_seed_replays_to_the_same_trace_hash() {
    for seed in [2, 6, 8] {
        let trace = || examine_caught(&Script::of(seed), QUICK, &mut Counts::default());
        let first = trace().expect("no violation");
        assert_eq!(first, trace().expect("no violation"), "seed {seed}");
        assert_ne!(
            first,
            examine_caught(&Script::of(seed + 10), QUICK, &mut Counts::default()).expect("no violation")
        );
    }
}
