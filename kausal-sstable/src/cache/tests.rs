//! Tests of the cache as its users see it. The model of its races is in `tests/loom_cache.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kausal_arena::Budget;
use kausal_arena::sync::counts;
use proptest::prelude::*;

use super::frames::{PAGE_BYTES, slab_bytes};
use super::*;

/// Bytes of a slab of a cache of 8 MiB.
const SLAB_BYTES: usize = slab_bytes(64);

fn key(file: u64, place: u64) -> BlockKey {
    BlockKey { file: FileNumber(file), offset: place * 4096 }
}

/// What a block of this key and length holds, so that one that was recycled under a reader is seen.
fn write_block(key: &BlockKey, bytes: &mut [u8]) -> Result<(), Infallible> {
    let seed = (key.file.0 * 31 + key.offset / 4096) as u8;
    bytes.iter_mut().enumerate().for_each(|(place, byte)| *byte = seed.wrapping_add(place as u8));
    Ok(())
}

fn check_block(key: &BlockKey, bytes: &[u8]) {
    let mut expected = vec![0; bytes.len()];
    write_block(key, &mut expected).unwrap();
    assert!(expected == bytes, "{key:?} holds another block's bytes");
}

fn put(cache: &BlockCache, key: BlockKey, len: usize) -> Result<PinnedBlock, InsertError<Infallible>> {
    cache.insert(&key, BlockClass::Data, len, |bytes| write_block(&key, bytes))
}

fn cache_of(bytes: usize) -> (Budget, BlockCache) {
    let budget = Budget::root("block cache", bytes);
    let cache = BlockCache::new(&budget, BlockCacheOptions::default()).unwrap();
    (budget, cache)
}

