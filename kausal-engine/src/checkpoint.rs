//! Checkpoints: a second database with the state of this one, made of second names for the same files.
//!
//! 1. Flush, so that everything written so far is in tables.
//! 2. Give every table and blob file of the current version a second name in the target folder. Where the file system cannot
//!    do that, across devices for one, copy it.
//! 3. Make the names durable, then write a manifest that names them, then `CURRENT`: only then is the folder a database.
//!
//! Files never change while a manifest names them, and one that has two names is not written over when it is not needed any more
//! (`spare_tables`): so neither database notices when the other goes on.

use std::path::Path;

use kausal_index::BlockIndex;

use crate::core::Core;
use crate::error::Error;
use crate::file_names::{FileKind, file_path};
use crate::manifest::{ManifestWriter, VersionEdit};
use crate::vfs::OpenMode;

/// Bytes copied at a time where a file cannot have a second name.
const COPY_BYTES: usize = 64 << 10;

impl<I: BlockIndex + 'static> Core<I> {
    /// Makes a database in `target`, a folder that is empty or not there.
    pub(crate) fn checkpoint(self: &std::sync::Arc<Self>, target: &Path) -> Result<(), Error> {
        crate::trace::span!("checkpoint", folder = tracing::field::display(target.display()));
        let vfs = &self.environment.vfs;
        self.health.check()?;
        vfs.create_dir(target).map_err(Error::io("create", target))?;
        if !vfs.list(target).map_err(Error::io("list", target))?.is_empty() {
            return Err(Error::invalid(format!("{} is not empty", target.display())));
        }
        self.flush_all()?;
        let linked = self.fill_checkpoint(target);
        if linked.is_err() {
            // Best effort: without `CURRENT` the folder is no database.
            for entry in vfs.list(target).into_iter().flatten() {
                let _ = vfs.remove(&target.join(entry.name));
            }
        }
        linked
    }

    fn fill_checkpoint(&self, target: &Path) -> Result<(), Error> {
        let vfs = &self.environment.vfs;
        let manifest = self.new_file_number();
        let (version, state) = {
            let versions = self.versions.lock();
            let next = self.new_file_number();
            let state = VersionEdit {
                next_file: Some(next),
                last_seqno: Some(self.visible()),
                oldest_log: Some(next),
                ..VersionEdit::default()
            };
            (std::sync::Arc::clone(versions.current()), versions.snapshot(state))
        };
        // The version is held, so none of its files goes meanwhile.
        for file in version.files() {
            self.link(target, FileKind::Table(file.meta().file))?;
            for &blob in &file.meta().blobs {
                self.link(target, FileKind::Blob(blob))?;
            }
        }
        vfs.sync_dir(target).map_err(Error::io("sync", target))?;
        let id = self.environment.entropy.u64();
        ManifestWriter::begin(vfs, target, id, manifest, &state)?;
        if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            vfs.sync_dir(parent).map_err(Error::io("sync", parent))?;
        }
        Ok(())
    }

    fn link(&self, target: &Path, kind: FileKind) -> Result<(), Error> {
        let (source, target) = (file_path(&self.directory, kind), file_path(target, kind));
        match self.environment.vfs.hard_link(&source, &target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::io("link", &source)(error))
            }
            Err(_) => self.copy(&source, &target),
        }
    }

    fn copy(&self, source: &Path, target: &Path) -> Result<(), Error> {
        let vfs = &self.environment.vfs;
        let _charge = self.plan.lookups.reserve(COPY_BYTES)?;
        let from = vfs.open(source, OpenMode::Read).map_err(Error::io("open", source))?;
        let to = vfs.open(target, OpenMode::CreateNew).map_err(Error::io("create", target))?;
        let len = from.len().map_err(Error::io("read the length of", source))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < len {
            let count = (len - offset).min(COPY_BYTES as u64) as usize;
            from.read_exact_at(&mut buffer[..count], offset).map_err(Error::io("read", source))?;
            to.append(&buffer[..count]).map_err(Error::io("write", target))?;
            offset += count as u64;
        }
        to.sync().map_err(Error::io("sync", target))
    }
}
