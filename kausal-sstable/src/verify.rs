//! Verifies a whole table: every byte under a checksum that matches, every promise of the format kept.

use std::cmp::Ordering;

use kausal_arena::Budget;
use kausal_index::{Cursor, Kind, SeqNo, compare_positions};

use crate::error::{Damage, TableError};
use crate::filter::KeyHash;
use crate::properties::Properties;
use crate::reader::Table;

/// What a verification went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Data blocks read.
    pub block_count: u64,
    /// Entries seen.
    pub entry_count: u64,
    /// Of these, references to blob files.
    pub blob_count: u64,
}

impl Table {
    /// Reads the whole table and checks that blocks follow each other without a gap, entries are strictly ordered,
    /// the index names each block's last entry, the filter admits every key, and the properties are what was
    /// counted. `each` sees every blob reference's value.
    ///
    /// # Errors
    ///
    /// The first [`TableError`] found.
    pub fn verify(&self, budget: &Budget, mut each: impl FnMut(&[u8])) -> Result<Verified, TableError> {
        let mut cursor = self.cursor(budget)?;
        let mut counted = Properties::new(self.properties().keyspace, self.properties().filter_bits_per_key);
        let mut last: Option<(Vec<u8>, SeqNo)> = None;
        let mut tiled_to = 0;
        let mut more = cursor.seek_to_first()?;
        while more {
            let block = cursor.block().ok_or_else(|| self.index_damage(Damage::Index))?;
            if counted.block_count == 0 || block.offset >= tiled_to {
                if block.offset != tiled_to {
                    return Err(self.corrupt_at(tiled_to, Damage::Index));
                }
                tiled_to = block.end();
                counted.block_count += 1;
            }
            let entry = cursor.entry().ok_or_else(|| self.corrupt_at(block.offset, Damage::Block))?;
            let ordered = last.as_ref().is_none_or(|(key, seqno)| {
                compare_positions((key, *seqno), (entry.key, entry.seqno)) == Ordering::Less
            });
            if !ordered || entry.seqno == SeqNo::ZERO {
                return Err(self.corrupt_at(block.offset, Damage::Order));
            }
            if !self.may_hold(KeyHash::of(entry.key)) {
                return Err(self.corrupt_at(self.footer().filter.offset, Damage::FilterDenies));
            }
            if entry.kind == Kind::Blob {
                each(entry.value);
            }
            counted.count(entry);
            let here = (entry.key.to_vec(), entry.seqno);
            let ends_block = cursor.index_position().clone();
            more = cursor.next()?;
            let block_ended = !more || cursor.block() != Some(block);
            if block_ended && !ends_block.is_at(&here.0, here.1) {
                return Err(self.index_damage(Damage::Index));
            }
            last = Some(here);
        }
        if tiled_to != self.footer().filter.offset {
            return Err(self.corrupt_at(tiled_to, Damage::Index));
        }
        if counted != *self.properties() {
            return Err(self.corrupt_at(self.footer().properties.offset, Damage::PropertiesMismatch));
        }
        let Properties { block_count, entry_count, blob_count, .. } = counted;
        Ok(Verified { block_count, entry_count, blob_count })
    }

    fn corrupt_at(&self, offset: u64, what: Damage) -> TableError {
        TableError::Corruption { file: self.file(), offset, what }
    }
}
