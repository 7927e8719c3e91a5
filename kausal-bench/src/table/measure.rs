//! The samples. Every answer is compared with what the entries say, in every sample; a wrong one is a panic, a file that
//! cannot be written or read an error.

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::chain::{Chain, LOADS};
use super::data::{Answers, Data, Entries, Key};
use super::subject::{OURS, Opened, Reader, Stored, Subject};
use super::targets::CHAIN;
use crate::options::Options;
use crate::row::Row;
use crate::samples::{timed_with_answer, try_medians};

/// Where files are kept if the system has it: a file system in memory.
const MEMORY: &str = "/dev/shm";

/// A cache that holds nothing to speak of, and the least that everybody takes.
const TINY_CACHE_BYTES: usize = 1 << 20;

/// Samples of a subject, but for the slow ones.
const ROUNDS: usize = 9;
const ROUNDS_SLOW: usize = 5;

/// Keys whose look-ups leave all lines they touch in the nearest caches, and how often they are looked up in turn.
const NEAR_KEYS: usize = 32;
const NEAR_TIMES: usize = 2_000;

/// Who takes part, with what, and where.
pub struct Bench<'o> {
    options: &'o Options,
    subjects: Vec<Box<dyn Subject>>,
    data: Data,
    folder: TempDir,
}

impl<'o> Bench<'o> {
    /// With a folder of its own, which goes with it.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if there can be none.
    pub fn new(options: &'o Options, subjects: Vec<Box<dyn Subject>>, data: Data) -> io::Result<Self> {
        let memory = Path::new(MEMORY);
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("kausal-bench-").tempdir_in(above)?;
        Ok(Self { options, subjects, data, folder })
    }

    /// Megabytes of keys and values in a second, and bytes of the file.
    ///
    /// # Errors
    ///
    /// What a format or the system answers, here and below.
    pub fn write(&self, workload: &str, stored: Stored) -> io::Result<Vec<Row>> {
        let entries = &self.data.entries;
        let expected = Answers::of(entries.iter());
        let mut file_bytes = vec![0.0; self.subjects.len()];
        for (subject, bytes) in self.subjects().zip(&mut file_bytes) {
            let path = self.table(subject, workload, entries, stored)?;
            *bytes = fs::metadata(&path)?.len() as f64;
            let read = subject.open(std::slice::from_ref(&path), TINY_CACHE_BYTES)?.walk()?;
            assert_eq!(read, expected, "{} reads what it wrote", subject.name());
            fs::remove_file(path)?;
        }
        let path = self.folder.path().join("sample");
        let nanos = try_medians(self.subjects.len(), self.rounds(ROUNDS_SLOW), |number| {
            let subject = &self.subjects[number];
            self.options.progress(workload, subject.name());
            let (nanos, ()) = answered(|| subject.write(&path, entries, stored))?;
            fs::remove_file(&path)?;
            io::Result::Ok(nanos)
        })?;
        let mut rows = self.rates(workload, "write", &nanos);
        let sizes = self.subjects().zip(&file_bytes);
        rows.extend(compared(
            sizes
                .map(|(subject, &bytes)| Row::lower(workload, subject.name(), "file", bytes, "bytes"))
                .collect(),
        ));
        Ok(rows)
    }

