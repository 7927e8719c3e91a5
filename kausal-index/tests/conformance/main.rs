//! The conformance kit: on the indexes of the crate, on one that a user wrote, and on ones that are broken on purpose.

#[path = "../../examples/own_index/plain_tree.rs"]
mod plain_tree;

mod flawed;
mod page;
mod report;

use kausal_index::{ArtIndex, BTreeIndex, HashIndex, SkipListIndex, TreeIndex};
use plain_tree::PlainTree;

kausal_index::conformance!(skip_list, SkipListIndex);
kausal_index::conformance!(art, ArtIndex);
kausal_index::conformance!(tree, TreeIndex);
kausal_index::conformance!(hash, HashIndex);
kausal_index::conformance!(btree, BTreeIndex);
kausal_index::conformance!(own, PlainTree);
