//! The oracle: a sorted list of entries.

use crate::entry::{Entry, EntryRef, SeqNo, compare_positions};

/// Entries in position order.
#[derive(Default)]
pub(super) struct Model {
    list: Vec<Entry>,
}

impl Model {
    /// Adds `entry`; `false` if its position is taken.
    pub(super) fn insert(&mut self, entry: &Entry) -> bool {
        let place = self.count_before(&entry.key, entry.seqno);
        if self.list.get(place).is_some_and(|held| held.key == entry.key && held.seqno == entry.seqno) {
            return false;
        }
        self.list.insert(place, entry.clone());
        true
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.list
    }

    /// Entries before (`key`, `at`); the place of the first one at or after it.
    pub(super) fn count_before(&self, key: &[u8], at: SeqNo) -> usize {
        self.list.partition_point(|held| compare_positions((&held.key, held.seqno), (key, at)).is_lt())
    }

    /// Entries at or before (`key`, `at`).
    pub(super) fn count_upto(&self, key: &[u8], at: SeqNo) -> usize {
        self.list.partition_point(|held| compare_positions((&held.key, held.seqno), (key, at)).is_le())
    }

    pub(super) fn at(&self, place: usize) -> Option<EntryRef<'_>> {
        self.list.get(place).map(Entry::as_ref)
    }

    /// Every entry of `key` at or below `at`, newest first.
    pub(super) fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let rest = &self.list[self.count_before(key, at)..];
        rest.iter().take_while(move |held| held.key == key).map(Entry::as_ref)
    }

    pub(super) fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.versions(key, at).next()
    }
}

/// An entry as a message shows it: `"key"#7 Put of 3 bytes`.
pub(super) fn shown(entry: Option<EntryRef<'_>>) -> String {
    match entry {
        None => "nothing".into(),
        Some(EntryRef { key, seqno, kind, value }) => {
            format!("{}#{seqno} {kind:?} of {} bytes", shown_key(key), value.len())
        }
    }
}

/// A key in quotes; a long one by its ends.
pub(super) fn shown_key(key: &[u8]) -> String {
    if key.len() <= 40 {
        return format!("\"{}\"", key.escape_ascii());
    }
    let (head, tail) = (&key[..16], &key[key.len() - 8..]);
    format!("\"{}…{}\" ({} bytes)", head.escape_ascii(), tail.escape_ascii(), key.len())
}
