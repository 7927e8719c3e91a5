//! What the engine is doing, in a file that outlives a kill.
//!
//! Each thread that works for the engine owns one byte of the file and sets a bit in it while a phase goes on. Who kills
//! the process reads the same bytes: before, to choose the moment; after, to know what was hit. The bits come from outside
//! the engine: who calls it, in which lane a job runs, and which file a call of its file system is about.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kausal_engine::Environment;
use kausal_engine::event::{Event, Ticket};
use kausal_engine::scheduler::{Job, Lane, Scheduler, Waited};
use kausal_engine::vfs::{Advice, DirEntry, FileLock, LogFile, OpenMode, Vfs, VfsFile};

/// A writer is in a call of the engine.
pub(crate) const WRITE: u8 = 1;
/// A flush job runs.
pub(crate) const FLUSH: u8 = 2;
/// A compaction job runs.
pub(crate) const COMPACTION: u8 = 4;
/// A manifest, or `CURRENT`, is being changed.
pub(crate) const MANIFEST: u8 = 8;
/// The database is being opened.
pub(crate) const RECOVERY: u8 = 16;

/// Bytes of the file: the main thread, two writers, two lanes.
const ACTORS: usize = 5;
const FLUSH_ACTOR: usize = 3;
const COMPACTION_ACTOR: usize = 4;

thread_local! {
    static ACTOR: Cell<usize> = const { Cell::new(0) };
    static BITS: Cell<u8> = const { Cell::new(0) };
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Phases(Arc<File>);

impl Phases {
    /// Opens the file with no phase going on.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.write_all_at(&[0; ACTORS], 0)?;
        Ok(Self(Arc::new(file)))
    }

    /// From here on this thread is writer `writer`.
    pub(crate) fn become_writer(&self, writer: usize) {
        ACTOR.set(1 + writer);
    }

    /// Does `work` as part of `phase`.
    pub(crate) fn during<T>(&self, phase: u8, work: impl FnOnce() -> T) -> T {
        let before = BITS.get();
        self.set(before | phase);
        let result = work();
        self.set(before);
        result
    }

    fn set(&self, bits: u8) {
        if BITS.replace(bits) != bits {
            // A mark that fails is a kill that cannot be told, no more.
            let _ = self.0.write_all_at(&[bits], ACTOR.get() as u64);
        }
    }

    /// The operating system, marked.
    pub(crate) fn environment(&self) -> io::Result<Environment> {
        let system = Environment::system()?;
        Ok(Environment {
            vfs: Arc::new(MarkedVfs { vfs: system.vfs, phases: self.clone() }),
            scheduler: Arc::new(MarkedScheduler { scheduler: system.scheduler, phases: self.clone() }),
            ..system
        })
    }
}

#[derive(Debug)]
struct MarkedScheduler {
    scheduler: Arc<dyn Scheduler>,
    phases: Phases,
}

impl Scheduler for MarkedScheduler {
    fn spawn(&self, lane: Lane, job: Job) {
        let phases = self.phases.clone();
        let marked = move || {
            let (actor, phase) = match lane {
                Lane::Flush => (FLUSH_ACTOR, FLUSH),
                Lane::Compaction => (COMPACTION_ACTOR, COMPACTION),
            };
            ACTOR.set(actor);
            phases.during(phase, job);
        };
        self.scheduler.spawn(lane, Box::new(marked));
    }

    fn wait(&self, event: &Event, ticket: Ticket, deadline: Option<Duration>) -> Waited {
        self.scheduler.wait(event, ticket, deadline)
    }

    fn shutdown(&self) {
        self.scheduler.shutdown();
    }

    fn panic_count(&self) -> usize {
        self.scheduler.panic_count()
    }
}

#[derive(Debug)]
struct MarkedVfs {
    vfs: Arc<dyn Vfs>,
    phases: Phases,
}

#[derive(Debug)]
struct MarkedManifest {
    file: Arc<dyn VfsFile>,
    phases: Phases,
}

fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("MANIFEST-") || name.starts_with("CURRENT")
}

impl MarkedVfs {
    fn about<T>(&self, path: &Path, call: impl FnOnce() -> T) -> T {
        if is_manifest(path) { self.phases.during(MANIFEST, call) } else { call() }
    }
}

impl Vfs for MarkedVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.about(path, || self.vfs.open(path, mode))?;
        let phases = self.phases.clone();
        Ok(if is_manifest(path) { Arc::new(MarkedManifest { file, phases }) } else { file })
    }

    fn open_log(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn LogFile>> {
        self.vfs.open_log(path, mode)
    }

    fn keep_log(&self, path: &Path, spare: &Path, between: &dyn Fn()) -> io::Result<bool> {
        self.vfs.keep_log(path, spare, between)
    }

    fn writes_over(&self, directory: &Path) -> bool {
        self.vfs.writes_over(directory)
    }

    fn open_over(&self, spare: &Path, path: &Path) -> io::Result<Option<Arc<dyn VfsFile>>> {
        self.vfs.open_over(spare, path)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.about(target, || self.vfs.rename(source, target))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.about(path, || self.vfs.remove(path))
    }

    fn hard_link(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.vfs.hard_link(source, target)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.vfs.create_dir(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        self.vfs.list(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.vfs.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.vfs.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.vfs.lock_shared(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.vfs.free_space(path)
    }
}

impl VfsFile for MarkedManifest {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.phases.during(MANIFEST, || self.file.write_at(bytes, offset))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        self.phases.during(MANIFEST, || self.file.append(bytes))
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.file.preallocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.phases.during(MANIFEST, || self.file.truncate(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.phases.during(MANIFEST, || self.file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn advise(&self, advice: Advice) {
        self.file.advise(advice);
    }
}
