//! The engine over an index of one's own: `cargo run -p kausal-engine --example own_index`.
//!
//! 1. A database is opened with `PlainTree` as the index of its memtables, and given more than they hold, so that some
//!    of them are flushed through the tree's cursor.
//! 2. Everything is read back: from tables, from the memtable, in order, and as it was at a snapshot.
//! 3. It is opened again with the default index. Which index held an entry on its way is in none of the files.
#![forbid(unsafe_code)]

#[path = "../../kausal-index/examples/own_index/plain_tree.rs"]
mod plain_tree;

use kausal_engine::{Builder, Error, KeyRange, Options, StorageEngine};
use plain_tree::PlainTree;

const ENTRIES: u32 = 30_000;

/// The number's bits mirrored: keys that come in ascending order would make a list of the tree.
fn key(number: u32) -> [u8; 4] {
    number.reverse_bits().to_be_bytes()
}

pub(crate) fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let options = Options::new().memory_budget(8 << 20);

    let engine = Builder::<PlainTree>::new(folder.path(), options.clone()).open()?;
    for number in 0..ENTRIES {
        engine.put(&key(number), format!("value {number}").as_bytes())?;
    }
    let before = engine.snapshot();
    engine.put(&key(7), b"another value")?;
    engine.delete(&key(8))?;
    read_back(&engine)?;
    assert_eq!(engine.get_at(&before, &key(7))?.as_deref(), Some(&b"value 7"[..]));
    assert_eq!(engine.get_at(&before, &key(8))?.as_deref(), Some(&b"value 8"[..]));
    println!(
        "{} flushes; {} entries in memtables",
        engine.stats().flushes,
        engine.stats().memtable_entry_count
    );
    println!("{}", engine.memory_report());
    assert!(engine.stats().flushes > 0, "the tree takes from the pen what it holds, so memtables fill");
    drop(before);
    engine.close()?;

    read_back(&StorageEngine::open(folder.path(), options)?)
}

/// Reads every entry by its key, and all of them in order.
fn read_back<I: kausal_index::BlockIndex>(engine: &StorageEngine<I>) -> Result<(), Error> {
    for number in 9..ENTRIES {
        assert_eq!(engine.get(&key(number))?, Some(format!("value {number}").into_bytes()));
    }
    assert_eq!(engine.get(&key(7))?.as_deref(), Some(&b"another value"[..]));
    assert_eq!(engine.get(&key(8))?, None);

    let mut cursor = engine.cursor(KeyRange::all())?;
    let mut last = cursor.seek_to_first()?.then(|| cursor.key().map(<[u8]>::to_vec)).flatten();
    let mut count = u32::from(last.is_some());
    while cursor.next()? {
        let here = cursor.key().map(<[u8]>::to_vec);
        assert!(last < here, "a scan is in order");
        last = here;
        count += 1;
    }
    assert_eq!(count, ENTRIES - 1);
    Ok(())
}
