//! Crashes a run at the calls of its history, and looks at what is recovered.
//!
//! 1. The disk keeps of what was not durable nothing, everything, or any part. `check` must find no damage.
//! 2. What the engine recovers must be the state after some write: at least the last one acknowledged within its
//!    durability, at most the one under way.
//! 3. For one crash in four, recovery crashes too, at any of its calls: recovering again must show the same.
//! 4. For one in four the recovered database is killed at once and opened again, written to, closed and checked.
//!
//! And single bits of a closed database are turned: each must be refused, cut as a torn tail, or make no difference.

use std::sync::Arc;

use kausal_engine::sim::{CrashMode, History, SimRandom, SimVfs};
use kausal_engine::vfs::Vfs;
use kausal_engine::{Error, RecoveryReport, StorageEngine};

use crate::counts::Counts;
use crate::machine::{FOLDER, Outcome, check_memory, open, open_read_only};
use crate::reads::{chain, digest_all};
use crate::run::Run;
use crate::script::Script;

const MODES: [CrashMode; 3] = [CrashMode::DropUnsynced, CrashMode::KeepUnsynced, CrashMode::Random];

/// How closely to look.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Crash points, spread evenly over the history; all of them if it has fewer.
    pub(crate) points: u64,
    /// How often each is crashed at.
    pub(crate) rounds: u64,
    pub(crate) flips: u64,
}

/// Runs a script and examines its history. Answers the trace hash of the run.
pub(crate) fn examine(script: &Script, plan: Plan, counts: &mut Counts) -> Outcome<u64> {
    let mut run = Run::new(script);
    counts.seeds += 1;
    let outcome = run.run();
    counts.add(&run.counts);
    outcome?;
    let trace = run.vfs.trace_hash();
    let history = run.vfs.take_history();
    let end = run.lied_at.unwrap_or(u64::MAX);
    let moments: Vec<usize> = (0..history.len()).filter(|&place| history.call(place) < end).collect();
    let share = plan.points.min(moments.len() as u64);
    for step in 0..share {
        let place = moments[(step * moments.len() as u64 / share) as usize];
        for round in 0..plan.rounds {
            let examined = Examined { script, run: &run, history: &history, place, round };
            examined.crash(counts)?;
        }
    }
    if run.lied_at.is_none() {
        flip_bits(script, &run, plan.flips, counts)?;
    }
    Ok(trace)
}

/// One crash.
struct Examined<'a> {
    script: &'a Script,
    run: &'a Run<'a>,
    history: &'a History,
    place: usize,
    round: u64,
}

