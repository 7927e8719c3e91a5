//! In-memory indexes over arena memory.

mod block_index;
mod cursor;
mod entry;

pub use block_index::{BlockIndex, IndexBytes, InsertError};
pub use cursor::Cursor;
pub use entry::{Entry, EntryRef, KEY_BYTES_MAX, Kind, PackedSeqNo, SeqNo, compare_positions};
