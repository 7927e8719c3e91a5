//! One table on disk: its metadata from the manifest, its open reader, and the end of its file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use kausal_arena::Reservation;
use kausal_sstable::{BlockCache, Residency, Table, TableError, TableSource};

use crate::blob::BlobFile;
use crate::error::Error;
use crate::file_names::{FileKind, file_path};
use crate::manifest::TableMeta;
use crate::memory::TableMemory;
use crate::planted::is_planted;
use crate::spare_tables::SpareTables;
use crate::version::open_files::TableHandle;
use crate::vfs::{OpenMode, Vfs, VfsFile};

/// A table of some version. The last holder removes the file if it has become obsolete.
#[derive(Debug)]
pub(crate) struct TableFile {
    meta: TableMeta,
    open: Arc<OpenFile>,
}

/// The file behind a table, wherever in the tree the table lies.
#[derive(Debug)]
struct OpenFile {
    table: Arc<Table>,
    blobs: Vec<Arc<BlobFile>>,
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    obsolete: AtomicBool,
    /// Whether the file may then be that of another table.
    spare: AtomicBool,
    cache: Option<Arc<BlockCache>>,
    spares: Arc<SpareTables>,
    file_bytes: u64,
    /// For what is kept of the table beside what its reader charges.
    _charge: Reservation,
}

/// Bytes kept for a table whatever its size, beside its keys and its path: what this file and its neighbours make of it, the list of
/// open files, an open file, and the counts of what is shared.
const KEPT_BYTES: usize = size_of::<TableFile>() + size_of::<OpenFile>() + size_of::<TableHandle>() + 128;

/// Bytes kept for the table of `meta` at `path`, which is written down twice.
fn kept_bytes(meta: &TableMeta, path: &Path) -> usize {
    let keys = meta.key_min.len() + meta.key_max.len();
    KEPT_BYTES + keys + 2 * path.as_os_str().len() + 8 * meta.blobs.len()
}

/// A file as the table reader wants it.
pub(crate) struct Source(pub(crate) Arc<dyn VfsFile>);

impl TableSource for Source {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl TableFile {
    /// Opens the table that `meta` describes; its resident parts are charged to `memory`.
    pub(crate) fn open(
        vfs: &Arc<dyn Vfs>,
        directory: &Path,
        meta: TableMeta,
        blobs: Vec<Arc<BlobFile>>,
        memory: &TableMemory,
        mode: OpenMode,
    ) -> Result<Self, Error> {
        let path = file_path(directory, FileKind::Table(meta.file));
        let charge = memory.budget().reserve(kept_bytes(&meta, &path))?;
        let handle = TableHandle::new(memory.files(), vfs, path.clone(), mode);
        let file = handle.file().map_err(Error::io("open", &path))?;
        if is_planted("open_reads_tables") {
            file.read_exact_at(&mut vec![0; meta.file_bytes as usize], 0)
                .map_err(Error::io("read", &path))?;
        }
        let expected = Some((meta.table_id, meta.file_bytes));
        let source: Arc<dyn TableSource> = handle;
        let read = |residency| {
            Table::open_with(Arc::clone(&source), meta.file, expected, residency, memory.budget())
        };
        let table = match read(memory.residency()) {
            // Filters and indexes that there is no room for are read when they are wanted.
            Err(TableError::Memory { .. }) => read(Residency::Root),
            other => other,
        };
        let mut table = table.map_err(|error| Error::table(&path, error))?;
        if mode == OpenMode::ReadMapped {
            // What cannot be mapped, or has no room for its marks, is read.
            let _ = table.map();
        }
        let table = Arc::new(table);
        let (vfs, cache) = (Arc::clone(vfs), memory.cache().cloned());
        let (obsolete, spare) = (AtomicBool::new(false), AtomicBool::new(false));
        let (spares, file_bytes) = (Arc::clone(memory.spares()), meta.file_bytes);
        let open =
            OpenFile { table, blobs, vfs, path, obsolete, spare, cache, spares, file_bytes, _charge: charge };
        Ok(Self { meta, open: Arc::new(open) })
    }

    /// The same table on another level.
    pub(crate) fn on_level(&self, level: u8) -> Self {
        Self { meta: TableMeta { level, ..self.meta.clone() }, open: Arc::clone(&self.open) }
    }

    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.open.table
    }

    /// The blob files that entries of the table refer to.
    pub(crate) fn blobs(&self) -> &[Arc<BlobFile>] {
        &self.open.blobs
    }

    pub(crate) fn path(&self) -> &Path {
        &self.open.path
    }

    /// The table was merged into others, and no durable state names the file any more: it may be written over once nobody reads it.
    pub(crate) fn retire(&self) {
        if is_planted("write_over_while_read") && self.open.spares.keep(self.meta.file, self.meta.file_bytes)
        {
            return;
        }
        // Relaxed: ordered by the Release behind it.
        self.open.spare.store(true, Ordering::Relaxed);
        self.mark_obsolete();
    }

    /// No durable state names the file any more: remove it once nobody reads it.
    pub(crate) fn mark_obsolete(&self) {
        // Release: pairs with the Acquire in `drop`.
        self.open.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            // Whoever still counts the reader, although the version has gone, may use it.
            let is_unread = Arc::strong_count(&self.table) == 1;
            // Acquire: what others read of the file, before they let go of the reader, lies before what is written over it.
            fence(Ordering::Acquire);
            let is_spare = is_unread && self.spare.load(Ordering::Relaxed);
            if !is_spare || !self.spares.keep(self.table.file(), self.file_bytes) {
                // A file that stays is removed by the next open, because nothing names it.
                let _ = self.vfs.remove(&self.path);
            }
            if let Some(cache) = &self.cache {
                cache.remove_file(self.table.file());
            }
        }
    }
}
