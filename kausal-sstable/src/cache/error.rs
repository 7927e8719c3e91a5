//! Why a block is not in the cache, as values.

/// Why the cache took no frame for a block. The caller reads it into memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Refusal {
    /// It is larger than a cache of this size wants to hold.
    #[error("a block of {bytes} bytes bypasses the cache, which takes up to {max}")]
    TooLarge { bytes: usize, max: usize },
    /// Nothing is free, the budget has no more, and what could leave is pinned.
    #[error("no frame for a block of {bytes} bytes: the rest is pinned")]
    NoRoom { bytes: usize },
}

/// Why [`insert`](super::BlockCache::insert) returned no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError<E> {
    /// There is no frame for it; `fill` was not called.
    #[error(transparent)]
    Refused(Refusal),
    /// `fill` failed, and the frame is free again.
    #[error("the block could not be filled")]
    Fill(#[source] E),
}
