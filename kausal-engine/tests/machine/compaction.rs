//! Compaction policies: what they write, and that nothing is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use kausal_engine::sim::{self, SimRandom, SimScheduler, SimVfs};
use kausal_engine::{Builder, Compaction, KeyRange, Options, Stats, StorageEngine};

struct Machine {
    vfs: SimVfs,
    scheduler: Arc<SimScheduler>,
    engine: StorageEngine,
}

fn options(compaction: Compaction) -> Options {
    Options::new().memory_budget(8 << 20).compaction(compaction).table_bytes(64 << 10).level1_bytes(256 << 10)
}

impl Machine {
    fn new(compaction: Compaction) -> Self {
        let vfs = SimVfs::new();
        let (environment, scheduler) = sim::environment(&vfs, 1);
        let builder = Builder::new("/db", options(compaction)).environment(environment);
        Self { vfs, scheduler, engine: builder.open().unwrap() }
    }

    /// Writes a memtable's worth and lets all jobs end.
    fn flush(&self) {
        self.engine.flush().unwrap();
        while self.scheduler.run_one() {}
    }

    fn reopen(self, compaction: Compaction) -> Self {
        self.engine.close().unwrap();
        let (environment, scheduler) = sim::environment(&self.vfs, 2);
        let builder = Builder::new("/db", options(compaction)).environment(environment);
        Self { vfs: self.vfs, scheduler, engine: builder.open().unwrap() }
    }
}

fn overwrite(machine: &Machine, model: &mut BTreeMap<u32, u8>, rounds: usize) -> Stats {
    let random = SimRandom::new(7);
    for round in 0..rounds {
        for _ in 0..400 {
            let key = random.below(24_000) as u32;
            machine.engine.put(&key.to_be_bytes(), &[round as u8; 120]).unwrap();
            model.insert(key, round as u8);
        }
        if round % 5 == 0 {
            let start = random.below(24_000) as u32;
            machine.engine.delete_range(&start.to_be_bytes(), &(start + 50).to_be_bytes()).unwrap();
            model.retain(|&key, _| !(start..start + 50).contains(&key));
        }
        machine.flush();
    }
    machine.engine.stats()
}

fn assert_holds(engine: &StorageEngine, model: &BTreeMap<u32, u8>) {
    let mut cursor = engine.cursor(KeyRange::all()).unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    for (key, round) in model {
        assert!(more);
        assert_eq!(
            (cursor.key().unwrap(), cursor.value().unwrap()),
            (&key.to_be_bytes()[..], &[*round; 120][..])
        );
        more = cursor.next().unwrap();
    }
    assert!(!more);
}

#[test]
fn lazy_leveling_writes_less_and_loses_nothing() {
    let mut written = Vec::new();
    for compaction in [Compaction::Leveled, Compaction::LazyLeveling] {
        let machine = Machine::new(compaction);
        let mut model = BTreeMap::new();
        let stats = overwrite(&machine, &mut model, 300);
        assert_holds(&machine.engine, &model);
        let amplification = stats.compaction_bytes_written as f64 / stats.flush_bytes_written as f64;
        println!("{compaction:?}: {amplification:.2} bytes compacted per byte flushed, {stats:?}");
        written.push(stats.compaction_bytes_written);
        machine.engine.compact().unwrap();
        assert_holds(&machine.engine, &model);
        let filled = machine.engine.stats().levels.iter().filter(|level| level.table_count > 0).count();
        assert_eq!(filled, 1, "everything is on one level");
        assert_holds(&machine.reopen(Compaction::Leveled).engine, &model);
    }
    assert!(10 * written[1] <= 7 * written[0], "{written:?}");
}

#[test]
fn a_tree_may_change_its_policy() {
    let mut model = BTreeMap::new();
    let mut machine = Machine::new(Compaction::LazyLeveling);
    for compaction in [Compaction::Leveled, Compaction::LazyLeveling, Compaction::Leveled] {
        overwrite(&machine, &mut model, 25);
        machine = machine.reopen(compaction);
        assert_holds(&machine.engine, &model);
    }
}

#[test]
fn first_in_first_out_keeps_the_newest_and_the_limit() {
    let bytes_max = 200 << 10;
    let machine = Machine::new(Compaction::Fifo { bytes_max });
    for round in 0..60_u32 {
        for number in 0..50 {
            machine.engine.put(&(round * 100 + number).to_be_bytes(), &[round as u8; 200]).unwrap();
        }
        machine.flush();
        let stats = machine.engine.stats();
        assert!(stats.levels[0].bytes <= bytes_max, "{stats:?}");
    }
    let stats = machine.engine.stats();
    assert_eq!((stats.compaction_bytes_written, stats.write_stalls), (0, 0), "{stats:?}");
    assert_eq!(machine.engine.get(&0_u32.to_be_bytes()).unwrap(), None, "the oldest is gone");
    assert!(machine.engine.get(&5_900_u32.to_be_bytes()).unwrap().is_some(), "the newest is there");
}

#[test]
fn tables_that_overlap_nothing_are_moved() {
    let machine = Machine::new(Compaction::Leveled);
    for round in 0..12_u32 {
        for number in 0..400 {
            machine.engine.put(&(round * 400 + number).to_be_bytes(), &[1; 100]).unwrap();
        }
        machine.flush();
    }
    let stats = machine.engine.stats();
    assert!(stats.tables_moved > 0, "{stats:?}");
    assert!(
        stats.compaction_bytes_written <= stats.flush_bytes_written,
        "rising keys are merged at most once: {stats:?}"
    );
}
