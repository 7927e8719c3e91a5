//! What the engine was doing, as the worker's file of marks has it.

use std::fmt;
use std::fs;
use std::path::Path;

/// A phase of the engine's work. Where several go on at once, the latest of these counts: the rarest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// No call of the engine, no job: a writer writes down an acknowledgement, or there is none.
    Idle,
    Write,
    Flush,
    Compaction,
    Manifest,
    Recovery,
}

impl Phase {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Idle, Self::Write, Self::Flush, Self::Compaction, Self::Manifest, Self::Recovery];

    /// The phases in which there is something to break.
    pub(super) const WORK: [Self; 5] =
        [Self::Write, Self::Flush, Self::Compaction, Self::Manifest, Self::Recovery];

    /// The phase that the worker's marks in `file` show.
    pub(super) fn read(file: &Path) -> Self {
        Self::of(&fs::read(file).unwrap_or_default())
    }

    /// One byte for each thread, one bit for each phase.
    fn of(marks: &[u8]) -> Self {
        let bits = marks.iter().fold(0, |all, bits| all | bits);
        match bits.checked_ilog2() {
            None => Self::Idle,
            Some(highest) => Self::ALL.get(1 + highest as usize).copied().unwrap_or(Self::Idle),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Idle => "idle",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Compaction => "compaction",
            Self::Manifest => "manifest",
            Self::Recovery => "recovery",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_phase_counts() {
        assert_eq!(Phase::of(&[]), Phase::Idle);
        assert_eq!(Phase::of(&[0; 5]), Phase::Idle);
        assert_eq!(Phase::of(&[0, 1, 0, 0, 0]), Phase::Write);
        assert_eq!(Phase::of(&[0, 1, 0, 2, 4]), Phase::Compaction);
        assert_eq!(Phase::of(&[0, 1, 1, 2 | 8, 4]), Phase::Manifest);
        assert_eq!(Phase::of(&[16 | 8, 0, 0, 0, 0]), Phase::Recovery);
    }
}
