//! What a process took: processor time, memory, bytes written, bytes on the disk.
//!
//! The kernel's own books, read when a workload begins and ends, never during an operation that is timed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Processor time of all threads of this process so far, in and for it.
pub fn cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()).unsigned_abs())
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// Bytes of memory that belong to this process alone: its heap and its anonymous and shared mappings, without mapped files.
pub fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["RssAnon:", "RssShmem:"].iter().map(|name| field(&status, name) << 10).sum()
}

/// Bytes of mapped files that are in memory through this process.
pub fn mapped() -> u64 {
    field(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "RssFile:") << 10
}

/// Bytes that this process made the kernel owe to the disk so far.
pub fn written() -> u64 {
    field(&fs::read_to_string("/proc/self/io").unwrap_or_default(), "write_bytes:")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Bytes that the files below `folder` have on the disk.
///
/// # Errors
///
/// [`io::Error`] if the folder cannot be read. A file that is removed meanwhile counts nothing.
pub fn disk(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += disk(&entry.path())?,
            Ok(metadata) => bytes += metadata.blocks() * 512,
            Err(_) => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_in_memory() {
        let before = memory();
        let touched = vec![1_u8; 32 << 20];
        assert!(memory() >= before + (16 << 20), "{} then {}", before, memory());
        assert_eq!(touched.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 32 << 20);
    }

    #[test]
    fn a_folder_is_as_large_as_its_files() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("deep")).expect("a folder");
        fs::write(folder.path().join("deep/file"), vec![1; 100_000]).expect("a file");
        let file = fs::File::open(folder.path().join("deep/file")).expect("the file");
        file.sync_all().expect("blocks are handed out");
        assert!((100_000..200_000).contains(&disk(folder.path()).expect("it can be read")));
    }

    #[test]
    fn a_field_is_the_number_behind_its_name() {
        assert_eq!(field("VmHWM:\t  12 kB\nRssAnon:\t    7 kB\n", "RssAnon:"), 7);
        assert_eq!(field("", "RssAnon:"), 0);
    }
}
