//! The spare log: the file of a log that is not needed any more, kept for the next one.
//!
//! A new file's pages have to be found, cleared and given back, and its blocks allocated, by the very writers: of a thread that
//! puts as fast as it can that was a fifth of its time. Pages and blocks of a file that was a log before are there. So whoever
//! has flushed a memtable writes zeros over its log and keeps it under a name of its own, one at a time, and a rotation gives it its
//! new name. To whoever recovers it, zeros behind the frames are space that was allocated ahead, as in any log.
//!
//! - **Who may still have it**: nobody. Its writer has been let go of, and with it the window that was mapped.
//! - **A kill**: the spare is removed by the next open. A log loses its name only after the manifest has forgotten it, and its
//!   contents only after its name: whoever still looks for it finds it missing, and not empty.
//! - **A loss of power** may bring back what stood in the file before its zeros, behind its new name. Its frames are keyed with
//!   their log's number, so they are no frames of this one: the torn tail of a log that was not synced. A sync writes the zeros too.
//! - **Synced logs** are written, not mapped, and their first sync would have all the zeros to write: where syncs are the rule
//!   ([`Durability::Power`]) no log is kept.
//!
//! Not here: which file systems it is safe on. The [`Vfs`](crate::vfs::Vfs) decides that.

use std::path::Path;
use std::sync::Arc;

use kausal_arena::sync::{AtomicBool, Ordering};
use kausal_index::BlockIndex;

use crate::core::Core;
use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::options::Durability;
use crate::pace::{JobPace, JobState};
use crate::scheduler::Lane;
use crate::vfs::{LogFile, OpenMode};

/// Whether there is a spare log.
#[derive(Debug, Default)]
pub(crate) struct SpareLog {
    is_there: AtomicBool,
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Keeps the file of a log that the manifest has forgotten and nobody has open, or removes it. One that stays although it
    /// should not is removed by the next open.
    pub(crate) fn retire_log(&self, number: FileNumber) {
        let vfs = &self.environment.vfs;
        let path = file_path(&self.directory, FileKind::Log(number));
        let is_wanted = self.options.durability != Durability::Power && !self.health.is_closed();
        // Acquire and Release, here and below: who takes the file finds it under its name.
        if is_wanted && !self.spare_log.is_there.load(Ordering::Acquire) {
            let state = JobState::default();
            let pace = JobPace::new(self, Lane::Flush, 0, &state);
            let spare = file_path(&self.directory, FileKind::SpareLog);
            if vfs.keep_log(&path, &spare, &|| pace.offer_core()).is_ok_and(|is_kept| is_kept) {
                self.spare_log.is_there.store(true, Ordering::Release);
                return;
            }
        }
        let _ = vfs.remove(&path);
    }

    /// The spare log under the name `path`, if there is one. What it cannot be used for does not matter: a new file can.
    pub(crate) fn take_spare_log(&self, path: &Path) -> Option<Arc<dyn LogFile>> {
        if !self.spare_log.is_there.swap(false, Ordering::AcqRel) {
            return None;
        }
        let vfs = &self.environment.vfs;
        vfs.rename(&file_path(&self.directory, FileKind::SpareLog), path).ok()?;
        let opened = vfs.open_log(path, OpenMode::ReadWrite);
        opened
            .inspect_err(|_| {
                let _ = vfs.remove(path);
            })
            .ok()
    }

    /// Removes the spare log: the database is closed.
    pub(crate) fn remove_spare_log(&self) {
        if self.spare_log.is_there.swap(false, Ordering::AcqRel) {
            let _ = self.environment.vfs.remove(&file_path(&self.directory, FileKind::SpareLog));
        }
    }
}
