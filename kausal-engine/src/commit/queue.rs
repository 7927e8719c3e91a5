//! What the writer's lock guards: the log's end, the group that is gathered, and the turn on the log's file.

use std::thread::ThreadId;

use kausal_arena::{AllocError, Budget, Reservation};
use kausal_index::SeqNo;

use super::delay::CommitDelay;
use crate::wal::{RecoveredLog, WINDOW_BYTES, WalWriter};

/// Memory of a group that is kept for the next one.
const GROUP_BYTES_KEPT: usize = 64 << 10;

/// Members of one group: more threads than a disk's flush lets wait.
const GROUP_MEMBERS_MAX: usize = 256;

/// The state of the write path.
#[derive(Debug)]
pub(crate) struct WriteState {
    pub(crate) log: WalWriter,
    /// The newest number that was given to a batch.
    pub(crate) last_seqno: SeqNo,
    /// Whoever takes it may store and sync without the lock, and nobody else touches the log's file meanwhile.
    pub(super) turn: Option<Turn>,
    pub(super) group: Group,
    /// Groups up to this number have reached the file, but for those in `failed`.
    pub(super) settled: u64,
    /// Groups that found the disk full, with the members that have not heard of it.
    pub(super) failed: Vec<FailedGroup>,
    /// Threads that wait for the turn.
    pub(super) waiting: usize,
    /// What recent groups say of the next one's size.
    pub(super) delay: CommitDelay,
    /// Members of the gathered group with which its leader, who waits for them, goes on; 0 if nobody does.
    pub(super) awaited: usize,
    /// Somebody waits until every earlier batch is visible; new ones wait behind.
    pub(super) is_fenced: bool,
    /// A thread behind its own fence, which would wait for itself.
    pub(super) fenced_by: Option<ThreadId>,
}

/// The right to use the log's file, and what belongs to that.
#[derive(Debug)]
pub(super) struct Turn {
    /// Logs of frozen memtables that were not synced to their end: a sync of the current one syncs them first, so that what
    /// survives has no hole.
    pub(super) unsynced: Vec<WalWriter>,
    /// Logs of before the database was opened, whose memtable was not in tables then: a sync makes them durable first.
    pub(super) recovered: Option<Recovered>,
    /// Whether the name of the current log is durable.
    pub(super) is_name_synced: bool,
    /// Bytes of the current log's file that have blocks.
    pub(super) reserved_bytes: u64,
    /// Memory of the last group.
    spare: Frames,
}

/// Recovered logs that are not known to be durable, with the memory that it takes to make them so.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) logs: Vec<RecoveredLog>,
    _charge: Reservation,
}

/// Frames in memory that is paid for.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) bytes: Vec<u8>,
    charge: Reservation,
}

/// Batches that are stored together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) number: u64,
    /// Where in the log the frames begin.
    pub(super) begin: u64,
    pub(super) frames: Frames,
    /// Bytes of the frames before the first member: buffered writes that were acknowledged.
    pub(super) acknowledged_bytes: usize,
    /// The newest number before the first member's.
    pub(super) base: SeqNo,
    /// Writers that wait for the group.
    pub(super) members: usize,
    pub(super) wants_sync: bool,
}

#[derive(Debug)]
pub(super) struct FailedGroup {
    number: u64,
    members: usize,
}

/// The disk is full: nothing of the group is in the log, and its members try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskFull;

impl WriteState {
    /// The state of a database whose log is empty, and whose names are durable.
    ///
    /// # Errors
    ///
    /// If `budget` has no room for what it takes to make the `recovered` logs durable.
    pub(crate) fn new(
        log: WalWriter,
        last_seqno: SeqNo,
        budget: &Budget,
        recovered: &[RecoveredLog],
    ) -> Result<Self, AllocError> {
        let group = Group {
            number: 1,
            begin: log.len(),
            frames: Frames::new(budget),
            acknowledged_bytes: 0,
            base: last_seqno,
            members: 0,
            wants_sync: false,
        };
        let spare = Frames::new(budget);
        let recovered = Recovered::new(recovered, budget)?;
        let turn = Turn { unsynced: Vec::new(), recovered, is_name_synced: true, reserved_bytes: 0, spare };
        Ok(Self {
            log,
            last_seqno,
            turn: Some(turn),
            group,
            settled: 0,
            failed: Vec::new(),
            waiting: 0,
            delay: CommitDelay::default(),
            awaited: 0,
            is_fenced: false,
            fenced_by: None,
        })
    }

    /// Whether nobody stores, and no member waits for it: the log's end is in the file, but for acknowledged buffered writes.
    pub(crate) fn is_quiet(&self) -> bool {
        self.turn.is_some() && self.group.members == 0
    }

    /// Whether a frame may go straight to its place in the file.
    pub(super) fn can_fill(&self) -> bool {
        self.turn.is_some() && self.group.frames.bytes.is_empty() && self.group.members == 0
    }

