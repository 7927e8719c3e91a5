//! The parts of a table as functions of untrusted bytes, for the fuzz targets of this crate. Not an interface for
//! anybody else: it changes with the format's inside.
//!
//! Each function goes through everything that can be asked of a part, whatever its bytes are, and asserts what must
//! hold of any. Those that build a part first compare it with a list.

use std::cmp::Ordering;

use kausal_index::{EntryRef, Kind, PackedSeqNo, SeqNo, compare_positions};

use crate::block::{Block, BlockBuilder, Position};
use crate::filter::{self, FilterBuilder, KeyHash};
use crate::format::{BlockHandle, BlockKind, FOOTER_BYTES, Footer, MAGIC, TRAILER_BYTES, seal};
use crate::ids::{FileNumber, TableId};
use crate::index::{Guide, IndexBlock, IndexBuilder, separator};
use crate::properties::Properties;
use crate::range_tombstones::RangeTombstones;
use crate::segment::Segment;

/// Everything that can be asked of a data block with these contents.
pub fn block(contents: &[u8], key: &[u8], at: SeqNo) {
    let Ok(block) = Block::new(contents) else { return };
    let mut position = Position::default();
    let _ = block.find(key, KeyHash::of(key), at);
    let _ = block.seek(&mut position, key, at);
    position.clear();
    let mut more = block.seek_to_first(&mut position);
    while let Ok(true) = more {
        let entry = position.entry(contents).expect("stands");
        let (key, seqno) = (entry.key.to_vec(), entry.seqno);
        let _ = block.find(&key, KeyHash::of(&key), seqno);
        let _ = block.seek(&mut Position::default(), &key, seqno);
        more = block.next(&mut position);
    }
    position.clear();
    let mut more = block.seek_to_last(&mut position);
    while let Ok(true) = more {
        more = block.prev(&mut position);
    }
}

/// Builds a block of `entries`, which are in order, and compares it with them. Answers its contents.
pub fn build_block(entries: &[EntryRef<'_>]) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    for entry in entries {
        builder.add(
            entry.key,
            KeyHash::of(entry.key),
            PackedSeqNo::new(entry.seqno, entry.kind),
            entry.value,
        );
    }
    if entries.is_empty() {
        return Vec::new();
    }
    let contents = std::mem::take(builder.finish(0));
    let block = Block::new(&contents).expect("sound");
    assert!(block.is_tight() && block.count() == entries.len());
    let mut position = Position::default();
    for (place, entry) in entries.iter().enumerate() {
        assert!(block.load(&mut position, place).expect("sound"));
        assert_eq!(position.entry(&contents), Some(*entry));
        let found = block.find(entry.key, KeyHash::of(entry.key), entry.seqno).expect("sound");
        let found = found.expect("an entry is found at its own place");
        assert_eq!((found.packed.seqno(), &contents[found.value]), (entry.seqno, entry.value));
        assert!(block.seek(&mut position, entry.key, entry.seqno).expect("sound"));
        assert_eq!(position.entry(&contents), Some(*entry));
    }
    contents
}

/// Everything that can be asked of an index, and of a root, with these contents.
pub fn index(contents: &[u8], key: &[u8], at: SeqNo) {
    let mut separator = Vec::new();
    if let Ok(index) = IndexBlock::of_segment(contents) {
        let _ = index.seek(key, at);
        let samples = index.samples();
        let _ = IndexBlock::with(contents, index.shape(), &samples).seek(key, at);
        for place in 0..index.count() {
            let _ = index.data_block(place, at.get());
            if let Ok(seqno) = index.separator(place, &mut separator) {
                let _ = index.seek(&separator, seqno);
            }
        }
    }
    if let Ok(root) = IndexBlock::of_table(contents) {
        let sought = root.seek(key, at);
        // Whatever the contents are, a guide answers as they do, or not at all.
        let guided = Guide::new(&root).and_then(|guide| guide.seek(root.prefix(), key));
        assert!(guided.is_none_or(|place| sought == Ok(place)));
        for end in [0, at.get()] {
            let _ = Segment::all(&root, end);
        }
    }
}

/// Builds an index whose blocks end at `keys`, which ascend strictly, and compares every search with a linear one.
pub fn build_index(keys: &[&[u8]], probes: &[(&[u8], SeqNo)]) -> Vec<u8> {
    let mut builder = IndexBuilder::default();
    let mut separators = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let mut between = key.to_vec();
        let mut seqno = SeqNo::new(place as u64).expect("few");
        if let Some(next) = keys.get(place + 1) {
            separator(key, next, &mut between);
            assert!(*key <= between.as_slice() && between.as_slice() < *next);
            seqno = SeqNo::ZERO;
        }
        builder.add((&between, seqno), &(11 * (place as u32 + 1)).to_le_bytes());
        separators.push((between, seqno));
    }
    let mut contents = Vec::new();
    builder.finish(&mut contents);
    if keys.is_empty() {
        return contents;
    }
    let index = IndexBlock::of_segment(&contents).expect("sound");
    // As an index that stays in memory is searched.
    let samples = index.samples();
    let sampled = IndexBlock::with(&contents, index.shape(), &samples);
    let guide = Guide::new(&index);
    assert!(guide.is_some() || keys.is_empty(), "heads are in order");
    for &(key, at) in probes {
        let is_before =
            |(held, seqno): &(Vec<u8>, SeqNo)| compare_positions((held, *seqno), (key, at)) == Ordering::Less;
        let linear = separators.iter().take_while(|held| is_before(held)).count();
        assert_eq!((index.seek(key, at), sampled.seek(key, at)), (Ok(linear), Ok(linear)));
        let guided = guide.as_ref().and_then(|guide| guide.seek(index.prefix(), key));
        assert!(guided.is_none_or(|place| place == linear));
    }
    let mut held = Vec::new();
    for (place, separator) in separators.iter().enumerate() {
        let seqno = index.separator(place, &mut held).expect("sound");
        assert_eq!((held.as_slice(), seqno), (separator.0.as_slice(), separator.1));
        let handle = index.data_block(place, 100).expect("sound");
        assert_eq!((handle.offset, handle.len), (100 + 11 * place as u64, 11 - TRAILER_BYTES as u64));
    }
    contents
}

