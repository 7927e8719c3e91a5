//! Pinned values: what a look-up hands out without copying it.
//!
//! 1. A value that lies beside its key in a table is pinned where it is, in a block of the cache.
//! 2. What values pin between calls is counted, and limited. Above the limit, and where there is nothing to pin, the value is
//!    copied: pins are never the reason that a look-up fails.
//!    Whoever listens hears that the limit was reached, once until half of it is free again.
//! 3. A value in a memtable is copied too. A pin would keep the memtable's region, which is half of what writers have: a
//!    thread that kept two values and went on writing would wait for itself. So is one in a mapped table: a pin would keep the
//!    whole file on the disk after a compaction has replaced it.
//!
//! Nothing else holds a view, a region or a block between calls.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use kausal_arena::sync::{AtomicBool, AtomicUsize, Ordering};
use kausal_index::{BlockIndex, Kind};
use kausal_sstable::{BlockSource, LookupBlocks};

use crate::core::Core;
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::listener::EngineEvent;
use crate::planted::is_planted;
use crate::read::{Found, Origin};
use crate::scan::ValueReader;

/// Bytes that values pin, and how many they may.
#[derive(Debug)]
pub(crate) struct PinnedBytes {
    used: AtomicUsize,
    max: usize,
    /// Whether the limit was reached, and not half of it has been free since.
    is_reached: AtomicBool,
    /// Whether that is still to be told.
    is_untold: AtomicBool,
}

impl PinnedBytes {
    pub(crate) fn new(max: usize) -> Self {
        let [is_reached, is_untold] = [AtomicBool::new(false), AtomicBool::new(false)];
        Self { used: AtomicUsize::new(0), max, is_reached, is_untold }
    }

    /// Counts `bytes` more, if there is room for them.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let share = Share { of: Arc::clone(self), bytes };
        // Relaxed: a count that orders nothing. A refused share is given back by its drop.
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.max || is_planted("pin_without_limit") {
            return Some(share);
        }
        if !self.is_reached.swap(true, Ordering::Relaxed) {
            self.is_untold.store(true, Ordering::Relaxed);
        }
        None
    }

    /// Whether the limit was reached since this was asked last.
    fn take_untold(&self) -> bool {
        // A load first: nearly always there is nothing to tell.
        self.is_untold.load(Ordering::Relaxed) && self.is_untold.swap(false, Ordering::Relaxed)
    }

    /// Bytes pinned now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes counted until this drops.
#[derive(Debug)]
struct Share {
    of: Arc<PinnedBytes>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        let before = self.of.used.fetch_sub(self.bytes, Ordering::Relaxed);
        // Half, so that a value that comes and goes at the limit is not told of each time.
        if self.of.is_reached.load(Ordering::Relaxed) && before - self.bytes <= self.of.max / 2 {
            self.of.is_reached.store(false, Ordering::Relaxed);
        }
    }
}

/// A value where it lies, or a copy of it: see [`get_pinned`](crate::Keyspace::get_pinned). `Send`, `'static`; outlives
/// flushes, compactions and the engine.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), kausal_engine::Error> {
/// # let folder = tempfile::tempdir().expect("a folder for the example");
/// use kausal_engine::{Options, StorageEngine};
///
/// let engine = StorageEngine::open(folder.path(), Options::new())?;
/// engine.put(b"apple", b"red")?;
/// let value = engine.get_pinned(b"apple")?.expect("it was just put");
/// assert_eq!(&value[..], b"red");
/// assert_eq!(value.into_bytes(), b"red");
/// # Ok(())
/// # }
/// ```
pub struct PinnedValue {
    place: Place,
    _share: Option<Share>,
}

enum Place {
    Block(kausal_sstable::Pinned),
    Copy(Vec<u8>),
}

impl PinnedValue {
    fn copy(bytes: Vec<u8>) -> Self {
        Self { place: Place::Copy(bytes), _share: None }
    }

    /// Whether this is a copy, which pins nothing.
    pub fn is_copy(&self) -> bool {
        matches!(self.place, Place::Copy(_))
    }

    /// The value on its own, in one allocation of its length, or none if it is a copy already. Nothing is pinned any more.
    pub fn into_bytes(self) -> Vec<u8> {
        match self.place {
            Place::Block(value) => value.to_vec(),
            Place::Copy(value) => value,
        }
    }
}

impl Deref for PinnedValue {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Block(value) => value,
            Place::Copy(value) => value,
        }
    }
}

impl AsRef<[u8]> for PinnedValue {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PinnedValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PinnedValue").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

/// What a look-up can tell of a value before its source is free again.
enum Seen {
    Copied(Vec<u8>),
    /// In the block fetched last, from this address on.
    InBlock {
        start: usize,
        len: usize,
    },
}

impl<I: BlockIndex + 'static> Core<I> {
    pub(crate) fn get_pinned(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<PinnedValue>, Error> {
        let clock = &*self.environment.clock;
        let (begun, mut place) = (self.metrics.begin(clock), None);
        let found = self.look_up(|view, blocks| -> Result<_, Error> {
            let at = self.moment(None);
            let found = view.get_from(keyspace, key, at, blocks, |entry, origin| {
                place = Some(origin);
                let value = entry.value;
                match (entry.kind, origin) {
                    (Kind::Delete, _) => Ok(None),
                    (Kind::Blob, _) => self.open_blob(view, value).map(Found::Blob).map(Some),
                    (_, Origin::Memtable | Origin::Table { is_mapped: true, .. }) => {
                        Ok(Some(Found::Inline(Seen::Copied(value.to_vec()))))
                    }
                    (_, Origin::Table { .. }) => {
                        let (start, len) = (value.as_ptr().addr(), value.len());
                        Ok(Some(Found::Inline(Seen::InBlock { start, len })))
                    }
                }
            })?;
            Ok(match found.unwrap_or(Ok(None))? {
                None => None,
                Some(Found::Blob(reader)) => Some(Found::Blob(reader)),
                Some(Found::Inline(Seen::Copied(value))) => Some(Found::Inline(PinnedValue::copy(value))),
                Some(Found::Inline(Seen::InBlock { start, len })) => {
                    Some(Found::Inline(self.pin_or_copy(blocks, start, len)))
                }
            })
        });
        self.metrics.end_get(begun, place, Some(clock));
        if self.pinned.take_untold() {
            let (bytes, limit) = (self.pinned.used(), self.pinned.max);
            self.events.tell(|| EngineEvent::PinnedLimitReached { bytes, limit });
        }
        match found? {
            None => Ok(None),
            Some(Found::Inline(value)) => Ok(Some(value)),
            Some(Found::Blob(reader)) => {
                ValueReader::blob(reader).into_bytes(&self.directory).map(PinnedValue::copy).map(Some)
            }
        }
    }

    /// The `len` bytes at address `start` of the block that was fetched last.
    fn pin_or_copy(&self, blocks: &LookupBlocks<'_, '_>, start: usize, len: usize) -> PinnedValue {
        let offset = start - blocks.bytes().as_ptr().addr();
        let range = offset..offset + len;
        let pinned = blocks.pin().and_then(|block| {
            let share = self.pinned.take(block.len())?;
            let value = kausal_sstable::Pinned::new(block, range.clone())?;
            Some(PinnedValue { place: Place::Block(value), _share: Some(share) })
        });
        pinned.unwrap_or_else(|| PinnedValue::copy(blocks.bytes()[range].to_vec()))
    }
}
