//! `bench peers`: the engine against other stores, workload by workload, with equal settings and equal memory.
//!
//! 1. Workloads come in groups that share a filled store. Each group of each store runs in a process of its own, which
//!    checks what it wrote and read before it tells a number; stores take turns, round by round.
//! 2. Rows are medians. Ours are compared with each peer, with the best of all and with the better of the two LSMs, fjall
//!    and RocksDB, where that is what the target is for.
//! 3. `kausal-mapped` is ours with mapped tables. It has rows of some workloads and targets of its own, and is nobody's peer.
//! 4. A store that fails or answers wrongly has no row for that group, and is named.
//!
//! | workload | what is measured |
//! |---|---|
//! | `fillseq`, `fillrandom`, `overwrite`, `deleterandom` | commits of one entry in a second, alone and with what follows in the background |
//! | `fillbatch`, `fill1k`, `load` | a hundred entries in a commit; values of a kibibyte; sorted entries by the store's own way |
//! | `put/2`, `put/4`; `fillsync/1`, `/4`, `/16` | several threads; several threads with each commit on the disk |
//! | `readrandom/cached`, `/quarter`; `readmissing` | look-ups with everything and with a quarter of it in the cache; of absent keys |
//! | `seekrandom`, `readseq` | a seek and the ten keys after it; a walk over everything |
//! | `readwhilewriting`; `ycsb_a`, `ycsb_b`, `ycsb_e` | look-ups beside a writer at a fixed pace; YCSB's mixtures |
//! | `latency/put`, `latency/paced` | single puts, as fast as it goes and at a fixed pace |
//! | `open` | opening after a kill, by entry in the log; entries that were lost |
//!
//! | room | what lives there |
//! |---|---|
//! | [`data`] | keys, values, orders, popularity |
//! | [`plan`] | sizes, memory, groups |
//! | [`store`], [`stores`] | everybody behind one trait |
//! | [`mod@bench`], [`usage`] | the frame of a workload; processor time, memory and bytes |
//! | [`mod@write`], [`mixed`], [`kill`], [`memory`] | the workloads; `memory` is `cargo xtask torture`'s, and in no table |
//! | [`child`] | a process for each group |
//! | [`compare`], [`targets`], [`table`] | what the rows say; what we are held to; the table of ratios |

pub mod bench;
pub mod child;
pub mod compare;
pub mod data;
pub mod kill;
pub mod memory;
pub mod mixed;
pub mod plan;
pub mod store;
pub mod stores;
pub mod table;
pub mod targets;
pub mod usage;
pub mod write;

use std::error::Error;

use crate::options::Options;
use crate::row::Row;
use crate::samples::{interleaved, median};
use crate::text::distinct;

use plan::{GROUPS, Group, Plan};
use store::Kind;
use stores::{MAPPED, NAMES, OURS};

/// Measures what `options` ask for.
///
/// # Errors
///
/// If a peer is asked for that is not built in, or if our own store fails; peers that fail are left out and named.
pub fn run(options: &Options) -> Result<Vec<Row>, Box<dyn Error>> {
    let kinds = chosen(options)?;
    let mut rows = Vec::new();
    for group in GROUPS {
        let wanted = |workload: &&&str| options.wants(&child::named(workload, options));
        let wanted: Vec<&str> = group.workloads.iter().filter(wanted).copied().collect();
        let takes_part = |kind: &&Kind| wanted.iter().any(|workload| kind.takes_part(workload));
        let kinds: Vec<Kind> = kinds.iter().filter(takes_part).copied().collect();
        if !kinds.is_empty() {
            rows.extend(measured(group, &kinds, options)?);
        }
    }
    compare::judge(&mut rows);
    Ok(rows)
}

