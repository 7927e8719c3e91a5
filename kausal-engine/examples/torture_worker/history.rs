//! What each writer does, as a pure function: the oracle needs no copy of the data.
//!
//! 1. A writer's n-th operation is drawn from (writer, n, salt). It owns its keys, so what they hold after n operations
//!    depends on nobody else.
//! 2. A history is a list of segments, each with its salt: what a run wrote after what the run before it left. Operations
//!    that a crash took are not written again: the next segment has another salt.
//! 3. What a crash leaves of a writer must be the state after some n between its last safe acknowledgement and the
//!    operation after its last acknowledgement. That one number says all: nothing is lost, no batch is torn, there is no
//!    hole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use kausal_engine::sim::SimRandom;
use kausal_engine::{Durability, Error, WriteBatch};

/// How many writers there are.
pub(crate) const WRITERS: usize = 2;

/// Keys of each.
pub(crate) const KEYS: u32 = 600;

/// Longer values lie in blob files, under the smallest budget.
pub(crate) const INLINE_BYTES_MAX: u64 = 128 << 10;

/// Bytes of a value that name its version, if it has as many.
const IDENTITY_BYTES: usize = 16;

/// One value of one key, told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) counter: u64,
    salt: u64,
    len: u64,
}

/// One operation: changes that are one.
#[derive(Debug)]
pub(crate) struct Op {
    /// Each key once.
    pub(crate) changes: BTreeMap<u32, Option<Version>>,
    /// Whether it deletes all keys from its first to its last at once.
    pub(crate) is_range: bool,
    pub(crate) durability: Durability,
}

/// What a writer's keys hold.
pub(crate) type State = BTreeMap<u32, Version>;

/// What one writer did and may have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// What the last audit found: so many operations count.
    pub(crate) recovered: u64,
    /// First operation and salt of each run, in order.
    segments: Vec<(u64, u64)>,
}

fn mix(words: [u64; 3]) -> u64 {
    words.iter().fold(0, |hash, &word| SimRandom::new(hash ^ word).next())
}

impl Op {
    /// The operation `counter` of `writer` in a run with `salt`.
    fn draw(writer: usize, counter: u64, salt: u64) -> Self {
        let random = SimRandom::new(mix([writer as u64, counter, salt]));
        let durability = match random.below(20) {
            0 => Durability::Buffered,
            1..=11 => Durability::Process,
            _ => Durability::Power,
        };
        if random.below(40) == 0 {
            let start = random.below(u64::from(KEYS)) as u32;
            let end = (start + 1 + random.below(20) as u32).min(KEYS);
            let changes = (start..end).map(|key| (key, None)).collect();
            return Self { changes, is_range: true, durability };
        }
        let count = if random.below(4) == 0 { 2 + random.below(7) } else { 1 };
        let mut changes = BTreeMap::new();
        for _ in 0..count {
            let key = random.below(u64::from(KEYS)) as u32;
            let len = draw_len(&random);
            let version = Version { counter, salt, len };
            changes.insert(key, (random.below(6) > 0).then_some(version));
        }
        Self { changes, is_range: false, durability }
    }

    /// As the engine takes it.
    pub(crate) fn to_batch(&self, writer: usize) -> Result<WriteBatch, Error> {
        let mut batch = WriteBatch::new();
        if self.is_range
            && let (Some((&first, _)), Some((&last, _))) =
                (self.changes.first_key_value(), self.changes.last_key_value())
        {
            batch.delete_range(&key_bytes(writer, first), &key_bytes(writer, last + 1))?;
            return Ok(batch);
        }
        for (&key, version) in &self.changes {
            match version {
                Some(version) => batch.put(&key_bytes(writer, key), &version.value(writer, key))?,
                None => batch.delete(&key_bytes(writer, key))?,
            }
        }
        Ok(batch)
    }

    /// Whether it writes a blob file.
    pub(crate) fn has_blob(&self) -> bool {
        self.changes.values().flatten().any(|version| version.len > INLINE_BYTES_MAX)
    }

