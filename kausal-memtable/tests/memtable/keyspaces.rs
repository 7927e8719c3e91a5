//! Several keyspaces in one region: made when first needed, kept apart, flushed together.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kausal_arena::PermitRefused;
use kausal_index::{BlockIndex, SeqNo, TreeIndex};
use kausal_memtable::{BatchPart, BatchRefused, KeyspaceId, Memtable, MemtableManager};
use proptest::prelude::*;

use super::{entry, one_entry, one_range, put, seqno, shown};

fn memtable(bytes: usize, keyspaces_max: usize) -> Memtable<TreeIndex> {
    Memtable::with_keyspaces(kausal_arena::testing::region(bytes), keyspaces_max, ()).unwrap()
}

fn put_into<I: BlockIndex>(
    memtable: &Memtable<I>,
    keyspace: u32,
    number: u64,
    key: &[u8],
) -> Result<(), BatchRefused> {
    let permit = memtable.permit_batch(&[one_entry(keyspace, key.len() + 20)])?;
    memtable.insert_into(&permit, KeyspaceId(keyspace), entry(number, key, &[keyspace as u8; 20])).unwrap();
    Ok(())
}

fn ids<I: BlockIndex>(memtable: &Memtable<I>) -> Vec<u32> {
    memtable.keyspaces().map(|keyspace| keyspace.id().0).collect()
}

#[test]
fn the_same_key_lives_in_every_keyspace() {
    let memtable = memtable(1 << 17, 4);
    for (number, keyspace) in [(1, 0), (2, 7), (3, u32::MAX)] {
        put_into(&memtable, keyspace, number, b"key").unwrap();
    }
    for (number, keyspace) in [(1, 0), (2, 7), (3, u32::MAX)] {
        let found = memtable.keyspace(KeyspaceId(keyspace)).unwrap();
        let entry = found.get(b"key", SeqNo::MAX).unwrap();
        assert_eq!((entry.seqno.get(), entry.value), (number, &[keyspace as u8; 20][..]));
        assert_eq!(found.len(), 1);
    }
    assert_eq!(ids(&memtable), [0, 7, u32::MAX]);
    assert!(memtable.keyspace(KeyspaceId(8)).is_none());
    assert_eq!((memtable.len(), memtable.seqno_bounds()), (3, Some((seqno(1), seqno(3)))));
}

#[test]
fn a_range_tombstone_covers_its_keyspace_alone() {
    let memtable = memtable(1 << 17, 4);
    let permit = memtable.permit_batch(&[one_range(3, b"a", b"z")]).unwrap();
    memtable.delete_range(&permit, KeyspaceId(3), b"a", b"z", seqno(5)).unwrap();
    drop(permit);
    put_into(&memtable, 4, 6, b"k").unwrap();
    let covering = |keyspace| {
        memtable.keyspace(KeyspaceId(keyspace)).unwrap().range_tombstones().covering(b"k", SeqNo::MAX)
    };
    assert_eq!((covering(3), covering(4), covering(0)), (Some(seqno(5)), None, None));
    assert_eq!(memtable.len(), 1);
    assert!(!memtable.is_empty());
}

/// One permit for a batch over several keyspaces, of which some are new.
#[test]
fn one_permit_covers_a_batch_over_keyspaces() {
    let memtable = memtable(1 << 20, 8);
    put_into(&memtable, 2, 1, b"before").unwrap();
    let parts: Vec<BatchPart> = [0, 2, 5, 6]
        .map(|keyspace| BatchPart {
            entries: 50,
            payload_bytes: 50 * 28,
            range_deletes: 2,
            range_bytes: 4,
            ..one_entry(keyspace, 0)
        })
        .into();
    let permit = memtable.permit_batch(&parts).unwrap();
    let mut number = 1;
    for part in &parts {
        for place in 0..50_u64 {
            number += 1;
            let key = (place * 37 % 50).to_be_bytes();
            memtable.insert_into(&permit, part.keyspace, entry(number, &key, &[1; 20])).unwrap();
        }
        for end in [b"x", b"y"] {
            number += 1;
            memtable.delete_range(&permit, part.keyspace, b"a", end, seqno(number)).unwrap();
        }
    }
    drop(permit);
    assert_eq!((memtable.len(), ids(&memtable)), (201, vec![0, 2, 5, 6]));
}

#[test]
fn a_memtable_with_all_its_keyspaces_asks_for_the_next() {
    let memtable = memtable(1 << 18, 3);
    put_into(&memtable, 10, 1, b"key").unwrap();
    put_into(&memtable, 11, 2, b"key").unwrap();
    assert!(matches!(put_into(&memtable, 12, 3, b"key"), Err(BatchRefused::KeyspacesFull { max: 3 })));
    put_into(&memtable, 10, 4, b"other").unwrap();
    let parts = [10, 12, 13, 12].map(|keyspace| one_entry(keyspace, 10));
    let refused = memtable.permit_batch(&parts);
    assert!(matches!(refused, Err(BatchRefused::TooManyKeyspaces { need: 3, max: 2 })), "{refused:?}");
    let single = Memtable::<TreeIndex>::new(kausal_arena::testing::region(1 << 16), ()).unwrap();
    let refused = single.permit_batch(&[one_entry(1, 10)]);
    assert!(matches!(refused, Err(BatchRefused::TooManyKeyspaces { need: 1, max: 0 })), "{refused:?}");
}

