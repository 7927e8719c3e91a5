//! A snapshot for the `metrics` facade: counters as absolute values, levels and memory as gauges, latencies as gauges by
//! quantile. Nothing is registered or touched between two snapshots, so the facade costs nothing on the paths of the engine.

use metrics::{counter, gauge};

use crate::metrics::{Latency, Metrics};

/// Hands a snapshot to the recorder that the program has installed for the `metrics` facade. Call it as often as somebody
/// looks: every few seconds.
///
/// Names begin with `kausal_`. Every level has the label `level`, every stall `reason`, every quantile `quantile`.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), kausal_engine::Error> {
/// # let folder = tempfile::tempdir().expect("a folder for the example");
/// let engine = kausal_engine::StorageEngine::open(folder.path(), kausal_engine::Options::new())?;
/// engine.put(b"apple", b"red")?;
/// kausal_engine::publish(&engine.metrics());
/// # Ok(())
/// # }
/// ```
pub fn publish(metrics: &Metrics) {
    let Metrics { stats, reads, writes, .. } = metrics;
    counter!("kausal_gets_total", "place" => "memtable").absolute(reads.memtable_hits);
    counter!("kausal_gets_total", "place" => "absent").absolute(reads.absent);
    for (level, &hits) in reads.level_hits.iter().enumerate() {
        counter!("kausal_gets_total", "place" => format!("level{level}")).absolute(hits);
    }
    counter!("kausal_cursor_visits_total").absolute(reads.visits);
    counter!("kausal_writes_total").absolute(writes.writes);
    counter!("kausal_changes_total").absolute(writes.changes);
    counter!("kausal_write_bytes_total").absolute(writes.bytes);
    counter!("kausal_groups_total").absolute(writes.groups);
    counter!("kausal_group_writes_total").absolute(writes.group_writes);
    counter!("kausal_syncs_total").absolute(writes.syncs);
    counter!("kausal_flushes_total").absolute(stats.flushes);
    counter!("kausal_flush_bytes_total").absolute(stats.flush_bytes_written);
    counter!("kausal_compaction_parts_total").absolute(stats.compaction_parts);
    counter!("kausal_blob_bytes_total").absolute(stats.blob_bytes_written);
    counter!("kausal_cache_hits_total").absolute(stats.block_cache_hits);
    counter!("kausal_cache_misses_total").absolute(stats.block_cache_misses);
    gauge!("kausal_mapped_tables").set(stats.mapped_table_count as f64);
    gauge!("kausal_mapped_table_bytes").set(stats.mapped_table_bytes as f64);
    gauge!("kausal_mapped_blocks").set(stats.mapped_block_count as f64);
    gauge!("kausal_pending_compaction_bytes").set(metrics.pending_compaction_bytes as f64);
    gauge!("kausal_memory_used_bytes").set(metrics.memory_used as f64);
    gauge!("kausal_memory_budget_bytes").set(metrics.memory_budget as f64);
    publish_levels(metrics);
    for (reason, totals) in &metrics.stalls {
        counter!("kausal_stalls_total", "reason" => reason.name()).absolute(totals.count);
        gauge!("kausal_stall_seconds", "reason" => reason.name()).set(totals.total.as_secs_f64());
    }
    publish_latency("kausal_get_seconds", &metrics.get_latency);
    publish_latency("kausal_write_seconds", &metrics.write_latency);
    publish_latency("kausal_sync_seconds", &metrics.sync_latency);
}

fn publish_levels(metrics: &Metrics) {
    for (level, (stats, flow)) in metrics.stats.levels.iter().zip(&metrics.compactions).enumerate() {
        let label = level.to_string();
        gauge!("kausal_level_tables", "level" => label.clone()).set(stats.table_count as f64);
        gauge!("kausal_level_bytes", "level" => label.clone()).set(stats.bytes as f64);
        counter!("kausal_compactions_total", "level" => label.clone()).absolute(flow.compactions);
        counter!("kausal_compaction_in_bytes_total", "level" => label.clone())
            .absolute(flow.bytes_in + flow.bytes_merged);
        counter!("kausal_compaction_out_bytes_total", "level" => label).absolute(flow.bytes_out);
    }
}

fn publish_latency(name: &'static str, latency: &Latency) {
    let quantiles =
        [("0.5", latency.p50), ("0.9", latency.p90), ("0.99", latency.p99), ("0.999", latency.p99_9)];
    for (quantile, value) in quantiles.into_iter().chain([("1", latency.max)]) {
        gauge!(name, "quantile" => quantile).set(value.as_secs_f64());
    }
}
