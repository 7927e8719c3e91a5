//! How long it takes to give the memory of a full memtable back: the drop of an index and its region's return to the
//! pool, against the drop of the same entries in maps that own them.
//!
//! Up to a million entries come in scattered order, as a memtable meets them. More come in order, because building the
//! peers takes minutes otherwise: their nodes then lie side by side and are freed faster, which flatters them.

use kausal_arena::{Budget, RegionPool};
use kausal_index::{BlockIndex, EntryRef, InsertError, Kind, SeqNo, SkipListIndex};

use crate::maps::{self, Subject};
use crate::options::Options;
use crate::row::Row;
use crate::samples::{medians, timed};

const VALUE_BYTES: usize = 100;

/// Entries up to which they come in scattered order.
const SCATTERED_MAX: u64 = 1_000_000;

/// The size at which a target is set, and the target.
const TARGET: (u64, f64) = (500_000, 100_000.0);

/// All sizes.
pub fn run(options: &Options) -> Vec<Row> {
    let sizes: &[u64] = match options.quick {
        true => &[1_000, 10_000, 100_000, 500_000],
        false => &[1_000, 10_000, 100_000, 500_000, 1_000_000, 10_000_000],
    };
    sizes.iter().flat_map(|&entries| size(options, entries)).collect()
}

/// Rows for `entries` entries of 16 + 100 bytes, at most about 20 million.
///
/// # Panics
///
/// If there is no memory for the entries.
pub fn size(options: &Options, entries: u64) -> Vec<Row> {
    let workload = format!("release/{entries}");
    if !options.wants(&workload) {
        return Vec::new();
    }
    options.progress(&workload, "all");
    let payload = entries as usize * (16 + VALUE_BYTES);
    let bytes = SkipListIndex::bytes_max(entries as usize, payload);
    let pool = RegionPool::new(&Budget::unlimited("bench"), bytes, 1, || {}).expect("memory for the region");
    let region = || {
        let index = fill(&pool, entries).expect("the region was sized for the entries");
        timed(|| drop(index))
    };
    let mut subjects: Vec<Subject<'_>> = vec![("SkipListIndex in a region", Box::new(region))];
    subjects.extend(maps::releases(entries, VALUE_BYTES, move |number| key(number, entries)));
    let rounds = options.rounds.unwrap_or(if entries > 100_000 { 3 } else { 9 });
    let rounds = if entries > SCATTERED_MAX { 1 } else { rounds };
    let times = medians(subjects.len(), rounds, |number| (subjects[number].1)());
    let names = subjects.iter().map(|(name, _)| name);
    let own: Vec<Row> =
        names.zip(&times).map(|(name, time)| Row::lower(&workload, name, "release", *time, "ns")).collect();
    let mut rows = own.clone();
    for (place, peer) in own[1..].iter().enumerate() {
        let target = (place == 0 && entries == TARGET.0).then_some(TARGET.1);
        rows.push(own[0].against(peer, target));
    }
    rows
}

/// Key number `number` of `entries`.
fn key(number: u64, entries: u64) -> [u8; 16] {
    let is_scattered = entries <= SCATTERED_MAX;
    let word = if is_scattered { number.wrapping_mul(0x9E37_79B9_7F4A_7C15) } else { number };
    let mut key = *b"........suffix!!";
    key[..8].copy_from_slice(&word.to_be_bytes());
    key
}

fn fill(pool: &RegionPool, entries: u64) -> Result<SkipListIndex, InsertError> {
    let region = pool.coordinator().take().expect("the one region is back");
    let pen = region.writer();
    let index = SkipListIndex::create(region.lease(), &pen)?;
    for number in 0..entries {
        let seqno = SeqNo::new(number + 1).expect("far below 2^56");
        let key = key(number, entries);
        index.insert(&pen, EntryRef { key: &key, seqno, kind: Kind::Put, value: &[7; VALUE_BYTES] })?;
    }
    assert_eq!(index.len() as u64, entries, "what is timed holds what it should");
    Ok(index)
}
