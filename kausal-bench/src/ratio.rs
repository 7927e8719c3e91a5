//! Two subjects measured in turn.

use std::time::Duration;

/// Medians of both subjects.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let ratio = kausal_bench::ratio::interleaved(3, || Duration::from_micros(2), || Duration::from_micros(8));
/// assert_eq!(ratio.advantage(), 4.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Median of ours.
    pub ours: Duration,
    /// Median of the other.
    pub other: Duration,
}

impl Ratio {
    /// How many times faster ours is.
    pub fn advantage(&self) -> f64 {
        self.other.as_secs_f64() / self.ours.as_secs_f64().max(1e-9)
    }
}

/// Takes `samples` (at least one) of each subject, in turn, so that a change of the machine's speed meets both.
pub fn interleaved(
    samples: usize,
    mut ours: impl FnMut() -> Duration,
    mut other: impl FnMut() -> Duration,
) -> Ratio {
    let mut times: Vec<(Duration, Duration)> = Vec::new();
    times.resize_with(samples.max(1), || (ours(), other()));
    let median = |side: fn(&(Duration, Duration)) -> Duration| {
        let mut sorted: Vec<Duration> = times.iter().map(side).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    Ratio { ours: median(|pair| pair.0), other: median(|pair| pair.1) }
}
