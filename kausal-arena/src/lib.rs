//! Arenas with one owner, one budget and one O(1) way out.