/// Inserts blocks of one page until `count` are pinned.
fn pin_pages(cache: &BlockCache, count: u64) -> Vec<PinnedBlock> {
    (0..count).map(|place| put(cache, key(9, place), PAGE_BYTES).unwrap()).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Get(u64, u64),
    /// The length is in eighths of a page.
    Insert(u64, u64, usize, usize),
    Unpin(usize),
    RemoveFile(u64),
    Shrink(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || 0..400_u64;
    prop_oneof![
        10 => (0..4_u64, place()).prop_map(|(file, place)| Step::Get(file, place)),
        10 => (0..4_u64, place(), 0..200_usize, 0..3_usize)
            .prop_map(|(file, place, eighths, class)| Step::Insert(file, place, eighths * eighths / 200, class)),
        8 => any::<usize>().prop_map(Step::Unpin),
        1 => (0..4_u64).prop_map(Step::RemoveFile),
        1 => (0..9_usize).prop_map(|slabs| Step::Shrink(slabs * SLAB_BYTES)),
    ]
}

/// What the cache may hold: everything that was inserted and whose file was not removed since.
#[derive(Default)]
struct Model {
    lengths: HashMap<BlockKey, usize>,
    pinned: Vec<(BlockKey, PinnedBlock)>,
    gets: u64,
}

impl Model {
    fn take(&mut self, cache: &BlockCache, step: Step) {
        match step {
            Step::Get(file, place) => self.get(cache, key(file, place)),
            Step::Insert(file, place, eighths, class) => {
                let (key, len) = (key(file, place), eighths * PAGE_BYTES / 8);
                let len = self.lengths.get(&key).copied().unwrap_or(len);
                let class = BlockClass::ALL[class];
                match cache.insert(&key, class, len, |bytes| write_block(&key, bytes)) {
                    Ok(block) => {
                        assert_eq!(block.len(), len);
                        self.lengths.insert(key, len);
                        self.pinned.push((key, block));
                        self.get(cache, key);
                    }
                    Err(InsertError::Refused(Refusal::TooLarge { .. })) => {
                        assert!(len > cache.block_bytes_max());
                    }
                    Err(error) => assert!(!self.pinned.is_empty(), "{error} though nothing is pinned"),
                }
            }
            Step::Unpin(number) if !self.pinned.is_empty() => {
                let (key, block) = self.pinned.swap_remove(number % self.pinned.len());
                check_block(&key, &block);
            }
            Step::Unpin(_) => {}
            Step::RemoveFile(file) => {
                cache.remove_file(FileNumber(file));
                self.lengths.retain(|key, _| key.file != FileNumber(file));
            }
            Step::Shrink(bytes) => assert!(bytes > 0 || cache.shrink(bytes) == 0),
        }
    }

    fn get(&mut self, cache: &BlockCache, key: BlockKey) {
        self.gets += 1;
        let is_pinned =
            self.pinned.iter().any(|(pinned, _)| *pinned == key) && self.lengths.contains_key(&key);
        match cache.get(&key) {
            Some(block) => {
                assert_eq!(Some(block.len()), self.lengths.get(&key).copied(), "never inserted, or removed");
                check_block(&key, &block);
            }
            None => assert!(!is_pinned, "what is pinned is there"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_cache_answers_with_the_block_or_not_at_all(
        steps in prop::collection::vec(step(), 1..1500),
        megabytes in 1..5_usize,
    ) {
        let (budget, cache) = cache_of(megabytes << 20);
        let mut model = Model::default();
        for step in steps {
            model.take(&cache, step);
            prop_assert!(budget.used() <= megabytes << 20);
        }
        model.pinned.iter().for_each(|(key, block)| check_block(key, block));
        let (stats, report) = (cache.stats(), budget.report());
        // Of two that insert the same block one finds the other's, which is a hit that was no look-up of ours.
        prop_assert!(stats.total().hits + stats.misses >= model.gets);
        prop_assert_eq!(report.leaves_used(), report.root().used);
        drop((cache, model));
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn everything_pinned_refuses_at_once_and_one_pin_less_is_room() {
    let (budget, cache) = cache_of(2 << 20);
    let mut pins = Vec::new();
    let refusal = loop {
        match put(&cache, key(1, pins.len() as u64), 4000) {
            Ok(block) => pins.push(block),
            Err(error) => break error,
        }
    };
    assert_eq!(refusal, InsertError::Refused(Refusal::NoRoom { bytes: 4000 }));
    assert!(pins.len() * PAGE_BYTES > (2 << 20) * 9 / 10, "only {} pages", pins.len());
    assert!(budget.used() <= 2 << 20);
    pins.pop();
    // Each attempt looks at no more than the next 64 in line.
    let attempts = pins.len() / 64 + 1;
    assert!((0..attempts).any(|_| put(&cache, key(2, 0), 4000).is_ok()));
    for (place, block) in pins.iter().enumerate() {
        check_block(&key(1, place as u64), block);
    }
}

/// Cursors hold whole blocks for long, more of them than the small queue has room for, and than an eviction passes by.
#[test]
fn pins_of_many_new_blocks_do_not_keep_others_out() {
    let (budget, cache) = cache_of(8 << 20);
    for place in 0..4000 {
        put(&cache, key(1, place), PAGE_BYTES).unwrap();
    }
    let pins = pin_pages(&cache, 300);
    let refused = (0..4000).filter(|&place| put(&cache, key(2, place), PAGE_BYTES).is_err()).count();
    assert!(refused <= 300 / 64 + 1, "{refused} of 4,000 inserts were refused for 300 pins");
    pins.iter().enumerate().for_each(|(place, block)| check_block(&key(9, place as u64), block));
    assert!(budget.used() <= 8 << 20);
}

/// What a reader does: a block from the cache, or into the cache, or, if that refuses, into memory of its own.
#[test]
fn a_read_never_fails_because_of_pins() {
    let (_, cache) = cache_of(1 << 20);
    let read = |key: BlockKey| match cache.get(&key).map_or_else(|| put(&cache, key, 4000), Ok) {
        Ok(block) => (Some(block.clone()), block.to_vec()),
        Err(InsertError::Refused(Refusal::NoRoom { bytes })) => {
            let mut own = vec![0; bytes];
            write_block(&key, &mut own).unwrap();
            (None, own)
        }
        Err(error) => panic!("{error}"),
    };
    let mut pins = Vec::new();
    for place in 0..1000 {
        let (pin, bytes) = read(key(1, place));
        check_block(&key(1, place), &bytes);
        pins.extend(pin);
    }
    assert!(pins.len() > 200 && pins.len() < 256, "{} of 1,000 blocks have a frame", pins.len());
    let found = (0..1000).filter(|&place| cache.get(&key(1, place)).is_some()).count();
    assert_eq!(found, pins.len(), "what is pinned is found, and nothing else has room");
    assert_eq!(cache.stats().class(BlockClass::Data).refusals as usize, 1000 - pins.len());
}

#[test]
fn a_large_block_makes_neighbours_leave() {
    let (_, cache) = cache_of(2 << 20);
    let pages = 32 << 10;
    for place in 0..2000 {
        put(&cache, key(1, place), PAGE_BYTES).unwrap();
    }
    // Every eighth page pinned leaves no run of eight; one of them let go leaves one.
    let mut pins: Vec<PinnedBlock> = (0..2000).filter_map(|place| cache.get(&key(1, place))).collect();
    assert!(put(&cache, key(2, 0), pages).is_err());
    pins.truncate(8);
    check_block(&key(2, 0), &put(&cache, key(2, 0), pages).unwrap());
    assert_eq!(
        put(&cache, key(2, 1), pages + 1).unwrap_err(),
        InsertError::Refused(Refusal::TooLarge { bytes: pages + 1, max: pages })
    );
}

/// Index and filter blocks are of any size. What such a block does not need of the next power of two is of use to others.
#[test]
fn a_block_takes_no_page_more_than_it_needs() {
    let (_, cache) = cache_of(8 << 20);
    for place in 0..5000 {
        put(&cache, key(1, place), 5 * PAGE_BYTES - 100).unwrap();
    }
    let class = *cache.stats().class(BlockClass::Data);
    assert_eq!(class.bytes, class.blocks * 5 * PAGE_BYTES);
    // Alone they leave three pages in each eight.
    let fit = (8 << 20) / (8 * PAGE_BYTES);
    assert!(class.blocks > fit * 9 / 10, "{} of {fit}", class.blocks);
    for place in 0..5000 {
        put(&cache, key(2, place), PAGE_BYTES).unwrap();
    }
    let class = *cache.stats().class(BlockClass::Data);
    assert!(class.bytes > (8 << 20) * 19 / 20, "{} bytes", class.bytes);
}

#[test]
fn a_frame_that_was_not_filled_is_free_again() {
    let (_, cache) = cache_of(1 << 20);
    for _ in 0..1000 {
        let failed = cache.insert(&key(1, 1), BlockClass::Index, 100, |_| Err("unreadable"));
        assert_eq!(failed.unwrap_err(), InsertError::Fill("unreadable"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            cache.insert(&key(1, 1), BlockClass::Index, 100, |_| -> Result<(), Infallible> {
                panic!("planned")
            })
        }));
        assert!(panicked.is_err());
    }
    assert!(cache.get(&key(1, 1)).is_none());
    assert_eq!(cache.stats().class(BlockClass::Index).misses, 2000);
    assert_eq!(cache.stats().class(BlockClass::Index).blocks, 0);
}

#[test]
fn a_scan_leaves_what_is_read_again_and_again() {
    let (_, cache) = cache_of(8 << 20);
    let hot = 1000_u64;
    for _ in 0..4 {
        for place in 0..hot {
            if cache.get(&key(1, place)).is_none() {
                put(&cache, key(1, place), PAGE_BYTES).unwrap();
            }
        }
    }
    for place in 0..20_000 {
        put(&cache, key(2, place), PAGE_BYTES).unwrap();
    }
    let left = (0..hot).filter(|&place| cache.get(&key(1, place)).is_some()).count();
    assert!(left > 950, "{left} of {hot} are left");
}

#[test]
fn who_is_turned_away_and_comes_back_soon_is_wanted() {
    let (_root, cache) = cache_of(4 << 20);
    let wants = |block: BlockKey| cache.wants(&block, BlockClass::Data, PAGE_BYTES);
    let mut place = 0;
    while cache.stats().total().evictions == 0 {
        assert!(wants(key(1, place)), "block {place}, for which nobody has to leave");
        put(&cache, key(1, place), PAGE_BYTES).unwrap();
        place += 1;
    }
    let before = cache.stats().total();
    // Nobody leaves for those who come once.
    assert!((0..2 * place).all(|other| !wants(key(2, other))));
    assert_eq!(cache.stats().total().evictions, before.evictions);
    assert_eq!(cache.stats().total().misses, before.misses + 2 * place);
    // The last of them were here not long ago, the first were, and are trusted when they come for the fourth time.
    assert!(wants(key(2, 2 * place - 1)));
    put(&cache, key(2, 2 * place - 1), PAGE_BYTES).unwrap();
    assert!(cache.get(&key(2, 2 * place - 1)).is_some());
    let asked = (1..9).find(|_| wants(key(2, 0)));
    assert!(asked.is_some_and(|asked| asked <= 3), "{asked:?}");
    // Where a file went there is room.
    assert!(cache.remove_file(FileNumber(1)) > 0);
    assert!(wants(key(3, 0)));
}

#[test]
fn a_file_that_is_gone_is_not_found_and_its_readers_go_on() {
    let (_, cache) = cache_of(2 << 20);
    let pinned = put(&cache, key(1, 0), 100).unwrap();
    put(&cache, key(1, 1), 100).unwrap();
    put(&cache, key(2, 0), 100).unwrap();
    assert_eq!(cache.remove_file(FileNumber(1)), 2);
    assert!(cache.get(&key(1, 0)).is_none() && cache.get(&key(1, 1)).is_none());
    assert!(cache.get(&key(2, 0)).is_some());
    check_block(&key(1, 0), &pinned);
    assert_eq!(cache.stats().pinned_bytes, PAGE_BYTES);
    drop(pinned);
    // The frame of the pinned block goes when its turn comes.
    for place in 0..1000 {
        put(&cache, key(3, place), PAGE_BYTES).unwrap();
    }
    assert_eq!(cache.stats().pinned_bytes, 0);
}

#[test]
fn one_pinned_block_keeps_a_small_part_of_a_small_cache() {
    let root = Budget::root("database", 8 << 20);
    let cache =
        BlockCache::new(&root.child("block cache", 0, 4 << 20).unwrap(), BlockCacheOptions::default());
    let cache = cache.unwrap();
    let others = root.child("tables", 0, 8 << 20).unwrap();
    others.come_first(true);
    let pinned = put(&cache, key(1, 0), PAGE_BYTES).unwrap();
    for place in 1..100 {
        put(&cache, key(1, place), PAGE_BYTES).unwrap();
    }
    // All but the directory and a 32nd of the cache.
    let most = (8 << 20) - (4 << 20) / 20 - slab_bytes(32);
    let taken = others.reserve(most).expect("all but the pinned block's slab goes back");
    check_block(&key(1, 0), &pinned);
    drop((pinned, taken));
}

#[test]
fn blocks_of_a_large_cache_share_huge_pages() {
    const HUGE_BYTES: usize = 2 << 20;
    let root = Budget::root("database", 80 << 20);
    let node = root.child("block cache", 0, 64 << 20).unwrap();
    let cache = BlockCache::new(&node, BlockCacheOptions { shards: Some(1) }).unwrap();
    let own = node.used();
    // One page has the header of the slab's chunk, and in debug builds one its end.
    let pages = HUGE_BYTES / PAGE_BYTES - 2;
    let blocks = pin_pages(&cache, pages as u64);
    assert_eq!(node.used(), own + HUGE_BYTES);
    if cfg!(target_os = "linux") {
        let first = blocks[0].as_ptr().addr() / HUGE_BYTES;
        assert!(blocks.iter().all(|block| block.as_ptr().addr() / HUGE_BYTES == first));
    }
    // The largest block needs one more slab.
    let _largest = put(&cache, key(2, 0), cache.block_bytes_max()).unwrap();
    assert_eq!(cache.block_bytes_max(), HUGE_BYTES / 4);
    assert_eq!(node.used(), own + 2 * HUGE_BYTES);
}

#[test]
fn slabs_go_back_whole_down_to_the_floor() {
    let root = Budget::root("database", 16 << 20);
    let node = root.child("block cache", 2 << 20, 8 << 20).unwrap();
    let cache = BlockCache::new(&node, BlockCacheOptions::default()).unwrap();
    let own = node.used();
    for place in 0..4000 {
        put(&cache, key(1, place), PAGE_BYTES).unwrap();
    }
    let full = node.used();
    assert!(full > 7 << 20, "{full}");
    assert_eq!(root.please_shrink(1), SLAB_BYTES);
    assert_eq!(node.used(), full - SLAB_BYTES);
    let rest = root.please_shrink(usize::MAX);
    assert!(node.used() <= 2 << 20 && node.used() + SLAB_BYTES > 2 << 20, "{} left", node.used());
    assert_eq!(node.used() + rest + SLAB_BYTES, full);
    let pins: Vec<_> = pin_pages(&cache, 50);
    cache.shrink(usize::MAX);
    pins.iter().enumerate().for_each(|(place, block)| check_block(&key(9, place as u64), block));
    drop((pins, cache));
    assert!(own > 0 && node.used() == 0);
}

#[test]
fn what_the_budget_lends_to_others_is_done_without() {
    let root = Budget::root("database", 8 << 20);
    let node = root.child("block cache", 0, 8 << 20).unwrap();
    let cache = BlockCache::new(&node, BlockCacheOptions::default()).unwrap();
    let other = root.reserve(6 << 20).unwrap();
    for place in 0..3000 {
        put(&cache, key(1, place), PAGE_BYTES).unwrap();
    }
    assert!(root.used() <= 8 << 20 && node.used() > 1 << 20);
    drop(other);
    for place in 0..3000 {
        put(&cache, key(2, place), PAGE_BYTES).unwrap();
    }
    assert!(node.used() > 7 << 20, "what came free is used: {}", node.used());
}

#[test]
fn the_report_has_a_node_for_each_class() {
    let (budget, cache) = cache_of(8 << 20);
    for place in 0..300 {
        let class = BlockClass::ALL[place as usize % 3];
        let key = key(1, place);
        cache.insert(&key, class, 5000, |bytes| write_block(&key, bytes)).unwrap();
    }
    let report = budget.report();
    for class in BlockClass::ALL {
        let node = report.nodes().iter().find(|node| &*node.name == class.name()).unwrap();
        let exact = cache.stats().class(class).bytes;
        assert_eq!(exact, 100 * 2 * PAGE_BYTES, "5,000 bytes are two pages");
        assert!(node.used.abs_diff(exact) <= 64 << 10, "{} and {exact}", node.used);
    }
    assert_eq!(report.leaves_used(), report.root().used);
}

#[test]
fn a_hit_takes_no_lock_and_writes_the_frame_only() {
    let (_, cache) = cache_of(2 << 20);
    put(&cache, key(1, 0), 100).unwrap();
    let (seen, found) = counts::of(|| cache.get(&key(1, 0)).is_some());
    assert!(found);
    assert_eq!((seen.locks, seen.read_modify_writes), (0, 2), "a pin and its end");
    let before = cache.stats().class(BlockClass::Data).hits;
    (0..10).for_each(|_| drop(cache.get(&key(1, 0)).unwrap().clone()));
    assert_eq!(cache.stats().class(BlockClass::Data).hits, before + 10);
}

#[test]
fn blocks_outlive_their_cache() {
    let (budget, cache) = cache_of(4 << 20);
    let pins = pin_pages(&cache, 300);
    let value = Pinned::new(pins[7].clone(), 5..3000).unwrap();
    let small = Pinned::new(pins[8].clone(), 5..10).unwrap();
    assert!(Pinned::new(pins[8].clone(), 5..PAGE_BYTES + 1).is_none());
    let (expected, shared) = (value.to_vec(), value.into_bytes());
    let copied = small.into_bytes();
    drop(cache);
    assert!(budget.used() > 0, "they still have their memory");
    let others = pins.to_vec();
    std::thread::spawn(move || drop(pins)).join().unwrap();
    others.iter().enumerate().for_each(|(place, block)| check_block(&key(9, place as u64), block));
    drop(others);
    assert!(shared == expected && budget.used() > 0, "shared bytes pin their block");
    drop(shared);
    assert_eq!((budget.used(), copied.len()), (0, 5));
}

/// The block, pinned out of a look at it.
fn peeked_and_pinned(cache: &BlockCache, key: &BlockKey) -> Option<PinnedBlock> {
    cache.peek(|peek| peek.block(key, BlockClass::Data).then(|| peek.pin()).flatten())
}

#[test]
fn what_was_pinned_out_of_a_look_stays_when_the_look_is_over() {
    let (_budget, cache) = cache_of(2 << 20);
    let first = key(1, 1);
    drop(put(&cache, first, 3000).unwrap());
    assert!(peeked_and_pinned(&cache, &key(1, 2)).is_none(), "it is not there");
    let block = peeked_and_pinned(&cache, &first).unwrap();
    assert_eq!(cache.stats().pinned_bytes, PAGE_BYTES);
    // More than the cache holds: what is not pinned goes.
    (0..2000).for_each(|place| drop(put(&cache, key(2, place), PAGE_BYTES).unwrap()));
    check_block(&first, &block);
    assert_eq!(block.len(), 3000);
    drop(block);
    assert_eq!(cache.stats().pinned_bytes, 0);
}

/// Whether the block is found by way of the hint, by who pins and by who does not, or by way of the directory.
fn followed(cache: &BlockCache, key: &BlockKey, hint: &FrameHint) -> bool {
    let pinned = cache.get_hinted(key, PAGE_BYTES, hint).inspect(|block| check_block(key, block));
    let peeked = cache.peek(|peek| {
        let is_there = peek.block_hinted(key, BlockClass::Data, PAGE_BYTES, hint);
        if is_there {
            check_block(key, peek.bytes());
        }
        is_there
    });
    assert_eq!(pinned.is_some(), peeked);
    assert_eq!(cache.get(key).is_some(), peeked, "what the directory says");
    peeked
}

#[test]
fn a_hint_finds_its_block_and_a_wrong_one_does_no_harm() {
    let (_budget, cache) = cache_of(2 << 20);
    let (hint, first) = (FrameHint::new(), key(1, 1));
    assert!(!followed(&cache, &first, &hint), "nowhere yet");
    drop(put(&cache, first, PAGE_BYTES).unwrap());
    assert!(followed(&cache, &first, &hint) && format!("{hint:?}").contains("Some"), "{hint:?}");
    let (hits, misses) = (cache.stats().total().hits, cache.stats().misses);
    assert!(followed(&cache, &first, &hint));
    assert_eq!((cache.stats().total().hits, cache.stats().misses), (hits + 3, misses), "each is a hit");
    cache.remove_file(first.file);
    assert!(!followed(&cache, &first, &hint), "it is gone");
    // More than the cache holds: the frame is another block's.
    (0..2000).for_each(|place| drop(put(&cache, key(2, place), PAGE_BYTES).unwrap()));
    assert!(!followed(&cache, &first, &hint));
    drop(put(&cache, first, PAGE_BYTES).unwrap());
    assert!(followed(&cache, &first, &hint), "it is somewhere else now");
    // One of a cache with more frames.
    let (_budget, large) = cache_of(8 << 20);
    let far = FrameHint::new();
    (0..1500).for_each(|place| drop(put(&large, key(3, place), PAGE_BYTES).unwrap()));
    assert!(followed(&large, &key(3, 1499), &far));
    assert!(followed(&cache, &first, &far));
}

#[test]
fn threads_that_fill_and_read_the_same_blocks_see_only_whole_ones() {
    let budget = Budget::root("block cache", 3 << 20);
    let cache = BlockCache::new(&budget, BlockCacheOptions { shards: Some(2) }).unwrap();
    let hints: Vec<FrameHint> = (0..1600).map(|_| FrameHint::new()).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (cache, budget, hints) = (&cache, &budget, &hints);
            scope.spawn(move || {
                let mut random = thread + 1;
                let mut kept = Vec::new();
                for turn in 0..6_000 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let key = key(random >> 62, (random >> 40) % 400);
                    let hint =
                        &hints[(key.file.0 * 400 + key.offset / PAGE_BYTES as u64) as usize % hints.len()];
                    let found = match turn % 3 {
                        0 => cache.get(&key),
                        1 => peeked_and_pinned(cache, &key),
                        _ => cache.get_hinted(&key, PAGE_BYTES, hint),
                    };
                    let block = found.or_else(|| put(cache, key, 3000 + key.file.0 as usize * 900).ok());
                    if let Some(block) = block {
                        check_block(&key, &block[..64]);
                        kept.push((key, block));
                    }
                    if kept.len() > 20 {
                        let (key, block) = kept.swap_remove(random as usize % 20);
                        check_block(&key, &block);
                    }
                    if turn % 1000 == 0 {
                        cache.shrink(1);
                        cache.remove_file(FileNumber(thread));
                    }
                    assert!(budget.used() <= 3 << 20);
                }
            });
        }
    });
    drop(cache);
    assert_eq!(budget.used(), 0);
}
