//! Keyspaces: separate maps of keys to values in one database, with one log, one budget and one history.
//!
//! 1. A keyspace has a name and a number. The number is never used again, so a log that speaks of a keyspace that was dropped
//!    is understood.
//! 2. Creating and dropping are edits of the manifest, durable before anybody sees them; a write to the keyspace comes after.
//! 3. Dropping takes the tables with it at once. What its memtables hold goes with their flush, what the log holds is passed
//!    over when it is replayed.
//!
//! A batch may write to many keyspaces; it is one, as always.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use kausal_index::BlockIndex;

use crate::batch::WriteBatch;
use crate::changes::SingleChange;
use crate::core::Core;
use crate::engine::{DefaultIndex, StorageEngine};
use crate::error::Error;
use crate::ids::KeyspaceId;
use crate::ingest::Ingestion;
use crate::options::WriteOptions;
use crate::pinned::PinnedValue;
use crate::read::{Found, View};
use crate::scan::{Cursor, KeyRange, ValueReader};
use crate::snapshot::Snapshot;
use crate::version::{DEFAULT_NAME, KeyspaceName};

/// Longest name of a keyspace, in bytes.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 255;

/// One keyspace of an open database: a handle that borrows the engine and costs nothing to copy.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), kausal_engine::Error> {
/// # let folder = tempfile::tempdir().expect("a folder for the example");
/// use kausal_engine::{Options, StorageEngine, WriteBatch, WriteOptions};
///
/// let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(16 << 20))?;
/// let users = engine.create_keyspace("users")?;
/// let by_mail = engine.create_keyspace("users by mail")?;
/// let mut batch = WriteBatch::new();
/// batch.put_in(users.id(), b"7", b"Ada")?;
/// batch.put_in(by_mail.id(), b"ada@example.org", b"7")?;
/// engine.write(&batch, WriteOptions::default())?;
/// assert_eq!(users.get(b"7")?.as_deref(), Some(&b"Ada"[..]));
/// assert_eq!(engine.get(b"7")?, None, "the default keyspace is another one");
/// # Ok(())
/// # }
/// ```
pub struct Keyspace<'engine, I: BlockIndex + 'static = DefaultIndex> {
    engine: &'engine StorageEngine<I>,
    id: KeyspaceId,
}

impl<I: BlockIndex + 'static> Clone for Keyspace<'_, I> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I: BlockIndex + 'static> Copy for Keyspace<'_, I> {}

