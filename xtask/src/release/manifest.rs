//! What crates.io and its readers want to know of a library: stated, the same everywhere, and in the package.

use std::path::Path;

use serde_json::Value;

use super::LIBRARIES;
use crate::failure::{Failure, Violation, none_of};
use crate::workspace::Workspace;

/// crates.io takes no more keywords.
const KEYWORDS_MAX: usize = 5;

/// What must lie beside each manifest.
const FILES: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Looks at the manifests of the libraries.
///
/// # Errors
///
/// [`Failure::Violations`] with everything that is missing.
pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let packages = workspace.manifests()?;
    let mut violations = Vec::new();
    for library in LIBRARIES {
        let Some(package) = packages.iter().find(|package| package["name"] == library) else {
            violations.push(missing(library, "is no member"));
            continue;
        };
        violations.extend(of_package(library, package, &packages[0]));
        let is_there = |file: &&str| workspace.root().join(library).join(file).is_file();
        let absent = FILES.iter().filter(|file| !is_there(file));
        violations.extend(absent.map(|file| missing(library, &format!("has no {file}"))));
        let tour = workspace.read(Path::new(library).join("src/lib.rs"))?;
        if !tour.contains("#[doc = include_str!(\"../README.md\")]") {
            violations.push(missing(library, "does not test the examples of its README"));
        }
    }
    none_of(violations)
}

/// What `package` lacks; versions and the oldest compiler have to be those of `first`.
fn of_package(library: &str, package: &Value, first: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    for field in ["description", "license", "rust_version", "readme"] {
        if package[field].as_str().is_none_or(str::is_empty) {
            violations.push(missing(library, &format!("states no {}", field.replace('_', "-"))));
        }
    }
    for field in ["version", "rust_version"] {
        if package[field] != first[field] {
            violations.push(missing(library, &format!("has a {} of its own", field.replace('_', "-"))));
        }
    }
    for (field, most) in [("keywords", KEYWORDS_MAX), ("categories", KEYWORDS_MAX)] {
        let count = package[field].as_array().map_or(0, Vec::len);
        if count == 0 || count > most {
            violations.push(missing(library, &format!("has {count} {field}, not 1 to {most}")));
        }
    }
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_unversioned = |dependency: &&Value| {
        // A crate's own features, asked for by its tests, are no matter of the registry.
        dependency["req"] == "*" && dependency["name"] != library
    };
    for dependency in dependencies.iter().filter(is_unversioned) {
        let name = dependency["name"].as_str().unwrap_or("?");
        violations.push(missing(library, &format!("depends on any version of {name}")));
    }
    violations
}

fn missing(library: &str, what: &str) -> Violation {
    Violation {
        file: Path::new(library).join("Cargo.toml"),
        line: 0,
        what: what.to_owned(),
        remedy: "crates.io, or its readers, ask for it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Value {
        serde_json::json!({
            "name": "kausal-arena", "version": "0.1.0", "rust_version": "1.95", "description": "Arenas",
            "license": "MIT", "readme": "README.md", "keywords": ["arena"], "categories": ["memory-management"],
            "dependencies": [{"name": "bumpalo", "req": "^3"}],
        })
    }

    fn complaints(package: &Value) -> Vec<String> {
        of_package("kausal-arena", package, &self::package()).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn a_complete_manifest_has_nothing_to_complain_about() {
        assert_eq!(complaints(&package()), Vec::<String>::new());
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let mut package = package();
        package["rust_version"] = Value::Null;
        package["keywords"] = serde_json::json!(["a", "b", "c", "d", "e", "f"]);
        package["dependencies"][0]["req"] = "*".into();
        let expected = [
            "states no rust-version",
            "has a rust-version of its own",
            "has 6 keywords, not 1 to 5",
            "depends on any version of bumpalo",
        ];
        assert_eq!(complaints(&package), expected);
    }
}
