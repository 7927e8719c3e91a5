//! Every way an operation can fail, as values that say what, where and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kausal_arena::AllocError;
use kausal_sstable::{TableError, WriteError};

use crate::planted::is_planted;
use crate::remedy;

/// What is wrong with the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Damage {
    #[error("the checksum does not match")]
    Checksum,
    #[error("the file has {actual} bytes, not the {expected} it should have")]
    FileLength { expected: u64, actual: u64 },
    #[error("the header is not that of the blob that the entry names")]
    BlobHeader,
    #[error("the header is not that of this log")]
    LogHeader,
    #[error("a synced record is damaged")]
    Record,
    #[error("the log ends at byte {actual}, the one after it says {expected}")]
    LogEnd { expected: u64, actual: u64 },
    #[error("the log is missing, a later one says it was synced")]
    LogMissing,
    #[error("the contents of a record are malformed")]
    Payload,
    #[error("the header is not that of the manifest that CURRENT names")]
    ManifestHeader,
    #[error("CURRENT does not hold what it should")]
    Current,
    #[error("an entry's reference to a blob file is malformed")]
    BlobReference,
    #[error("two tables of one level share a key")]
    LevelOverlap,
    #[error("{0}")]
    Table(kausal_sstable::Damage),
    #[error("the manifest and the table disagree about its properties")]
    TableMeta,
    #[error("a change names keyspace {0}, which there never was")]
    Keyspace(crate::ids::KeyspaceId),
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Error {
    /// A file does not hold what it should. Other data is still readable, if the database can be opened.
    #[error("{}: corrupt at byte {offset}: {what}; {}", file.display(), remedy::of_damage(file, what))]
    Corruption { file: PathBuf, offset: u64, what: Damage },
    /// The operating system refused. Retrying a read may help; after a failed write see [`Error::Poisoned`].
    #[error("cannot {op} {}; {}", path.display(), remedy::of_io(op, source))]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// The memory budget has no room. Drop what the message names, or open with a larger budget.
    #[error("the memory budget has no room; drop what holds it, or open with a larger one")]
    MemoryBudget(#[from] AllocError),
    /// The budget asked for is below the smallest one.
    #[error("a memory budget of {asked} bytes is too small; give at least {min}")]
    BudgetTooSmall { asked: usize, min: usize },
    /// A batch in the log was written with a larger memory budget, and has no room in this one: to be read, or in an empty
    /// memtable. Open the database with the larger budget once.
    #[error(
        "a batch in the log needs {need} bytes, the memory budget has room for {max}; open once with a larger one"
    )]
    ChangeTooLarge { need: usize, max: usize },
    /// The writer waited as long as the options allow.
    #[error("waited {waited:?} because {reason}; try again later")]
    Stalled { reason: &'static str, waited: Duration },
    /// Another process, or another handle of this one, has the database open.
    #[error("{} is in use by another handle or process; close that one first", path.display())]
    Locked { path: PathBuf },
    /// There is no database, and the options do not ask for one.
    #[error("{} is no database; `Options::create` lets one be made", path.display())]
    NotFound { path: PathBuf },
    /// A write or sync failed earlier: nothing is acknowledged any more. Reads go on; opening again recovers.
    #[error("no more writes until the database is opened again, because: {reason}")]
    Poisoned { reason: Arc<str> },
    /// The database was opened to be read only. Open it without [`Options::read_only`](crate::Options::read_only) to write.
    #[error("the database is open for reading only; open it without `Options::read_only` to write")]
    ReadOnly,
    /// A file was written by a newer version.
    #[error("{}: written by a newer version ({what}); open it with that one", file.display())]
    NewerFormat { file: PathBuf, what: String },
    /// The caller asked for something that cannot be.
    #[error("invalid argument: {what}")]
    InvalidArgument { what: String },
    /// There is no such keyspace: it was dropped, or never created. Create it, or take it out of the batch.
    #[error("there is no keyspace {keyspace}; create it, or take it out of the batch")]
    NoKeyspace { keyspace: crate::ids::KeyspaceId },
    /// A key does not have the value that the batch requires: nothing was applied. Read it and try again.
    #[error(
        "a key of {} bytes in keyspace {keyspace} does not have the value that the batch requires; read it and try again",
        key.len()
    )]
    Conflict { keyspace: crate::ids::KeyspaceId, key: Vec<u8> },
    /// An ingestion's keys do not ascend strictly. Nothing of it is there; sort them, or put them.
    #[error(
        "the keys of an ingestion must ascend: \"{}\" comes after \"{}\"; sort them",
        key.escape_ascii(),
        previous.escape_ascii()
    )]
    Unsorted { previous: Vec<u8>, key: Vec<u8> },
    /// 2^56 changes have been made.
    #[error("the sequence numbers are used up; copy the data into a new database")]
    SequenceExhausted,
    /// A background job, or a writer, ended in a panic. The reason in [`Error::Poisoned`].
    #[error("a background job panicked; see standard error")]
    BackgroundPanic,
    /// The memtables' index keeps no order while they take writes, so there is no scan before they are flushed.
    #[error(
        "memtables of this index have no order while they take writes; flush first, or open with another index"
    )]
    Unordered(#[from] kausal_index::Unordered),
}

