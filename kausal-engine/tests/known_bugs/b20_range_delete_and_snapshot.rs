//! cockroach#70886, pebble#1285: a range delete removed a key that a snapshot from before it should still see.

use kausal_engine::Durability;
use kausal_engine::sim::SimVfs;

use crate::{killed, numbered, open, options, prefix, put, read_all, try_open_with};

#[test]
fn a_snapshot_sees_what_a_later_range_delete_covers() {
    let vfs = SimVfs::new();
    let small_tables = options().table_bytes(2_000);
    let (engine, _scheduler) = try_open_with(std::sync::Arc::new(vfs.clone()), small_tables);
    let engine = engine.unwrap();
    for number in 0..200_u32 {
        put(&engine, &number.to_be_bytes(), &numbered(number, 30), Durability::Process).unwrap();
        if number % 60 == 59 {
            engine.flush().unwrap();
        }
    }
    let before = engine.snapshot();
    engine.delete_range(&50_u32.to_be_bytes(), &150_u32.to_be_bytes()).unwrap();
    let between = engine.snapshot();
    put(&engine, &100_u32.to_be_bytes(), b"again", Durability::Process).unwrap();
    for step in 0..4 {
        for number in 0..200_u32 {
            let key = number.to_be_bytes();
            let is_deleted = (50..150).contains(&number);
            let old = Some(numbered(number, 30));
            assert_eq!(engine.get_at(&before, &key).unwrap(), old, "step {step}");
            assert_eq!(engine.get_at(&between, &key).unwrap(), old.clone().filter(|_| !is_deleted));
            let now = if number == 100 { Some(b"again".to_vec()) } else { old.filter(|_| !is_deleted) };
            assert_eq!(engine.get(&key).unwrap(), now, "step {step}");
        }
        match step {
            0 => engine.flush().unwrap(),
            _ => engine.compact().unwrap(),
        }
    }
    drop((before, between));
    engine.compact().unwrap();
    assert_eq!(read_all(&engine).len(), 101);
    engine.delete_range(&50_u32.to_be_bytes(), &u32::MAX.to_be_bytes()).unwrap();
    assert_eq!(prefix(&open(&killed(&vfs)), 30), 50);
}
