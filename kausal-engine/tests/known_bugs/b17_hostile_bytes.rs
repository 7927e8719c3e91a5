//! fjall#68, sled#1410, redb#888: hostile bytes in a file ended in a panic, during opening or repair.
//!
//! The fuzz targets of kausal-sstable, `cargo xtask fuzz`, do the same to the decoders of tables at large; `tests/flips.rs`
//! flips every bit of every file.

use kausal_engine::Error;
use kausal_engine::sim::{SimRandom, SimVfs};
use kausal_engine::vfs::Vfs;

use crate::{check, durable_script, killed, options, read_file, replace_file, try_open, try_open_with};

/// Other bytes in the place of `sound`: noise, noise with a sound beginning, a part twice, a part left out.
fn garbled(sound: &[u8], random: &SimRandom) -> Vec<u8> {
    let split = random.below(sound.len() as u64 + 1) as usize;
    let noise = |count: u64| -> Vec<u8> { (0..count).map(|_| random.next() as u8).collect() };
    match random.below(4) {
        0 => noise(random.below(2 * sound.len() as u64 + 1)),
        1 => [&sound[..split], &noise(random.below(300))[..]].concat(),
        2 => [sound, &sound[split..]].concat(),
        _ => [&sound[..split / 2], &sound[split..]].concat(),
    }
}

#[test]
fn noise_in_any_file_is_an_answer_not_a_panic() {
    let vfs = SimVfs::new();
    durable_script(&vfs);
    let random = SimRandom::new(17);
    let (mut refused, mut opened) = (0, 0);
    for entry in vfs.list(crate::FOLDER.as_ref()).unwrap() {
        let path = std::path::Path::new(crate::FOLDER).join(entry.name);
        let sound = read_file(&vfs, &path);
        for _ in 0..150 {
            let left = killed(&vfs);
            replace_file(&left, &path, &garbled(&sound, &random));
            let checked = check(&left);
            let salvaged = killed(&left);
            let (salvaged, _scheduler) =
                try_open_with(std::sync::Arc::new(salvaged), options().salvage(true));
            drop(salvaged);
            match try_open(&left) {
                Ok(engine) => {
                    for number in 0..14_u32 {
                        // Right, gone with a tail that was cut, or an error; never other bytes.
                        if let Ok(Some(value)) = engine.get(&number.to_be_bytes()) {
                            assert_eq!(value, crate::numbered(number, 30));
                        }
                    }
                    opened += 1;
                }
                Err(Error::Corruption { .. } | Error::NewerFormat { .. }) => refused += 1,
                Err(error) => panic!("{}: {error:?}, {checked:?}", path.display()),
            }
        }
    }
    assert!(refused > 300 && opened > 0, "{refused} refused, {opened} opened");
}
