//! What `kausal top` draws: rates between two samples, and the state of the second.

use std::time::Duration;

use kausal_engine::{Latency, Metrics};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Table};

use super::Sample;

/// Draws one screen.
pub(crate) fn draw(frame: &mut Frame<'_>, title: &str, before: &Sample, now: &Sample) {
    let nodes = now.memory.nodes().len() as u16;
    let rows = [
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(6),
        Constraint::Length(10),
        Constraint::Length(3),
        Constraint::Min(nodes.min(8) + 2),
    ];
    let [head, memory, rates, levels, stall, tree] = Layout::vertical(rows).areas(frame.area());
    let uptime = now.metrics.uptime.as_secs();
    let line = format!("kausal top  {title}  open for {uptime} s  (q ends)");
    frame.render_widget(Paragraph::new(line).style(Style::new().add_modifier(Modifier::BOLD)), head);
    draw_memory(frame, memory, &now.metrics);
    let [throughput, latency] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(rates);
    draw_throughput(frame, throughput, before, now);
    draw_latency(frame, latency, &now.metrics);
    draw_levels(frame, levels, &now.metrics);
    draw_stall(frame, stall, now);
    draw_tree(frame, tree, now);
}

fn draw_memory(frame: &mut Frame<'_>, area: Rect, metrics: &Metrics) {
    let (used, budget) = (metrics.memory_used, metrics.memory_budget);
    let gauge = Gauge::default()
        .block(Block::bordered().title("memory"))
        .gauge_style(Style::new().fg(Color::Cyan))
        .ratio((used as f64 / budget.max(1) as f64).clamp(0.0, 1.0))
        .label(format!("{} of {}", bytes(used as f64), bytes(budget as f64)));
    frame.render_widget(gauge, area);
}

fn draw_throughput(frame: &mut Frame<'_>, area: Rect, before: &Sample, now: &Sample) {
    let (then, now) = (&before.metrics, &now.metrics);
    let seconds = now.uptime.saturating_sub(then.uptime).as_secs_f64().max(1e-3);
    let rate = |count: fn(&Metrics) -> u64| count(now).saturating_sub(count(then)) as f64 / seconds;
    let lines = format!(
        "writes      {:>10}/s  {:>10}/s\ngets        {:>10}/s  cache {}\nflushes     {:>10}    {:>10}/s\ncompactions {:>10}    {:>10}/s",
        count(rate(|metrics| metrics.writes.changes)),
        bytes(rate(|metrics| metrics.writes.bytes)),
        count(rate(|metrics| metrics.reads.gets())),
        now.cache_hit_share().map_or("-".to_owned(), |share| format!("{:.0} % hits", 100.0 * share)),
        now.stats.flushes,
        bytes(rate(|metrics| metrics.stats.flush_bytes_written)),
        now.stats.compactions,
        bytes(rate(|metrics| metrics.stats.compaction_bytes_written)),
    );
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("throughput")), area);
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, metrics: &Metrics) {
    let row = |name: &'static str, latency: &Latency| {
        let quantiles = [latency.p50, latency.p99, latency.p99_9, latency.max].map(micros);
        Row::new(std::iter::once(name.to_owned()).chain(quantiles))
    };
    let rows = [
        row("get", &metrics.get_latency),
        row("write", &metrics.write_latency),
        row("sync", &metrics.sync_latency),
    ];
    let widths = [
        Constraint::Length(6),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["", "p50", "p99", "p99.9", "max"]))
        .block(Block::bordered().title("latency since open, sampled"));
    frame.render_widget(table, area);
}

fn draw_levels(frame: &mut Frame<'_>, area: Rect, metrics: &Metrics) {
    let levels = metrics.stats.levels.iter().zip(&metrics.compactions).enumerate();
    let rows = levels.map(|(level, (stats, flow))| {
        let hits = metrics.reads.level_hits.get(level).copied().unwrap_or(0);
        Row::new([
            level.to_string(),
            stats.table_count.to_string(),
            bytes(stats.bytes as f64),
            count(stats.entry_count as f64),
            count(hits as f64),
            bytes((flow.bytes_in + flow.bytes_moved) as f64),
            bytes(flow.bytes_out as f64),
        ])
    });
    let amplification = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let title = format!(
        "levels: write amplification {}, space {}, reads look into {} runs, {} to compact",
        amplification(metrics.write_amplification()),
        amplification(metrics.space_amplification()),
        metrics.read_amplification(),
        bytes(metrics.pending_compaction_bytes as f64),
    );
    let widths = [
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["level", "tables", "size", "entries", "get hits", "came in", "merged"]))
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn draw_stall(frame: &mut Frame<'_>, area: Rect, now: &Sample) {
    let (text, color) = match &now.stall {
        None => ("nothing is in the way of writers".to_owned(), Color::Green),
        Some(stall) => {
            let verb = if stall.reason.is_pace() { "slowed down" } else { "stopped" };
            let color = if stall.reason.is_pace() { Color::Yellow } else { Color::Red };
            (
                format!("{verb}: {} ({}), until {}", stall.reason, stall.holders.join(", "), stall.ends_when),
                color,
            )
        }
    };
    let title = format!("writers waited {:.2} s in all", now.metrics.stalled().as_secs_f64());
    let paragraph = Paragraph::new(text).style(Style::new().fg(color)).block(Block::bordered().title(title));
    frame.render_widget(paragraph, area);
}

