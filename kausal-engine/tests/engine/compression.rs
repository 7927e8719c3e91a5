//! Tables of different compressions in one database.

use kausal_engine::{Compression, KeyRange, Options, StorageEngine};

use crate::small;

fn options(compression: Compression) -> Options {
    // Level 0 stays raw.
    small().compression(1, compression)
}

fn fill(engine: &StorageEngine, numbers: std::ops::Range<u32>) {
    for number in numbers {
        engine.put(format!("key{number:06}").as_bytes(), &[number as u8; 100]).unwrap();
    }
}

fn assert_filled(engine: &StorageEngine, count: u32) {
    for number in (0..count).step_by(13) {
        let value = engine.get(format!("key{number:06}").as_bytes()).unwrap().unwrap();
        assert_eq!(value, [number as u8; 100]);
    }
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut seen = 0;
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        assert_eq!(cursor.value(), Some(&[seen as u8; 100][..]));
        seen += 1;
        more = cursor.next().unwrap();
    }
    assert_eq!(seen, count);
}

fn bytes_of_levels(engine: &StorageEngine) -> u64 {
    engine.stats().levels.iter().map(|level| level.bytes).sum()
}

#[test]
fn deeper_levels_are_compressed_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let engine = StorageEngine::open(folder.path(), options(Compression::None)).unwrap();
    fill(&engine, 0..10_000);
    engine.compact().unwrap();
    let raw = bytes_of_levels(&engine);
    engine.close().unwrap();

    let engine = StorageEngine::open(folder.path(), options(Compression::Lz4)).unwrap();
    assert_filled(&engine, 10_000);
    // A flush is raw, what is merged below is not.
    fill(&engine, 0..20_000);
    engine.flush().unwrap();
    assert_filled(&engine, 20_000);
    engine.compact().unwrap();
    assert_filled(&engine, 20_000);
    let compressed = bytes_of_levels(&engine);
    println!("{compressed} bytes for twice the entries that took {raw}");
    assert!(compressed < raw / 2);
    engine.close().unwrap();

    // The same by way of the page cache, past it, and in it: what is compressed is read then as well.
    for (direct, mapped) in [(false, false), (true, false), (false, true), (true, true)] {
        let options = options(Compression::None).direct_reads(direct).mapped_tables(mapped);
        let engine = StorageEngine::open(folder.path(), options).unwrap();
        assert_filled(&engine, 20_000);
        engine.close().unwrap();
    }
}