    /// Whether the gathered group takes a frame of `bytes`. An empty one takes any.
    pub(super) fn has_room(&self, bytes: usize, group_bytes_max: usize) -> bool {
        let gathered = self.group.frames.bytes.len();
        gathered == 0 || (gathered + bytes <= group_bytes_max && self.group.members < GROUP_MEMBERS_MAX)
    }

    /// What became of a group, as one of its members asks; `None` while it is not settled. A member asks until it hears.
    pub(super) fn outcome(&mut self, number: u64) -> Option<Result<(), DiskFull>> {
        if let Some(place) = self.failed.iter().position(|failed| failed.number == number) {
            self.failed[place].members -= 1;
            if self.failed[place].members == 0 {
                self.failed.swap_remove(place);
            }
            return Some(Err(DiskFull));
        }
        (number <= self.settled).then_some(Ok(()))
    }

    /// Takes the turn.
    ///
    /// # Panics
    ///
    /// If somebody has it.
    pub(super) fn take_turn(&mut self) -> Turn {
        self.turn.take().expect("whoever takes the turn has seen that it is free")
    }

    /// Takes the gathered group; the next one begins. The caller has the turn.
    pub(super) fn take_group(&mut self, turn: &mut Turn) -> Group {
        debug_assert!(self.turn.is_none());
        turn.spare.bytes.clear();
        let spare = std::mem::replace(&mut turn.spare, Frames::new(self.group.frames.charge.budget()));
        let next = Group {
            number: self.group.number + 1,
            begin: self.log.len(),
            frames: spare,
            acknowledged_bytes: 0,
            base: self.last_seqno,
            members: 0,
            wants_sync: false,
        };
        std::mem::replace(&mut self.group, next)
    }

    /// Gives the turn back after the group has reached the file.
    pub(super) fn settle(&mut self, mut turn: Turn, group: Group) {
        if group.wants_sync {
            self.log.note_synced(group.begin + group.frames.bytes.len() as u64);
        }
        self.settled = group.number;
        turn.spare = group.frames;
        turn.spare.shrink();
        self.turn = Some(turn);
    }

    /// Gives the turn back after the disk was found full: of the group only what was acknowledged is kept, to be stored
    /// later; its members, and those of the group that was gathered behind it, will hear of it.
    pub(super) fn fail(&mut self, mut turn: Turn, mut group: Group, is_member: bool) {
        let waiting = group.members - usize::from(is_member);
        for (number, members) in [(group.number, waiting), (self.group.number, self.group.members)] {
            if members > 0 {
                self.failed.push(FailedGroup { number, members });
            }
        }
        group.frames.bytes.truncate(group.acknowledged_bytes);
        self.log.retreat(group.begin + group.acknowledged_bytes as u64);
        self.last_seqno = group.base;
        self.settled = self.group.number;
        group.number = self.group.number + 1;
        (group.members, group.wants_sync) = (0, false);
        // The file was cut.
        turn.reserved_bytes = 0;
        turn.spare = std::mem::replace(&mut self.group, group).frames;
        turn.spare.shrink();
        self.turn = Some(turn);
    }
}

impl Recovered {
    fn new(logs: &[RecoveredLog], budget: &Budget) -> Result<Option<Self>, AllocError> {
        let logs: Vec<RecoveredLog> = logs.iter().copied().filter(|log| !log.is_synced()).collect();
        if logs.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { logs, _charge: budget.reserve(WINDOW_BYTES)? }))
    }
}

impl Group {
    /// Takes note that what is gathered so far is acknowledged before it is stored.
    pub(super) fn acknowledge(&mut self, last: SeqNo) {
        debug_assert_eq!(self.members, 0, "nothing is acknowledged behind what is not stored");
        self.acknowledged_bytes = self.frames.bytes.len();
        self.base = last;
    }
}

impl Frames {
    fn new(budget: &Budget) -> Self {
        Self { bytes: Vec::new(), charge: Reservation::empty(budget) }
    }

    /// Makes room for `more` bytes, and pays for it first.
    pub(super) fn reserve(&mut self, more: usize, group_bytes_max: usize) -> Result<(), AllocError> {
        let needed = self.bytes.len() + more;
        if needed <= self.bytes.capacity() {
            return Ok(());
        }
        let doubled = (2 * self.bytes.capacity()).min(group_bytes_max);
        let target = needed.max(doubled).max(GROUP_BYTES_KEPT);
        self.charge.resize(target)?;
        self.bytes.reserve_exact(target - self.bytes.len());
        Ok(())
    }

    /// Forgets the frames, and gives memory beyond what is kept back.
    fn shrink(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > GROUP_BYTES_KEPT {
            self.bytes.shrink_to(GROUP_BYTES_KEPT);
            self.charge.shrink_to(GROUP_BYTES_KEPT);
        }
    }
}
