//! `mem diff A B`: two memory reports as `kausal memory DB --json` exports them, node by node.
//!
//! 1. Events, if both reports have them (`--events`): two runs of one program are alike up to the first that differs, which is
//!    where they part.
//! 2. Nodes, told apart by the names from the top down to them. The deepest node of the first path that differs is named
//!    first: a parent differs whenever its child does, and tells less.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::failure::{AtPath, Failure};

/// A node's path and the figures that are compared.
type Node = (String, [(&'static str, u64); 5]);

const FIGURES: [&str; 5] = ["used", "reserved", "floor", "limit", "peak"];

/// Prints what differs between two exported reports.
///
/// # Errors
///
/// [`Failure`] if they differ, cannot be read or are no reports.
pub(crate) fn diff(left: &Path, right: &Path) -> Result<(), Failure> {
    let (left, right) = (read(left)?, read(right)?);
    let parting = parting(&left.events, &right.events);
    let differences: Vec<String> =
        parting.into_iter().chain(differences(&left.nodes, &right.nodes)).collect();
    differences.iter().for_each(|line| println!("{line}"));
    match differences.first() {
        Some(first) => Err(Failure::other(format!("the reports differ, first in {first}"))),
        None => {
            println!("mem: no difference");
            Ok(())
        }
    }
}

fn read(path: &Path) -> Result<Report, Failure> {
    let text = fs::read_to_string(path).at("read", path)?;
    report(&text).ok_or_else(|| {
        Failure::other(format!("{} is no report; `kausal memory DB --json` prints one", path.display()))
    })
}

/// What is compared of a report.
struct Report {
    nodes: Vec<Node>,
    /// The last events, oldest first, each with its number.
    events: Vec<(u64, String)>,
}

fn report(text: &str) -> Option<Report> {
    let report: Value = serde_json::from_str(text).ok()?;
    let events = report["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let events = events.iter().map(event).collect::<Option<_>>()?;
    Some(Report { nodes: nodes(&report)?, events })
}

/// An event in words, with all that it says but its number.
fn event(event: &Value) -> Option<(u64, String)> {
    let figures = ["bytes", "have", "asked", "used", "limit"];
    let told = figures.iter().filter_map(|&name| Some(format!("{name} {}", event[name].as_u64()?)));
    let figures: Vec<_> = told.collect();
    let (node, kind) = (event["node"].as_str()?, event["kind"].as_str()?);
    Some((event["number"].as_u64()?, format!("{node} {kind}, {}", figures.join(", "))))
}

/// The first event, of those that both rings still have, in which two runs differ.
fn parting(left: &[(u64, String)], right: &[(u64, String)]) -> Option<String> {
    let (oldest_left, oldest_right) = (left.first()?.0, right.first()?.0);
    let oldest = oldest_left.max(oldest_right);
    let since = |events: &'_ [(u64, String)]| events.partition_point(|event| event.0 < oldest);
    let (left, right) = (&left[since(left)..], &right[since(right)..]);
    let alike = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    match (left.get(alike), right.get(alike)) {
        (None, None) => None,
        (Some((number, left)), Some((_, right))) => Some(format!("event {number}: {left}; then {right}")),
        (Some((number, left)), None) => Some(format!("event {number}: {left}; only in the first")),
        (None, Some((number, right))) => Some(format!("event {number}: {right}; only in the second")),
    }
}

fn nodes(report: &Value) -> Option<Vec<Node>> {
    let mut above: Vec<String> = Vec::new();
    let mut nodes = Vec::new();
    for node in report["nodes"].as_array()? {
        above.truncate(node["depth"].as_u64()? as usize);
        above.push(node["name"].as_str()?.to_owned());
        let figures = FIGURES.map(|name| (name, node[name].as_u64().unwrap_or(0)));
        nodes.push((above.join("/"), figures));
    }
    Some(nodes)
}

/// A line for each difference: changed nodes in order, a node before the ones above it; then those that only one has.
fn differences(left: &[Node], right: &[Node]) -> Vec<String> {
    let find = |nodes: &[Node], path: &str| nodes.iter().position(|node| node.0 == path);
    let mut changed: Vec<(&str, String)> = Vec::new();
    let mut apart = Vec::new();
    for (path, figures) in left {
        let Some(place) = find(right, path) else {
            apart.push(format!("{path}: only in the first"));
            continue;
        };
        let pairs = figures.iter().zip(&right[place].1).filter(|(left, right)| left.1 != right.1);
        let figures: Vec<_> =
            pairs.map(|(left, right)| format!("{} {} then {}", left.0, left.1, right.1)).collect();
        if figures.is_empty() {
            continue;
        }
        // Before the nodes above it, which come earlier in a report.
        let above = changed.iter().position(|(above, _)| path.starts_with(&format!("{above}/")));
        let line = format!("{path}: {}", figures.join(", "));
        changed.insert(above.unwrap_or(changed.len()), (path, line));
    }
    let added = right.iter().filter(|node| find(left, &node.0).is_none());
    apart.extend(added.map(|(path, _)| format!("{path}: only in the second")));
    changed.into_iter().map(|(_, line)| line).chain(apart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cache: u64, more: &str) -> String {
        format!(
            "{{\"nodes\":[{{\"name\":\"database\",\"depth\":0,\"used\":{}}},{{\"name\":\"cache\",\"depth\":1,\"used\":{cache}}},\
             {{\"name\":\"data\",\"depth\":2,\"used\":{cache}}},{{\"name\":\"wal\",\"depth\":1,\"used\":4}}{more}]}}",
            cache + 4
        )
    }

    #[test]
    fn the_deepest_node_that_differs_comes_first() {
        let nodes = |text: &str| super::report(text).expect("a report").nodes;
        let (before, after) = (nodes(&report(10, "")), nodes(&report(30, "")));
        assert_eq!(
            differences(&before, &after),
            [
                "database/cache/data: used 10 then 30",
                "database/cache: used 10 then 30",
                "database: used 14 then 34"
            ]
        );
        assert!(differences(&before, &before).is_empty());
        let more = nodes(&report(10, ",{\"name\":\"pins\",\"depth\":1,\"used\":0}"));
        assert_eq!(differences(&before, &more), ["database/pins: only in the second"]);
        assert_eq!(differences(&more, &before), ["database/pins: only in the first"]);
        assert!(super::report("{}").is_none());
    }

    #[test]
    fn the_first_event_that_differs_is_where_two_runs_part() {
        let events = |first: u64, bytes: &[u64]| {
            let event = |(number, bytes): (u64, &u64)| {
                format!(
                    "{{\"number\":{number},\"node\":\"cache\",\"kind\":\"grew\",\"bytes\":{bytes},\"have\":null,\"used\":9}}"
                )
            };
            let events: Vec<_> = (first..).zip(bytes).map(event).collect();
            let text = format!("{{\"nodes\":[],\"events\":[{}]}}", events.join(","));
            super::report(&text).expect("a report").events
        };
        let run = events(5, &[10, 20, 30]);
        assert_eq!(parting(&run, &run), None);
        assert_eq!(
            parting(&run, &events(5, &[10, 21, 31])).as_deref(),
            Some("event 6: cache grew, bytes 20, used 9; then cache grew, bytes 21, used 9")
        );
        // What only one ring still has says nothing.
        assert_eq!(parting(&run, &events(6, &[20, 30])), None);
        assert_eq!(
            parting(&events(6, &[20]), &run).as_deref(),
            Some("event 7: cache grew, bytes 30, used 9; only in the second")
        );
        assert_eq!(
            parting(&run, &events(9, &[1])).as_deref(),
            Some("event 9: cache grew, bytes 1, used 9; only in the second")
        );
        assert_eq!(parting(&run, &[]), None, "a report without events");
    }
}
