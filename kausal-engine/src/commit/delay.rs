//! The commit delay: how long a leader waits for others before it syncs.
//!
//! A disk's flush takes as long for one batch as for many. The members of a settled group come back with their next batches a
//! moment after the next leader could have begun: without a delay the groups of four writers have one and three members by
//! turns, and each batch waits for two syncs.
//!
//! 1. The writers that were there at the end of a sync are the group's members and those that gathered meanwhile. As many
//!    are expected in the next group. A lone writer is expected alone and never waits.
//! 2. A leader with fewer members waits for the others, up to the time that the last sync took, and goes as soon as they
//!    are there.
//! 3. Who waited in vain lets the next groups go without a delay, twice as many each time: writers that do something else
//!    between their batches pay hardly anything.
//!
//! PostgreSQL's `commit_delay` and `commit_siblings`, but that nobody has to set them.

use std::time::Duration;

/// A sync that took no time to speak of, as in a simulation, is worth this wait.
const WAIT_MIN: Duration = Duration::from_micros(1);

/// And no sync is worth more than this one.
const WAIT_MAX: Duration = Duration::from_millis(2);

/// After so many vain waits the number of groups without a delay grows no more.
const VAIN_MAX: u32 = 6;

/// What is known of recent groups.
#[derive(Debug, Default)]
pub(super) struct CommitDelay {
    /// Writers that were there at the end of the last sync.
    writers: usize,
    sync_time: Duration,
    /// Waits in a row that ended by their deadline.
    vain: u32,
    /// Groups that go without a delay.
    skips: u32,
}

impl CommitDelay {
    /// How many members a group of `members` should wait for, and how long; `None` if it should go as it is.
    pub(super) fn begin(&mut self, members: usize) -> Option<(usize, Duration)> {
        if members >= self.writers {
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        Some((self.writers, self.sync_time.clamp(WAIT_MIN, WAIT_MAX)))
    }

    /// Takes note of how a wait ended.
    pub(super) fn end(&mut self, is_vain: bool) {
        self.vain = if is_vain { (self.vain + 1).min(VAIN_MAX) } else { 0 };
        self.skips = (1 << self.vain) - 1;
    }

    /// Takes note of a sync for a group of `members`, during which `gathered` came.
    pub(super) fn note_sync(&mut self, members: usize, gathered: usize, took: Duration) {
        self.writers = members + gathered;
        self.sync_time = took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(400);

    fn after(members: usize, gathered: usize) -> CommitDelay {
        let mut delay = CommitDelay::default();
        delay.note_sync(members, gathered, SYNC);
        delay
    }

    #[test]
    fn a_lone_writer_never_waits() {
        assert_eq!(CommitDelay::default().begin(1), None);
        assert_eq!(after(1, 0).begin(1), None);
    }

    #[test]
    fn writers_that_take_turns_wait_for_each_other() {
        // One was synced while three gathered: all four are wanted.
        assert_eq!(after(1, 3).begin(3), Some((4, SYNC)));
        assert_eq!(after(4, 0).begin(1), Some((4, SYNC)));
        assert_eq!(after(4, 0).begin(4), None);
    }

    #[test]
    fn vain_waits_become_rare_until_one_is_not_vain() {
        let mut delay = after(4, 0);
        let mut waits = Vec::new();
        for group in 0..40 {
            if delay.begin(3).is_some() {
                waits.push(group);
                delay.end(true);
            }
        }
        assert_eq!(waits, [0, 2, 6, 14, 30]);
        delay.end(false);
        assert!(delay.begin(3).is_some());
    }

    #[test]
    fn a_slow_disk_makes_nobody_wait_for_long() {
        let mut delay = CommitDelay::default();
        delay.note_sync(2, 0, Duration::from_secs(3));
        assert_eq!(delay.begin(1), Some((2, WAIT_MAX)));
    }
}