#[test]
fn a_rotation_begins_with_the_default_keyspace() {
    let pool = kausal_arena::testing::pool(1 << 17, 2);
    let manager = MemtableManager::<TreeIndex>::with_keyspaces(pool.coordinator(), 2, ()).unwrap();
    put_into(&manager.active(), 1, 1, b"key").unwrap();
    assert!(matches!(put_into(&manager.active(), 2, 2, b"key"), Err(BatchRefused::KeyspacesFull { .. })));
    let sealed = manager.rotate(()).unwrap();
    put_into(&manager.active(), 2, 2, b"key").unwrap();
    sealed.freeze().unwrap();
    assert_eq!((ids(&sealed), ids(&manager.active())), (vec![0, 1], vec![0, 2]));
}

/// As a batch that no empty memtable holds in the default keyspace alone: else the caller would rotate for ever.
#[test]
fn keyspaces_that_no_empty_memtable_holds_are_too_large() {
    let memtable = memtable(1 << 16, 200);
    let parts: Vec<_> = (1..200).map(|keyspace| one_entry(keyspace, 600)).collect();
    let refused = memtable.permit_batch(&parts);
    assert!(matches!(refused, Err(BatchRefused::Permit(PermitRefused::TooLarge { .. }))), "{refused:?}");
    let fresh = self::memtable(1 << 16, 200);
    let mut number = 0;
    while put(&fresh, number + 1, b"key").is_ok() {
        number += 1;
    }
    let refused = fresh.permit_batch(&[one_entry(1, 600)]);
    assert!(matches!(refused, Err(BatchRefused::Permit(PermitRefused::Full { .. }))), "{refused:?}");
}

#[test]
fn threads_that_need_the_same_new_keyspaces_make_each_once() {
    let memtable = memtable(8 << 20, 65);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let memtable = &memtable;
            scope.spawn(move || {
                for step in 0..256_u32 {
                    let keyspace = 1 + step % 64;
                    let number = 1 + thread + 4 * u64::from(step);
                    put_into(memtable, keyspace, number, &number.to_be_bytes()).unwrap();
                }
            });
        }
    });
    let mut made = ids(&memtable);
    made.sort_unstable();
    assert_eq!(made, (0..65).collect::<Vec<_>>());
    assert!(memtable.keyspaces().skip(1).all(|keyspace| keyspace.len() == 16));
    assert_eq!(memtable.seqno_bounds(), Some((seqno(1), seqno(1024))));
}

#[test]
#[should_panic(expected = "has a permit for it")]
fn a_keyspace_without_a_permit_is_a_mistake() {
    let memtable = memtable(1 << 16, 4);
    let permit = memtable.permit(1, 100).unwrap();
    let _ = memtable.insert_into(&permit, KeyspaceId(1), entry(1, b"key", b""));
}

type Model = BTreeMap<(u32, Vec<u8>, Reverse<u64>), ()>;

proptest! {
    #[test]
    fn keyspaces_are_as_the_model_has_them(
        writes in prop::collection::vec((0..6_u32, prop::collection::vec(0..3_u8, 0..4)), 0..120),
        at in 0..130_u64,
    ) {
        let memtable = memtable(1 << 19, 6);
        let mut model = Model::new();
        for (number, (keyspace, key)) in (1..).zip(&writes) {
            put_into(&memtable, *keyspace, number, key).unwrap();
            model.insert((*keyspace, key.clone(), Reverse(number)), ());
        }
        for keyspace in 0..6 {
            let of_model: Vec<_> = model.keys().filter(|(id, ..)| *id == keyspace).collect();
            let Some(found) = memtable.keyspace(KeyspaceId(keyspace)) else {
                prop_assert!(of_model.is_empty());
                continue;
            };
            let expected: Vec<_> = of_model.iter().map(|(_, key, number)| (key.clone(), number.0)).collect();
            prop_assert_eq!(shown(found), expected);
            let bounds = of_model.first().map(|first| &first.1[..]).zip(of_model.last().map(|last| &last.1[..]));
            prop_assert_eq!(found.key_bounds().unwrap(), bounds);
            for (_, key, _) in of_model.iter().copied() {
                let newest = of_model.iter().find(|(_, k, number)| k == key && number.0 <= at);
                let got = found.get(key, seqno(at)).map(|entry| entry.seqno.get());
                prop_assert_eq!(got, newest.map(|(.., number)| number.0));
            }
        }
        prop_assert_eq!(memtable.len(), writes.len());
        let all = (!writes.is_empty()).then(|| (seqno(1), seqno(writes.len() as u64)));
        prop_assert_eq!(memtable.seqno_bounds(), all);
    }
}
