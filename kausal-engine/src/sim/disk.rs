//! What a simulated disk holds, and what a crash makes of it.
//!
//! 1. A file has its contents and its durable contents; a sync makes them equal. The names have a durable state and a
//!    list of changes since; a sync of a directory makes those of its changes durable.
//! 2. A sync that fails may lose the data for good: what was written before is marked clean without being durable, and
//!    later syncs do not write it either (Rebello et al. 2020).
//! 3. A crash keeps of what was not durable, by [`CrashMode`], nothing, everything, or by seed: each 512-byte sector on
//!    its own, whole, torn in the middle or not; any length between the durable and the latest; each change of a name on
//!    its own, a rename as one. A sector that was never written may show what a removed file held there.
//!
//! Not here: calls, faults and history, which are `vfs`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sim::SimRandom;
use crate::sim::contents::{Contents, SECTOR_BYTES};

/// What a crash keeps of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Nothing: power loss with everything still in caches.
    DropUnsynced,
    /// Everything: the process was killed.
    KeepUnsynced,
    /// Any part, by seed.
    Random,
}

/// What crashes did to what was not durable, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashCounts {
    /// Sectors that kept their new contents.
    pub sectors_kept: u64,
    /// Sectors that kept their old contents, or zeros.
    pub sectors_dropped: u64,
    /// Sectors that are new up to somewhere and old from there on.
    pub sectors_torn: u64,
    /// Sectors never written, which show what a removed file held.
    pub sectors_stale: u64,
    /// Changes of names that were kept.
    pub names_kept: u64,
    /// Changes of names that were undone.
    pub names_dropped: u64,
    /// Changes of names that were kept although an earlier one was undone.
    pub names_reordered: u64,
}

impl CrashCounts {
    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.sectors_kept += other.sectors_kept;
        self.sectors_dropped += other.sectors_dropped;
        self.sectors_torn += other.sectors_torn;
        self.sectors_stale += other.sectors_stale;
        self.names_kept += other.names_kept;
        self.names_dropped += other.names_dropped;
        self.names_reordered += other.names_reordered;
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) contents: Contents,
    pub(super) durable: Contents,
    /// Sectors that a failed sync has marked clean without making them durable.
    lost: BTreeSet<usize>,
    /// Space taken by a reservation.
    pub(super) reserved: u64,
}

impl Inode {
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if !self.lost.is_empty() && !bytes.is_empty() {
            let sectors = offset / SECTOR_BYTES..(offset + bytes.len()).div_ceil(SECTOR_BYTES);
            self.lost.retain(|sector| !sectors.contains(sector));
        }
        self.contents.write(bytes, offset);
    }

    pub(super) fn sync(&mut self) {
        let lost: Vec<usize> = self.lost.iter().copied().collect();
        let old = std::mem::replace(&mut self.durable, self.contents.clone());
        for sector in lost {
            let (start, end) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
            if start < self.durable.len() {
                self.durable.write(&vec![0; end.min(self.durable.len()) - start], start);
                self.durable.copy_from(&old, start, end.min(self.durable.len()));
            }
        }
    }

    /// A sync that fails and forgets what it had to write.
    pub(super) fn lose(&mut self) {
        for start in (0..self.contents.len()).step_by(SECTOR_BYTES) {
            if !self.contents.shares(&self.durable, start) {
                self.lost.insert(start / SECTOR_BYTES);
            }
        }
    }
}

/// A change of the names that no sync of its directory has made durable yet.
#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
    Directory(PathBuf),
}

impl NameChange {
    /// Whether a sync of `directory` makes the change durable.
    fn is_in(&self, directory: &Path) -> bool {
        let (Self::Link(path, _) | Self::Remove(path) | Self::Rename(_, path, _) | Self::Directory(path)) =
            self;
        path.parent() == Some(directory)
    }
}

