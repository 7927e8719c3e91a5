//! The laws of several threads: real ones, on one index.

use std::collections::HashMap;
use std::thread;

use kausal_arena::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use kausal_arena::{Region, Writer};

use crate::block_index::{BlockIndex, InsertError};
use crate::conformance::bed::{self, Bed};
use crate::conformance::case::Start;
use crate::conformance::cursors::cursor_of;
use crate::conformance::memory::bytes_max_of;
use crate::conformance::model::{Model, shown};
use crate::conformance::{Outcome, ensure};
use crate::cursor::Cursor;
use crate::entry::{Entry, EntryRef, Kind, SeqNo};

const WRITERS: u64 = 3;
const ENTRIES_PER_WRITER: u64 = 1200;

/// Everything the threads of one trial share.
struct Trial<I> {
    bed: Bed,
    index: I,
    seed: u64,
    /// How many entries each writer has finished.
    published: [AtomicU64; WRITERS as usize],
    writing: AtomicBool,
}

impl<I: BlockIndex> Trial<I> {
    fn new(seed: u64) -> Result<Self, String> {
        let start = [Start::Fresh, Start::SecondGeneration, Start::NearlyFull][seed as usize % 3];
        let entries: Vec<_> = (0..WRITERS)
            .flat_map(|writer| (0..ENTRIES_PER_WRITER).map(move |n| entry(seed, writer, n)))
            .collect();
        // Permits that end beside others do not get their rest back, so each entry counts as a batch of its own.
        let single = entries.iter().map(|entry| bytes_max_of::<I>(std::slice::from_ref(entry)));
        let bytes = I::bytes_max(0, 0) + single.sum::<usize>() + bytes_max_of::<I>(&entries) + (1 << 20);
        let bed = Bed::new(start, bytes);
        let index = I::create(bed.region.lease(), &bed.region.writer()).map_err(|error| error.to_string())?;
        let published = [const { AtomicU64::new(0) }; WRITERS as usize];
        Ok(Self { bed, index, seed, published, writing: AtomicBool::new(true) })
    }

    fn write(&self, writer: u64, pen: &Writer) -> Outcome {
        for number in 0..ENTRIES_PER_WRITER {
            bed::insert(&self.index, pen, &entry(self.seed, writer, number))?;
            // Release: pairs with the Acquire in `published`; who sees the number must find the entry.
            self.published[writer as usize].store(number + 1, Ordering::Release);
        }
        Ok(())
    }

    fn published(&self) -> [u64; WRITERS as usize] {
        // Acquire: pairs with the Release in `write`.
        self.published.each_ref().map(|count| count.load(Ordering::Acquire))
    }

    /// Runs all writers beside `readers` copies of `read`, which is called until the writers are done.
    fn run(&self, readers: u64, read: impl Fn(u64) -> Outcome + Sync) -> Outcome {
        let pens: Vec<_> = (0..WRITERS).map(|_| self.bed.region.writer()).collect();
        let outcomes = thread::scope(|scope| {
            let read = &read;
            let readers: Vec<_> = (0..readers)
                .map(|reader| {
                    scope.spawn(move || {
                        // Once more after the last insert, so that nobody's luck decides whether there is a reading.
                        loop {
                            let last = !self.writing.load(Ordering::Acquire);
                            read(reader)?;
                            if last {
                                return Ok(());
                            }
                        }
                    })
                })
                .collect();
            let writers: Vec<_> =
                (0..).zip(pens).map(|(writer, pen)| scope.spawn(move || self.write(writer, &pen))).collect();
            let mut outcomes: Vec<_> = writers.into_iter().map(|writer| joined(writer.join())).collect();
            // Release: pairs with the Acquire in the readers.
            self.writing.store(false, Ordering::Release);
            outcomes.extend(readers.into_iter().map(|reader| joined(reader.join())));
            outcomes
        });
        outcomes.into_iter().collect()
    }
}

fn joined(outcome: thread::Result<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|_| Err("a thread panicked; its message is above".into()))
}

/// Entry `number` of `writer`: every third one a version of the writer's hot key, the others spread over keys that all
/// writers share. Sequence numbers are unique and grow with `number`.
fn entry(seed: u64, writer: u64, number: u64) -> Entry {
    let seqno = SeqNo::new(1 + number * WRITERS + writer).expect("small");
    let key = match number % 3 {
        0 => format!("hot/{writer}").into_bytes(),
        _ => format!("shared/{:03}", mixed(seed ^ number.wrapping_mul(WRITERS) ^ writer) % 700).into_bytes(),
    };
    let value = value_of(&key, seqno);
    Entry { key, seqno, kind: Kind::Put, value }
}

