//! The table of ratios: a row for each workload, the best of it 1, the others in ratio to it.

use std::fmt::Write as _;

use crate::row::{Better, Grade, Row};
use crate::text::number;

use super::compare::workload;
use super::stores::{MAPPED, NAMES, OURS};

/// What stands in the table: title, workload, metric.
const LINES: &[(&str, &str, &str)] = &[
    ("fillseq", "fillseq", "rate"),
    ("fillrandom", "fillrandom", "rate"),
    ("overwrite", "overwrite", "rate"),
    ("delete all", "deleterandom", "rate"),
    ("fillseq + settle", "fillseq", "rate_with_settle"),
    ("fillrandom + settle", "fillrandom", "rate_with_settle"),
    ("overwrite + settle", "overwrite", "rate_with_settle"),
    ("delete all + settle", "deleterandom", "rate_with_settle"),
    ("fillbatch (100 an atomic commit)", "fillbatch", "rate"),
    ("put, 2 threads", "put/2", "rate"),
    ("put, 4 threads", "put/4", "rate"),
    ("fillsync, 1 thread", "fillsync/1", "rate"),
    ("fillsync, 4 threads", "fillsync/4", "rate"),
    ("fillsync, 16 threads", "fillsync/16", "rate"),
    ("bulk load, sorted", "load", "rate"),
    ("1 KiB fillrandom", "fill1k", "rate"),
    ("readrandom, all in cache", "readrandom/cached", "rate"),
    ("readrandom, cache = ¼ of the data", "readrandom/quarter", "rate"),
    ("readmissing", "readmissing", "rate"),
    ("seek + 10 next", "seekrandom", "rate"),
    ("scan, entries", "readseq", "rate"),
    ("readwhilewriting", "readwhilewriting", "rate"),
    ("YCSB A", "ycsb_a", "rate"),
    ("YCSB B", "ycsb_b", "rate"),
    ("YCSB E", "ycsb_e", "rate"),
    ("open after a kill, µs per entry", "open", "per_entry"),
    ("open ÷ reading, checksumming and inserting the log", "open", "of_floor"),
    ("lost with the kill, percent", "open", "lost"),
    ("CPU µs per put, background included", "fillrandom", "cpu"),
    ("slowest put, µs", "latency/put", "slowest"),
    ("put at a fixed pace, 99.9 %, µs", "latency/paced", "p99_9"),
    ("own memory ÷ budget, fillrandom", "fillrandom", "memory"),
    ("mapped files in memory, MiB", "fillrandom", "mapped_files"),
    ("bytes on the disk per user byte", "fillrandom", "disk"),
    ("bytes written per user byte", "fillrandom", "bytes_written"),
];

/// Stands below a table that has a column of [`MAPPED`].
const MAPPED_NOTE: &str = "\n`kausal-mapped` is kausal with mapped tables. As with heed (LMDB), the pages of its files are the kernel's \
                           and come on top of its memory; it is nobody's peer, and never the best of a row.\n";

/// The table of `rows`, as Markdown; nothing if there is none of this benchmark among them.
pub fn shown(rows: &[Row]) -> String {
    let is_there = |name: &&str| rows.iter().any(|row| row.subject == *name);
    let names: Vec<&str> = NAMES.into_iter().chain([MAPPED]).filter(is_there).collect();
    let mut out = format!("| workload | best | {} | targets |\n", names.join(" | "));
    out += &"|---".repeat(names.len() + 3);
    out += "|\n";
    for &(title, of, metric) in LINES {
        let of_line: Vec<&Row> =
            rows.iter().filter(|row| workload(row) == of && row.metric == metric).collect();
        if !of_line.is_empty() {
            line(&mut out, title, &names, &of_line);
        }
    }
    if names.contains(&MAPPED) {
        out += MAPPED_NOTE;
    }
    out
}

