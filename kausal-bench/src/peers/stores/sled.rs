//! sled: a Bw-tree-like index over a heap of leaves. It writes in epochs of its own, so a killed process loses the last one.

use std::cell::RefCell;
use std::path::Path;
use std::time::Instant;

use parking_lot::Mutex;
use sled::{Batch, Config, Db};

use crate::peers::store::{Entry, Memory, Outcome, Sink, Store, View};

/// Entries of a commit when a store is filled.
const LOAD_ENTRIES: usize = 1000;

/// Entries of a leaf: what its own documentation takes.
const LEAF_FANOUT: usize = 1024;

/// zstd's level that costs least; it cannot be told not to compress.
const LEAST_COMPRESSION: i32 = 1;

type Table = Db<LEAF_FANOUT>;

/// Its handles are for one thread each, and dear to make: a thread keeps the one it got first.
struct Sled(Mutex<Table>);

thread_local! {
    static HANDLE: RefCell<Option<Table>> = const { RefCell::new(None) };
}

/// Opens the store: all of its memory is a cache.
pub fn open(folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
    let config = Config::new()
        .path(folder)
        .cache_capacity_bytes(memory.total())
        .zstd_compression_level(LEAST_COMPRESSION);
    HANDLE.set(None);
    Ok(Box::new(Sled(Mutex::new(config.open()?))))
}

impl Sled {
    fn with<T>(&self, work: impl FnOnce(&Table) -> Outcome<T>) -> Outcome<T> {
        HANDLE.with_borrow_mut(|handle| work(handle.get_or_insert_with(|| self.0.lock().clone())))
    }
}

impl Store for Sled {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.with(|table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.with(|table| {
            table.insert(key, value)?;
            table.flush()?;
            Ok(())
        })
    }

    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()> {
        let mut batch = Batch::default();
        for &(key, value) in entries {
            batch.insert(key, value);
        }
        self.with(|table| Ok(table.apply_batch(batch)?))
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.with(|table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()> {
        self.with(|table| {
            let (mut batch, mut count) = (Batch::default(), 0);
            source(&mut |key, value| {
                batch.insert(key, value);
                count += 1;
                if count % LOAD_ENTRIES == 0 {
                    table.apply_batch(std::mem::take(&mut batch))?;
                }
                Ok(())
            })?;
            Ok(table.apply_batch(batch)?)
        })
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.with(|table| Ok(table.get(key)?.inspect(|value| found(value)).is_some()))
    }

    /// It has no snapshots; whoever reads beside a writer is not given one here either.
    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()> {
        self.with(|table| work(&mut Moment(table)))
    }

    fn settle(&self) -> Outcome<Instant> {
        self.with(|table| {
            table.flush()?;
            Ok(Instant::now())
        })
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.settle()?;
        HANDLE.set(None);
        Ok(())
    }
}

struct Moment<'store>(&'store Table);

impl View for Moment<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.0.get(key)?.inspect(|value| found(value)).is_some())
    }

    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize> {
        let mut count = 0;
        for entry in self.0.range(key..).take(limit) {
            let (key, value) = entry?;
            each(&key, &value);
            count += 1;
        }
        Ok(count)
    }
}
