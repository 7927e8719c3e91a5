//! The simulated file system: calls, and what may befall them.
//!
//! 1. Every call is counted and goes into the trace hash, with its answer: two runs that differ in anything the disk was
//!    asked or said differ in the hash.
//! 2. A call may hit a fault ([`Fault`]) or the disk's capacity.
//! 3. From the call that [`SimVfs::crash_after`] names on, every call fails; a write at that very call may be applied in
//!    part.
//! 4. [`SimVfs::record`] keeps the disk as it was before each call that changes it: the history of one run gives a
//!    crash at every such call without running again.
//! 5. To write over a file that somebody has open is a panic: what he reads would no longer be what he opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::sim::SimRandom;
use crate::sim::disk::{CrashCounts, CrashMode, Disk};
use crate::sim::fault::{CallKind, Fault, FaultCounts, FaultPlan};
use crate::sim::history::{History, Point, Unfinished};

/// A simulated file system. Cloning gives another handle on the same disk.
#[derive(Clone)]
pub struct SimVfs {
    machine: Arc<Mutex<Machine>>,
}

/// A disk and what goes on around it.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) disk: Disk,
    pub(super) locks: BTreeSet<PathBuf>,
    /// How often each file is open.
    pub(super) opens: BTreeMap<u64, usize>,
    calls: u64,
    crash_after: Option<u64>,
    faults: FaultPlan,
    space: Option<Space>,
    /// Calls refused for lack of space by the capacity.
    refused: u64,
    history: Option<Vec<Point>>,
    /// A hash of every call and answer; `None` where nobody follows them.
    trace: Option<u64>,
    /// Where a short read ended, and how many were continued there.
    short_read: Option<(u64, u64)>,
    continued: u64,
    /// Files that were opened to be written over.
    pub(super) written_over: u64,
}

/// The capacity of a disk.
struct Space {
    bytes: u64,
    /// After so many refusals and questions about free space, there is room again.
    patience: u64,
}

/// What a call is to do.
pub(super) enum Course {
    Whole,
    /// Apply a part of the bytes, then answer with this.
    Part(io::Result<()>),
    Fault(Fault),
}

fn crashed() -> io::Error {
    io::Error::other("simulated crash")
}

fn broken() -> io::Error {
    io::Error::other("simulated input/output error")
}

impl Machine {
    /// Begins a call: counts it, keeps the disk as it was, and says what is to become of it.
    pub(super) fn call(&mut self, kind: CallKind, what: Call<'_>) -> io::Result<Course> {
        self.note(kind as u64, &what);
        if kind.changes()
            && let Some(history) = &mut self.history
        {
            let unfinished = match (kind, what.bytes) {
                (CallKind::Write, Some(bytes)) => {
                    Some(Unfinished { inode: what.inode, offset: what.offset, bytes: bytes.into() })
                }
                _ => None,
            };
            history.push(Point { disk: self.disk.clone(), call: self.calls, unfinished });
        }
        self.calls += 1;
        if let Some(limit) = self.crash_after
            && self.calls > limit
        {
            let is_first = self.calls == limit + 1 && kind == CallKind::Write;
            return if is_first { Ok(Course::Part(Err(crashed()))) } else { Err(crashed()) };
        }
        let fault = self.faults.draw(kind);
        let answer = match fault {
            None => return self.check_space(kind, &what),
            Some(Fault::WriteError) => Ok(Course::Part(Err(broken()))),
            Some(Fault::NoSpace) if kind == CallKind::Write => {
                Ok(Course::Part(Err(io::ErrorKind::StorageFull.into())))
            }
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::LyingWrite) => Ok(Course::Part(Ok(()))),
            Some(Fault::ReadError | Fault::NameError) => Err(broken()),
            Some(fault) => Ok(Course::Fault(fault)),
        };
        self.answer(&[fault.map_or(0, |fault| fault as u8 + 1)]);
        answer
    }

    /// Refuses what needs more room than there is.
    fn check_space(&mut self, kind: CallKind, what: &Call<'_>) -> io::Result<Course> {
        let Some(space) = &mut self.space else { return Ok(Course::Whole) };
        let end = match kind {
            CallKind::Write => what.offset + what.bytes.map_or(0, <[u8]>::len) as u64,
            CallKind::Reserve => what.offset,
            CallKind::FreeSpace => {
                space.patience = space.patience.saturating_sub(1);
                if space.patience == 0 {
                    self.space = None;
                }
                return Ok(Course::Whole);
            }
            _ => return Ok(Course::Whole),
        };
        let inode = self.disk.inode(what.inode);
        let taken = inode.reserved.max(inode.contents.len() as u64);
        if self.disk.used_bytes() + end.saturating_sub(taken) <= space.bytes {
            return Ok(Course::Whole);
        }
        self.refused += 1;
        space.patience = space.patience.saturating_sub(1);
        if space.patience == 0 {
            self.space = None;
        }
        self.answer(b"refused");
        let full: io::Error = io::ErrorKind::StorageFull.into();
        if kind == CallKind::Write { Ok(Course::Part(Err(full))) } else { Err(full) }
    }

    /// Takes a call into the trace hash.
    fn note(&mut self, kind: u64, what: &Call<'_>) {
        if self.trace.is_none() {
            return;
        }
        let mut words = [0; 40];
        let path = what.path.map_or(0, |path| xxh3_64(path.as_os_str().as_encoded_bytes()));
        let bytes = what.bytes.map_or(0, xxh3_64);
        for (place, word) in [kind, what.inode, what.offset, path, bytes].into_iter().enumerate() {
            words[8 * place..8 * place + 8].copy_from_slice(&word.to_le_bytes());
        }
        self.answer(&words);
    }

    /// Takes an answer into the trace hash.
    pub(super) fn answer(&mut self, bytes: &[u8]) {
        if let Some(trace) = &mut self.trace {
            *trace = xxh3_64_with_seed(bytes, *trace);
        }
    }

    /// Remembers a short read, or sees that one is continued.
    pub(super) fn follow_read(&mut self, inode: u64, start: u64, end: u64, is_short: bool) {
        if self.short_read == Some((inode, start)) {
            self.continued += 1;
        }
        self.short_read = is_short.then_some((inode, end));
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.space.as_ref().map_or(1 << 40, |space| space.bytes.saturating_sub(self.disk.used_bytes()))
    }
}

