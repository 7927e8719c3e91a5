//! LMDB, through heed: a copy-on-write B-tree in a mapped file. Its cache is the kernel's, on top of any budget.
//!
//! The one use of unsafe code: opening an environment, which maps a file that nobody else may change.

use std::path::Path;
use std::time::Instant;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn};

use crate::peers::store::{Entry, Memory, Outcome, Sink, Store, View};

/// Addresses that the file may grow into; no memory and no disk is taken for them.
const MAP_BYTES: usize = 16 << 30;

type Table = Database<'static, Bytes, Bytes>;

struct Heed {
    env: Env,
    table: Table,
}

/// Opens the store, without syncs but for those that are asked for: what a commit wrote is in the kernel's hands. There is no
/// memory to be set.
pub fn open(folder: &Path, _memory: Memory) -> Outcome<Box<dyn Store>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(64);
    // SAFETY: without a sync at each commit a loss of power may damage the file; a benchmark throws it away then.
    unsafe { options.flags(EnvFlags::NO_SYNC) };
    // SAFETY: the folder was made for this benchmark, so nobody else changes or truncates the file while it is mapped, and
    // this process opens it once at a time.
    let env = unsafe { options.open(folder) }?;
    let table = env
        .create_databases_and_commit(env.write_txn()?, |opener, transaction| {
            opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })?
        .commit()
        .expect("it is never aborted");
    Ok(Box::new(Heed { env, table }))
}

impl Heed {
    fn write(&self, work: impl FnOnce(&mut RwTxn<'_>) -> Outcome<()>) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        work(&mut transaction)?;
        Ok(transaction.commit()?)
    }
}

impl Store for Heed {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.write(|transaction| Ok(self.table.put(transaction, key, value)?))
    }

    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.put(key, value)?;
        Ok(self.env.force_sync()?)
    }

    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()> {
        self.write(|transaction| {
            for (key, value) in entries {
                self.table.put(transaction, key, value)?;
            }
            Ok(())
        })
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.write(|transaction| {
            self.table.delete(transaction, key)?;
            Ok(())
        })
    }

    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()> {
        self.write(|transaction| {
            source(&mut |key, value| {
                Ok(self.table.put_with_flags(transaction, PutFlags::APPEND, key, value)?)
            })
        })
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let transaction = self.env.read_txn()?;
        Ok(self.table.get(&transaction, key)?.inspect(|value| found(value)).is_some())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()> {
        let transaction = self.env.read_txn()?;
        work(&mut Moment { table: self.table, transaction: &transaction })
    }

    fn settle(&self) -> Outcome<Instant> {
        self.env.force_sync()?;
        Ok(Instant::now())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct Moment<'transaction> {
    table: Table,
    transaction: &'transaction RoTxn<'transaction>,
}

impl View for Moment<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.table.get(self.transaction, key)?.inspect(|value| found(value)).is_some())
    }

    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize> {
        let range = (std::ops::Bound::Included(key), std::ops::Bound::Unbounded);
        let mut count = 0;
        for entry in self.table.range(self.transaction, &range)?.take(limit) {
            let (key, value) = entry?;
            each(key, value);
            count += 1;
        }
        Ok(count)
    }
}
