//! What is imported: a sample of a real tree, whose names meet other contents each turn.
//!
//! 1. The sample is copied once into `contents/`, one numbered file each.
//! 2. A turn is a folder with the sample's names, each a hard link to the contents `turn` places further on. So every
//!    import overwrites every key with real, but other, bytes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::failure::{AtPath, Failure};

/// Enough for some seconds of synced writes, few enough for fifty rounds in minutes.
const FILE_COUNT_MAX: usize = 1_500;

/// Some times the memtables that [`super::round::MEMORY_BUDGET`] has room for, so that flushes and compactions run while
/// the kills fall.
const TREE_BYTES_MAX: u64 = 96 << 20;

/// Larger files would leave few moments between acknowledgements.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A number of a content: its file in `contents/`.
pub(super) type Content = usize;

/// The sample.
pub(super) struct Tree {
    folder: PathBuf,
    /// Paths relative to an arranged tree; as bytes they are the keys.
    names: Vec<PathBuf>,
    indexes: HashMap<Vec<u8>, usize>,
    bytes: u64,
}

impl Tree {
    /// Copies a sample of the regular files below `source` into `folder`. Symbolic links are left out.
    ///
    /// # Errors
    ///
    /// [`Failure`] if a file cannot be read or copied, or there are too few for kills to fall between.
    pub(super) fn sample(source: &Path, folder: &Path, rng: &mut Rng) -> Result<Self, Failure> {
        let mut candidates = files_below(source)?;
        rng.shuffle(&mut candidates);
        let contents = folder.join("contents");
        fs::create_dir(&contents).at("make", &contents)?;
        let mut tree = Self { folder: folder.into(), names: Vec::new(), indexes: HashMap::new(), bytes: 0 };
        for name in candidates {
            let path = source.join(&name);
            let bytes = fs::metadata(&path).at("look at", &path)?.len();
            if bytes > FILE_BYTES_MAX || tree.bytes + bytes > TREE_BYTES_MAX {
                continue;
            }
            fs::copy(&path, tree.content(tree.len())).at("copy", &path)?;
            tree.indexes.insert(key(&name), tree.len());
            tree.names.push(name);
            tree.bytes += bytes;
            if tree.len() == FILE_COUNT_MAX {
                break;
            }
        }
        if tree.len() < 10 {
            let (source, count) = (source.display(), tree.len());
            return Err(Failure::usage(format!(
                "{source} has {count} files that fit; 10 at least are wanted"
            )));
        }
        Ok(tree)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the tree of `turn` and removes that of the turn before. Returns its folder.
    ///
    /// # Errors
    ///
    /// [`Failure`] if a link or folder cannot be made.
    pub(super) fn arrange(&self, turn: usize) -> Result<PathBuf, Failure> {
        let arranged = self.folder.join("tree");
        remove_folder(&arranged)?;
        for (index, name) in self.names.iter().enumerate() {
            let link = arranged.join(name);
            let parent = link.parent().unwrap_or(&arranged);
            fs::create_dir_all(parent).at("make", parent)?;
            let content = self.content(self.content_of(index, turn));
            fs::hard_link(&content, &link).at("link", &link)?;
        }
        Ok(arranged)
    }

    /// What key number `index` has in `turn`.
    pub(super) fn content_of(&self, index: usize, turn: usize) -> Content {
        (index + turn) % self.len()
    }

    /// Where a content lies.
    pub(super) fn content(&self, content: Content) -> PathBuf {
        self.folder.join("contents").join(content.to_string())
    }

    pub(super) fn name(&self, index: usize) -> &Path {
        &self.names[index]
    }

    /// The number of a key, if it is one of the tree's.
    pub(super) fn index_of(&self, key: &[u8]) -> Option<usize> {
        self.indexes.get(key).copied()
    }
}

/// The key of a file: its relative path, byte for byte.
pub(super) fn key(name: &Path) -> Vec<u8> {
    name.as_os_str().as_encoded_bytes().to_vec()
}

/// The regular files below `folder`, relative to it, in order of their names. Build output and git's own files are no
/// source tree and change meanwhile.
///
/// # Errors
///
/// [`Failure`] naming the folder that cannot be listed.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let path = folder.join(&relative);
        for entry in fs::read_dir(&path).at("list", &path)? {
            let entry = entry.at("list", &path)?;
            let kind = entry.file_type().at("look at", &entry.path())?;
            let name = relative.join(entry.file_name());
            if kind.is_dir() && entry.file_name() != "target" && entry.file_name() != ".git" {
                folders.push(name);
            } else if kind.is_file() {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Removes `folder` with all it holds, if it is there.
///
/// # Errors
///
/// [`Failure`] if it is there and stays.
pub(super) fn remove_folder(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", folder),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_gives_each_name_another_content_of_the_sample() {
        let source = tempfile::tempdir().expect("a folder");
        fs::create_dir(source.path().join("room")).expect("a folder in it");
        for number in 0..12 {
            fs::write(source.path().join(format!("room/{number}.txt")), number.to_string()).expect("a file");
        }
        fs::write(source.path().join("large"), vec![0; FILE_BYTES_MAX as usize + 1]).expect("a file");
        let folder = tempfile::tempdir().expect("a folder");
        let tree = Tree::sample(source.path(), folder.path(), &mut Rng::with_seed(3)).expect("a sample");
        assert_eq!(tree.len(), 12, "the large one is left out");

        let first = tree.arrange(1).expect("a turn");
        let read = |index: usize| fs::read(first.join(tree.name(index))).expect("a file of the turn");
        let before: Vec<_> = (0..12).map(read).collect();
        tree.arrange(2).expect("the next turn");
        for (index, before) in before.iter().enumerate() {
            let content = fs::read(tree.content(tree.content_of(index, 2))).expect("a content");
            assert_eq!(read(index), content);
            assert_ne!(&content, before);
            assert_eq!(tree.index_of(&key(tree.name(index))), Some(index));
        }
    }

    #[test]
    fn a_tree_too_small_is_refused() {
        let source = tempfile::tempdir().expect("a folder");
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Tree::sample(source.path(), folder.path(), &mut Rng::with_seed(3)).is_err());
    }
}
