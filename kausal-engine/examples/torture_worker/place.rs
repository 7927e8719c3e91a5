//! The files of a torture: the database and, outside it, what the torturer knows.
//!
//! | file | what it holds |
//! |---|---|
//! | `history` | what the writers wrote in which run, and how much of it the last audit found |
//! | `acks.W` | what writer W was told since: one line each, written after the acknowledgement by one call; a line `cut` is of whoever is about to shut the file system down |
//! | `phase` | what the engine is doing |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kausal_engine::{Compression, Durability, MEMORY_BUDGET_MIN, Options};

use crate::history::WRITERS;

/// Where everything lies.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) database: PathBuf,
    folder: PathBuf,
}

/// What one writer was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// The last operation acknowledged.
    pub(crate) any: u64,
    /// The last one that survives a kill.
    pub(crate) process: u64,
    /// The last one that survives a loss of power.
    pub(crate) power: u64,
    /// How many acknowledgements `process` and `power` stand for.
    pub(crate) count: u64,
    /// The last one of `Power` that came when the file system was being shut down already: kernels answer a sync with
    /// success then that did nothing.
    pub(crate) late: u64,
}

impl Place {
    pub(crate) fn new(database: PathBuf, folder: &Path) -> Self {
        Self { database, folder: folder.to_owned() }
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.folder.join("history")
    }

    pub(crate) fn phase(&self) -> PathBuf {
        self.folder.join("phase")
    }

    fn acks(&self, writer: usize) -> PathBuf {
        self.folder.join(format!("acks.{writer}"))
    }

    /// Forgets all acknowledgements.
    pub(crate) fn clear_acks(&self) -> io::Result<()> {
        (0..WRITERS).try_for_each(|writer| fs::write(self.acks(writer), ""))
    }

    /// Where `writer` says what it was told.
    pub(crate) fn open_acks(&self, writer: usize) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(self.acks(writer))
    }

    /// What `writer` was told after its first `recovered` operations. A last line without its end says nothing.
    pub(crate) fn read_acks(&self, writer: usize, recovered: u64) -> io::Result<Acked> {
        let text = fs::read_to_string(self.acks(writer)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(String::new()),
            _ => Err(error),
        })?;
        let mut acked = Acked { any: recovered, process: recovered, power: recovered, ..Acked::default() };
        let mut is_cut = false;
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            if line == "cut" {
                is_cut = true;
                continue;
            }
            let (durability, counter) = line.split_at_checked(1).unwrap_or_default();
            let counter = counter.parse().map_err(|_| io::Error::other(format!("no ack: {line}")))?;
            acked.any = counter;
            if is_cut {
                acked.late = if durability == "P" { counter } else { acked.late };
                continue;
            }
            acked.count += u64::from(durability != "b");
            match durability {
                "b" => {}
                "p" => acked.process = counter,
                "P" => (acked.process, acked.power) = (counter, counter),
                _ => return Err(io::Error::other(format!("no ack: {line}"))),
            }
        }
        Ok(acked)
    }
}

/// Says that `counter` was acknowledged.
pub(crate) fn acknowledge(acks: &mut File, counter: u64, durability: Durability) -> io::Result<()> {
    let letter = match durability {
        Durability::Buffered => 'b',
        Durability::Process => 'p',
        Durability::Power => 'P',
    };
    acks.write_all(format!("{letter}{counter}\n").as_bytes())
}

/// Settings of a run, other ones for each salt: small, so that flushes, compactions and changes of the manifest go on all
/// the time.
pub(crate) fn options(salt: u64) -> Options {
    let choice = |shift: u32, of: u64| (salt >> shift) % of;
    let mut options = Options::new()
        .memory_budget(MEMORY_BUDGET_MIN + ((choice(0, 3) as usize) << 20))
        .level0_compaction_count(2 + choice(4, 3) as usize)
        .block_bytes([512, 4 << 10, 16 << 10][choice(8, 3) as usize])
        .filter_bits_per_key([10, 5, 20][choice(12, 3) as usize]);
    if choice(16, 2) == 1 {
        options = options.compression(1, Compression::Lz4);
    }
    options
}
