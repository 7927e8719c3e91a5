//! Any damaged byte of a cleanly closed database is found, and never gives other data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_engine::vfs::{StdVfs, Vfs};
use kausal_engine::{Error, check};

use crate::open;

/// A small database with tables, a log and a manifest; returns its files.
fn build(folder: &Path) -> Vec<PathBuf> {
    let engine = open(folder);
    for number in 0..40_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 20]).unwrap();
    }
    engine.flush().unwrap();
    for number in 40..60_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 20]).unwrap();
    }
    engine.close().unwrap();
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| !path.ends_with("LOCK")).collect()
}

fn check_folder(folder: &Path) -> Result<(), Error> {
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    check(&vfs, folder, 8 << 20).map(|_| ())
}

#[test]
fn every_flipped_byte_is_found_and_no_read_returns_other_data() {
    let folder = tempfile::tempdir().unwrap();
    let files = build(folder.path());
    check_folder(folder.path()).unwrap();
    let mut flipped = 0;
    for path in &files {
        let sound = std::fs::read(path).unwrap();
        for place in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[place] ^= 1 << (place % 8);
            std::fs::write(path, &damaged).unwrap();
            let answer = check_folder(folder.path());
            match answer {
                Err(Error::Corruption { file, .. }) => assert_eq!(&file, path, "byte {place}"),
                Err(Error::NewerFormat { file, .. }) => assert_eq!(&file, path, "byte {place}"),
                other => panic!("{}: byte {place}: {other:?}", path.display()),
            }
            flipped += 1;
        }
        std::fs::write(path, &sound).unwrap();
    }
    println!("{flipped} bytes flipped, {flipped} found");
    assert!(flipped > 3000);
}

#[test]
fn reads_of_a_damaged_database_are_right_or_errors() {
    let source = tempfile::tempdir().unwrap();
    let files = build(source.path());
    for path in &files {
        let sound = std::fs::read(path).unwrap();
        for place in (0..sound.len()).step_by(11) {
            let folder = tempfile::tempdir().unwrap();
            for file in &files {
                std::fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
            }
            let mut damaged = sound.clone();
            damaged[place] ^= 0x40;
            std::fs::write(folder.path().join(path.file_name().unwrap()), damaged).unwrap();
            let options = crate::small().mapped_tables(place % 2 == 0);
            let Ok(engine) = kausal_engine::StorageEngine::open(folder.path(), options) else {
                continue;
            };
            for number in 0..60_u32 {
                if let Ok(found) = engine.get(&number.to_be_bytes()) {
                    assert_eq!(found.unwrap(), [number as u8; 20], "{}: byte {place}", path.display());
                }
            }
        }
    }
}
