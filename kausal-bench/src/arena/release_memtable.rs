//! How long it takes to give the memory of a full memtable back: the region's return to its pool, against the drop of a
//! `BTreeMap<Vec<u8>, Vec<u8>>` with the same entries.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kausal_arena::{Budget, RegionPool};
use kausal_index::{BlockIndex, EntryRef, InsertError, Kind, SeqNo, SkipListIndex};

use crate::ratio::{Ratio, interleaved};

const VALUE_BYTES: usize = 100;

/// Key number `number`, scattered.
fn key(number: u64) -> [u8; 16] {
    let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut key = *b"........suffix!!";
    key[..8].copy_from_slice(&scattered.to_be_bytes());
    key
}

fn fill(pool: &RegionPool, entries: u64) -> Result<SkipListIndex, InsertError> {
    let region = pool.coordinator().take().expect("the one region is back");
    let pen = region.writer();
    let index = SkipListIndex::create(region.lease(), &pen)?;
    for number in 0..entries {
        let seqno = SeqNo::new(number + 1).expect("far below 2^56");
        index
            .insert(&pen, EntryRef { key: &key(number), seqno, kind: Kind::Put, value: &[7; VALUE_BYTES] })?;
    }
    assert_eq!(index.len() as u64, entries, "what is timed holds what it should");
    Ok(index)
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Measures both with `entries` entries of 16 + 100 bytes, at most about 10 million.
///
/// # Panics
///
/// If there is no memory for the entries.
pub fn run(entries: u64, samples: usize) -> Ratio {
    let payload = entries as usize * (16 + VALUE_BYTES);
    let bytes = SkipListIndex::bytes_max(entries as usize, payload);
    let pool = RegionPool::new(&Budget::unlimited("bench"), bytes, 1, || {}).expect("memory for the region");
    let ours = || {
        let index = fill(&pool, entries).expect("the region was sized for the entries");
        timed(|| drop(index))
    };
    let other = || {
        let map: BTreeMap<Vec<u8>, Vec<u8>> =
            (0..entries).map(|number| (key(number).to_vec(), vec![7; VALUE_BYTES])).collect();
        timed(|| drop(map))
    };
    interleaved(samples, ours, other)
}
