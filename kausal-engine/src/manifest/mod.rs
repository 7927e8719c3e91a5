//! The manifest: which tables and logs make up the database, as a history of edits.
//!
//! `CURRENT` names the manifest; it is replaced by writing `CURRENT.tmp`, syncing it, renaming it and syncing the
//! directory. A manifest is a header and records; its first record is the whole state, each further one an edit.
//!
//! Manifest header, 40 bytes: magic `KAUSMANI`, format version (u32, 1), reserved (u32, 0), database id (u64), manifest
//! number (u64), xxh3-64 of bytes 0 to 31. A record: length of the payload (u32), reserved (u32, 0), xxh3-64 of length
//! and payload, keyed with database id, manifest number and offset (u64), payload.
//!
//! `CURRENT`, 64 bytes: magic `KAUSCURR`, format version (u32, 1), closed cleanly (u32, 0 or 1), database id (u64), manifest
//! number (u64), trusted length (u64), number and length of the log that was current at a clean close (u64 each), xxh3-64 of all that. Below
//! the trusted length the manifest was synced, so damage there is corruption; behind it, in a database that was not
//! closed cleanly, a bad record is the torn tail of a crash.
//!
//! | room | what lives there |
//! |---|---|
//! | `edit` | what a record says |
//! | `current` | the file that names the manifest |
//! | `writer` | begins a manifest, appends edits |
//! | `reader` | reads the state |

mod current;
mod edit;
mod reader;
mod writer;

pub(crate) use current::Current;
pub(crate) use edit::{TableMeta, VersionEdit};
pub(crate) use reader::{ManifestState, read_manifest};
pub(crate) use writer::ManifestWriter;
