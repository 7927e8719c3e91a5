//! The listener: who wants to hear of what goes on in a database while it happens.
//!
//! 1. A listener is called on the thread that something happens on, while no lock of the engine is held. What is noticed under
//!    a lock, a failed write of the log for one, is kept and told a moment later, when that thread has let go of it.
//! 2. A panic of the listener goes nowhere: it is caught, and the listener, whose state it may have left half changed, is
//!    not called again. [`Metrics::listener_panics`](crate::Metrics::listener_panics) tells.
//! 3. Nobody waits for a listener but the thread that calls it: a slow one makes flushes and compactions slow.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use kausal_arena::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

use crate::ids::{FileNumber, KeyspaceId};
use crate::metrics::StallReason;

/// Something that happened in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what each field is stands at its variant")]
pub enum EngineEvent {
    /// A memtable was sealed: its log ends, another one has begun. Told when the flush takes it up.
    LogRotated { sealed: FileNumber },
    /// A memtable of so many entries is being written to tables.
    FlushBegun { log: FileNumber, entry_count: usize },
    /// It is in tables of so many bytes, durable, and its memory is free or goes with its last reader.
    FlushCompleted { log: FileNumber, table_count: usize, bytes: u64, took: Duration },
    /// Tables of so many bytes are being merged into `level`.
    CompactionBegun { keyspace: KeyspaceId, level: usize, table_count: usize, bytes: u64 },
    /// They are merged, into so many tables and bytes.
    CompactionCompleted { keyspace: KeyspaceId, level: usize, table_count: usize, bytes: u64, took: Duration },
    /// A table is part of the database.
    TableCreated { keyspace: KeyspaceId, level: usize, file: FileNumber, bytes: u64 },
    /// A table is not part of the database any more; its file goes with its last reader.
    TableDeleted { keyspace: KeyspaceId, level: usize, file: FileNumber },
    /// A writer has to wait, and none did for this reason before.
    StallBegun { reason: StallReason },
    /// No writer waits for this reason any more; the last one did so long.
    StallEnded { reason: StallReason, waited: Duration },
    /// A flush or a compaction has met something that passes, and will try again.
    Obstacle { reason: StallReason },
    /// Pinned values have so many bytes, and one more would have been beyond the limit: it was copied, as others will be. Told
    /// once until half of the limit is free again.
    PinnedLimitReached { bytes: usize, limit: usize },
    /// Something failed for good: no more writes until the database is opened again.
    BackgroundError { reason: String },
    /// The engine was dropped, and could not close the database. The next open recovers.
    CloseFailed { reason: String },
}

/// Hears of what goes on in a database.
///
/// It must not write, flush, compact or close: the thread that calls it may be the one that such a call waits for. Reading,
/// and asking for metrics, is fine.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), kausal_engine::Error> {
/// # let folder = tempfile::tempdir().expect("a folder for the example");
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use kausal_engine::{Builder, EngineEvent, EventListener, Options, StorageEngine};
///
/// #[derive(Debug, Default)]
/// struct Flushes(AtomicUsize);
///
/// impl EventListener for Flushes {
///     fn event(&self, event: &EngineEvent) {
///         if let EngineEvent::FlushCompleted { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let flushes = Arc::new(Flushes::default());
/// let engine: StorageEngine =
///     Builder::new(folder.path(), Options::new()).listener(Arc::clone(&flushes)).open()?;
/// engine.put(b"apple", b"red")?;
/// engine.flush()?;
/// assert_eq!(flushes.0.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub trait EventListener: Send + Sync + fmt::Debug {
    /// Called for each event, in the order in which its thread sees them.
    fn event(&self, event: &EngineEvent);
}

impl<L: EventListener + ?Sized> EventListener for Arc<L> {
    fn event(&self, event: &EngineEvent) {
        (**self).event(event);
    }
}

/// Where the engine tells its events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    listener: Option<Box<dyn EventListener>>,
    /// Noticed under a lock, not told yet.
    kept: Mutex<Vec<EngineEvent>>,
    has_kept: AtomicBool,
    panics: AtomicU64,
}

impl Events {
    pub(crate) fn new(listener: Option<Box<dyn EventListener>>) -> Self {
        Self { listener, ..Self::default() }
    }

    /// Tells an event. The caller holds no lock.
    pub(crate) fn tell(&self, event: impl FnOnce() -> EngineEvent) {
        let Some(listener) = &self.listener else { return };
        if self.panics() > 0 {
            return;
        }
        let event = event();
        if catch_unwind(AssertUnwindSafe(|| listener.event(&event))).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps an event, for [`tell_kept`](Self::tell_kept). The caller may hold locks.
    pub(crate) fn keep(&self, event: impl FnOnce() -> EngineEvent) {
        if self.listener.is_some() {
            self.kept.lock().push(event());
            // Release: pairs with the Acquire in `tell_kept`.
            self.has_kept.store(true, Ordering::Release);
        }
    }

    /// Tells what was kept. The caller holds no lock.
    pub(crate) fn tell_kept(&self) {
        if !self.has_kept.load(Ordering::Acquire) {
            return;
        }
        let kept = {
            let mut kept = self.kept.lock();
            self.has_kept.store(false, Ordering::Release);
            std::mem::take(&mut *kept)
        };
        kept.into_iter().for_each(|event| self.tell(|| event));
    }

    /// How often the listener panicked: once, at most a few times where several threads called it.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}
