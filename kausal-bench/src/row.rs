//! A row: one measured number, and what it says against a peer. The schema is in the README of this crate.

use serde::{Deserialize, Serialize};

/// Which direction of `value` is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Times, bytes, faults.
    Lower,
    /// Rates.
    Higher,
}

/// Whether a target has to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It has to.
    Must,
    /// It may be missed, with an explanation.
    Stretch,
}

/// One line of a result. Field for field what `--json` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was done, with its size: `allocate/16/1000`.
    pub workload: String,
    /// Who did it.
    pub subject: String,
    /// What was measured: `ns_per_object`.
    pub metric: String,
    /// Median of the samples, in `unit`.
    pub value: f64,
    /// Unit of `value`.
    pub unit: String,
    /// Who the subject is compared with, or null in a row that compares nothing.
    pub peer: Option<String>,
    /// How many times better the subject is than the peer, in the direction of `better`: larger is better for us.
    pub ratio: Option<f64>,
    /// Which direction of `value` is good.
    pub better: Better,
    /// With a peer: the least `ratio` that is good enough. Without: the worst `value` that is.
    pub target: Option<f64>,
    /// Whether the target has to be met, where a benchmark knows both kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// Whether it is met, where there is a `grade`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Row {
    /// A number on its own, of which less is better.
    pub fn lower(workload: &str, subject: &str, metric: &str, value: f64, unit: &str) -> Self {
        Self {
            workload: workload.into(),
            subject: subject.into(),
            metric: metric.into(),
            value,
            unit: unit.into(),
            peer: None,
            ratio: None,
            better: Better::Lower,
            target: None,
            grade: None,
            met: None,
        }
    }

    /// A number on its own, of which more is better.
    pub fn higher(workload: &str, subject: &str, metric: &str, value: f64, unit: &str) -> Self {
        Self { better: Better::Higher, ..Self::lower(workload, subject, metric, value, unit) }
    }

    /// This row compared with `peer`, which measured the same.
    #[must_use]
    pub fn against(&self, peer: &Self, target: Option<f64>) -> Self {
        let (ours, theirs) = (self.value.max(f64::MIN_POSITIVE), peer.value.max(f64::MIN_POSITIVE));
        let ratio = match self.better {
            Better::Lower => theirs / ours,
            Better::Higher => ours / theirs,
        };
        let peer = Some(peer.subject.clone());
        Self { peer, ratio: Some(ratio), target, grade: None, met: None, ..self.clone() }
    }

    /// This row with a target for its own value.
    #[must_use]
    pub fn with_target(self, target: f64) -> Self {
        Self { target: Some(target), ..self }
    }

    /// This row, which has a target, with its grade, and with whether it is met.
    #[must_use]
    pub fn graded(self, grade: Grade) -> Self {
        Self { grade: Some(grade), met: self.is_met(), ..self }
    }

    /// Whether the target is met; `None` without one.
    pub fn is_met(&self) -> Option<bool> {
        let target = self.target?;
        Some(match (self.ratio, self.better) {
            (Some(ratio), _) => ratio >= target,
            (None, Better::Lower) => self.value <= target,
            (None, Better::Higher) => self.value >= target,
        })
    }

    /// What the peer measured, computed back from the ratio.
    pub fn peer_value(&self) -> Option<f64> {
        Some(match self.better {
            Better::Lower => self.value * self.ratio?,
            Better::Higher => self.value / self.ratio?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_larger_when_we_are_better_in_either_direction() {
        let (ours, theirs) = (Row::lower("w", "a", "m", 2.0, "ns"), Row::lower("w", "b", "m", 8.0, "ns"));
        assert_eq!(ours.against(&theirs, None).ratio, Some(4.0));
        let (ours, theirs) = (Row::higher("w", "a", "m", 2.0, "/s"), Row::higher("w", "b", "m", 8.0, "/s"));
        let row = ours.against(&theirs, Some(0.5));
        assert_eq!((row.ratio, row.is_met(), row.peer_value()), (Some(0.25), Some(false), Some(8.0)));
    }

    #[test]
    fn a_target_without_a_peer_is_for_the_value() {
        assert_eq!(Row::lower("w", "a", "m", 2.0, "ns").with_target(2.0).is_met(), Some(true));
        assert_eq!(Row::higher("w", "a", "m", 2.0, "/s").with_target(3.0).is_met(), Some(false));
        assert_eq!(Row::lower("w", "a", "m", 2.0, "ns").is_met(), None);
    }
}
