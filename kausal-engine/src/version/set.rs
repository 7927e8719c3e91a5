//! The version set: the current version, and the manifest that makes each change of it durable.
//!
//! 1. A change is an edit. It is appended to the manifest and synced first; only then is it the current version.
//! 2. The files an edit adds are durable before (their data, then their names); the files it removes are marked
//!    obsolete after, and go when their last reader has gone.
//! 3. A keyspace is there, or gone, with an edit of its own. Its number is never used again: a log may still speak of it.
//! 4. When the manifest has grown past its limit, a new one begins with a snapshot of the current state.

use std::path::Path;
use std::sync::Arc;

use kausal_index::SeqNo;

use crate::error::Error;
use crate::ids::{FileNumber, KeyspaceId};
use crate::manifest::{ManifestWriter, VersionEdit};
use crate::version::{KeyspaceName, TableFile, Version};
use crate::vfs::Vfs;
use crate::wal::PreviousLog;

/// The current version and its manifest. Lives behind a lock of the engine.
#[derive(Debug)]
pub(crate) struct VersionSet {
    /// `None` in a database that is only read.
    manifest: Option<ManifestWriter>,
    current: Arc<Version>,
    next_keyspace: KeyspaceId,
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
    pub(crate) fn new(
        manifest: Option<ManifestWriter>,
        current: Arc<Version>,
        next_keyspace: KeyspaceId,
    ) -> Self {
        Self { manifest, current, next_keyspace }
    }

    pub(crate) fn current(&self) -> &Arc<Version> {
        &self.current
    }

    /// Whether the manifest is long enough for a new one.
    pub(crate) fn is_full(&self) -> bool {
        self.manifest.as_ref().is_some_and(ManifestWriter::is_full)
    }

    fn manifest(&mut self) -> Result<&mut ManifestWriter, Error> {
        self.manifest.as_mut().ok_or(Error::ReadOnly)
    }

    /// Begins manifest `number` with the current state, and removes the old one. If the disk is full the old one goes on.
    pub(crate) fn begin_manifest(
        &mut self,
        place: &Place<'_>,
        number: FileNumber,
        state: VersionEdit,
    ) -> Result<(), Error> {
        let edit = self.snapshot(state);
        let next = ManifestWriter::begin(place.vfs, place.directory, place.database_id, number, &edit)?;
        let old = std::mem::replace(self.manifest()?, next);
        // A manifest that stays is removed by the next open: CURRENT names another.
        let _ = place.vfs.remove(old.path());
        Ok(())
    }

    /// Seals the manifest at a clean close.
    pub(crate) fn close(&mut self, log: PreviousLog) -> Result<(), Error> {
        self.manifest()?.close(log)
    }

    /// Makes `change` durable and current. What it says of a keyspace that was dropped meanwhile is taken out of it. If the disk
    /// is full nothing has changed. After any other error the manifest's state is unknown: nothing may be written until the
    /// database has been opened anew.
    pub(crate) fn apply(
        &mut self,
        change: &mut Change,
        next_file: FileNumber,
        last_seqno: SeqNo,
    ) -> Result<Arc<Version>, Error> {
        let is_there = |file: &Arc<TableFile>| self.current.tree(file.meta().keyspace).is_some();
        change.removed.retain(is_there);
        change.added.iter().filter(|file| !is_there(file)).for_each(|file| file.mark_obsolete());
        change.added.retain(is_there);
        let edit = VersionEdit {
            next_file: Some(next_file),
            last_seqno: Some(last_seqno),
            oldest_log: change.oldest_log,
            removed_tables: change.removed.iter().map(|file| (file.meta().level, file.meta().file)).collect(),
            added_tables: change.added.iter().map(|file| file.meta().clone()).collect(),
            ..VersionEdit::default()
        };
        self.manifest()?.append(&edit)?;
        self.current = Arc::new(self.current.with(&change.removed, &change.added));
        Ok(Arc::clone(&self.current))
    }

    /// Makes a keyspace durable and current. After an error, as after one of [`apply`](Self::apply).
    pub(crate) fn add_keyspace(
        &mut self,
        name: &str,
        kept: Arc<KeyspaceName>,
    ) -> Result<(KeyspaceId, Arc<Version>), Error> {
        let id = self.next_keyspace;
        let next = id.0.checked_add(1).map(KeyspaceId).ok_or_else(|| {
            Error::invalid("the numbers of keyspaces are used up; copy the data into a new database")
        })?;
        let edit = VersionEdit {
            next_keyspace: Some(next),
            added_keyspaces: vec![(id, name.to_owned())],
            ..VersionEdit::default()
        };
        self.manifest()?.append(&edit)?;
        self.next_keyspace = next;
        self.current = Arc::new(self.current.with_keyspace(id, kept));
        Ok((id, Arc::clone(&self.current)))
    }

    /// Removes a keyspace with its tables. After an error, as after one of [`apply`](Self::apply).
    pub(crate) fn remove_keyspace(&mut self, id: KeyspaceId) -> Result<Arc<Version>, Error> {
        let edit = VersionEdit { removed_keyspaces: vec![id], ..VersionEdit::default() };
        self.manifest()?.append(&edit)?;
        self.current = Arc::new(self.current.without_keyspace(id));
        Ok(Arc::clone(&self.current))
    }

    /// The whole state, for a manifest's first record: what `state` says of numbers, and the current version.
    pub(crate) fn snapshot(&self, state: VersionEdit) -> VersionEdit {
        let others = self.current.trees().iter().skip(1);
        VersionEdit {
            next_keyspace: Some(self.next_keyspace),
            added_keyspaces: others.map(|tree| (tree.keyspace(), tree.name().to_string())).collect(),
            added_tables: self.current.files().map(|file| file.meta().clone()).collect(),
            ..state
        }
    }
}
