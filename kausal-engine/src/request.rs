//! Requests: look-ups and scans whose results live in the request's own arena.
//!
//! The per-request arena of the memory architecture. A request takes a pre-sized arena from a pool; what it answers
//! borrows the request, so a dangling result does not compile; when the request drops, all of it is given back at once.
//! None of this costs a look-up a call of the global allocator once the pool is warm; a scan still makes a few, for its
//! cursor. More than its bytes a request never holds: then a
//! look-up is an error, and a scan ends early and says so.

use std::fmt;

use kausal_arena::{AllocError, Scratch};
use kausal_index::BlockIndex;

use crate::core::Core;
use crate::engine::{DefaultIndex, StorageEngine};
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::keyspace::Keyspace;
use crate::read::Found;
use crate::scan::{KeyRange, ValueReader};
use crate::snapshot::Snapshot;

/// A request's arena, and the moment it reads at.
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
/// let request = engine.request()?;
/// let value: Option<&[u8]> = request.get(b"apple")?;
/// assert_eq!(value, Some(&b"red"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Request<'engine, I: BlockIndex + 'static = DefaultIndex> {
    engine: &'engine StorageEngine<I>,
    scratch: Scratch,
    snapshot: Snapshot,
}

/// One key and its value in a request's arena.
pub type Pair<'request> = (&'request [u8], &'request [u8]);

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'request> {
    /// Keys and values, in order.
    pub pairs: Vec<Pair<'request>>,
    /// Whether there is more: the limit was reached, or the request's bytes were used up.
    pub has_more: bool,
}

impl<'engine, I: BlockIndex + 'static> Request<'engine, I> {
    pub(crate) fn new(engine: &'engine StorageEngine<I>, bytes: usize) -> Result<Self, Error> {
        let core = engine.core();
        Ok(Self { engine, scratch: core.scratches.take(bytes)?, snapshot: core.snapshot() })
    }

    /// The value of `key` at the request's moment, in the request's arena.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudget`] if the value does not fit into the rest of the arena, [`Error::Corruption`],
    /// [`Error::Io`].
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        self.get_in(KeyspaceId::DEFAULT, key)
    }

    /// The value of `key` of `keyspace` at the request's moment, in the request's arena.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::NoKeyspace`].
    pub fn get_in(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        let copy = |value: &[u8]| Ok(&*self.scratch.try_alloc_slice_copy(value)?);
        let found = self.core().find(keyspace, key, Some(&self.snapshot), copy)?;
        found.map(|found| self.value(found)).transpose()
    }

    /// The values of `keys` at the request's moment, in the order of the keys, in the request's arena. They are looked up in
    /// key order, so those that lie in one block fetch it once.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn multi_get(&self, keys: &[&[u8]]) -> Result<&[Option<&[u8]>], Error> {
        self.multi_get_in(KeyspaceId::DEFAULT, keys)
    }

    /// The values of `keys` of `keyspace`, as [`multi_get`](Self::multi_get) has them.
    ///
    /// # Errors
    ///
    /// As [`get_in`](Self::get_in).
    pub fn multi_get_in(&self, keyspace: KeyspaceId, keys: &[&[u8]]) -> Result<&[Option<&[u8]>], Error> {
        let order = self.scratch.try_alloc_slice_fill(keys.len(), 0_u32)?;
        let values = self.scratch.try_alloc_slice_fill(keys.len(), None::<&[u8]>)?;
        let copy = |value: &[u8]| Ok(&*self.scratch.try_alloc_slice_copy(value)?);
        let mut blobs = Vec::new();
        self.core().find_many(
            keyspace,
            keys,
            order,
            Some(&self.snapshot),
            copy,
            |place, found| match found {
                Some(Found::Inline(value)) => values[place] = Some(value),
                Some(Found::Blob(reader)) => blobs.push((place, reader)),
                None => {}
            },
        )?;
        for (place, reader) in blobs {
            values[place] = Some(self.read_value(ValueReader::blob(reader))?);
        }
        Ok(values)
    }

    /// Up to `limit` keys of `range` with their values, in order, in the request's arena. Values in blob files are
    /// read too.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::MemoryBudget`] if not even the first pair fits.
    pub fn scan(&self, range: KeyRange, limit: usize) -> Result<Page<'_>, Error> {
        self.scan_in(KeyspaceId::DEFAULT, range, limit)
    }

    /// Up to `limit` keys of `range` of `keyspace`, as [`scan`](Self::scan) has them.
    ///
    /// # Errors
    ///
    /// As [`scan`](Self::scan); [`Error::NoKeyspace`].
    pub fn scan_in(&self, keyspace: KeyspaceId, range: KeyRange, limit: usize) -> Result<Page<'_>, Error> {
        let mut cursor = Keyspace::new(self.engine, keyspace).cursor_at(&self.snapshot, range)?;
        let mut page = Page { pairs: Vec::new(), has_more: false };
        let mut more = cursor.seek_to_first()?;
        while more {
            if page.pairs.len() == limit {
                page.has_more = true;
                break;
            }
            let key = cursor.key().unwrap_or_default();
            let value_bytes = cursor.value_len().unwrap_or(0);
            let room = self.scratch.bytes_left() as u64;
            if key.len() as u64 + value_bytes > room && !page.pairs.is_empty() {
                page.has_more = true;
                break;
            }
            let key = &*self.scratch.try_alloc_slice_copy(key)?;
            let value = match cursor.value() {
                Some(value) => &*self.scratch.try_alloc_slice_copy(value)?,
                None => self.read_value(cursor.value_reader()?)?,
            };
            page.pairs.push((key, value));
            more = cursor.next()?;
        }
        Ok(page)
    }

    /// Bytes of the request's arena that are still free.
    pub fn bytes_left(&self) -> usize {
        self.scratch.bytes_left()
    }

    fn core(&self) -> &'engine Core<I> {
        self.engine.core()
    }

    fn value<'a>(&'a self, found: Found<&'a [u8]>) -> Result<&'a [u8], Error> {
        match found {
            Found::Inline(value) => Ok(value),
            Found::Blob(reader) => self.read_value(ValueReader::blob(reader)),
        }
    }

    fn read_value(&self, mut reader: ValueReader) -> Result<&[u8], Error> {
        use std::io::Read;
        let max = self.scratch.bytes_left();
        let len =
            usize::try_from(reader.len()).map_err(|_| AllocError::TooLarge { bytes: usize::MAX, max })?;
        let value = self.scratch.try_alloc_slice_fill(len, 0)?;
        reader.read_exact(value).map_err(Error::read_value(&self.core().directory))?;
        Ok(value)
    }
}

impl<I: BlockIndex + 'static> fmt::Debug for Request<'_, I> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Request").field("scratch", &self.scratch).finish_non_exhaustive()
    }
}
