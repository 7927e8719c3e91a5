//! The block cache under a model checker: slabs of one frame, and a budget with room for one or two of them, so that a
//! second block takes the frame of the first.
//!
//! ```console
//! $ cargo xtask model --crate kausal-sstable
//! $ cargo xtask model shuttle --crate kausal-sstable
//! ```
//!
//! [`Witness`] stands for the bytes of a frame, which no checker follows: it is written where a frame is filled, or its
//! memory gone, and read under a pin. If the cache did not order the two, loom reports a data race on it.
//!
//! Each planted defect must be found: `--planted cache_pin_relaxed` (a pin that does not see what was filled),
//! `--planted cache_unpin_relaxed` (an unpinning that does not keep reads before it), `--planted cache_peek_unfenced` (a look
//! that an evictor may not see).
//!
//! Whoever reads or writes at the same time is a thread of its own; the model's main thread only waits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;

use kausal_arena::sync::{Arc, model, thread};
use kausal_arena::{Budget, Reservation};
use kausal_sstable::{
    BlockCache, BlockCacheOptions, BlockClass, BlockKey, FileNumber, FrameHint, InsertError, PinnedBlock,
};

/// Bytes of a slab: of a model's, and of a cache of 4 MiB.
const SLAB_BYTES: usize = if cfg!(any(loom, shuttle)) { 256 } else { 132 << 10 };
/// Room for a directory and some slabs.
const CACHE_BYTES: usize = if cfg!(any(loom, shuttle)) { 6 << 10 } else { 4 << 20 };

/// Stands for the bytes of a frame.
#[derive(Default)]
struct Witness {
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<u64>,
}

impl Witness {
    fn read(&self) {
        #[cfg(loom)]
        self.cell.with(|_| ());
    }

    fn write(&self) {
        #[cfg(loom)]
        self.cell.with_mut(|_| ());
    }
}

// SAFETY: the cell's contents are never touched; the checker follows its accesses and reports unordered ones.
#[cfg(loom)]
unsafe impl Sync for Witness {}

/// A cache that can have `slabs` slabs, and the bytes of its one interesting frame.
struct Bed {
    cache: BlockCache,
    witness: Witness,
    hint: FrameHint,
    root: Budget,
    _others: Reservation,
}

fn bed(slabs: usize) -> Arc<Bed> {
    let root = Budget::root("model", 2 * CACHE_BYTES);
    root.trace_leases(false);
    let node = root.child("block cache", 0, CACHE_BYTES).unwrap();
    let cache = BlockCache::new(&node, BlockCacheOptions { shards: Some(1) }).unwrap();
    let others = root.reserve(root.ceiling() - root.used() - slabs * SLAB_BYTES).unwrap();
    Arc::new(Bed { cache, witness: Witness::default(), hint: FrameHint::new(), root, _others: others })
}

fn key(file: u64) -> BlockKey {
    BlockKey { file: FileNumber(file), offset: 0 }
}

impl Bed {
    fn insert(&self, file: u64) -> Result<PinnedBlock, InsertError<Infallible>> {
        self.cache.insert(&key(file), BlockClass::Data, 8, |bytes| {
            self.witness.write();
            bytes.copy_from_slice(&file.to_le_bytes());
            Ok(())
        })
    }

    fn get(&self, file: u64) -> bool {
        let found = self.cache.get(&key(file));
        found.inspect(|block| self.read(file, block)).is_some()
    }

    /// Looks without a pin, twice, so that the hazard goes from one frame to the next.
    fn peek(&self, file: u64) -> bool {
        self.cache.peek(|peek| {
            let found = [1, 2].map(|_| {
                let is_there = peek.block(&key(file), BlockClass::Data);
                if is_there {
                    self.witness.read();
                    assert_eq!(peek.bytes(), file.to_le_bytes(), "the block that was asked for");
                }
                is_there
            });
            found.contains(&true)
        })
    }

    /// Looks where the hint says, without a pin.
    fn peek_hinted(&self, file: u64) -> bool {
        self.cache.peek(|peek| {
            let is_there = peek.block_hinted(&key(file), BlockClass::Data, 8, &self.hint);
            if is_there {
                self.witness.read();
                assert_eq!(peek.bytes(), file.to_le_bytes(), "the block that was asked for");
            }
            is_there
        })
    }

