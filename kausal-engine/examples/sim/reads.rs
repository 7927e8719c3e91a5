//! Reads in all their forms, each compared with a state of the model.

use std::io::Read;
use std::ops::Bound;
use std::sync::Arc;

use kausal_engine::{
    Cursor, Durability, Error, KeyRange, Keyspace, KeyspaceId, Snapshot, StorageEngine, WriteBatch,
    WriteOptions,
};

use crate::machine::Outcome;
use crate::model::{State, digest, name};
use crate::script::{Change, Key, OTHER, Op, Span};

/// The outer error is a violation, the inner one what the engine answered.
type Compared = Outcome<Result<(), Error>>;

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// The same with the keyspace of the key.
type NamedPair = ((bool, Vec<u8>), Vec<u8>);

/// The message with those of its sources.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// The keyspace of a key, created if it is not there.
fn home(engine: &StorageEngine, key: Key) -> Result<KeyspaceId, Error> {
    if key.is_other() { Ok(engine.create_keyspace(OTHER)?.id()) } else { Ok(KeyspaceId::DEFAULT) }
}

pub(crate) fn put_reader(
    engine: &StorageEngine,
    key: Key,
    bytes: &[u8],
    durability: Durability,
) -> Result<(), Error> {
    let (mut source, options) = (bytes, WriteOptions::durable(durability));
    if key.is_other() {
        let keyspace = engine.create_keyspace(OTHER)?;
        return keyspace.put_reader(&key.bytes(), &mut source, bytes.len() as u64, options);
    }
    engine.put_reader(&key.bytes(), &mut source, bytes.len() as u64, options)
}

pub(crate) fn swap(
    engine: &StorageEngine,
    key: Key,
    expected: Option<&[u8]>,
    new: Option<&[u8]>,
) -> Result<bool, Error> {
    if key.is_other() {
        return engine.create_keyspace(OTHER)?.compare_and_swap(&key.bytes(), expected, new);
    }
    engine.compare_and_swap(&key.bytes(), expected, new)
}

/// The value of a key, now or at a snapshot.
pub(crate) fn look_up(
    engine: &StorageEngine,
    snapshot: Option<&Snapshot>,
    key: Key,
) -> Result<Option<Vec<u8>>, Error> {
    let bytes = key.bytes();
    match (key.is_other(), snapshot) {
        (false, None) => engine.get(&bytes),
        (false, Some(snapshot)) => engine.get_at(snapshot, &bytes),
        (true, _) => {
            let Some(keyspace) = engine.keyspace(OTHER) else { return Ok(None) };
            snapshot.map_or_else(|| keyspace.get(&bytes), |snapshot| keyspace.get_at(snapshot, &bytes))
        }
    }
}

pub(crate) fn write(engine: &StorageEngine, changes: &[Change], durability: Durability) -> Result<(), Error> {
    engine.write(&batch(engine, changes)?, WriteOptions::durable(durability))
}

pub(crate) fn ingest(engine: &StorageEngine, changes: &[Change]) -> Result<u64, Error> {
    engine.ingest(|entries| {
        for change in changes {
            if let Change::Put(key, value) = change {
                entries.put(&key.bytes(), &value.bytes())?;
            }
        }
        Ok(())
    })
}

/// The changes as a batch.
pub(crate) fn batch(engine: &StorageEngine, changes: &[Change]) -> Result<WriteBatch, Error> {
    let mut batch = WriteBatch::new();
    for change in changes {
        match change {
            Change::Put(key, value) => batch.put_in(home(engine, *key)?, &key.bytes(), &value.bytes())?,
            Change::Delete(key) => batch.delete_in(home(engine, *key)?, &key.bytes())?,
            Change::DeleteRange(start, end) => batch.delete_range(&start.bytes(), &end.bytes())?,
            Change::DropOther => {}
        }
    }
    Ok(batch)
}

/// The engine's error inside one of reading.
fn read_error(error: std::io::Error) -> Error {
    error.downcast::<Error>().unwrap_or(Error::ReadOnly)
}

pub(crate) fn read_whole(engine: &StorageEngine, key: Key) -> Result<Option<Vec<u8>>, Error> {
    let reader = if key.is_other() {
        let Some(keyspace) = engine.keyspace(OTHER) else { return Ok(None) };
        keyspace.get_reader(&key.bytes())?
    } else {
        engine.get_reader(&key.bytes())?
    };
    let Some(mut reader) = reader else { return Ok(None) };
    let mut value = Vec::new();
    reader.read_to_end(&mut value).map_err(read_error)?;
    Ok(Some(value))
}

