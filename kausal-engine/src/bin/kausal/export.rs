//! Export: every entry to a file of its own.

use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use kausal_engine::KeyRange;

use crate::arguments;
use crate::{Failure, Outcome, copy_value, open};

pub(crate) fn run(arguments: &arguments::Export) -> Result<Outcome, Failure> {
    let engine = open(&arguments.database, false)?;
    let root = &arguments.dir;
    fs::create_dir_all(root).map_err(Failure::io(format!("create {}", root.display())))?;
    let mut cursor = engine.cursor(KeyRange::all())?;
    let (mut written, mut refused) = (0_u64, 0_u64);
    let mut more = cursor.seek_to_first()?;
    while more {
        let key = cursor.key().unwrap_or_default();
        match relative_path(key) {
            Ok(path) => {
                let path = root.join(path);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)
                        .map_err(Failure::io(format!("create {}", parent.display())))?;
                }
                let mut file =
                    File::create(&path).map_err(Failure::io(format!("create {}", path.display())))?;
                copy_value(&mut cursor.value_reader()?, &mut file)?;
                written += 1;
            }
            Err(why) => {
                eprintln!("refused: `{}` {why}", key.escape_ascii());
                refused += 1;
            }
        }
        more = cursor.next()?;
    }
    println!("exported {written} entries; refused {refused}");
    engine.close()?;
    Ok(if refused == 0 { Outcome::Good } else { Outcome::Incomplete })
}

/// The path below the target folder that a key names, if it stays below it.
fn relative_path(key: &[u8]) -> Result<PathBuf, &'static str> {
    if key.is_empty() || key.contains(&0) {
        return Err("names no file");
    }
    let path = path_of(key)?;
    if path.components().all(|part| matches!(part, Component::Normal(_))) && key.last() != Some(&b'/') {
        Ok(path.to_owned())
    } else {
        Err("would leave the folder")
    }
}

#[cfg(unix)]
fn path_of(key: &[u8]) -> Result<&Path, &'static str> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(key)))
}

#[cfg(not(unix))]
fn path_of(key: &[u8]) -> Result<&Path, &'static str> {
    std::str::from_utf8(key).map(Path::new).map_err(|_| "is no text, which this system's names are")
}
