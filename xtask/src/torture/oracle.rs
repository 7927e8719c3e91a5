//! What must be in the database after a kill, and what may be.
//!
//! For each key the oracle knows the content that the last look found. After the next import
//! - a key that was acknowledged has the new content;
//! - one that was not has the new content (written, killed before the acknowledgement) or still the known one.
//!
//! What a look found is known from then on: a write that recovery has shown stays, acknowledged or not.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::failure::{AtPath, Failure};

use super::tree::{Content, Tree, files_below, key};

/// How many keys a failure names.
const NAMED_MAX: usize = 5;

/// What the database held when last looked at.
pub(super) struct Oracle {
    known: Vec<Option<Content>>,
}

/// What a comparison found amiss, by key.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Acknowledged, or seen before, and now missing or old.
    pub(super) lost: Vec<String>,
    /// Bytes, or keys, that nobody wrote.
    pub(super) wrong: Vec<String>,
}

/// What one key shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Missing,
    New,
    Known,
    Other,
}

/// What to think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ruling {
    Good,
    Lost,
    Wrong,
}

impl Oracle {
    /// Knows an empty database for `count` keys.
    pub(super) fn empty(count: usize) -> Self {
        Self { known: vec![None; count] }
    }

    /// Compares `exported` with what the import of `turn` wrote, of which `acknowledged` was acknowledged.
    ///
    /// # Errors
    ///
    /// [`Failure`] if a file cannot be read. What is amiss is in the verdict.
    pub(super) fn compare(
        &mut self,
        tree: &Tree,
        turn: usize,
        acknowledged: &HashSet<usize>,
        exported: &Path,
    ) -> Result<Verdict, Failure> {
        let mut verdict = Verdict::default();
        for index in 0..tree.len() {
            let (known, new) = (self.known[index], tree.content_of(index, turn));
            let shown = shown(tree, known, new, &exported.join(tree.name(index)))?;
            let name = || tree.name(index).display().to_string();
            match rule(shown, acknowledged.contains(&index), known.is_some()) {
                Ruling::Good => {}
                Ruling::Lost => verdict.lost.push(name()),
                Ruling::Wrong => verdict.wrong.push(name()),
            }
            if shown == Shown::New {
                self.known[index] = Some(new);
            }
        }
        if exported.is_dir() {
            let strangers =
                files_below(exported)?.into_iter().filter(|name| tree.index_of(&key(name)).is_none());
            verdict.wrong.extend(strangers.map(|name| name.display().to_string()));
        }
        Ok(verdict)
    }
}

impl Verdict {
    /// Good, or a failure that names some keys.
    pub(super) fn into_result(self) -> Result<(), Failure> {
        if self.lost.is_empty() && self.wrong.is_empty() {
            return Ok(());
        }
        let some = |keys: &[String]| keys[..keys.len().min(NAMED_MAX)].join(", ");
        let (lost, wrong) = (self.lost.len(), self.wrong.len());
        let what =
            format!("{lost} keys lost ({}), {wrong} keys wrong ({})", some(&self.lost), some(&self.wrong));
        Err(Failure::other(what))
    }
}

fn rule(shown: Shown, is_acknowledged: bool, is_known: bool) -> Ruling {
    match shown {
        Shown::New => Ruling::Good,
        Shown::Other => Ruling::Wrong,
        Shown::Known | Shown::Missing if is_acknowledged => Ruling::Lost,
        Shown::Missing if is_known => Ruling::Lost,
        Shown::Known | Shown::Missing => Ruling::Good,
    }
}

fn shown(tree: &Tree, known: Option<Content>, new: Content, file: &Path) -> Result<Shown, Failure> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Shown::Missing),
        read => read.at("read", file)?,
    };
    let is = |content: Content| {
        let path = tree.content(content);
        fs::read(&path).at("read", &path).map(|content| content == bytes)
    };
    if is(new)? {
        return Ok(Shown::New);
    }
    match known {
        Some(known) if is(known)? => Ok(Shown::Known),
        _ => Ok(Shown::Other),
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn an_acknowledged_write_must_show() {
        for is_known in [false, true] {
            assert_eq!(rule(Shown::New, true, is_known), Ruling::Good);
            assert_eq!(rule(Shown::Missing, true, is_known), Ruling::Lost);
            assert_eq!(rule(Shown::Known, true, is_known), Ruling::Lost);
            assert_eq!(rule(Shown::Other, true, is_known), Ruling::Wrong);
        }
    }

    #[test]
    fn a_write_in_flight_may_show_or_leave_what_was_known() {
        assert_eq!(rule(Shown::New, false, true), Ruling::Good);
        assert_eq!(rule(Shown::Known, false, true), Ruling::Good);
        assert_eq!(rule(Shown::Missing, false, false), Ruling::Good);
        assert_eq!(rule(Shown::Missing, false, true), Ruling::Lost);
        assert_eq!(rule(Shown::Other, false, false), Ruling::Wrong);
    }

    /// A sample of twelve files, and its tree of one turn as what an export wrote.
    fn exported(turn: usize) -> (TempDir, Tree, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        fs::create_dir(&source).expect("a folder");
        for number in 0..12 {
            fs::write(source.join(format!("{number}.txt")), number.to_string()).expect("a file");
        }
        let tree = Tree::sample(&source, folder.path(), &mut Rng::with_seed(1)).expect("a sample");
        let arranged = tree.arrange(turn).expect("a turn");
        let exported = folder.path().join("exported");
        fs::rename(arranged, &exported).expect("on one file system");
        (folder, tree, exported)
    }

    #[test]
    fn a_complete_export_is_good_and_known_from_then_on() {
        let (_folder, tree, exported) = exported(1);
        let mut oracle = Oracle::empty(tree.len());
        let all = (0..tree.len()).collect();
        let verdict = oracle.compare(&tree, 1, &all, &exported).expect("files");
        assert!(verdict.into_result().is_ok());

        let verdict = oracle.compare(&tree, 2, &HashSet::new(), &exported).expect("files");
        assert!(verdict.into_result().is_ok(), "nothing was acknowledged, the old contents may stay");
        let verdict = oracle.compare(&tree, 2, &HashSet::from([3]), &exported).expect("files");
        assert_eq!(verdict.lost, [tree.name(3).display().to_string()], "an acknowledged overwrite is gone");
    }

    #[test]
    fn missing_damaged_and_foreign_keys_are_told_apart() {
        let (_folder, tree, exported) = exported(1);
        let path = |index: usize| exported.join(tree.name(index));
        fs::remove_file(path(0)).expect("it was linked");
        fs::remove_file(path(1)).expect("it was linked");
        fs::write(path(1), "damaged").expect("a file");
        fs::write(exported.join("stranger"), "").expect("a file");
        let all = (0..tree.len()).collect();
        let verdict = Oracle::empty(tree.len()).compare(&tree, 1, &all, &exported).expect("files");
        assert_eq!(verdict.lost, [tree.name(0).display().to_string()]);
        assert_eq!(verdict.wrong, [tree.name(1).display().to_string(), "stranger".into()]);
        assert!(verdict.into_result().is_err());
    }
}
