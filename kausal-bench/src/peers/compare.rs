//! What the rows of all stores say: ours against each other, against the best, and against the targets.
//!
//! Plain rows are the measurement; everything else is made from them, anew each time. So rows of several runs can be put
//! together, each ratio still being of one run.

use crate::options::Options;
use crate::row::{Better, Grade, Row};

use super::plan::{MEMORY_AT, Plan, workloads};
use super::stores::{MAPPED, NAMES, OURS};
use super::targets::{Against, LOST, MAPPED_RATIOS, MEMORY, MEMORY_FIXED, OF_FLOOR, RATIOS, SCALING};

/// The LSMs that targets are against.
const LSMS: [&str; 2] = ["fjall", "rocksdb"];

/// What is computed from other rows.
const DERIVED: [&str; 2] = ["scaling", "of_floor"];

/// Whether `row` is of this benchmark.
pub fn is_ours(row: &Row) -> bool {
    let workload = workload(row);
    let is_store = row.subject == MAPPED || NAMES.contains(&row.subject.as_str());
    is_store && workloads().any(|name| name == workload)
}

/// The workload without its number of entries.
pub fn workload(row: &Row) -> &str {
    row.workload.rsplit_once('/').map_or(&row.workload, |(workload, _)| workload)
}

/// Adds the comparisons to plain rows, in the place of those that are there. Judging twice changes nothing.
pub fn judge(rows: &mut Vec<Row>) {
    let is_derived = |row: &Row| row.peer.is_some() || DERIVED.contains(&row.metric.as_str());
    rows.retain(|row| !(is_ours(row) && is_derived(row)));
    let plain: Vec<Row> = rows.iter().filter(|row| is_ours(row)).cloned().collect();
    rows.extend(scaling(&plain));
    rows.extend(of_floor(&plain));
    for row in rows.iter_mut().filter(|row| row.subject == OURS && row.peer.is_none()) {
        bound(row);
    }
    // A course is drawn, not compared point by point.
    let is_compared =
        |row: &&Row| [OURS, MAPPED].contains(&row.subject.as_str()) && !row.metric.starts_with(MEMORY_AT);
    for ours in plain.iter().filter(is_compared) {
        rows.extend(comparisons(ours, &plain));
    }
}

/// Targets of single numbers.
fn bound(row: &mut Row) {
    let target = match (workload(row), row.metric.as_str()) {
        ("fillrandom", "memory") => MEMORY + MEMORY_FIXED / budget(row),
        ("open", "lost") => LOST,
        ("open", "of_floor") => OF_FLOOR,
        ("put/2", "scaling") => SCALING,
        _ => return,
    };
    *row = row.clone().with_target(target).graded(Grade::Must);
}

/// The budget of the run that `row` is of: a quick one has the usual number of entries of quick ones, or fewer.
fn budget(row: &Row) -> f64 {
    let entries = row.workload.rsplit_once('/').and_then(|(_, entries)| entries.parse::<u64>().ok());
    let quick = Plan::new(&Options { quick: true, ..Options::default() });
    let full = Plan::new(&Options::default());
    let is_quick = entries.is_some_and(|entries| entries <= quick.entries);
    (if is_quick { quick.memory } else { full.memory }) as f64
}

fn own<'a>(plain: &'a [Row], name: &str, metric: &str) -> Option<&'a Row> {
    plain.iter().find(|row| row.subject == OURS && workload(row) == name && row.metric == metric)
}

/// Opening against the least that it has to do.
fn of_floor(plain: &[Row]) -> Option<Row> {
    let (open, floor) = (own(plain, "open", "per_entry")?, own(plain, "open", "floor")?);
    Some(Row::lower(&open.workload, OURS, "of_floor", open.value / floor.value, "x the floor"))
}

/// Two threads against one.
fn scaling(plain: &[Row]) -> Option<Row> {
    let (two, one) = (own(plain, "put/2", "rate")?, own(plain, "fillrandom", "rate")?);
    Some(Row::higher(&two.workload, OURS, "scaling", two.value / one.value, "x one thread"))
}

/// `ours` against everybody who measured the same, then against whom targets are. With mapped tables also against without them.
fn comparisons(ours: &Row, plain: &[Row]) -> Vec<Row> {
    let is_mapped = ours.subject == MAPPED;
    let is_other = |row: &&Row| row.subject != MAPPED && (is_mapped || row.subject != OURS);
    let is_same = |row: &&Row| row.workload == ours.workload && row.metric == ours.metric;
    let others = plain.iter().filter(is_same).filter(is_other);
    let mut rows: Vec<Row> = others.clone().map(|other| ours.against(other, None)).collect();
    let peers: Vec<&Row> = others.filter(|row| row.subject != OURS).collect();
    let ratios = if is_mapped { MAPPED_RATIOS } else { RATIOS };
    let targets = ratios.iter().filter(|target| (target.0, target.1) == (workload(ours), &*ours.metric));
    for &(_, _, against, ratio, grade) in targets {
        let best = match against {
            Against::All => best(peers.iter().copied()),
            Against::Lsm => best(peers.iter().copied().filter(|peer| is_sound_lsm(peer, plain))),
            Against::Peer(name) => peers.iter().copied().find(|peer| peer.subject == name),
        };
        let Some(best) = best else { continue };
        let name = match against {
            Against::All => format!("best of all: {}", best.subject),
            Against::Lsm => format!("best LSM: {}", best.subject),
            Against::Peer(name) => name.to_owned(),
        };
        rows.push(ours.against(&Row { subject: name, ..best.clone() }, Some(ratio)).graded(grade));
    }
    rows
}

