//! The peers as subjects: std's B-tree alone and behind a lock, and those of the feature `index-peers`.
//!
//! All of them own their keys and values on the global allocator, as their users' would.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;

use kausal_arena::RegionCoordinator;
use parking_lot::RwLock;

use super::data::number_in;
use super::subject::Subject;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn from(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(key), Bound::Unbounded)
}

fn seen<V: AsRef<[u8]>>(values: impl Iterator<Item = V>) -> usize {
    values
        .map(|value| {
            black_box(number_in(value.as_ref()));
        })
        .count()
}

/// `BTreeMap<Vec<u8>, Vec<u8>>`, one thread.
#[derive(Default)]
pub struct Std(Map);

impl Subject for Std {
    const CONCURRENT: bool = false;
    const ORDERED: bool = true;
    type Pen = ();

    fn create(_regions: &RegionCoordinator) -> Self {
        Self::default()
    }

    fn pen(&self) {}

    fn insert(&mut self, _pen: &mut (), _number: usize, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    fn insert_shared(&self, _pen: &mut (), _number: usize, _key: &[u8], _value: &[u8]) {
        unreachable!("not concurrent");
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.0.get(key).map(|value| number_in(value))
    }

    fn scan_from(&self, key: &[u8], count: usize) -> usize {
        seen(self.0.range::<[u8], _>(from(key)).take(count).map(|(_, value)| value))
    }

    fn scan(&self) -> usize {
        seen(self.0.values())
    }
}

/// `parking_lot::RwLock<BTreeMap<Vec<u8>, Vec<u8>>>`.
#[derive(Default)]
pub struct Locked(RwLock<Map>);

impl Subject for Locked {
    const CONCURRENT: bool = true;
    const ORDERED: bool = true;
    type Pen = ();

    fn create(_regions: &RegionCoordinator) -> Self {
        Self::default()
    }

    fn pen(&self) {}

    fn insert(&mut self, pen: &mut (), number: usize, key: &[u8], value: &[u8]) {
        self.insert_shared(pen, number, key, value);
    }

    fn insert_shared(&self, _pen: &mut (), _number: usize, key: &[u8], value: &[u8]) {
        let (key, value) = (key.to_vec(), value.to_vec());
        self.0.write().insert(key, value);
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.0.read().get(key).map(|value| number_in(value))
    }

    fn scan_from(&self, key: &[u8], count: usize) -> usize {
        seen(self.0.read().range::<[u8], _>(from(key)).take(count).map(|(_, value)| value))
    }

    fn scan(&self) -> usize {
        seen(self.0.read().values())
    }
}

#[cfg(feature = "index-peers")]
pub use others::*;

#[cfg(feature = "index-peers")]
mod others {
    use super::*;

    /// `crossbeam_skiplist::SkipMap<Vec<u8>, Vec<u8>>`.
    #[derive(Default)]
    pub struct CrossbeamSkipMap(crossbeam_skiplist::SkipMap<Vec<u8>, Vec<u8>>);

    impl Subject for CrossbeamSkipMap {
        const CONCURRENT: bool = true;
        const ORDERED: bool = true;
        type Pen = ();

        fn create(_regions: &RegionCoordinator) -> Self {
            Self::default()
        }

        fn pen(&self) {}

        fn insert(&mut self, pen: &mut (), number: usize, key: &[u8], value: &[u8]) {
            self.insert_shared(pen, number, key, value);
        }

        fn insert_shared(&self, _pen: &mut (), _number: usize, key: &[u8], value: &[u8]) {
            self.0.insert(key.to_vec(), value.to_vec());
        }

        fn get(&self, key: &[u8]) -> Option<usize> {
            self.0.get(key).map(|entry| number_in(entry.value()))
        }

        fn scan_from(&self, key: &[u8], count: usize) -> usize {
            self.0
                .range::<[u8], _>(from(key))
                .take(count)
                .map(|entry| {
                    black_box(number_in(entry.value()));
                })
                .count()
        }

        fn scan(&self) -> usize {
            self.0
                .iter()
                .map(|entry| {
                    black_box(number_in(entry.value()));
                })
                .count()
        }
    }

    type RartKey = rart::VectorKey;

    /// `rart::AdaptiveRadixTree`, one thread.
    pub struct Rart(rart::AdaptiveRadixTree<RartKey, Vec<u8>>);

    fn rart_key(key: &[u8]) -> RartKey {
        use rart::KeyTrait as _;
        RartKey::new_from_slice(key)
    }

    impl Subject for Rart {
        const CONCURRENT: bool = false;
        const ORDERED: bool = true;
        type Pen = ();

        fn create(_regions: &RegionCoordinator) -> Self {
            Self(rart::AdaptiveRadixTree::new())
        }

        fn pen(&self) {}

        fn insert(&mut self, _pen: &mut (), _number: usize, key: &[u8], value: &[u8]) {
            self.0.insert_k(&rart_key(key), value.to_vec());
        }

        fn insert_shared(&self, _pen: &mut (), _number: usize, _key: &[u8], _value: &[u8]) {
            unreachable!("not concurrent");
        }

        fn get(&self, key: &[u8]) -> Option<usize> {
            self.0.get_bytes(key).map(|value| number_in(value))
        }

        fn scan_from(&self, key: &[u8], count: usize) -> usize {
            seen(self.0.range(rart_key(key)..).take(count).map(|(_, value)| value))
        }

        fn scan(&self) -> usize {
            seen(self.0.values_iter())
        }
    }

    /// `skipdb::optimistic::OptimisticDb`: a multi-version store in memory. A thousand entries a transaction.
    pub struct Skipdb(skipdb::optimistic::OptimisticDb<Vec<u8>, Vec<u8>>);