/// Names of files and directories.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<PathBuf, u64>,
    pub(super) directories: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Link(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Remove(path) => {
                self.files.remove(path);
            }
            NameChange::Rename(source, target, inode) => {
                self.files.remove(source);
                self.files.insert(target.clone(), *inode);
            }
            NameChange::Directory(path) => {
                self.directories.insert(path.clone());
            }
        }
    }

    /// Forgets what lies in directories that are not there.
    fn prune(&mut self) {
        let all = self.directories.clone();
        let is_there =
            |path: &Path| path.ancestors().skip(1).all(|above| is_root(above) || all.contains(above));
        self.directories.retain(|path| is_there(path));
        self.files.retain(|path, _| is_there(path));
    }
}

/// A directory that is always there.
fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}

/// Files and names. A copy shares everything with its original until one of them is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    inodes: Arc<BTreeMap<u64, Arc<Inode>>>,
    names: Arc<Names>,
    durable_names: Arc<Names>,
    changes: Arc<Vec<NameChange>>,
    /// What removed files held, by extension.
    stale: Arc<BTreeMap<String, Contents>>,
    next_inode: u64,
}

impl Disk {
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn inode_of(&self, path: &Path) -> io::Result<u64> {
        self.names.files.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// How many names a file has.
    pub(super) fn name_count(&self, number: u64) -> usize {
        self.names.files.values().filter(|&&named| named == number).count()
    }

    pub(super) fn inode(&self, number: u64) -> &Inode {
        self.inodes.get(&number).expect("a file that is open or named has its inode")
    }

    pub(super) fn inode_mut(&mut self, number: u64) -> &mut Inode {
        Arc::make_mut(Arc::make_mut(&mut self.inodes).entry(number).or_default())
    }

    pub(super) fn create(&mut self, path: &Path) -> u64 {
        self.next_inode += 1;
        let inode = self.next_inode;
        Arc::make_mut(&mut self.inodes).insert(inode, Arc::default());
        self.change(NameChange::Link(path.to_owned(), inode));
        inode
    }

    pub(super) fn link(&mut self, inode: u64, path: &Path) {
        self.change(NameChange::Link(path.to_owned(), inode));
    }

    pub(super) fn rename(&mut self, source: &Path, target: &Path, inode: u64) {
        self.change(NameChange::Rename(source.to_owned(), target.to_owned(), inode));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        if let (Ok(inode), Some(extension)) = (self.inode_of(path), path.extension()) {
            let contents = self.inode(inode).contents.clone();
            Arc::make_mut(&mut self.stale).insert(extension.to_string_lossy().into_owned(), contents);
        }
        self.change(NameChange::Remove(path.to_owned()));
    }

    /// Creates a directory and those above it.
    pub(super) fn create_dir(&mut self, path: &Path) {
        let missing: Vec<PathBuf> = path
            .ancestors()
            .filter(|path| !is_root(path) && !self.names.directories.contains(*path))
            .map(Path::to_owned)
            .collect();
        for path in missing.into_iter().rev() {
            self.change(NameChange::Directory(path));
        }
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        is_root(path) || self.names.directories.contains(path)
    }

    pub(super) fn sync_dir(&mut self, directory: &Path) {
        let durable = Arc::make_mut(&mut self.durable_names);
        Arc::make_mut(&mut self.changes).retain(|change| {
            let is_in = change.is_in(directory);
            if is_in {
                durable.apply(change);
            }
            !is_in
        });
    }

    fn change(&mut self, change: NameChange) {
        Arc::make_mut(&mut self.names).apply(&change);
        Arc::make_mut(&mut self.changes).push(change);
    }

    /// Bytes that named files take.
    pub(super) fn used_bytes(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.files.values().copied().collect();
        named
            .iter()
            .map(|&number| self.inode(number))
            .map(|inode| inode.reserved.max(inode.contents.len() as u64))
            .sum()
    }

    /// The disk after a crash.
    pub(super) fn crash(&self, mode: CrashMode, random: &SimRandom, counts: &mut CrashCounts) -> Self {
        let names = Arc::new(self.crash_names(mode, random, counts));
        let named: BTreeMap<u64, &Path> =
            names.files.iter().map(|(path, &inode)| (inode, path.as_path())).collect();
        let mut inodes = BTreeMap::new();
        for (&number, path) in &named {
            let inode = self.inode(number);
            let contents = match mode {
                CrashMode::DropUnsynced => inode.durable.clone(),
                CrashMode::KeepUnsynced => inode.contents.clone(),
                CrashMode::Random => {
                    let extension = path.extension().unwrap_or_default().to_string_lossy();
                    let stale = self.stale.get(&*extension);
                    Mix { inode, stale, random, counts: &mut *counts }.contents()
                }
            };
            let durable = contents.clone();
            inodes.insert(number, Arc::new(Inode { contents, durable, ..Inode::default() }));
        }
        Self {
            inodes: Arc::new(inodes),
            durable_names: Arc::clone(&names),
            names,
            changes: Arc::default(),
            stale: Arc::clone(&self.stale),
            next_inode: self.next_inode,
        }
    }

    fn crash_names(&self, mode: CrashMode, random: &SimRandom, counts: &mut CrashCounts) -> Names {
        let mut names = (*self.durable_names).clone();
        let mut is_dropped = false;
        for change in &*self.changes {
            let is_kept = match mode {
                CrashMode::DropUnsynced => false,
                CrashMode::KeepUnsynced => true,
                CrashMode::Random => random.below(2) == 0,
            };
            if is_kept {
                names.apply(change);
                counts.names_kept += 1;
                counts.names_reordered += u64::from(is_dropped);
            } else {
                counts.names_dropped += 1;
                is_dropped = true;
            }
        }
        names.prune();
        names
    }
}

/// Makes, sector by sector, the contents of a file after a crash.
struct Mix<'a> {
    inode: &'a Inode,
    stale: Option<&'a Contents>,
    random: &'a SimRandom,
    counts: &'a mut CrashCounts,
}