/// Whether `peer` is one of the LSMs and did not lose what was committed, where this is known.
fn is_sound_lsm(peer: &Row, plain: &[Row]) -> bool {
    let lost =
        |row: &&Row| row.subject == peer.subject && row.metric == "lost" && row.workload == peer.workload;
    LSMS.contains(&peer.subject.as_str()) && plain.iter().find(lost).is_none_or(|row| row.value == 0.0)
}

fn best<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<&'a Row> {
    rows.reduce(|best, row| {
        let is_better = match row.better {
            Better::Higher => row.value > best.value,
            Better::Lower => row.value < best.value,
        };
        if is_better { row } else { best }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(workload: &str, rates: &[(&str, f64)]) -> Vec<Row> {
        rates.iter().map(|(name, rate)| Row::higher(workload, name, "rate", *rate, "/s")).collect()
    }

    fn found<'a>(rows: &'a [Row], peer: &str, target: f64) -> Option<&'a Row> {
        rows.iter().find(|row| row.peer.as_deref() == Some(peer) && row.target == Some(target))
    }

    #[test]
    fn a_must_and_a_stretch_stand_beside_each_other() {
        let mut rows = rates("fillseq/9", &[(OURS, 40.0), ("fjall", 10.0), ("sled", 5.0)]);
        judge(&mut rows);
        let must = found(&rows, "best of all: fjall", 3.0).expect("it has a target");
        assert_eq!((must.ratio, must.grade, must.met), (Some(4.0), Some(Grade::Must), Some(true)));
        let stretch = found(&rows, "best of all: fjall", 5.0).expect("it has another");
        assert_eq!((stretch.grade, stretch.met), (Some(Grade::Stretch), Some(false)));
        assert!(rows.iter().any(|row| row.peer.as_deref() == Some("sled") && row.target.is_none()));
        let once = rows.clone();
        judge(&mut rows);
        assert_eq!(rows, once);
    }

    #[test]
    fn with_mapped_tables_we_have_a_target_of_our_own_and_are_nobodys_peer() {
        let of = [(OURS, 10.0), (MAPPED, 30.0), ("heed", 20.0), ("fjall", 2.0)];
        let mut rows = rates("readrandom/quarter/9", &of);
        judge(&mut rows);
        let judged = |subject: &str| {
            let of_subject = rows.iter().filter(|row| row.subject == subject && row.peer.is_some());
            of_subject.map(|row| (row.peer.as_deref(), row.ratio, row.target, row.met)).collect::<Vec<_>>()
        };
        assert!(judged(OURS).contains(&(Some("heed"), Some(0.5), Some(0.6), Some(false))));
        assert!(judged(OURS).iter().all(|(peer, ..)| *peer != Some(MAPPED)));
        let mapped = [
            (Some(OURS), Some(3.0), None, None),
            (Some("heed"), Some(1.5), None, None),
            (Some("fjall"), Some(15.0), None, None),
            (Some("heed"), Some(1.5), Some(1.1), Some(true)),
        ];
        assert_eq!(judged(MAPPED), mapped);
    }

    #[test]
    fn who_lost_entries_is_no_lsm_to_be_compared_with() {
        let open = |name: &str, metric: &str, value| Row::lower("open/9", name, metric, value, "us");
        let mut rows = vec![
            open(OURS, "per_entry", 1.0),
            open("fjall", "per_entry", 2.0),
            open("fjall", "lost", 7.0),
            open("rocksdb", "per_entry", 9.0),
            open("rocksdb", "lost", 0.0),
        ];
        judge(&mut rows);
        assert_eq!(found(&rows, "best LSM: rocksdb", 5.0).and_then(|row| row.met), Some(true));
    }

    #[test]
    fn two_threads_are_compared_with_one() {
        let mut rows = rates("fillrandom/9", &[(OURS, 10.0)]);
        rows.extend(rates("put/2/9", &[(OURS, 12.0)]));
        judge(&mut rows);
        judge(&mut rows);
        let scaling: Vec<&Row> = rows.iter().filter(|row| row.metric == "scaling").collect();
        assert_eq!(scaling.len(), 1);
        assert_eq!((scaling[0].value, scaling[0].met), (1.2, Some(false)));
    }

    #[test]
    fn opening_is_compared_with_the_least_it_has_to_do() {
        let open = |metric: &str, value| Row::lower("open/9", OURS, metric, value, "us");
        let mut rows = vec![open("per_entry", 3.0), open("floor", 1.0), open("lost", 0.0)];
        judge(&mut rows);
        let row = |metric: &str| rows.iter().find(|row| row.metric == metric && row.peer.is_none());
        assert_eq!(row("of_floor").map(|row| (row.value, row.met)), Some((3.0, Some(false))));
        assert_eq!(row("lost").and_then(|row| row.met), Some(true));
    }

    #[test]
    fn memory_may_be_a_tenth_and_a_little_more_than_the_budget() {
        let memory = |name: &str, value| Row::lower("fillrandom/2000000", name, "memory", value, "of budget");
        let mut rows = vec![memory(OURS, 1.3), memory("fjall", 2.6)];
        judge(&mut rows);
        let once = rows.clone();
        judge(&mut rows);
        assert_eq!(rows, once, "a bound is not handed on to a comparison");
        assert_eq!((rows[0].target, rows[0].met), (Some(1.35), Some(true)));
    }
}
