//! The version set: the current version, and the manifest that makes each change of it durable.
//!
//! 1. A change is an edit. It is appended to the manifest and synced first; only then is it the current version.
//! 2. The files an edit adds are durable before (their data, then their names); the files it removes are marked
//!    obsolete after, and go when their last reader has gone.
//! 3. When the manifest has grown past its limit, a new one begins with a snapshot of the current state.

use std::path::Path;
use std::sync::Arc;

use kausal_index::SeqNo;

use crate::error::Error;
use crate::ids::FileNumber;
use crate::manifest::{ManifestWriter, TableMeta, VersionEdit};
use crate::version::{TableFile, Version};
use crate::vfs::Vfs;
use crate::wal::PreviousLog;

/// The current version and its manifest. Lives behind a lock of the engine.
#[derive(Debug)]
pub(crate) struct VersionSet {
    manifest: ManifestWriter,
    current: Arc<Version>,
}

/// Where a manifest lies.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) vfs: &'a Arc<dyn Vfs>,
    pub(crate) directory: &'a Path,
    pub(crate) database_id: u64,
}

/// One change of the version.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) removed: Vec<Arc<TableFile>>,
    pub(crate) added: Vec<Arc<TableFile>>,
    /// Logs below this one hold nothing that is not in tables.
    pub(crate) oldest_log: Option<FileNumber>,
}

impl VersionSet {
    pub(crate) fn new(manifest: ManifestWriter, current: Arc<Version>) -> Self {
        Self { manifest, current }
    }

    pub(crate) fn current(&self) -> &Arc<Version> {
        &self.current
    }

    /// Whether the manifest is long enough for a new one.
    pub(crate) fn is_full(&self) -> bool {
        self.manifest.is_full()
    }

    /// Begins manifest `number` with the current state, and removes the old one.
    pub(crate) fn begin_manifest(
        &mut self,
        place: &Place<'_>,
        number: FileNumber,
        state: VersionEdit,
    ) -> Result<(), Error> {
        let edit = VersionEdit { added_tables: self.tables(), ..state };
        let next = ManifestWriter::begin(place.vfs, place.directory, place.database_id, number, &edit)?;
        let old = std::mem::replace(&mut self.manifest, next);
        // A manifest that stays is removed by the next open: CURRENT names another.
        let _ = place.vfs.remove(old.path());
        Ok(())
    }

    /// Seals the manifest at a clean close.
    pub(crate) fn close(&self, log: PreviousLog) -> Result<(), Error> {
        self.manifest.close(log)
    }

    /// Makes `change` durable and current. After an error the manifest's state is unknown: nothing may be written
    /// until the database has been opened anew.
    pub(crate) fn apply(
        &mut self,
        change: &Change,
        next_file: FileNumber,
        last_seqno: SeqNo,
    ) -> Result<Arc<Version>, Error> {
        let edit = VersionEdit {
            next_file: Some(next_file),
            last_seqno: Some(last_seqno),
            oldest_log: change.oldest_log,
            removed_tables: change.removed.iter().map(|file| (file.meta().level, file.meta().file)).collect(),
            added_tables: change.added.iter().map(|file| file.meta().clone()).collect(),
        };
        self.manifest.append(&edit)?;
        self.current = Arc::new(self.current.with(&change.removed, &change.added));
        Ok(Arc::clone(&self.current))
    }

    /// The metadata of every table, for a manifest's first record.
    fn tables(&self) -> Vec<TableMeta> {
        self.current.files().map(|file| file.meta().clone()).collect()
    }
}