impl From<kausal_memtable::FreezeRefused> for Error {
    fn from(refused: kausal_memtable::FreezeRefused) -> Self {
        match refused {
            // Whoever freezes has waited for them.
            kausal_memtable::FreezeRefused::Permits(_) => Self::Stalled {
                reason: "batches are still being written to the memtable",
                waited: Duration::ZERO,
            },
            kausal_memtable::FreezeRefused::Alloc(error) => error.into(),
        }
    }
}

/// Why a writer waits when there is no room for its record or for a table.
pub(crate) const DISK_FULL: &str = "the disk is full";

/// Why a flush or a compaction waits when readers hold what it would need beyond its share.
pub(crate) const MEMORY_SHORT: &str = "the memory budget has no room for a flush or a compaction";

/// Whether an operation failed for lack of space, and nothing else is wrong.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Error {
    /// The disk is full, and the caller did not wait.
    pub(crate) fn disk_full() -> Self {
        Self::Stalled { reason: DISK_FULL, waited: Duration::ZERO }
    }

    /// Whether a write failed for lack of space. A sync that fails is another matter, whatever its reason.
    pub(crate) fn is_disk_full(&self) -> bool {
        !is_planted("full_disk_poisons")
            && matches!(self, Self::Io { op: "write" | "create", source, .. } if is_disk_full(source))
    }

    /// What a background job could not go on for, if it is something that passes.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        match self {
            Self::MemoryBudget(_) => Some(MEMORY_SHORT),
            error => error.is_disk_full().then_some(DISK_FULL),
        }
    }

    /// For `map_err`: an I/O error with what was being done to which path.
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { op, path: path.to_owned(), source }
    }

    /// For `map_err`: there is no room for a batch of the log of `need` bytes, while the database is opened.
    pub(crate) fn batch_too_large(need: usize) -> impl FnOnce(AllocError) -> Self {
        move |error| match error {
            AllocError::BudgetExceeded { have, .. } => Self::ChangeTooLarge { need, max: have },
            error => error.into(),
        }
    }

    /// For `map_err`: a failure to read a value, which may have its place already.
    pub(crate) fn read_value(directory: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::io("read a value of", directory)(error),
        }
    }

    pub(crate) fn corruption(file: &Path, offset: u64, what: Damage) -> Self {
        Self::Corruption { file: file.to_owned(), offset, what }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidArgument { what: what.into() }
    }

    pub(crate) fn key_too_long(len: usize) -> Self {
        Self::invalid(format!("a key of {len} bytes, the longest has {}", kausal_index::KEY_BYTES_MAX))
    }

    /// A source that failed, or ended before the announced `len` bytes, after `read` of them.
    pub(crate) fn short_source(error: io::Error, len: u64, read: u64) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Self::invalid(format!("the source ended after about {read} of the {len} bytes announced"))
            }
            _ => Self::Io { op: "read", path: PathBuf::from("the value's source"), source: error },
        }
    }

    /// A table's error, with the path of its file.
    pub(crate) fn table(path: &Path, error: TableError) -> Self {
        match error {
            TableError::Corruption { offset, what, .. } => {
                Self::corruption(path, offset, Damage::Table(what))
            }
            TableError::Io { source, .. } => Self::io("read", path)(source),
            TableError::Memory { source, .. } => Self::MemoryBudget(source),
            TableError::NotBuilt { what, .. } => {
                Self::invalid(format!("{} needs {what}, which this build does not have", path.display()))
            }
            other => Self::NewerFormat { file: path.to_owned(), what: other.to_string() },
        }
    }

    /// A table writer's error, with the path of its file.
    pub(crate) fn table_write(path: &Path, error: WriteError) -> Self {
        match error {
            WriteError::Io { source, .. } => Self::io("write", path)(source),
            WriteError::Memory(error) => Self::MemoryBudget(error),
            other => Self::invalid(format!("{}: {other}", path.display())),
        }
    }

    /// The message with those of its sources.
    pub(crate) fn to_chain(&self) -> String {
        use std::error::Error as _;
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            text.push_str(&format!(": {error}"));
            source = error.source();
        }
        text
    }

    /// Whether bytes on the disk are not what they should be.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corruption { .. })
    }
}
