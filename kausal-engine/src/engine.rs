//! The engine's face: each method names its steps, the rooms behind it take them.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kausal_arena::{MemoryEvent, MemoryReport};
use kausal_index::{ArtIndex, BlockIndex};

use crate::batch::WriteBatch;
use crate::compaction::CompactionPolicy;
use crate::core::Core;
use crate::environment::Environment;
use crate::error::Error;
use crate::flow::Stall;
use crate::ids::KeyspaceId;
use crate::ingest::Ingestion;
use crate::keyspace::Keyspace;
use crate::listener::{EngineEvent, EventListener, Events};
use crate::metrics::Metrics;
use crate::options::{Options, WriteOptions};
use crate::pinned::PinnedValue;
use crate::recovery::{self, RecoveryReport};
use crate::request::Request;
use crate::scan::{Cursor, KeyRange, ValueReader};
use crate::snapshot::Snapshot;
use crate::stats::{LevelStats, Stats};
use crate::version::LEVEL_COUNT;

/// Bytes of a request's arena unless it asks for more or less.
const REQUEST_BYTES: usize = 256 << 10;

/// The index of memtables where nobody names another: of those of this workspace the one that makes writes and look-ups cheapest.
/// [`TreeIndex`](kausal_index::TreeIndex) walks a memtable in a third of the time; see `docs/decisions/0017-the-engine-s-index.md`.
pub type DefaultIndex = ArtIndex;

/// Puts a database together from settings and components.
#[derive(Debug)]
pub struct Builder<I = DefaultIndex> {
    directory: PathBuf,
    options: Options,
    environment: Option<Environment>,
    compaction: Option<Arc<dyn CompactionPolicy>>,
    listener: Option<Box<dyn EventListener>>,
    index: PhantomData<I>,
}

impl<I: BlockIndex + 'static> Builder<I> {
    /// A builder of the database in `directory`.
    pub fn new(directory: impl Into<PathBuf>, options: Options) -> Self {
        let directory = directory.into();
        Self { directory, options, environment: None, compaction: None, listener: None, index: PhantomData }
    }

    /// Uses these files, clock, threads and randomness in the place of the system's.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Lets this policy decide what is compacted, in the place of the one that the options name.
    pub fn compaction(mut self, policy: impl CompactionPolicy + 'static) -> Self {
        self.compaction = Some(Arc::new(policy));
        self
    }

    /// Tells this listener what goes on. An `Arc` of one is one.
    pub fn listener(mut self, listener: impl EventListener + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Opens the database.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::NotFound`], [`Error::Corruption`], [`Error::BudgetTooSmall`], [`Error::Io`].
    pub fn open(self) -> Result<StorageEngine<I>, Error> {
        let environment = match self.environment {
            Some(environment) => environment,
            None => Environment::system_with(self.options.compaction_threads)
                .map_err(Error::io("start the threads of", &self.directory))?,
        };
        let policy = self.compaction.unwrap_or_else(|| self.options.compaction.policy());
        let (core, recovery) =
            recovery::open(environment, self.directory, self.options, policy, Events::new(self.listener))?;
        Ok(StorageEngine { core, recovery })
    }
}

/// An open database. `Send + Sync`: share it by reference or in an `Arc`.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), kausal_engine::Error> {
/// # let folder = tempfile::tempdir().expect("a folder for the example");
/// use kausal_engine::{Options, StorageEngine};
///
/// let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(16 << 20))?;
/// engine.put(b"apple", b"red")?;
/// let before = engine.snapshot();
/// engine.put(b"apple", b"green")?;
/// assert_eq!(engine.get(b"apple")?.as_deref(), Some(&b"green"[..]));
/// assert_eq!(engine.get_at(&before, b"apple")?.as_deref(), Some(&b"red"[..]));
/// engine.close()?;
/// # Ok(())
/// # }
/// ```
pub struct StorageEngine<I: BlockIndex + 'static = DefaultIndex> {
    core: Arc<Core<I>>,
    recovery: RecoveryReport,
}

