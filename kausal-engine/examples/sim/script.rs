//! Scripts: what a seed does to a database.
//!
//! An operation is data, so a script can be printed, cut down and run again. It names keys and values by numbers; slots
//! of snapshots and cursors are taken modulo what is open, so that any part of a script is a script.

use std::fmt;

use kausal_engine::Durability;
use kausal_engine::sim::{Fault, SimRandom};

/// Number of keys of the default keyspace. They come in four groups that share a prefix.
const KEY_COUNT: u8 = 32;

/// Number of keys of the other keyspace.
const OTHER_KEY_COUNT: u8 = 8;

/// The first of the keys that say which of two batches of a group came later; they are of the default keyspace.
const FIRST_PAIR: u8 = KEY_COUNT + OTHER_KEY_COUNT;

/// Batches that are written together at most.
const MEMBERS_MAX: u8 = 5;

/// The name of the other keyspace, which comes and goes.
pub(crate) const OTHER: &str = "other";

/// What makes a batch fail on its way to the log.
const FAULTS_OF_WRITES: [Fault; 4] =
    [Fault::WriteError, Fault::NoSpace, Fault::SyncErrorLost, Fault::SyncErrorKept];

/// Longer than a value that lies beside its key in the smallest database.
const BLOB_BYTES: u32 = 140_000;

/// A key, by number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) u8);

impl Key {
    pub(crate) fn bytes(self) -> Vec<u8> {
        format!("{}/{:02}", char::from(b'a' + self.0 / 8), self.0 % 8).into_bytes()
    }

    /// Whether it is of the other keyspace.
    pub(crate) fn is_other(self) -> bool {
        (KEY_COUNT..FIRST_PAIR).contains(&self.0)
    }

    /// The key that two members of a group both write: its value says which of them came later.
    pub(crate) fn of_pair(one: usize, other: usize) -> Self {
        let (lower, upper) = (one.min(other) as u8, one.max(other) as u8);
        Self(FIRST_PAIR + lower * MEMBERS_MAX + upper)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", String::from_utf8_lossy(&self.bytes()))
    }
}

/// A value: no two of a script have the same bytes, unless they have none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    id: u32,
    len: u32,
}

impl Value {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut word = u64::from(self.id) << 32 | 0x9E37_79B9;
        let mut bytes = Vec::with_capacity(self.len as usize + 8);
        while bytes.len() < self.len as usize {
            bytes.extend_from_slice(&word.to_le_bytes());
            word = word.wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(17) ^ u64::from(self.id);
        }
        bytes.truncate(self.len as usize);
        bytes
    }

    fn shorten(&mut self) {
        // A blob stays one: that is what matters about it.
        self.len = if self.len >= BLOB_BYTES { BLOB_BYTES } else { self.len.min(4) };
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "#{}x{}", self.id, self.len)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Key, Value),
    Delete(Key),
    /// From one key to before another of the same keyspace.
    DeleteRange(Key, Key),
    /// Not of a batch: the other keyspace is dropped.
    DropOther,
}

impl Member {
    /// Shortens values that are not told apart.
    fn shorten(&mut self) {
        for change in &mut self.changes {
            if let Change::Put(_, value) = change
                && value.len >= BLOB_BYTES
            {
                value.shorten();
            }
        }
    }
}

/// Which keys a cursor walks over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Span {
    All,
    /// The keys of a group.
    Group(u8),
    /// From one key to another, each with or without.
    Between((Key, bool), (Key, bool)),
    /// All keys of the other keyspace.
    Other,
}

/// What a batch requires a key to have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// What it had before any of the group.
    AsBefore,
    Value(Value),
    Nothing,
}

