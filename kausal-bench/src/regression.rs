//! What became worse since an earlier run: ratios, never times, because only they can be compared between runs.

use std::fmt::Write as _;

use crate::row::Row;
use crate::text::number;

/// A ratio that is smaller by more than this share is told. Two runs of the same code on a shared machine often differ by less.
const TOLERANCE: f64 = 0.15;

/// Which of the ratios in `after` are worse than in `before`, and which targets were met then and are missed now.
pub fn shown(before: &[Row], after: &[Row]) -> String {
    let mut out = String::new();
    let (mut compared, mut worse) = (0, 0);
    for row in after {
        let Some(earlier) = before.iter().find(|earlier| is_same(earlier, row)) else { continue };
        let (Some(then), Some(now)) = (measure(earlier), measure(row)) else { continue };
        compared += 1;
        let is_lost = earlier.is_met() == Some(true) && row.is_met() == Some(false);
        if !is_lost && now >= then * (1.0 - TOLERANCE) {
            continue;
        }
        worse += 1;
        let against = row.peer.as_deref().unwrap_or("its target");
        let lost = if is_lost { ", target missed now" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "  WORSE {} {} {} against {against}: {} before, {} now{lost}",
            row.workload,
            row.subject,
            row.metric,
            number(then),
            number(now)
        );
    }
    format!("compared with the earlier run: {compared} ratios, {worse} worse\n{out}")
}

/// Whether both rows measured the same. Whoever is the best of a row may change.
fn is_same(earlier: &Row, row: &Row) -> bool {
    let kind = |row: &Row| row.peer.as_ref().map(|peer| peer.split(':').next().unwrap_or(peer).to_owned());
    (&earlier.workload, &earlier.subject, &earlier.metric) == (&row.workload, &row.subject, &row.metric)
        && kind(earlier) == kind(row)
        && earlier.target == row.target
}

/// What can be compared between runs, larger being better: a ratio, or how far within its target a number is.
fn measure(row: &Row) -> Option<f64> {
    row.ratio.or_else(|| {
        let target = row.target?.max(f64::MIN_POSITIVE);
        Some(target / row.value.max(f64::MIN_POSITIVE)).filter(|_| row.better == crate::row::Better::Lower)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(rate: f64, target: Option<f64>) -> Row {
        let theirs = Row::higher("w/1", "best", "rate", 10.0, "/s");
        Row::higher("w/1", "ours", "rate", rate, "/s").against(&theirs, target)
    }

    #[test]
    fn a_ratio_that_fell_is_named_with_both_sides() {
        let told = shown(&[ratio(40.0, None)], &[ratio(30.0, None)]);
        assert!(told.starts_with("compared with the earlier run: 1 ratios, 1 worse\n"), "{told}");
        assert!(told.contains("WORSE w/1 ours rate against best: 4.00 before, 3.00 now"), "{told}");
    }

    #[test]
    fn noise_is_no_regression_but_a_lost_target_is() {
        assert!(shown(&[ratio(40.0, None)], &[ratio(36.0, None)]).contains("0 worse"));
        let told = shown(&[ratio(40.0, Some(3.9))], &[ratio(38.0, Some(3.9))]);
        assert!(told.contains("3.80 now, target missed now"), "{told}");
    }

    #[test]
    fn what_was_not_measured_then_is_not_compared() {
        assert!(shown(&[], &[ratio(1.0, None)]).contains("0 ratios, 0 worse"));
    }
}
