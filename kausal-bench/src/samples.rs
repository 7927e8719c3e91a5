//! Samples of several subjects, taken in turn.
//!
//! 1. A round lets each subject make one sample; the next round begins with another subject. A change of the machine's
//!    speed meets all of them.
//! 2. A subject is compared by the median of its samples.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Nanoseconds that `work` takes. The clock is asked once before: its first call after long work misses the cache, which
/// costs more than some of what is measured.
#[inline]
pub fn timed(work: impl FnOnce()) -> f64 {
    timed_with_answer(work).0
}

/// The same, and the answer of `work`.
#[inline]
pub fn timed_with_answer<T>(work: impl FnOnce() -> T) -> (f64, T) {
    black_box(Instant::now());
    let begun = Instant::now();
    let answer = work();
    (nanos(begun.elapsed()), answer)
}

/// `duration` in nanoseconds.
pub fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// What asking the clock twice costs, in nanoseconds: the smallest of many.
pub fn clock_nanos() -> f64 {
    (0..1000).map(|_| timed(|| ())).fold(f64::INFINITY, f64::min)
}

/// The middle one of `samples`, 0 if there is none.
pub fn median(samples: &mut [f64]) -> f64 {
    percentile(samples, 0.5)
}

/// The value that `share` of `samples` do not exceed, 0 if there is none.
///
/// # Examples
///
/// ```
/// use kausal_bench::samples::percentile;
///
/// assert_eq!(percentile(&mut [4.0, 1.0, 3.0, 2.0, 5.0], 0.5), 3.0);
/// assert_eq!(percentile(&mut [], 0.5), 0.0);
/// ```
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let place = ((samples.len() as f64 - 1.0) * share).round().max(0.0);
    samples.get(place as usize).copied().unwrap_or(0.0)
}

/// Calls `sample` with the number of each of `subjects` subjects, `rounds` times in turn, and returns the samples by
/// subject.
pub fn interleaved<T>(subjects: usize, rounds: usize, mut sample: impl FnMut(usize) -> T) -> Vec<Vec<T>> {
    let mut samples: Vec<Vec<T>> = Vec::new();
    samples.resize_with(subjects, Vec::new);
    for round in 0..rounds {
        for turn in 0..subjects {
            let subject = (turn + round) % subjects;
            let taken = sample(subject);
            samples[subject].push(taken);
        }
    }
    samples
}

/// [`interleaved`], reduced to the median of each subject.
pub fn medians(subjects: usize, rounds: usize, sample: impl FnMut(usize) -> f64) -> Vec<f64> {
    interleaved(subjects, rounds, sample).iter_mut().map(|samples| median(samples)).collect()
}

/// The same where a sample can fail.
///
/// # Errors
///
/// What a sample answered.
pub fn try_medians<E>(
    subjects: usize,
    rounds: usize,
    sample: impl FnMut(usize) -> Result<f64, E>,
) -> Result<Vec<f64>, E> {
    let median_of = |samples: Vec<Result<f64, E>>| {
        let samples: Result<Vec<f64>, E> = samples.into_iter().collect();
        samples.map(|mut samples| median(&mut samples))
    };
    interleaved(subjects, rounds, sample).into_iter().map(median_of).collect()
}

/// Nanoseconds from the common start of `threads` threads to the end of the last one. What `prepare` makes for a thread,
/// by its number, is made on that thread before the start and dropped after the end.
pub fn wall<T>(threads: usize, prepare: impl Fn(usize) -> T + Sync, work: impl Fn(&mut T) + Sync) -> f64 {
    let start = Barrier::new(threads);
    let run = |thread| {
        let mut prepared = prepare(thread);
        start.wait();
        let begun = Instant::now();
        work(&mut prepared);
        (begun, Instant::now())
    };
    let run = &run;
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        handles.into_iter().map(|handle| handle.join().expect("a thread ends well")).collect()
    });
    let first = spans.iter().map(|span| span.0).min();
    let last = spans.iter().map(|span| span.1).max();
    first.zip(last).map_or(0.0, |(first, last)| nanos(last - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_take_turns_and_nobody_is_always_first() {
        let mut turns = Vec::new();
        interleaved(2, 3, |subject| turns.push(subject));
        assert_eq!(turns, [0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn a_median_is_the_subjects_own() {
        let mut next = [1.0, 10.0];
        let medians = medians(2, 3, |subject| {
            next[subject] += 1.0;
            next[subject]
        });
        assert_eq!(medians, [3.0, 12.0]);
    }
}