    /// Look-ups that find their block in the cache, the chain, and how many of its loads stand between a look-up whose
    /// lines are all near and one of any key.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn hit_cache(&self, workload: &str) -> io::Result<Vec<Row>> {
        let mut opened = self.opened(workload, self.ample())?;
        let chain = Chain::new(self.data.entries.bytes(), self.options.seed);
        let subjects = opened.len();
        let nanos = try_medians(2 * subjects + 1, self.rounds(ROUNDS), |number| {
            match number.checked_sub(subjects) {
                None => self.hits(workload, number, &mut *opened[number]),
                Some(number) if number < subjects => self.near(&mut *opened[number]),
                Some(_) => Ok(chain.sample(self.data.sought.len())),
            }
        })?;
        let (hits, rest) = nanos.split_at(subjects);
        let (near, chain) = (&rest[..subjects], rest[subjects]);
        let mut own = self.times(workload, "hit", hits);
        own.push(Row::lower(workload, CHAIN, "hit", chain, "ns"));
        let mut rows = compared(own);
        rows.extend(self.times(workload, "hit_near", near));
        let misses = |(hit, near): (&f64, &f64)| (hit - near) / (chain / LOADS as f64);
        let misses: Vec<f64> = hits.iter().zip(near).map(misses).collect();
        rows.extend(
            self.times(workload, "misses", &misses)
                .into_iter()
                .map(|row| Row { unit: "count".into(), ..row }),
        );
        Ok(rows)
    }

    /// Nanoseconds of a look-up of one of a few keys.
    fn near(&self, reader: &mut dyn Opened) -> io::Result<f64> {
        let keys = &self.data.sought[..NEAR_KEYS];
        let keys: Vec<Key> = keys.iter().cycle().take(NEAR_TIMES * keys.len()).copied().collect();
        let (nanos, answers) = answered(|| reader.look_up(&keys))?;
        assert_eq!(answers.count, keys.len(), "each is found");
        Ok(nanos / keys.len() as f64)
    }

    /// Look-ups whose block has to be read.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn hit_page_cache(&self, workload: &str) -> io::Result<Vec<Row>> {
        let mut opened = self.opened(workload, TINY_CACHE_BYTES)?;
        let nanos = try_medians(opened.len(), self.rounds(ROUNDS_SLOW), |number| {
            self.hits(workload, number, &mut *opened[number])
        })?;
        Ok(compared(self.times(workload, "hit", &nanos)))
    }

    /// Look-ups that find nothing.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn absent(&self, workload: &str) -> io::Result<Vec<Row>> {
        let mut opened = self.opened(workload, self.ample())?;
        let nanos = try_medians(opened.len(), self.rounds(ROUNDS), |number| {
            self.options.progress(workload, self.subjects[number].name());
            let (nanos, answers) = answered(|| opened[number].look_up(&self.data.absent))?;
            assert_eq!(answers, Answers::default(), "nothing is found");
            io::Result::Ok(nanos / self.data.absent.len() as f64)
        })?;
        Ok(compared(self.times(workload, "miss", &nanos)))
    }

    /// Walks over the table.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn walk(&self, workload: &str) -> io::Result<Vec<Row>> {
        self.walks(workload, self.opened(workload, self.ample())?)
    }

    /// Walks over `parts` tables at once.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn merge(&self, workload: &str, parts: usize) -> io::Result<Vec<Row>> {
        let lists = self.data.dealt(parts, self.options.seed);
        let open = |subject: &dyn Subject| {
            let table = |(part, list): (usize, &Entries)| {
                self.table(subject, &format!("{workload}-{part}"), list, Stored::Plain)
            };
            let tables = lists.iter().enumerate().map(table).collect::<io::Result<Vec<PathBuf>>>()?;
            subject.open(&tables, self.ample())
        };
        self.walks(workload, self.subjects().map(open).collect::<io::Result<_>>()?)
    }

    /// The filter alone.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn filter(&self, workload: &str) -> io::Result<Vec<Row>> {
        let Some(ours) = self.subjects().find(|subject| subject.name() == OURS) else {
            return Ok(Vec::new());
        };
        let table = self.table(ours, workload, &self.data.entries, Stored::Plain)?;
        let reader = Reader::new(&[table], TINY_CACHE_BYTES)?;
        let (present, absent) = (&self.data.sought, &self.data.absent);
        assert_eq!(reader.admitted(present)?, present.len(), "a filter denies no key that is there");
        let admitted = reader.fetched(absent)?;
        let nanos = try_medians(1, self.rounds(ROUNDS), |_| {
            self.options.progress(workload, OURS);
            let (nanos, count) = answered(|| reader.admitted(absent))?;
            assert_eq!(count, admitted, "who is admitted has a block fetched");
            io::Result::Ok(nanos / absent.len() as f64)
        })?;
        let share = 100.0 * admitted as f64 / absent.len() as f64;
        Ok(vec![
            Row::lower(workload, OURS, "probe", nanos[0], "ns"),
            Row::lower(workload, OURS, "false_positives", share, "percent"),
        ])
    }

    fn subjects(&self) -> impl Iterator<Item = &dyn Subject> {
        self.subjects.iter().map(|subject| &**subject)
    }

    fn rounds(&self, usual: usize) -> usize {
        self.options.rounds.unwrap_or(usual)
    }

    /// A cache in which there is room for all blocks, however uneven its parts are used.
    fn ample(&self) -> usize {
        2 * self.data.entries.bytes() + (64 << 20)
    }

    /// The path of a new table of `entries`.
    fn table(
        &self,
        subject: &dyn Subject,
        name: &str,
        entries: &Entries,
        stored: Stored,
    ) -> io::Result<PathBuf> {
        self.options.progress(name, subject.name());
        let path = self.folder.path().join(format!("{}-{}", subject.name(), name.replace('/', "-")));
        subject.write(&path, entries, stored)?;
        Ok(path)
    }

    /// Everybody's table of all entries, in their cache as far as there is room.
    fn opened(&self, workload: &str, cache_bytes: usize) -> io::Result<Vec<Box<dyn Opened>>> {
        let expected = Answers::of(self.data.entries.iter());
        let open = |subject: &dyn Subject| {
            let table = self.table(subject, workload, &self.data.entries, Stored::Plain)?;
            let mut opened = subject.open(&[table], cache_bytes)?;
            assert_eq!(opened.walk()?, expected, "{} reads what it wrote", subject.name());
            Ok(opened)
        };
        self.subjects().map(open).collect()
    }

    /// One sample of look-ups.
    fn hits(&self, workload: &str, number: usize, reader: &mut dyn Opened) -> io::Result<f64> {
        self.options.progress(workload, self.subjects[number].name());
        let (nanos, answers) = answered(|| reader.look_up(&self.data.sought))?;
        assert_eq!(answers, self.data.sought_answers, "each is found");
        Ok(nanos / self.data.sought.len() as f64)
    }

    fn walks(&self, workload: &str, mut opened: Vec<Box<dyn Opened>>) -> io::Result<Vec<Row>> {
        let expected = Answers::of(self.data.entries.iter());
        let mut walk = |number: usize| {
            self.options.progress(workload, self.subjects[number].name());
            let (nanos, answers) = answered(|| opened[number].walk())?;
            assert_eq!(answers, expected, "all entries in their order");
            io::Result::Ok(nanos)
        };
        // Once before, so that everything is in the cache.
        for number in 0..self.subjects.len() {
            walk(number)?;
        }
        let nanos = try_medians(self.subjects.len(), self.rounds(ROUNDS), walk)?;
        Ok(self.rates(workload, "walk", &nanos))
    }

    fn times(&self, workload: &str, metric: &str, nanos: &[f64]) -> Vec<Row> {
        let named = self.subjects().zip(nanos);
        named.map(|(subject, &nanos)| Row::lower(workload, subject.name(), metric, nanos, "ns")).collect()
    }

    /// Megabytes of all keys and values by the time they took.
    fn rates(&self, workload: &str, metric: &str, nanos: &[f64]) -> Vec<Row> {
        let rate = |nanos: f64| self.data.entries.bytes() as f64 / nanos * 1e3;
        let named = self.subjects().zip(nanos);
        let row = |(subject, &nanos): (&dyn Subject, &f64)| {
            Row::higher(workload, subject.name(), metric, rate(nanos), "MB/s")
        };
        compared(named.map(row).collect())
    }
}

/// Nanoseconds that `work` takes, and its answer.
fn answered<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<(f64, T)> {
    let (nanos, answer) = timed_with_answer(|| black_box(work()));
    Ok((nanos, answer?))
}

/// The rows, and the first, if it is ours, against each of the others.
fn compared(own: Vec<Row>) -> Vec<Row> {
    let against: Vec<Row> = match own.split_first() {
        Some((ours, peers)) if ours.subject == OURS => {
            peers.iter().map(|peer| ours.against(peer, None)).collect()
        }
        _ => Vec::new(),
    };
    own.into_iter().chain(against).collect()
}
