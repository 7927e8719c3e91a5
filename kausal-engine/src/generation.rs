//! What the engine attaches to a memtable: its log and the blob files its entries refer to.

use std::sync::Arc;

use kausal_arena::sync::Mutex;

use crate::blob::BlobFile;
use crate::ids::FileNumber;
use crate::wal::RecoveredLog;

/// The durable side of one memtable generation.
#[derive(Debug)]
pub(crate) struct Generation {
    log: FileNumber,
    recovered: Mutex<Vec<RecoveredLog>>,
    blobs: Mutex<Vec<Arc<BlobFile>>>,
}

impl Generation {
    pub(crate) fn new(log: FileNumber) -> Self {
        Self { log, recovered: Mutex::new(Vec::new()), blobs: Mutex::new(Vec::new()) }
    }

    /// The log that holds the memtable's entries, but for those that were recovered.
    pub(crate) fn log(&self) -> FileNumber {
        self.log
    }

    /// Takes note of the logs that the memtable's first entries were recovered from.
    pub(crate) fn recover(&self, logs: Vec<RecoveredLog>) {
        *self.recovered.lock() = logs;
    }

    /// The logs that the memtable's first entries were recovered from: needed until it is in tables.
    pub(crate) fn recovered(&self) -> Vec<RecoveredLog> {
        self.recovered.lock().clone()
    }

    /// Keeps `blob` for as long as the memtable lives: an entry refers to it.
    pub(crate) fn keep(&self, blob: Arc<BlobFile>) {
        self.blobs.lock().push(blob);
    }

    pub(crate) fn blob(&self, number: FileNumber) -> Option<Arc<BlobFile>> {
        self.blobs.lock().iter().find(|blob| blob.number() == number).cloned()
    }

    pub(crate) fn blobs(&self) -> Vec<Arc<BlobFile>> {
        self.blobs.lock().clone()
    }
}
