//! Spare tables: files of tables that are not needed any more, to be written over by the next ones.
//!
//! A new file's pages have to be found by whoever writes it, its blocks allocated, and both given back when the table has been
//! merged away (docs/decisions/0021 has the figures). Pages and blocks of a file that was a table before
//! are there. So the file of a table that no version has any more is kept, under its name, and the next flush or merge gives it
//! its new name and writes it over.
//!
//! - **Who may still look into it**: nobody. A table is offered by its last holder, after the edit of the manifest that forgot it
//!   has been synced; one whose reader is still counted by somebody is removed, and so is one that has a second name, as
//!   checkpoints give.
//! - **A kill, a loss of power**: no manifest names a spare, by either name, before the new table has been written, cut to its
//!   length and synced. The next open removes what is not named.
//! - **Space**: no more than [`BUDGETS`] memory budgets of them. They go when the tree is at rest, when somebody asks for it to be
//!   compacted, when the disk is full, and with a close.
//!
//! Not here: which file systems it is worth it on. The [`Vfs`] decides that.

use std::path::Path;
use std::sync::Arc;

use kausal_arena::sync::Mutex;

use crate::file_names::{FileKind, file_path};
use crate::ids::FileNumber;
use crate::vfs::{Vfs, VfsFile};

/// Spares are kept up to so many memory budgets: the tables of a level 0 that is due, and some of the level below.
const BUDGETS: u64 = 2;

/// Spares that are kept, at most.
const COUNT_MAX: usize = 32;

/// A file, and its bytes.
type Spare = (FileNumber, u64);

/// The spares of one database. At first it keeps none.
#[derive(Debug, Default)]
pub(crate) struct SpareTables {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Files are kept up to this, together.
    bytes_max: u64,
    files: Vec<Spare>,
}

impl SpareTables {
    /// Keeps spares from now on, for a database with this memory budget.
    pub(crate) fn begin(&self, memory_budget: usize) {
        let mut state = self.state.lock();
        state.bytes_max = BUDGETS.saturating_mul(memory_budget as u64);
        state.files.reserve_exact(COUNT_MAX);
    }

    /// Keeps the file of table `number`, which nobody has open and no durable state names. Answers `false` if it is not wanted.
    pub(crate) fn keep(&self, number: FileNumber, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let kept: u64 = state.files.iter().map(|spare| spare.1).sum();
        let has_room = state.files.len() < COUNT_MAX && kept.saturating_add(bytes) <= state.bytes_max;
        if has_room {
            state.files.push((number, bytes));
        }
        has_room
    }

    /// A spare under the name `path`, to be written from its beginning and cut at the end of what was written, if there is one.
    pub(crate) fn take(&self, vfs: &dyn Vfs, directory: &Path, path: &Path) -> Option<Arc<dyn VfsFile>> {
        // The one that was kept last: its pages are the most likely to be there.
        while let Some((number, _)) = self.pop() {
            let spare = file_path(directory, FileKind::Table(number));
            if let Ok(Some(file)) = vfs.open_over(&spare, path) {
                return Some(file);
            }
            // A file that stays is removed by the next open.
            let _ = vfs.remove(&spare);
        }
        None
    }

    /// Removes all spares. Whoever comes later is kept again.
    pub(crate) fn clear(&self, vfs: &dyn Vfs, directory: &Path) {
        while let Some((number, _)) = self.pop() {
            let _ = vfs.remove(&file_path(directory, FileKind::Table(number)));
        }
    }

    /// The same, and keeps none any more.
    pub(crate) fn end(&self, vfs: &dyn Vfs, directory: &Path) {
        self.state.lock().bytes_max = 0;
        self.clear(vfs, directory);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().files.is_empty()
    }

    /// Without the lock when it returns: removing a large file takes its time.
    fn pop(&self) -> Option<Spare> {
        self.state.lock().files.pop()
    }
}
