//! Tables whose file offers a mapping: what is lent from it, what is read all the same, and when damage is found. That they
//! answer what other tables do, `agreement` and `damage` say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kausal_arena::Budget;
use kausal_index::{Cursor, Entry, Kind, SeqNo};
use kausal_sstable::{
    BlockBuffer, BlockCache, BlockCacheOptions, BlockClass, BlockKind, BufferPool, CachedBlocks, Compression,
    Damage, FileBytes, FileNumber, LookupBlocks, Residency, Table, TableError, TableOptions, TableSource,
};

use crate::{Mapped, budget, entry, open_mapped, options, read_all, small, write, write_with};

const RESIDENCIES: [Residency; 2] = [Residency::Indexes, Residency::Root];

fn open_from(source: &Arc<Mapped>, residency: Residency, budget: &Budget) -> Table {
    let source: Arc<dyn TableSource> = Arc::clone(source) as _;
    Table::open_with(source, FileNumber(1), None, residency, budget).unwrap()
}

fn cache() -> BlockCache {
    BlockCache::new(&Budget::root("block cache", 4 << 20), BlockCacheOptions::default()).unwrap()
}

/// Where the data blocks of a table lie, trailers included.
fn data_blocks(table: &Table) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut each = |block: &kausal_sstable::BlockInfo| {
        if block.kind == BlockKind::Data {
            ranges.push(block.handle.offset as usize..block.handle.end() as usize);
        }
    };
    table.blocks(&budget(), &mut each).unwrap();
    ranges
}

fn get_all<S: kausal_sstable::BlockSource>(table: &Table, list: &[Entry], blocks: &mut S) {
    for held in list {
        let found = table.get(&held.key, held.seqno, blocks).unwrap();
        assert_eq!(found, Some(held.as_ref()));
        assert_eq!(table.is_in_mapping(found.unwrap().value), table.mapped_block_count() > 0);
    }
}

#[test]
fn data_blocks_are_lent_and_nothing_is_read_or_cached() {
    let list = small();
    let source = Mapped::new(write(&list, 7));
    let mut table = open_from(&source, Residency::Indexes, &budget());
    assert_eq!((table.mapped_bytes(), table.mapped_block_count()), (None, 0));
    assert!(table.map().unwrap() && table.map().unwrap());
    assert_eq!(table.mapped_bytes(), Some(source.file.len() as u64));
    let (before, cache, buffers) = (source.reads(), cache(), BufferPool::new(&budget()));
    for _ in 0..2 {
        cache.peek(|peek| get_all(&table, &list, &mut LookupBlocks::new(&cache, peek, &buffers)));
        let mut blocks = CachedBlocks::new(&cache, &buffers);
        get_all(&table, &list, &mut blocks);
        let keys: Vec<&[u8]> = list.iter().map(|held| held.key.as_slice()).collect();
        let mut count = 0;
        table
            .get_many(&keys, SeqNo::MAX, &mut blocks, |_, found| count += usize::from(found.is_some()))
            .unwrap();
        assert_eq!(count, keys.len());
        assert_eq!(read_all(&table).unwrap(), list);
    }
    assert_eq!(source.reads(), before);
    assert_eq!(cache.stats().total().misses, 0);
    assert_eq!(table.mapped_block_count(), table.properties().block_count);
}

#[test]
fn whose_indexes_are_not_in_memory_lends_data_blocks_alone() {
    let list = small();
    let source = Mapped::new(write(&list, 7));
    let mut table = open_from(&source, Residency::Root, &budget());
    assert!(table.map().unwrap());
    let (cache, buffers) = (cache(), BufferPool::new(&budget()));
    cache.peek(|peek| get_all(&table, &list, &mut LookupBlocks::new(&cache, peek, &buffers)));
    let stats = cache.stats();
    assert!(stats.total().misses > 0, "filters and indexes are read: {stats:?}");
    assert_eq!(stats.class(BlockClass::Data).misses, 0, "{stats:?}");
    assert_eq!(table.mapped_block_count(), table.properties().block_count);
}

#[test]
fn every_flipped_byte_of_a_data_block_is_found_when_the_block_is_first_used() {
    let list = small();
    let file = write(&list, 7);
    let blocks = data_blocks(&open_mapped(file.clone(), Residency::Indexes).unwrap());
    let mut buffer = BlockBuffer::new(&budget()).unwrap();
    let mut flipped = 0;
    for block in &blocks {
        for byte in block.clone() {
            let mut damaged = file.clone();
            damaged[byte] ^= 1 << (byte % 8);
            let table = open_mapped(damaged, RESIDENCIES[byte % 2]).unwrap();
            // Twice: what was found damaged is never taken for good.
            for _ in 0..2 {
                let errors =
                    list.iter().filter_map(|held| table.get(&held.key, held.seqno, &mut buffer).err());
                let errors: Vec<TableError> = errors.collect();
                assert!(!errors.is_empty(), "byte {byte}");
                for error in errors {
                    let TableError::Corruption { offset, what, .. } = error else { panic!("{error}") };
                    assert_eq!((offset, what), (block.start as u64, Damage::Checksum), "byte {byte}");
                }
                assert!(read_all(&table).is_err());
            }
            assert_eq!(table.mapped_block_count(), blocks.len() as u64 - 1, "all others are good");
            flipped += 1;
        }
    }
    println!("{flipped} flipped bytes found");
}