/// SplitMix64's finaliser.
fn mixed(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A value that only this key and number have, of a length of its own.
fn value_of(key: &[u8], seqno: SeqNo) -> Vec<u8> {
    let of_key = key.iter().fold(seqno.get(), |sum, byte| mixed(sum ^ u64::from(*byte)));
    of_key.to_le_bytes().iter().copied().cycle().take(of_key as usize % 60).collect()
}

fn check_whole(found: EntryRef<'_>) -> Outcome {
    let whole = found.kind == Kind::Put && found.value == value_of(found.key, found.seqno);
    ensure!(whole, "a reader sees {} with bytes that nobody wrote", shown(Some(found)));
    Ok(())
}

pub(super) fn writers<I: BlockIndex>(seed: &u64) -> Outcome {
    let trial = Trial::<I>::new(*seed)?;
    trial.run(0, |_| Ok(()))?;
    let mut model = Model::default();
    for (writer, number) in (0..WRITERS).flat_map(|writer| (0..ENTRIES_PER_WRITER).map(move |n| (writer, n)))
    {
        model.insert(&entry(*seed, writer, number));
    }
    let (len, expected) = (trial.index.len(), model.entries().len());
    ensure!(len == expected, "{expected} entries were written, len is {len}");
    bed::freeze(&trial.index, &trial.bed)?;
    let mut cursor = cursor_of(&trial.index)?;
    let Ok(mut more) = cursor.seek_to_first();
    for held in model.entries() {
        let expected = Some(held.as_ref());
        let found = trial.index.get(&held.key, held.seqno);
        ensure!(found == expected, "{} was written, get is {}", shown(expected), shown(found));
        let walked = cursor.entry().filter(|_| more);
        ensure!(walked == expected, "the walk meets {} in the place of {}", shown(walked), shown(expected));
        Ok(more) = cursor.next();
    }
    ensure!(!more, "the walk meets {}, which nobody wrote", shown(cursor.entry()));
    trial.bed.check_neighbours()
}

pub(super) fn readers<I: BlockIndex>(seed: &u64) -> Outcome {
    let trial = Trial::<I>::new(*seed)?;
    // Newest number of each key that a reader has seen; one map a reader.
    let newest: [Mutex<HashMap<Vec<u8>, SeqNo>>; 2] = Default::default();
    trial.run(2, |reader| {
        let mut seen = newest[reader as usize].lock();
        for writer in 0..WRITERS {
            let count = trial.published()[writer as usize];
            if count > 0 {
                let last = entry(*seed, writer, count - 1);
                let any = entry(*seed, writer, mixed(seed ^ count ^ reader) % count);
                for wanted in [last, any] {
                    read_one(&trial.index, &wanted, &mut seen)?;
                }
            }
        }
        Ok(())
    })
}

/// Looks for an entry that must be there, for the newest of its key, and through its versions.
fn read_one<I: BlockIndex>(index: &I, wanted: &Entry, seen: &mut HashMap<Vec<u8>, SeqNo>) -> Outcome {
    let (found, expected) = (index.get(&wanted.key, wanted.seqno), Some(wanted.as_ref()));
    ensure!(found == expected, "{} was written before the get, which is {}", shown(expected), shown(found));
    let newest = index.get(&wanted.key, SeqNo::MAX).ok_or("a key that was written has no newest entry")?;
    check_whole(newest)?;
    let before = seen.entry(wanted.key.clone()).or_insert(wanted.seqno);
    let least = (*before).max(wanted.seqno);
    ensure!(newest.seqno >= least, "the newest is {}, but {least} was there before", shown(Some(newest)));
    *before = newest.seqno;
    let mut last = SeqNo::MAX;
    let mut met = false;
    for version in index.versions(&wanted.key, newest.seqno) {
        check_whole(version)?;
        ensure!(version.seqno < last, "versions go up from {last} to {}", version.seqno);
        met |= version.seqno == wanted.seqno;
        last = version.seqno;
    }
    ensure!(met, "{} was written before, but versions miss it", shown(expected));
    Ok(())
}

pub(super) fn cursors<I: BlockIndex>(seed: &u64) -> Outcome {
    let trial = Trial::<I>::new(*seed)?;
    trial.run(2, |reader| {
        let forward = reader == 0;
        let published = trial.published();
        let mut cursor = cursor_of(&trial.index)?;
        let mut met = [0_u64; WRITERS as usize];
        let mut last: Option<Entry> = None;
        let Ok(mut more) = if forward { cursor.seek_to_first() } else { cursor.seek_to_last() };
        while more {
            let found = cursor.entry().ok_or("a movement succeeded, but the cursor stands nowhere")?;
            check_whole(found)?;
            if let Some(last) = &last {
                let order = found.cmp_position(&last.key, last.seqno);
                let in_order = if forward { order.is_gt() } else { order.is_lt() };
                ensure!(
                    in_order,
                    "the walk goes from {} to {}",
                    shown(Some(last.as_ref())),
                    shown(Some(found))
                );
            }
            let (writer, number) = ((found.seqno.get() - 1) % WRITERS, (found.seqno.get() - 1) / WRITERS);
            met[writer as usize] += u64::from(number < published[writer as usize]);
            last = Some(found.to_owned());
            Ok(more) = if forward { cursor.next() } else { cursor.prev() };
        }
        ensure!(met == published, "{published:?} entries were there before the walk, it met {met:?} of them");
        Ok(())
    })
}

/// All threads insert the same positions, each with a value of its own.
pub(super) fn duplicates<I: BlockIndex>(seed: &u64) -> Outcome {
    let trial = Trial::<I>::new(*seed)?;
    let positions: Vec<_> = (0..ENTRIES_PER_WRITER).map(|number| entry(*seed, 0, number)).collect();
    let pens: Vec<_> = (0..WRITERS).map(|_| trial.bed.region.writer()).collect();
    let compete = |writer: u64, pen: Writer| -> Result<Vec<bool>, String> {
        let value = [writer as u8; 9];
        let insert =
            |entry: &Entry| match trial.index.insert(&pen, EntryRef { value: &value, ..entry.as_ref() }) {
                Ok(()) => Ok(true),
                Err(InsertError::Duplicate(_)) => Ok(false),
                Err(error) => Err(format!("a duplicate is refused with: {error}")),
            };
        positions.iter().map(insert).collect()
    };
    let won = thread::scope(|scope| {
        let compete = &compete;
        let spawn = |(writer, pen)| scope.spawn(move || compete(writer, pen));
        let threads: Vec<_> = (0..).zip(pens).map(spawn).collect();
        let result = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked; its message is above".into()))
        };
        threads.into_iter().map(result).collect::<Result<Vec<_>, _>>()
    })?;
    for (place, entry) in positions.iter().enumerate() {
        let winners: Vec<_> = (0..WRITERS).filter(|writer| won[*writer as usize][place]).collect();
        let position = shown(Some(entry.as_ref()));
        let [winner] = winners[..] else {
            return Err(format!("threads {winners:?} all inserted {position}"));
        };
        let found = trial.index.get(&entry.key, entry.seqno);
        let value = [winner as u8; 9];
        let kept = found == Some(EntryRef { value: &value, ..entry.as_ref() });
        ensure!(kept, "thread {winner} inserted {position}, get is {}", shown(found));
    }
    let len = trial.index.len();
    ensure!(len == positions.len(), "{} positions were inserted, len is {len}", positions.len());
    Ok(())
}

pub(super) fn permits<I: BlockIndex>(seed: &u64) -> Outcome {
    let trial = Trial::<I>::new(*seed)?;
    let write = |writer: u64| -> Outcome {
        let mut number = 0;
        while number < ENTRIES_PER_WRITER {
            let end = (number + 1 + mixed(seed ^ number) % 40).min(ENTRIES_PER_WRITER);
            let batch: Vec<_> = (number..end).map(|number| entry(*seed, writer, number)).collect();
            insert_on_permit(&trial.index, &trial.bed.region, &batch)?;
            number = end;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let write = &write;
        let threads: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        threads.into_iter().try_for_each(|thread| joined(thread.join()))
    })?;
    trial.bed.check_neighbours()
}

fn insert_on_permit<I: BlockIndex>(index: &I, region: &Region, batch: &[Entry]) -> Outcome {
    let permit = region.permit(bytes_max_of::<I>(batch)).map_err(|error| error.to_string())?;
    for entry in batch {
        let refused =
            |error| format!("beside other writers, a batch on a permit of its bytes_max is refused: {error}");
        index.insert(permit.pen(), entry.as_ref()).map_err(refused)?;
    }
    Ok(())
}