/// What a call is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) path: Option<&'a Path>,
    pub(super) inode: u64,
    pub(super) offset: u64,
    pub(super) bytes: Option<&'a [u8]>,
}

impl SimVfs {
    /// An empty disk.
    pub fn new() -> Self {
        let machine = Machine { trace: Some(0), ..Machine::default() };
        Self { machine: Arc::new(Mutex::new(machine)) }
    }

    pub(super) fn of(disk: Disk) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine { disk, ..Machine::default() })) }
    }

    pub(super) fn machine(&self) -> parking_lot::MutexGuard<'_, Machine> {
        self.machine.lock()
    }

    /// Lets `calls` more calls succeed and every later one fail.
    pub fn crash_after(&self, calls: u64) {
        let mut machine = self.machine.lock();
        machine.crash_after = Some(machine.calls + calls);
    }

    /// Calls made so far.
    pub fn call_count(&self) -> u64 {
        self.machine.lock().calls
    }

    /// A hash of every call so far and of every answer. 0 for a disk after a crash, whose calls are not followed.
    pub fn trace_hash(&self) -> u64 {
        self.machine.lock().trace.unwrap_or(0)
    }

    /// The disk that the machine finds after a crash now.
    pub fn crash(&self, mode: CrashMode, seed: u64) -> Self {
        let mut counts = CrashCounts::default();
        let disk = self.machine.lock().disk.crash(mode, &SimRandom::new(seed), &mut counts);
        Self::of(disk)
    }

    /// From now on keeps the disk as it is before each call that changes it.
    pub fn record(&self) {
        self.machine.lock().history = Some(Vec::new());
    }

    /// What was recorded; recording ends.
    pub fn take_history(&self) -> History {
        History::new(self.machine.lock().history.take().unwrap_or_default())
    }

    /// Lets `fault` happen once, after `skipped` more calls that it could happen at.
    pub fn inject(&self, fault: Fault, skipped: u64) {
        self.machine.lock().faults.arm(fault, skipped);
    }

    /// From now on lets one call in `one_in` hit one of `faults`, as `seed` decides.
    pub fn inject_at_random(&self, seed: u64, one_in: u64, faults: &[Fault]) {
        self.machine.lock().faults.arm_odds(seed, one_in, faults);
    }

    /// Lets nothing more go wrong, and gives the disk endless space.
    pub fn mend(&self) {
        let mut machine = self.machine.lock();
        machine.faults.disarm();
        machine.space = None;
    }

    /// How often which fault has happened.
    pub fn injected(&self) -> FaultCounts {
        self.machine.lock().faults.injected
    }

    /// How many short reads were continued where they ended.
    pub fn continued_read_count(&self) -> u64 {
        self.machine.lock().continued
    }

    /// How many files were opened to be written over ([`open_over`](crate::vfs::Vfs::open_over)).
    pub fn written_over_count(&self) -> u64 {
        self.machine.lock().written_over
    }

    /// Leaves the disk `bytes` of free space. After `patience` refusals and questions about free space, there is
    /// enough again.
    pub fn limit_space(&self, bytes: u64, patience: u64) {
        let mut machine = self.machine.lock();
        let bytes = machine.disk.used_bytes() + bytes;
        machine.space = Some(Space { bytes, patience: patience.max(1) });
    }

    /// How many calls were refused because of [`limit_space`](Self::limit_space).
    pub fn refused_count(&self) -> u64 {
        self.machine.lock().refused
    }

    /// The files and their lengths, in order of their names.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let machine = self.machine.lock();
        let files = machine.disk.names().files.iter();
        files.map(|(path, &inode)| (path.clone(), machine.disk.inode(inode).contents.len() as u64)).collect()
    }

    /// Turns one bit of a file, as a disk does to data at rest. Nothing happens behind the file's end.
    pub fn flip(&self, path: &Path, bit: u64) {
        let mut machine = self.machine.lock();
        if let Ok(number) = machine.disk.inode_of(path) {
            let inode = machine.disk.inode_mut(number);
            inode.contents.flip(bit);
            inode.durable.flip(bit);
        }
    }
}

impl Default for SimVfs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimVfs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimVfs").field("calls", &self.call_count()).finish_non_exhaustive()
    }
}
