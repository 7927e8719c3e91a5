//! What a memtable says of its bytes, against what the test itself has put in and seen taken.

use kausal_arena::Permit;
use kausal_index::{ArtIndex, BlockIndex, HashIndex, SkipListIndex, TreeIndex};
use kausal_memtable::{KeyspaceId, Memtable};
use proptest::prelude::*;

use super::{entry, one_entry, one_range, seqno};

#[derive(Clone, Debug)]
enum Write {
    Put {
        keyspace: u32,
        key: Vec<u8>,
        value_bytes: usize,
    },
    /// The number of an entry that is there: refused, and what it took is dead.
    Again {
        keyspace: u32,
        key: Vec<u8>,
    },
    DeleteRange {
        keyspace: u32,
        start: Vec<u8>,
        end: Vec<u8>,
    },
    /// A permit that is not used, while another is used behind it: its rest cannot go back.
    Wasted {
        bytes: usize,
    },
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (0..3_u32, key(), 0..200_usize)
            .prop_map(|(keyspace, key, value_bytes)| Write::Put { keyspace, key, value_bytes }),
        1 => (0..3_u32, key()).prop_map(|(keyspace, key)| Write::Again { keyspace, key }),
        2 => (0..3_u32, key(), key())
            .prop_map(|(keyspace, start, end)| Write::DeleteRange { keyspace, start, end }),
        1 => (0..500_usize).prop_map(|bytes| Write::Wasted { bytes }),
    ]
}

/// What the test has seen.
#[derive(Default)]
struct Seen {
    /// Keys and values that were accepted.
    entry: usize,
    /// Taken from pens.
    taken: usize,
    number: u64,
}

fn taken(permit: &Permit, work: impl FnOnce(&Permit)) -> usize {
    let before = permit.pen().block_bytes_left();
    work(permit);
    before - permit.pen().block_bytes_left()
}

fn apply<I: BlockIndex>(memtable: &Memtable<I>, seen: &mut Seen, write: &Write) {
    seen.number += 1;
    let number = seen.number;
    match write {
        Write::Put { keyspace, key, value_bytes } => {
            let value = vec![1; *value_bytes];
            let permit = memtable.permit_batch(&[one_entry(*keyspace, key.len() + value.len())]).unwrap();
            seen.taken += taken(&permit, |permit| {
                memtable.insert_into(permit, KeyspaceId(*keyspace), entry(number, key, &value)).unwrap();
            });
            seen.entry += key.len() + value.len();
        }
        Write::Again { keyspace, key } => {
            let part = one_entry(*keyspace, key.len());
            let permit = memtable.permit_batch(&[part, part]).unwrap();
            seen.taken += taken(&permit, |permit| {
                let insert = || memtable.insert_into(permit, part.keyspace, entry(number, key, b""));
                insert().unwrap();
                assert!(insert().is_err());
            });
            seen.entry += key.len();
        }
        Write::DeleteRange { keyspace, start, end } => {
            let permit = memtable.permit_batch(&[one_range(*keyspace, start, end)]).unwrap();
            let mut added = false;
            seen.taken += taken(&permit, |permit| {
                let id = KeyspaceId(*keyspace);
                added = memtable.delete_range(permit, id, start, end, seqno(number)).is_ok();
            });
            seen.entry += if added { start.len() + end.len() } else { 0 };
        }
        Write::Wasted { bytes } => {
            let wasted = memtable.permit(1, *bytes).unwrap();
            apply(memtable, seen, &Write::Put { keyspace: 0, key: b"behind".to_vec(), value_bytes: 10 });
            drop(wasted);
        }
    }
}

fn accounts_for<I: BlockIndex>(writes: &[Write]) -> Result<(), TestCaseError> {
    let memtable = Memtable::<I>::with_keyspaces(kausal_arena::testing::region(2 << 20), 3, ()).unwrap();
    let mut seen = Seen::default();
    for write in writes {
        apply(&memtable, &mut seen, write);
        let bytes = memtable.bytes();
        prop_assert_eq!(bytes.used(), memtable.used_bytes(), "{:?}", bytes);
        prop_assert_eq!(bytes.entry, seen.entry, "{:?}", bytes);
        // The parts of the parts add up to what the pens handed out, those of the empty indexes included.
        let parts = memtable
            .keyspaces()
            .flat_map(|keyspace| [keyspace.index_bytes(), keyspace.range_tombstones().bytes()]);
        let (mut live, mut dead, mut slack) = (0, 0, 0);
        for part in parts {
            (live, dead, slack) = (live + part.live, dead + part.dead, slack + part.slack);
        }
        prop_assert_eq!((bytes.live(), bytes.dead), (live, dead));
        prop_assert!(slack <= bytes.slack);
        let empty = memtable.keyspaces().count() * I::bytes_max(0, 0);
        let handed_out = live + dead + slack;
        prop_assert!(
            (seen.taken..=seen.taken + empty).contains(&handed_out),
            "{} of {}",
            handed_out,
            seen.taken
        );
        // A permit is a multiple of 16 bytes, so each may waste 15; what else is lost was wasted on purpose.
        let is_wasting = writes.iter().any(|write| matches!(write, Write::Wasted { .. }));
        let permits = 2 * writes.len() + 3;
        prop_assert!(is_wasting || bytes.slack <= slack + 15 * permits);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn live_dead_and_slack_are_what_the_region_has_in_use(writes in prop::collection::vec(write(), 0..80)) {
        accounts_for::<TreeIndex>(&writes)?;
        accounts_for::<SkipListIndex>(&writes)?;
        accounts_for::<HashIndex>(&writes)?;
        accounts_for::<ArtIndex>(&writes)?;
    }
}

#[test]
fn an_empty_memtable_has_an_empty_index() {
    let memtable = Memtable::<TreeIndex>::new(kausal_arena::testing::region(1 << 16), ()).unwrap();
    let bytes = memtable.bytes();
    assert_eq!((bytes.entry, bytes.dead), (0, 0));
    assert_eq!(bytes.used(), memtable.used_bytes());
    assert_eq!(memtable.seqno_bounds(), None);
}
