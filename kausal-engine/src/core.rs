//! The shared state of one open database. Each part has its own room and its own lock.
//!
//! Locks, in the order in which they may be taken together:
//! 1. `writer`: the log's end, the next sequence number and the commit queue; held for one record, not for I/O of a group.
//! 2. `versions`: the manifest; held for one edit and its sync.
//! 3. that of `view`: who changes what readers see, or stays with it; readers take none.
//! 4. the snapshot list, buffer pools and the budget tree: leaves.
//!
//! Nobody waits for an event while holding one.

use std::path::PathBuf;
use std::sync::Arc;

use kausal_arena::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use kausal_arena::{Published, RegionPool, ScratchPool};
use kausal_index::{BlockIndex, SeqNo};
use kausal_memtable::MemtableManager;
use kausal_sstable::{BufferPool, TableError};

use crate::background::Background;
use crate::commit::{Order, QueueEvents, WriteState};
use crate::compaction::CompactionPolicy;
use crate::environment::Environment;
use crate::error::Error;
use crate::event::Event;
use crate::file_names::{FileKind, file_path};
use crate::flow::Flow;
use crate::generation::Generation;
use crate::ids::FileNumber;
use crate::level0::{Level0Limits, TableUse};
use crate::listener::{EngineEvent, Events};
use crate::memory::MemoryPlan;
use crate::metrics::Recorder;
use crate::options::Options;
use crate::pace::RateLimit;
use crate::pinned::PinnedBytes;
use crate::read::View;
use crate::snapshot::{Snapshot, SnapshotList};
use crate::spare_log::SpareLog;
use crate::stats::Counters;
use crate::version::VersionSet;
use crate::vfs::FileLock;

pub(crate) struct Core<I: BlockIndex> {
    pub(crate) environment: Environment,
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) database_id: u64,
    pub(crate) writer: Mutex<WriteState>,
    pub(crate) versions: Mutex<VersionSet>,
    view: Published<View<I>>,
    pub(crate) memtables: MemtableManager<I, Generation>,
    pub(crate) snapshots: Arc<SnapshotList>,
    pub(crate) buffers: BufferPool,
    /// The same for walks, which have memory of their own.
    pub(crate) walk_buffers: BufferPool,
    pub(crate) pinned: Arc<PinnedBytes>,
    pub(crate) scratches: ScratchPool,
    pub(crate) background: Arc<Background>,
    pub(crate) compaction_policy: Arc<dyn CompactionPolicy>,
    /// Held by whoever compacts, also while he waits for his share of the disk or for parts that others merge: what they do takes
    /// it not.
    pub(crate) compaction_turn: Mutex<()>,
    /// Signalled when a region comes back, a job ends or the database fails: whoever waits looks again.
    pub(crate) progress: Arc<Event>,
    pub(crate) counters: Counters,
    /// What look-ups and writes count.
    pub(crate) metrics: Recorder,
    /// How fast writers may go.
    pub(crate) flow: Flow,
    /// Whether tables are read, or only written.
    pub(crate) table_use: TableUse,
    /// The file of a log that is kept for the next one.
    pub(crate) spare_log: SpareLog,
    /// How fast background work may write.
    pub(crate) rate_limit: RateLimit,
    /// Who hears of what happens.
    pub(crate) events: Events,
    /// When the database was opened.
    pub(crate) opened: std::time::Duration,
    pub(crate) health: Health,
    /// Which batches readers see.
    pub(crate) order: Order,
    /// What wakes writers that wait for each other.
    pub(crate) queue_events: QueueEvents,
    next_file: AtomicU64,
    // Dropped last: the memory, and the lock that keeps other processes out.
    _regions: RegionPool,
    pub(crate) plan: MemoryPlan,
    _lock: Box<dyn FileLock>,
}

/// What [`Core::new`] puts together.
pub(crate) struct Parts<I: BlockIndex> {
    pub(crate) environment: Environment,
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) database_id: u64,
    pub(crate) writer: WriteState,
    pub(crate) versions: VersionSet,
    pub(crate) compaction_policy: Arc<dyn CompactionPolicy>,
    pub(crate) memtables: MemtableManager<I, Generation>,
    pub(crate) progress: Arc<Event>,
    pub(crate) visible: SeqNo,
    pub(crate) next_file: FileNumber,
    pub(crate) regions: RegionPool,
    pub(crate) plan: MemoryPlan,
    pub(crate) metrics: Recorder,
    pub(crate) events: Events,
    pub(crate) lock: Box<dyn FileLock>,
}

