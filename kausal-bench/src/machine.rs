//! What a record says about where it was made: the machine, the C library, the revision, the versions of the peers.
//!
//! Each answer is "unknown" where the system does not give it; nothing here fails.

use std::fs;
use std::path::Path;
use std::process::Command;

/// glibc with its version, or the system's allocator.
pub fn libc_name() -> String {
    let version = output("getconf", &["GNU_LIBC_VERSION"]);
    if version.starts_with("glibc") { version } else { "system malloc".into() }
}

/// Processor, cores and memory, as a class and not as a place.
pub fn class() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: usize = meminfo.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let pages = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    format!(
        "{}, {cores} cores, {} GiB, {} {}, huge pages: {}",
        field("model name"),
        kib.div_ceil(1 << 20),
        std::env::consts::OS,
        output("uname", &["-r"]),
        pages.trim(),
    )
}

/// The file system that files are made on where a benchmark needs some.
pub fn file_system() -> String {
    let folder = std::env::temp_dir();
    let shown = output("df", &["--output=fstype", &folder.to_string_lossy()]);
    shown.lines().last().unwrap_or("unknown").to_owned()
}

/// Short name of the commit, marked if the sources differ from it.
pub fn revision() -> String {
    output("git", &["describe", "--always", "--dirty"])
}

/// Today, in UTC.
pub fn date() -> String {
    output("date", &["-u", "+%Y-%m-%d"])
}

/// The compiler.
pub fn rustc() -> String {
    output("rustc", &["--version"])
}

/// `name version` of each of `names`, or all versions of it that there are, from the metadata cargo gives of the workspace in the current folder.
pub fn versions(names: &[&str]) -> Vec<String> {
    let arguments = ["metadata", "--format-version", "1", "--offline", "--all-features"];
    let metadata: serde_json::Value = serde_json::from_str(&output("cargo", &arguments)).unwrap_or_default();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A peer may bring another version of one that is a peer itself.
    let version = |name: &&str| {
        let of_name = packages.iter().filter(|package| package["name"] == **name);
        let versions: Vec<&str> = of_name.filter_map(|package| package["version"].as_str()).collect();
        let versions = if versions.is_empty() { "unknown".into() } else { versions.join(" and ") };
        format!("{name} {versions}")
    };
    names.iter().map(version).collect()
}

/// Whether `program` can be started.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
    })
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).trim().to_owned();
    if text.is_empty() { "unknown".into() } else { text }
}
