use super::*;

#[test]
fn entries_of_every_length_are_copied_whole() {
    for len in 0..300_usize {
        let source: Vec<u8> = (0..len).map(|place| place as u8 ^ 0x5a).collect();
        let mut target = vec![0; len];
        copy(&mut target, &source);
        assert_eq!(target, source, "{len} bytes");
    }
}

#[test]
fn keys_are_the_same_where_no_byte_differs() {
    for len in 0..40 {
        let key = vec![7_u8; len];
        assert!(is_same(&key, &vec![7; len]));
        assert!(!is_same(&key, &vec![7; len + 1]));
        for place in 0..len {
            let mut other = key.clone();
            other[place] ^= 1;
            assert!(!is_same(&key, &other), "byte {place} of {len}");
        }
    }
}

#[test]
fn walks_of_one_length_are_met_by_a_chunk_of_that_length() {
    let budget = Budget::unlimited("cursors");
    for (before, entries) in [(1, 11), (100, 11), (100, 5), (12, 128)] {
        let mut memory = CursorMemory::new(&budget);
        (0..10).for_each(|_| memory.learn(before));
        (0..10).for_each(|_| memory.learn(entries));
        assert_eq!(memory.walk_entries(), entries, "{before} before");
    }
    let mut memory = CursorMemory::new(&budget);
    memory.learn(0);
    assert_eq!(memory.walk_entries(), WALK_ENTRIES);
    (0..30).for_each(|_| memory.learn(1 << 20));
    assert_eq!(memory.walk_entries(), WALK_ENTRIES_MAX);
}

#[test]
fn a_pool_keeps_no_more_than_half_of_the_floor() {
    let root = Budget::root("memory", 1 << 20);
    let budget = root.child("cursors", 64 << 10, 1 << 19).unwrap();
    let pool = CursorPool::new(&budget);
    let entry =
        EntryRef { key: b"key", seqno: kausal_index::SeqNo::MAX, kind: Kind::Put, value: &[1; 10_000] };
    let mut memories: Vec<_> = (0..8).map(|_| pool.take()).collect();
    for memory in &mut memories {
        assert!(memory.chunk.push(entry).unwrap());
        pool.give(memory);
    }
    let kept: Vec<_> = pool.idle.lock().iter().map(|memory| memory.chunk.charge.bytes()).collect();
    assert!(kept.len() > 1 && kept.iter().sum::<usize>() <= 32 << 10, "{kept:?}");
    assert_eq!(pool.take().chunk.bytes.len(), 10_003);
}
