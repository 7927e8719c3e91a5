//! The history of a run: the disk before each call that changed it, to crash at any of them.

use std::fmt;
use std::sync::Arc;

use crate::sim::disk::{CrashCounts, CrashMode, Disk};
use crate::sim::{SimRandom, SimVfs};

/// A write that was under way.
pub(super) struct Unfinished {
    pub(super) inode: u64,
    pub(super) offset: u64,
    pub(super) bytes: Arc<[u8]>,
}

/// The disk before a call.
pub(super) struct Point {
    pub(super) disk: Disk,
    pub(super) call: u64,
    pub(super) unfinished: Option<Unfinished>,
}

/// Every moment of a run at which a crash makes a difference.
#[derive(Default)]
pub struct History {
    points: Vec<Point>,
}

impl History {
    pub(super) fn new(points: Vec<Point>) -> Self {
        Self { points }
    }

    /// Number of moments.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// How many calls had ended before the moment at `place`.
    ///
    /// # Panics
    ///
    /// If there is no such moment.
    pub fn call(&self, place: usize) -> u64 {
        self.points[place].call
    }

    /// The disk after a crash at the moment at `place`: a write that was under way then got any part of its bytes to
    /// the disk's cache, and `mode` and `seed` decide what of that the disk kept.
    ///
    /// # Panics
    ///
    /// If there is no such moment.
    pub fn crash(&self, place: usize, mode: CrashMode, seed: u64) -> (SimVfs, CrashCounts) {
        let (random, mut counts) = (SimRandom::new(seed), CrashCounts::default());
        let point = &self.points[place];
        let mut disk = point.disk.clone();
        if let Some(Unfinished { inode, offset, bytes }) = &point.unfinished {
            let part = random.below(bytes.len() as u64 + 1) as usize;
            // One in three writes has not begun.
            if random.below(3) > 0 {
                disk.inode_mut(*inode).write(&bytes[..part], *offset as usize);
            }
        }
        (SimVfs::of(disk.crash(mode, &random, &mut counts)), counts)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("History").field("len", &self.len()).finish()
    }
}
