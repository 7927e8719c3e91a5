//! Names of a database's files. Names that are none of these are left alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::ids::FileNumber;

/// Kinds of files in a database's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// `NNNNNN.sst`
    Table(FileNumber),
    /// `NNNNNN.wal`
    Log(FileNumber),
    /// `NNNNNN.blob`
    Blob(FileNumber),
    /// `SPARE`: zeros, the file of the next log.
    SpareLog,
    /// `MANIFEST-NNNNNN`
    Manifest(FileNumber),
    /// `CURRENT`: names the manifest.
    Current,
    /// `CURRENT.tmp`: the next `CURRENT`, before it is renamed.
    CurrentTemporary,
    /// `LOCK`
    Lock,
}

impl FileKind {
    /// The kind of the file with this name.
    pub(crate) fn of(name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        match name {
            "CURRENT" => return Some(Self::Current),
            "SPARE" => return Some(Self::SpareLog),
            "CURRENT.tmp" => return Some(Self::CurrentTemporary),
            "LOCK" => return Some(Self::Lock),
            _ => {}
        }
        if let Some(number) = name.strip_prefix("MANIFEST-") {
            return Some(Self::Manifest(parse(number)?));
        }
        let (number, extension) = name.split_once('.')?;
        let number = parse(number)?;
        match extension {
            "sst" => Some(Self::Table(number)),
            "wal" => Some(Self::Log(number)),
            "blob" => Some(Self::Blob(number)),
            _ => None,
        }
    }

    /// The number in the name, if there is one.
    pub(crate) fn number(self) -> Option<FileNumber> {
        match self {
            Self::Table(number) | Self::Log(number) | Self::Blob(number) | Self::Manifest(number) => {
                Some(number)
            }
            _ => None,
        }
    }
}

fn parse(number: &str) -> Option<FileNumber> {
    let digits = number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().ok().map(FileNumber)).flatten()
}

/// Where the file of this kind lies.
pub(crate) fn file_path(directory: &Path, kind: FileKind) -> PathBuf {
    directory.join(match kind {
        FileKind::Table(number) => format!("{number}.sst"),
        FileKind::Log(number) => format!("{number}.wal"),
        FileKind::Blob(number) => format!("{number}.blob"),
        FileKind::SpareLog => "SPARE".to_owned(),
        FileKind::Manifest(number) => format!("MANIFEST-{number}"),
        FileKind::Current => "CURRENT".to_owned(),
        FileKind::CurrentTemporary => "CURRENT.tmp".to_owned(),
        FileKind::Lock => "LOCK".to_owned(),
    })
}