#[test]
fn compressed_blocks_are_read_and_others_of_the_same_table_lent() {
    // Values that cannot be compressed among others that can.
    let mut noise = 1_u64;
    let list: Vec<Entry> = (0..200_u64)
        .map(|number| {
            let value: Vec<u8> = (0..40)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if number / 50 % 2 == 0 { 7 } else { (noise >> 56) as u8 }
                })
                .collect();
            entry(format!("key{number:03}").as_bytes(), 1 + number, Kind::Put, &value)
        })
        .collect();
    let options = TableOptions { compression: Compression::Lz4, ..options() };
    let source = Mapped::new(write_with(&list, 7, options, None, &[]));
    for residency in RESIDENCIES {
        let mut table = open_from(&source, residency, &budget());
        let (all, compressed) = (table.properties().block_count, table.properties().compressed_block_count);
        assert!(0 < compressed && compressed < all, "{compressed} of {all}");
        assert!(table.map().unwrap());
        let (cache, buffers) = (cache(), BufferPool::new(&budget()));
        for _ in 0..2 {
            let mut blocks = CachedBlocks::new(&cache, &buffers);
            for held in &list {
                assert_eq!(table.get(&held.key, held.seqno, &mut blocks).unwrap(), Some(held.as_ref()));
            }
            let mut cursor = table.cursor_from(blocks);
            let mut stands = cursor.seek_to_first().unwrap();
            for held in &list {
                assert!(stands && cursor.entry() == Some(held.as_ref()));
                stands = cursor.next().unwrap();
            }
        }
        assert_eq!(table.mapped_block_count(), all - compressed);
        assert_eq!(cache.stats().class(BlockClass::Data).misses, compressed);
    }
}

#[test]
fn a_table_that_is_compressed_throughout_is_not_mapped() {
    let options = TableOptions { compression: Compression::Lz4, ..options() };
    let list: Vec<Entry> = (0..40_u64)
        .map(|number| entry(format!("key{number:03}").as_bytes(), 1 + number, Kind::Put, &[7; 90]))
        .collect();
    let mut table =
        open_from(&Mapped::new(write_with(&list, 7, options, None, &[])), Residency::Indexes, &budget());
    assert_eq!(table.properties().compressed_block_count, table.properties().block_count);
    assert!(!table.map().unwrap() && table.mapped_bytes().is_none());
}

#[test]
fn a_file_without_a_mapping_or_with_another_length_is_read() {
    struct Short(Vec<u8>);
    impl TableSource for Short {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.0.read_exact_at(buffer, offset)
        }
        fn len(&self) -> std::io::Result<u64> {
            Ok(self.0.len() as u64)
        }
        fn mapping(&self) -> Option<FileBytes> {
            Some(FileBytes::from_owner(self.0[..self.0.len() / 2].to_vec()))
        }
    }
    let (list, file) = (small(), write(&small(), 7));
    let sources: [Arc<dyn TableSource>; 2] = [Arc::new(file.clone()), Arc::new(Short(file))];
    for source in sources {
        let mut table = Table::open(source, FileNumber(1), None, &budget()).unwrap();
        assert!(!table.map().unwrap());
        get_all(&table, &list, &mut BlockBuffer::new(&budget()).unwrap());
    }
}

#[test]
fn marks_are_charged_and_without_room_for_them_the_table_is_read() {
    let list: Vec<Entry> = (0..3_000_u64)
        .map(|number| entry(format!("key{number:05}").as_bytes(), 1 + number, Kind::Put, &[7; 90]))
        .collect();
    let file = write(&list, 7);
    let roomy = budget();
    let mut table = open_from(&Mapped::new(file.clone()), Residency::Indexes, &roomy);
    let unmapped = table.resident_bytes();
    assert!(table.map().unwrap());
    let marks = table.resident_bytes() - unmapped;
    let blocks = table.properties().block_count as usize;
    assert!((blocks / 8..blocks / 2).contains(&marks), "{marks} bytes for {blocks} blocks");
    assert_eq!(roomy.used(), table.resident_bytes());

    let tight = Budget::root("tables", unmapped + marks - 1);
    let mut table = open_from(&Mapped::new(file), Residency::Indexes, &tight);
    assert!(matches!(table.map(), Err(TableError::Memory { .. })));
    assert_eq!((table.mapped_bytes(), table.resident_bytes()), (None, unmapped));
    get_all(&table, &list, &mut BlockBuffer::new(&budget()).unwrap());
}

#[test]
fn who_goes_through_much_once_reads() {
    let list = small();
    let source = Mapped::new(write(&list, 7));
    let mut table = open_from(&source, Residency::Indexes, &budget());
    assert!(table.map().unwrap());
    let (before, pool) = (source.reads(), BufferPool::new(&budget()));
    let mut cursor = table.cursor_from(pool.lend().unwrap());
    let mut stands = cursor.seek_to_first().unwrap();
    for held in &list {
        assert!(stands && cursor.entry() == Some(held.as_ref()));
        stands = cursor.next().unwrap();
    }
    table.verify(&budget(), |_| {}).unwrap();
    assert!(source.reads() > before);
    assert_eq!(table.mapped_block_count(), 0);
}

#[test]
fn a_long_walk_says_what_it_will_need_and_a_look_up_does_not() {
    let list = small();
    let source = Mapped::new(write(&list, 7));
    let mut table = open_from(&source, Residency::Indexes, &budget());
    assert!(table.map().unwrap());
    get_all(&table, &list, &mut BlockBuffer::new(&budget()).unwrap());
    assert_eq!(source.needs.load(Ordering::Relaxed), 0);
    assert_eq!(read_all(&table).unwrap(), list);
    // 16 KiB reach over all of it.
    assert_eq!(source.needs.load(Ordering::Relaxed), 1);
}
