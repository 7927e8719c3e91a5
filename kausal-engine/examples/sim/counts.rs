//! What was done, what went wrong on purpose, and what the engine made of it.

use kausal_engine::sim::{CrashCounts, Fault, FaultCounts};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counts of one or many seeds.
        #[derive(Default)]
        pub(crate) struct Counts {
            pub(crate) injected: FaultCounts,
            pub(crate) observed: FaultCounts,
            pub(crate) crash: CrashCounts,
            $($(#[$doc])* pub(crate) $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Self) {
                self.injected.add(&other.injected);
                self.observed.add(&other.observed);
                self.crash.add(&other.crash);
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    seeds,
    operations,
    openings,
    points,
    /// Crashes during recovery.
    nested,
    /// Recoveries killed at their end and done again.
    repeated,
    recovered_writes,
    /// Recoveries that cut a torn tail or dropped a log.
    tails_cut,
    /// Recoveries that removed files nothing named.
    cleaned,
    checkpoints,
    /// Sorted streams that became tables.
    ingestions,
    /// Recoveries whose disk was first read by a database opened only to read.
    read_only,
    poisoned,
    short_reads_continued,
    space_limits,
    refused_for_space,
    space_errors,
    /// Operations that met a full disk and ended well.
    space_pauses,
    jumps,
    jumps_seen,
    /// Writes that waited for memory or compaction.
    waits,
    /// Those that gave up.
    stalls,
    /// Tables written over the files of tables that were merged before.
    written_over,
    /// Parts of compactions that were cut.
    parts,
    lies_seen,
    /// Batches written by several threads at a time.
    members,
    /// Those that reached the log in the group of another.
    members_grouped,
    /// Those that required something.
    members_requiring,
    /// Those that were refused for what they required.
    members_refused,
    /// Those that failed for a mishap.
    members_failed,
    /// Databases that showed some of the batches of several threads of which some failed, in another order than those that
    /// were written in the end.
    strays,
    flips,
    flips_refused,
    flips_cut,
    flips_harmless,
}

impl Counts {
    /// Kinds of mishaps: how often each was made, and how often the engine showed that it noticed.
    fn mishaps(&self) -> Vec<(String, u64, u64)> {
        let mut rows = Vec::new();
        for fault in Fault::ALL {
            let observed = match fault {
                Fault::ShortRead => self.short_reads_continued,
                Fault::LyingWrite => self.lies_seen,
                _ => self.observed.of(fault),
            };
            rows.push((format!("{fault:?}"), self.injected.of(fault), observed));
        }
        let noticed = self.space_errors + self.space_pauses;
        rows.push(("full disk, calls refused".into(), self.refused_for_space, noticed));
        rows.push(("clock jump".into(), self.jumps, self.jumps_seen));
        rows.push(("bit flip at rest".into(), self.flips, self.flips_refused + self.flips_cut));
        let lost = self.crash.sectors_dropped + self.crash.sectors_torn;
        rows.push(("sectors dropped or torn".into(), lost, self.tails_cut));
        rows.push(("sectors with stale data".into(), self.crash.sectors_stale, self.tails_cut));
        rows.push(("names undone".into(), self.crash.names_dropped, self.cleaned));
        rows.push(("names out of order".into(), self.crash.names_reordered, self.cleaned));
        rows
    }

    /// The kinds that never happened or were never noticed.
    pub(crate) fn missing(&self) -> Vec<String> {
        let rows = self.mishaps().into_iter();
        let mut missing: Vec<String> = rows
            .filter(|(_, injected, observed)| *injected == 0 || *observed == 0)
            .map(|(name, ..)| name)
            .collect();
        let met = self.members_requiring - self.members_refused;
        for (count, name) in [
            (self.members_grouped, "batches in the group of another"),
            (met, "requirements met"),
            (self.members_refused, "requirements not met"),
            (self.members_failed, "batches of threads at a time that fail"),
            (self.written_over, "tables written over the files of others"),
        ] {
            missing.extend((count == 0).then(|| name.to_owned()));
        }
        missing
    }

    pub(crate) fn print(&self) {
        println!(
            "  {} operations, {} openings, {} checkpoints, {} ingestions; {} recoveries cut a tail, {} removed files, {} were repeated, {} read first",
            self.operations,
            self.openings,
            self.checkpoints,
            self.ingestions,
            self.tails_cut,
            self.cleaned,
            self.repeated,
            self.read_only
        );
        println!(
            "  {} handles poisoned and opened again, {} waits for memory, {} given up, {} for space; {} flips harmless; {} parts of compactions; {} tables over the files of others",
            self.poisoned,
            self.waits,
            self.stalls,
            self.space_pauses,
            self.flips_harmless,
            self.parts,
            self.written_over
        );
        println!(
            "  {} batches of threads at a time, {} in the group of another; {} with requirements, {} of them refused; {} failed, {} strays found",
            self.members,
            self.members_grouped,
            self.members_requiring,
            self.members_refused,
            self.members_failed,
            self.strays
        );
        println!("  {:<28}{:>12}{:>12}", "mishap", "injected", "observed");
        for (name, injected, observed) in self.mishaps() {
            println!("  {name:<28}{injected:>12}{observed:>12}");
        }
    }
}
