//! The laws: the contract of an index, one line each.

use std::fmt;

use crate::block_index::BlockIndex;

/// One law of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "`says` is the documentation, and the report prints it")]
pub enum Law {
    Get,
    Versions,
    GetMany,
    Insert,
    Duplicate,
    KeyTooLong,
    ExtremeSizes,
    InsertSorted,
    Exhaustion,
    CursorWalk,
    CursorSeek,
    CursorMoves,
    CursorWhileInserting,
    OrderAsClaimed,
    Freeze,
    FreezeRefused,
    BytesMax,
    BytesAccounted,
    OnlyFromPens,
    RegionReturns,
    AllocatorSilent,
    WritersAtOnce,
    ReadersAtOnce,
    CursorsAtOnce,
    DuplicatesAtOnce,
    PermitsAtOnce,
}

impl Law {
    /// Every law, in the order in which the report prints them.
    pub const ALL: [Self; 26] = [
        Self::Get,
        Self::Versions,
        Self::GetMany,
        Self::Insert,
        Self::Duplicate,
        Self::KeyTooLong,
        Self::ExtremeSizes,
        Self::InsertSorted,
        Self::Exhaustion,
        Self::CursorWalk,
        Self::CursorSeek,
        Self::CursorMoves,
        Self::CursorWhileInserting,
        Self::OrderAsClaimed,
        Self::Freeze,
        Self::FreezeRefused,
        Self::BytesMax,
        Self::BytesAccounted,
        Self::OnlyFromPens,
        Self::RegionReturns,
        Self::AllocatorSilent,
        Self::WritersAtOnce,
        Self::ReadersAtOnce,
        Self::CursorsAtOnce,
        Self::DuplicatesAtOnce,
        Self::PermitsAtOnce,
    ];

    /// Name of the law, which is that of its stamped test.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Versions => "versions",
            Self::GetMany => "get_many",
            Self::Insert => "insert",
            Self::Duplicate => "duplicate",
            Self::KeyTooLong => "key_too_long",
            Self::ExtremeSizes => "extreme_sizes",
            Self::InsertSorted => "insert_sorted",
            Self::Exhaustion => "exhaustion",
            Self::CursorWalk => "cursor_walk",
            Self::CursorSeek => "cursor_seek",
            Self::CursorMoves => "cursor_moves",
            Self::CursorWhileInserting => "cursor_while_inserting",
            Self::OrderAsClaimed => "order_as_claimed",
            Self::Freeze => "freeze",
            Self::FreezeRefused => "freeze_refused",
            Self::BytesMax => "bytes_max",
            Self::BytesAccounted => "bytes_accounted",
            Self::OnlyFromPens => "only_from_pens",
            Self::RegionReturns => "region_returns",
            Self::AllocatorSilent => "allocator_silent",
            Self::WritersAtOnce => "writers_at_once",
            Self::ReadersAtOnce => "readers_at_once",
            Self::CursorsAtOnce => "cursors_at_once",
            Self::DuplicatesAtOnce => "duplicates_at_once",
            Self::PermitsAtOnce => "permits_at_once",
        }
    }

    /// What the law demands.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Get => "the entry of a key with the largest sequence number at or below the one asked for",
            Self::Versions => "every entry of a key at or below a sequence number, newest first",
            Self::GetMany => "calls back once a key, in order, with what `get` answers",
            Self::Insert => "takes every new position in any order, and counts it",
            Self::Duplicate => "refuses a position that it holds, and keeps what it held",
            Self::KeyTooLong => "refuses a key of 65,536 bytes, and nothing changes",
            Self::ExtremeSizes => {
                "keeps empty keys and values, keys of 65,535 bytes, values of an eighth of a region"
            }
            Self::InsertSorted => "equals one insert after the other, refusals included",
            Self::Exhaustion => "an insert refused for want of memory changes nothing that a reader sees",
            Self::CursorWalk => "meets every entry once, in order, forward and backward",
            Self::CursorSeek => "`seek` and `seek_for_prev` stand on the neighbour of a position",
            Self::CursorMoves => "`next` and `prev` mirror each other; nowhere stays nowhere until a seek",
            Self::CursorWhileInserting => "a cursor made before inserts stays where it stands, and in order",
            Self::OrderAsClaimed => "there is a cursor before `freeze` exactly if ORDERED_WHILE_LIVE",
            Self::Freeze => "after `freeze` there is a cursor, and every look-up answers as before",
            Self::FreezeRefused => "a `freeze` refused for want of memory leaves the index readable",
            Self::BytesMax => "no batch takes more than `bytes_max` from its pen, in any order",
            Self::BytesAccounted => "live, dead and slack bytes are what the pens handed out, to the byte",
            Self::OnlyFromPens => {
                "takes memory from the pens it is given and from nowhere else in the region"
            }
            Self::RegionReturns => {
                "pins its region while it lives, and the region is back when it is dropped"
            }
            Self::AllocatorSilent => "neither `insert` nor `get` calls the global allocator",
            Self::WritersAtOnce => "writers on several threads lose nothing",
            Self::ReadersAtOnce => "readers beside writers see whole entries, and never less than before",
            Self::CursorsAtOnce => "walks beside writers are in order and miss nothing that was there",
            Self::DuplicatesAtOnce => "of several threads with one position exactly one succeeds",
            Self::PermitsAtOnce => "batches within `bytes_max` succeed on several threads at once",
        }
    }

    /// Why `I` does not claim this law, if it does not.
    pub(super) fn unclaimed<I: BlockIndex>(self) -> Option<&'static str> {
        match self {
            Self::BytesAccounted | Self::AllocatorSilent if !I::IN_ARENA => Some("not IN_ARENA"),
            Self::CursorWhileInserting | Self::CursorsAtOnce if !I::ORDERED_WHILE_LIVE => {
                Some("not ORDERED_WHILE_LIVE")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