fn draw_tree(frame: &mut Frame<'_>, area: Rect, now: &Sample) {
    let rows = now.memory.nodes().iter().map(|node| {
        let name = format!("{:indent$}{}", "", node.name, indent = 2 * node.depth);
        Row::new([name, bytes(node.used as f64), bytes(node.used_max as f64), bytes(node.limit as f64)])
    });
    let widths = [Constraint::Fill(2), Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)];
    let table = Table::new(rows, widths)
        .header(Row::new(["node", "used", "peak", "limit"]))
        .block(Block::bordered().title("memory tree"));
    frame.render_widget(table, area);
}

/// Bytes for people.
fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A count for people.
fn count(count: f64) -> String {
    match count {
        count if count >= 1e7 => format!("{:.1} M", count / 1e6),
        count if count >= 1e4 => format!("{:.1} k", count / 1e3),
        count => format!("{count:.0}"),
    }
}

fn micros(duration: Duration) -> String {
    let micros = duration.as_nanos() as f64 / 1e3;
    match micros {
        0.0 => "-".to_owned(),
        micros if micros >= 1e4 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{micros:.1} µs"),
    }
}

#[cfg(test)]
mod tests {
    use kausal_arena::Budget;
    use kausal_engine::{LevelFlow, LevelStats, Reads, Stall, StallReason, StallTotals, Stats, Writes};

    use super::*;

    fn metrics(seconds: u64) -> Metrics {
        let latency = |nanos: u64| Latency {
            samples: 1000,
            mean: Duration::from_nanos(nanos),
            p50: Duration::from_nanos(nanos),
            p90: Duration::from_nanos(2 * nanos),
            p99: Duration::from_nanos(4 * nanos),
            p99_9: Duration::from_nanos(40 * nanos),
            max: Duration::from_nanos(900 * nanos),
        };
        let level = |table_count, bytes, entry_count| LevelStats {
            table_count,
            bytes,
            entry_count,
            ..LevelStats::default()
        };
        let mut levels = vec![LevelStats::default(); 7];
        (levels[0], levels[1], levels[2]) =
            (level(3, 12 << 20, 90_000), level(10, 38 << 20, 290_000), level(60, 240 << 20, 1_900_000));
        let mut compactions = vec![LevelFlow::default(); 7];
        compactions[1] = LevelFlow {
            compactions: 40,
            bytes_in: 700 << 20,
            bytes_merged: 900 << 20,
            bytes_out: 1500 << 20,
            bytes_moved: 4 << 20,
        };
        Metrics {
            uptime: Duration::from_secs(seconds),
            stats: Stats {
                levels,
                flushes: 10 * seconds,
                flush_bytes_written: seconds * (40 << 20),
                compactions: 4 * seconds,
                compaction_bytes_written: seconds * (90 << 20),
                block_cache_hits: 900,
                block_cache_misses: 100,
                ..Stats::default()
            },
            reads: Reads {
                memtable_hits: 120_000 * seconds,
                level_hits: vec![10, 20_000, 300_000, 0, 0, 0, 0],
                absent: 5,
                visits: 0,
            },
            writes: Writes {
                changes: 350_000 * seconds,
                bytes: 350_000 * 116 * seconds,
                ..Writes::default()
            },
            compactions,
            stalls: vec![(
                StallReason::Level0Pace,
                StallTotals {
                    count: 900,
                    total: Duration::from_millis(850),
                    longest: Duration::from_millis(1),
                },
            )],
            get_latency: latency(700),
            write_latency: latency(1100),
            pending_compaction_bytes: 30 << 20,
            memory_used: 13 << 20,
            memory_budget: 16 << 20,
            ..Metrics::default()
        }
    }

    fn sample(seconds: u64, stall: Option<Stall>) -> Sample {
        let root = Budget::root("database", 16 << 20);
        let memtables = root.child("memtables", 8 << 20, 8 << 20).unwrap();
        let _held = memtables.reserve(8 << 20).unwrap();
        Sample { metrics: metrics(seconds), memory: root.report(), stall }
    }

    #[test]
    fn the_screen_shows_rates_levels_stalls_and_memory() {
        let stall = Stall {
            reason: StallReason::Level0Pace,
            lasting: Duration::from_millis(3),
            writers: 1,
            pressure: 0.4,
            ends_when: "compaction is ahead of the flushes again",
            holders: vec!["9 tables in level 0".to_owned()],
        };
        insta::assert_snapshot!(super::super::drawn("T.db", &sample(9, None), &sample(10, Some(stall))));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [bytes(0.0), bytes(1023.0), bytes(1536.0), bytes(3e9)],
            ["0 B", "1023 B", "1.5 KiB", "2.8 GiB"]
        );
        assert_eq!([count(9_999.0), count(12_345.0), count(2e7)], ["9999", "12.3 k", "20.0 M"]);
        assert_eq!(
            [micros(Duration::ZERO), micros(Duration::from_nanos(1500)), micros(Duration::from_millis(12))],
            ["-", "1.5 µs", "12.0 ms"]
        );
    }
}
