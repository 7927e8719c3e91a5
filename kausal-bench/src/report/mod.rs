//! The record as one file for a browser: what the Markdown says, and plots of it. It needs no other file and no network.
//!
//! Not here: what a record says; that is [`record`](crate::record)'s. Each plot is a function of rows in a room of its own,
//! and left out where there are no rows for it.

mod course;
mod latency;
mod throughput;

use std::error::Error;
use std::fmt::Write as _;

use pulldown_cmark::{Options, Parser, html};

use crate::index::plot as growth;
use crate::row::Row;

/// Which rows it takes to have a plot, what it shows, who draws it.
type Plot = (fn(&Row) -> bool, &'static str, fn(&[Row]) -> Result<String, Box<dyn Error>>);

const PLOTS: [Plot; 4] = [
    (throughput::is_shown, "Throughput, the best of each workload being 1", throughput::drawn),
    (
        latency::is_shown,
        "Time of a put, as fast as it goes and at a given pace, by share of puts",
        latency::drawn,
    ),
    (course::is_shown, "Own memory in the course of fillrandom, in budgets", course::drawn),
    (is_growth, "Cost by number of entries", growth::drawn),
];

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;display:block;overflow-x:auto;font-size:13px}\
td,th{border:1px solid #ccc;padding:2px 8px;text-align:left;white-space:nowrap}\
pre{background:#f4f4f4;padding:.8rem;overflow-x:auto}\
figure{margin:2rem 0}figcaption{font-weight:600;margin-bottom:.5rem}svg{max-width:100%;height:auto}";

/// `record`, which is Markdown, under `title`, with plots of `rows`.
///
/// # Errors
///
/// Whatever keeps a plot from being drawn.
pub fn page(title: &str, record: &str, rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    // Writing to a string cannot fail.
    let _ = writeln!(out, "<title>{title}</title><style>{STYLE}</style></head><body>");
    for (is_shown, caption, drawn) in PLOTS {
        if rows.iter().any(is_shown) {
            let _ = writeln!(out, "<figure><figcaption>{caption}</figcaption>\n{}</figure>", drawn(rows)?);
        }
    }
    html::push_html(&mut out, Parser::new_ext(record, Options::ENABLE_TABLES));
    out += "</body></html>\n";
    Ok(out)
}

fn is_growth(row: &Row) -> bool {
    growth::entries_of(row).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let mut rows = Vec::new();
        for (name, rate, slowest) in [("kausal", 9e5, 40.0), ("fjall", 3e5, 900.0)] {
            rows.push(Row::higher("fillseq/9", name, "rate", rate, "/s"));
            for metric in ["p50", "p99", "p99_9", "slowest"] {
                rows.push(Row::lower("latency/put/9", name, metric, slowest, "us"));
            }
            rows.push(Row::lower("fillrandom/9", name, "memory_at_50", 0.5, "of budget"));
            rows.push(Row::lower("fillrandom/9", name, "memory_at_100", 0.7, "of budget"));
        }
        rows
    }

    #[test]
    fn a_page_has_a_plot_for_all_it_has_rows_of_and_needs_no_other_file() {
        let page = page("t", "| a | b |\n|---|---|\n| 1 | 2 |\n", &rows()).expect("it is drawn");
        assert_eq!(page.matches("<svg").count(), 3, "no growth among them");
        assert!(page.contains("<td>1</td>") && page.contains("fillseq"));
        assert!(!page.contains("href=") && !page.contains("src="), "it stands alone");
    }

    #[test]
    fn without_rows_there_is_text() {
        let page = page("t", "*nothing*", &[]).expect("there is nothing to draw");
        assert!(page.contains("<em>nothing</em>") && !page.contains("<svg"));
    }
}
