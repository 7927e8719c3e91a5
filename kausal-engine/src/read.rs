//! The read path: what the database looks like at one moment, and the look-up of one key in it.
//!
//! A look-up goes from the newest place to the oldest: the active memtable, the frozen ones, level 0, the deeper
//! levels. The first entry at or below the read's sequence number decides, or the first range tombstone over the key that
//! is newer than it: every newer place has newer ones.
//!
//! A reader borrows the view for the length of a call, see [`Published`](kausal_arena::Published), and peeks at cached blocks
//! for as long ([`LookupBlocks`]): a look-up that finds all it needs in memory writes nothing that another one could feel.
//!
//! A reader takes the view *before* it reads the visible sequence number: a version that was overwritten since may be
//! gone from a later view, never from an earlier one.

mod many;

use std::sync::Arc;

use kausal_index::{BlockIndex, EntryRef, Kind, SeqNo};
use kausal_memtable::Memtable;
use kausal_sstable::{Approach, BlockSource, KeyHash, LookupBlocks};

use crate::blob::BlobReader;
use crate::core::Core;
use crate::error::Error;
use crate::generation::Generation;
use crate::ids::{FileNumber, KeyspaceId};
use crate::scan::ValueReader;
use crate::snapshot::Snapshot;
use crate::version::{Level, TableFile, Tree, Version};

/// What a reader sees: memtables and tables of one moment.
#[derive(Debug)]
pub(crate) struct View<I> {
    pub(crate) active: Arc<Memtable<I, Generation>>,
    /// Oldest first.
    pub(crate) frozen: Vec<Arc<Memtable<I, Generation>>>,
    pub(crate) version: Arc<Version>,
}

impl<I> Clone for View<I> {
    fn clone(&self) -> Self {
        let (active, version) = (Arc::clone(&self.active), Arc::clone(&self.version));
        Self { active, frozen: self.frozen.clone(), version }
    }
}