fn line(out: &mut String, title: &str, names: &[&str], rows: &[&Row]) {
    let plain = |name: &&str| rows.iter().find(|row| row.peer.is_none() && row.subject == **name);
    let better = rows[0].better;
    let best =
        names.iter().filter(|name| **name != MAPPED).filter_map(plain).reduce(|best, row| match better {
            Better::Higher if row.value > best.value => row,
            Better::Lower if row.value < best.value => row,
            _ => best,
        });
    let Some(best) = best else { return };
    let best_cell = match better {
        Better::Higher => format!("{} {} k{}", best.subject, number(best.value / 1e3), best.unit),
        Better::Lower => best.subject.clone(),
    };
    let cells: Vec<String> = names
        .iter()
        .map(|name| match (plain(name), better) {
            (None, _) => String::new(),
            (Some(row), Better::Higher) => format!("{:.2}", row.value / best.value),
            (Some(row), Better::Lower) => number(row.value),
        })
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "| {title} | {best_cell} | {} | {} |", cells.join(" | "), verdicts(rows));
}

/// `4.10 × best of all: fjall (must 3.00: met)`
fn verdicts(rows: &[&Row]) -> String {
    let of = |row: &&&Row| [OURS, MAPPED].contains(&row.subject.as_str()) && row.target.is_some();
    let told: Vec<String> = rows
        .iter()
        .filter(of)
        .map(|row| {
            let side = match (&row.peer, row.ratio) {
                (Some(peer), Some(ratio)) => format!("{} × {peer}", number(ratio)),
                _ => number(row.value),
            };
            let grade = if row.grade == Some(Grade::Stretch) { "stretch" } else { "must" };
            let met = if row.is_met() == Some(true) { "met" } else { "**missed**" };
            let who = if row.subject == MAPPED { "mapped: " } else { "" };
            format!("{who}{side} ({grade} {}: {met})", row.target.map_or(String::new(), number))
        })
        .collect();
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::compare::judge;

    #[test]
    fn the_best_is_one_and_the_others_are_in_ratio_to_it() {
        let rate = |name: &str, value| Row::higher("fillseq/9", name, "rate", value, "/s");
        let mut rows = vec![rate(OURS, 50_000.0), rate("fjall", 200_000.0)];
        judge(&mut rows);
        let table = shown(&rows);
        let want = "| fillseq | fjall 200 k/s | 0.25 | 1.00 | 0.250 × best of all: fjall (must 3.00: **missed**); \
                    0.250 × best of all: fjall (stretch 5.00: **missed**) |";
        assert!(table.contains(want), "{table}");
    }

    #[test]
    fn what_should_be_small_stands_as_it_is() {
        let slowest = |name: &str, value| Row::lower("latency/put/9", name, "slowest", value, "us");
        let table = shown(&[slowest(OURS, 50.0), slowest("fjall", 2000.0)]);
        assert!(table.contains("| slowest put, µs | kausal | 50.0 | 2000 |  |"), "{table}");
    }

    #[test]
    fn mapped_tables_have_a_column_a_note_and_never_the_best_of_a_row() {
        let rate = |name: &str, value| Row::higher("readrandom/quarter/9", name, "rate", value, "/s");
        let mut rows = vec![rate(OURS, 50_000.0), rate("heed", 100_000.0), rate(MAPPED, 200_000.0)];
        judge(&mut rows);
        let table = shown(&rows);
        assert!(table.contains("| heed 100 k/s | 0.50 | 1.00 | 2.00 |"), "{table}");
        assert!(table.contains("mapped: 2.00 × heed (stretch 1.10: met)"), "{table}");
        assert!(table.ends_with(MAPPED_NOTE));
    }

    #[test]
    fn who_did_not_measure_has_an_empty_cell() {
        let mut rows = vec![Row::higher("fillseq/9", OURS, "rate", 1e6, "/s")];
        rows.push(Row::higher("readseq/9", "redb", "rate", 1e6, "/s"));
        let table = shown(&rows);
        assert!(table.contains("| fillseq | kausal 1000 k/s | 1.00 |  |"), "{table}");
    }
}
