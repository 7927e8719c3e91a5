//! The loss of power, by shutting a real file system down.
//!
//! 1. An image on a loop device is formatted and mounted; the database lies there, what is known of it elsewhere.
//! 2. Two writers work for a random time. Then the file system is shut down, half of the time with its journal written
//!    first: nothing that is in memory reaches the image any more.
//!    One process in two is stopped before, at the end of whatever calls it is in; the others are in the midst of theirs.
//! 3. The image is mounted again, its journal replayed; an audit demands every write acknowledged with `Power`: to a stopped
//!    process all of them, to one that runs on those from before the shutdown began. What it is told later is counted apart:
//!    no machine without power does that, and a file system answers a sync with success there whose transaction the shutdown
//!    has thrown away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use crate::command;
use crate::failure::{AtPath, Failure};

use super::Options;
use super::worker::{Verdict, Worker};

/// Length of an image; it is sparse.
const IMAGE_BYTES: u64 = 512 << 20;

/// File systems, and what makes them.
const SYSTEMS: [(&str, &[&str]); 2] =
    [("ext4", &["mkfs.ext4", "-q", "-F"]), ("xfs", &["mkfs.xfs", "-q", "-f"])];

/// What one file system is judged by.
#[derive(Debug, Default)]
struct Counts {
    shutdowns: u32,
    /// Of these, of a process that had been stopped.
    stopped: u32,
    acknowledged: u64,
    lost: u64,
    wrong: u64,
    torn: u64,
    refused: u32,
    cut: u64,
    replayed: u64,
    late: u64,
    late_lost: u64,
}

/// Shuts each file system down as often as asked, prints and judges.
///
/// # Errors
///
/// [`Failure`] if a promise is broken or a tool fails. Where there is no such file system, it says so and goes on.
pub(super) fn run(worker: &Worker, options: &Options) -> Result<(), Failure> {
    for (system, make) in SYSTEMS {
        if let Some(reason) = missing(make[0]) {
            println!("torture: power on {system}: skipped: {reason}");
            continue;
        }
        let image = match Image::mount(worker.folder(), system, make) {
            Ok(image) => image,
            Err(failure) => {
                println!("torture: power on {system}: skipped: {failure}");
                continue;
            }
        };
        let mut counts = Counts::default();
        let outcome = shut_down_all(worker, &image, options, &mut counts);
        println!("torture: power on {system}: {}", counts.shown());
        outcome?;
    }
    println!(
        "torture: the same plan again: cargo xtask torture --power={} --seed {}",
        options.power, options.seed
    );
    Ok(())
}

/// What is needed and not there.
fn missing(make: &str) -> Option<String> {
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout.trim_ascii() != b"0" {
        return Some("not root".into());
    }
    let programs = [make, "mount", "umount", "xfs_io"];
    let absent = programs.iter().find(|program| Command::new(program).arg("-V").output().is_err());
    absent.map(|program| format!("no {program}"))
}

fn shut_down_all(
    worker: &Worker,
    image: &Image,
    options: &Options,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut rng = Rng::with_seed(options.seed);
    let database = image.mounted.join("db");
    while counts.shutdowns < options.power {
        if counts.shutdowns == 0 || rng.u8(0..8) == 0 {
            worker.forget(&database)?;
            // Or the shutdown brings the old files back.
            command::run(Command::new("sync").arg("-f").arg(&image.mounted))?;
        }
        let mut process = worker.start(worker.command("mixed", &database, rng.u64(..)))?;
        thread::sleep(Duration::from_millis(rng.u64(10..600)));
        if let Some(status) = process.ended()? {
            return Err(process.failure(&format!("ended before the shutdown: {status}")));
        }
        if rng.bool() {
            process.stop()?;
            counts.stopped += 1;
        } else {
            worker.mark_cut()?;
        }
        image.shut_down(rng.bool())?;
        process.kill()?;
        drop(process);
        image.mount_again()?;
        counts.shutdowns += 1;
        let verdict = worker.audit(&database, rng.u64(..), true)?;
        counts.add(&verdict);
        if !verdict.is_good() {
            return Err(Failure::other(format!("shutdown {}: {verdict:?}", counts.shutdowns)));
        }
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        self.acknowledged += verdict.acknowledged;
        self.lost += verdict.lost;
        self.wrong += verdict.wrong;
        self.torn += verdict.torn;
        self.refused += u32::from(verdict.refused.is_some());
        self.cut += u64::from(verdict.dropped > 0);
        self.replayed += verdict.batches;
        self.late += verdict.late;
        self.late_lost += verdict.late_lost;
    }

    fn shown(&self) -> String {
        let Self { shutdowns, stopped, acknowledged, lost, wrong, torn, refused, cut, replayed, .. } = self;
        let Self { late, late_lost, .. } = self;
        format!(
            "{shutdowns} shutdowns, {stopped} of a stopped process; {acknowledged} writes acknowledged, Power writes lost {lost}, wrong {wrong}, torn \
             {torn}, failed checks {refused}; {replayed} batches replayed, {cut} torn tails cut; acknowledged during the \
             shutdown {late}, of these not there {late_lost}"
        )
    }
}

/// A mounted image; unmounted when this goes away.
struct Image {
    file: PathBuf,
    mounted: PathBuf,
    system: &'static str,
}

impl Image {
    fn mount(folder: &Path, system: &'static str, make: &[&str]) -> Result<Self, Failure> {
        let file = folder.join(format!("image.{system}"));
        File::create(&file).and_then(|image| image.set_len(IMAGE_BYTES)).at("make", &file)?;
        command::read(Command::new(make[0]).args(&make[1..]).arg(&file))?;
        let mounted = folder.join(system);
        fs::create_dir(&mounted).at("make", &mounted)?;
        let image = Self { file, mounted, system };
        image.mount_here()?;
        Ok(image)
    }

    fn mount_here(&self) -> Result<(), Failure> {
        let mut command = Command::new("mount");
        command.args(["-t", self.system, "-o", "loop"]).arg(&self.file).arg(&self.mounted);
        command::run(&mut command)
    }

    fn shut_down(&self, with_journal: bool) -> Result<(), Failure> {
        let what = if with_journal { "shutdown -f" } else { "shutdown" };
        command::run(Command::new("xfs_io").args(["-x", "-c", what]).arg(&self.mounted))
    }

    fn mount_again(&self) -> Result<(), Failure> {
        command::run(Command::new("umount").arg(&self.mounted))?;
        self.mount_here()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // An image that stays mounted is seen by the next run, which cannot remove its folder.
        let _ = Command::new("umount").arg(&self.mounted).status();
    }
}
