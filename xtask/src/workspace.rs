//! The workspace: where it is, what `cargo metadata` says about it, which sources it has.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command;
use crate::failure::{AtPath, Failure};

/// A checkout of the project.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this task belongs to.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the task was not started by cargo and the current folder is not the workspace.
    pub(crate) fn find() -> Result<Self, Failure> {
        let root = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(xtask) => PathBuf::from(xtask).join(".."),
            None => PathBuf::from("."),
        };
        let root = root.canonicalize().at("find", &root)?;
        if !root.join("xtask/Cargo.toml").is_file() {
            return Err(Failure::usage("run it as `cargo xtask` inside the project"));
        }
        Ok(Self::at(root))
    }

    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Reads the file at `path`, relative to the workspace.
    ///
    /// # Errors
    ///
    /// [`Failure`] naming the file, if it cannot be read as text.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Result<String, Failure> {
        fs::read_to_string(self.root.join(&path)).at("read", path.as_ref())
    }

    /// What `cargo metadata` says of the members, without resolving their dependencies: no network, no lock file.
    ///
    /// # Errors
    ///
    /// [`Failure`] if cargo refuses the manifests.
    pub(crate) fn metadata(&self) -> Result<Metadata, Failure> {
        Metadata::of(&self.document()?)
    }

    /// The members as `cargo metadata` shows them, for whoever wants more of them than [`Package`] has.
    ///
    /// # Errors
    ///
    /// [`Failure`] if cargo refuses the manifests.
    pub(crate) fn manifests(&self) -> Result<Vec<Value>, Failure> {
        Ok(list(&self.document()?, "packages")?.clone())
    }

    fn document(&self) -> Result<Value, Failure> {
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let printed = command::read(&mut command::cargo(&self.root, &arguments))?;
        serde_json::from_str(&printed)
            .map_err(|error| Failure::other(format!("cargo metadata is not JSON: {error}")))
    }

    /// All `.rs` files of the crate in `folder`, relative to the workspace, in order of their names.
    ///
    /// # Errors
    ///
    /// [`Failure`] naming the folder that cannot be read.
    pub(crate) fn sources(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder)).at("list", &folder)? {
                let entry = entry.at("list", &folder)?;
                let path = folder.join(entry.file_name());
                if entry.file_type().at("look at", &path)?.is_dir() {
                    if entry.file_name() != "target" {
                        folders.push(path);
                    }
                } else if path.extension() == Some(OsStr::new("rs")) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The member whose features are peers: C libraries and other people's maps, which only `bench` builds.
pub(crate) const BENCH: &str = "kausal-bench";

/// The part of `cargo metadata` that the tasks use.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Where cargo builds.
    pub(crate) target_folder: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the workspace.
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// Names of its features, `default` left out.
    pub(crate) features: Vec<String>,
    /// The first file of each library, program and example, relative to the workspace.
    pub(crate) roots: Vec<PathBuf>,
    /// Names of its test programs.
    pub(crate) tests: Vec<String>,
}

/// What a manifest names under `[dependencies]` and its like.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The crate's own name, even where the manifest renames it.
    pub(crate) name: String,
    /// Neither for tests nor for a build script.
    pub(crate) is_normal: bool,
    pub(crate) features: Vec<String>,
}

impl Metadata {
    /// Every feature of every member but the bench's peers, as cargo wants them after `--features`. One choice for all
    /// steps, so that each crate is compiled once per profile.
    pub(crate) fn features_without_peers(&self) -> String {
        let members = self.packages.iter().filter(|package| package.name != BENCH);
        let features = members
            .flat_map(|package| package.features.iter().map(|feature| format!("{}/{feature}", package.name)));
        features.collect::<Vec<_>>().join(",")
    }

    /// Takes the part out of what `cargo metadata --no-deps` printed.
    fn of(document: &Value) -> Result<Self, Failure> {
        let root = text(document, "workspace_root")?;
        let packages = list(document, "packages")?.iter().map(|package| Package::parse(package, root));
        Ok(Self {
            target_folder: text(document, "target_directory")?.into(),
            packages: packages.collect::<Result<_, _>>()?,
        })
    }
}

impl Package {
    fn parse(package: &Value, root: &str) -> Result<Self, Failure> {
        let relative =
            |path: &str| PathBuf::from(path.strip_prefix(root).unwrap_or(path).trim_start_matches('/'));
        let manifest = relative(text(package, "manifest_path")?);
        let (mut roots, mut tests) = (Vec::new(), Vec::new());
        for target in list(package, "targets")? {
            let is_code = |kind: &Value| kind == "lib" || kind == "bin" || kind == "example";
            if list(target, "kind")?.iter().any(is_code) {
                roots.push(relative(text(target, "src_path")?));
            }
            if list(target, "kind")?.iter().any(|kind| kind == "test") {
                tests.push(text(target, "name")?.to_owned());
            }
        }
        let dependencies = list(package, "dependencies")?.iter().map(Dependency::parse);
        let features = package["features"].as_object().into_iter().flat_map(|features| features.keys());
        Ok(Self {
            name: text(package, "name")?.to_owned(),
            folder: manifest.parent().unwrap_or(Path::new("")).to_path_buf(),
            dependencies: dependencies.collect::<Result<_, _>>()?,
            features: features.filter(|feature| *feature != "default").cloned().collect(),
            roots,
            tests,
        })
    }
}

impl Dependency {
    fn parse(dependency: &Value) -> Result<Self, Failure> {
        let features = list(dependency, "features")?.iter();
        Ok(Self {
            name: text(dependency, "name")?.to_owned(),
            is_normal: dependency["kind"].is_null(),
            features: features.filter_map(|feature| feature.as_str().map(str::to_owned)).collect(),
        })
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, Failure> {
    value[field].as_str().ok_or_else(|| Failure::other(format!("cargo metadata: no text `{field}`")))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, Failure> {
    value[field].as_array().ok_or_else(|| Failure::other(format!("cargo metadata: no list `{field}`")))
}
