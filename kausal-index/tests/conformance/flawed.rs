//! Indexes that are broken on purpose. The kit must name the broken law, and no other.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kausal_arena::{AllocError, Lease, Writer};
use kausal_index::conformance::{Broken, Law, Settings, check};
use kausal_index::{
    BlockIndex, Cursor, EntryRef, IndexBytes, InsertError, Kind, SeqNo, SkipListIndex, Unordered,
};

/// What is wrong with an index.
mod flaw {
    pub(super) const LOSES_A_TOMBSTONE: u8 = 0;
    pub(super) const BREAKS_ORDER: u8 = 1;
    pub(super) const LIES_IN_BYTES_MAX: u8 = 2;
    pub(super) const LEAKS_ITS_LEASE: u8 = 3;
    pub(super) const TAKES_A_PEN_OF_ITS_OWN: u8 = 4;
    pub(super) const COUNTS_WHAT_WAS_REFUSED: u8 = 5;
    pub(super) const TAKES_A_DUPLICATE: u8 = 6;
    pub(super) const FORGETS_BYTES: u8 = 7;
    pub(super) const SEES_THE_FUTURE: u8 = 8;
    pub(super) const LEAVES_NOWHERE: u8 = 9;
}

/// Leases that one of them never gives back.
static LEAKED: Mutex<Vec<Lease>> = Mutex::new(Vec::new());

/// A sound index with one defect.
struct Flawed<const FLAW: u8> {
    inner: SkipListIndex,
    lease: Lease,
    /// Inserts that were refused, and counted all the same.
    ghosts: AtomicUsize,
}

impl<const FLAW: u8> BlockIndex for Flawed<FLAW> {
    const IN_ARENA: bool = true;
    const ORDERED_WHILE_LIVE: bool = true;

    fn create(lease: Lease, pen: &Writer) -> Result<Self, AllocError> {
        if FLAW == flaw::LEAKS_ITS_LEASE {
            // For good, but where a leak checker still sees it.
            LEAKED.lock().expect("nobody panics while adding a lease").push(lease.clone());
        }
        Ok(Self { inner: SkipListIndex::create(lease.clone(), pen)?, lease, ghosts: AtomicUsize::new(0) })
    }

    fn bytes_max(entries: usize, payload: usize) -> usize {
        let honest = SkipListIndex::bytes_max(entries, payload);
        // Small batches it gets right; in large ones it forgets what a node has beside its entry.
        if FLAW == flaw::LIES_IN_BYTES_MAX && entries > 41 { payload } else { honest }
    }

    fn insert(&self, pen: &Writer, entry: EntryRef<'_>) -> Result<(), InsertError> {
        let answer = self.inner.insert(pen, entry);
        match &answer {
            Ok(()) if FLAW == flaw::TAKES_A_PEN_OF_ITS_OWN && entry.kind == Kind::Blob => {
                let _ = self.lease.writer().try_alloc(entry.seqno.get());
            }
            Err(InsertError::Alloc(_)) if FLAW == flaw::COUNTS_WHAT_WAS_REFUSED => {
                self.ghosts.fetch_add(1, Ordering::Relaxed);
            }
            Err(InsertError::Duplicate(_)) if FLAW == flaw::TAKES_A_DUPLICATE && entry.kind == Kind::Blob => {
                return Ok(());
            }
            _ => {}
        }
        answer
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let found = self.inner.get(key, at);
        // Of versions that lie side by side it takes the wrong one.
        let older = |entry: EntryRef<'_>| self.inner.get(key, SeqNo::new(entry.seqno.get() - 1)?);
        match found {
            Some(entry) if FLAW == flaw::SEES_THE_FUTURE && entry.seqno < at => older(entry).or(found),
            _ => found,
        }
    }

    fn versions(&self, key: &[u8], at: SeqNo) -> impl Iterator<Item = EntryRef<'_>> {
        let versions = self.inner.versions(key, at).enumerate();
        let is_lost = |place, entry: EntryRef<'_>| place == 2 && entry.kind == Kind::Delete;
        let kept = move |(place, entry): &(usize, EntryRef<'_>)| {
            FLAW != flaw::LOSES_A_TOMBSTONE || !is_lost(*place, *entry)
        };
        versions.filter(kept).map(|(_, entry)| entry)
    }

    fn freeze(&self, pen: &Writer) -> Result<(), AllocError> {
        self.inner.freeze(pen)
    }

    fn cursor(&self) -> Result<impl Cursor<Error = Infallible>, Unordered> {
        Ok(FlawedCursor::<_, FLAW> { inner: self.inner.cursor()?, backward: false })
    }

    fn len(&self) -> usize {
        self.inner.len() + self.ghosts.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> IndexBytes {
        let bytes = self.inner.bytes();
        if FLAW == flaw::FORGETS_BYTES {
            IndexBytes { live: bytes.live - bytes.live / 100, ..bytes }
        } else {
            bytes
        }
    }
}

