//! Everything that prints: for people by default, for programs with `--json`.

use std::io::{self, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use kausal_engine::vfs::{StdVfs, Vfs};
use kausal_engine::{Error, KeyRange, MemoryEvent, MemoryEventKind, StorageEngine, inspect};
use serde_json::{Value, json};

use crate::arguments::{Database, Scan};
use crate::{Failure, Outcome};

pub(crate) fn print(value: &Value) {
    println!("{value:#}");
}

/// A key or value for JSON: a string if it is text, else its bytes as `{"hex": …}`.
pub(crate) fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

pub(crate) fn scan(engine: &StorageEngine, arguments: &Scan) -> Result<Outcome, Failure> {
    let bound = |key: &Option<String>, bound: fn(Vec<u8>) -> Bound<Vec<u8>>| {
        key.as_ref().map_or(Bound::Unbounded, |key| bound(key.clone().into_bytes()))
    };
    let range = match &arguments.prefix {
        Some(prefix) => KeyRange::prefix(prefix.as_bytes()),
        None => KeyRange {
            lower: bound(&arguments.from, Bound::Included),
            upper: bound(&arguments.to, Bound::Excluded),
        },
    };
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut cursor = engine.cursor(range)?;
    let mut more = if arguments.reverse { cursor.seek_to_last()? } else { cursor.seek_to_first()? };
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    while more && left > 0 {
        left -= 1;
        let key = cursor.key().unwrap_or_default();
        // A value in a blob file is named by its length, not printed.
        let value = cursor.value();
        let len = cursor.value_len().unwrap_or(0);
        let line = match (arguments.json, arguments.keys_only) {
            (true, true) => json!({ "key": text(key) }).to_string(),
            (true, false) => match value {
                Some(value) => json!({ "key": text(key), "value": text(value) }).to_string(),
                None => json!({ "key": text(key), "blob_bytes": len }).to_string(),
            },
            (false, true) => key.escape_ascii().to_string(),
            (false, false) => match value {
                Some(value) => format!("{}\t{}", key.escape_ascii(), value.escape_ascii()),
                None => format!("{}\t<{len} bytes>", key.escape_ascii()),
            },
        };
        writeln!(output, "{line}").map_err(Failure::io("write the scan"))?;
        more = if arguments.reverse { cursor.prev()? } else { cursor.next()? };
    }
    output.flush().map_err(Failure::io("write the scan"))?;
    Ok(Outcome::Good)
}

pub(crate) fn check(database: &Database, json: bool) -> Result<Outcome, Failure> {
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    match kausal_engine::check(&vfs, &database.db, database.memory_budget) {
        Ok(report) => {
            if json {
                print(&json!({
                    "sound": true,
                    "tables": report.table_count,
                    "blocks": report.block_count,
                    "entries": report.entry_count,
                    "logs": report.log_count,
                    "batches": report.batch_count,
                    "blobs": report.blob_count,
                    "torn_bytes": report.torn_bytes,
                    "unnamed_files": report.unnamed_file_count,
                }));
            } else {
                println!(
                    "sound: {} tables with {} blocks and {} entries, {} logs with {} batches, {} blob files",
                    report.table_count,
                    report.block_count,
                    report.entry_count,
                    report.log_count,
                    report.batch_count,
                    report.blob_count
                );
                println!(
                    "torn tail of a crash: {} bytes; files that nothing names: {}",
                    report.torn_bytes, report.unnamed_file_count
                );
            }
            Ok(Outcome::Good)
        }
        Err(Error::Corruption { file, offset, what }) if json => {
            print(&json!({
                "sound": false,
                "file": file.display().to_string(),
                "offset": offset,
                "what": what.to_string(),
            }));
            Ok(Outcome::Incomplete)
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn memory(engine: &StorageEngine, events: bool, json: bool) -> Result<Outcome, Failure> {
    let report = engine.memory_report();
    let events = if events { engine.memory_events() } else { Vec::new() };
    if json {
        let nodes: Vec<Value> = report
            .nodes()
            .iter()
            .map(|node| {
                json!({
                    "name": &*node.name,
                    "depth": node.depth,
                    "used": node.used,
                    "reserved": node.reserved,
                    "floor": node.floor,
                    "limit": node.limit,
                    "peak": node.used_max,
                })
            })
            .collect();
        let events: Vec<Value> = events.iter().map(memory_event).collect();
        print(&json!({ "nodes": nodes, "leaves_used": report.leaves_used(), "events": events }));
    } else {
        print!("{report}");
        events.iter().for_each(|event| println!("{event}"));
    }
    Ok(Outcome::Good)
}

fn memory_event(event: &MemoryEvent) -> Value {
    let (have, asked) = match event.kind {
        MemoryEventKind::Refused { have } => (Some(have), None),
        MemoryEventKind::GaveBack { asked } => (None, Some(asked)),
        _ => (None, None),
    };
    json!({
        "number": event.number,
        "node": &*event.node,
        "kind": event.kind.name(),
        "bytes": event.bytes,
        "have": have,
        "asked": asked,
        "used": event.used,
        "limit": event.limit,
    })
}

pub(crate) fn log(path: &Path, json: bool) -> Result<Outcome, Failure> {
    let log = inspect::log(&StdVfs, path)?;
    if json {
        print(&json!({
            "batches": log.batch_count,
            "puts": log.put_count,
            "deletes": log.delete_count,
            "range_deletes": log.range_delete_count,
            "blobs": log.blob_count,
            "seqnos": log.seqnos,
            "synced_through": log.synced_through,
            "end": log.end,
            "torn_bytes": log.torn_bytes,
        }));
    } else {
        println!(
            "{} batches: {} puts, {} deletes, {} range deletes, {} blob references",
            log.batch_count, log.put_count, log.delete_count, log.range_delete_count, log.blob_count
        );
        if let Some((first, last)) = log.seqnos {
            println!("sequence numbers {first} to {last}");
        }
        println!(
            "good to byte {}, synced to {}, torn tail {} bytes",
            log.end, log.synced_through, log.torn_bytes
        );
    }
    Ok(Outcome::Good)
}

pub(crate) fn manifest(directory: &Path, json: bool) -> Result<Outcome, Failure> {
    let manifest = inspect::manifest(&StdVfs, directory)?;
    if json {
        let tables: Vec<Value> = manifest
            .tables
            .iter()
            .map(|table| {
                json!({
                    "keyspace": table.keyspace.0,
                    "level": table.level,
                    "file": table.file.0,
                    "file_bytes": table.file_bytes,
                    "entries": table.entry_count,
                    "range_tombstones": table.range_tombstone_count,
                    "key_min": text(&table.key_min),
                    "key_max": text(&table.key_max),
                    "blobs": table.blob_count,
                })
            })
            .collect();
        print(&json!({
            "database_id": format!("{:016x}", manifest.database_id),
            "number": manifest.number.0,
            "was_clean": manifest.was_clean,
            "records": manifest.record_count,
            "last_seqno": manifest.last_seqno,
            "oldest_log": manifest.oldest_log.0,
            "recovered_logs": manifest.recovered_logs.iter().map(|log| log.0).collect::<Vec<_>>(),
            "keyspaces": manifest.keyspaces.iter().map(|(id, name)| json!({"id": id.0, "name": name})).collect::<Vec<_>>(),
            "tables": tables,
        }));
        return Ok(Outcome::Good);
    }
    let end = if manifest.was_clean { "closed cleanly" } else { "not closed cleanly" };
    println!("manifest {} of database {:016x}, {end}", manifest.number, manifest.database_id);
    println!("{} records, last sequence number {}", manifest.record_count, manifest.last_seqno);
    println!("logs count from {} on", manifest.oldest_log);
    for log in &manifest.recovered_logs {
        println!("so does log {log}, which was recovered into memory");
    }
    for (id, name) in &manifest.keyspaces {
        println!("keyspace {id}: {name}");
    }
    for table in &manifest.tables {
        let (lower, upper) = (table.key_min.escape_ascii(), table.key_max.escape_ascii());
        let (level, file, bytes) = (table.level, table.file, table.file_bytes);
        println!(
            "keyspace {} level {level} table {file}: {bytes} bytes, {} entries, {} range tombstones, {lower} to {upper}",
            table.keyspace, table.entry_count, table.range_tombstone_count
        );
    }
    Ok(Outcome::Good)
}