/// Everything that can be asked of a filter with these contents.
pub fn filter(contents: &[u8], key: &[u8]) {
    if filter::check(contents).is_ok() {
        let _ = filter::may_hold(contents, KeyHash::of(key));
    }
}

/// Builds a filter of `keys` and asserts that it admits all of them.
pub fn build_filter(keys: &[&[u8]], bits_per_key: u32) -> Vec<u8> {
    let mut builder = FilterBuilder::default();
    keys.iter().for_each(|key| builder.add(KeyHash::of(key)));
    let mut contents = Vec::new();
    builder.finish(bits_per_key, &mut contents);
    filter::check(&contents).expect("sound");
    assert!(keys.iter().all(|key| filter::may_hold(&contents, KeyHash::of(key))));
    contents
}

/// Reads a footer at `offset` as it is, and with a checksum that matches; asserts that what it names tiles the file's
/// end.
pub fn footer(bytes: &[u8; FOOTER_BYTES], offset: u64) {
    let _ = Footer::from_bytes(FileNumber(1), offset, bytes);
    let mut bytes = *bytes;
    bytes[40..48].copy_from_slice(&1_u64.to_le_bytes());
    bytes[48..56].copy_from_slice(&MAGIC);
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[..56], offset);
    bytes[56..].copy_from_slice(&checksum.to_le_bytes());
    let Ok(footer) = Footer::from_bytes(FileNumber(1), offset, &bytes) else { return };
    let mut end = footer.segments_end();
    for handle in [footer.dictionary, footer.range_tombstones, Some(footer.root), Some(footer.properties)] {
        let Some(handle) = handle else { continue };
        assert_eq!(handle.offset, end);
        assert!(handle.len <= offset);
        end = handle.end();
    }
    assert_eq!(end, offset);
}

/// Reads properties and range tombstones with these contents; what is sound is written as it was read.
pub fn properties(contents: &[u8], key: &[u8], at: SeqNo) {
    if let Ok(properties) = Properties::from_bytes(contents) {
        assert_eq!(Properties::from_bytes(&properties.to_bytes()), Ok(properties));
    }
    if let Ok(fragments) = RangeTombstones::check(contents) {
        let covering = fragments.iter().filter(|one| one.start <= key && key < one.end);
        let newest = covering.map(|one| one.seqno).filter(|&seqno| seqno <= at).max();
        assert_eq!(fragments.covering(key, at), newest);
    }
}

/// Makes every checksum of a table match its damaged bytes, as far as its blocks can still be found.
pub fn reseal(file: &mut [u8]) {
    let Some(offset) = file.len().checked_sub(FOOTER_BYTES) else { return };
    let (body, tail) = file.split_at_mut(offset);
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&tail[..56], offset as u64);
    tail[56..].copy_from_slice(&checksum.to_le_bytes());
    let Ok(bytes) = <&[u8; FOOTER_BYTES]>::try_from(&*tail) else { return };
    let Ok(footer) = Footer::from_bytes(FileNumber(1), offset as u64, bytes) else { return };
    let table = footer.table;
    for (kind, handle) in [
        (BlockKind::Dictionary, footer.dictionary),
        (BlockKind::RangeTombstones, footer.range_tombstones),
        (BlockKind::Root, Some(footer.root)),
        (BlockKind::Properties, Some(footer.properties)),
    ] {
        if let Some(handle) = handle {
            reseal_block(body, table, kind, handle);
        }
    }
    let root = body[footer.root.offset as usize..][..footer.root.len as usize].to_vec();
    let Ok(root) = IndexBlock::of_table(&root) else { return };
    let Ok(segments) = Segment::all(&root, footer.segments_end()) else { return };
    for segment in segments {
        reseal_block(body, table, BlockKind::Filter, segment.filter_handle);
        reseal_block(body, table, BlockKind::Index, segment.index_handle);
        let handle = segment.index_handle;
        let index = body[handle.offset as usize..][..handle.len as usize].to_vec();
        let Ok(index) = IndexBlock::of_segment(&index) else { continue };
        for place in 0..index.count() {
            if let Ok(handle) = segment.data_block(&index, place) {
                reseal_block(body, table, BlockKind::Data, handle);
            }
        }
    }
}

fn reseal_block(body: &mut [u8], table: TableId, kind: BlockKind, handle: BlockHandle) {
    let (start, len) = (handle.offset as usize, handle.len as usize);
    let Some(block) = body.get_mut(start..start + len + TRAILER_BYTES) else { return };
    let compression = block[len + 1];
    let mut stored = block[..len].to_vec();
    seal(&mut stored, table, handle.offset, kind, compression);
    block.copy_from_slice(&stored);
}

/// An entry's kind for any byte.
pub fn kind(byte: u8) -> Kind {
    Kind::from_u8(byte % 3).expect("three kinds")
}
