//! Which versions of a key somebody can still see.
//!
//! Live snapshots cut the history into stripes; of the versions of a key in one stripe only the newest can be seen. A
//! tombstone that is the newest of the oldest stripe hides nothing once no older place holds the key.

use kausal_index::{EntryRef, Kind, SeqNo};

/// Decides entry by entry, in cursor order.
#[derive(Debug)]
pub(crate) struct Retention {
    /// Ascending.
    snapshots: Vec<SeqNo>,
    key: Vec<u8>,
    /// The stripe of the version seen last of `key`.
    stripe: Option<usize>,
}

impl Retention {
    pub(crate) fn new(snapshots: Vec<SeqNo>) -> Self {
        Self { snapshots, key: Vec::new(), stripe: None }
    }

    /// Whether `entry` stays. `is_bottom` tells whether no older place may hold its key.
    pub(crate) fn keeps(&mut self, entry: EntryRef<'_>, is_bottom: impl FnOnce() -> bool) -> bool {
        if self.stripe.is_none() || self.key != entry.key {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
            self.stripe = None;
        }
        // The stripe is named by the first snapshot that sees the entry.
        let stripe = self.snapshots.partition_point(|&snapshot| snapshot < entry.seqno);
        if self.stripe.replace(stripe) == Some(stripe) {
            return false;
        }
        !(entry.kind == Kind::Delete && stripe == 0 && is_bottom())
    }
}
