//! Counts calls of the global allocator on the write path. A binary of its own: the counter is the process's allocator.

use allocation_counter::measure;
use kausal_engine::{Durability, Options, StorageEngine, WriteBatch, WriteOptions};

#[test]
fn s28_warm_puts_deletes_and_reused_batches_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // One memtable takes it all: a rotation allocates, a write does not.
    let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(256 << 20)).unwrap();
    let value = [7; 100];
    let puts = || (0..10_000_u32).for_each(|number| engine.put(&number.to_be_bytes(), &value).unwrap());
    let deletes = || (0..10_000_u32).for_each(|number| engine.delete(&number.to_be_bytes()).unwrap());
    let mut batch = WriteBatch::new();
    let mut batches = |durability| {
        for round in 0..100_u32 {
            batch.clear();
            for number in 0..20 {
                batch.put(&(round * 20 + number).to_be_bytes(), &value).unwrap();
            }
            engine.write(&batch, WriteOptions::durable(durability)).unwrap();
        }
    };
    let cold = measure(|| {
        engine.put(b"first", b"value").unwrap();
        batches(Durability::Process);
        batches(Durability::Power);
        batches(Durability::Power);
    });
    assert!(cold.count_total > 0, "the counter counts");
    let counts = [
        ("10,000 puts", measure(puts).count_total),
        ("10,000 deletes", measure(deletes).count_total),
        ("100 batches of 20", measure(|| batches(Durability::Process)).count_total),
        ("100 synced batches of 20", measure(|| batches(Durability::Power)).count_total),
    ];
    for (what, count) in counts {
        println!("{what}: {count} calls of the global allocator");
    }
    assert!(counts.iter().all(|&(_, count)| count == 0));
}
