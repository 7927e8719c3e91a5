//! How a task fails: with the place, what is wrong there, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a task ended without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that does not exist.
    Usage(String),
    /// Rules that the sources break, all of them.
    Violations(Vec<Violation>),
    /// Anything else, in a sentence.
    Other(String),
}

impl Failure {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::Other(what.into())
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Violations(_) | Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Other(what) => out.write_str(what),
            Self::Violations(violations) => {
                write!(out, "{} violation(s)", violations.len())?;
                violations.iter().try_for_each(|violation| write!(out, "\n{violation}"))
            }
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Says which file an I/O error is about.
pub(crate) trait AtPath<T> {
    /// Names `path` and what was `tried` with it.
    fn at(self, tried: &str, path: &Path) -> Result<T, Failure>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, tried: &str, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::other(format!("cannot {tried} {}: {error}", path.display())))
    }
}

/// A rule broken at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Relative to the workspace.
    pub(crate) file: PathBuf,
    /// Counted from 1; 0 means the whole file.
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "  {}", self.file.display())?;
        if self.line > 0 {
            write!(out, ":{}", self.line)?;
        }
        write!(out, ": {}\n      {}", self.what, self.remedy)
    }
}

/// Nothing to complain about, or all complaints at once.
pub(crate) fn none_of(violations: Vec<Violation>) -> Result<(), Failure> {
    if violations.is_empty() { Ok(()) } else { Err(Failure::Violations(violations)) }
}
