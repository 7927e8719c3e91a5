//! The version set: the current version, and the manifest that makes each change of it durable.
//!
//! 1. A change is an edit. It is appended to the manifest and synced first; only then is it the current version.
//! 2. The files an edit adds are durable before (their data, then their names); the files it removes are marked
//!    obsolete after, and go when their last reader has gone.
//! 3. When the manifest has grown past its limit, a new one begins with a snapshot of the current state.

use std::sync::Arc;

use kausal_index::SeqNo;

use crate::error::Error;
use crate::ids::FileNumber;
use crate::manifest::{ManifestWriter, TableMeta, VersionEdit};
use crate::version::{TableFile, Version};

/// The current version and its manifest. Lives behind a lock of the engine.
#[derive(Debug)]
pub(crate) struct VersionSet {
    manifest: ManifestWriter,
    current: Arc<Version>,
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

    pub(crate) fn manifest(&mut self) -> &mut ManifestWriter {
        &mut self.manifest
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
            ..VersionEdit::default()
        };
        self.manifest.append(&edit)?;
        self.current = Arc::new(self.current.with(&change.removed, &change.added));
        Ok(Arc::clone(&self.current))
    }

    /// The metadata of every table, for a manifest's first record.
    pub(crate) fn tables(&self) -> Vec<TableMeta> {
        self.current.files().map(|file| file.meta().clone()).collect()
    }
}
