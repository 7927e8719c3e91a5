//! What can be asked of the tool.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::top::Load;

/// An embeddable storage engine, from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "kausal",
    version,
    about,
    after_help = "Exit codes: 0 good, 1 not found, 2 usage, 3 corruption or I/O."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A database, and how much memory it may account for.
#[derive(Debug, Args)]
pub(crate) struct Database {
    /// Folder of the database.
    pub(crate) db: PathBuf,
    /// Memory that the database accounts for, e.g. 32M or 1G; at least 8M.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    pub(crate) memory_budget: usize,
    /// Look at blocks of tables where the kernel has them rather than read them into the block cache. Faster where the cache is
    /// small; the pages are outside of the budget, and a disk that fails ends the process.
    #[arg(long)]
    pub(crate) mapped_tables: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import directories (every file is an entry, its key the path below the directory), .tsv or .jsonl files, or
    /// standard input (`-`, lines of key, tab, value). Symbolic links are skipped and counted.
    Import(Import),
    /// Write every entry to the file DIR/key.
    Export(Export),
    /// Print the value of a key.
    Get {
        #[command(flatten)]
        database: Database,
        /// The key.
        key: String,
    },
    /// Set a key.
    Put {
        #[command(flatten)]
        database: Database,
        /// The key.
        key: String,
        /// The value; `-` reads it from standard input.
        value: String,
        /// Return only when the write survives a loss of power.
        #[arg(long)]
        sync: bool,
    },
    /// Remove a key.
    Delete {
        #[command(flatten)]
        database: Database,
        /// The key.
        key: String,
        /// Return only when the write survives a loss of power.
        #[arg(long)]
        sync: bool,
    },
    /// Print keys and values in order.
    Scan(Scan),
    /// Write memtables to tables.
    Flush {
        #[command(flatten)]
        database: Database,
    },
    /// Flush, and merge all tables into one level.
    Compact {
        #[command(flatten)]
        database: Database,
    },
    /// Read everything and check every checksum, order, manifest and filter.
    Check {
        #[command(flatten)]
        database: Database,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain levels, amplifications, cache and stalls.
    Stats {
        #[command(flatten)]
        database: Database,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the database at work, once a second: throughput, latency, levels, stalls, memory.
    Top(Top),
    /// Print the memory tree.
    Memory {
        #[command(flatten)]
        database: Database,
        /// Print the last memory events as well.
        #[arg(long)]
        events: bool,
        /// Print the tree again and again, with what changed since the last look, until interrupted. What is watched is this
        /// process's own opening of the database, which nobody else can open meanwhile: recovery's flushes and compactions.
        #[arg(long, conflicts_with_all = ["events", "json"])]
        watch: bool,
        /// Seconds between two looks.
        #[arg(long, value_name = "SECONDS", default_value_t = 1, requires = "watch")]
        every: u64,
        /// End after so many looks.
        #[arg(long, value_name = "LOOKS", requires = "watch")]
        count: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain a table file.
    Sst {
        /// A file NNNNNN.sst.
        file: PathBuf,
        /// List every block.
        #[arg(long)]
        blocks: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain a log file.
    Wal {
        /// A file NNNNNN.wal in its database.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain a database's manifest.
    Manifest {
        /// Folder of the database.
        db: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) database: Database,
    /// What is done to the database meanwhile. What writes changes it: keys of 16 hexadecimal digits.
    #[arg(long, value_enum, default_value_t = Load::None)]
    pub(crate) load: Load,
    /// Different keys of the load.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) keys: u64,
    /// Print one screen as text after so many seconds, and end.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) once: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) database: Database,
    /// Directories, .tsv or .jsonl files, or `-`.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Leave out what the ignore files name, and folders named .git.
    #[arg(long)]
    pub(crate) gitignore: bool,
    /// Make every entry survive a loss of power before the next one is written.
    #[arg(long)]
    pub(crate) sync: bool,
    /// Append each key to FILE after its write was acknowledged, one a line, bytes escaped as in Rust strings.
    #[arg(long, value_name = "FILE")]
    pub(crate) ack: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) database: Database,
    /// Folder to write to; created if needed.
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) database: Database,
    /// Only keys that begin so.
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub(crate) prefix: Option<String>,
    /// Only keys from this one on.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Only keys before this one.
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Last key first.
    #[arg(long)]
    pub(crate) reverse: bool,
    /// No values.
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads a size: a number with K, M or G behind it, powers of 1024.
fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        unit => return Err(format!("unknown unit `{unit}`; use K, M or G")),
    };
    let number: usize = digits.parse().map_err(|_| format!("`{digits}` is no whole number"))?;
    number.checked_shl(shift).filter(|size| size >> shift == number).ok_or_else(|| "too large".to_owned())
}
