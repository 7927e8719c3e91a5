//! A result as text for people: who measured what, and how that compares.

use std::fmt::{self, Write as _};

use crate::row::Row;

/// All numbers of `rows`, by workload, then the comparisons, each with its verdict where there is a target.
pub fn shown(rows: &[Row]) -> String {
    let mut out = String::new();
    for workload in distinct(rows.iter().map(|row| row.workload.as_str())) {
        let of_workload: Vec<&Row> = rows.iter().filter(|row| row.workload == workload).collect();
        // Writing to a string cannot fail.
        let _ = matrix(&mut out, workload, &of_workload);
        let _ = comparisons(&mut out, &of_workload);
    }
    out
}

/// The verdicts of `rows`: how many targets are met, and which are missed.
pub fn verdict(rows: &[Row]) -> String {
    let missed: Vec<&Row> = rows.iter().filter(|row| row.is_met() == Some(false)).collect();
    let met = rows.iter().filter(|row| row.is_met() == Some(true)).count();
    let mut out = format!("targets: {met} met, {} MISSED\n", missed.len());
    for row in missed {
        let _ = writeln!(out, "  MISSED {} {} {}", row.workload, row.subject, comparison(row));
    }
    out
}

/// `value` with about three significant digits.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

fn matrix(out: &mut String, workload: &str, rows: &[&Row]) -> fmt::Result {
    let subjects = distinct(rows.iter().map(|row| row.subject.as_str()));
    let metrics = distinct(rows.iter().map(|row| row.metric.as_str()));
    let unit = |metric: &str| rows.iter().find(|row| row.metric == metric).map_or("", |row| &row.unit);
    writeln!(out, "\n{workload}")?;
    let heads: Vec<String> = metrics.iter().map(|metric| format!("{metric} [{}]", unit(metric))).collect();
    let name_width = subjects.iter().map(|name| name.len()).max().unwrap_or(0);
    write!(out, "  {:name_width$}", "")?;
    heads.iter().try_for_each(|head| write!(out, "  {head:>9}"))?;
    writeln!(out)?;
    for subject in subjects {
        write!(out, "  {subject:name_width$}")?;
        for (metric, head) in metrics.iter().zip(&heads) {
            let row = rows.iter().find(|row| row.subject == subject && row.metric == *metric);
            let cell = row.map_or("-".into(), |row| number(row.value));
            write!(out, "  {cell:>width$}", width = head.len().max(9))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn comparisons(out: &mut String, rows: &[&Row]) -> fmt::Result {
    for subject in distinct(rows.iter().map(|row| row.subject.as_str())) {
        for metric in distinct(rows.iter().map(|row| row.metric.as_str())) {
            let told: Vec<String> = rows
                .iter()
                .filter(|row| row.subject == subject && row.metric == metric)
                .filter(|row| row.peer.is_some() || row.target.is_some())
                .map(|row| comparison(row))
                .collect();
            if !told.is_empty() {
                writeln!(out, "    {subject} {metric}: {}", told.join("; "))?;
            }
        }
    }
    Ok(())
}

/// `4.10x bumpalo (want 0.91: met)`
fn comparison(row: &Row) -> String {
    let mut told = match (&row.peer, row.ratio) {
        (Some(peer), Some(ratio)) => format!("{}x {peer}", number(ratio)),
        _ => format!("{} {}", number(row.value), row.unit),
    };
    if let (Some(target), Some(met)) = (row.target, row.is_met()) {
        let _ = write!(told, " (want {}: {})", number(target), if met { "met" } else { "MISSED" });
    }
    told
}

/// The distinct words in the order of their first appearance.
pub fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_named_in_table_and_verdict() {
        let ours = Row::lower("w/1", "ours", "ns", 10.0, "ns");
        let peer = Row::lower("w/1", "peer", "ns", 20.0, "ns");
        let rows = [ours.against(&peer, Some(3.0)), peer];
        let table = shown(&rows);
        assert!(table.contains("ours ns: 2.00x peer (want 3.00: MISSED)"), "{table}");
        assert!(table.contains("20.0"), "{table}");
        assert!(verdict(&rows).starts_with("targets: 0 met, 1 MISSED\n"));
    }
}
