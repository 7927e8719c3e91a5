//! `mem diff A B`: two memory reports as `kausal memory DB --json` exports them, node by node.
//!
//! Nodes are told apart by the names from the top down to them. The deepest node of the first path that differs is
//! named first: a parent differs whenever its child does, and tells less.

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
    let differences = differences(&read(left)?, &read(right)?);
    differences.iter().for_each(|line| println!("{line}"));
    match differences.first() {
        Some(first) => Err(Failure::other(format!("the reports differ, first in {first}"))),
        None => {
            println!("mem: no difference");
            Ok(())
        }
    }
}

fn read(path: &Path) -> Result<Vec<Node>, Failure> {
    let text = fs::read_to_string(path).at("read", path)?;
    nodes(&text).ok_or_else(|| {
        Failure::other(format!("{} is no report; `kausal memory DB --json` prints one", path.display()))
    })
}

fn nodes(text: &str) -> Option<Vec<Node>> {
    let report: Value = serde_json::from_str(text).ok()?;
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
        let nodes = |text: &str| nodes(text).expect("a report");
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
        assert!(super::nodes("{}").is_none());
    }
}
