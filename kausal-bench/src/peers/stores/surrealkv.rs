//! surrealkv: an LSM behind optimistic transactions. Its commits are tasks of tokio; callers wait for them.

use std::path::Path;
use std::time::Instant;

use surrealkv::{Durability, LSMIterator as _, Mode, Transaction, Tree, TreeBuilder};
use tokio::runtime::{Builder, Runtime};

use crate::peers::store::{
    BACKGROUND_THREADS, BLOCK_BYTES, Entry, Memory, Outcome, Sink, Store, View, quiet,
};

/// Entries of a commit when a store is filled.
const LOAD_ENTRIES: usize = 1000;

struct SurrealKv {
    tree: Tree,
    runtime: Runtime,
}

/// Opens the store: two memtables in its write buffer. Its filter has 10 bits for each key as it comes.
pub fn open(folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
    let runtime = Builder::new_multi_thread().worker_threads(BACKGROUND_THREADS).enable_all().build()?;
    let builder = TreeBuilder::new()
        .with_path(folder.to_path_buf())
        .with_block_size(BLOCK_BYTES)
        .without_compression()
        .with_max_memtable_size(memory.write_buffer / 2)
        .with_block_cache_capacity(memory.cache as u64);
    let tree = {
        let _inside = runtime.enter();
        builder.build()?
    };
    Ok(Box::new(SurrealKv { tree, runtime }))
}

impl SurrealKv {
    fn write(
        &self,
        durability: Durability,
        work: impl FnOnce(&mut Transaction) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?;
        transaction.set_durability(durability);
        work(&mut transaction)?;
        self.runtime.block_on(transaction.commit())?;
        if durability == Durability::Eventual {
            // Its log has a buffer in the process, which a kill would take along.
            self.tree.flush_wal(false)?;
        }
        Ok(())
    }
}

impl Store for SurrealKv {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.write(Durability::Eventual, |transaction| Ok(transaction.set(key, value)?))
    }

    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.write(Durability::Immediate, |transaction| Ok(transaction.set(key, value)?))
    }

    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()> {
        self.write(Durability::Eventual, |transaction| {
            Ok(entries.iter().try_for_each(|&(key, value)| transaction.set(key, value))?)
        })
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.write(Durability::Eventual, |transaction| Ok(transaction.delete(key)?))
    }

    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()> {
        let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?;
        let mut count = 0;
        source(&mut |key, value| {
            transaction.set(key, value)?;
            count += 1;
            if count % LOAD_ENTRIES == 0 {
                self.runtime.block_on(transaction.commit())?;
                transaction = self.tree.begin_with_mode(Mode::WriteOnly)?;
            }
            Ok(())
        })?;
        Ok(self.runtime.block_on(transaction.commit())?)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let transaction = self.tree.begin_with_mode(Mode::ReadOnly)?;
        Ok(transaction.get(key)?.inspect(|value| found(value)).is_some())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()> {
        work(&mut Moment(self.tree.begin_with_mode(Mode::ReadOnly)?))
    }

    /// It has no flush of its own to be asked for but that of a checkpoint or of a manual compaction: waits until it rests.
    fn settle(&self) -> Outcome<Instant> {
        self.tree.flush_wal(true)?;
        Ok(quiet())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.runtime.block_on(self.tree.close())?)
    }
}

struct Moment(Transaction);

impl View for Moment {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.0.get(key)?.inspect(|value| found(value)).is_some())
    }

    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize> {
        let mut cursor = self.0.scan(key..)?;
        let mut is_there = cursor.seek_first()?;
        let mut count = 0;
        while is_there {
            each(cursor.key().user_key(), &cursor.value_ref()?);
            count += 1;
            if count == limit {
                break;
            }
            is_there = cursor.next()?;
        }
        Ok(count)
    }
}