impl Examined<'_> {
    fn crash(&self, counts: &mut Counts) -> Outcome {
        let call = self.history.call(self.place);
        let random = SimRandom::new(self.script.seed.rotate_left(32) ^ call ^ self.round.rotate_left(48));
        let mode = MODES[random.below(3) as usize];
        let looked = self.look(mode, &random, counts);
        looked.map_err(|what| format!("crash before call {call}, round {}, {mode:?}: {what}", self.round))
    }

    fn look(&self, mode: CrashMode, random: &SimRandom, counts: &mut Counts) -> Outcome {
        let (vfs, kept) = self.history.crash(self.place, mode, random.next());
        counts.points += 1;
        counts.crash.add(&kept);
        if random.below(2) == 0 {
            check(&vfs).map_err(|error| format!("check before recovery: {}", chain(&error)))?;
        }
        let call = self.history.call(self.place);
        let read = if random.below(8) == 0 { self.read_first(&vfs, call, counts)? } else { None };
        let killed = self.recover(&vfs, counts, "recovery")?;
        if let Some(read) = read {
            same(read, killed.digest, "recovery, after a look that changed nothing,")?;
        }
        let known = self.run.model.admits(call, mode, killed.digest)?;
        counts.recovered_writes += known.write as u64;
        counts.strays += u64::from(known.is_stray);
        if random.below(4) == 0 && !killed.history.is_empty() {
            let place = random.below(killed.history.len() as u64) as usize;
            let mode = MODES[random.below(3) as usize];
            let (vfs, kept) = killed.history.crash(place, mode, random.next());
            counts.nested += 1;
            counts.crash.add(&kept);
            let again = self.recover(&vfs, counts, "recovery after a crash in recovery")?;
            same(killed.digest, again.digest, "after a crash in recovery, recovery")?;
        }
        if random.below(4) == 0 {
            counts.repeated += 1;
            self.live_on(&killed, random, counts)?;
        }
        Ok(())
    }

    /// Looks at the database and at its checkpoints without changing anything.
    fn read_first(&self, vfs: &SimVfs, call: u64, counts: &mut Counts) -> Outcome<Option<u64>> {
        counts.read_only += 1;
        let seed = self.script.seed;
        for checkpoint in self.run.checkpoints.iter().filter(|checkpoint| checkpoint.call <= call) {
            checkpoint.compare(vfs, seed)?.map_err(|error| format!("a checkpoint: {}", chain(&error)))?;
        }
        match open_read_only(vfs, FOLDER.as_ref(), seed).and_then(|engine| digest_all(&engine)) {
            Ok(digest) => Ok(Some(digest)),
            // Not created yet; or more in its logs than fits into memory.
            Err(Error::NotFound { .. } | Error::MemoryBudget(_) | Error::ChangeTooLarge { .. }) => Ok(None),
            Err(error) => Err(format!("reading only: {}", chain(&error))),
        }
    }

    /// Opens, reads everything, and kills the process.
    fn recover(&self, vfs: &SimVfs, counts: &mut Counts, what: &str) -> Outcome<Killed> {
        vfs.record();
        let (engine, _scheduler) = open(vfs, self.script.seed, 0);
        let engine = engine.map_err(|error| format!("{what}: {}", chain(&error)))?;
        let history = vfs.take_history();
        let digest =
            digest_all(&engine).map_err(|error| format!("reading after {what}: {}", chain(&error)))?;
        check_memory(&engine)?;
        counts.tails_cut += u64::from(has_cut(engine.recovery_report()));
        counts.cleaned += u64::from(engine.recovery_report().removed_file_count > 0);
        let disk = vfs.crash(CrashMode::KeepUnsynced, 0);
        // The end of the engine closes it, which the disk after the kill does not see.
        Ok(Killed { engine, disk, digest, history })
    }

    /// Recovering again shows the same, and the database can be written to, closed and checked.
    fn live_on(&self, killed: &Killed, random: &SimRandom, counts: &mut Counts) -> Outcome {
        let vfs = killed.disk.crash(MODES[random.below(3) as usize], random.next());
        let again = self.recover(&vfs, counts, "recovering again")?;
        same(killed.digest, again.digest, "recovering again")?;
        let engine = again.engine;
        engine.put(b"after", b"crash").map_err(|error| format!("writing: {}", chain(&error)))?;
        engine.close().map_err(|error| format!("closing: {}", chain(&error)))?;
        check(&vfs).map_err(|error| format!("check after recovery: {}", chain(&error)))
    }
}

/// A database that was recovered and killed.
struct Killed {
    engine: StorageEngine,
    disk: SimVfs,
    digest: u64,
    history: History,
}

fn same(first: u64, second: u64, what: &str) -> Outcome {
    if first == second { Ok(()) } else { Err(format!("{what} shows another state")) }
}

fn has_cut(report: &RecoveryReport) -> bool {
    report.dropped_bytes > 0 || report.dropped_log_count > 0
}

fn check(vfs: &SimVfs) -> Result<(), Error> {
    let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
    match kausal_engine::check(&shared, FOLDER.as_ref(), 64 << 20) {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Turns single bits, half of the time after a crash, so that there are logs to hit.
fn flip_bits(script: &Script, run: &Run<'_>, flips: u64, counts: &mut Counts) -> Outcome {
    let random = SimRandom::new(script.seed ^ 0xF11F);
    for _ in 0..flips {
        let disk = run.vfs.crash(CrashMode::KeepUnsynced, 0);
        let files: Vec<_> = disk.files().into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        if files.is_empty() {
            return Ok(());
        }
        let (path, bytes) = &files[random.below(files.len() as u64) as usize];
        let bit = random.below(8 * bytes);
        disk.flip(path, bit);
        counts.flips += 1;
        let place = || format!("bit {bit} of {} turned", path.display());
        let (engine, _scheduler) = open(&disk, script.seed, 0);
        let found = engine.and_then(|engine| {
            let digest = digest_all(&engine)?;
            Ok((digest, has_cut(engine.recovery_report())))
        });
        match found {
            Err(_) => counts.flips_refused += 1,
            Ok((digest, _)) if run.model.is_current(digest) => counts.flips_harmless += 1,
            Ok((digest, true)) if run.model.is_prefix(digest) => counts.flips_cut += 1,
            Ok(_) => return Err(format!("{}: believed", place())),
        }
    }
    Ok(())
}