pub(crate) fn get(answer: Result<Option<Vec<u8>>, Error>, state: &State, key: Key) -> Compared {
    let found = match answer {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let expected = state.get(&name(key));
    if found.as_deref() == expected.map(|value| &**value) {
        return Ok(Ok(()));
    }
    let lens = (found.map(|value| value.len()), expected.map(|value| value.len()));
    Err(format!("{key:?}: found {:?} bytes, expected {:?}", lens.0, lens.1))
}

/// Several look-ups at once.
pub(crate) fn many(engine: &StorageEngine, state: &State, keys: &[Key]) -> Compared {
    let names: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes()).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let found = match engine.multi_get(&names) {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    for (&key, value) in keys.iter().zip(found) {
        get(Ok(value), state, key)?.expect("an answer was given");
    }
    Ok(Ok(()))
}

fn value_at(cursor: &Cursor) -> Result<Vec<u8>, Error> {
    if let Some(value) = cursor.value() {
        return Ok(value.to_vec());
    }
    let mut value = Vec::new();
    cursor.value_reader()?.read_to_end(&mut value).map_err(read_error)?;
    Ok(value)
}

fn pairs(cursor: &mut Cursor, backward: bool) -> Result<Vec<Pair>, Error> {
    let mut pairs = Vec::new();
    let mut more = if backward { cursor.seek_to_last()? } else { cursor.seek_to_first()? };
    while more {
        pairs.push((cursor.key().unwrap_or_default().to_vec(), value_at(cursor)?));
        more = if backward { cursor.prev()? } else { cursor.next()? };
    }
    Ok(pairs)
}

/// Every key and value of both keyspaces, in order.
fn everything(
    engine: &StorageEngine,
    snapshot: Option<&Snapshot>,
    backward: bool,
) -> Result<Vec<NamedPair>, Error> {
    let mut found = Vec::new();
    for (is_other, span) in [(false, Span::All), (true, Span::Other)] {
        let Some(mut cursor) = cursor(engine, snapshot, span)? else { continue };
        let mut pairs = pairs(&mut cursor, backward)?;
        if backward {
            pairs.reverse();
        }
        found.extend(pairs.into_iter().map(|(key, value)| ((is_other, key), value)));
    }
    Ok(found)
}

/// Every key and value of the database, as one number.
pub(crate) fn digest_all(engine: &StorageEngine) -> Result<u64, Error> {
    let found = everything(engine, None, false)?;
    Ok(digest(found.iter().map(|((is_other, key), value)| (*is_other, key.as_slice(), value.as_slice()))))
}

/// Every key and value, in both directions.
pub(crate) fn all(engine: &StorageEngine, snapshot: Option<&Snapshot>, state: &State) -> Compared {
    for backward in [false, true] {
        let found = match everything(engine, snapshot, backward) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let same = found.len() == state.len()
            && found.iter().zip(state).all(|(found, (key, value))| found.0 == *key && found.1 == **value);
        if !same {
            let keys = found.iter().map(|((_, key), _)| String::from_utf8_lossy(key).into_owned());
            return Err(format!(
                "a walk {} shows {} keys, expected {}: {:?}",
                if backward { "backward" } else { "forward" },
                found.len(),
                state.len(),
                keys.collect::<Vec<_>>()
            ));
        }
    }
    Ok(Ok(()))
}

/// A cursor over the span; `None` if the other keyspace is not there.
fn cursor<'e>(
    engine: &'e StorageEngine,
    snapshot: Option<&Snapshot>,
    span: Span,
) -> Result<Option<Cursor>, Error> {
    let keyspace: Option<Keyspace<'e>> = match span {
        Span::Other => engine.keyspace(OTHER),
        _ => Some(engine.default_keyspace()),
    };
    let Some(keyspace) = keyspace else { return Ok(None) };
    let cursor = match snapshot {
        Some(snapshot) => keyspace.cursor_at(snapshot, range(span)),
        None => keyspace.cursor(range(span)),
    };
    cursor.map(Some)
}

fn range(span: Span) -> KeyRange {
    let bound = |(key, is_in): (Key, bool)| {
        if is_in { Bound::Included(key.bytes()) } else { Bound::Excluded(key.bytes()) }
    };
    match span {
        Span::All | Span::Other => KeyRange::all(),
        Span::Group(group) => KeyRange::prefix(&[b'a' + group]),
        Span::Between(lower, upper) => KeyRange { lower: bound(lower), upper: bound(upper) },
    }
}

/// The keys of `state` in the span.
fn keys_in(state: &State, span: Span) -> Vec<Vec<u8>> {
    let range = range(span);
    let is_in = |key: &&Vec<u8>| {
        let above = match &range.lower {
            Bound::Included(lower) => *key >= lower,
            Bound::Excluded(lower) => *key > lower,
            Bound::Unbounded => true,
        };
        let below = match &range.upper {
            Bound::Included(upper) => *key <= upper,
            Bound::Excluded(upper) => *key < upper,
            Bound::Unbounded => true,
        };
        above && below
    };
    let of_keyspace = state.keys().filter(|(is_other, _)| *is_other == matches!(span, Span::Other));
    of_keyspace.map(|(_, key)| key).filter(is_in).cloned().collect()
}