    /// Pins where the hint says.
    fn get_hinted(&self, file: u64) -> bool {
        let found = self.cache.get_hinted(&key(file), 8, &self.hint);
        found.inspect(|block| self.read(file, block)).is_some()
    }

    /// Pins what it looks at, and reads it when the hazard names it no more.
    fn peek_and_pin(&self, file: u64) {
        let pinned = self.cache.peek(|peek| {
            let is_there = peek.block(&key(file), BlockClass::Data);
            if is_there { peek.pin() } else { None }
        });
        if let Some(block) = pinned {
            self.read(file, &block);
        }
    }

    fn read(&self, file: u64, block: &PinnedBlock) {
        self.witness.read();
        assert_eq!(**block, file.to_le_bytes(), "the block that was asked for");
    }
}

/// Explores a model of what two threads do at once, and says how far.
fn explore(name: &str, slabs: usize, before: fn(&Bed), one: fn(&Bed), other: fn(&Bed), after: fn(&Bed)) {
    let runs = model(move || {
        let bed = bed(slabs);
        before(&bed);
        let threads = [one, other].map(|work| {
            let bed = Arc::clone(&bed);
            thread::spawn(move || work(&bed))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        after(&bed);
    });
    println!("{name}: {runs} runs");
}

#[test]
fn a_block_is_seen_whole_or_not_at_all() {
    explore(
        "a_block_is_seen_whole_or_not_at_all",
        1,
        |_| (),
        |bed| drop(bed.insert(1).unwrap()),
        |bed| _ = bed.get(1),
        |bed| assert!(bed.get(1)),
    );
}

#[test]
fn a_frame_changes_hands_without_readers_only() {
    explore(
        "a_frame_changes_hands_without_readers_only",
        1,
        |bed| drop(bed.insert(1).unwrap()),
        // Refused while the reader has its pin, and only then.
        |bed| drop(bed.insert(2)),
        |bed| _ = bed.get(1),
        |bed| {
            let found = [bed.get(1), bed.get(2)];
            // A model's slab is a single frame.
            assert!(found != [false; 2] && !(cfg!(any(loom, shuttle)) && found == [true; 2]));
        },
    );
}

#[test]
fn a_slab_goes_back_without_readers_only() {
    explore(
        "a_slab_goes_back_without_readers_only",
        1,
        |bed| drop(bed.insert(1).unwrap()),
        |bed| {
            if bed.cache.shrink(usize::MAX) > 0 {
                bed.witness.write();
            }
        },
        |bed| _ = bed.get(1),
        |bed| assert!(bed.get(1) != (bed.root.used() + SLAB_BYTES == bed.root.ceiling())),
    );
}

#[test]
fn a_reader_of_a_removed_file_keeps_its_block() {
    explore(
        "a_reader_of_a_removed_file_keeps_its_block",
        1,
        |bed| drop(bed.insert(1).unwrap()),
        |bed| {
            bed.cache.remove_file(FileNumber(1));
            drop(bed.insert(2));
        },
        |bed| _ = bed.get(1),
        |bed| assert!(!bed.get(1)),
    );
}

#[test]
fn a_frame_changes_hands_without_those_who_peek_only() {
    explore(
        "a_frame_changes_hands_without_those_who_peek_only",
        1,
        |bed| drop(bed.insert(1).unwrap()),
        |bed| drop(bed.insert(2)),
        |bed| _ = bed.peek(1),
        |bed| {
            let found = [bed.peek(1), bed.peek(2)];
            assert!(found != [false; 2] && !(cfg!(any(loom, shuttle)) && found == [true; 2]));
        },
    );
}

#[test]
fn a_frame_changes_hands_without_those_who_peek_by_a_hint() {
    explore(
        "a_frame_changes_hands_without_those_who_peek_by_a_hint",
        1,
        |bed| {
            drop(bed.insert(1).unwrap());
            assert!(bed.peek_hinted(1), "and the hint says where");
        },
        |bed| drop(bed.insert(2)),
        |bed| _ = bed.peek_hinted(1),
        |bed| assert_eq!([bed.peek_hinted(1), bed.peek_hinted(2)], [bed.peek(1), bed.peek(2)]),
    );
}

#[test]
fn a_frame_changes_hands_without_those_who_pin_by_a_hint() {
    explore(
        "a_frame_changes_hands_without_those_who_pin_by_a_hint",
        1,
        |bed| {
            drop(bed.insert(1).unwrap());
            assert!(bed.get_hinted(1), "and the hint says where");
        },
        |bed| drop(bed.insert(2)),
        |bed| _ = bed.get_hinted(1),
        |bed| assert_eq!([bed.get_hinted(1), bed.get_hinted(2)], [bed.get(1), bed.get(2)]),
    );
}

#[test]
fn a_slab_goes_back_without_those_who_peek_only() {
    explore(
        "a_slab_goes_back_without_those_who_peek_only",
        1,
        |bed| drop(bed.insert(1).unwrap()),
        |bed| {
            if bed.cache.shrink(usize::MAX) > 0 {
                bed.witness.write();
            }
        },
        |bed| _ = bed.peek(1),
        |bed| assert!(bed.peek(1) != (bed.root.used() + SLAB_BYTES == bed.root.ceiling())),
    );
}

#[test]
fn a_frame_does_not_change_hands_while_what_was_peeked_at_is_pinned() {
    explore(
        "a_frame_does_not_change_hands_while_what_was_peeked_at_is_pinned",
        1,
        |bed| drop(bed.insert(1).unwrap()),
        |bed| drop(bed.insert(2)),
        |bed| bed.peek_and_pin(1),
        |bed| {
            let found = [bed.peek(1), bed.peek(2)];
            assert!(found != [false; 2] && !(cfg!(any(loom, shuttle)) && found == [true; 2]));
            assert_eq!(bed.cache.stats().pinned_bytes, 0);
        },
    );
}

#[test]
fn a_slab_does_not_go_back_while_what_was_peeked_at_is_pinned() {
    explore(
        "a_slab_does_not_go_back_while_what_was_peeked_at_is_pinned",
        1,
        |bed| drop(bed.insert(1).unwrap()),
        |bed| {
            if bed.cache.shrink(usize::MAX) > 0 {
                bed.witness.write();
            }
        },
        |bed| bed.peek_and_pin(1),
        |bed| assert!(bed.peek(1) != (bed.root.used() + SLAB_BYTES == bed.root.ceiling())),
    );
}

#[test]
fn a_block_is_peeked_at_whole_or_not_at_all() {
    explore(
        "a_block_is_peeked_at_whole_or_not_at_all",
        1,
        |_| (),
        |bed| drop(bed.insert(1).unwrap()),
        |bed| _ = bed.peek(1),
        |bed| assert!(bed.peek(1)),
    );
}

#[test]
fn of_two_that_fill_the_same_block_one_is_kept() {
    explore(
        "of_two_that_fill_the_same_block_one_is_kept",
        2,
        |_| (),
        insert_unwitnessed,
        insert_unwitnessed,
        |bed| {
            assert!(bed.cache.stats().class(BlockClass::Data).blocks == 1);
            assert_eq!(bed.cache.stats().pinned_bytes, 0);
        },
    );
}

/// Each of two frames would want a witness of its own. One that comes while the other obtains the slab may be refused.
fn insert_unwitnessed(bed: &Bed) {
    let filled = bed.cache.insert(&key(1), BlockClass::Data, 8, |bytes| {
        bytes.copy_from_slice(&1_u64.to_le_bytes());
        Ok::<_, Infallible>(())
    });
    if let Ok(block) = filled {
        assert_eq!(*block, 1_u64.to_le_bytes());
    }
}

#[test]
fn the_last_orphan_takes_everything_along() {
    let name = "the_last_orphan_takes_everything_along";
    let runs = model(|| {
        let Ok(Bed { cache, root, _others, .. }) = Arc::try_unwrap(bed(1)) else { unreachable!("it is new") };
        let fill = |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok::<_, Infallible>(())
        };
        let block = cache.insert(&key(1), BlockClass::Data, 8, fill).unwrap();
        let readers = [block.clone(), block].map(|block| {
            thread::spawn(move || {
                assert_eq!(*block, [7; 8]);
                drop(block);
            })
        });
        let owner = thread::spawn(move || drop(cache));
        readers.into_iter().for_each(|thread| thread.join().unwrap());
        owner.join().unwrap();
        drop(_others);
        assert_eq!(root.used(), 0);
    });
    println!("{name}: {runs} runs");
}