/// One of several batches that are written at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) required: Vec<(Key, Expected)>,
    /// The last ones tell its place among the others: [`Key::of_pair`].
    pub(crate) changes: Vec<Change>,
    pub(crate) durability: Durability,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(Vec<Change>, Durability),
    /// Batches of as many threads.
    Together(Vec<Member>),
    PutReader(Key, Value, Durability),
    /// Puts whose keys ascend, straight into tables.
    Ingest(Vec<Change>),
    /// Compare and swap: with the value the key has, or with another.
    Swap(Key, bool, Option<Value>),
    DropOther,
    Checkpoint,
    ReadOnly,
    Get(Key),
    GetReader(Key),
    GetInto(Key),
    GetPinned(Key),
    MultiGet(Vec<Key>),
    /// Look-ups and a scan of one request.
    Request(Vec<Key>, Span, usize),
    ReadAll,
    Snapshot,
    DropSnapshot(u8),
    GetAt(u8, Key),
    ReadAllAt(u8),
    /// A cursor over a span, at a snapshot or at the present.
    Cursor(Span, Option<u8>),
    Seek(u8, Key, bool),
    SeekEdge(u8, bool),
    Step(u8, u8, bool),
    DropCursor(u8),
    Sync,
    Flush,
    Compact,
    Reopen,
    RunJob,
    Jump(u64),
    Inject(Fault, u64),
    LimitSpace(u64, u64),
}

/// What is special about a seed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flavour {
    /// Values so large that memtables fill up.
    pub(crate) is_large: bool,
    /// Faults at chosen calls.
    pub(crate) has_faults: bool,
    /// One call in so many fails; 0 is none.
    pub(crate) fault_odds: u64,
    /// Disks that are full for a while.
    pub(crate) has_limits: bool,
    /// Writes that say they succeeded and did not.
    pub(crate) has_lies: bool,
    /// Batches of several threads at a time.
    pub(crate) has_groups: bool,
}

impl Flavour {
    pub(crate) fn of(seed: u64) -> Self {
        let mut flavour = Self::default();
        match seed % 10 {
            5 => flavour.is_large = true,
            6 => flavour.has_faults = true,
            7 => flavour.has_limits = true,
            8 => flavour.fault_odds = 40 + seed % 7 * 20,
            9 => flavour.has_lies = true,
            _ => {}
        }
        // Now and then both.
        if seed % 50 >= 40 && seed % 10 > 5 {
            flavour.is_large = true;
        }
        flavour.has_groups = flavour.is_sound() || seed / 10 % 2 == 1;
        flavour
    }

    /// Whether no call fails.
    pub(crate) fn is_sound(self) -> bool {
        !self.has_faults && !self.has_limits && !self.has_lies && self.fault_odds == 0
    }
}

/// The operations of one seed, or a part of them.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) flavour: Flavour,
    pub(crate) ops: Vec<Op>,
    /// The places of `ops` in the whole script.
    pub(crate) places: Vec<usize>,
    pub(crate) is_short: bool,
}

impl Script {
    pub(crate) fn of(seed: u64) -> Self {
        let flavour = Flavour::of(seed);
        let mut writer = Writer { random: SimRandom::new(seed), flavour, next_value: 1 };
        let count = if flavour.is_large { 40 } else { 80 };
        let ops: Vec<Op> = (0..count).flat_map(|_| writer.ops()).collect();
        let places = (0..ops.len()).collect();
        Self { seed, flavour, ops, places, is_short: false }
    }

    /// The same with only the operations at these places of the whole script.
    pub(crate) fn keep(&self, places: &[usize]) -> Self {
        let kept = self.places.iter().zip(&self.ops).filter(|(place, _)| places.contains(place));
        let (places, ops) = kept.map(|(&place, op)| (place, op.clone())).unzip();
        Self { ops, places, ..*self }
    }

    /// The same with values that are as short as they can be.
    pub(crate) fn shorten(&self) -> Self {
        let mut script = self.clone();
        script.is_short = true;
        for op in &mut script.ops {
            match op {
                Op::Write(changes, _) | Op::Ingest(changes) => changes.iter_mut().for_each(|change| {
                    if let Change::Put(_, value) = change {
                        value.shorten();
                    }
                }),
                Op::Together(members) => members.iter_mut().for_each(Member::shorten),
                Op::PutReader(_, value, _) | Op::Swap(_, _, Some(value)) => value.shorten(),
                _ => {}
            }
        }
        script
    }

    /// The command that runs this script again.
    pub(crate) fn command(&self) -> String {
        let mut command = format!("cargo xtask sim --seed {} --seeds 1", self.seed);
        if self.places.len() < Self::of(self.seed).places.len() {
            let places: Vec<String> = self.places.iter().map(usize::to_string).collect();
            let places = if places.is_empty() { "none".into() } else { places.join(",") };
            command.push_str(&format!(" --keep {places}"));
        }
        if self.is_short {
            command.push_str(" --short");
        }
        command
    }
}

