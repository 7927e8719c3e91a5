//! What to do about a failure: the last part of an error's message.
//!
//! Not here: what failed, and where. [`Error`](crate::Error) says that, and its source what the system answered.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::Damage;
use crate::file_names::FileKind;

/// What to do about damage to `file`.
pub(crate) fn of_damage(file: &Path, what: &Damage) -> &'static str {
    match file.file_name().and_then(FileKind::of) {
        Some(FileKind::Log(_)) if is_salvageable(what) => {
            "restore a checkpoint, or open with `Options::salvage`, which gives up all writes behind it"
        }
        Some(FileKind::Table(_) | FileKind::Blob(_)) => {
            "restore a checkpoint, or copy out what can still be read"
        }
        _ => "restore a checkpoint",
    }
}

/// Whether it is damage that [`Options::salvage`](crate::Options::salvage) lets pass, in a log.
fn is_salvageable(what: &Damage) -> bool {
    matches!(what, Damage::Record | Damage::LogHeader | Damage::LogMissing | Damage::FileLength { .. })
}

/// What to do when the operating system refuses `op` with `error`.
pub(crate) fn of_io(op: &str, error: &io::Error) -> &'static str {
    if let Some(remedy) = of_limit(error) {
        return remedy;
    }
    let is_about_new = matches!(op, "create" | "list");
    match error.kind() {
        ErrorKind::InvalidInput if is_about_new => "choose another path",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space where it lies",
        ErrorKind::PermissionDenied => "give this process the right to",
        ErrorKind::ReadOnlyFilesystem => {
            "mount its file system for writing, or open with `Options::read_only`"
        }
        ErrorKind::NotFound if is_about_new => "make the folder above it first",
        ErrorKind::NotFound | ErrorKind::UnexpectedEof => "put the file back, or restore a checkpoint",
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename => "choose another path",
        ErrorKind::Unsupported => "choose a file system that can do that",
        ErrorKind::Interrupted | ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::ResourceBusy => {
            "try again later"
        }
        _ if changes_nothing(op) => "try again, and look at the device if it stays",
        _ => "look at the device, then open the database again",
    }
}

/// What to do about a limit that is not the device's.
fn of_limit(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::OutOfMemory => Some("free memory of the machine"),
        ErrorKind::FileTooLarge => Some("raise the limit of a file's size"),
        _ => is_out_of_files(error).then_some("raise the limit of open files"),
    }
}

/// Whether the process, or the machine, has as many files open as it may.
fn is_out_of_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_out = {
        use rustix::io::Errno;
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    };
    #[cfg(not(unix))]
    let is_out = false;
    is_out
}

/// Whether an operation of this name leaves the disk as it is, so that it may be tried again.
fn changes_nothing(op: &str) -> bool {
    ["read", "open", "list", "lock", "link"].iter().any(|first| op.starts_with(first))
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[track_caller]
    fn check(op: &str, error: Errno, part: &str) {
        let remedy = of_io(op, &error.into());
        assert!(remedy.contains(part), "{op}, {error}: {remedy}");
    }

    #[test]
    fn what_to_do_depends_on_what_the_system_answered() {
        check("write", Errno::NOSPC, "free space");
        check("write", Errno::DQUOT, "free space");
        check("open", Errno::MFILE, "open files");
        check("create", Errno::ACCESS, "the right");
        check("create", Errno::ROFS, "read_only");
        check("create", Errno::NOTDIR, "another path");
    }

    #[test]
    fn a_read_is_tried_again_and_a_write_is_not() {
        check("read", Errno::IO, "try again");
        check("write", Errno::IO, "open the database again");
        check("sync", Errno::IO, "open the database again");
    }

    #[test]
    fn a_file_that_is_gone_is_another_matter_than_a_folder_to_make_one_in() {
        check("create", Errno::NOENT, "folder");
        check("open", Errno::NOENT, "checkpoint");
    }

    #[test]
    fn only_a_log_is_salvaged_and_only_from_what_salvage_lets_pass() {
        let told = |file: &str, what| of_damage(Path::new(file), &what).contains("salvage");
        assert!(told("db/000001.wal", Damage::Record));
        assert!(told("db/000001.wal", Damage::LogMissing));
        assert!(!told("db/000001.wal", Damage::Payload));
        assert!(!told("db/000001.sst", Damage::Record));
        assert!(!told("db/CURRENT", Damage::FileLength { expected: 64, actual: 3 }));
    }
}
