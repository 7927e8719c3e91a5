//! A sound index with one defect, for the fuzzer to find: what it cannot find here, its silence elsewhere says nothing of.
//!
//! The defect: of a key longer than eight bytes, `get` does not see a tombstone written at the very snapshot it asks for.
//! It takes one entry and one look-up that agree in key and number, as a slip of `<` for `<=` in a comparison would.

use std::convert::Infallible;

use kausal_arena::{AllocError, Lease, Writer};
use kausal_index::{BlockIndex, Cursor, EntryRef, IndexBytes, InsertError, Kind, SeqNo, Unordered};

/// Keys up to this length are looked up correctly.
const SOUND_BYTES_MAX: usize = 8;

/// `I`, but for the defect.
pub(crate) struct Planted<I>(I);

impl<I: BlockIndex> BlockIndex for Planted<I> {
    const IN_ARENA: bool = I::IN_ARENA;
    const ORDERED_WHILE_LIVE: bool = I::ORDERED_WHILE_LIVE;

    fn create(lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
        I::create(lease, pen).map(Self)
    }

    fn bytes_max(entries: usize, payload: usize) -> usize {
        I::bytes_max(entries, payload)
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        self.0.insert(pen, entry)
    }

    fn insert_sorted<'e>(
        &self,
        pen: &Writer,
        entries: impl Iterator<Item = EntryRef<'e>>,
    ) -> Result<(), InsertError> {
        self.0.insert_sorted(pen, entries)
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let is_missed = |entry: &EntryRef<'_>| {
            entry.kind == Kind::Delete && entry.seqno == at && key.len() > SOUND_BYTES_MAX
        };
        match self.0.get(key, at) {
            Some(entry) if is_missed(&entry) => self.0.versions(key, at).nth(1),
            found => found,
        }
    }

    fn get_many<'i>(&'i self, keys: &[&[u8]], at: SeqNo, found: impl FnMut(usize, Option<EntryRef<'i>>)) {
        self.0.get_many(keys, at, found);
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        self.0.versions(key, at)
    }

    fn freeze(&self, pen: &Writer) -> Result<(), AllocError> {
        self.0.freeze(pen)
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        self.0.cursor()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> IndexBytes {
        self.0.bytes()
    }
}
