//! `kausal stats`: levels, amplifications, cache and stalls, in words.

use kausal_engine::{Metrics, StorageEngine};
use serde_json::{Value, json};

use crate::show::print;
use crate::{Failure, Outcome};

pub(crate) fn run(engine: &StorageEngine, as_json: bool) -> Result<Outcome, Failure> {
    let metrics = engine.metrics();
    if as_json {
        print(&json_of(&metrics));
    } else {
        print!("{}", explained(&metrics, engine.explain_stall().map(|stall| stall.reason.to_string())));
    }
    Ok(Outcome::Good)
}

/// For programs. Counts are of the tool's own opening, levels of the database.
fn json_of(metrics: &Metrics) -> Value {
    let stats = &metrics.stats;
    let levels = stats.levels.iter().map(|level| {
        json!({
            "tables": level.table_count,
            "bytes": level.bytes,
            "entries": level.entry_count,
            "tombstones": level.tombstone_count,
        })
    });
    json!({
        "levels": levels.collect::<Vec<_>>(),
        "memtable_entries": stats.memtable_entry_count,
        "blobs": stats.blob_count,
        "last_seqno": stats.last_seqno,
        "flushes": stats.flushes,
        "flush_bytes_written": stats.flush_bytes_written,
        "compactions": stats.compactions,
        "compaction_parts": stats.compaction_parts,
        "compaction_bytes_written": stats.compaction_bytes_written,
        "blob_bytes_written": stats.blob_bytes_written,
        "write_stalls": stats.write_stalls,
        "write_amplification": metrics.write_amplification(),
        "space_amplification": metrics.space_amplification(),
        "read_amplification": metrics.read_amplification(),
        "pending_compaction_bytes": metrics.pending_compaction_bytes,
        "metrics": metrics,
    })
}

/// For people: a table of the levels, and a line for each thing to know, with what it means.
fn explained(metrics: &Metrics, stall: Option<String>) -> String {
    let stats = &metrics.stats;
    let mut text =
        format!("{:>6} {:>8} {:>14} {:>12} {:>12}\n", "level", "tables", "bytes", "entries", "tombstones");
    for (number, level) in stats.levels.iter().enumerate().filter(|(_, level)| level.table_count > 0) {
        text.push_str(&format!(
            "{number:>6} {:>8} {:>14} {:>12} {:>12}\n",
            level.table_count, level.bytes, level.entry_count, level.tombstone_count
        ));
    }
    text.push_str(&format!(
        "{} entries in memtables, {} blob files, {} flushes, {} compactions, {} stalls\n",
        stats.memtable_entry_count, stats.blob_count, stats.flushes, stats.compactions, stats.write_stalls
    ));
    let runs = metrics.read_amplification();
    text.push_str(&format!(
        "read amplification: a look-up looks into {runs} runs at worst, memtables apart\n"
    ));
    if let Some(space) = metrics.space_amplification() {
        text.push_str(&format!(
            "space amplification: {space:.2}, all tables against those of the deepest level\n"
        ));
    }
    match metrics.write_amplification() {
        Some(write) => text.push_str(&format!(
            "write amplification: {write:.2}, bytes of tables written for each that was flushed, since this opening\n"
        )),
        None => text.push_str("write amplification: nothing was flushed since this opening\n"),
    }
    text.push_str(&format!("to compact: {} bytes\n", metrics.pending_compaction_bytes));
    match metrics.cache_hit_share() {
        Some(share) => text.push_str(&format!("block cache: {:.1} % of look-ups answered\n", 100.0 * share)),
        None => text.push_str("block cache: nothing was looked up\n"),
    }
    if stats.mapped_table_count > 0 {
        text.push_str(&format!(
            "mapped tables: {}, of {} bytes; {} blocks were used and found good\n",
            stats.mapped_table_count, stats.mapped_table_bytes, stats.mapped_block_count
        ));
    }
    for (reason, totals) in metrics.stalls.iter().filter(|(_, totals)| totals.count > 0) {
        let (count, total, longest) = (totals.count, totals.total, totals.longest);
        text.push_str(&format!(
            "writers waited {count} times, {total:.1?} in all, {longest:.1?} at most: {reason}\n"
        ));
    }
    let now = stall.unwrap_or_else(|| "nothing is in the way of writers".to_owned());
    text.push_str(&format!("now: {now}\n"));
    text
}
