//! Filters, prefixes, range tombstones, reading ahead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kausal_arena::AllocError;
use kausal_index::{Cursor, Kind, SeqNo};
use kausal_sstable::{
    BlockBuffer, BlockHandle, BlockKind, BlockSource, FileNumber, KeyspaceId, Table, TableError, TableFile,
    TableId, TableOptions, TableSource, TableWriter,
};

use crate::{budget, entry, open, options, seqno, small, write_with};

/// Counts the blocks that are fetched.
struct Counting(BlockBuffer, usize);

impl BlockSource for Counting {
    fn fetch(
        &mut self,
        file: &TableFile,
        handle: BlockHandle,
        kind: BlockKind,
        ahead: u64,
    ) -> Result<(), TableError> {
        self.1 += 1;
        self.0.fetch(file, handle, kind, ahead)
    }

    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn forget(&mut self) {
        self.0.forget();
    }

    fn sibling(&self) -> Result<Self, AllocError> {
        Ok(Self(self.0.sibling()?, 0))
    }
}

#[test]
fn the_filter_denies_all_but_one_in_eighty_absent_keys() {
    let list: Vec<_> =
        (0..100_000_u64).map(|number| entry(&number.to_be_bytes(), 1, Kind::Put, b"")).collect();
    let mut writer =
        TableWriter::new(Vec::new(), TableId(7), KeyspaceId::DEFAULT, TableOptions::default(), &budget())
            .unwrap();
    list.iter().for_each(|entry| writer.add(entry.as_ref()).unwrap());
    let table = open(writer.finish().unwrap().0).unwrap();
    let mut source = Counting(BlockBuffer::new(&budget()).unwrap(), 0);
    let asked = 200_000_u64;
    for number in 0..asked {
        let absent = [&(number % 99_999).to_be_bytes()[..], &number.to_be_bytes()[..]].concat();
        assert_eq!(table.get(&absent, SeqNo::MAX, &mut source).unwrap(), None);
    }
    let share = source.1 as f64 / asked as f64;
    println!("{} of {asked} absent keys admitted: {:.2} %", source.1, 100.0 * share);
    assert!(share <= 0.012, "{share} of the absent keys admitted at 10 bits a key");
    // Outside of the key range no filter is asked.
    source.1 = 0;
    assert_eq!(table.get(&[0xFF; 9], SeqNo::MAX, &mut source).unwrap(), None);
    assert_eq!(source.1, 0);
}

#[test]
fn prefixes_in_the_filter_deny_most_that_no_key_begins_with() {
    let list: Vec<_> = (0..20_000_u32)
        .map(|number| entry(&(2 * number).to_be_bytes().repeat(2), 1, Kind::Put, b""))
        .collect();
    let options = TableOptions { filter_prefix_bytes: 4, ..TableOptions::default() };
    let table = open(write_with(&list, 7, options, None, &[])).unwrap();
    let mut buffer = BlockBuffer::new(&budget()).unwrap();
    let mut admitted = 0;
    for number in 0..20_000_u32 {
        let (held, absent) = (2 * number, 2 * number + 1);
        assert!(table.may_hold_prefix(&held.to_be_bytes(), &mut buffer).unwrap());
        admitted += usize::from(table.may_hold_prefix(&absent.to_be_bytes(), &mut buffer).unwrap());
    }
    println!("{admitted} of 20000 absent prefixes admitted");
    assert!(admitted < 400);
    // Of another length nothing is known, but what lies outside of the key range.
    assert!(table.may_hold_prefix(&[0, 0, 0], &mut buffer).unwrap());
    assert!(!table.may_hold_prefix(&[0xFF, 0], &mut buffer).unwrap());
}

#[test]
fn range_tombstones_cover_what_they_say() {
    let fragments: [(&[u8], &[u8], u64); 4] =
        [(b"b", b"d", 9), (b"b", b"d", 5), (b"d", b"e", 7), (b"x", b"z", 1)];
    let table = open(write_with(&small(), 7, options(), None, &fragments)).unwrap();
    let covering = |key: &[u8], at| table.range_tombstones().covering(key, seqno(at)).map(SeqNo::get);
    for (key, at, expected) in [
        (&b"a"[..], 100, None),
        (b"b", 100, Some(9)),
        (b"c", 8, Some(5)),
        (b"c", 4, None),
        (b"d", 100, Some(7)),
        (b"e", 100, None),
        (b"yes", 1, Some(1)),
        (b"z", 100, None),
    ] {
        assert_eq!(covering(key, at), expected, "{key:?} at {at}");
    }
    let seen: Vec<_> =
        table.range_tombstones().iter().map(|one| (one.start, one.end, one.seqno.get())).collect();
    assert_eq!(seen, fragments);
    table.verify(&budget(), |_| {}).unwrap();
}

/// Counts reads of a file.
struct Reads(Vec<u8>, AtomicUsize);

impl TableSource for Reads {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        TableSource::len(&self.0)
    }
}

#[test]
fn a_walk_reads_ahead_and_a_look_up_reads_one_block() {
    let list: Vec<_> =
        (0..20_000_u32).map(|number| entry(&number.to_be_bytes(), 1, Kind::Put, &[7; 100])).collect();
    let file = write_with(&list, 7, TableOptions::default(), None, &[]);
    let source = Arc::new(Reads(file, AtomicUsize::new(0)));
    let shared: Arc<dyn TableSource> = Arc::clone(&source) as _;
    let table = Table::open(shared, FileNumber(1), None, &budget()).unwrap();
    let reads_during = |work: &mut dyn FnMut()| {
        let before = source.1.load(Ordering::Relaxed);
        work();
        source.1.load(Ordering::Relaxed) - before
    };
    let mut buffer = BlockBuffer::new(&budget()).unwrap();
    let look_up = reads_during(&mut || {
        let key = 7_u32.to_be_bytes();
        let found = table.get(&key, SeqNo::MAX, &mut buffer).unwrap();
        assert_eq!(found.unwrap().value, &[7; 100]);
    });
    assert_eq!(look_up, 1);
    let walk = |ahead: Option<u64>| {
        reads_during(&mut || {
            let mut cursor = table.cursor(&budget()).unwrap();
            if let Some(ahead) = ahead {
                cursor.set_read_ahead(ahead);
            }
            let mut count = 0;
            let mut more = cursor.seek_to_first().unwrap();
            while more {
                count += 1;
                more = cursor.next().unwrap();
            }
            assert_eq!(count, 20_000);
        })
    };
    let (ahead, block_by_block) = (walk(None), walk(Some(0)));
    println!("{ahead} reads in place of {block_by_block}");
    assert!(10 * ahead < block_by_block);
    assert_eq!(block_by_block as u64, table.properties().block_count);
}

#[test]
fn reading_ahead_gives_way_to_the_budget() {
    let list: Vec<_> =
        (0..5_000_u32).map(|number| entry(&number.to_be_bytes(), 1, Kind::Put, &[7; 100])).collect();
    let table = open(write_with(&list, 7, TableOptions::default(), None, &[])).unwrap();
    let little = kausal_arena::Budget::root("little", 16 << 10);
    let mut cursor = table.cursor(&little).unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    let mut count = 0;
    while more {
        count += 1;
        more = cursor.next().unwrap();
    }
    assert_eq!(count, 5_000);
}
