//! Types of other crates in public signatures: each is a promise that the other crate's next major version breaks.
//!
//! 1. rustdoc writes what it knows of a library as JSON, which its stable release does only when it is told that it is
//!    not one.
//! 2. Every type or trait that a public item, or an implementation written by hand, names is looked up: whose is it?
//! 3. What is neither ours nor the standard library's must be allowed by its manifest, under
//!    `package.metadata.cargo_check_external_types`, where the tool of that name looks as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command;
use crate::failure::{AtPath, Failure, Violation, none_of};
use crate::workspace::Workspace;

/// Crates whose types are everybody's.
const STANDARD: [&str; 3] = ["std", "core", "alloc"];

/// How the names of the libraries begin. They are published together, with one version.
const SIBLINGS: &str = "kausal_";

/// Looks through the interface of each of `libraries`.
///
/// # Errors
///
/// [`Failure::Violations`] with each type that is not allowed, or another failure if the documentation cannot be made.
pub(super) fn check(workspace: &Workspace, libraries: &[&str], target: &Path) -> Result<(), Failure> {
    let allowed = allowed(workspace)?;
    let mut violations = Vec::new();
    for library in libraries {
        let mut rustdoc =
            command::cargo(workspace.root(), &["rustdoc", "--package", library, "--all-features"]);
        rustdoc.args(["--lib", "--", "-Z", "unstable-options", "--output-format", "json"]);
        command::run(rustdoc.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target))?;
        let file = target.join("doc").join(library.replace('-', "_")).with_extension("json");
        let document: Value = serde_json::from_slice(&fs::read(&file).at("read", &file)?)
            .map_err(|error| Failure::other(format!("{}: {error}", file.display())))?;
        let of_library = allowed.iter().filter(|(name, _)| name == library);
        let patterns: Vec<&str> = of_library.flat_map(|(_, patterns)| patterns).map(String::as_str).collect();
        let foreign = foreign(&document);
        println!("{library}: {} types of other crates", foreign.len());
        let refused = foreign.iter().filter(|name| !patterns.iter().any(|pattern| admits(pattern, name)));
        violations.extend(refused.map(|name| Violation {
            file: PathBuf::from(library).join("Cargo.toml"),
            line: 0,
            what: format!("`{name}` stands in the public interface"),
            remedy: "hide it, or allow it in package.metadata.cargo_check_external_types".to_owned(),
        }));
    }
    none_of(violations)
}

/// Per library, what its manifest allows.
fn allowed(workspace: &Workspace) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let of_package = |package: &Value| {
        let list = &package["metadata"]["cargo_check_external_types"]["allowed_external_types"];
        let patterns = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        (package["name"].as_str().unwrap_or_default().to_owned(), patterns.map(str::to_owned).collect())
    };
    Ok(workspace.manifests()?.iter().map(of_package).collect())
}

/// Whether `pattern`, a path or one that ends in `::*`, admits `name`.
fn admits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// The types and traits of other crates that the public items of `document` name, by their paths.
fn foreign(document: &Value) -> BTreeSet<String> {
    let items = document["index"].as_object().into_iter().flat_map(|items| items.values());
    let mut named = BTreeSet::new();
    for item in items.filter(|item| item["crate_id"] == 0 && is_public(item)) {
        collect(&item["inner"], &mut named);
    }
    named.iter().filter_map(|id| path_of(document, id)).collect()
}

/// Whether a user can see `item`: a part of an implementation or an enum is as visible as the whole. What the compiler
/// implements by itself, nobody promised.
fn is_public(item: &Value) -> bool {
    let made_by_itself = &item["inner"]["impl"];
    let is_written = made_by_itself["is_synthetic"] != true && made_by_itself["blanket_impl"].is_null();
    is_written && (item["visibility"] == "public" || item["visibility"] == "default")
}

/// The ids of all types and traits in `part`: whatever has a path.
fn collect(part: &Value, named: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            if let (Some(id), Some(Value::String(_))) = (fields.get("id"), fields.get("path")) {
                named.insert(id.to_string());
            }
            fields.values().for_each(|field| collect(field, named));
        }
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, named)),
        _ => {}
    }
}

/// The full path of the type `id`, if another crate than the standard library's has it.
fn path_of(document: &Value, id: &str) -> Option<String> {
    let path = document["paths"].get(id)?;
    let krate = path["crate_id"].as_u64().filter(|&number| number != 0)?;
    let owner = document["external_crates"][krate.to_string()]["name"].as_str()?;
    if STANDARD.contains(&owner) || owner.starts_with(SIBLINGS) {
        return None;
    }
    let parts: Vec<&str> = path["path"].as_array()?.iter().filter_map(Value::as_str).collect();
    Some(parts.join("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(visibility: &str) -> Value {
        let argument =
            |name: &str, id: u64| serde_json::json!([name, {"resolved_path": {"path": name, "id": id}}]);
        serde_json::json!({
            "index": {
                "1": {"crate_id": 0, "visibility": visibility, "inner": {"function": {"sig": {
                    "inputs": [argument("Bytes", 7), argument("Vec", 8), argument("Own", 9)],
                }}}},
            },
            "paths": {
                "7": {"crate_id": 3, "path": ["bytes", "Bytes"]},
                "8": {"crate_id": 4, "path": ["alloc", "vec", "Vec"]},
                "9": {"crate_id": 0, "path": ["own", "Own"]},
            },
            "external_crates": {"3": {"name": "bytes"}, "4": {"name": "alloc"}},
        })
    }

    #[test]
    fn a_public_function_shows_the_types_of_its_arguments() {
        assert_eq!(foreign(&document("public")), BTreeSet::from(["bytes::Bytes".to_owned()]));
        assert_eq!(foreign(&document("crate")), BTreeSet::new());
    }

    #[test]
    fn a_pattern_admits_a_path_or_a_whole_crate() {
        assert!(admits("bytes::Bytes", "bytes::Bytes") && admits("bytes::*", "bytes::Bytes"));
        assert!(!admits("bytes::Buf", "bytes::Bytes") && !admits("bytes::*", "byteslike::Bytes"));
    }
}
