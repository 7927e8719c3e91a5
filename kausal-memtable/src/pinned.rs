//! A pinned value: bytes of a memtable that stay where they are for longer than a call, without a copy.
//!
//! 1. [`Pinned::get`] looks a key up and keeps, with the value, a hold on its memtable and a lease with a name.
//! 2. While it lives its region is not given back, whatever is flushed and released meanwhile; the memory report names it,
//!    with its bytes and its age.
//! 3. When it drops, and the memtable was released, the region returns.
//!
//! Nothing else of this crate holds a region between calls: look-ups and cursors borrow, and what waits for hours parks
//! ([`Parked`](crate::Parked)).
//!
//! A value borrowed from something that travels with it is `yoke`'s business (Goregaokar 2022): it pairs the two without
//! unsafe code here.

use std::fmt;
use std::ops::Deref;

use kausal_arena::Lease;
use kausal_arena::sync::Arc;
use kausal_index::{BlockIndex, KeyspaceId, Kind, SeqNo};
use yoke::Yoke;

use crate::memtable::Memtable;

/// A value in a memtable's region, which stays there while this lives.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use kausal_arena::{Budget, RegionPool};
/// use kausal_index::{EntryRef, Kind, SeqNo, TreeIndex};
/// use kausal_memtable::{KeyspaceId, MemtableManager, Pinned};
///
/// let budget = Budget::root("memtables", 4 << 20);
/// let pool = RegionPool::new(&budget, 1 << 20, 2, || {}).unwrap();
/// let manager = MemtableManager::<TreeIndex>::new(pool.coordinator(), ()).unwrap();
/// let active = manager.active();
/// let permit = active.permit(1, 8).unwrap();
/// let seqno = SeqNo::new(1).unwrap();
/// active.insert(&permit, EntryRef { key: b"pear", seqno, kind: Kind::Put, value: b"ripe" }).unwrap();
/// drop(permit);
///
/// let pinned = Pinned::get(&active, KeyspaceId::DEFAULT, b"pear", SeqNo::MAX, "fruit of the day").unwrap();
/// let sealed = manager.rotate(()).unwrap();
/// manager.release(&sealed);
/// drop((active, sealed));
/// assert_eq!(&pinned[..], b"ripe");
/// assert_eq!(pool.coordinator().free_count(), 0, "its region waits");
/// assert!(budget.report().root().leases.iter().any(|lease| lease.owner == "fruit of the day"));
/// drop(pinned);
/// assert_eq!(pool.coordinator().free_count(), 1);
/// ```
pub struct Pinned<I: 'static, A: 'static = ()> {
    // First the value goes, then the memtable it lies in.
    value: Yoke<&'static [u8], Arc<Memtable<I, A>>>,
    seqno: SeqNo,
    kind: Kind,
    lease: Lease,
}

impl<I: BlockIndex, A> Pinned<I, A> {
    /// The newest entry of `key` in `keyspace` at or below `at`, tombstones included, pinned under `name`.
    ///
    /// Costs a look-up, three counters, and a short lock and a look at the clock for the report. Copies nothing.
    pub fn get(
        memtable: &Arc<Memtable<I, A>>,
        keyspace: KeyspaceId,
        key: &[u8],
        at: SeqNo,
        name: &'static str,
    ) -> Option<Self> {
        let mut found = None;
        let value = Yoke::<&'static [u8], _>::try_attach_to_cart(Arc::clone(memtable), |memtable| {
            let entry = memtable.keyspace(keyspace).and_then(|keyspace| keyspace.get(key, at));
            let entry = entry.ok_or(Absent)?;
            found = Some((entry.seqno, entry.kind));
            Ok::<&[u8], Absent>(entry.value)
        });
        let (value, (seqno, kind)) = value.ok().zip(found)?;
        let lease = memtable.region().lease().clone_named(name, value.get().len());
        Some(Self { value, seqno, kind, lease })
    }

    /// When the value was written.
    pub fn seqno(&self) -> SeqNo {
        self.seqno
    }

    /// What the entry says about its key.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The generation of the region that this keeps.
    pub fn generation(&self) -> u64 {
        self.lease.generation()
    }

    /// A copy of the value on the global allocator, in one allocation of its length; the region is let go.
    pub fn into_bytes(self) -> Vec<u8> {
        self.to_vec()
    }
}

struct Absent;

impl<I, A> Deref for Pinned<I, A> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.value.get()
    }
}

impl<I, A> fmt::Debug for Pinned<I, A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pinned")
            .field("bytes", &self.len())
            .field("seqno", &self.seqno)
            .field("kind", &self.kind)
            .field("lease", &self.lease)
            .finish()
    }
}
