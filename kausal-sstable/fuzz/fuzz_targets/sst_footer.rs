//! Footers: whatever the offsets in one, the blocks it names lie before it side by side.
#![no_main]
#![forbid(unsafe_code)]

use kausal_sstable::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; 64], [u8; 5], u64, bool)| {
    let (mut bytes, lengths, mut offset, are_close) = input;
    if are_close {
        // Offsets one behind the other, which random words never are.
        offset = 0;
        for (place, length) in lengths.into_iter().enumerate() {
            offset += u64::from(length);
            if place < 4 {
                bytes[8 * place..8 * place + 8].copy_from_slice(&offset.to_le_bytes());
            }
        }
    }
    fuzzing::footer(&bytes, offset);
});
