//! SIGKILL in every phase of the engine's work.
//!
//! 1. A plan names a phase. The process runs for a while, then the kill waits until the worker's marks show that phase, and
//!    some moments more. After the kill the marks tell what it hit.
//! 2. A plan for recovery kills twice: first in another phase, then while the next process recovers from that.
//! 3. An audit compares what is left with what was acknowledged. Most rounds go on with the database of the one before.

use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::failure::Failure;

use super::Options;
use super::phase::Phase;
use super::worker::{Process, Verdict, Worker};

/// Least share of kills in the midst of work.
const MID_WORK_PERCENT_MIN: u32 = 80;

/// How long to wait for a phase before killing anyway.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often to look for a phase.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// What the run is judged by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    kills: u32,
    /// By the phase that was hit.
    hit: [u32; Phase::ALL.len()],
    acknowledged: u64,
    lost: u64,
    wrong: u64,
    torn: u64,
    failed_checks: u32,
    replayed: u64,
    recoveries: Vec<Duration>,
}

/// Kills, audits, prints and judges.
///
/// # Errors
///
/// [`Failure`] if a promise is broken, a phase was never hit, or too few kills fell in mid-work.
pub(super) fn run(worker: &Worker, options: &Options) -> Result<(), Failure> {
    let mut rng = Rng::with_seed(options.seed);
    let mut counts = Counts::default();
    let outcome = kill_all(worker, options.kills, &mut rng, &mut counts);
    counts.print(options);
    outcome.and_then(|()| counts.judge())
}

fn kill_all(worker: &Worker, kills: u32, rng: &mut Rng, counts: &mut Counts) -> Result<(), Failure> {
    let database = worker.database();
    let mut round = 0;
    while counts.kills < kills {
        if rng.u8(0..8) == 0 {
            worker.forget(&database)?;
        }
        let wanted = Phase::WORK[round % Phase::WORK.len()];
        round += 1;
        let first = if wanted == Phase::Recovery { Phase::WORK[rng.usize(0..4)] } else { wanted };
        let salt = rng.u64(..);
        let started = worker.start(worker.command("mixed", &database, salt))?;
        let run_for = Duration::from_millis(rng.u64(20..500));
        let mut hit = vec![kill_in(started, worker, first, run_for, rng)?];
        if wanted == Phase::Recovery {
            let started = worker.start(worker.command("open", &database, rng.u64(..)))?;
            hit.push(kill_in(started, worker, Phase::Recovery, Duration::ZERO, rng)?);
        }
        hit.iter().flatten().for_each(|&phase| counts.count(phase));
        let verdict = worker.audit(&database, rng.u64(..), false)?;
        counts.add(&verdict);
        if !verdict.is_good() {
            return Err(Failure::other(format!("kill {}: {verdict:?}", counts.kills)));
        }
    }
    Ok(())
}

/// Kills `process` when it is in `phase`, not before `run_for` has passed. Answers what was hit; nothing if the process had
/// ended.
fn kill_in(
    mut process: Process,
    worker: &Worker,
    phase: Phase,
    run_for: Duration,
    rng: &mut Rng,
) -> Result<Option<Phase>, Failure> {
    thread::sleep(run_for);
    let begun = Instant::now();
    while Phase::read(&worker.phases()) != phase && begun.elapsed() < PATIENCE {
        if process.ended()?.is_some() {
            break;
        }
        // Manifests change within a fraction of a millisecond: no sleep.
        if phase != Phase::Manifest {
            thread::sleep(LOOK_EVERY);
        }
    }
    let linger = match phase {
        Phase::Manifest | Phase::Idle => 0,
        Phase::Write => rng.u64(0..200),
        Phase::Flush | Phase::Recovery => rng.u64(0..6_000),
        Phase::Compaction => rng.u64(0..15_000),
    };
    if linger > 0 {
        thread::sleep(Duration::from_micros(linger));
    }
    let status = process.kill()?;
    match status.code() {
        // A killed process has a signal, no code.
        None => Ok(Some(Phase::read(&worker.phases()))),
        Some(0) => Ok(None),
        Some(_) => Err(process.failure(&format!("failed by itself: {status}"))),
    }
}

impl Counts {
    fn count(&mut self, phase: Phase) {
        self.kills += 1;
        self.hit[phase as usize] += 1;
    }

    fn add(&mut self, verdict: &Verdict) {
        self.acknowledged += verdict.acknowledged;
        self.lost += verdict.lost;
        self.wrong += verdict.wrong;
        self.torn += verdict.torn;
        self.failed_checks += u32::from(verdict.refused.is_some());
        self.replayed += verdict.batches;
        self.recoveries.push(verdict.recovery);
    }

    fn print(&mut self, options: &Options) {
        let Self { kills, acknowledged, lost, wrong, torn, failed_checks, replayed, .. } = self;
        let by_phase = Phase::ALL.iter().rev().map(|&phase| format!("{phase} {}", self.hit[phase as usize]));
        let by_phase = by_phase.collect::<Vec<_>>().join(", ");
        println!(
            "torture: kills {kills}: {by_phase}; in mid-work {} %",
            100 * (*kills - self.hit[0]) / (*kills).max(1)
        );
        println!(
            "torture: acknowledged Process and Power writes {acknowledged}, lost {lost}, wrong {wrong}, torn {torn}, failed \
             checks {failed_checks}; {replayed} batches replayed"
        );
        self.recoveries.sort();
        let at = |percent: usize| {
            let place = (self.recoveries.len() * percent / 100).min(self.recoveries.len().saturating_sub(1));
            self.recoveries.get(place).copied().unwrap_or_default()
        };
        println!("torture: recoveries: median {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
        println!(
            "torture: the same plan again: cargo xtask torture --kills {} --seed {}",
            options.kills, options.seed
        );
    }

    fn judge(&self) -> Result<(), Failure> {
        if self.lost + self.wrong + self.torn > 0 || self.failed_checks > 0 {
            return Err(Failure::other("the counts above should be 0"));
        }
        // Fewer say nothing about each phase.
        let few = self.kills < 25;
        if let Some(missed) = Phase::WORK.iter().find(|&&phase| !few && self.hit[phase as usize] == 0) {
            return Err(Failure::other(format!("no kill hit the phase {missed}")));
        }
        let percent = 100 * (self.kills - self.hit[0]) / self.kills.max(1);
        if percent < MID_WORK_PERCENT_MIN {
            return Err(Failure::other(format!(
                "only {percent} % of the kills fell in mid-work, {MID_WORK_PERCENT_MIN} % are wanted"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_judged() {
        let good = || Counts { kills: 50, hit: [10, 20, 5, 5, 5, 5], ..Counts::default() };
        assert!(good().judge().is_ok(), "80 % are in mid-work");
        assert!(Counts { hit: [11, 19, 5, 5, 5, 5], ..good() }.judge().is_err());
        assert!(Counts { hit: [0, 40, 5, 0, 3, 2], ..good() }.judge().is_err());
        assert!(Counts { kills: 5, hit: [0, 5, 0, 0, 0, 0], ..good() }.judge().is_ok());
        assert!(Counts { lost: 1, ..good() }.judge().is_err());
        assert!(Counts { wrong: 1, ..good() }.judge().is_err());
        assert!(Counts { torn: 1, ..good() }.judge().is_err());
        assert!(Counts { failed_checks: 1, ..good() }.judge().is_err());
    }
}
