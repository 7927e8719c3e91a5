//! slatedb#1622: a writer that had been paused went on after another had taken over, and its log's number was used twice.
//!
//! Here nobody takes over: a lock on the folder is held by an open file, so it lives as long as its holder, paused or not,
//! and no longer. There is no lock to go stale, and none to break.

use kausal_engine::sim::SimVfs;
use kausal_engine::{Error, Options, StorageEngine};

use crate::{killed, open, options, try_open, try_open_with};

#[test]
fn a_second_opener_is_refused_as_long_as_there_is_a_first() {
    let folder = tempfile::tempdir().unwrap();
    let first = StorageEngine::open(folder.path(), Options::new().memory_budget(8 << 20)).unwrap();
    first.put(b"key", b"first").unwrap();
    for _ in 0..3 {
        let second = StorageEngine::open(folder.path(), Options::new().memory_budget(8 << 20));
        assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
        // The first one works on, and the refused opening has changed nothing.
        first.flush().unwrap();
        first.put(b"key", b"again").unwrap();
    }
    first.close().unwrap();
    let second = StorageEngine::open(folder.path(), Options::new().memory_budget(8 << 20)).unwrap();
    assert_eq!(second.get(b"key").unwrap().unwrap(), b"again");
}

#[test]
fn a_holder_that_has_died_locks_nobody_out() {
    let vfs = SimVfs::new();
    let first = open(&vfs);
    first.put(b"key", b"value").unwrap();
    assert!(matches!(try_open(&vfs), Err(Error::Locked { .. })));
    assert_eq!(open(&killed(&vfs)).get(b"key").unwrap().unwrap(), b"value");
    let absent = try_open_with(std::sync::Arc::new(SimVfs::new()), options().create(false)).0;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");
}
