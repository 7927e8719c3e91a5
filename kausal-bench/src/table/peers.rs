//! The other formats: RocksDB's block-based table, and the table of lsm-tree, on which fjall stands.
//!
//! RocksDB's own reader of single tables is not in its C interface, so its tables are ingested into a database without
//! anything else in it, where they lie at the only level. A look-up there passes an empty memtable first. lsm-tree's are
//! opened by its table type itself, without the tree.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::checksum::Checksum;
use lsm_tree::table::filter::{BloomConstructionPolicy, standard_bloom};
use lsm_tree::{CompressionType, InternalValue, ValueType, merge::Merger};
use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, DB, DBCompressionType, DBRawIterator, IngestExternalFileOptions,
    Options, ReadOptions, SstFileWriter,
};

use super::data::{Answers, Entries, Key};
use super::subject::{BITS_PER_KEY, BLOCK_BYTES, Opened, RESTART_INTERVAL, Stored, Subject};

/// RocksDB.
pub struct RocksDb;

fn options(stored: Stored, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(f64::from(BITS_PER_KEY), false);
    table.set_block_restart_interval(RESTART_INTERVAL.into());
    table.set_checksum_type(ChecksumType::XXH3);
    table.set_format_version(6);
    table.set_block_cache(cache);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(match stored {
        Stored::Plain => DBCompressionType::None,
        Stored::Lz4 => DBCompressionType::Lz4,
    });
    options.create_if_missing(true);
    options.set_disable_auto_compactions(true);
    // One level, so that tables that overlap lie side by side in it.
    options.set_num_levels(1);
    options
}

impl Subject for RocksDb {
    fn name(&self) -> &'static str {
        "RocksDB"
    }

    fn write(&self, path: &Path, entries: &Entries, stored: Stored) -> io::Result<()> {
        let options = options(stored, &Cache::new_lru_cache(1 << 20));
        let mut writer = SstFileWriter::create(&options);
        writer.open(path).map_err(io::Error::other)?;
        for (key, value) in entries.iter() {
            writer.put(key, value).map_err(io::Error::other)?;
        }
        // This syncs.
        writer.finish().map_err(io::Error::other)?;
        Ok(())
    }

    fn open(&self, tables: &[PathBuf], cache_bytes: usize) -> io::Result<Box<dyn Opened>> {
        let options = options(Stored::Plain, &Cache::new_lru_cache(cache_bytes));
        let folder = tables[0].with_extension(format!("{cache_bytes}.db"));
        let database = DB::open(&options, &folder).map_err(io::Error::other)?;
        let ingestion = IngestExternalFileOptions::default();
        for table in tables {
            database.ingest_external_file_opts(&ingestion, vec![table]).map_err(io::Error::other)?;
        }
        Ok(Box::new(RocksDbReader { database, reads: ReadOptions::default(), folder }))
    }
}

struct RocksDbReader {
    database: DB,
    reads: ReadOptions,
    folder: PathBuf,
}

impl Opened for RocksDbReader {
    fn look_up(&mut self, keys: &[Key]) -> io::Result<Answers> {
        let mut answers = Answers::default();
        for key in keys {
            if let Some(value) = self.database.get_pinned_opt(key, &self.reads).map_err(io::Error::other)? {
                answers.add(key, &value);
            }
        }
        Ok(answers)
    }

    fn walk(&mut self) -> io::Result<Answers> {
        let mut cursor: DBRawIterator<'_> = self.database.raw_iterator_opt(ReadOptions::default());
        let mut answers = Answers::default();
        cursor.seek_to_first();
        while let Some((key, value)) = cursor.item() {
            answers.add(key, value);
            cursor.next();
        }
        cursor.status().map_err(io::Error::other)?;
        Ok(answers)
    }
}

impl Drop for RocksDbReader {
    fn drop(&mut self) {
        self.database.cancel_all_background_work(true);
        // Nobody misses it; the folder above goes anyway.
        let _ = DB::destroy(&Options::default(), &self.folder);
    }
}

/// lsm-tree.
pub struct LsmTree;

impl Subject for LsmTree {
    fn name(&self) -> &'static str {
        "lsm-tree"
    }

    fn write(&self, path: &Path, entries: &Entries, stored: Stored) -> io::Result<()> {
        let compression = match stored {
            Stored::Plain => CompressionType::None,
            Stored::Lz4 => CompressionType::Lz4,
        };
        let mut writer = lsm_tree::table::Writer::new(path.to_owned(), 1, 0)
            .map_err(io::Error::other)?
            .use_data_block_size(BLOCK_BYTES as u32)
            .use_data_block_restart_interval(RESTART_INTERVAL)
            .use_data_block_compression(compression)
            .use_bloom_policy(BloomConstructionPolicy::BitsPerKey(BITS_PER_KEY as f32));
        for (key, value) in entries.iter() {
            let item = InternalValue::from_components(&key[..], value, 1, ValueType::Value);
            writer.write(item).map_err(io::Error::other)?;
        }
        // This syncs.
        writer.finish().map_err(io::Error::other)?;
        Ok(())
    }

    fn open(&self, tables: &[PathBuf], cache_bytes: usize) -> io::Result<Box<dyn Opened>> {
        let cache = Arc::new(lsm_tree::Cache::with_capacity_bytes(cache_bytes as u64));
        let open = |(number, path): (usize, &PathBuf)| {
            // The tree's number stands in for the table's, which is 1 in each file.
            let checksum = Checksum::from_raw(0);
            lsm_tree::Table::recover(
                path.clone(),
                checksum,
                0,
                number as u64,
                Arc::clone(&cache),
                None,
                true,
                true,
            )
            .map_err(io::Error::other)
        };
        let tables = tables.iter().enumerate().map(open).collect::<io::Result<_>>()?;
        Ok(Box::new(LsmTreeReader(tables)))
    }
}

struct LsmTreeReader(Vec<lsm_tree::Table>);

impl Opened for LsmTreeReader {
    fn look_up(&mut self, keys: &[Key]) -> io::Result<Answers> {
        let mut answers = Answers::default();
        for key in keys {
            let hash = standard_bloom::Builder::get_hash(key);
            let found = self.0[0].get(key, lsm_tree::SeqNo::MAX, hash).map_err(io::Error::other)?;
            if let Some(item) = found {
                answers.add(key, &item.value);
            }
        }
        Ok(answers)
    }

    fn walk(&mut self) -> io::Result<Answers> {
        match &self.0[..] {
            [table] => walked(table.iter()),
            tables => walked(Merger::new(tables.iter().map(lsm_tree::Table::iter).collect())),
        }
    }
}

fn walked(items: impl Iterator<Item = lsm_tree::Result<InternalValue>>) -> io::Result<Answers> {
    let mut answers = Answers::default();
    for item in items {
        let item = item.map_err(io::Error::other)?;
        answers.add(&item.key.user_key, &item.value);
    }
    Ok(answers)
}
