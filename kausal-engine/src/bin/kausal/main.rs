//! `kausal`: the command line tool. Reads and writes a database, imports and exports trees, checks and explains files.
//!
//! | room | what lives there |
//! |---|---|
//! | `arguments` | what can be asked |
//! | `import`, `export` | trees and lines in, trees out |
//! | `show`, `show_stats`, `show_table` | everything that prints once |
//! | `watch` | the memory tree, again and again |
//! | `top` | a database at work, on a terminal |
//!
//! Exit codes: 0 good, 1 not found, 2 usage, 3 corruption or input/output.
#![forbid(unsafe_code)]

mod arguments;
mod export;
mod import;
mod show;
mod show_stats;
mod show_table;
mod top;
mod watch;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use arguments::{Arguments, Command, Database};
use clap::Parser;
use kausal_engine::{Error, Options, StorageEngine};

/// How a command ended, short of an error.
enum Outcome {
    Good,
    NotFound,
    /// It was told already what went wrong.
    Incomplete,
}

/// Why a command failed.
enum Failure {
    Usage(String),
    Engine(Error),
    Io(String, io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidArgument { .. } | Error::BudgetTooSmall { .. } => Self::Usage(error.to_string()),
            other => Self::Engine(other),
        }
    }
}

impl Failure {
    /// For `map_err`: what was being done.
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io(doing, error)
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Engine(Error::NotFound { .. }) => 1,
            _ => 3,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.command) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::NotFound) => ExitCode::from(1),
        Ok(Outcome::Incomplete) => ExitCode::from(3),
        // Whoever reads our output has enough of it.
        Err(Failure::Io(_, error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            match &failure {
                Failure::Usage(what) => eprintln!("error: {what}"),
                Failure::Io(doing, error) => eprintln!("error: cannot {doing}: {error}"),
                Failure::Engine(error) => eprintln!("error: {}", chain(error)),
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// An error's message with those of its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Opens the database; `create` where the command makes one.
fn open(database: &Database, create: bool) -> Result<StorageEngine, Failure> {
    let options = Options::new().memory_budget(database.memory_budget).create(create);
    Ok(StorageEngine::open(&database.db, options.mapped_tables(database.mapped_tables))?)
}

fn run(command: &Command) -> Result<Outcome, Failure> {
    match command {
        Command::Import(arguments) => import::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Get { database, key } => get(&open(database, false)?, key.as_bytes()),
        Command::Put { database, key, value, sync } => {
            let engine = open(database, true)?;
            let mut bytes = Vec::new();
            if value == "-" {
                io::stdin().read_to_end(&mut bytes).map_err(Failure::io("read standard input"))?;
            } else {
                bytes.extend_from_slice(value.as_bytes());
            }
            let options = import::write_options(*sync);
            engine.put_reader(key.as_bytes(), &mut bytes.as_slice(), bytes.len() as u64, options)?;
            engine.close()?;
            Ok(Outcome::Good)
        }
        Command::Delete { database, key, sync } => {
            let engine = open(database, false)?;
            let mut batch = kausal_engine::WriteBatch::new();
            batch.delete(key.as_bytes())?;
            engine.write(&batch, import::write_options(*sync))?;
            engine.close()?;
            Ok(Outcome::Good)
        }
        Command::Scan(arguments) => show::scan(&open(&arguments.database, false)?, arguments),
        Command::Flush { database } => {
            let engine = open(database, false)?;
            engine.flush()?;
            engine.close()?;
            Ok(Outcome::Good)
        }
        Command::Compact { database } => {
            let engine = open(database, false)?;
            engine.compact()?;
            engine.close()?;
            Ok(Outcome::Good)
        }
        Command::Check { database, json } => show::check(database, *json),
        Command::Stats { database, json } => show_stats::run(&open(database, false)?, *json),
        Command::Top(arguments) => {
            // Only what writes makes a database.
            let engine = open(&arguments.database, arguments.load != top::Load::None)?;
            top::run(engine, arguments)
        }
        Command::Memory { database, watch: true, every, count, .. } => {
            watch::run(&open(database, false)?, Duration::from_secs(*every), count.unwrap_or(u64::MAX))
        }
        Command::Memory { database, events, json, .. } => {
            show::memory(&open(database, false)?, *events, *json)
        }
        Command::Sst { file, blocks, json } => show_table::run(file, *blocks, *json),
        Command::Wal { file, json } => show::log(file, *json),
        Command::Manifest { db, json } => show::manifest(db, *json),
    }
}

fn get(engine: &StorageEngine, key: &[u8]) -> Result<Outcome, Failure> {
    let Some(mut value) = engine.get_reader(key)? else { return Ok(Outcome::NotFound) };
    let mut output = io::stdout().lock();
    copy_value(&mut value, &mut output)?;
    output.flush().map_err(Failure::io("write the value"))?;
    Ok(Outcome::Good)
}

/// Copies a value out, telling the database's errors from the output's.
fn copy_value(value: &mut impl Read, output: &mut impl Write) -> Result<(), Failure> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = value.read(&mut buffer).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => Failure::Engine(error),
            Err(error) => Failure::Io("read the value".to_owned(), error),
        })?;
        if count == 0 {
            return Ok(());
        }
        output.write_all(&buffer[..count]).map_err(Failure::io("write the value"))?;
    }
}