    /// The transaction of one thread, and what is left of it.
    pub struct SkipdbPen {
        transaction: Option<skipdb::optimistic::OptimisticTransaction<Vec<u8>, Vec<u8>>>,
        pending: usize,
    }

    impl Drop for SkipdbPen {
        fn drop(&mut self) {
            if let Some(mut transaction) = self.transaction.take() {
                transaction.commit().expect("nobody writes the same keys");
            }
        }
    }

    impl Subject for Skipdb {
        const CONCURRENT: bool = true;
        const ORDERED: bool = true;
        type Pen = SkipdbPen;

        fn create(_regions: &RegionCoordinator) -> Self {
            Self(skipdb::optimistic::OptimisticDb::new())
        }

        fn pen(&self) -> SkipdbPen {
            SkipdbPen { transaction: None, pending: 0 }
        }

        fn insert(&mut self, pen: &mut SkipdbPen, number: usize, key: &[u8], value: &[u8]) {
            self.insert_shared(pen, number, key, value);
        }

        fn insert_shared(&self, pen: &mut SkipdbPen, _number: usize, key: &[u8], value: &[u8]) {
            let transaction = pen.transaction.get_or_insert_with(|| self.0.write());
            transaction.insert(key.to_vec(), value.to_vec()).expect("memory is the only limit");
            pen.pending += 1;
            if pen.pending == 1000 {
                pen.pending = 0;
                if let Some(mut transaction) = pen.transaction.take() {
                    transaction.commit().expect("nobody writes the same keys");
                }
            }
        }

        fn get(&self, key: &[u8]) -> Option<usize> {
            self.0.read().get(key).map(|entry| number_in(&entry.value()))
        }

        fn scan_from(&self, key: &[u8], count: usize) -> usize {
            let read = self.0.read();
            let range = read.range::<[u8], _>(from(key));
            range
                .take(count)
                .map(|entry| {
                    black_box(number_in(&entry.value()));
                })
                .count()
        }

        fn scan(&self) -> usize {
            let read = self.0.read();
            read.iter()
                .map(|entry| {
                    black_box(number_in(&entry.value()));
                })
                .count()
        }
    }

    /// `scc::TreeIndex<Vec<u8>, Vec<u8>>`: a concurrent B+tree whose readers take no lock.
    #[derive(Default)]
    pub struct SccTree(scc::TreeIndex<Vec<u8>, Vec<u8>>);

    impl Subject for SccTree {
        const CONCURRENT: bool = true;
        const ORDERED: bool = true;
        type Pen = ();

        fn create(_regions: &RegionCoordinator) -> Self {
            Self::default()
        }

        fn pen(&self) {}

        fn insert(&mut self, pen: &mut (), number: usize, key: &[u8], value: &[u8]) {
            self.insert_shared(pen, number, key, value);
        }

        fn insert_shared(&self, _pen: &mut (), _number: usize, key: &[u8], value: &[u8]) {
            let _ = self.0.insert_sync(key.to_vec(), value.to_vec());
        }

        fn get(&self, key: &[u8]) -> Option<usize> {
            self.0.peek_with(key, |_, value| number_in(value))
        }

        fn scan_from(&self, key: &[u8], count: usize) -> usize {
            let guard = scc::Guard::new();
            seen(self.0.range::<[u8], _>(from(key), &guard).take(count).map(|(_, value)| value))
        }

        fn scan(&self) -> usize {
            let guard = scc::Guard::new();
            seen(self.0.iter(&guard).map(|(_, value)| value))
        }
    }

    /// `scc::HashMap<Vec<u8>, Vec<u8>>`.
    #[derive(Default)]
    pub struct SccHash(scc::HashMap<Vec<u8>, Vec<u8>>);

    impl Subject for SccHash {
        const CONCURRENT: bool = true;
        const ORDERED: bool = false;
        type Pen = ();

        fn create(_regions: &RegionCoordinator) -> Self {
            Self::default()
        }

        fn pen(&self) {}

        fn insert(&mut self, pen: &mut (), number: usize, key: &[u8], value: &[u8]) {
            self.insert_shared(pen, number, key, value);
        }

        fn insert_shared(&self, _pen: &mut (), _number: usize, key: &[u8], value: &[u8]) {
            let _ = self.0.insert_sync(key.to_vec(), value.to_vec());
        }

        fn get(&self, key: &[u8]) -> Option<usize> {
            self.0.read_sync(key, |_, value| number_in(value))
        }

        fn scan_from(&self, _key: &[u8], _count: usize) -> usize {
            0
        }

        fn scan(&self) -> usize {
            0
        }
    }

    /// `papaya::HashMap<Vec<u8>, Vec<u8>>`.
    #[derive(Default)]
    pub struct Papaya(papaya::HashMap<Vec<u8>, Vec<u8>>);

    impl Subject for Papaya {
        const CONCURRENT: bool = true;
        const ORDERED: bool = false;
        type Pen = ();

        fn create(_regions: &RegionCoordinator) -> Self {
            Self::default()
        }

        fn pen(&self) {}

        fn insert(&mut self, pen: &mut (), number: usize, key: &[u8], value: &[u8]) {
            self.insert_shared(pen, number, key, value);
        }

        fn insert_shared(&self, _pen: &mut (), _number: usize, key: &[u8], value: &[u8]) {
            self.0.pin().insert(key.to_vec(), value.to_vec());
        }

        fn get(&self, key: &[u8]) -> Option<usize> {
            self.0.pin().get(key).map(|value| number_in(value))
        }

        fn scan_from(&self, _key: &[u8], _count: usize) -> usize {
            0
        }

        fn scan(&self) -> usize {
            0
        }
    }
}
