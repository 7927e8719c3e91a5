//! fjall: an LSM of skip lists and tables, its journal written to the kernel with each commit.

use std::path::Path;
use std::time::Instant;

use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _, Snapshot,
};

use crate::peers::store::{
    BACKGROUND_THREADS, BLOCK_BYTES, Entry, FILTER_BITS, Memory, Outcome, Sink, Store, View, quiet,
};

struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

/// Opens the store: two memtables in its write buffer. How many there are at most cannot be told to it.
pub fn open(folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
    let database = Database::builder(folder)
        .cache_size(memory.cache as u64)
        .worker_threads(BACKGROUND_THREADS)
        .open()?;
    let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(FILTER_BITS as f32));
    let options = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(memory.write_buffer as u64 / 2)
            .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES as u32))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
            .index_block_compression_policy(CompressionPolicy::all(CompressionType::None))
            .filter_policy(FilterPolicy::all(filter))
    };
    let keyspace = database.keyspace("bench", options)?;
    Ok(Box::new(Fjall { database, keyspace }))
}

impl Store for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.keyspace.insert(key, value)?)
    }

    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.keyspace.insert(key, value)?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()> {
        let mut batch = self.database.batch();
        for &(key, value) in entries {
            batch.insert(&self.keyspace, key, value);
        }
        Ok(batch.commit()?)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        Ok(self.keyspace.remove(key)?)
    }

    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()> {
        let mut ingestion = self.keyspace.start_ingestion()?;
        source(&mut |key, value| Ok(ingestion.write(key, value)?))?;
        Ok(ingestion.finish()?)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.keyspace.get(key)?.inspect(|value| found(value)).is_some())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()> {
        work(&mut Moment { keyspace: &self.keyspace, snapshot: self.database.snapshot() })
    }

    fn settle(&self) -> Outcome<Instant> {
        self.keyspace.rotate_memtable_and_wait()?;
        Ok(quiet())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

struct Moment<'store> {
    keyspace: &'store Keyspace,
    snapshot: Snapshot,
}

impl View for Moment<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.snapshot.get(self.keyspace, key)?.inspect(|value| found(value)).is_some())
    }

    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize> {
        let mut count = 0;
        for guard in self.snapshot.range(self.keyspace, key..).take(limit) {
            let (key, value) = guard.into_inner()?;
            each(&key, &value);
            count += 1;
        }
        Ok(count)
    }
}
