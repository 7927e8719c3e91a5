//! A pen of another region is a broken promise in every index: its offsets would mean something else there.

use kausal_index::{ArtIndex, BlockIndex, EntryRef, HashIndex, Kind, SeqNo, SkipListIndex, TreeIndex};

fn insert_with_a_foreign_pen<I: BlockIndex>() {
    let (here, elsewhere) = (kausal_arena::testing::region(1 << 16), kausal_arena::testing::region(1 << 16));
    let index = I::create(here.lease(), &here.writer()).expect("room for an empty index");
    let seqno = SeqNo::new(1).expect("a small number");
    let _ = index.insert(&elsewhere.writer(), EntryRef { key: b"k", seqno, kind: Kind::Put, value: b"" });
}

#[test]
#[should_panic(expected = "a pen ")]
fn tree() {
    insert_with_a_foreign_pen::<TreeIndex>();
}

#[test]
#[should_panic(expected = "a pen ")]
fn skip_list() {
    insert_with_a_foreign_pen::<SkipListIndex>();
}

#[test]
#[should_panic(expected = "a pen ")]
fn hash() {
    insert_with_a_foreign_pen::<HashIndex>();
}

#[test]
#[should_panic(expected = "a pen ")]
fn radix_tree() {
    insert_with_a_foreign_pen::<ArtIndex>();
}
