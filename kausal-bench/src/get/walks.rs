//! Walks that lend what they come to, against cursors that copy it.

use std::ops::ControlFlow;
use std::time::Instant;

use kausal_engine::{Cursor, Error, KeyRange, StorageEngine};

use super::{MANY_KEYS, first_against_second, key};
use crate::options::Options;
use crate::row::Row;
use crate::samples::try_medians;

/// How far a walk goes.
#[derive(Clone, Copy)]
pub(super) enum Stretch {
    /// Up to a hundred entries, by a cursor of its own.
    Scan,
    /// Eleven entries, by the cursor of the one before.
    Seek,
    /// Everything.
    All,
}

impl Stretch {
    fn walks(self, is_quick: bool) -> u32 {
        match self {
            Self::Scan | Self::Seek if is_quick => 1_000,
            Self::Scan | Self::Seek => 20_000,
            Self::All => 1,
        }
    }

    fn limit(self, turn: u32) -> usize {
        match self {
            Self::Scan => 1 + turn as usize % 100,
            Self::Seek => 11,
            Self::All => usize::MAX,
        }
    }
}

/// Nanoseconds an entry of `stretch`, by a walk and by steps of a cursor.
pub(super) fn walks(
    options: &Options,
    workload: &str,
    engine: &StorageEngine,
    stretch: Stretch,
) -> Result<Vec<Row>, Error> {
    let names = ["walk", "cursor"];
    let nanos = try_medians(names.len(), options.rounds.unwrap_or(9), |subject| {
        options.progress(workload, names[subject]);
        let mut cursor = engine.cursor(KeyRange::all())?;
        let mut entries = 0;
        let begun = Instant::now();
        for turn in 0..stretch.walks(options.quick) {
            if matches!(stretch, Stretch::Scan) {
                cursor = engine.cursor(KeyRange::all())?;
            }
            let from = match stretch {
                Stretch::All => [0; 16],
                _ => key(turn.wrapping_mul(0x9E37_79B1) % (2 * MANY_KEYS)),
            };
            let limit = stretch.limit(turn);
            let (count, bytes) = match subject {
                0 => walk(&mut cursor, &from, limit)?,
                _ => step(&mut cursor, &from, limit)?,
            };
            assert_eq!(bytes, count * (16 + 100), "the entries that were put");
            entries += count;
        }
        Ok::<_, Error>(begun.elapsed().as_nanos() as f64 / entries as f64)
    })?;
    Ok(first_against_second(workload, "entry", names, &nanos))
}

/// Entries from `from` on, `limit` at most, and the bytes of their keys and values.
fn walk(cursor: &mut Cursor, from: &[u8], limit: usize) -> Result<(usize, usize), Error> {
    let (mut count, mut bytes) = (0, 0);
    cursor.walk_from(from, |entry| {
        bytes += entry.key().len() + entry.value().map_or(0, <[u8]>::len);
        count += 1;
        if count == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok((count, bytes))
}

/// The same, step by step.
fn step(cursor: &mut Cursor, from: &[u8], limit: usize) -> Result<(usize, usize), Error> {
    let (mut count, mut bytes) = (0, 0);
    let mut is_there = cursor.seek(from)?;
    while is_there {
        bytes += cursor.key().map_or(0, <[u8]>::len) + cursor.value().map_or(0, <[u8]>::len);
        count += 1;
        is_there = count < limit && cursor.next()?;
    }
    Ok((count, bytes))
}