impl<I: BlockIndex> View<I> {
    /// The memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable<I, Generation>>> {
        std::iter::once(&self.active).chain(self.frozen.iter().rev())
    }

    /// The memtable that is flushed next.
    pub(crate) fn oldest_memtable(&self) -> &Arc<Memtable<I, Generation>> {
        self.frozen.first().unwrap_or(&self.active)
    }

    /// Looks `key` of `keyspace` up and hands the newest entry at or below `at` to `found`, tombstones included, unless a
    /// range tombstone hides it.
    pub(crate) fn get<T>(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: SeqNo,
        blocks: &mut impl BlockSource,
        found: impl FnOnce(EntryRef<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        self.get_from(keyspace, key, at, blocks, |entry, _| found(entry))
    }

    /// [`get`](Self::get), with the kind of place that the entry is in.
    pub(crate) fn get_from<T>(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: SeqNo,
        blocks: &mut impl BlockSource,
        found: impl FnOnce(EntryRef<'_>, Origin) -> T,
    ) -> Result<Option<T>, Error> {
        let Some(tree) = self.version.tree(keyspace) else { return Err(Error::NoKeyspace { keyspace }) };
        for memtable in self.memtables() {
            let Some(part) = memtable.keyspace(keyspace) else { continue };
            let hidden = part.range_tombstones().covering(key, at);
            match part.get(key, at) {
                Some(entry) if hidden.is_none_or(|hidden| hidden < entry.seqno) => {
                    return Ok(Some(found(entry, Origin::Memtable)));
                }
                None if hidden.is_none() => {}
                _ => return Ok(None),
            }
        }
        Self::get_from_tables(tree, key, at, blocks, None, found)
    }

    /// [`get_from`](Self::get_from) for a key that no memtable decides, and that may have been approached in one table.
    #[inline]
    fn get_from_tables<T>(
        tree: &Tree,
        key: &[u8],
        at: SeqNo,
        blocks: &mut impl BlockSource,
        approached: Option<(&TableFile, Approach)>,
        found: impl FnOnce(EntryRef<'_>, Origin) -> T,
    ) -> Result<Option<T>, Error> {
        let hash = KeyHash::of(key);
        let mut found = Some(found);
        let answer = tree.find_in_candidates(key, |file| {
            let hidden = match file.meta().range_tombstone_count {
                0 => None,
                _ => file.table().range_tombstones().covering(key, at),
            };
            let table = file.table();
            let entry = match approached {
                Some((of, approach)) if std::ptr::eq(of, file) => {
                    table.get_approached(approach, key, hash, at, blocks)
                }
                _ => table.get_hashed(key, hash, at, blocks),
            };
            match entry {
                Ok(Some(entry)) if hidden.is_none_or(|hidden| hidden < entry.seqno) => {
                    let found = found.take()?;
                    let is_mapped = table.is_in_mapping(entry.value);
                    let origin = Origin::Table { level: file.meta().level, is_mapped };
                    Some(Ok(Some(found(entry, origin))))
                }
                Ok(None) if hidden.is_none() => None,
                Ok(_) => Some(Ok(None)),
                Err(error) => Some(Err(Error::table(file.path(), error))),
            }
        });
        answer.unwrap_or(Ok(None))
    }

    /// What may hide entries of `keyspace`: every place that has range tombstones. Empty, most often.
    pub(crate) fn covers(&self, keyspace: KeyspaceId) -> Vec<Cover<'_>> {
        let mut covers = Vec::new();
        let parts = self.memtables().filter_map(|memtable| memtable.keyspace(keyspace));
        let ranges = parts.map(|part| part.range_tombstones()).filter(|ranges| !ranges.is_empty());
        covers.extend(ranges.map(Cover::Memtable));
        let tables = self.version.tree(keyspace).into_iter().flat_map(|tree| Cover::of_tables(tree));
        covers.extend(tables);
        covers
    }

    /// The blob file that an entry of this view refers to, if this engine has it open.
    pub(crate) fn blob(&self, number: FileNumber) -> Option<Arc<crate::blob::BlobFile>> {
        let in_memory = self.memtables().find_map(|memtable| memtable.attached().blob(number));
        in_memory.or_else(|| {
            let mut blobs = self.version.files().flat_map(|file| file.blobs());
            blobs.find(|blob| blob.number() == number).cloned()
        })
    }
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Memtable,
    /// In a table of this level: in its mapping, or else in the block that the source fetched last.
    Table {
        level: u8,
        is_mapped: bool,
    },
}

/// A place that has range tombstones.
pub(crate) enum Cover<'v> {
    Memtable(&'v kausal_memtable::RangeTombstones),
    Table(kausal_sstable::RangeTombstones<'v>),
    /// A level below 0.
    Level(&'v Level),
}

impl<'v> Cover<'v> {
    /// The tables of `tree` that have range tombstones.
    pub(crate) fn of_tables(tree: &'v Tree) -> impl Iterator<Item = Self> {
        let fresh = tree.level(0).files().iter().filter(|file| file.meta().range_tombstone_count > 0);
        let levels = tree.deeper().filter(|level| level.has_range_tombstones());
        fresh.map(|file| Cover::Table(file.table().range_tombstones())).chain(levels.map(Cover::Level))
    }

    /// The newest range tombstone at or below `at` that covers `key`.
    pub(crate) fn covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        match self {
            Self::Memtable(ranges) => ranges.covering(key, at),
            Self::Table(ranges) => ranges.covering(key, at),
            Self::Level(level) => level.covering(key, at),
        }
    }
}

/// What a look-up found.
pub(crate) enum Found<T> {
    /// Beside its key, and what the caller made of it.
    Inline(T),
    /// In a blob file.
    Blob(BlobReader),
}

impl<I: BlockIndex + 'static> Core<I> {
    /// Lets `work` look keys up in what a reader sees now, with a source for the tables' blocks. Takes no lock and writes
    /// nothing that others do, as long as the blocks are in the cache.
    #[inline]
    pub(crate) fn look_up<R>(&self, work: impl FnOnce(&View<I>, &mut LookupBlocks<'_, '_>) -> R) -> R {
        let cache = &self.plan.cache;
        self.read_view(|view| {
            cache.peek(|peek| work(view, &mut LookupBlocks::new(cache, peek, &self.buffers)))
        })
    }

    /// The moment to read at. Asked for *after* there is a view.
    pub(crate) fn moment(&self, snapshot: Option<&Snapshot>) -> SeqNo {
        let Some(snapshot) = snapshot else { return self.visible() };
        assert!(snapshot.is_of(&self.snapshots), "a snapshot of another database");
        snapshot.seqno()
    }

    /// The value of `key` at a snapshot or now: what `inline` makes of it, or the blob it lies in.
    pub(crate) fn find<T>(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        snapshot: Option<&Snapshot>,
        inline: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<Option<Found<T>>, Error> {
        let clock = &*self.environment.clock;
        let (begun, mut place) = (self.metrics.begin(clock), None);
        let result = self.look_up(|view, blocks| {
            let at = self.moment(snapshot);
            let found = view.get_from(keyspace, key, at, blocks, |entry, origin| {
                place = Some(origin);
                self.value_of(view, entry, inline)
            })?;
            found.unwrap_or(Ok(None))
        });
        self.metrics.end_get(begun, place, Some(clock));
        result
    }

    fn value_of<T>(
        &self,
        view: &View<I>,
        entry: EntryRef<'_>,
        inline: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<Option<Found<T>>, Error> {
        match entry.kind {
            Kind::Delete => Ok(None),
            Kind::Blob => self.open_blob(view, entry.value).map(Found::Blob).map(Some),
            _ => inline(entry.value).map(Found::Inline).map(Some),
        }
    }

    /// The value of `key` at a snapshot or now, to be read from front to back.
    pub(crate) fn open_value(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        snapshot: Option<&Snapshot>,
    ) -> Result<Option<ValueReader>, Error> {
        let found = self.find(keyspace, key, snapshot, |value| Ok(value.to_vec()))?;
        Ok(found.map(|found| match found {
            Found::Inline(value) => ValueReader::inline(value),
            Found::Blob(reader) => ValueReader::blob(reader),
        }))
    }
}