impl StorageEngine<DefaultIndex> {
    /// Opens the database in `directory` with the default index; a [`Builder`] takes others.
    ///
    /// # Errors
    ///
    /// As [`Builder::open`].
    pub fn open(directory: impl Into<PathBuf>, options: Options) -> Result<Self, Error> {
        Builder::new(directory, options).open()
    }
}

impl<I: BlockIndex + 'static> StorageEngine<I> {
    pub(crate) fn core(&self) -> &Arc<Core<I>> {
        &self.core
    }

    /// The keyspace that every database has; the methods of the engine itself are its methods.
    pub fn default_keyspace(&self) -> Keyspace<'_, I> {
        Keyspace::new(self, KeyspaceId::DEFAULT)
    }

    /// The keyspace with this name, if there is one. The default one's is `default`.
    pub fn keyspace(&self, name: &str) -> Option<Keyspace<'_, I>> {
        self.core.keyspace(name).map(|id| Keyspace::new(self, id))
    }

    /// The keyspace with this name, created if there is none. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the name is empty or longer than
    /// [`KEYSPACE_NAME_BYTES_MAX`](crate::KEYSPACE_NAME_BYTES_MAX); [`Error::MemoryBudget`] if what is kept of all keyspaces would
    /// be more than an eighth of the budget; [`Error::Io`], after which the database takes no more writes; [`Error::Poisoned`],
    /// [`Error::ReadOnly`].
    pub fn create_keyspace(&self, name: &str) -> Result<Keyspace<'_, I>, Error> {
        self.core.create_keyspace(name).map(|id| Keyspace::new(self, id))
    }

    /// Drops the keyspace with this name and all that is in it. Durable when this returns; the space comes back with the last
    /// reader. Answers whether there was one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for the default keyspace; otherwise as [`create_keyspace`](Self::create_keyspace).
    pub fn drop_keyspace(&self, name: &str) -> Result<bool, Error> {
        self.core.drop_keyspace(name)
    }

    /// Names and numbers of all keyspaces, in order of their numbers.
    pub fn keyspaces(&self) -> Vec<(String, KeyspaceId)> {
        let view = self.core.view();
        view.version.trees().iter().map(|tree| (tree.name().to_string(), tree.keyspace())).collect()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.default_keyspace().put(key, value)
    }

    /// Sets `key` to the `len` bytes that `source` gives. However long, no more than 64 KiB of it is in memory at once,
    /// unless it is short enough to lie beside its key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `source` has fewer or more bytes; otherwise as [`write`](Self::write).
    pub fn put_reader(
        &self,
        key: &[u8],
        source: &mut dyn Read,
        len: u64,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.default_keyspace().put_reader(key, source, len, options)
    }

    /// Removes `key`; no error if it is absent.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.default_keyspace().delete(key)
    }

    /// Removes every key from `start` to before `end`, at the cost of one write, however many there are.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the range is empty; otherwise as [`write`](Self::write).
    pub fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), Error> {
        self.default_keyspace().delete_range(start, end)
    }

    /// Sets `key` to `new`, or removes it, if its value is `expected`, or if it has none. Answers whether it was so.
    /// [`WriteBatch::require`] does the same for several keys at once.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and as [`get`](Self::get).
    pub fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, Error> {
        self.default_keyspace().compare_and_swap(key, expected, new)
    }

    /// Applies all changes of `batch` as one: visible together, durable together.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if something that the batch requires does not hold, [`Error::NoKeyspace`],
    /// [`Error::Stalled`], [`Error::Poisoned`], [`Error::Io`], [`Error::MemoryBudget`]. Unless
    /// the error is `Poisoned` or from a sync, nothing of the batch was applied.
    pub fn write(&self, batch: &WriteBatch, options: WriteOptions) -> Result<(), Error> {
        self.core.write_batch(batch, options)
    }

    /// Streams sorted entries straight into tables; see [`Keyspace::ingest`].
    ///
    /// # Errors
    ///
    /// As [`Keyspace::ingest`].
    pub fn ingest<E: From<Error>>(
        &self,
        source: impl FnOnce(&mut Ingestion<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.default_keyspace().ingest(source)
    }

    /// A copy of the value of `key`.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::MemoryBudget`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.default_keyspace().get(key)
    }

    /// A copy of the value that `key` had at `snapshot`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// If the snapshot is of another database.
    pub fn get_at(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.default_keyspace().get_at(snapshot, key)
    }

    /// Writes the value of `key` into `value`, in the place of what was there, and answers whether there is one. Allocates
    /// nothing if `value` has room, and takes no lock if what it needs is in memory.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); `value` holds anything then.
    pub fn get_into(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, Error> {
        self.default_keyspace().get_into(key, value)
    }

    /// The value of `key` where it lies, without a copy, for as long as the result lives: see [`Keyspace::get_pinned`].
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_pinned(&self, key: &[u8]) -> Result<Option<PinnedValue>, Error> {
        self.default_keyspace().get_pinned(key)
    }

    /// Copies of the values of `keys`, in the order of the keys, all of one moment: see [`Keyspace::multi_get`].
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.default_keyspace().multi_get(keys)
    }

    /// The value of `key`, to be read from front to back, however large.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_reader(&self, key: &[u8]) -> Result<Option<ValueReader>, Error> {
        self.default_keyspace().get_reader(key)
    }

    /// The present moment, to be read at later.
    pub fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }

    /// A cursor over `range` at the present moment.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudget`].
    pub fn cursor(&self, range: KeyRange) -> Result<Cursor<I>, Error> {
        self.default_keyspace().cursor(range)
    }

    /// A cursor over `range` at `snapshot`.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudget`].
    ///
    /// # Panics
    ///
    /// If the snapshot is of another database.
    pub fn cursor_at(&self, snapshot: &Snapshot, range: KeyRange) -> Result<Cursor<I>, Error> {
        self.default_keyspace().cursor_at(snapshot, range)
    }

    /// A request with an arena of 256 KiB.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudget`].
    pub fn request(&self) -> Result<Request<'_, I>, Error> {
        Request::new(self, REQUEST_BYTES)
    }

    /// A request with an arena of at least `bytes`, which is its limit.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudget`].
    pub fn request_with(&self, bytes: usize) -> Result<Request<'_, I>, Error> {
        Request::new(self, bytes)
    }

    /// Writes all memtables to tables and waits until that is done.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] if a flush failed; otherwise as [`write`](Self::write).
    pub fn flush(&self) -> Result<(), Error> {
        self.core.flush_all()
    }

    /// Flushes, and merges tables until all that was written before is on one level; what is written meanwhile is not waited for.
    /// Where others hold the memory or the disk is full, it waits up to the stall timeout.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`Error::MemoryBudget`] if memory did not come back in that time.
    pub fn compact(&self) -> Result<(), Error> {
        let through = self.core.visible();
        self.core.flush_all()?;
        self.core.retry_past_obstacles(|| self.core.compact_everything(through))
    }

    /// Flushes, and merges tables until no key of `range` is in more than one level: what it costs is in proportion to the tables
    /// that the range touches. See [`Keyspace::compact_range`].
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn compact_range(&self, range: &KeyRange) -> Result<(), Error> {
        self.default_keyspace().compact_range(range)
    }

    /// Lets no further compaction begin by itself until what this returns is dropped; one that is under way ends its step.
    /// Flushes go on, so level 0 grows, and writers wait for it in the end. [`compact`](Self::compact) does its work all the
    /// same.
    pub fn pause_compaction(&self) -> CompactionPause<'_, I> {
        self.core.pause_compaction();
        CompactionPause { engine: self }
    }

    /// Makes every write so far survive a loss of power.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; the database takes no more writes then.
    pub fn sync(&self) -> Result<(), Error> {
        self.core.health.check()?;
        self.core.sync_logs().inspect_err(|_| self.core.events.tell_kept())
    }

    /// Makes a second database with the present state in `target`, a folder that is empty or not there. Its tables and blob
    /// files are second names of this one's, so it costs a flush and a few small files, whatever the size; across file systems
    /// they are copied. Either database goes on without the other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the folder is not empty; [`Error::Io`]; otherwise as [`flush`](Self::flush). What was made
    /// of the checkpoint is removed again.
    pub fn checkpoint(&self, target: &Path) -> Result<(), Error> {
        self.core.checkpoint(target)
    }

    /// What happened in the memory budget, the oldest first: the last 1,024 events, with numbers that go on from 0.
    pub fn memory_events(&self) -> Vec<MemoryEvent> {
        self.core.plan.root.events()
    }

    /// Who holds how much of the memory budget.
    pub fn memory_report(&self) -> MemoryReport {
        self.core.plan.root.report()
    }

    /// The state of the tree, and what was done since it was opened.
    pub fn stats(&self) -> Stats {
        let view = self.core.view();
        let mut levels = vec![LevelStats::default(); LEVEL_COUNT];
        for file in view.version.files() {
            levels[usize::from(file.meta().level)].count(file.meta());
        }
        let cached = self.core.plan.cache.stats().total();
        let mut stats = Stats {
            levels,
            memtable_entry_count: view.memtables().map(|memtable| memtable.len()).sum(),
            blob_count: view.version.files().map(|file| file.blobs().len()).sum(),
            last_seqno: self.core.visible().get(),
            pinned_value_bytes: self.core.pinned.used(),
            block_cache_hits: cached.hits,
            block_cache_misses: cached.misses,
            snapshot_count: self.core.snapshots.seqnos().len(),
            ..Stats::default()
        };
        self.core.counters.read(&mut stats);
        for table in view.version.files().map(|file| file.table()) {
            let Some(bytes) = table.mapped_bytes() else { continue };
            stats.mapped_table_count += 1;
            stats.mapped_table_bytes += bytes;
            stats.mapped_block_count += table.mapped_block_count();
        }
        stats.puts = self.core.metrics.changes();
        stats.user_bytes_written = self.core.metrics.bytes();
        stats
    }

    /// Everything counted and measured since the database was opened. Costs a walk over the tables' list and the threads'
    /// cells; nothing that reads or writes waits for it.
    pub fn metrics(&self) -> Metrics {
        let core = &self.core;
        let mut metrics = Metrics {
            uptime: core.environment.clock.now().saturating_sub(core.opened),
            stats: self.stats(),
            pending_compaction_bytes: core.pending_compaction_bytes(),
            listener_panics: core.events.panics(),
            memory_used: core.plan.root.used(),
            memory_budget: core.plan.root.ceiling(),
            ..Metrics::default()
        };
        core.metrics.read(&mut metrics);
        metrics
    }

    /// Why writers wait at this moment, or are slowed down: since when, for what, and who holds it. `None` if nothing is in
    /// their way.
    pub fn explain_stall(&self) -> Option<Stall> {
        self.core.explain_stall()
    }

    /// What opening the database did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Ends background work, syncs the log and marks the database as closed cleanly. Dropping does the same, but
    /// keeps what goes wrong to itself.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Poisoned`]: the database was not closed cleanly, and the next open recovers.
    pub fn close(self) -> Result<(), Error> {
        self.core.close()
    }
}

/// Compaction stands still while this lives.
#[derive(Debug)]
#[must_use = "compaction goes on when this is dropped"]
pub struct CompactionPause<'engine, I: BlockIndex + 'static> {
    engine: &'engine StorageEngine<I>,
}

impl<I: BlockIndex + 'static> Drop for CompactionPause<'_, I> {
    fn drop(&mut self) {
        self.engine.core.resume_compaction();
    }
}

impl<I: BlockIndex + 'static> Drop for StorageEngine<I> {
    fn drop(&mut self) {
        // Best effort: an unclean close loses nothing, the next open recovers.
        if let Err(error) = self.core.close() {
            self.core.events.tell_kept();
            self.core.events.tell(|| EngineEvent::CloseFailed { reason: error.to_chain() });
        }
    }
}

impl<I: BlockIndex + 'static> fmt::Debug for StorageEngine<I> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StorageEngine").field("directory", &self.core.directory).finish_non_exhaustive()
    }
}
