//! Ours: one budget for memtables, tables and cache. With mapped tables the kernel's page cache comes on top of it, as LMDB's does.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use kausal_engine::{
    Cursor, Durability, KeyRange, Options, Snapshot, StorageEngine, WriteBatch, WriteOptions,
};

use crate::peers::store::{BLOCK_BYTES, Entry, FILTER_BITS, Memory, Outcome, Sink, Store, View, quiet};

struct Kausal(StorageEngine);

thread_local! {
    /// Where this thread's look-ups write their value, once and again.
    static VALUE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Kausal {
    fn look_up(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        VALUE.with_borrow_mut(|value| {
            let is_there = self.0.get_into(key, value)?;
            if is_there {
                found(value);
            }
            Ok(is_there)
        })
    }
}

fn options(memory: Memory) -> Options {
    Options::new()
        .memory_budget(memory.total())
        .durability(Durability::Process)
        .block_bytes(BLOCK_BYTES)
        .filter_bits_per_key(FILTER_BITS)
}

/// Opens the store.
pub fn open(folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Kausal(StorageEngine::open(folder, options(memory))?)))
}

/// Opens the store with mapped tables.
pub fn open_mapped(folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Kausal(StorageEngine::open(folder, options(memory).mapped_tables(true))?)))
}

impl Store for Kausal {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.0.put(key, value)?)
    }

    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut batch = WriteBatch::new();
        batch.put(key, value)?;
        Ok(self.0.write(&batch, WriteOptions::durable(Durability::Power))?)
    }

    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()> {
        let mut batch = WriteBatch::new();
        entries.iter().try_for_each(|(key, value)| batch.put(key, value))?;
        Ok(self.0.write(&batch, WriteOptions::default())?)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        Ok(self.0.delete(key)?)
    }

    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()> {
        self.0.ingest(|entries| source(&mut |key, value| Ok(entries.put(key, value)?)))?;
        Ok(())
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.look_up(key, found)
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()> {
        work(&mut Moment { store: self, snapshot: self.0.snapshot(), cursor: None })
    }

    fn settle(&self) -> Outcome<Instant> {
        self.0.flush()?;
        Ok(quiet())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.0.close()?)
    }
}

/// A snapshot for scans, and their cursor once there was one. A value is read of the present only, which is the same moment where
/// nobody writes.
struct Moment<'store> {
    store: &'store Kausal,
    snapshot: Snapshot,
    cursor: Option<Cursor>,
}

impl View for Moment<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.store.look_up(key, found)
    }

    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize> {
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.store.0.cursor_at(&self.snapshot, KeyRange::all())?,
        };
        let mut count = 0;
        cursor.walk_from(key, |entry| {
            // No value of a benchmark is so large that it lies apart.
            each(entry.key(), entry.value().unwrap_or_default());
            count += 1;
            if count == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.cursor = Some(cursor);
        Ok(count)
    }
}
