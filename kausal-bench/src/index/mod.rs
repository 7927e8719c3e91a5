//! `bench index`: every index of kausal-index and its peers, in turns, in one process.
//!
//! | room | what lives there |
//! |---|---|
//! | [`data`] | keys, values, what is looked for |
//! | [`subject`] | what is asked of an index or a peer |
//! | [`block`], [`peers`] | any `BlockIndex`, the others |
//! | [`measure`] | one sample of one subject |
//! | [`release`] | instructions to give an index back |
//! | [`work`] | how the instructions of an operation grow with the entries |
//! | [`targets`] | what the indexes are held to |
//! | [`plot`] | cost by number of entries, as a picture |
//!
//! A new index is one line in [`candidates`].

pub mod block;
pub mod data;
pub mod measure;
pub mod peers;
pub mod plot;
pub mod release;
pub mod subject;
pub mod targets;
pub mod work;

use std::io;

use kausal_arena::{Budget, RegionCoordinator, RegionPool};
use kausal_index::{ArtIndex, BTreeIndex, BlockIndex, HashIndex, SkipListIndex, TreeIndex};

use crate::options::Options;
use crate::row::Row;
use crate::samples::{interleaved, median};
use block::Block;
use data::{Data, KeySet, VALUE_BYTES};
use measure::Sample;
use subject::Subject;

/// Sizes of the key sets.
const ENTRIES: [usize; 2] = [1_000_000, 4_000_000];
const ENTRIES_QUICK: [usize; 2] = [100_000, 1_000_000];

/// Sizes of the growth.
const GROWTH: [usize; 5] = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// Entries up to which the oracle takes part: its walk looks every entry up anew.
const ORACLE_ENTRIES_MAX: usize = 100_000;

/// Entries that a sample of `growth` inserts, for the peers whose ten millionth entry takes minutes.
const SLOW_PEER_ENTRIES_MAX: usize = 3_000_000;

/// The largest region there is: offsets have 32 bits.
const REGION_BYTES_MAX: usize = (u32::MAX as usize) & !127;

/// An index or a peer by name.
pub struct Candidate {
    name: &'static str,
    role: Role,
    all: fn(&RegionCoordinator, &Data) -> Vec<Sample>,
    growth: fn(&RegionCoordinator, &Data) -> Vec<Sample>,
    bytes_max: fn(usize, usize) -> usize,
}

/// Who is compared with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// An index in an arena: compared with every peer.
    Ours,
    /// The oracle: measured, compared with nobody.
    Oracle,
    Peer,
}

impl Candidate {
    fn ours<I: BlockIndex>(name: &'static str) -> Self {
        let role = if I::IN_ARENA { Role::Ours } else { Role::Oracle };
        Self { role, bytes_max: I::bytes_max, ..Self::peer::<Block<I>>(name) }
    }

    fn peer<S: Subject>(name: &'static str) -> Self {
        Self {
            name,
            role: Role::Peer,
            all: measure::all::<S>,
            growth: measure::growth::<S>,
            bytes_max: |_, _| 0,
        }
    }
}

/// Everybody who takes part.
pub fn candidates() -> Vec<Candidate> {
    let always = [
        Candidate::ours::<TreeIndex>("TreeIndex"),
        Candidate::ours::<ArtIndex>("ArtIndex"),
        Candidate::ours::<HashIndex>("HashIndex"),
        Candidate::ours::<SkipListIndex>("SkipListIndex"),
        Candidate::ours::<BTreeIndex>("BTreeIndex"),
        Candidate::peer::<peers::Std>("BTreeMap"),
        Candidate::peer::<peers::Locked>("RwLock<BTreeMap>"),
    ];
    always.into_iter().chain(feature_peers()).collect()
}

#[cfg(not(feature = "index-peers"))]
fn feature_peers() -> [Candidate; 0] {
    []
}

#[cfg(feature = "index-peers")]
fn feature_peers() -> [Candidate; 6] {
    [
        Candidate::peer::<peers::CrossbeamSkipMap>("crossbeam SkipMap"),
        Candidate::peer::<peers::SccTree>("scc TreeIndex"),
        Candidate::peer::<peers::Rart>("rart"),
        Candidate::peer::<peers::Skipdb>("skipdb"),
        Candidate::peer::<peers::SccHash>("scc HashMap"),
        Candidate::peer::<peers::Papaya>("papaya HashMap"),
    ]
}

