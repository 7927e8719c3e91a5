//! redb: a copy-on-write B-tree. Without a sync it keeps commits to itself, so a killed process loses them.

use std::path::Path;
use std::time::Instant;

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase as _, TableDefinition, WriteTransaction};

use crate::peers::store::{Entry, Memory, Outcome, Sink, Store, View};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("bench");

struct Redb(Database);

/// Opens the store: all of its memory is a cache of pages, of which it gives a part to those not yet written.
pub fn open(folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
    let database = Database::builder().set_cache_size(memory.total()).create(folder.join("bench.redb"))?;
    let store = Redb(database);
    // Readers want the table to be there.
    store.write(Durability::Immediate, |_| Ok(()))?;
    Ok(Box::new(store))
}

type Table<'transaction> = redb::Table<'transaction, &'static [u8], &'static [u8]>;

impl Redb {
    fn write(&self, durability: Durability, work: impl FnOnce(&mut Table<'_>) -> Outcome<()>) -> Outcome<()> {
        let mut transaction: WriteTransaction = self.0.begin_write()?;
        transaction.set_durability(durability)?;
        work(&mut transaction.open_table(TABLE)?)?;
        Ok(transaction.commit()?)
    }

    fn moment(&self) -> Outcome<Moment> {
        Ok(Moment(self.0.begin_read()?.open_table(TABLE)?))
    }
}

impl Store for Redb {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.write(Durability::None, |table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.write(Durability::Immediate, |table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()> {
        self.write(Durability::None, |table| {
            for &(key, value) in entries {
                table.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.write(Durability::None, |table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()> {
        self.write(Durability::None, |table| {
            source(&mut |key, value| {
                table.insert(key, value)?;
                Ok(())
            })
        })
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.moment()?.get(key, found)
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()> {
        work(&mut self.moment()?)
    }

    fn settle(&self) -> Outcome<Instant> {
        self.write(Durability::Immediate, |_| Ok(()))?;
        Ok(Instant::now())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.0.close()?)
    }
}

struct Moment(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl View for Moment {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.0.get(key)?.inspect(|value| found(value.value())).is_some())
    }

    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize> {
        let mut count = 0;
        for entry in self.0.range(key..)?.take(limit) {
            let (key, value) = entry?;
            each(key.value(), value.value());
            count += 1;
        }
        Ok(count)
    }
}