impl<'engine, I: BlockIndex + 'static> Keyspace<'engine, I> {
    pub(crate) fn new(engine: &'engine StorageEngine<I>, id: KeyspaceId) -> Self {
        Self { engine, id }
    }

    fn core(&self) -> &'engine Arc<Core<I>> {
        self.engine.core()
    }

    /// Its number, which batches name it by.
    pub fn id(&self) -> KeyspaceId {
        self.id
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    ///
    /// As [`StorageEngine::write`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.core().write_single(&SingleChange::put(self.id, key, value)?, WriteOptions::default())
    }

    /// Sets `key` to the `len` bytes that `source` gives. However long, no more than 64 KiB of it is in memory at once,
    /// unless it is short enough to lie beside its key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `source` has fewer or more bytes; otherwise as [`StorageEngine::write`].
    pub fn put_reader(
        &self,
        key: &[u8],
        source: &mut dyn Read,
        len: u64,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.core().put_reader(self.id, key, source, len, options)
    }

    /// Removes `key`; no error if it is absent.
    ///
    /// # Errors
    ///
    /// As [`StorageEngine::write`].
    pub fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.core().write_single(&SingleChange::delete(self.id, key)?, WriteOptions::default())
    }

    /// Removes every key from `start` to before `end`, at the cost of one write, however many there are.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the range is empty; otherwise as [`StorageEngine::write`].
    pub fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), Error> {
        let mut batch = WriteBatch::new();
        batch.delete_range_in(self.id, start, end)?;
        self.core().write_batch(&batch, WriteOptions::default())
    }

    /// Streams entries whose keys ascend strictly into tables, past the log and the memtables, and answers how many they were. They
    /// replace what the keys had before; all of them are visible and durable when this returns, or none is.
    ///
    /// Costs about what it takes to write the bytes once: a table that overlaps nothing goes to the deepest level, where nobody
    /// merges it again, packed as that level's tables are. Memory is that of a flush, however many entries there are.
    ///
    /// Other writers wait until this returns; readers and snapshots go on and see nothing of it before. It begins with a flush
    /// of what is in memory.
    ///
    /// # Errors
    ///
    /// Whatever `source` answers, and then nothing is ingested. [`Error::Unsorted`] with both keys, [`Error::NoKeyspace`],
    /// [`Error::ReadOnly`], [`Error::Io`], [`Error::MemoryBudget`]; [`Error::Stalled`] if what is in memory could not be flushed in
    /// time. Nothing is tried again: `source` can be asked only once. A write of the same thread from within `source` is
    /// [`Error::InvalidArgument`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), kausal_engine::Error> {
    /// # let folder = tempfile::tempdir().expect("a folder for the example");
    /// use kausal_engine::{Error, Options, StorageEngine};
    ///
    /// let engine = StorageEngine::open(folder.path(), Options::new().memory_budget(16 << 20))?;
    /// let squares = engine.create_keyspace("squares")?;
    /// let count = squares.ingest(|entries| -> Result<(), Error> {
    ///     for number in 0..10_000_u32 {
    ///         entries.put(&number.to_be_bytes(), &u64::from(number).pow(2).to_le_bytes())?;
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(count, 10_000);
    /// assert_eq!(squares.get(&12_u32.to_be_bytes())?.as_deref(), Some(&144_u64.to_le_bytes()[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ingest<E: From<Error>>(
        &self,
        source: impl FnOnce(&mut Ingestion<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.core().ingest(self.id, source)
    }

    /// Sets `key` to `new`, or removes it, if its value is `expected`, or if it has none. Answers whether it was so.
    ///
    /// # Errors
    ///
    /// As [`StorageEngine::write`], and as [`get`](Self::get).
    pub fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, Error> {
        let mut batch = WriteBatch::new();
        batch.require_in(self.id, key, expected)?;
        match new {
            Some(new) => batch.put_in(self.id, key, new)?,
            None => batch.delete_in(self.id, key)?,
        }
        match self.core().write_batch(&batch, WriteOptions::default()) {
            Ok(()) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Flushes, and merges tables until no key of `range` is in more than one level. Old versions and deleted keys of the range
    /// that no snapshot sees are gone then. Tables at its ends are merged whole.
    ///
    /// # Errors
    ///
    /// [`Error::NoKeyspace`]; otherwise as [`StorageEngine::compact`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), kausal_engine::Error> {
    /// # let folder = tempfile::tempdir().expect("a folder for the example");
    /// use kausal_engine::{KeyRange, Options, StorageEngine};
    ///
    /// let engine = StorageEngine::open(folder.path(), Options::new())?;
    /// engine.put(b"fruit/apple", b"red")?;
    /// engine.delete_range(b"fruit/", b"fruit0")?;
    /// engine.compact_range(&KeyRange::prefix(b"fruit/"))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn compact_range(&self, range: &KeyRange) -> Result<(), Error> {
        let through = self.core().visible();
        self.core().flush_all()?;
        self.core().compact_range(self.id, range, through)
    }

    /// A copy of the value of `key`.
    ///
    /// # Errors
    ///
    /// [`Error::Corruption`], [`Error::Io`], [`Error::MemoryBudget`], [`Error::NoKeyspace`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.lookup(key, None)
    }

    /// A copy of the value that `key` had at `snapshot`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// If the snapshot is of another database.
    pub fn get_at(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.lookup(key, Some(snapshot))
    }

    /// Writes the value of `key` into `value`, in the place of what was there, and answers whether there is one. Allocates
    /// nothing if `value` has room, and takes no lock if what it needs is in memory.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); `value` holds anything then.
    pub fn get_into(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, Error> {
        value.clear();
        let found = self.core().find(self.id, key, None, |bytes| {
            value.extend_from_slice(bytes);
            Ok(())
        })?;
        match found {
            None => Ok(false),
            Some(Found::Inline(())) => Ok(true),
            Some(Found::Blob(mut reader)) => {
                reader.read_to_end(value).map_err(Error::read_value(&self.core().directory))?;
                Ok(true)
            }
        }
    }

    /// The value of `key` where it lies, without a copy, for as long as the result lives.
    ///
    /// It holds a block of the cache. Keep it for a moment, and [`into_bytes`](PinnedValue::into_bytes) what is to stay. When
    /// all such values pin more than a sixteenth of the memory budget, and for a value that lies in a memtable, in a blob file
    /// or in a block that the cache did not take, the result is a copy: pins are never the reason that a look-up fails or
    /// that a writer waits.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_pinned(&self, key: &[u8]) -> Result<Option<PinnedValue>, Error> {
        self.core().get_pinned(self.id, key)
    }

    /// Copies of the values of `keys`, in the order of the keys, all of one moment. They are looked up in key order, so those
    /// that lie in one block fetch it once.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut values: Vec<Option<Found<Vec<u8>>>> = keys.iter().map(|_| None).collect();
        let (core, mut order) = (self.core(), vec![0; keys.len()]);
        let copy = |value: &[u8]| Ok(value.to_vec());
        core.find_many(self.id, keys, &mut order, None, copy, |place, found| values[place] = found)?;
        let value = |found: Option<Found<Vec<u8>>>| match found {
            None => Ok(None),
            Some(Found::Inline(value)) => Ok(Some(value)),
            Some(Found::Blob(reader)) => ValueReader::blob(reader).into_bytes(&core.directory).map(Some),
        };
        values.into_iter().map(value).collect()
    }

    fn lookup(&self, key: &[u8], snapshot: Option<&Snapshot>) -> Result<Option<Vec<u8>>, Error> {
        let reader = self.core().open_value(self.id, key, snapshot)?;
        reader.map(|reader| reader.into_bytes(&self.core().directory)).transpose()
    }

    /// The value of `key`, to be read from front to back, however large.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_reader(&self, key: &[u8]) -> Result<Option<ValueReader>, Error> {
        self.core().open_value(self.id, key, None)
    }

    /// A cursor over `range` at the present moment.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudget`].
    pub fn cursor(&self, range: KeyRange) -> Result<Cursor<I>, Error> {
        Cursor::new(self.core(), self.id, self.core().snapshot(), range)
    }

    /// A cursor over `range` at `snapshot`.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudget`].
    ///
    /// # Panics
    ///
    /// If the snapshot is of another database.
    pub fn cursor_at(&self, snapshot: &Snapshot, range: KeyRange) -> Result<Cursor<I>, Error> {
        assert!(snapshot.is_of(&self.core().snapshots), "a snapshot of another database");
        Cursor::new(self.core(), self.id, snapshot.clone(), range)
    }
}

