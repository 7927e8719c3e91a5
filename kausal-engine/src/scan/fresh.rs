//! What memtables have next, copied a few entries at a time, for a walk that must not hold them.
//!
//! 1. Within the view a few entries are copied, each in the newest version that the snapshot sees, tombstones included.
//! 2. Whoever walks comes to the end of these, and there may be more: then the view is visited again. If its tables are still the
//!    same, nothing has left the memtables since, and they have all that comes next.
//! 3. If they are not, something may lie in a table that the walk does not know: it has to end at the *edge*, the last key copied.
//!
//! A snapshot sees nothing in a memtable that is older than what it sees of the same key in a table. So a copy stands in a merge as
//! the newest version that the snapshot could see. Range tombstones are not copied: where memtables have some there are no copies.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::sync::Arc;

use kausal_arena::Reservation;
use kausal_index::{BlockIndex, Cursor, EntryRef, SeqNo};
use kausal_sstable::MergeMemory;

use super::chunk::Chunk;
use super::fill::{Direction, FillError, Filling, From};
use super::range::KeyRange;
use crate::core::Core;
use crate::ids::KeyspaceId;
use crate::read::View;
use crate::version::Version;

/// Copies at the beginning of a cursor's first walk: many walks are short, and not all of what they meet lies in memtables. Later ones
/// have as many as those before them wanted.
const FIRST_COPIES: usize = 4;

/// The memory of copies, kept from walk to walk.
pub(super) struct Fresh {
    chunk: Chunk,
    /// Where in it the walk ended: the first copy that it had no use for but to know that.
    left_at: usize,
    memory: MergeMemory,
    /// The key behind which the next copies begin.
    behind: Vec<u8>,
}

impl Fresh {
    /// Copies will be charged as `charge` is.
    pub(super) fn new(charge: Reservation) -> Self {
        let chunk = Chunk::expecting(FIRST_COPIES, charge);
        Self { chunk, left_at: 0, memory: MergeMemory::default(), behind: Vec::new() }
    }

    pub(super) fn begin_walk(&mut self) {
        self.chunk.begin_walk(self.left_at);
        self.left_at = 0;
    }
}

/// Whose entries are copied.
pub(super) struct Memtables<'w, I: BlockIndex> {
    pub(super) core: &'w Core<I>,
    pub(super) keyspace: KeyspaceId,
    /// The snapshot's moment.
    pub(super) at: SeqNo,
    pub(super) range: &'w KeyRange,
    /// Where the walk has to end, once that is known.
    pub(super) edge: &'w OnceCell<Vec<u8>>,
}

impl<'w, I: BlockIndex + 'static> Memtables<'w, I> {
    /// Copies the first few entries. Answers what tables there were beside the memtables, and whether these have no more; `None` if
    /// they have range tombstones.
    pub(super) fn copy(
        &self,
        fresh: &mut Fresh,
        from: From<'_>,
    ) -> Result<Option<(Arc<Version>, bool)>, FillError> {
        self.core.metrics.count_visit();
        self.core.read_view(|view| {
            let is_complete = self.copy_from(view, fresh, from)?;
            Ok(is_complete.map(|is_complete| (Arc::clone(&view.version), is_complete)))
        })
    }

    /// A walk over what was copied, and what comes behind it as long as `version` is the view's.
    pub(super) fn walk(
        self,
        fresh: &'w mut Fresh,
        version: &'w Arc<Version>,
        is_complete: bool,
    ) -> Copies<'w, I> {
        Copies { memtables: self, version, fresh, place: usize::MAX, is_complete }
    }

    /// Answers whether the memtables have no more than what was copied; `None` if they have range tombstones.
    fn copy_from(
        &self,
        view: &View<I>,
        fresh: &mut Fresh,
        from: From<'_>,
    ) -> Result<Option<bool>, FillError> {
        let mut parts = view.memtables().filter_map(|memtable| memtable.keyspace(self.keyspace));
        if parts.any(|part| !part.range_tombstones().is_empty()) {
            return Ok(None);
        }
        fresh.chunk.clear();
        let filling = Filling {
            core: self.core,
            keyspace: self.keyspace,
            at: self.at,
            range: self.range,
            direction: Direction::Forward,
            keeps_tombstones: true,
            chunk: &mut fresh.chunk,
            merge_memory: &mut fresh.memory,
        };
        filling.fill_from_memtables(view, from).map(Some)
    }
}

/// A walk over copies, forward only.
pub(super) struct Copies<'w, I: BlockIndex> {
    memtables: Memtables<'w, I>,
    version: &'w Arc<Version>,
    fresh: &'w mut Fresh,
    /// Past the last copy, nowhere.
    place: usize,
    /// Whether there is nothing behind the last copy.
    is_complete: bool,
}

impl<I: BlockIndex + 'static> Copies<'_, I> {
    /// Whether there is nothing to be walked over.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.chunk.is_empty()
    }

    /// Copies what comes behind the last copy, if the tables are still the same; otherwise that is the edge.
    #[inline(never)]
    fn copy_more(&mut self) {
        let (memtables, fresh) = (&self.memtables, &mut *self.fresh);
        let mut behind = std::mem::take(&mut fresh.behind);
        behind.clear();
        behind.extend_from_slice(fresh.chunk.last_key().unwrap_or_default());
        fresh.chunk.go_on();
        let copied = memtables.core.read_view(|view| {
            let is_same = Arc::ptr_eq(&view.version, self.version);
            if is_same { memtables.copy_from(view, fresh, From::Beyond(&behind)) } else { Ok(None) }
        });
        self.place = 0;
        if let Ok(Some(is_complete)) = copied {
            self.is_complete = is_complete;
        } else {
            // Also where memory is short: the next visit says so.
            fresh.chunk.clear();
            self.is_complete = true;
            memtables.edge.get_or_init(|| behind.clone());
        }
        self.fresh.behind = behind;
    }
}

impl<I: BlockIndex> Drop for Copies<'_, I> {
    fn drop(&mut self) {
        // Past the last copy where the walk never began.
        self.fresh.left_at = self.place.min(self.fresh.chunk.len());
    }
}

impl<I: BlockIndex + 'static> Cursor for Copies<'_, I> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.place = 0;
        Ok(!self.is_empty())
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        unreachable!("a walk over copies goes forward")
    }

    /// The copies begin where the walk does.
    fn seek(&mut self, _: &[u8], _: SeqNo) -> Result<bool, Infallible> {
        self.seek_to_first()
    }

    fn seek_for_prev(&mut self, _: &[u8], _: SeqNo) -> Result<bool, Infallible> {
        unreachable!("a walk over copies goes forward")
    }

    #[inline]
    fn next(&mut self) -> Result<bool, Infallible> {
        self.place = self.place.saturating_add(1);
        if self.place == self.fresh.chunk.len() && !self.is_complete {
            self.copy_more();
        }
        Ok(self.place < self.fresh.chunk.len())
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        unreachable!("a walk over copies goes forward")
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        let (key, (kind, value)) =
            self.fresh.chunk.key(self.place).zip(self.fresh.chunk.value(self.place))?;
        Some(EntryRef { key, seqno: self.memtables.at, kind, value })
    }
}