struct FlawedCursor<C, const FLAW: u8> {
    inner: C,
    backward: bool,
}

impl<C: Cursor<Error = Infallible>, const FLAW: u8> Cursor for FlawedCursor<C, FLAW> {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> Result<bool, Infallible> {
        self.inner.seek_to_first()
    }

    fn seek_to_last(&mut self) -> Result<bool, Infallible> {
        self.inner.seek_to_last()
    }

    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        self.inner.seek(key, at)
    }

    fn seek_for_prev(&mut self, key: &[u8], at: SeqNo) -> Result<bool, Infallible> {
        let moved = self.inner.seek_for_prev(key, at);
        let overshoots = self.inner.entry().is_some_and(|entry| entry.key == key && entry.seqno == at);
        // Takes "at or before" for "before".
        if FLAW == flaw::BREAKS_ORDER && overshoots { self.inner.prev() } else { moved }
    }

    fn next(&mut self) -> Result<bool, Infallible> {
        self.inner.next()
    }

    fn prev(&mut self) -> Result<bool, Infallible> {
        if FLAW == flaw::LEAVES_NOWHERE && self.inner.entry().is_none() && self.backward {
            return self.inner.seek_to_last();
        }
        self.backward = self.inner.entry().is_none();
        self.inner.prev()
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.inner.entry()
    }
}

/// The laws that the kit finds broken.
fn broken<const FLAW: u8>() -> Vec<Broken> {
    let report = check::<Flawed<FLAW>>(&Settings::new().cases(16).seed(11));
    report.broken().cloned().collect()
}

#[track_caller]
fn assert_broken<const FLAW: u8>(expected: &[Law]) -> Vec<Broken> {
    let broken = broken::<FLAW>();
    let laws: Vec<_> = broken.iter().map(|broken| broken.law).collect();
    assert_eq!(laws, expected, "{broken:#?}");
    broken
}

/// The control: without a defect no law is broken.
#[test]
fn the_wrapper_itself_is_sound() {
    assert_broken::<{ u8::MAX }>(&[]);
}

#[test]
fn a_lost_tombstone_breaks_the_law_of_versions() {
    let broken = assert_broken::<{ flaw::LOSES_A_TOMBSTONE }>(&[Law::Versions]);
    let text = broken[0].to_string();
    assert!(text.contains("law `versions` is broken") && text.contains("seed: 11"), "{text}");
    // Three versions of one key are what it takes, and shrinking finds that out.
    assert_eq!(broken[0].case.matches("\"#").count(), 3, "{text}");
}

#[test]
fn a_seek_that_oversteps_breaks_the_law_of_seeks() {
    assert_broken::<{ flaw::BREAKS_ORDER }>(&[Law::CursorSeek, Law::CursorMoves]);
}

#[test]
fn an_end_that_is_not_nowhere_breaks_the_law_of_movements() {
    assert_broken::<{ flaw::LEAVES_NOWHERE }>(&[Law::CursorMoves]);
}

#[test]
fn a_bound_that_is_too_low_breaks_the_law_of_bytes_max() {
    assert_broken::<{ flaw::LIES_IN_BYTES_MAX }>(&[Law::BytesMax]);
}

#[test]
fn a_leaked_lease_breaks_the_law_that_regions_return() {
    assert_broken::<{ flaw::LEAKS_ITS_LEASE }>(&[Law::RegionReturns]);
}

#[test]
fn memory_beside_the_pens_breaks_the_law_of_pens() {
    assert_broken::<{ flaw::TAKES_A_PEN_OF_ITS_OWN }>(&[Law::OnlyFromPens]);
}

/// Both laws that look at refusals.
#[test]
fn a_trace_of_a_refused_insert_breaks_the_laws_of_refusals() {
    assert_broken::<{ flaw::COUNTS_WHAT_WAS_REFUSED }>(&[Law::InsertSorted, Law::Exhaustion]);
}

#[test]
fn a_duplicate_taken_breaks_the_law_of_duplicates() {
    assert_broken::<{ flaw::TAKES_A_DUPLICATE }>(&[Law::Duplicate]);
}

#[test]
fn bytes_not_counted_break_the_law_of_accounts() {
    assert_broken::<{ flaw::FORGETS_BYTES }>(&[Law::BytesAccounted]);
}

/// A defect in what other methods stand on breaks their laws too; that of the method itself is among them.
#[test]
fn a_wrong_version_breaks_the_law_of_get() {
    let laws: Vec<_> = broken::<{ flaw::SEES_THE_FUTURE }>().iter().map(|broken| broken.law).collect();
    assert!(laws.contains(&Law::Get) && laws.contains(&Law::GetMany), "{laws:?}");
    assert!(!laws.contains(&Law::Versions) && !laws.contains(&Law::CursorWalk), "{laws:?}");
}
