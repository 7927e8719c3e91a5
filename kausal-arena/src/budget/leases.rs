//! The register of leases at a node: the answer to "who holds this memory?".
//!
//! A lease with a name is always in the register; any other only while tracing is on
//! ([`Budget::trace_leases`](super::Budget::trace_leases)), because it costs a lock and a clock. Places are used again,
//! so a warm register calls the allocator no more.

use std::fmt;
use std::panic::Location;
use std::time::Instant;

use crate::report::LeaseReport;
use crate::sync::Mutex;

/// Who took a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseOwner {
    Named(&'static str),
    At(&'static Location<'static>),
}

impl fmt::Display for LeaseOwner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => out.write_str(name),
            Self::At(place) => write!(out, "{}:{}", place.file(), place.line()),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct LeaseRecord {
    pub(crate) owner: LeaseOwner,
    pub(crate) generation: u64,
    pub(crate) bytes: usize,
    pub(crate) since: Instant,
}

/// Names a record in its register; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

impl Ticket {
    pub(crate) const NONE: Self = Self(0);
}

#[derive(Default)]
pub(crate) struct LeaseRegister {
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    records: Vec<Option<LeaseRecord>>,
    free: Vec<u32>,
}

impl LeaseRegister {
    pub(crate) fn enter(&self, record: LeaseRecord) -> Ticket {
        let mut records = self.records.lock();
        match records.free.pop() {
            Some(place) => {
                records.records[place as usize] = Some(record);
                Ticket(place + 1)
            }
            None => {
                records.records.push(Some(record));
                Ticket(u32::try_from(records.records.len()).unwrap_or(0))
            }
        }
    }

    pub(crate) fn leave(&self, ticket: Ticket) {
        let Some(place) = ticket.0.checked_sub(1) else { return };
        let mut records = self.records.lock();
        records.records[place as usize] = None;
        records.free.push(place);
    }

    /// The record of a ticket, for a second lease of the same owner.
    pub(crate) fn record(&self, ticket: Ticket) -> Option<LeaseRecord> {
        let place = (ticket.0 as usize).checked_sub(1)?;
        self.records.lock().records[place]
    }

    /// All records, the oldest first.
    pub(crate) fn report(&self) -> Vec<LeaseReport> {
        let mut records: Vec<_> = self.records.lock().records.iter().flatten().copied().collect();
        records.sort_by_key(|record| record.since);
        let report = |record: &LeaseRecord| LeaseReport {
            owner: record.owner.to_string(),
            generation: record.generation,
            bytes: record.bytes,
            age: record.since.elapsed(),
        };
        records.iter().map(report).collect()
    }
}
