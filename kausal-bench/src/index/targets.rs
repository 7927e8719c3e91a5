//! What the indexes are held to, with a million entries: against peers, against each other, against themselves.
//!
//! A target that compares two numbers of one run is a row of its own, so that a record shows both sides of it.

use crate::row::Row;

/// What a number is compared with.
#[derive(Clone, Copy, Debug)]
enum With {
    /// The same metric of another subject in the same workload.
    Subject(&'static str),
    /// Another metric, of any subject, in the same workload.
    Metric(&'static str, &'static str),
    /// The same metric of the same subject with other keys.
    Keys(&'static str),
    /// The same metric of every peer.
    EveryPeer,
    /// Nothing: the number itself is bounded.
    Bound,
}

use With::{Bound, EveryPeer, Keys, Metric, Subject};

const RANDOM: &str = "random_16";
const TREE: &str = "TreeIndex";
const SKIP_MAP: &str = "crossbeam SkipMap";

/// Keys, subject, metric, what it is compared with; the least ratio, or the largest number.
type Target = (&'static str, &'static str, &'static str, With, f64);

const TARGETS: &[Target] = &[
    (RANDOM, TREE, "insert", Subject(SKIP_MAP), 6.0),
    (RANDOM, TREE, "get_hit", Subject(SKIP_MAP), 5.5),
    (RANDOM, TREE, "insert", Subject("rart"), 1.0),
    (RANDOM, TREE, "get_hit", Subject("rart"), 0.75),
    (RANDOM, TREE, "scan", Subject(SKIP_MAP), 10.0),
    (RANDOM, TREE, "scan", Subject("BTreeMap"), 2.5),
    (RANDOM, TREE, "get_beside_writer", Metric(TREE, "get_hit"), 0.75),
    (RANDOM, TREE, "insert_2t", Metric(TREE, "insert"), 1.3),
    ("common_8", TREE, "insert", Keys(RANDOM), 1.0 / 1.3),
    ("common_8", TREE, "get_hit", Keys(RANDOM), 1.0 / 1.3),
    ("common_16", TREE, "insert", Keys(RANDOM), 1.0 / 1.3),
    ("common_16", TREE, "get_hit", Keys(RANDOM), 1.0 / 1.3),
    ("paths", TREE, "insert", Keys(RANDOM), 1.0 / 1.3),
    ("paths", TREE, "get_hit", Keys(RANDOM), 1.0 / 1.3),
    (RANDOM, "ArtIndex", "insert", Subject("rart"), 1.0),
    (RANDOM, "ArtIndex", "get_hit", Subject("rart"), 1.0),
    (RANDOM, "ArtIndex", "seek_10", Subject(TREE), 0.8),
    ("paths", "ArtIndex", "overhead", EveryPeer, 1.0),
    (RANDOM, "HashIndex", "get_hit", Subject("papaya HashMap"), 1.2),
    (RANDOM, "HashIndex", "get_many", Subject(TREE), 3.0),
    (RANDOM, "HashIndex", "get_hit", Subject(TREE), 2.0),
    (RANDOM, "HashIndex", "insert", Subject(TREE), 2.0),
    (RANDOM, "HashIndex", "freeze", Metric("BTreeMap", "insert"), 6.0),
    (RANDOM, "SkipListIndex", "insert", Subject(SKIP_MAP), 1.7),
    (RANDOM, "SkipListIndex", "get_hit", Subject(SKIP_MAP), 1.7),
    (RANDOM, "SkipListIndex", "insert_2t", Subject(SKIP_MAP), 1.5),
    (RANDOM, TREE, "overhead", Bound, 40.0),
    (RANDOM, "SkipListIndex", "overhead", Bound, 32.0),
];

/// The number of entries at which targets hold.
const ENTRIES: usize = 1_000_000;

/// Puts targets on the rows that have one, and adds the rows for those that compare what no row compares.
pub fn judge(rows: &mut Vec<Row>) {
    for target in TARGETS {
        let added: Vec<Row> = judged(rows, *target).collect();
        rows.retain(|row| !added.iter().any(|new| is_same(row, new)));
        rows.extend(added);
    }
}

fn judged(rows: &[Row], (keys, subject, metric, with, bound): Target) -> impl Iterator<Item = Row> {
    let workload = format!("{keys}/{ENTRIES}");
    let own = plain(rows, &workload, subject, metric).cloned();
    let theirs: Vec<Row> = match with {
        Subject(peer) => plain(rows, &workload, peer, metric).cloned().into_iter().collect(),
        Metric(peer, other) => named(plain(rows, &workload, peer, other), |row| {
            let who = if peer == subject { String::new() } else { format!("{peer} ") };
            format!("{who}{}", row.metric)
        }),
        Keys(other) => {
            named(plain(rows, &format!("{other}/{ENTRIES}"), subject, metric), |_| format!("with {other}"))
        }
        EveryPeer => {
            let compared = rows
                .iter()
                .filter(|row| row.workload == workload && row.subject == subject && row.metric == metric);
            let peers = compared.filter_map(|row| row.peer.as_deref());
            peers.filter_map(|peer| plain(rows, &workload, peer, metric)).cloned().collect()
        }
        Bound => return own.map(|row| row.with_target(bound)).into_iter().collect::<Vec<_>>().into_iter(),
    };
    let compared = own.iter().flat_map(|own| theirs.iter().map(|peer| own.against(peer, Some(bound))));
    compared.collect::<Vec<_>>().into_iter()
}

/// The row under another name, as the peer of a comparison.
fn named(row: Option<&Row>, name: impl Fn(&Row) -> String) -> Vec<Row> {
    row.map(|row| Row { subject: name(row), ..row.clone() }).into_iter().collect()
}

/// What was measured, compared with nobody.
fn plain<'r>(rows: &'r [Row], workload: &str, subject: &str, metric: &str) -> Option<&'r Row> {
    rows.iter().find(|row| {
        row.peer.is_none() && row.workload == workload && row.subject == subject && row.metric == metric
    })
}

fn is_same(row: &Row, other: &Row) -> bool {
    (&row.workload, &row.subject, &row.metric, &row.peer)
        == (&other.workload, &other.subject, &other.metric, &other.peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workload: &str, subject: &str, metric: &str, value: f64) -> Row {
        Row::lower(workload, subject, metric, value, "ns")
    }

    #[test]
    fn a_target_is_put_on_what_was_compared_and_on_what_was_not() {
        let workload = "random_16/1000000";
        let tree = row(workload, TREE, "insert", 100.0);
        let skip_map = row(workload, SKIP_MAP, "insert", 590.0);
        let two = row(workload, TREE, "insert_2t", 50.0);
        let mut rows = vec![tree.clone(), skip_map.clone(), two, tree.against(&skip_map, None)];
        judge(&mut rows);
        let judged: Vec<_> = rows.iter().filter_map(|row| Some((row.peer.clone(), row.is_met()?))).collect();
        assert_eq!(judged, [(Some(SKIP_MAP.into()), false), (Some("insert".into()), true)]);
    }

    #[test]
    fn keys_are_compared_across_workloads_and_judging_twice_changes_nothing() {
        let mut rows = vec![
            row("random_16/1000000", TREE, "get_hit", 100.0),
            row("paths/1000000", TREE, "get_hit", 131.0),
            row("random_16/1000000", TREE, "overhead", 39.0),
        ];
        judge(&mut rows);
        let once = rows.clone();
        judge(&mut rows);
        assert_eq!(rows, once);
        let judged: Vec<_> =
            rows.iter().filter_map(|row| Some((row.metric.as_str(), row.is_met()?))).collect();
        assert_eq!(judged, [("get_hit", false), ("overhead", true)]);
    }
}