/// Look-ups and a scan of one request.
pub(crate) fn request(
    engine: &StorageEngine,
    state: &State,
    keys: &[Key],
    span: Span,
    limit: usize,
) -> Compared {
    let request = match engine.request() {
        Ok(request) => request,
        Err(error) => return Ok(Err(error)),
    };
    for &key in keys {
        let found = match request.get(&key.bytes()) {
            Ok(found) => found.map(<[u8]>::to_vec),
            // A value that does not fit into what is left of the request's arena.
            Err(Error::MemoryBudget(_))
                if state.get(&name(key)).is_some_and(|value| value.len() > request.bytes_left()) =>
            {
                continue;
            }
            Err(error) => return Ok(Err(error)),
        };
        get(Ok(found), state, key)?.expect("an answer was given");
    }
    // A request reads the default keyspace.
    let span = if matches!(span, Span::Other) { Span::All } else { span };
    let expected = keys_in(state, span);
    let room = request.bytes_left();
    let page = match request.scan(range(span), limit) {
        Ok(page) => page,
        Err(Error::MemoryBudget(_))
            if expected.first().is_some_and(|key| key.len() + state[&(false, key.clone())].len() > room) =>
        {
            return Ok(Ok(()));
        }
        Err(error) => return Ok(Err(error)),
    };
    let same = page
        .pairs
        .iter()
        .zip(&expected)
        .all(|((key, value), expected)| key == expected && **value == *state[&(false, expected.clone())]);
    let rest = expected.len().checked_sub(page.pairs.len());
    if !same || rest.is_none() || page.has_more != (rest > Some(0)) {
        return Err(format!("a scan shows {} pairs of {}", page.pairs.len(), expected.len()));
    }
    Ok(Ok(()))
}

/// A cursor and where it should stand.
pub(crate) struct Walk {
    cursor: Cursor,
    state: Arc<State>,
    keys: Vec<Vec<u8>>,
    is_other: bool,
    place: Option<usize>,
}

impl Walk {
    pub(crate) fn begin(
        engine: &StorageEngine,
        snapshot: Option<&Snapshot>,
        state: &Arc<State>,
        span: Span,
    ) -> Result<Option<Self>, Error> {
        let is_other = matches!(span, Span::Other);
        let cursor = cursor(engine, snapshot, span)?;
        Ok(cursor.map(|cursor| Self {
            cursor,
            state: Arc::clone(state),
            keys: keys_in(state, span),
            is_other,
            place: None,
        }))
    }

    /// Moves, and compares where that leads.
    pub(crate) fn go(&mut self, op: &Op) -> Compared {
        match op {
            Op::Seek(_, key, backward) => {
                let key = key.bytes();
                let moved = if *backward { self.cursor.seek_for_prev(&key) } else { self.cursor.seek(&key) };
                self.place = if *backward {
                    self.keys.partition_point(|held| *held <= key).checked_sub(1)
                } else {
                    Some(self.keys.partition_point(|held| *held < key))
                        .filter(|&place| place < self.keys.len())
                };
                self.compare(moved)
            }
            Op::SeekEdge(_, backward) => {
                let moved = if *backward { self.cursor.seek_to_last() } else { self.cursor.seek_to_first() };
                self.place = if *backward {
                    self.keys.len().checked_sub(1)
                } else {
                    (!self.keys.is_empty()).then_some(0)
                };
                self.compare(moved)
            }
            Op::Step(_, count, backward) => {
                for _ in 0..*count {
                    let moved = if *backward { self.cursor.prev() } else { self.cursor.next() };
                    let next = |place: usize| if *backward { place.checked_sub(1) } else { Some(place + 1) };
                    self.place = self.place.and_then(next).filter(|&place| place < self.keys.len());
                    match self.compare(moved)? {
                        Ok(()) => {}
                        Err(error) => return Ok(Err(error)),
                    }
                }
                Ok(Ok(()))
            }
            _ => Ok(Ok(())),
        }
    }

    fn compare(&self, moved: Result<bool, Error>) -> Compared {
        let stands = match moved {
            Ok(stands) => stands,
            Err(error) => return Ok(Err(error)),
        };
        let expected = self.place.map(|place| &self.keys[place]);
        let found = self.cursor.key();
        if stands != expected.is_some() || found != expected.map(Vec::as_slice) {
            let text = |key: Option<&[u8]>| key.map(|key| String::from_utf8_lossy(key).into_owned());
            let expected = text(expected.map(Vec::as_slice));
            return Err(format!("the cursor stands at {:?}, expected {expected:?}", text(found)));
        }
        let Some(key) = expected else { return Ok(Ok(())) };
        match value_at(&self.cursor) {
            Ok(value) if value == *self.state[&(self.is_other, key.clone())] => Ok(Ok(())),
            Ok(_) => Err(format!("the cursor shows another value of {}", String::from_utf8_lossy(key))),
            Err(error) => Ok(Err(error)),
        }
    }
}
