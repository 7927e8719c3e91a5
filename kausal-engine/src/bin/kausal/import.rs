//! Import: trees and lines into a database.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use indicatif::{ProgressBar, ProgressStyle};
use kausal_engine::{Durability, Error, StorageEngine, WriteOptions};

use crate::arguments;
use crate::{Failure, Outcome, chain, open, show, show_stats};

/// How a write is made, with or without `--sync`.
pub(crate) fn write_options(sync: bool) -> WriteOptions {
    WriteOptions { durability: sync.then_some(Durability::Power), ..WriteOptions::default() }
}

/// What was imported, and what was not.
#[derive(Debug, Default)]
struct Counts {
    files: u64,
    lines: u64,
    bytes: u64,
    links: u64,
    others: u64,
    failed: u64,
}

struct Importer<'a> {
    engine: &'a StorageEngine,
    options: WriteOptions,
    ack: Option<(PathBuf, File)>,
    progress: ProgressBar,
    counts: Counts,
}

pub(crate) fn run(arguments: &arguments::Import) -> Result<Outcome, Failure> {
    let engine = open(&arguments.database, true)?;
    let ack = match &arguments.ack {
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            Some((path.clone(), file.map_err(Failure::io(format!("open {}", path.display())))?))
        }
        None => None,
    };
    // Hidden by itself where there is no terminal.
    let progress = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {pos} entries, {per_sec}, {elapsed}  {wide_msg}")
    {
        progress.set_style(style);
    }
    let options = write_options(arguments.sync);
    let mut importer = Importer { engine: &engine, options, ack, progress, counts: Counts::default() };
    for path in &arguments.paths {
        importer.import(path, &arguments.database.db, arguments.gitignore)?;
    }
    importer.progress.finish_and_clear();
    let counts = importer.counts;
    println!(
        "imported {} files and {} lines, {} bytes; skipped {} symbolic links and {} special files; {} failed",
        counts.files, counts.lines, counts.bytes, counts.links, counts.others, counts.failed
    );
    show_stats::run(&engine, false)?;
    show::memory(&engine, false, false)?;
    engine.close()?;
    Ok(if counts.failed == 0 { Outcome::Good } else { Outcome::Incomplete })
}

impl Importer<'_> {
    fn import(&mut self, path: &Path, database: &Path, gitignore: bool) -> Result<(), Failure> {
        if path == Path::new("-") {
            return self.lines(io::stdin().lock(), Path::new("standard input"), parse_tsv);
        }
        if path.is_dir() {
            return self.directory(path, database, gitignore);
        }
        let open = |path: &Path| File::open(path).map_err(Failure::io(format!("open {}", path.display())));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tsv") => self.lines(BufReader::new(open(path)?), path, parse_tsv),
            Some("jsonl") => self.lines(BufReader::new(open(path)?), path, parse_jsonl),
            _ if !path.exists() => Err(Failure::Usage(format!("{} does not exist", path.display()))),
            _ => Err(Failure::Usage(format!("{} is no directory, .tsv or .jsonl file", path.display()))),
        }
    }

    /// Every regular file below `root`; the database's own folder is left out.
    fn directory(&mut self, root: &Path, database: &Path, gitignore: bool) -> Result<(), Failure> {
        let own = database.canonicalize().map_err(Failure::io("find the database's own folder"))?;
        let mut walk = WalkBuilder::new(root);
        walk.standard_filters(gitignore).hidden(false).require_git(false).follow_links(false);
        walk.sort_by_file_name(|left, right| left.cmp(right));
        walk.filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            let is_git = gitignore && is_dir && entry.file_name() == ".git";
            let is_own = is_dir && entry.path().canonicalize().is_ok_and(|path| path == own);
            !is_git && !is_own
        });
        for entry in walk.build() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.fail(&error.to_string());
                    continue;
                }
            };
            let Some(kind) = entry.file_type() else { continue };
            if kind.is_symlink() {
                self.counts.links += 1;
            } else if kind.is_file() {
                self.file(root, entry.path())?;
            } else if !kind.is_dir() {
                self.counts.others += 1;
            }
        }
        Ok(())
    }

    fn file(&mut self, root: &Path, path: &Path) -> Result<(), Failure> {
        let key = key_of(path.strip_prefix(root).unwrap_or(path));
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, mut file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.fail(&format!("{}: {error}", path.display()));
                return Ok(());
            }
        };
        match self.engine.put_reader(&key, &mut file, len, self.options) {
            Ok(()) => {}
            // This file's fault: it changed while it was read, or its name is too long for a key.
            Err(error @ Error::InvalidArgument { .. }) => {
                self.fail(&format!("{}: {}", path.display(), chain(&error)));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.counts.files += 1;
        self.counts.bytes += len;
        self.acknowledge(&key)
    }

    fn lines(&mut self, input: impl BufRead, name: &Path, parse: fn(&[u8]) -> Parsed) -> Result<(), Failure> {
        for (number, line) in input.split(b'\n').enumerate() {
            let line = line.map_err(Failure::io(format!("read {}", name.display())))?;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                continue;
            }
            let (key, value) = match parse(line) {
                Ok(pair) => pair,
                Err(what) => {
                    self.fail(&format!("{}:{}: {what}", name.display(), number + 1));
                    continue;
                }
            };
            self.engine.put_reader(&key, &mut value.as_slice(), value.len() as u64, self.options)?;
            self.counts.lines += 1;
            self.counts.bytes += value.len() as u64;
            self.acknowledge(&key)?;
        }
        Ok(())
    }

    /// The write of `key` has been acknowledged: say so where it was asked for.
    fn acknowledge(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.progress.inc(1);
        if let Some((path, file)) = &mut self.ack {
            // One unbuffered write a line, so that a kill leaves at most the last line torn.
            let line = format!("{}\n", key.escape_ascii());
            file.write_all(line.as_bytes()).map_err(Failure::io(format!("append to {}", path.display())))?;
        }
        Ok(())
    }

    fn fail(&mut self, what: &str) {
        self.counts.failed += 1;
        self.progress.suspend(|| eprintln!("not imported: {what}"));
    }
}

/// A key from a relative path: the path's bytes, with `/` between the parts.
#[cfg(unix)]
fn key_of(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(not(unix))]
fn key_of(path: &Path) -> Vec<u8> {
    let parts: Vec<_> =
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts.join("/").into_bytes()
}

/// Key and value of a line, or why it has none.
type Parsed = Result<(Vec<u8>, Vec<u8>), String>;

fn parse_tsv(line: &[u8]) -> Parsed {
    let tab = line.iter().position(|&byte| byte == b'\t').ok_or("no tab between key and value")?;
    Ok((line[..tab].to_vec(), line[tab + 1..].to_vec()))
}

/// An object with the strings `key` and `value`.
fn parse_jsonl(line: &[u8]) -> Parsed {
    #[derive(serde::Deserialize)]
    struct Pair {
        key: String,
        value: String,
    }
    let pair: Pair = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Ok((pair.key.into_bytes(), pair.value.into_bytes()))
}
