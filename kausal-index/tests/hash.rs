//! What only a hash index has: the sort of its freeze.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kausal_index::{BlockIndex, Cursor, Entry, EntryRef, HashIndex, Kind, SeqNo, compare_positions};

fn put<'a>(key: &'a [u8], number: u64, value: &'a [u8]) -> EntryRef<'a> {
    EntryRef { key, seqno: SeqNo::new(number).unwrap(), kind: Kind::Put, value }
}

fn scattered(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// Every entry in order, after the freeze.
fn walk<I: BlockIndex>(index: &I, pen: &kausal_arena::Writer) -> Vec<Entry> {
    index.freeze(pen).unwrap();
    let mut cursor = index.cursor().unwrap();
    let mut entries = Vec::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        entries.push(cursor.entry().unwrap().to_owned());
        more = cursor.next().unwrap();
    }
    let ascends = |pair: &[Entry]| {
        compare_positions((&pair[0].key, pair[0].seqno), (&pair[1].key, pair[1].seqno)).is_lt()
    };
    assert!(entries.windows(2).all(ascends));
    entries
}

/// Large enough for divisions within divisions, with keys of each kind that the sort treats in its own way.
#[test]
fn freezing_sorts_whatever_the_keys_have_in_common() {
    let kinds: [fn(u64) -> Vec<u8>; 5] = [
        |number| scattered(number).to_vec(),
        |number| format!("a long prefix that all share/{:09}", number * 7_919 % 1_000_003).into_bytes(),
        // Nearly all begin with the same seven bytes, a few with greater ones.
        |number| {
            [if number % 1_000 == 0 { &b"zzzzzzzz"[..] } else { b"namespace/" }, &scattered(number)].concat()
        },
        |number| {
            vec![0; number as usize % 300].into_iter().chain(scattered(number / 300)[..2].to_vec()).collect()
        },
        // Each a prefix of others, with zeros behind.
        |number| vec![0; number as usize % 5_000],
    ];
    for (kind, key_of) in kinds.into_iter().enumerate() {
        let region = kausal_arena::testing::region(256 << 20);
        let pen = region.writer();
        let index = HashIndex::create(region.lease(), &pen).unwrap();
        let mut model = Vec::new();
        for number in 0..20_000_u64 {
            let key = key_of(number);
            index.insert(&pen, put(&key, number + 1, b"")).unwrap();
            model.push((key, std::cmp::Reverse(number + 1)));
        }
        model.sort_unstable();
        let sorted: Vec<_> = walk(&index, &pen)
            .into_iter()
            .map(|entry| (entry.key, std::cmp::Reverse(entry.seqno.get())))
            .collect();
        assert!(sorted == model, "keys of kind {kind}");
    }
}
