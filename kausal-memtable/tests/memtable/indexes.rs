//! A memtable keeps its contract over every index, also one that has no order while it lives.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kausal_index::{
    ArtIndex, BTreeIndex, BlockIndex, Cursor, HashIndex, SeqNo, SkipListIndex, TreeIndex, Unordered,
};
use kausal_memtable::{KeyspaceId, MemtableManager, Stage};

use super::{entry, one_entry, one_range, seqno, shown};

/// Numbers in an order without a pattern, each of `0..count` once.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |place| place * 7_919 % count)
}

/// From the first write to the reset, with two keyspaces, several versions of each key and a range tombstone.
fn lives_through<I: BlockIndex>() {
    let pool = kausal_arena::testing::pool(4 << 20, 2);
    let manager = MemtableManager::<I, u8>::with_keyspaces(pool.coordinator(), 3, 1).unwrap();
    let active = manager.active();
    let mut model = BTreeMap::new();
    for (number, place) in (1..).zip(scattered(4_000)) {
        let (keyspace, key) = ((place % 2 * 9) as u32, (place / 4).to_be_bytes());
        let permit = active.permit_batch(&[one_entry(keyspace, 40)]).unwrap();
        active.insert_into(&permit, KeyspaceId(keyspace), entry(number, &key, &[place as u8; 32])).unwrap();
        model.insert((keyspace, key.to_vec(), Reverse(number)), place as u8);
    }
    let permit = active.permit_batch(&[one_range(9, b"a", b"b")]).unwrap();
    active.delete_range(&permit, KeyspaceId(9), b"a", b"b", seqno(5_000)).unwrap();
    drop(permit);

    for (keyspace, key, number) in model.keys() {
        let found = active.keyspace(KeyspaceId(*keyspace)).unwrap().get(key, seqno(number.0)).unwrap();
        assert_eq!(found.seqno.get(), number.0);
        assert_eq!(found.value, [model[&(*keyspace, key.clone(), *number)]; 32]);
    }
    assert_eq!(active.cursor().is_ok(), I::ORDERED_WHILE_LIVE);
    assert_eq!(active.default_keyspace().key_bounds().is_ok(), I::ORDERED_WHILE_LIVE);

    let sealed = manager.rotate(2).unwrap();
    sealed.freeze().unwrap();
    assert_eq!((sealed.stage(), *sealed.attached(), *manager.active().attached()), (Stage::Frozen, 1, 2));
    assert_eq!(sealed.keyspaces().map(|keyspace| keyspace.id().0).collect::<Vec<_>>(), [0, 9]);
    for keyspace in sealed.keyspaces() {
        let expected: Vec<_> = model.keys().filter(|(id, ..)| *id == keyspace.id().0).collect();
        let entries: Vec<_> = expected.iter().map(|(_, key, number)| (key.clone(), number.0)).collect();
        assert_eq!(shown(keyspace), entries);
        let bounds = keyspace.key_bounds().unwrap().unwrap();
        assert_eq!(bounds, (&expected[0].1[..], &expected[expected.len() - 1].1[..]));
        let mut cursor = keyspace.cursor().unwrap();
        assert!(cursor.seek(&500_u64.to_be_bytes(), SeqNo::MAX).unwrap());
        assert_eq!(cursor.entry().unwrap().key, 500_u64.to_be_bytes());
    }
    assert_eq!((sealed.len(), sealed.seqno_bounds()), (4_000, Some((seqno(1), seqno(5_000)))));

    manager.release(&sealed);
    assert_eq!(pool.coordinator().free_count(), 0);
    drop((active, sealed));
    assert_eq!(pool.coordinator().free_count(), 1);
    assert!(manager.active().is_empty());
}

macro_rules! memtable_over {
    ($($name:ident: $index:ty),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                lives_through::<$index>();
            }
        )*
    };
}

memtable_over! {
    a_memtable_over_a_tree_lives_through: TreeIndex,
    a_memtable_over_a_skip_list_lives_through: SkipListIndex,
    a_memtable_over_a_hash_lives_through: HashIndex,
    a_memtable_over_a_radix_tree_lives_through: ArtIndex,
    a_memtable_over_the_oracle_lives_through: BTreeIndex,
}

#[test]
fn an_index_without_order_has_a_cursor_once_frozen() {
    let pool = kausal_arena::testing::pool(1 << 18, 2);
    let manager = MemtableManager::<HashIndex>::new(pool.coordinator(), ()).unwrap();
    for number in [3, 1, 2] {
        super::put(&manager.active(), number, &[number as u8]).unwrap();
    }
    let sealed = manager.rotate(()).unwrap();
    assert!(matches!(sealed.cursor().map(drop), Err(Unordered)), "a rotation sorts nothing");
    sealed.freeze().unwrap();
    assert_eq!(shown(sealed.default_keyspace()), [(vec![1], 1), (vec![2], 2), (vec![3], 3)]);
}

/// However full: the order's room comes with the entries.
#[test]
fn a_full_memtable_can_be_frozen() {
    fn fill<I: BlockIndex>() {
        let pool = kausal_arena::testing::pool(1 << 18, 2);
        let manager = MemtableManager::<I>::new(pool.coordinator(), ()).unwrap();
        let mut count = 0;
        while super::put(&manager.active(), count + 1, &scattered_key(count)).is_ok() {
            count += 1;
        }
        let sealed = manager.rotate(()).unwrap();
        sealed.freeze().unwrap();
        assert_eq!(shown(sealed.default_keyspace()).len() as u64, count);
    }
    fill::<TreeIndex>();
    fill::<SkipListIndex>();
    fill::<HashIndex>();
    fill::<ArtIndex>();
}

fn scattered_key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}
