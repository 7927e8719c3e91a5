//! Explains a table: what it holds, how its bytes are used, whether it is sound, and with `--blocks` every block.

use std::path::Path;

use kausal_engine::inspect::{self, BlockKind, TableDescription};
use kausal_engine::vfs::StdVfs;
use serde_json::{Value, json};

use crate::show::{print, text};
use crate::{Failure, Outcome};

/// Every kind of block in order of the file, and what it is called here.
const KINDS: [(BlockKind, &str); 7] = [
    (BlockKind::Data, "data"),
    (BlockKind::Filter, "filter"),
    (BlockKind::Index, "index"),
    (BlockKind::Dictionary, "dictionary"),
    (BlockKind::RangeTombstones, "range tombstones"),
    (BlockKind::Root, "root"),
    (BlockKind::Properties, "properties"),
];

/// The blocks of one kind together.
struct Part {
    name: &'static str,
    block_count: usize,
    stored_bytes: u64,
    contents_bytes: u64,
}

pub(crate) fn run(path: &Path, blocks: bool, json: bool) -> Result<Outcome, Failure> {
    let table = inspect::table(&StdVfs, path)?;
    if json {
        print(&as_json(&table, blocks));
    } else {
        as_text(&table);
        if blocks {
            blocks_as_text(&table);
        }
        println!("{}", table.damage.as_deref().unwrap_or("sound"));
    }
    Ok(if table.damage.is_none() { Outcome::Good } else { Outcome::Incomplete })
}

fn parts(table: &TableDescription) -> Vec<Part> {
    let parts = KINDS.iter().map(|&(kind, name)| {
        let blocks = || table.blocks.iter().filter(move |block| block.kind == kind);
        Part {
            name,
            block_count: blocks().count(),
            stored_bytes: blocks().map(|block| block.handle.len).sum(),
            contents_bytes: blocks().map(|block| block.contents_bytes as u64).sum(),
        }
    });
    parts.filter(|part| part.block_count > 0).collect()
}

fn name_of(kind: BlockKind) -> &'static str {
    KINDS.iter().find(|&&(held, _)| held == kind).map_or("unknown", |&(_, name)| name)
}

fn as_json(table: &TableDescription, blocks: bool) -> Value {
    let properties = &table.properties;
    let parts = parts(table).into_iter().map(|part| {
        json!({
            "kind": part.name,
            "blocks": part.block_count,
            "stored_bytes": part.stored_bytes,
            "contents_bytes": part.contents_bytes,
        })
    });
    let fragments = table
        .range_tombstones
        .iter()
        .map(|(start, end, seqno)| json!({ "start": text(start), "end": text(end), "seqno": seqno }));
    let mut value = json!({
        "table": table.table.to_string(),
        "format": table.format,
        "file_bytes": table.file_bytes,
        "resident_bytes": table.resident_bytes,
        "keyspace": properties.keyspace.0,
        "created_micros": properties.created_micros,
        "entries": properties.entry_count,
        "tombstones": properties.tombstone_count,
        "blobs": properties.blob_count,
        "segments": properties.segment_count,
        "blocks": properties.block_count,
        "compressed_blocks": properties.compressed_block_count,
        "compression": properties.compression_name(),
        "filter_bits_per_key": properties.filter_bits_per_key,
        "filter_prefix_bytes": properties.filter_prefix_bytes,
        "key_bytes": properties.key_bytes,
        "value_bytes": properties.value_bytes,
        "seqno_min": properties.seqno_min.get(),
        "seqno_max": properties.seqno_max.get(),
        "key_min": text(&properties.key_min),
        "key_max": text(&properties.key_max),
        "range_tombstones": fragments.collect::<Vec<_>>(),
        "parts": parts.collect::<Vec<_>>(),
        "damage": table.damage,
    });
    if blocks {
        let list = table.blocks.iter().map(|block| {
            json!({
                "kind": name_of(block.kind),
                "offset": block.handle.offset,
                "stored_bytes": block.handle.len,
                "contents_bytes": block.contents_bytes,
                "compression": block.compression,
                "segment": block.segment,
                "count": block.count,
                "separator": block.separator.as_ref().map(|(key, seqno)| json!([text(key), seqno.get()])),
            })
        });
        value["block_list"] = list.collect();
    }
    value
}

fn as_text(table: &TableDescription) {
    let properties = &table.properties;
    println!(
        "table {} in format {}, {} bytes, {} resident",
        table.table, table.format, table.file_bytes, table.resident_bytes
    );
    println!(
        "keyspace {}, written {} microseconds after 1970",
        properties.keyspace, properties.created_micros
    );
    println!(
        "{} entries in {} blocks of {} segments: {} tombstones, {} blob references",
        properties.entry_count,
        properties.block_count,
        properties.segment_count,
        properties.tombstone_count,
        properties.blob_count
    );
    println!("{} bytes of keys, {} bytes of values", properties.key_bytes, properties.value_bytes);
    println!("sequence numbers {} to {}", properties.seqno_min, properties.seqno_max);
    println!("keys {} to {}", properties.key_min.escape_ascii(), properties.key_max.escape_ascii());
    println!(
        "compression {}: {} blocks of {}, {} bytes of contents in {}",
        properties.compression_name(),
        properties.compressed_block_count,
        properties.block_count,
        properties.block_bytes,
        properties.stored_block_bytes
    );
    println!(
        "filter of {} bits a key, prefixes of {} bytes",
        properties.filter_bits_per_key, properties.filter_prefix_bytes
    );
    for (start, end, seqno) in &table.range_tombstones {
        println!("range tombstone {} to {} at {seqno}", start.escape_ascii(), end.escape_ascii());
    }
    println!("{:>16} {:>8} {:>14} {:>14}", "part", "blocks", "stored bytes", "contents bytes");
    for Part { name, block_count, stored_bytes, contents_bytes } in parts(table) {
        println!("{name:>16} {block_count:>8} {stored_bytes:>14} {contents_bytes:>14}");
    }
}

fn blocks_as_text(table: &TableDescription) {
    println!(
        "{:>12} {:>16} {:>10} {:>10} {:>7}  separator",
        "offset", "block", "stored", "contents", "count"
    );
    for block in &table.blocks {
        let count = block.count.map_or_else(String::new, |count| count.to_string());
        let separator = block
            .separator
            .as_ref()
            .map_or_else(String::new, |(key, seqno)| format!("{} at {seqno}", key.escape_ascii()));
        let line = format!(
            "{:>12} {:>16} {:>10} {:>10} {count:>7}  {separator}",
            block.handle.offset,
            name_of(block.kind),
            block.handle.len,
            block.contents_bytes
        );
        println!("{}", line.trim_end());
    }
}
