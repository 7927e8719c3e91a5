//! Rings of buffers.

use std::sync::mpsc::TryRecvError;

use kausal_arena::{ArenaClosed, Budget, BufferRing, BufferStates, DoubleBuffer, PermitRefused};

fn states(active: usize, sealed: usize, draining: usize, standby: usize) -> BufferStates {
    BufferStates { active, sealed, draining, standby }
}

#[test]
fn s21_a_swap_never_resets_a_buffer_that_has_readers() {
    let budget = Budget::root("test", 1 << 20);
    let mut buffers = DoubleBuffer::new(&budget, 64 << 10).unwrap();
    let coordinator = buffers.coordinator();
    assert_eq!(buffers.states(), states(1, 0, 0, 1));
    let handle = coordinator.writer().unwrap().alloc_handle_slice_copy(b"not flushed yet");
    let reader = coordinator.lease().unwrap();

    let sealed = buffers.swap().unwrap();
    assert_eq!(buffers.states(), states(1, 1, 0, 0));
    assert_eq!(sealed.generation(), reader.generation());
    assert_ne!(coordinator.lease().unwrap().generation(), reader.generation());
    let refused = buffers.swap().unwrap_err();
    assert_eq!((refused.sealed, refused.draining), (1, 0));
    assert_eq!(sealed.resolve(handle).unwrap(), b"not flushed yet");

    drop(sealed);
    assert_eq!(buffers.states(), states(1, 0, 1, 0));
    let refused = buffers.swap().unwrap_err();
    assert_eq!((refused.sealed, refused.draining), (0, 1));
    assert_eq!(reader.resolve(handle).unwrap(), b"not flushed yet");

    drop(reader);
    assert_eq!(buffers.states(), states(1, 0, 0, 1));
    let sealed = buffers.swap().unwrap();
    assert_eq!((sealed.used(), coordinator.lease().unwrap().used()), (0, 0), "it came back empty");
    assert!(coordinator.lease().unwrap().resolve(handle).is_err());
}

#[test]
fn s21_a_ring_has_as_many_sealed_buffers_as_it_can() {
    let mut ring = BufferRing::<4>::new(&Budget::unlimited("test"), 4096).unwrap();
    let mut sealed: Vec<_> = (0..3).map(|_| ring.swap().unwrap()).collect();
    assert_eq!(ring.states(), states(1, 3, 0, 0));
    assert!(ring.swap().is_err());
    drop(sealed.remove(1));
    assert_eq!(ring.states(), states(1, 2, 0, 1));
    assert!(ring.swap().is_ok());
}

#[test]
fn a_permit_goes_to_the_active_buffer_and_keeps_a_sealed_one_from_freezing() {
    let mut buffers = DoubleBuffer::new(&Budget::unlimited("test"), 4096).unwrap();
    let coordinator = buffers.coordinator();
    let permit = coordinator.permit(100).unwrap();
    let sealed = buffers.swap().unwrap();
    assert_eq!(permit.generation(), sealed.generation());
    assert!(sealed.freeze().is_err(), "a batch is still being written");
    permit.pen().alloc([1_u8; 100]);
    drop(permit);
    sealed.freeze().unwrap();
    assert_ne!(coordinator.permit(100).unwrap().generation(), sealed.generation());
}

#[test]
fn a_ring_without_an_owner_is_closed_and_gives_all_back() {
    let budget = Budget::root("test", 1 << 20);
    let mut buffers = DoubleBuffer::new(&budget, 64 << 10).unwrap();
    let coordinator = buffers.coordinator();
    let sealed = buffers.swap().unwrap();
    drop(buffers);
    assert_eq!(coordinator.lease().unwrap_err(), ArenaClosed);
    assert_eq!(coordinator.permit(1).unwrap_err(), PermitRefused::Sealed);
    assert!(budget.used() > 0, "the sealed one is still read");
    drop(sealed);
    assert_eq!(budget.used(), 0);
}

#[test]
fn many_writers_lose_nothing_over_many_swaps() {
    let mut buffers = DoubleBuffer::new(&Budget::unlimited("test"), 1 << 20).unwrap();
    let coordinator = buffers.coordinator();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        for number in 0..3_u64 {
            let (coordinator, sender) = (coordinator.clone(), sender.clone());
            threads.spawn(move || {
                for round in 0..2_000_u64 {
                    let word = number << 32 | round;
                    // A buffer that is full before it is swapped refuses, and another one comes.
                    let (handle, lease) = loop {
                        let writer = coordinator.writer().unwrap();
                        match writer.try_alloc_handle(word) {
                            Ok(handle) => break (handle, writer.lease().clone()),
                            Err(_) => std::thread::yield_now(),
                        }
                    };
                    sender.send((handle, lease, word)).unwrap();
                }
            });
        }
        drop(sender);
        let (mut swaps, mut words) = (0, 0);
        loop {
            swaps += usize::from(buffers.swap().is_ok());
            match receiver.try_recv() {
                Ok((handle, lease, expected)) => {
                    words += 1;
                    assert_eq!(lease.resolve(handle), Ok(&expected));
                }
                Err(TryRecvError::Empty) => std::thread::yield_now(),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        assert!(swaps > 0);
        assert_eq!(words, 6_000);
    });
}
