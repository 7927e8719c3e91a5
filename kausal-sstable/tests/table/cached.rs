//! Tables read by way of a block cache: the same answers, and fewer reads.

use std::sync::Arc;

use kausal_arena::Budget;
use kausal_index::{Cursor, Kind, SeqNo};
use kausal_sstable::{
    BlockCache, BlockCacheOptions, BufferPool, CachedBlocks, LookupBlocks, MergingCursor, Residency, Table,
};

use crate::{FileNumber, budget, compressions, entry, options, seqno, write_with};

fn cache(bytes: usize) -> BlockCache {
    BlockCache::new(&Budget::root("block cache", bytes), BlockCacheOptions::default()).unwrap()
}

fn key(number: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], b"/tail"].concat()
}

/// Caches that hold everything, little, and nothing at all.
#[test]
fn look_ups_and_walks_agree_whatever_the_cache_has_room_for() {
    let list: Vec<_> =
        (0..2_000_u32).map(|number| entry(&key(2 * number), 1, Kind::Put, &number.to_le_bytes())).collect();
    for compression in compressions() {
        let file = write_with(&list, 7, kausal_sstable::TableOptions { compression, ..options() }, None, &[]);
        for (bytes, residency) in [
            (8 << 20, Residency::Indexes),
            (8 << 20, Residency::Root),
            (512 << 10, Residency::Root),
            (1 << 10, Residency::Root),
        ] {
            let cache = cache(bytes.max(64 << 10));
            let table =
                Table::open_with(Arc::new(file.clone()), FileNumber(3), None, residency, &budget()).unwrap();
            let buffers = BufferPool::new(&budget());
            let mut blocks = CachedBlocks::new(&cache, &buffers);
            for _ in 0..2 {
                for number in 0..2_000_u32 {
                    let held = key(2 * number);
                    let found = table.get(&held, SeqNo::MAX, &mut blocks).unwrap().unwrap();
                    assert_eq!(found.value, number.to_le_bytes());
                    assert!(table.get(&key(2 * number + 1), SeqNo::MAX, &mut blocks).unwrap().is_none());
                }
                let mut cursor = table.cursor_from(CachedBlocks::new(&cache, &buffers));
                let mut stands = cursor.seek_to_first().unwrap();
                for entry in &list {
                    assert!(stands);
                    assert_eq!(cursor.entry().unwrap(), entry.as_ref());
                    stands = cursor.next().unwrap();
                }
                assert!(!stands);
            }
        }
    }
}

#[test]
fn tables_that_share_a_cache_are_not_taken_for_each_other() {
    let cache = Arc::new(cache(8 << 20));
    let tables: Vec<Table> = (0..3_u32)
        .map(|number| {
            let list: Vec<_> = (0..500_u32)
                .map(|place| entry(&key(3 * place + number), 1, Kind::Put, &[number as u8; 40]))
                .collect();
            let file = write_with(&list, u64::from(number) + 1, options(), None, &[]);
            Table::open(Arc::new(file), FileNumber(u64::from(number) + 1), None, &budget()).unwrap()
        })
        .collect();
    let buffers = Arc::new(BufferPool::new(&budget()));
    for _ in 0..2 {
        let blocks = || CachedBlocks::new(Arc::clone(&cache), Arc::clone(&buffers));
        let mut merge = MergingCursor::new(tables.iter().map(|table| table.cursor_from(blocks())).collect());
        let mut stands = merge.seek_to_first().unwrap();
        for number in 0..1_500_u32 {
            assert!(stands);
            let entry = merge.entry().unwrap();
            assert_eq!((entry.key, entry.value), (&key(number)[..], &[(number % 3) as u8; 40][..]));
            stands = merge.next().unwrap();
        }
        assert!(!stands);
    }
    let stats = cache.stats().total();
    assert!(stats.hits >= stats.misses && stats.misses > 100, "the second walk reads nothing: {stats:?}");
    assert_eq!(stats.blocks as u64, stats.misses);
}

#[test]
fn a_value_outlives_the_look_up_by_its_pin() {
    let cache = cache(4 << 20);
    let list = [entry(b"apple", 1, Kind::Put, b"red"), entry(b"beech", 2, Kind::Put, b"tree")];
    let file = write_with(&list, 7, options(), None, &[]);
    let table = Table::open(Arc::new(file), FileNumber(1), None, &budget()).unwrap();
    let buffers = BufferPool::new(&budget());
    let mut blocks = CachedBlocks::new(&cache, &buffers);
    assert!(table.get(b"beech", seqno(2), &mut blocks).unwrap().is_some());
    let pinned = blocks.take_pinned().unwrap();
    assert!(pinned.windows(4).any(|bytes| bytes == b"tree"));
    assert!(blocks.take_pinned().is_none());
    assert_eq!(cache.stats().pinned_bytes, 4096);
}

/// A block that nobody asked for before makes nobody leave; one that is asked for again soon is there from then on.
#[test]
fn a_look_up_and_a_walk_keep_the_block_of_a_stranger_to_themselves() {
    let cache = cache(1 << 20);
    let list: Vec<_> =
        (0..40_000_u32).map(|number| entry(&key(number), 1, Kind::Put, &number.to_le_bytes())).collect();
    let table_options = kausal_sstable::TableOptions::default();
    let tables: Vec<Table> = (1..5)
        .map(|number| {
            let file = write_with(&list, number, table_options, None, &[]);
            Table::open(Arc::new(file), FileNumber(number), None, &budget()).unwrap()
        })
        .collect();
    let buffers = BufferPool::new(&budget());
    let get = |table: &Table, number: u32| {
        cache.peek(|peek| {
            let mut blocks = LookupBlocks::new(&cache, peek, &buffers);
            let found = table.get(&list[number as usize].key, SeqNo::MAX, &mut blocks).unwrap().unwrap();
            assert_eq!(found.value, number.to_le_bytes());
        });
    };
    let blocks_in = |table: &Table| cache.remove_file(table.file());
    let walk = |table: &Table| {
        let mut cursor = table.cursor_from(CachedBlocks::new(&cache, &buffers));
        let mut stands = cursor.seek_to_first().unwrap();
        for number in 0..40_000_u32 {
            assert!(stands && cursor.entry().unwrap().value == number.to_le_bytes());
            stands = cursor.next().unwrap();
        }
    };
    // The first fills what is free.
    (0..40_000).step_by(200).for_each(|number| get(&tables[0], number));
    walk(&tables[0]);
    let before = cache.stats().total();
    assert!(before.blocks > 100);
    (0..40_000).step_by(200).for_each(|number| get(&tables[1], number));
    walk(&tables[2]);
    let after = cache.stats().total();
    assert!(after.misses > before.misses + 400, "{before:?} {after:?}");
    assert_eq!(after.evictions, before.evictions);
    // Two look-ups in one block, one behind the other.
    (0..2).for_each(|_| get(&tables[3], 7));
    assert_eq!(blocks_in(&tables[3]), 1);
}
