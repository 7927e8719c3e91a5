//! Indexes and roots: one built of random keys finds what a linear search finds; changed, and as any bytes at all, it answers
//! something.
#![no_main]
#![forbid(unsafe_code)]

use arbitrary::Arbitrary;
use kausal_index::SeqNo;
use kausal_sstable::fuzzing;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    keys: Vec<(bool, &'a [u8])>,
    changes: Vec<(u16, u8)>,
    bytes: &'a [u8],
    key: &'a [u8],
    at: u8,
}

fuzz_target!(|input: Input<'_>| {
    let at = SeqNo::new(u64::from(input.at)).expect("eight bits fit");
    let of = |&(is_long, tail): &(bool, &[u8])| {
        let beginning: &[u8] = if is_long { b"a beginning" } else { b"" };
        [beginning, tail].concat()
    };
    let mut keys: Vec<Vec<u8>> = input.keys.iter().map(of).collect();
    let probes: Vec<Vec<u8>> = keys.iter().cloned().chain([input.key.to_vec()]).collect();
    keys.sort();
    keys.dedup();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let numbers = [SeqNo::ZERO, at, SeqNo::MAX];
    let probes: Vec<(&[u8], SeqNo)> =
        probes.iter().flat_map(|key| numbers.map(|number| (key.as_slice(), number))).collect();
    let mut contents = fuzzing::build_index(&keys, &probes);
    for (place, byte) in input.changes {
        let len = contents.len().max(1);
        if let Some(changed) = contents.get_mut(usize::from(place) % len) {
            *changed = byte;
        }
    }
    fuzzing::index(&contents, input.key, at);
    fuzzing::index(input.bytes, input.key, at);
});