impl Mix<'_> {
    fn contents(&mut self) -> Contents {
        let Inode { contents, durable, .. } = self.inode;
        let (shorter, longer) = (contents.len().min(durable.len()), contents.len().max(durable.len()));
        let len = match self.random.below(3) {
            _ if shorter == longer => longer,
            0 => contents.len(),
            1 => durable.len(),
            _ => shorter + self.random.below((longer - shorter) as u64 + 1) as usize,
        };
        let mut mixed = contents.clone();
        mixed.resize(len);
        // One in four files lies where another was: what is not written there shows it.
        let shows_stale = self.stale.is_some() && self.random.below(4) == 0;
        for start in (0..len).step_by(SECTOR_BYTES) {
            if !contents.shares(durable, start) {
                self.sector(&mut mixed, start, (start + SECTOR_BYTES).min(len), shows_stale);
            }
        }
        mixed
    }

    fn sector(&mut self, mixed: &mut Contents, start: usize, end: usize, shows_stale: bool) {
        let Inode { contents, durable, .. } = self.inode;
        if end <= durable.len() && contents.equals(durable, start, end) {
            return;
        }
        let kept = match self.random.below(4) {
            0 | 1 => end,
            2 => start,
            _ => start + self.random.below((end - start) as u64 + 1) as usize,
        };
        match kept {
            kept if kept == end => {
                self.counts.sectors_kept += 1;
                return;
            }
            kept if kept == start => self.counts.sectors_dropped += 1,
            _ => self.counts.sectors_torn += 1,
        }
        mixed.write(&[0; SECTOR_BYTES][..end - kept], kept);
        mixed.copy_from(durable, kept, end);
        let unwritten = kept.max(durable.len());
        if let Some(stale) = self.stale
            && shows_stale
            && unwritten < end
        {
            self.counts.sectors_stale += 1;
            mixed.copy_from(stale, unwritten, end);
        }
    }
}
