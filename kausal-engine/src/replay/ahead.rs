//! Reads the next part of the logs while this one is inserted.
//!
//! 1. What is needed for it goes into a slot, and a job that takes it from there is queued.
//! 2. Who has inserted looks into the slot. If no thread had the time to begin, the part is read here and now, so an open
//!    never waits for somebody else's jobs; else the job is waited for.
//!
//! Invariant: what was put into the slot is taken out once, and comes back or is reported lost.

use std::sync::Arc;

use kausal_arena::sync::Mutex;

use super::gathered::Gathered;
use super::reader::{Filled, LogReader};
use crate::error::Error;
use crate::event::Event;
use crate::scheduler::{Lane, Scheduler};

/// What it takes to read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) reader: LogReader,
    /// Empty at first.
    pub(crate) gathered: Gathered,
}

/// What was read, and why it ended.
type Read = (Reading, Result<Filled, Error>);

#[derive(Debug, Default)]
struct Slot {
    waiting: Mutex<Option<Reading>>,
    /// Nothing is in it if the job ended in a panic.
    done: Mutex<Option<Option<Read>>>,
    event: Event,
}

/// A part of the logs that is being read.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    scheduler: &'a dyn Scheduler,
    slot: Arc<Slot>,
}

impl Reading {
    fn run(mut self) -> Read {
        let filled = self.reader.fill(&mut self.gathered);
        (self, filled)
    }
}

impl<'a> Ahead<'a> {
    /// Lets `reading` go on.
    pub(crate) fn begin(scheduler: &'a dyn Scheduler, reading: Reading) -> Self {
        let slot = Arc::new(Slot { waiting: Mutex::new(Some(reading)), ..Slot::default() });
        let job = Report { slot: Arc::clone(&slot), read: None };
        scheduler.spawn(Lane::Flush, Box::new(move || job.run()));
        Self { scheduler, slot }
    }

    /// Waits for the end of it.
    ///
    /// # Errors
    ///
    /// [`Error::BackgroundPanic`].
    pub(crate) fn end(self) -> Result<Read, Error> {
        if let Some(reading) = self.slot.waiting.lock().take() {
            return Ok(reading.run());
        }
        loop {
            let ticket = self.slot.event.ticket();
            if let Some(done) = self.slot.done.lock().take() {
                return done.ok_or(Error::BackgroundPanic);
            }
            self.scheduler.wait(&self.slot.event, ticket, None);
        }
    }
}

/// The job. Says that it has ended, however it does.
struct Report {
    slot: Arc<Slot>,
    read: Option<Read>,
}

impl Report {
    fn run(mut self) {
        // Not held while it reads.
        let reading = self.slot.waiting.lock().take();
        self.read = reading.map(|reading| {
            let (mut reading, filled) = reading.run();
            reading.gathered.sort_all();
            (reading, filled)
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.slot.waiting.lock().is_none() {
            *self.slot.done.lock() = Some(self.read.take());
            self.slot.event.signal();
        }
    }
}
