//! Checkpoints: a second database that goes on without the first.

use std::path::Path;
use std::sync::Arc;

use kausal_engine::vfs::{StdVfs, Vfs};
use kausal_engine::{Error, WriteBatch, WriteOptions};

use crate::{open, open_as};

#[test]
fn a_checkpoint_is_the_state_of_its_moment_and_goes_on_alone() {
    go_on_alone(false);
}

#[test]
fn a_checkpoint_of_mapped_tables_shares_their_files_and_goes_on_alone() {
    go_on_alone(true);
}

fn go_on_alone(is_mapped: bool) {
    let open = |folder: &Path| open_as(is_mapped, folder);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("checkpoints/first");
    let engine = open(&folder.path().join("db"));
    let users = engine.create_keyspace("users").unwrap().id();
    let large = vec![3; 600 << 10];
    for number in 0..5_000_u32 {
        engine.put(&number.to_be_bytes(), &[number as u8; 300]).unwrap();
    }
    let mut batch = WriteBatch::new();
    batch.put_in(users, b"7", b"Ada").unwrap();
    batch.put(b"large", &large).unwrap();
    batch.delete_range(&1_000_u32.to_be_bytes(), &2_000_u32.to_be_bytes()).unwrap();
    engine.write(&batch, WriteOptions::default()).unwrap();
    engine.checkpoint(&target).unwrap();

    // The first goes on: everything is written anew and compacted, so that its files go.
    engine.delete_range(b"", b"\xFF").unwrap();
    engine.drop_keyspace("users").unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();

    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    kausal_engine::check(&vfs, &target, 64 << 20).unwrap();
    let second = open(&target);
    assert_eq!(second.get(b"large").unwrap().unwrap(), large);
    assert_eq!(second.keyspace("users").unwrap().get(b"7").unwrap().unwrap(), b"Ada");
    for number in (0..5_000_u32).step_by(37) {
        let expected = (!(1_000..2_000).contains(&number)).then(|| vec![number as u8; 300]);
        assert_eq!(second.get(&number.to_be_bytes()).unwrap(), expected);
    }
    second.put(b"later", b"here alone").unwrap();
    second.compact().unwrap();
    second.close().unwrap();
    let first = open(&folder.path().join("db"));
    assert_eq!(first.get(b"later").unwrap(), None);
    assert_eq!(first.get(b"large").unwrap(), None);
    assert_ne!(open(&target).get(b"later").unwrap(), None);
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("precious"), b"data").unwrap();
    let engine = open(&folder.path().join("db"));
    engine.put(b"key", b"value").unwrap();
    assert!(matches!(engine.checkpoint(&target), Err(Error::InvalidArgument { .. })));
    assert_eq!(std::fs::read(target.join("precious")).unwrap(), b"data");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
}