    /// Does to `state` what it does to the database.
    pub(crate) fn apply(&self, state: &mut State) {
        for (&key, version) in &self.changes {
            match version {
                Some(version) => state.insert(key, *version),
                None => state.remove(&key),
            };
        }
    }
}

/// From nothing to a blob, mostly small.
fn draw_len(random: &SimRandom) -> u64 {
    match random.below(200) {
        0..20 => random.below(9),
        20..120 => 8 + random.below(192),
        120..176 => 200 + random.below(3_900),
        176..194 => 4_096 + random.below(56_000),
        194..198 => 60_000 + random.below(INLINE_BYTES_MAX - 60_000 + 1),
        _ => INLINE_BYTES_MAX + 1 + random.below(270_000),
    }
}

/// The key `number` of `writer`: in order of the numbers, of several lengths.
pub(crate) fn key_bytes(writer: usize, number: u32) -> Vec<u8> {
    let tail = if number.is_multiple_of(7) { "/with a longer name than most others have" } else { "" };
    format!("{writer}/{number:05}{tail}").into_bytes()
}

impl Version {
    /// The bytes of this version of `key`.
    pub(crate) fn value(self, writer: usize, key: u32) -> Vec<u8> {
        let len = self.len as usize;
        let mut value = Vec::with_capacity(len + 8);
        value.extend_from_slice(&self.counter.to_le_bytes());
        value.extend_from_slice(&self.salt.to_le_bytes());
        let words = SimRandom::new(mix([self.counter, self.salt, (writer as u64) << 32 | u64::from(key)]));
        if len < IDENTITY_BYTES {
            // Too short to name itself: its bytes are drawn.
            value.clear();
        }
        while value.len() < len {
            value.extend_from_slice(&words.next().to_le_bytes());
        }
        value.truncate(len);
        value
    }

    /// Whether `value` can be this version, by its length and what it says of itself.
    fn may_be(self, value: &[u8], writer: usize, key: u32) -> bool {
        if value.len() as u64 != self.len {
            return false;
        }
        match value.first_chunk::<IDENTITY_BYTES>() {
            Some(identity) => {
                identity[..8] == self.counter.to_le_bytes() && identity[8..] == self.salt.to_le_bytes()
            }
            None => value == self.value(writer, key),
        }
    }
}

impl History {
    /// The operation `counter`, of whichever run it is.
    pub(crate) fn op(&self, writer: usize, counter: u64) -> Op {
        let segment = self.segments.iter().rev().find(|(first, _)| *first <= counter);
        Op::draw(writer, counter, segment.map_or(0, |(_, salt)| *salt))
    }

    /// The state after the first `count` operations.
    pub(crate) fn state(&self, writer: usize, count: u64) -> State {
        let mut state = State::new();
        (1..=count).for_each(|counter| self.op(writer, counter).apply(&mut state));
        state
    }

    /// Begins a run after what was recovered.
    pub(crate) fn begin(&mut self, salt: u64) {
        self.segments.retain(|(first, _)| *first <= self.recovered);
        self.segments.push((self.recovered + 1, salt));
    }

    /// Compares what was found with every state between `floor` and `ceiling` operations.
    pub(crate) fn judge(&self, writer: usize, floor: u64, ceiling: u64, found: &Found) -> Judgement {
        let mut state = self.state(writer, floor);
        let floor_state = state.clone();
        let is = |key: u32, version: Option<&Version>| match (found.get(&key), version) {
            (None, None) => true,
            (Some(value), Some(version)) => version.may_be(value, writer, key),
            _ => false,
        };
        let mut differing: Vec<bool> = (0..KEYS).map(|key| !is(key, state.get(&key))).collect();
        let mut allowed = differing.iter().map(|differs| !differs).collect::<Vec<_>>();
        let mut matching = (!differing.contains(&true)).then_some(floor);
        for counter in floor + 1..=ceiling {
            let op = self.op(writer, counter);
            op.apply(&mut state);
            for &key in op.changes.keys() {
                let same = is(key, state.get(&key));
                differing[key as usize] = !same;
                allowed[key as usize] |= same;
            }
            if !differing.contains(&true) {
                matching = Some(counter);
            }
        }
        match matching {
            Some(count) => self.judge_bytes(writer, count, found),
            None => self.explain(writer, floor, &allowed, &floor_state, found),
        }
    }

