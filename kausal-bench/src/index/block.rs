//! Any [`BlockIndex`] as a subject: a region of the pool below it, a pen per thread.

use std::hint::black_box;

use kausal_arena::{Region, RegionCoordinator, Writer};
use kausal_index::{BlockIndex, Cursor, EntryRef, Kind, SeqNo};

use super::data::number_in;
use super::subject::Subject;

/// `I` in a region of its own.
pub struct Block<I> {
    // Fields drop in this order: the index first, then the last hold on its region.
    index: I,
    region: Region,
    empty_bytes: usize,
}

impl<I: BlockIndex> Block<I> {
    fn entry<'e>(number: usize, key: &'e [u8], value: &'e [u8]) -> EntryRef<'e> {
        let seqno = SeqNo::new(number as u64 + 1).expect("far below 2^56");
        EntryRef { key, seqno, kind: Kind::Put, value }
    }
}

impl<I: BlockIndex> Subject for Block<I> {
    const CONCURRENT: bool = true;
    const ORDERED: bool = true;
    const FREEZES: bool = true;
    type Pen = Writer;

    fn create(regions: &RegionCoordinator) -> Self {
        let region = regions.take().expect("the subject before this one has given the region back");
        let index =
            I::create(region.lease(), &region.writer()).expect("an empty region has room for an index");
        let empty_bytes = region.used();
        Self { index, region, empty_bytes }
    }

    fn pen(&self) -> Writer {
        self.region.writer()
    }

    #[inline]
    fn insert(&mut self, pen: &mut Writer, number: usize, key: &[u8], value: &[u8]) {
        self.insert_shared(pen, number, key, value);
    }

    #[inline]
    fn insert_shared(&self, pen: &mut Writer, number: usize, key: &[u8], value: &[u8]) {
        self.index
            .insert(pen, Self::entry(number, key, value))
            .expect("the region was sized for all entries");
    }

    #[inline]
    fn get(&self, key: &[u8]) -> Option<usize> {
        self.index.get(key, SeqNo::MAX).map(|entry| number_in(entry.value))
    }

    fn get_many(&self, keys: &[&[u8]]) -> usize {
        let mut sum = 0;
        self.index.get_many(keys, SeqNo::MAX, |_, found| {
            sum += found.map_or(0, |entry| number_in(entry.value));
        });
        sum
    }

    fn freeze(&mut self, pen: &mut Writer) {
        self.index.freeze(pen).expect("the region has room for what an order needs");
    }

    fn scan_from(&self, key: &[u8], count: usize) -> usize {
        let Ok(mut cursor) = self.index.cursor() else { return 0 };
        let mut is_on = matches!(cursor.seek(key, SeqNo::MAX), Ok(true));
        let mut seen = 0;
        while let (true, Some(entry)) = (is_on, cursor.entry()) {
            black_box(number_in(entry.value));
            seen += 1;
            if seen == count {
                break;
            }
            is_on = matches!(cursor.next(), Ok(true));
        }
        seen
    }

    fn scan(&self) -> usize {
        let Ok(mut cursor) = self.index.cursor() else { return 0 };
        let mut is_on = matches!(cursor.seek_to_first(), Ok(true));
        let mut seen = 0;
        while let (true, Some(entry)) = (is_on, cursor.entry()) {
            black_box(number_in(entry.value));
            seen += 1;
            is_on = matches!(cursor.next(), Ok(true));
        }
        seen
    }

    fn bytes(&self) -> Option<usize> {
        I::IN_ARENA.then(|| self.region.used() - self.empty_bytes)
    }
}