/// Measures what `options` ask for.
///
/// # Errors
///
/// [`io::Error`] if the paths of the Rust documentation, or memory for the regions, are not there.
pub fn run(options: &Options) -> io::Result<Vec<Row>> {
    let candidates: Vec<Candidate> =
        candidates().into_iter().filter(|candidate| options.wants_subject(candidate.name)).collect();
    let default_sizes = if options.quick { ENTRIES_QUICK } else { ENTRIES };
    let sizes = options.entries.map_or(default_sizes.to_vec(), |entries| vec![entries]);
    let mut rows = Vec::new();
    for entries in sizes {
        for set in KeySet::ALL {
            let workload = format!("{}/{entries}", set.name());
            if options.wants(&workload) {
                rows.extend(key_set(options, &candidates, set, entries, &workload)?);
            }
        }
    }
    for entries in GROWTH {
        let workload = format!("growth/{entries}");
        if options.entries.is_none()
            && options.wants(&workload)
            && !(options.quick && entries > ENTRIES_QUICK[1])
        {
            rows.extend(growth(options, &candidates, entries, &workload)?);
        }
    }
    if options.wants("release") {
        rows.extend(release::instructions("release", options));
    }
    if options.wants("work") {
        rows.extend(work::instructions("work", options));
    }
    targets::judge(&mut rows);
    Ok(rows)
}

fn key_set(
    options: &Options,
    candidates: &[Candidate],
    set: KeySet,
    entries: usize,
    workload: &str,
) -> io::Result<Vec<Row>> {
    let data = Data::new(set, entries, options.seed)?;
    let takes_part = |candidate: &&Candidate| candidate.role != Role::Oracle || entries <= ORACLE_ENTRIES_MAX;
    let candidates: &[&Candidate] = &candidates.iter().filter(takes_part).collect::<Vec<_>>();
    let pool = pool(candidates, &data)?;
    let regions = pool.coordinator();
    let samples = interleaved(candidates.len(), options.rounds.unwrap_or(3), |number| {
        options.progress(workload, candidates[number].name);
        (candidates[number].all)(&regions, &data)
    });
    Ok(rows(workload, candidates, &samples))
}

fn growth(
    options: &Options,
    candidates: &[Candidate],
    entries: usize,
    workload: &str,
) -> io::Result<Vec<Row>> {
    let data = Data::new(KeySet::Random16, entries, options.seed)?;
    let candidates: &[&Candidate] =
        &candidates.iter().filter(|one| one.role != Role::Oracle).collect::<Vec<_>>();
    let pool = pool(candidates, &data)?;
    let regions = pool.coordinator();
    let samples = interleaved(candidates.len(), options.rounds.unwrap_or(1), |number| {
        let candidate = &candidates[number];
        let is_small = entries <= SLOW_PEER_ENTRIES_MAX || candidate.name == "BTreeMap";
        if !is_small && candidate.role != Role::Ours {
            return Vec::new();
        }
        options.progress(workload, candidate.name);
        (candidate.growth)(&regions, &data)
    });
    Ok(rows(workload, candidates, &samples))
}

/// One region with room for any of `candidates` and what freezing needs. It stays warm from sample to sample.
fn pool(candidates: &[&Candidate], data: &Data) -> io::Result<RegionPool> {
    let need = candidates.iter().map(|candidate| (candidate.bytes_max)(data.entries(), data.payload_bytes));
    let spare = data.entries() * 16 + (1 << 20);
    let bytes = need.max().unwrap_or(0).max(data.entries() * VALUE_BYTES).saturating_add(spare);
    RegionPool::new(&Budget::unlimited("bench"), bytes.min(REGION_BYTES_MAX), 1, || {})
        .map_err(io::Error::other)
}

/// Medians as rows: each subject's own, and ours against each peer.
fn rows(workload: &str, candidates: &[&Candidate], samples: &[Vec<Vec<Sample>>]) -> Vec<Row> {
    let own: Vec<Vec<Row>> = candidates
        .iter()
        .zip(samples)
        .map(|(candidate, rounds)| medians(workload, candidate.name, rounds))
        .collect();
    let mut rows: Vec<Row> = own.iter().flatten().cloned().collect();
    for (_, ours) in candidates.iter().zip(&own).filter(|(candidate, _)| candidate.role == Role::Ours) {
        for row in ours {
            let peers = candidates.iter().zip(&own).filter(|(peer, _)| peer.role == Role::Peer);
            let same = peers.filter_map(|(_, rows)| rows.iter().find(|other| other.metric == row.metric));
            rows.extend(same.map(|peer| row.against(peer, None)));
        }
    }
    rows
}

fn medians(workload: &str, subject: &str, rounds: &[Vec<Sample>]) -> Vec<Row> {
    let Some(first) = rounds.first() else { return Vec::new() };
    first
        .iter()
        .enumerate()
        .map(|(place, (name, _))| {
            let mut values: Vec<f64> = rounds.iter().map(|round| round[place].1).collect();
            let (metric, unit) = name.rsplit_once('_').unwrap_or((name, ""));
            Row::lower(workload, subject, metric, median(&mut values), unit)
        })
        .collect()
}
