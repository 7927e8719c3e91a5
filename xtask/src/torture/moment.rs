//! When to kill: drawn from the seed, scaled by how long imports take here and now.
//!
//! 1. A plan holds a fraction, uniform in [0, 1), of a phase: mostly of the import, from the first acknowledgement to
//!    the end of the process, its close included; sometimes of the opening, which in a continued round is a recovery.
//! 2. The estimate of the phases starts with the rehearsal and follows each round: an import that ended tells its length,
//!    one that was killed tells how far it had come.
//!
//! The seed fixes fractions, not instructions: the same seed gives the same plan, the kernel decides the rest.

use std::time::Duration;

use fastrand::Rng;

use super::round::{Import, Phase};

/// How one round goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Whether the database starts anew.
    pub(super) is_fresh: bool,
    pub(super) moment: Moment,
}

/// A fraction, in [0, 1), of a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    /// Of the time from the start to the first acknowledgement.
    Opening(f64),
    /// Of the time from the first acknowledgement to the end of the process.
    Importing(f64),
}

impl Plan {
    /// One round in four starts anew. One in twelve of the others dies while it recovers; a fresh one never does, since
    /// there may be no database yet to check.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let is_fresh = rng.u8(0..4) == 0;
        let is_opening = rng.u8(0..12) == 0;
        let fraction = rng.f64();
        let moment =
            if is_opening && !is_fresh { Moment::Opening(fraction) } else { Moment::Importing(fraction) };
        Self { is_fresh, moment }
    }
}

/// When to kill, in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    AfterStart(Duration),
    AfterFirstAck(Duration),
}

/// How long the phases of an import take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Estimate {
    pub(super) opening: Duration,
    pub(super) importing: Duration,
}

impl Estimate {
    pub(super) fn delay(&self, moment: Moment) -> Delay {
        match moment {
            Moment::Opening(fraction) => Delay::AfterStart(self.opening.mul_f64(fraction)),
            Moment::Importing(fraction) => Delay::AfterFirstAck(self.importing.mul_f64(fraction)),
        }
    }

    /// Follows what `import`, of `all` keys, took.
    pub(super) fn learn(&mut self, import: &Import, all: usize) {
        if let Some(opening) = import.opening {
            self.opening = blend(self.opening, opening);
        }
        let acknowledged = import.acknowledged.len();
        match import.phase {
            Phase::Ended => self.importing = blend(self.importing, import.importing),
            // Less than a quarter says little about the rest, and all keys leave only the close.
            Phase::Importing if all / 4 <= acknowledged && acknowledged < all => {
                let whole = import.importing.mul_f64(all as f64 / acknowledged as f64);
                self.importing = blend(self.importing, whole);
            }
            Phase::Importing | Phase::Opening => {}
        }
    }
}

/// Three parts of what was known, one of what was seen.
fn blend(known: Duration, seen: Duration) -> Duration {
    if known.is_zero() { seen } else { (known * 3 + seen) / 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn import(phase: Phase, opening: Option<Duration>, importing: Duration, acknowledged: usize) -> Import {
        Import { phase, opening, importing, acknowledged: vec![Vec::new(); acknowledged] }
    }

    #[test]
    fn a_seed_gives_the_same_plans_again() {
        let plans = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..100).map(|_| Plan::draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(plans(1), plans(1));
        assert_ne!(plans(1), plans(2));
    }

    #[test]
    fn moments_are_uniform_and_most_hit_the_import() {
        let mut rng = Rng::with_seed(7);
        let (mut importing, mut fresh, mut quarters) = (0, 0, [0; 4]);
        for _ in 0..10_000 {
            let plan = Plan::draw(&mut rng);
            fresh += u32::from(plan.is_fresh);
            match plan.moment {
                Moment::Importing(fraction) => {
                    assert!((0.0..1.0).contains(&fraction));
                    quarters[(fraction * 4.0) as usize] += 1;
                    importing += 1;
                }
                Moment::Opening(_) => assert!(!plan.is_fresh),
            }
        }
        assert!(importing > 9_200, "{importing}");
        assert!((2_300..2_700).contains(&fresh), "{fresh}");
        assert!(quarters.iter().all(|count| (2_100..2_600).contains(count)), "{quarters:?}");
    }

    #[test]
    fn a_delay_is_a_fraction_of_its_phase() {
        let estimate = Estimate { opening: SECOND, importing: 8 * SECOND };
        assert_eq!(estimate.delay(Moment::Opening(0.5)), Delay::AfterStart(SECOND / 2));
        assert_eq!(estimate.delay(Moment::Importing(0.25)), Delay::AfterFirstAck(2 * SECOND));
    }

    #[test]
    fn the_estimate_starts_with_the_rehearsal_and_follows() {
        let mut estimate = Estimate::default();
        estimate.learn(&import(Phase::Ended, Some(SECOND), 4 * SECOND, 100), 100);
        assert_eq!(estimate, Estimate { opening: SECOND, importing: 4 * SECOND });
        // Half of the keys in four seconds: eight for all.
        estimate.learn(&import(Phase::Importing, None, 4 * SECOND, 50), 100);
        assert_eq!(estimate.importing, 5 * SECOND);
        for (phase, acknowledged) in [(Phase::Importing, 3), (Phase::Importing, 100), (Phase::Opening, 0)] {
            estimate.learn(&import(phase, None, 90 * SECOND, acknowledged), 100);
            assert_eq!(estimate.importing, 5 * SECOND);
        }
    }
}
