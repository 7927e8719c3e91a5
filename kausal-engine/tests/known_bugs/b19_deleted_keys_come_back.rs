//! rocksdb#2722, badger#464, turbodb#94: keys that had been deleted were back after a compaction.

use kausal_engine::sim::SimVfs;
use kausal_engine::{Durability, KeyRange, Snapshot, StorageEngine};

use crate::{State, killed, open, put, read_all};

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(u8),
    Delete,
    DeleteRange,
    Snapshot,
    DropSnapshots,
    Flush,
    Compact,
    Restart,
}

const STEPS: [Step; 8] = [
    Step::Put(1),
    Step::Delete,
    Step::DeleteRange,
    Step::Snapshot,
    Step::DropSnapshots,
    Step::Flush,
    Step::Compact,
    Step::Restart,
];

fn at(engine: &StorageEngine, snapshot: &Snapshot) -> State {
    let mut state = State::new();
    let mut cursor = engine.cursor_at(snapshot, KeyRange::all()).unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        state.insert(cursor.key().unwrap().to_vec(), cursor.value().unwrap().to_vec());
        more = cursor.next().unwrap();
    }
    state
}

/// Does `steps` to a database with an old value deep down, and to a map.
fn run(steps: &[Step]) {
    let mut vfs = SimVfs::new();
    let mut engine = open(&vfs);
    let mut model = State::new();
    for key in [b"a", b"k", b"z"] {
        put(&engine, key, b"old", Durability::Process).unwrap();
        model.insert(key.to_vec(), b"old".to_vec());
    }
    engine.compact().unwrap();
    let mut snapshots: Vec<(Snapshot, State)> = Vec::new();
    for step in steps {
        match step {
            Step::Put(value) => {
                put(&engine, b"k", &[*value], Durability::Process).unwrap();
                model.insert(b"k".to_vec(), vec![*value]);
            }
            Step::Delete => {
                engine.delete(b"k").unwrap();
                model.remove(&b"k"[..]);
            }
            Step::DeleteRange => {
                engine.delete_range(b"b", b"y").unwrap();
                model.remove(&b"k"[..]);
            }
            Step::Snapshot => snapshots.push((engine.snapshot(), model.clone())),
            Step::DropSnapshots => snapshots.clear(),
            Step::Flush => engine.flush().unwrap(),
            Step::Compact => engine.compact().unwrap(),
            Step::Restart => {
                snapshots.clear();
                vfs = killed(&vfs);
                engine = open(&vfs);
            }
        }
        assert_eq!(read_all(&engine), model, "{steps:?}");
        for (snapshot, state) in &snapshots {
            assert_eq!(&at(&engine, snapshot), state, "{steps:?}, at a snapshot");
        }
    }
}

#[test]
fn no_order_of_four_steps_brings_a_deleted_key_back() {
    let mut last = [Step::Flush, Step::Compact, Step::Restart].into_iter().cycle();
    for first in STEPS {
        for second in STEPS {
            for third in STEPS {
                run(&[Step::Delete, first, second, third, last.next().unwrap()]);
            }
        }
    }
}
