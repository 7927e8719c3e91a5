//! Filters: one built of random keys admits all of them; any bytes at all answer something.
#![no_main]
#![forbid(unsafe_code)]

use kausal_sstable::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<&[u8]>, u8, &[u8], &[u8])| {
    let (keys, bits_per_key, bytes, key) = input;
    let built = fuzzing::build_filter(&keys, u32::from(bits_per_key % 64));
    fuzzing::filter(&built, key);
    fuzzing::filter(bytes, key);
});
