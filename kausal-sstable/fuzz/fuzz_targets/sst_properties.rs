//! Properties and range tombstones: any bytes are refused or understood, and what was understood is written the same.
#![no_main]
#![forbid(unsafe_code)]

use kausal_index::SeqNo;
use kausal_sstable::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], u8)| {
    let (bytes, key, at) = input;
    fuzzing::properties(bytes, key, SeqNo::new(u64::from(at)).expect("eight bits fit"));
});