/// Those of the built-in stores that `--vs` and `--subject` name.
fn chosen(options: &Options) -> Result<Vec<Kind>, Box<dyn Error>> {
    let kinds = stores::kinds();
    for name in &options.vs {
        if !NAMES.contains(&name.as_str()) {
            return Err(format!("there is no peer `{name}`: {}", NAMES[1..].join(", ")).into());
        }
        if !kinds.iter().any(|kind| kind.name == name) {
            return Err(format!(
                "the peer `{name}` is not built in: `cargo xtask bench peers --vs {name}` does it"
            )
            .into());
        }
    }
    let is_asked_for = |name: &str| {
        [OURS, MAPPED].contains(&name) || options.vs.is_empty() || options.vs.iter().any(|peer| peer == name)
    };
    // `--subject kausal` is that one alone, though the other's name has it in it.
    let is_other = |name: &str| name == MAPPED && options.subjects.iter().any(|part| part == OURS);
    let is_subject = |name: &str| options.wants_subject(name) && !is_other(name);
    Ok(kinds.into_iter().filter(|kind| is_asked_for(kind.name) && is_subject(kind.name)).collect())
}

/// The medians of a group of all stores that came to its end in every round.
fn measured(group: &Group, kinds: &[Kind], options: &Options) -> Result<Vec<Row>, Box<dyn Error>> {
    let rounds = Plan::new(options).rounds;
    let samples = interleaved(kinds.len(), rounds, |place| {
        options.progress(group.name, kinds[place].name);
        child::start(kinds[place].name, group.name, options)
    });
    let mut rows = Vec::new();
    for (kind, samples) in kinds.iter().zip(samples) {
        match samples.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(samples) => rows.extend(medians(&samples.concat())),
            Err(error) if [OURS, MAPPED].contains(&kind.name) => {
                return Err(format!("{}, {}: {error}", kind.name, group.name).into());
            }
            Err(error) => eprintln!("{} takes no part in {}: {error}", kind.name, group.name),
        }
    }
    // By workload, as the other benchmarks do it.
    let names: Vec<String> =
        distinct(rows.iter().map(|row| row.workload.as_str())).into_iter().map(str::to_owned).collect();
    rows.sort_by_key(|row| names.iter().position(|name| *name == row.workload));
    Ok(rows)
}

/// One row for each workload and metric of one store.
fn medians(samples: &[Row]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for sample in samples {
        if rows.iter().any(|row| row.workload == sample.workload && row.metric == sample.metric) {
            continue;
        }
        let same = |row: &&Row| row.workload == sample.workload && row.metric == sample.metric;
        let mut values: Vec<f64> = samples.iter().filter(same).map(|row| row.value).collect();
        rows.push(Row { value: median(&mut values), ..sample.clone() });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_of_the_rounds() {
        let sample = |metric: &str, value| Row::higher("fillseq/9", "kausal", metric, value, "/s");
        let rows = medians(&[
            sample("rate", 3.0),
            sample("cpu", 9.0),
            sample("rate", 1.0),
            sample("rate", 2.0),
            sample("cpu", 9.0),
        ]);
        let shown: Vec<_> = rows.iter().map(|row| (row.metric.as_str(), row.value)).collect();
        assert_eq!(shown, [("rate", 2.0), ("cpu", 9.0)]);
    }

    #[test]
    fn who_is_not_built_in_is_refused() {
        let asked = |name: &str| chosen(&Options { vs: vec![name.into()], ..Options::default() });
        assert!(asked("leveldb").is_err());
        let ours = asked(OURS).expect("we are always there");
        assert_eq!(ours.iter().map(|kind| kind.name).collect::<Vec<_>>(), [OURS, MAPPED]);
    }

    #[test]
    fn each_of_ours_can_be_asked_for_alone() {
        let asked = |name: &str| {
            let options = Options { subjects: vec![name.into()], ..Options::default() };
            chosen(&options).expect("no peer is named").iter().map(|kind| kind.name).collect::<Vec<_>>()
        };
        assert_eq!(asked(OURS), [OURS]);
        assert_eq!(asked(MAPPED), [MAPPED]);
    }
}
