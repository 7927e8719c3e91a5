//! Faults of a simulated disk: what can go wrong at a call, when it does, and how often it did.
//!
//! A fault is armed for the n-th call from now that it can happen at, or for one call in so many, by seed.

use crate::sim::SimRandom;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the call of `Vfs`, `VfsFile` or `LogFile` with its name")]
pub enum CallKind {
    Open,
    Create,
    Read,
    Write,
    Reserve,
    Truncate,
    Sync,
    Len,
    Rename,
    Remove,
    Link,
    CreateDir,
    List,
    SyncDir,
    Lock,
    FreeSpace,
}

impl CallKind {
    /// Whether a call of this kind may change the disk.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::Len | Self::List | Self::Lock | Self::FreeSpace)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A read fails.
    ReadError,
    /// A read gives fewer bytes than it could.
    ShortRead,
    /// A write fails after the first half of its bytes.
    WriteError,
    /// A write fails for lack of space, after the first half of its bytes.
    NoSpace,
    /// A write says that it succeeded, and only half of it did.
    LyingWrite,
    /// A sync fails, and what it should have written will never be.
    SyncErrorLost,
    /// A sync fails, although everything is durable.
    SyncErrorKept,
    /// A call on names, or a reservation, fails and changes nothing.
    NameError,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ReadError,
        Self::ShortRead,
        Self::WriteError,
        Self::NoSpace,
        Self::LyingWrite,
        Self::SyncErrorLost,
        Self::SyncErrorKept,
        Self::NameError,
    ];

    /// Whether the fault can happen at a call of this kind.
    pub fn can_happen_at(self, call: CallKind) -> bool {
        match self {
            Self::ReadError | Self::ShortRead => call == CallKind::Read,
            Self::WriteError | Self::LyingWrite => call == CallKind::Write,
            Self::NoSpace => matches!(call, CallKind::Write | CallKind::Reserve | CallKind::Create),
            Self::SyncErrorLost => call == CallKind::Sync,
            Self::SyncErrorKept => matches!(call, CallKind::Sync | CallKind::SyncDir),
            Self::NameError => matches!(
                call,
                CallKind::Open
                    | CallKind::Create
                    | CallKind::Truncate
                    | CallKind::Rename
                    | CallKind::Remove
                    | CallKind::Link
                    | CallKind::CreateDir
                    | CallKind::List
                    | CallKind::SyncDir
            ),
        }
    }
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    /// How often `fault` happened.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Counts one more.
    pub fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        difference.0.iter_mut().zip(earlier.0).for_each(|(now, then)| *now -= then);
        difference
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

/// Which faults are armed.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    /// The fault, and the calls that it can happen at and that it lets pass.
    armed: Vec<(Fault, u64)>,
    /// One call in so many goes wrong.
    odds: Option<(SimRandom, u64, Vec<Fault>)>,
    pub(super) injected: FaultCounts,
}

impl FaultPlan {
    pub(super) fn arm(&mut self, fault: Fault, skipped: u64) {
        self.armed.push((fault, skipped));
    }

    pub(super) fn arm_odds(&mut self, seed: u64, one_in: u64, faults: &[Fault]) {
        self.odds = Some((SimRandom::new(seed), one_in.max(1), faults.to_vec()));
    }

    pub(super) fn disarm(&mut self) {
        self.armed.clear();
        self.odds = None;
    }

    /// What goes wrong at a call of this kind.
    pub(super) fn draw(&mut self, call: CallKind) -> Option<Fault> {
        let mut due = None;
        for (place, (fault, skipped)) in self.armed.iter_mut().enumerate() {
            if fault.can_happen_at(call) {
                match skipped.checked_sub(1) {
                    Some(left) => *skipped = left,
                    None => due = Some(place),
                }
            }
        }
        let mut fault = due.map(|place| self.armed.swap_remove(place).0);
        if fault.is_none()
            && let Some((random, one_in, faults)) = &self.odds
            && random.below(*one_in) == 0
        {
            let able: Vec<Fault> = faults.iter().copied().filter(|fault| fault.can_happen_at(call)).collect();
            fault = able.get(random.below(able.len().max(1) as u64) as usize).copied();
        }
        if let Some(fault) = fault {
            self.injected.count(fault);
        }
        fault
    }
}