impl fmt::Display for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "seed {}, {:?}", self.seed, self.flavour)?;
        self.places.iter().zip(&self.ops).try_for_each(|(place, op)| writeln!(out, "  {place:>3}  {op:?}"))
    }
}

/// Draws operations.
struct Writer {
    random: SimRandom,
    flavour: Flavour,
    next_value: u32,
}

impl Writer {
    fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// A key of the default keyspace.
    fn key(&self) -> Key {
        Key(self.below(u64::from(KEY_COUNT)) as u8)
    }

    fn any_key(&self) -> Key {
        Key(self.below(u64::from(KEY_COUNT + OTHER_KEY_COUNT)) as u8)
    }

    fn slot(&self) -> u8 {
        self.below(3) as u8
    }

    fn flag(&self) -> bool {
        self.below(2) == 0
    }

    fn value(&mut self) -> Value {
        self.next_value += 1;
        let len = match self.below(60) {
            0 => u64::from(BLOB_BYTES) + self.below(100),
            _ if self.flavour.is_large => 100_000 + self.below(20_000),
            1..4 => 2_000 + self.below(4_000),
            _ => self.below(200),
        };
        Value { id: self.next_value, len: len as u32 }
    }

    fn change(&mut self) -> Change {
        match self.below(12) {
            0 => {
                let start = self.below(u64::from(KEY_COUNT - 1)) as u8;
                let end = start + 1 + self.below(10.min(u64::from(KEY_COUNT - 1 - start))) as u8;
                Change::DeleteRange(Key(start), Key(end))
            }
            1..=3 => Change::Delete(self.any_key()),
            _ => Change::Put(self.any_key(), self.value()),
        }
    }

    fn durability(&self) -> Durability {
        match self.below(4) {
            0 => Durability::Power,
            1 => Durability::Buffered,
            _ => Durability::Process,
        }
    }

    fn span(&self) -> Span {
        match self.below(5) {
            0 => Span::All,
            4 => Span::Other,
            1 => Span::Group(self.below(4) as u8),
            _ => {
                let (one, other) = (self.key(), self.key());
                let (lower, upper) = if one.0 <= other.0 { (one, other) } else { (other, one) };
                Span::Between((lower, self.flag()), (upper, self.flag()))
            }
        }
    }

    /// An operation; if it prepares a mishap, most often one for batches of several threads that follow.
    fn ops(&mut self) -> impl Iterator<Item = Op> + use<> {
        let mut op = self.op();
        let is_mishap = matches!(op, Op::Inject(..) | Op::LimitSpace(..));
        let meets = is_mishap && self.flavour.has_groups && self.below(4) > 0;
        if meets && self.flavour.has_faults {
            let fault = FAULTS_OF_WRITES[self.below(FAULTS_OF_WRITES.len() as u64) as usize];
            op = Op::Inject(fault, self.below(3));
        }
        let together = meets.then(|| self.together());
        std::iter::once(op).chain(together)
    }

    fn op(&mut self) -> Op {
        // Memtables fill up only if they are left alone.
        let is_left_alone = self.flavour.is_large && self.below(3) == 0;
        match if is_left_alone { 30 } else { self.below(100) } {
            0..28 => Op::Write(vec![self.change()], self.durability()),
            28..36 => {
                let count = 2 + self.below(5);
                Op::Write((0..count).map(|_| self.change()).collect(), self.durability())
            }
            36..38 => Op::PutReader(self.any_key(), self.value(), self.durability()),
            38..41 => Op::Swap(self.any_key(), self.below(3) > 0, self.flag().then(|| self.value())),
            41..47 => self.read(),
            47..61 => self.moment(),
            61 => Op::Sync,
            62 => self.rarity(),
            63 => Op::Checkpoint,
            64..71 => Op::Flush,
            71..76 => Op::Compact,
            76..81 => Op::Reopen,
            81..90 => Op::RunJob,
            90 => Op::Jump(1 + self.below(100_000)),
            91 => self.ingest(),
            92..95 if self.flavour.has_groups => self.together(),
            _ => self.mishap(),
        }
    }