impl<I: BlockIndex + 'static> fmt::Debug for Keyspace<'_, I> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keyspace").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<I: BlockIndex + 'static> Core<I> {
    /// The keyspace with this name.
    pub(crate) fn keyspace(&self, name: &str) -> Option<KeyspaceId> {
        self.read_view(|view| view.version.tree_named(name).map(|tree| tree.keyspace()))
    }

    /// Creates a keyspace, unless there is one of this name. Waits for a full disk, up to the stall timeout.
    pub(crate) fn create_keyspace(&self, name: &str) -> Result<KeyspaceId, Error> {
        self.health.check()?;
        if name.is_empty() || name.len() > KEYSPACE_NAME_BYTES_MAX {
            let len = name.len();
            return Err(Error::invalid(format!(
                "a name of {len} bytes; a keyspace's has 1 to {KEYSPACE_NAME_BYTES_MAX}"
            )));
        }
        self.retry_while_full(|| self.try_create_keyspace(name))
    }

    fn try_create_keyspace(&self, name: &str) -> Result<KeyspaceId, Error> {
        let mut versions = self.versions.lock();
        if let Some(tree) = versions.current().tree_named(name) {
            return Ok(tree.keyspace());
        }
        // Under the lock: nothing is appended behind an edit that failed.
        self.health.check_poisoned()?;
        let kept = KeyspaceName::charged(name, &self.plan.keyspaces)?;
        let added = versions.add_keyspace(name, kept);
        let (id, version) = added.inspect_err(|error| self.poison_unless_full(error))?;
        self.change_view(|view| View { version, ..view.clone() });
        Ok(id)
    }

    /// Drops a keyspace with all it holds. Answers whether there was one. Waits for a full disk, up to the stall timeout.
    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<bool, Error> {
        self.health.check()?;
        if name == DEFAULT_NAME {
            return Err(Error::invalid("the default keyspace cannot be dropped"));
        }
        if self.keyspace(name).is_none() {
            return Ok(false);
        }
        self.retry_while_full(|| self.try_drop_keyspace(name))
    }

    fn try_drop_keyspace(&self, name: &str) -> Result<bool, Error> {
        // What was written before is durable before: what survives a crash is a prefix of the history.
        let _fence = self.fence()?;
        self.sync_logs()?;
        let mut versions = self.versions.lock();
        let Some(tree) = versions.current().tree_named(name).cloned() else { return Ok(false) };
        self.health.check_poisoned()?;
        let removed = versions.remove_keyspace(tree.keyspace());
        let version = removed.inspect_err(|error| self.poison_unless_full(error))?;
        self.change_view(|view| View { version, ..view.clone() });
        for file in tree.files() {
            file.blobs().iter().for_each(|blob| blob.mark_obsolete());
            file.mark_obsolete();
        }
        Ok(true)
    }
}
