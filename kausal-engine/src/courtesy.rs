//! Courtesy: a background job offers its core to whoever is ready to run, at each of its steps, while somebody writes.
//!
//! Where writers, a flush and a compaction are more than the cores they have, the system takes the core from a writer for a whole
//! tick, up to 4 ms, so that a job has its share: thousands of times what a put takes. A job that has just offered its
//! core is behind the writer in the system's order, so a writer that wakes up, or was made to wait, goes on within a step.
//!
//! What others do with a core that was offered is time that the job loses. Each job has a **credit** of it, which grows with
//! its steps. Without credit it offers nothing, and has its share as any other thread: so it keeps at least a quarter of a
//! core where all cores are busy with something that is not this database.
//!
//! Not here: waiting for the jobs' sake (`flow`) or for a limit (`pace`).

use std::time::Duration;

/// Nanoseconds of credit for a step, which takes some 40 microseconds: three times what it runs.
const CREDIT_PER_STEP: i64 = 120_000;

/// Credit does not grow beyond this, about what a flush takes beside a writer and a compaction.
const CREDIT_MAX: i64 = 20_000_000;

/// Steps after the last write that it is still offered in: some 10 ms, as a writer without a core shows no sign of life.
const STEPS_AFTER_WRITE: u32 = 256;

/// What a job knows of the offers it has made.
#[derive(Debug)]
pub(crate) struct Courtesy {
    /// Nanoseconds; below zero where the last offer took more than there was.
    credit: i64,
    /// Number of the last write that was seen, and steps since it was new.
    last_write: u64,
    steps_since: u32,
}

impl Courtesy {
    /// Of a job that begins now, with full credit.
    pub(crate) fn new(last_write: u64) -> Self {
        Self { credit: CREDIT_MAX, last_write, steps_since: 0 }
    }

    /// A step has ended, and the newest write has the number `last_write`: offers the core if that is due. `offer` returns
    /// when the job has it again.
    pub(crate) fn step(&mut self, last_write: u64, now: impl Fn() -> Duration, offer: impl FnOnce()) {
        if last_write != self.last_write {
            (self.last_write, self.steps_since) = (last_write, 0);
        }
        self.steps_since = self.steps_since.saturating_add(1);
        self.credit = (self.credit + CREDIT_PER_STEP).min(CREDIT_MAX);
        if self.steps_since > STEPS_AFTER_WRITE || self.credit <= 0 {
            return;
        }
        let begun = now();
        offer();
        let lost = now().saturating_sub(begun).as_nanos();
        self.credit = self.credit.saturating_sub(i64::try_from(lost).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Takes so many steps of a job beside a writer, each offer of which takes `lost`. Answers how many offers there were.
    fn offers(courtesy: &mut Courtesy, steps: u64, lost: Duration, last_write: impl Fn(u64) -> u64) -> u64 {
        let (now, offers) = (Cell::new(Duration::ZERO), Cell::new(0));
        for step in 0..steps {
            let offer = || {
                offers.set(offers.get() + 1);
                now.set(now.get() + lost);
            };
            courtesy.step(last_write(step), || now.get(), offer);
        }
        offers.get()
    }

    #[test]
    fn the_core_is_offered_in_each_step_where_nobody_takes_it() {
        let mut courtesy = Courtesy::new(0);
        assert_eq!(offers(&mut courtesy, 10_000, Duration::from_micros(1), |step| step), 10_000);
    }

    #[test]
    fn nothing_is_offered_when_the_last_write_is_long_ago_until_there_is_another() {
        let mut courtesy = Courtesy::new(7);
        assert_eq!(offers(&mut courtesy, 10_000, Duration::ZERO, |_| 7), u64::from(STEPS_AFTER_WRITE));
        assert_eq!(offers(&mut courtesy, 5, Duration::ZERO, |_| 8), 5);
    }

    #[test]
    fn a_job_whose_core_others_always_take_loses_three_times_what_it_runs() {
        let mut courtesy = Courtesy::new(0);
        let tick = Duration::from_millis(4);
        // What there is at the beginning is lost in five ticks.
        assert_eq!(offers(&mut courtesy, 6, tick, |step| step), 6);
        let steps = 100_000;
        let lost = tick * offers(&mut courtesy, steps, tick, |step| step) as u32;
        let ran = Duration::from_micros(40) * steps as u32;
        assert!(lost <= 3 * ran + tick, "{lost:?} lost of {ran:?}");
        assert!(lost >= 3 * ran - Duration::from_millis(20), "{lost:?} lost of {ran:?}");
    }

    #[test]
    fn an_offer_without_an_end_is_no_overflow() {
        let mut courtesy = Courtesy::new(0);
        assert_eq!(offers(&mut courtesy, 3, Duration::MAX / 4, |step| step), 1);
    }
}
