//! Files that released versions wrote, kept for ever: this version reads them, and still writes the same.
//!
//! With `KAUSAL_WRITE_GOLDEN` set the test writes the files that are missing, and fails so that somebody looks.

use std::fs;
use std::path::PathBuf;

use kausal_index::{Entry, Kind};
use kausal_sstable::{BlockInfo, Compression, TableError, TableOptions};

use crate::{budget, entry, open, options, read_all, sorted, write_with};

const DICTIONARY: &[u8] = b"a common beginning of many values, and their end";
const FRAGMENTS: [(&[u8], &[u8], u64); 3] = [(b"b", b"d", 90), (b"b", b"d", 80), (b"dir/07", b"dir/09", 70)];

/// Every kind, empty and long keys, versions across a block's end, values that compress and such that do not.
fn entries() -> Vec<Entry> {
    let mut list = vec![
        entry(b"", 1, Kind::Put, b"the empty key"),
        entry(&[0xFF; 300], 2, Kind::Delete, b""),
        entry(b"blob", 3, Kind::Blob, &[0xB0; 24]),
        entry(b"large", 4, Kind::Put, &b"0123456789".repeat(7000)),
    ];
    list.extend((0..40_u64).map(|number| entry(b"hot", 10 + number, Kind::Put, &number.to_le_bytes())));
    list.extend((0..60_u64).map(|number| {
        let key = format!("dir/{number:02}/a common part of keys/{number}");
        let value = format!("a common beginning of many values{}", number.wrapping_mul(0x9E37_79B9));
        entry(key.as_bytes(), 100 + number, Kind::Put, value.as_bytes())
    }));
    sorted(list)
}

struct Golden {
    name: &'static str,
    compression: Compression,
    dictionary: Option<&'static [u8]>,
    /// Whether this version writes the very same bytes: a compressor may change its mind, the format may not.
    is_written_alike: bool,
}

const GOLDEN: [Golden; 4] = [
    Golden { name: "v1-raw", compression: Compression::None, dictionary: None, is_written_alike: true },
    Golden { name: "v1-lz4", compression: Compression::Lz4, dictionary: None, is_written_alike: false },
    Golden { name: "v1-zstd", compression: Compression::Zstd(3), dictionary: None, is_written_alike: false },
    Golden {
        name: "v1-zstd-dictionary",
        compression: Compression::Zstd(3),
        dictionary: Some(DICTIONARY),
        is_written_alike: false,
    },
];

fn path(golden: &Golden) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(format!("{}.sst", golden.name))
}

fn write(golden: &Golden) -> Vec<u8> {
    let options = TableOptions {
        compression: golden.compression,
        block_bytes: 512,
        filter_prefix_bytes: 4,
        created_micros: 1_764_000_000_000_000,
        ..options()
    };
    write_with(&entries(), 0x6B61_7573_616C, options, golden.dictionary, &FRAGMENTS)
}

#[test]
fn every_released_version_is_read() {
    if std::env::var_os("KAUSAL_WRITE_GOLDEN").is_some() {
        let missing: Vec<_> = GOLDEN.iter().filter(|golden| !path(golden).exists()).collect();
        missing.iter().for_each(|golden| fs::write(path(golden), write(golden)).unwrap());
        assert!(missing.is_empty(), "wrote {} files", missing.len());
    }
    for golden in &GOLDEN {
        let file = fs::read(path(golden)).unwrap();
        let needs_zstd = matches!(golden.compression, Compression::Zstd(_));
        let table = open(file.clone()).unwrap();
        if needs_zstd && !cfg!(feature = "zstd") {
            assert!(matches!(read_all(&table), Err(TableError::NotBuilt { .. })), "{}", golden.name);
            continue;
        }
        assert_eq!(read_all(&table).unwrap(), entries(), "{}", golden.name);
        let fragments: Vec<_> =
            table.range_tombstones().iter().map(|one| (one.start, one.end, one.seqno.get())).collect();
        assert_eq!(fragments, FRAGMENTS, "{}", golden.name);
        let verified = table.verify(&budget(), |_| {}).unwrap();
        assert_eq!(verified.blob_count, 1);
        let properties = table.properties();
        assert_eq!(properties.created_micros, 1_764_000_000_000_000);
        assert_eq!((properties.filter_prefix_bytes, properties.range_tombstone_count), (4, 3));
        assert!(properties.segment_count > 2 && properties.block_count > 8, "{properties:?}");
        assert_eq!(properties.compressed_block_count > 0, golden.compression != Compression::None);
        if golden.is_written_alike {
            assert!(write(golden) == file, "{} is written differently", golden.name);
        }
    }
}

/// The table of the worked example: two entries, everything else at its default.
fn example() -> Vec<u8> {
    let list = [entry(b"apple", 1, Kind::Put, b"red"), entry(b"apricot", 2, Kind::Put, b"orange")];
    write_with(&list, 7, TableOptions::default(), None, &[])
}

/// The bytes of a table as `FORMAT.md` shows them: a line that names each part, then sixteen bytes a line.
fn dump(file: &[u8]) -> String {
    let mut parts = Vec::new();
    let part = |block: &BlockInfo| {
        let (start, end) = (block.handle.offset as usize, block.handle.end() as usize);
        parts.push((format!("{:?}", block.kind).to_lowercase(), start, end));
    };
    open(file.to_vec()).unwrap().blocks(&budget(), part).unwrap();
    parts.push(("footer".to_owned(), file.len() - 64, file.len()));
    let mut text = String::new();
    for (name, start, end) in parts {
        text.push_str(&format!("{name}, bytes {start} to {}\n", end - 1));
        for line in file[start..end].chunks(16) {
            let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("    {}\n", bytes.join(" ")));
        }
    }
    text
}

#[test]
fn the_worked_example_in_the_format_is_what_is_written() {
    let format = include_str!("../../FORMAT.md");
    let shown =
        format.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let dump = dump(&example());
    assert!(shown == dump, "FORMAT.md should show:\n{dump}");
}
