//! Whether work that goes on gets slower: the straight line through the operations of each part of the time.
//!
//! 1. The line of least squares through the parts, each with one weight. Its change over two thirds of the time, divided by the
//!    mean, is the trend: of minutes three to five, what two minutes lose or gain.
//! 2. Its interval of confidence (95 %) comes from what the parts scatter around the line.
//! 3. *Steady* is a loss of no more than a tenth, or one that chance explains, the interval having zero in it, if it is not more than a
//!    quarter either: parts that scatter so widely that nothing could be seen in them do not pass for that reason.
//!
//! The parts of a store are not independent of each other, as the interval takes them to be: compactions last longer than a part.
//! That makes the interval too narrow, and the judgement stricter.

use std::fmt;

/// A loss that is none.
const LOSS_MAX: f64 = 0.10;

/// A loss that is one, however widely the parts scatter.
const SCATTERED_LOSS_MAX: f64 = 0.25;

/// What the trend is told for, of the time that the parts take.
const SHARE_OF_TIME: f64 = 2.0 / 3.0;

/// Of operations in parts of equal length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// Share of the mean that is gained, or lost if it is negative.
    change: f64,
    /// Half the interval of confidence around it.
    uncertain: f64,
}

impl Trend {
    /// The trend of `parts`; `None` if they are too few, or nothing was done.
    pub(super) fn of(parts: &[u64]) -> Option<Self> {
        let count = parts.len() as f64;
        let mean = parts.iter().sum::<u64>() as f64 / count;
        if parts.len() < 4 || mean == 0.0 {
            return None;
        }
        let middle = (count - 1.0) / 2.0;
        let points = || {
            parts.iter().zip(0_u32..).map(|(&done, place)| (f64::from(place) - middle, done as f64 - mean))
        };
        let spread: f64 = points().map(|(place, _)| place * place).sum();
        let slope = points().map(|(place, done)| place * done).sum::<f64>() / spread;
        let left: f64 = points().map(|(place, done)| (done - slope * place).powi(2)).sum();
        let freedom = count - 2.0;
        let error = (left / freedom / spread).sqrt();
        // Student's t for 95 %, to a hundredth from ten degrees of freedom on, and a little below it for fewer.
        let student = 1.96 + 2.5 / freedom;
        let told = SHARE_OF_TIME * count / mean;
        Some(Self { change: slope * told, uncertain: student * error * told })
    }

    /// Whether the work does not get less.
    pub(super) fn is_steady(self) -> bool {
        let by_chance = self.change + self.uncertain >= 0.0;
        self.change >= -LOSS_MAX || by_chance && self.change >= -SCATTERED_LOSS_MAX
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, uncertain } = self;
        write!(
            f,
            "{:+.1} % (95 %: {:+.1} to {:+.1}) ",
            change * 1e2,
            (change - uncertain) * 1e2,
            (change + uncertain) * 1e2
        )?;
        write!(f, "in two thirds of that time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_steady(parts: &[u64]) -> bool {
        Trend::of(parts).is_some_and(Trend::is_steady)
    }

    #[test]
    fn a_line_is_found_exactly() {
        // From 96 to 104: 9 parts of 1, two thirds of which are 6.
        let parts: Vec<u64> = (96..=104).collect();
        let trend = Trend::of(&parts).expect("enough parts");
        assert!((trend.change - 0.06).abs() < 1e-9 && trend.uncertain < 1e-9, "{trend}");
    }

    #[test]
    fn what_scatters_around_a_level_is_steady_and_what_falls_is_not() {
        assert!(is_steady(&[100, 80, 110, 95, 105, 85, 115, 100, 90, 105]));
        assert!(is_steady(&[100, 99, 98, 97, 96, 95, 94, 93, 92, 91]));
        assert!(!is_steady(&[100, 97, 95, 92, 90, 87, 84, 82, 79, 77]));
        assert!(is_steady(&[60, 140, 60, 140, 100, 100, 140, 60, 130, 60]), "nobody can tell");
        assert!(!is_steady(&[200, 20, 200, 20, 200, 20, 80, 20, 80, 20]), "it is too much for any excuse");
    }

    #[test]
    fn nothing_is_no_trend() {
        assert_eq!(Trend::of(&[1, 2, 3]), None);
        assert_eq!(Trend::of(&[0; 9]), None);
    }
}
