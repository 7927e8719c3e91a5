//! RocksDB, through its C interface: skip lists and tables, its log written to the kernel with each commit.

use std::path::Path;
use std::time::Instant;

use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, DB, DBCompressionType, DBRawIterator, IngestExternalFileOptions,
    Options, SnapshotWithThreadMode, SstFileWriter, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::peers::store::{
    BACKGROUND_THREADS, BLOCK_BYTES, Entry, FILTER_BITS, Memory, Outcome, Sink, Store, View,
};

struct RocksDb {
    database: DB,
    options: Options,
}

/// Opens the store: two memtables in its write buffer, index and filters in its cache.
pub fn open(folder: &Path, memory: Memory) -> Outcome<Box<dyn Store>> {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(f64::from(FILTER_BITS), false);
    table.set_checksum_type(ChecksumType::XXH3);
    table.set_format_version(6);
    table.set_block_cache(&Cache::new_lru_cache(memory.cache));
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(memory.write_buffer / 2);
    options.set_max_write_buffer_number(2);
    options.set_max_background_jobs(BACKGROUND_THREADS as i32);
    let database = DB::open(&options, folder)?;
    Ok(Box::new(RocksDb { database, options }))
}

impl Store for RocksDb {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.database.put(key, value)?)
    }

    fn put_sync(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.database.put_opt(key, value, &options)?)
    }

    fn put_batch(&self, entries: &[Entry<'_>]) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        Ok(self.database.write(batch)?)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        Ok(self.database.delete(key)?)
    }

    fn load(&self, source: &mut dyn FnMut(&mut Sink<'_>) -> Outcome<()>) -> Outcome<()> {
        let path = self.database.path().join("load.sst");
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&path)?;
        source(&mut |key, value| Ok(writer.put(key, value)?))?;
        writer.finish()?;
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        Ok(self.database.ingest_external_file_opts(&ingest, vec![path])?)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.database.get_pinned(key)?.inspect(|value| found(value)).is_some())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn View) -> Outcome<()>) -> Outcome<()> {
        let snapshot = self.database.snapshot();
        work(&mut Moment { snapshot: &snapshot, cursor: None })
    }

    fn settle(&self) -> Outcome<Instant> {
        self.database.flush()?;
        self.database.wait_for_compact(&WaitForCompactOptions::default())?;
        Ok(Instant::now())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.database.flush_wal(true)?;
        Ok(())
    }
}

struct Moment<'store> {
    snapshot: &'store SnapshotWithThreadMode<'store, DB>,
    cursor: Option<DBRawIterator<'store>>,
}

impl View for Moment<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.snapshot.get_pinned(key)?.inspect(|value| found(value)).is_some())
    }

    fn scan(&mut self, key: &[u8], limit: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<usize> {
        let cursor = self.cursor.get_or_insert_with(|| self.snapshot.raw_iterator());
        cursor.seek(key);
        let mut count = 0;
        while let Some((key, value)) = cursor.item() {
            each(key, value);
            count += 1;
            if count == limit {
                return Ok(count);
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(count)
    }
}