    /// Every key from one on, every second, or every third.
    fn ingest(&mut self) -> Op {
        let (first, step) = (self.key().0, 1 + self.below(3) as usize);
        let count = 1 + self.below(12) as usize;
        let keys = (first..KEY_COUNT).step_by(step).take(count);
        Op::Ingest(keys.map(|key| Change::Put(Key(key), self.value())).collect())
    }

    /// Batches of several threads, some of which require what others write.
    fn together(&mut self) -> Op {
        let count = 3 + self.below(u64::from(MEMBERS_MAX) - 2) as usize;
        let mut members: Vec<Member> = Vec::new();
        for me in 0..count {
            let required = (0..self.below(3).saturating_sub(1)).map(|_| self.required(&members)).collect();
            let mut changes: Vec<Change> = (0..1 + self.below(2)).map(|_| self.own_change()).collect();
            for other in (0..count).filter(|&other| other != me) {
                self.next_value += 1;
                changes.push(Change::Put(Key::of_pair(me, other), Value { id: self.next_value, len: 12 }));
            }
            members.push(Member { required, changes, durability: self.durability() });
        }
        Op::Together(members)
    }

    /// A change of the default keyspace.
    fn own_change(&mut self) -> Change {
        loop {
            match self.change() {
                Change::Put(key, _) | Change::Delete(key) if key.is_other() => {}
                change => return change,
            }
        }
    }

    fn required(&self, earlier: &[Member]) -> (Key, Expected) {
        let changes: Vec<Change> = earlier.iter().flat_map(|member| member.changes.clone()).collect();
        let place = self.below(changes.len().max(1) as u64) as usize;
        match (changes.get(place), self.below(4)) {
            (Some(&Change::Put(key, value)), 0 | 1) => (key, Expected::Value(value)),
            (Some(&(Change::Put(key, _) | Change::Delete(key))), 2) => (key, Expected::AsBefore),
            (_, 3) => (self.key(), Expected::Nothing),
            _ => (self.key(), Expected::AsBefore),
        }
    }

    fn rarity(&mut self) -> Op {
        if self.flag() { Op::DropOther } else { Op::ReadOnly }
    }

    fn read(&mut self) -> Op {
        match self.below(8) {
            5 => Op::GetInto(self.key()),
            6 => Op::GetPinned(self.key()),
            7 => Op::MultiGet((0..1 + self.below(5)).map(|_| self.key()).collect()),
            0 => Op::GetReader(self.any_key()),
            1 => {
                let keys = (0..1 + self.below(3)).map(|_| self.key()).collect();
                Op::Request(keys, self.span(), self.below(20) as usize)
            }
            2 => Op::ReadAll,
            _ => Op::Get(self.any_key()),
        }
    }

    /// Something about snapshots and cursors.
    fn moment(&mut self) -> Op {
        match self.below(16) {
            0..3 => Op::Snapshot,
            3 => Op::DropSnapshot(self.slot()),
            4 | 5 => Op::GetAt(self.slot(), self.any_key()),
            6 | 7 => Op::ReadAllAt(self.slot()),
            8 | 9 => Op::Cursor(self.span(), self.flag().then(|| self.slot())),
            10 => Op::Seek(self.slot(), self.key(), self.flag()),
            11 => Op::SeekEdge(self.slot(), self.flag()),
            12..15 => Op::Step(self.slot(), 1 + self.below(6) as u8, self.flag()),
            _ => Op::DropCursor(self.slot()),
        }
    }

    fn mishap(&mut self) -> Op {
        let flavour = self.flavour;
        if flavour.has_faults {
            let harmless = Fault::ALL.len() as u64 - 1;
            let fault = Fault::ALL.into_iter().filter(|&fault| fault != Fault::LyingWrite);
            let fault = fault.clone().nth(self.below(harmless) as usize).unwrap_or(Fault::ReadError);
            return Op::Inject(fault, self.below(12));
        }
        if flavour.has_limits {
            return Op::LimitSpace(self.below(6_000), 1 + self.below(12));
        }
        if flavour.has_lies && self.below(3) == 0 {
            return Op::Inject(Fault::LyingWrite, self.below(8));
        }
        if flavour.has_groups && !flavour.is_sound() {
            return self.together();
        }
        Op::Get(self.key())
    }
}
