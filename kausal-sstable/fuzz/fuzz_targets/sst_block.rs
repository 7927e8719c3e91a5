//! Data blocks: one built of random entries answers as they do; the same block with bytes changed, and any bytes at all,
//! answer something.
#![no_main]
#![forbid(unsafe_code)]

use arbitrary::Arbitrary;
use kausal_index::{EntryRef, SeqNo, compare_positions};
use kausal_sstable::fuzzing;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    entries: Vec<(u8, &'a [u8], u8, u8, &'a [u8])>,
    changes: Vec<(u16, u8)>,
    bytes: &'a [u8],
    key: &'a [u8],
    at: u8,
}

fuzz_target!(|input: Input<'_>| {
    let number = |number: u8| SeqNo::new(u64::from(number)).expect("eight bits fit");
    let keys: Vec<Vec<u8>> = input.entries.iter().map(|entry| key(entry.0, entry.1)).collect();
    let mut entries: Vec<EntryRef<'_>> = input
        .entries
        .iter()
        .zip(&keys)
        .map(|(&(_, _, seqno, kind, value), key)| EntryRef {
            key,
            seqno: number(seqno),
            kind: fuzzing::kind(kind),
            value,
        })
        .collect();
    entries.sort_by(|left, right| compare_positions((left.key, left.seqno), (right.key, right.seqno)));
    entries.dedup_by(|left, right| (left.key, left.seqno) == (right.key, right.seqno));
    let mut contents = fuzzing::build_block(&entries);
    for (place, byte) in input.changes {
        let len = contents.len().max(1);
        if let Some(changed) = contents.get_mut(usize::from(place) % len) {
            *changed = byte;
        }
    }
    let at = number(input.at);
    fuzzing::block(&contents, input.key, at);
    fuzzing::block(input.bytes, input.key, at);
});

/// A key of one of a few beginnings, so that they share some.
fn key(beginning: u8, tail: &[u8]) -> Vec<u8> {
    let beginning: &[u8] = match beginning % 4 {
        0 => b"",
        1 => b"eight...",
        2 => b"/a/path/that/is/common/to/many/keys/",
        _ => b"eight...\0",
    };
    [beginning, &tail[..tail.len().min(200)]].concat()
}