impl<I: BlockIndex> Core<I> {
    pub(crate) fn new(parts: Parts<I>) -> Self {
        let version = Arc::clone(parts.versions.current());
        let tables = parts.memtables.tables();
        let view = View { active: Arc::clone(&tables.active), frozen: tables.frozen.clone(), version };
        let health = Health { is_read_only: parts.options.read_only, ..Health::default() };
        let reuses = !parts.options.read_only && !parts.options.mapped_tables;
        if reuses && parts.environment.vfs.writes_over(&parts.directory) {
            parts.plan.tables.spares().begin(parts.options.memory_budget);
        }
        let opened = parts.environment.clock.now();
        Self {
            environment: parts.environment,
            directory: parts.directory,
            options: parts.options,
            database_id: parts.database_id,
            writer: Mutex::new(parts.writer),
            versions: Mutex::new(parts.versions),
            view: Published::new(view),
            memtables: parts.memtables,
            snapshots: Arc::default(),
            buffers: BufferPool::new(&parts.plan.lookups),
            walk_buffers: BufferPool::new(&parts.plan.walks),
            pinned: Arc::new(PinnedBytes::new(parts.plan.pinned_bytes_max)),
            scratches: ScratchPool::new(&parts.plan.requests, parts.plan.requests.ceiling() / 2),
            background: Arc::default(),
            compaction_policy: parts.compaction_policy,
            compaction_turn: Mutex::new(()),
            progress: parts.progress,
            counters: Counters::default(),
            metrics: parts.metrics,
            flow: Flow::default(),
            table_use: TableUse::default(),
            spare_log: SpareLog::default(),
            rate_limit: RateLimit::default(),
            events: parts.events,
            opened,
            health,
            order: Order::new(parts.visible),
            queue_events: QueueEvents::default(),
            next_file: AtomicU64::new(parts.next_file.0),
            _regions: parts.regions,
            plan: parts.plan,
            _lock: parts.lock,
        }
    }

    /// Shows `work` what a reader sees from now on, without a lock or a count. Keep it short: what a reader sees stays
    /// until it returns.
    #[inline]
    pub(crate) fn read_view<R>(&self, work: impl FnOnce(&View<I>) -> R) -> R {
        self.view.read(work)
    }

    /// What a reader sees from now on, with a count on it: for those who stay.
    pub(crate) fn view(&self) -> Arc<View<I>> {
        self.view.pin()
    }

    /// Replaces the view by what `change` makes of it.
    pub(crate) fn change_view(&self, change: impl FnOnce(&View<I>) -> View<I>) {
        // The last reader's drop may return a region and remove files: after the lock, here or in the reader.
        self.view.change(change);
    }

    /// The newest sequence number that readers may see.
    pub(crate) fn visible(&self) -> SeqNo {
        self.order.visible()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshots.take(|| self.visible())
    }

    /// When level 0 has too many tables, as the database is used now.
    #[inline]
    pub(crate) fn level0_limits(&self) -> Level0Limits {
        self.table_use.limits(&self.options)
    }

    /// A file number that was never used in this database.
    pub(crate) fn new_file_number(&self) -> FileNumber {
        FileNumber(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    /// Every number used so far is smaller.
    pub(crate) fn next_file_number(&self) -> FileNumber {
        FileNumber(self.next_file.load(Ordering::Relaxed))
    }

    /// Removes the files that tables have left behind.
    pub(crate) fn clear_spare_tables(&self) {
        self.plan.tables.spares().clear(&*self.environment.vfs, &self.directory);
    }

    /// A table's error with the path of its file.
    pub(crate) fn table_error(&self, error: TableError) -> Error {
        let number = match &error {
            TableError::Corruption { file, .. }
            | TableError::NewerFormat { file, .. }
            | TableError::Io { file, .. }
            | TableError::Memory { file, .. } => *file,
            _ => FileNumber(0),
        };
        Error::table(&file_path(&self.directory, FileKind::Table(number)), error)
    }

    /// Makes every later write fail with the same reason, and wakes those who wait.
    pub(crate) fn poison(&self, error: &Error) {
        if self.health.poison(error) {
            self.events.keep(|| EngineEvent::BackgroundError { reason: error.to_chain() });
        }
        self.progress.signal();
        self.queue_events.signal_all();
    }
}

/// Whether the database still takes writes.
#[derive(Debug, Default)]
pub(crate) struct Health {
    is_read_only: bool,
    closed: AtomicBool,
    /// Whether there is a reason in `poisoned`: asked by every write.
    is_poisoned: AtomicBool,
    poisoned: Mutex<Option<Arc<str>>>,
}

impl Health {
    /// Answers whether this is the first reason.
    fn poison(&self, error: &Error) -> bool {
        let mut poisoned = self.poisoned.lock();
        let is_first = poisoned.is_none();
        poisoned.get_or_insert_with(|| error.to_chain().into());
        // Release: pairs with the Acquire in `is_poisoned`; who sees it finds the reason.
        self.is_poisoned.store(true, Ordering::Release);
        is_first
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// An error if no write may be acknowledged, or none any more.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_read_only {
            return Err(Error::ReadOnly);
        }
        if self.is_closed() {
            return Err(Error::Poisoned { reason: "it is closed".into() });
        }
        self.check_poisoned()
    }

    /// An error if a write or sync has failed.
    pub(crate) fn check_poisoned(&self) -> Result<(), Error> {
        if !self.is_poisoned() {
            return Ok(());
        }
        match &*self.poisoned.lock() {
            Some(reason) => Err(Error::Poisoned { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }
}
