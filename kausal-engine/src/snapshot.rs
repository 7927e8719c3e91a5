//! Snapshots: moments of the history that reads can go back to.
//!
//! A snapshot is a sequence number that is kept in a list. It pins no memory and no memtable: the list only tells
//! flushes and compactions which old versions somebody can still see.

use std::sync::Arc;

use kausal_arena::sync::Mutex;
use kausal_index::SeqNo;

/// The sequence numbers that live snapshots read at, with the number of snapshots at each.
#[derive(Debug, Default)]
pub(crate) struct SnapshotList {
    /// Ascending. A vector, because it keeps its memory: taking a snapshot allocates nothing once warm.
    live: Mutex<Vec<(SeqNo, usize)>>,
}

impl SnapshotList {
    /// Takes a snapshot of the moment that `visible` answers under the list's lock.
    pub(crate) fn take(self: &Arc<Self>, visible: impl FnOnce() -> SeqNo) -> Snapshot {
        let mut live = self.live.lock();
        let seqno = visible();
        match live.binary_search_by_key(&seqno, |&(held, _)| held) {
            Ok(place) => live[place].1 += 1,
            Err(place) => live.insert(place, (seqno, 1)),
        }
        Snapshot { seqno, list: Arc::clone(self) }
    }

    /// The oldest live moment.
    pub(crate) fn oldest(&self) -> Option<SeqNo> {
        self.live.lock().first().map(|&(seqno, _)| seqno)
    }

    /// The live moments, ascending.
    pub(crate) fn seqnos(&self) -> Vec<SeqNo> {
        self.live.lock().iter().map(|&(seqno, _)| seqno).collect()
    }
}

/// A moment of the history. Owned and `'static`; reads at it see exactly what was written before it, whatever is
/// flushed and compacted meanwhile. Ends when dropped.
#[derive(Debug)]
pub struct Snapshot {
    seqno: SeqNo,
    list: Arc<SnapshotList>,
}

impl Snapshot {
    /// The last sequence number it sees.
    pub fn seqno(&self) -> SeqNo {
        self.seqno
    }

    /// Whether the snapshot was taken from the database with this list.
    pub(crate) fn is_of(&self, list: &Arc<SnapshotList>) -> bool {
        Arc::ptr_eq(&self.list, list)
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        self.list.take(|| self.seqno)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut live = self.list.live.lock();
        if let Ok(place) = live.binary_search_by_key(&self.seqno, |&(held, _)| held) {
            live[place].1 -= 1;
            if live[place].1 == 0 {
                live.remove(place);
            }
        }
    }
}
