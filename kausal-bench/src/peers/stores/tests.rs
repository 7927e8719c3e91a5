//! What every store must do, so that a row of it means what the others' do.

use super::*;
use crate::peers::store::{Memory, Store, View};

const MEMORY: Memory = Memory::halves(16 << 20);

/// Opens each store in a folder of its own.
fn each(test: impl Fn(&Kind, &std::path::Path, Box<dyn Store>)) {
    for kind in kinds() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = (kind.open)(folder.path(), MEMORY).expect("a new store opens");
        test(&kind, folder.path(), store);
    }
}

fn found(store: &dyn Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = None;
    let is_there = store.get(key, &mut |found| value = Some(found.to_vec())).expect("it can be read");
    assert_eq!(is_there, value.is_some());
    value
}

fn scanned(view: &mut dyn View, key: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let count = view.scan(key, limit, &mut |key, _| keys.push(key.to_vec())).expect("it can be read");
    assert_eq!(count, keys.len());
    keys
}

#[test]
fn what_is_written_in_any_way_is_read() {
    each(|kind, _, store| {
        store.put(b"a", b"1").expect("room");
        store.put_sync(b"b", b"2").expect("room");
        store.put_batch(&[(b"d", b"4"), (b"c", b"3")]).expect("room");
        store.put(b"a", b"5").expect("room");
        store.delete(b"c").expect("room");
        let values = [b"a", b"b", b"c", b"d"].map(|key| found(&*store, key));
        let want = [Some(b"5".to_vec()), Some(b"2".to_vec()), None, Some(b"4".to_vec())];
        assert_eq!(values, want, "{}", kind.name);
        store.settle().expect("it comes to rest");
        assert_eq!([b"a", b"b", b"c", b"d"].map(|key| found(&*store, key)), want, "{}", kind.name);
        store.close().expect("it closes");
    });
}

#[test]
fn a_scan_begins_at_a_key_and_ends_at_a_limit() {
    each(|kind, _, store| {
        for key in [b"a", b"c", b"e", b"g"] {
            store.put(key, b"value").expect("room");
        }
        store
            .read(&mut |view| {
                assert_eq!(scanned(view, b"c", 2), [b"c", b"e"], "{}", kind.name);
                assert_eq!(scanned(view, b"d", 9), [b"e", b"g"], "{}", kind.name);
                assert_eq!(scanned(view, b"h", 9), [[0_u8; 0]; 0], "{}", kind.name);
                let mut value = Vec::new();
                assert!(view.get(b"g", &mut |found| value = found.to_vec())?, "{}", kind.name);
                assert_eq!(value, b"value", "{}", kind.name);
                Ok(())
            })
            .expect("it can be read");
        store.close().expect("it closes");
    });
}

#[test]
fn what_was_loaded_is_there_after_closing_and_opening() {
    each(|kind, folder, store| {
        let count = 3000_u32;
        store
            .load(&mut |sink| (0..count).try_for_each(|number| sink(&number.to_be_bytes(), b"value")))
            .expect("room");
        store.close().expect("it closes");
        let store = (kind.open)(folder, MEMORY).expect("it opens again");
        store
            .read(&mut |view| {
                let keys = scanned(view, &[0], usize::MAX);
                assert!(keys.iter().enumerate().all(|(place, key)| *key == (place as u32).to_be_bytes()));
                assert_eq!(keys.len(), count as usize, "{}", kind.name);
                Ok(())
            })
            .expect("it can be read");
        store.close().expect("it closes");
    });
}
