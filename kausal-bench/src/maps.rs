//! The maps that own their entries, one allocation or more each, and what it takes to give them back.

use std::collections::BTreeMap;

use crate::samples::timed;

/// A name, and nanoseconds of one sample.
pub type Subject<'a> = (&'static str, Box<dyn Fn() -> f64 + 'a>);

/// The releases of maps of `entries` entries with the keys that `key` makes, and values of `value_bytes` bytes.
pub fn releases(
    entries: u64,
    value_bytes: usize,
    key: impl Fn(u64) -> [u8; 16] + Copy + 'static,
) -> Vec<Subject<'static>> {
    let owned = move |number| (key(number).to_vec(), vec![7; value_bytes]);
    let tree = move || {
        let mut map = BTreeMap::new();
        // One by one, as they come: collecting would sort them first, and lay neighbours side by side.
        for (key, value) in (0..entries).map(owned) {
            map.insert(key, value);
        }
        assert_eq!(map.len() as u64, entries, "what is timed holds what it should");
        timed(|| give_back_map(map))
    };
    #[cfg(not(any(feature = "arena-peers", feature = "memtable-peers")))]
    let peers: [Subject<'static>; 0] = [];
    #[cfg(any(feature = "arena-peers", feature = "memtable-peers"))]
    let skip_list = move || {
        let map = crossbeam_skiplist::SkipMap::new();
        for (key, value) in (0..entries).map(owned) {
            map.insert(key, value);
        }
        assert_eq!(map.len() as u64, entries, "what is timed holds what it should");
        timed(|| give_back_map(map))
    };
    #[cfg(any(feature = "arena-peers", feature = "memtable-peers"))]
    let peers: [Subject<'static>; 1] = [("crossbeam SkipMap", Box::new(skip_list))];
    let tree: Subject<'static> = ("BTreeMap", Box::new(tree));
    std::iter::once(tree).chain(peers).collect()
}

/// A function of its own, so that a profiler can count its instructions alone.
#[inline(never)]
fn give_back_map<M>(map: M) {
    drop(map);
}