    /// The versions are right: now their bytes.
    fn judge_bytes(&self, writer: usize, count: u64, found: &Found) -> Judgement {
        let mut judgement = Judgement { recovered: Some(count), ..Judgement::default() };
        for (&key, version) in &self.state(writer, count) {
            if found.get(&key).is_none_or(|value| *value != version.value(writer, key)) {
                judgement.wrong += 1;
                let _ = write!(judgement.what, "writer {writer} key {key}: other bytes than {version:?}; ");
            }
        }
        judgement
    }

    fn explain(
        &self,
        writer: usize,
        floor: u64,
        allowed: &[bool],
        floor_state: &State,
        found: &Found,
    ) -> Judgement {
        let mut judgement = Judgement::default();
        let bad = (0..KEYS).filter(|&key| !allowed[key as usize]);
        for key in bad {
            let ever = |value: &Vec<u8>| {
                (1..=floor).any(|counter| match self.op(writer, counter).changes.get(&key) {
                    Some(Some(version)) => version.may_be(value, writer, key),
                    _ => false,
                })
            };
            let is_old = found.get(&key).is_none_or(ever);
            if is_old {
                judgement.lost += 1;
            } else {
                judgement.wrong += 1;
            }
            if judgement.lost + judgement.wrong <= 5 {
                let (kind, found) =
                    (if is_old { "lost" } else { "wrong" }, found.get(&key).map(|value| value.len()));
                let expected = floor_state.get(&key);
                let _ = write!(
                    judgement.what,
                    "writer {writer} key {key} {kind}: {found:?} bytes, {expected:?} expected; "
                );
            }
        }
        if judgement.lost + judgement.wrong == 0 {
            judgement.torn = 1;
            let _ =
                write!(judgement.what, "writer {writer}: each key is right, no number of operations is; ");
        }
        judgement
    }
}

/// What was read of one writer's keys.
pub(crate) type Found = BTreeMap<u32, Vec<u8>>;

/// What a comparison says of one writer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// So many operations are there, if there is such a number.
    pub(crate) recovered: Option<u64>,
    /// Keys older than the last safe acknowledgement.
    pub(crate) lost: u64,
    /// Keys with bytes that nobody wrote.
    pub(crate) wrong: u64,
    /// Half batches, or holes.
    pub(crate) torn: u64,
    /// The first of them.
    pub(crate) what: String,
}

/// Reads the histories of all writers; empty ones if there is no file.
pub(crate) fn read(path: &Path) -> io::Result<[History; WRITERS]> {
    let mut histories: [History; WRITERS] = Default::default();
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(histories),
        text => text?,
    };
    for line in text.lines() {
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        match (line.split(' ').next(), numbers[..].first_chunk()) {
            (Some("recovered"), Some(&[writer, count])) => histories[writer as usize].recovered = count,
            (Some("segment"), Some(&[writer, first])) => {
                histories[writer as usize].segments.push((first, numbers[2]));
            }
            _ => return Err(io::Error::other(format!("no line of a history: {line}"))),
        }
    }
    Ok(histories)
}

/// Writes them: a kill leaves the old ones or the new ones.
pub(crate) fn write(path: &Path, histories: &[History; WRITERS]) -> io::Result<()> {
    let mut text = String::new();
    for (writer, history) in histories.iter().enumerate() {
        let _ = writeln!(text, "recovered {writer} {}", history.recovered);
        for (first, salt) in &history.segments {
            let _ = writeln!(text, "segment {writer} {first} {salt}");
        }
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}
