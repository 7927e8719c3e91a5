//! redb 4.2 (its log of changes), libmdbx#217: a corrupted length or page number asked for terabytes of memory.
//!
//! `tests/flips.rs` counts the peak for every flipped bit; here every four bytes of every file become the largest number.

use kausal_engine::sim::SimVfs;
use kausal_engine::vfs::Vfs;

use crate::{check, durable_script, killed, read_file, replace_file, try_open};

#[test]
fn no_length_in_a_file_is_believed_beyond_the_file() {
    let vfs = SimVfs::new();
    durable_script(&vfs);
    let open = |vfs: &SimVfs| {
        let peak = allocation_counter::measure(|| {
            let _ = check(vfs);
            drop(try_open(vfs));
        });
        peak.bytes_max
    };
    let sound_peak = open(&killed(&vfs));
    for entry in vfs.list(crate::FOLDER.as_ref()).unwrap() {
        let path = std::path::Path::new(crate::FOLDER).join(entry.name);
        let sound = read_file(&vfs, &path);
        for place in 0..sound.len().saturating_sub(3) {
            let left = killed(&vfs);
            let mut absurd = sound.clone();
            absurd[place..place + 4].fill(0xFF);
            replace_file(&left, &path, &absurd);
            let over = open(&left).saturating_sub(sound_peak);
            assert!(over <= 4 * sound.len() as u64, "{}: byte {place}: {over} bytes more", path.display());
        }
    }
}
