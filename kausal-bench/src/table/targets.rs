//! What the table format is held to: against each peer, and by itself.

use crate::row::Row;

use super::subject::OURS;

/// Beginning of the workload's name, metric, and the least ratio to each peer.
type Target = (&'static str, &'static str, f64);

/// Against the other formats.
const RATIOS: &[Target] = &[
    ("write/plain", "write", 1.5),
    ("write/lz4", "write", 1.5),
    ("look_up/cache", "hit", 2.0),
    ("look_up/page_cache", "hit", 2.0),
    ("look_up/absent", "miss", 1.5),
    ("walk/cache", "walk", 4.0),
    ("merge/8", "walk", 2.0),
];

/// The name under which the chain of misses stands in a workload.
pub const CHAIN: &str = "4 dependent misses";

/// Loads of the chain between a look-up whose lines are all near and one of any key, at most.
const MISSES: f64 = 4.0;

/// Share of absent keys that the filter admits, at most.
const FALSE_POSITIVE_PERCENT: f64 = 1.2;

/// Entries from which on targets are for.
const ENTRIES: usize = 1_000_000;

/// Puts targets on the rows that have one. Judging twice changes nothing.
pub fn judge(rows: &mut [Row]) {
    for row in rows.iter_mut().filter(|row| row.subject == OURS) {
        let Some((workload, entries)) = row.workload.rsplit_once('/') else { continue };
        if entries.parse() != Ok(ENTRIES) {
            continue;
        }
        if let Some(target) = target(workload, &row.metric, row.peer.as_deref()) {
            row.target = Some(target);
        }
    }
}

fn target(workload: &str, metric: &str, peer: Option<&str>) -> Option<f64> {
    match peer {
        Some(CHAIN) => None,
        Some(_) => {
            RATIOS.iter().find(|target| (target.0, target.1) == (workload, metric)).map(|target| target.2)
        }
        None => match (workload, metric) {
            ("look_up/cache", "misses") => Some(MISSES),
            ("filter", "false_positives") => Some(FALSE_POSITIVE_PERCENT),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(workload: &str, metric: &str, peer: Option<&str>) -> Option<f64> {
        let ours = Row::lower(workload, OURS, metric, 1.0, "ns");
        let row = match peer {
            Some(peer) => ours.against(&Row::lower(workload, peer, metric, 3.0, "ns"), None),
            None => ours,
        };
        let mut rows = [row];
        judge(&mut rows);
        let once = rows.clone();
        judge(&mut rows);
        assert_eq!(rows, once);
        rows[0].target
    }

    #[test]
    fn a_target_is_for_a_comparison_at_a_million_entries() {
        assert_eq!(judged("write/lz4/1000000", "write", Some("RocksDB")), Some(1.5));
        assert_eq!(judged("walk/cache/1000000", "walk", Some("lsm-tree")), Some(4.0));
        assert_eq!(judged("walk/cache/100000", "walk", Some("lsm-tree")), None);
        assert_eq!(judged("write/lz4/1000000", "write", None), None);
        assert_eq!(judged("write/lz4/1000000", "file", Some("RocksDB")), None);
    }

    #[test]
    fn misses_and_the_filter_have_bounds_of_their_own() {
        assert_eq!(judged("look_up/cache/1000000", "hit", Some(CHAIN)), None);
        assert_eq!(judged("look_up/cache/1000000", "misses", None), Some(4.0));
        assert_eq!(judged("look_up/cache/1000000", "hit", Some("RocksDB")), Some(2.0));
        assert_eq!(judged("filter/1000000", "false_positives", None), Some(1.2));
        assert_eq!(judged("filter/1000000", "probe", None), None);
    }

    #[test]
    fn peers_are_held_to_nothing() {
        let mut rows = [Row::lower("filter/1000000", "RocksDB", "false_positives", 1.0, "percent")];
        judge(&mut rows);
        assert_eq!(rows[0].target, None);
    }
}
