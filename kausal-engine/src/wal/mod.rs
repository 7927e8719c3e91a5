//! The write-ahead log: every batch, in order, before it is in a memtable.
//!
//! One log per memtable. A log is a header and frames, each beginning at a multiple of eight; a frame's checksum is keyed
//! with database, log number and offset, so that a frame from elsewhere, or from an earlier life of the disk space,
//! never validates. Logs form a chain: each header says how the log before it ended.
//!
//! Header, 64 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `KAUSWAL1` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | reserved, 0 |
//! | 16 | 8 | log number |
//! | 24 | 8 | database id |
//! | 32 | 8 | number of the log before; 0 is none |
//! | 40 | 8 | length of the log before |
//! | 48 | 8 | reserved, 0 |
//! | 56 | 8 | xxh3-64 of bytes 0 to 55 |
//!
//! Frame:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | xxh3-64 of all that follows, padding included |
//! | 8 | 8 | offset of the frame in the file |
//! | 16 | 8 | bytes of this log known to be synced when the frame was written |
//! | 24 | 4 | length of the payload |
//! | 28 | 1 | kind: 1 is a batch; others are reserved |
//! | 29 | 3 | reserved, 0 |
//! | 32 | | payload, then zeros to a multiple of eight |
//!
//! Batch: first sequence number (u64), count (u32), then per change: keyspace (varint), kind (u8), key and value, each
//! behind its length (varint). Kinds: 0 delete, 1 put, 2 put of a value in a blob file, 3 delete of the keys from key to
//! before value. Reserved: 4 merge, 5 single delete, 6 put that expires, 7 separated value. All numbers are little-endian.
//!
//! **Damage or torn tail.** Each frame says how far its log was synced before. A bad frame below what is known to
//! have been synced (from any valid frame of the log, before or behind it, from a later log, or from the manifest)
//! is corruption and is refused. Above that it is the torn tail of a crash: the log is cut there, and everything later is
//! dropped and reported. Zeros up to the file's end are neither: that space was allocated ahead. The engine never appends
//! to a log that it recovered: it begins a new one, and the manifest says where the recovered ones ended.
//!
//! | room | what lives there |
//! |---|---|
//! | `format` | header, frame, batch: bytes to meaning and back |
//! | `frame` | a batch to its frame, in one copy |
//! | `writer` | where the next frame goes, and how far the log is durable |
//! | `reader` | recovers one log |
//! | `recovered` | a log that counts on after it was recovered, until its memtable is in tables |

mod format;
mod frame;
mod reader;
mod recovered;
mod writer;

pub(crate) use format::PreviousLog;
pub(crate) use frame::FrameBytes;
pub(crate) use reader::{Extent, LogScan, Scanned, WINDOW_BYTES};
pub(crate) use recovered::RecoveredLog;
pub(crate) use writer::{WalWriter, store_frames};
