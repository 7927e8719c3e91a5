//! Versions: which tables make up the database, keyspace by keyspace and level by level.
//!
//! A version is immutable. A flush or a compaction makes the next one from it; readers keep the one they began
//! with. Each keyspace has a tree of its own, and they share nothing. Level 0 of a tree holds flushed memtables, newest
//! first, whose key ranges may overlap; in each deeper level the tables are in key order and no two share a key, so at most
//! one table of a level can hold a given key. A table's range takes in its range tombstones, so whatever is said of a key
//! in an upper level is newer than what a lower level says of it.
//!
//! | room | what lives there |
//! |---|---|
//! | `table_file` | one table on disk with its metadata; removed when obsolete and unread |
//! | `open_files` | which of their files are open, no more than so many |
//! | `tree` | the levels of one keyspace and their look-ups |
//! | `fences` | where the tables of a level begin and end, as numbers |
//! | `mod` | a version: the trees |
//! | `set` | the current version and the manifest behind it |

mod fences;
mod open_files;
mod set;
mod table_file;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use kausal_arena::{AllocError, Budget};

pub(crate) use open_files::OpenFiles;
pub(crate) use set::{Change, Place, VersionSet};
pub(crate) use table_file::{Source, TableFile};
pub(crate) use tree::{KeyspaceName, LEVEL_COUNT, Level, Tree};

use crate::ids::KeyspaceId;

/// Name of the keyspace that every database has.
pub(crate) const DEFAULT_NAME: &str = "default";

/// An immutable set of tables.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// One for each keyspace, in order of their numbers; the first is the default one's.
    trees: Vec<Arc<Tree>>,
}

impl Version {
    /// The version of these tables, in any order, and of the keyspaces beside the default one, which are charged to `budget`.
    pub(crate) fn of(
        files: impl IntoIterator<Item = Arc<TableFile>>,
        keyspaces: &BTreeMap<KeyspaceId, String>,
        budget: &Budget,
    ) -> Result<Self, AllocError> {
        let mut files_of: BTreeMap<KeyspaceId, Vec<Arc<TableFile>>> = BTreeMap::new();
        for file in files {
            files_of.entry(file.meta().keyspace).or_default().push(file);
        }
        let mut tree = |id, name| Arc::new(Tree::of(id, name, files_of.remove(&id).unwrap_or_default()));
        let mut trees = vec![tree(KeyspaceId::DEFAULT, KeyspaceName::default_of(budget))];
        for (&id, name) in keyspaces {
            trees.push(tree(id, KeyspaceName::charged(name, budget)?));
        }
        Ok(Self { trees })
    }

    /// The version after `removed` have gone and `added` have come. Trees that nothing happens to are shared.
    pub(crate) fn with(&self, removed: &[Arc<TableFile>], added: &[Arc<TableFile>]) -> Self {
        let trees = self.trees.iter().map(|tree| {
            let is_of_tree = |file: &&Arc<TableFile>| file.meta().keyspace == tree.keyspace();
            if !removed.iter().chain(added).any(|file| is_of_tree(&file)) {
                return Arc::clone(tree);
            }
            let kept = tree.files().filter(|file| !removed.iter().any(|gone| Arc::ptr_eq(gone, file)));
            let files = kept.chain(added.iter().filter(is_of_tree)).cloned().collect();
            Arc::new(tree.with(files))
        });
        Self { trees: trees.collect() }
    }

    /// The version with one more keyspace, whose number is the largest.
    pub(crate) fn with_keyspace(&self, id: KeyspaceId, name: Arc<KeyspaceName>) -> Self {
        let tree = Arc::new(Tree::of(id, name, Vec::new()));
        Self { trees: self.trees.iter().cloned().chain([tree]).collect() }
    }

    /// The version without a keyspace and its tables.
    pub(crate) fn without_keyspace(&self, id: KeyspaceId) -> Self {
        Self { trees: self.trees.iter().filter(|tree| tree.keyspace() != id).cloned().collect() }
    }

    pub(crate) fn trees(&self) -> &[Arc<Tree>] {
        &self.trees
    }

    /// The tree of a keyspace, if there is such a keyspace.
    pub(crate) fn tree(&self, id: KeyspaceId) -> Option<&Arc<Tree>> {
        if id == KeyspaceId::DEFAULT {
            return self.trees.first();
        }
        let place = self.trees.binary_search_by_key(&id, |tree| tree.keyspace()).ok()?;
        Some(&self.trees[place])
    }

    /// The tree of the keyspace with this name.
    pub(crate) fn tree_named(&self, name: &str) -> Option<&Arc<Tree>> {
        self.trees.iter().find(|tree| tree.name() == name)
    }

    /// Every table, keyspace by keyspace, from level 0 downwards.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<TableFile>> {
        self.trees.iter().flat_map(|tree| tree.files())
    }

    /// Tables in the fullest level 0.
    pub(crate) fn level0_count(&self) -> usize {
        self.trees.iter().map(|tree| tree.level(0).files().len()).max().unwrap_or(0)
    }
}
