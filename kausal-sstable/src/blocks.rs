//! Every block of a table, for tools that explain one.

use kausal_arena::Budget;
use kausal_index::SeqNo;

use crate::block::Block;
use crate::buffer::BlockBuffer;
use crate::compression::name;
use crate::error::TableError;
use crate::format::{BlockHandle, BlockKind};
use crate::index::IndexBlock;
use crate::reader::Table;
use crate::source::BlockSource;

/// One block of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// What it holds.
    pub kind: BlockKind,
    /// Where it lies.
    pub handle: BlockHandle,
    /// The segment it belongs to.
    pub segment: Option<usize>,
    /// Bytes of contents; more than are stored if it is compressed.
    pub contents_bytes: usize,
    /// How it is compressed.
    pub compression: &'static str,
    /// What it has many of: entries, lines of an index, segments of a root, range tombstones.
    pub count: Option<usize>,
    /// Of data blocks, the separator between it and the next: key and sequence number.
    pub separator: Option<(Vec<u8>, SeqNo)>,
}

impl Table {
    /// Shows every block to `each`, in order of the file. Reads the whole table; checks what reading checks, not more.
    ///
    /// # Errors
    ///
    /// The first [`TableError`] found.
    pub fn blocks(&self, budget: &Budget, mut each: impl FnMut(&BlockInfo)) -> Result<(), TableError> {
        let buffer = || BlockBuffer::new(budget).map_err(|error| self.table_file().no_memory(error));
        let (mut index, mut data) = (buffer()?, buffer()?);
        for place in 0..self.segments().len() {
            self.blocks_of_segment(place, &mut index, &mut data, &mut each)?;
        }
        let footer = *self.footer();
        let tail = [
            footer.dictionary.map(|handle| (BlockKind::Dictionary, handle, None)),
            footer
                .range_tombstones
                .map(|handle| (BlockKind::RangeTombstones, handle, Some(self.range_tombstones().len()))),
            Some((BlockKind::Root, footer.root, Some(self.root().count()))),
            Some((BlockKind::Properties, footer.properties, None)),
        ];
        for (kind, handle, count) in tail.into_iter().flatten() {
            let mut info = self.block(kind, handle, &mut data)?;
            info.count = count;
            each(&info);
        }
        Ok(())
    }

    fn blocks_of_segment(
        &self,
        place: usize,
        index: &mut BlockBuffer,
        data: &mut BlockBuffer,
        each: &mut impl FnMut(&BlockInfo),
    ) -> Result<(), TableError> {
        let segment = &self.segments()[place];
        let mut index_info = self.block(BlockKind::Index, segment.index_handle, index)?;
        let damage = |what| self.table_file().corrupt(segment.index_handle.offset, what);
        let block = IndexBlock::of_segment(index.bytes()).map_err(damage)?;
        for number in 0..block.count() {
            let handle = segment.data_block(&block, number).map_err(damage)?;
            let mut info = self.block(BlockKind::Data, handle, data)?;
            let entries = Block::new(data.bytes()).map(|block| block.count());
            info.count = Some(entries.map_err(|what| self.table_file().corrupt(handle.offset, what))?);
            let mut key = Vec::new();
            let seqno = block.separator(number, &mut key).map_err(damage)?;
            (info.segment, info.separator) = (Some(place), Some((key, seqno)));
            each(&info);
        }
        let mut filter = self.block(BlockKind::Filter, segment.filter_handle, data)?;
        filter.segment = Some(place);
        each(&filter);
        (index_info.segment, index_info.count) = (Some(place), Some(block.count()));
        each(&index_info);
        Ok(())
    }

    /// Reads a block into `buffer` and says what is known of any.
    fn block(
        &self,
        kind: BlockKind,
        handle: BlockHandle,
        buffer: &mut BlockBuffer,
    ) -> Result<BlockInfo, TableError> {
        buffer.fetch(self.table_file(), handle, kind, 0)?;
        Ok(BlockInfo {
            kind,
            handle,
            segment: None,
            contents_bytes: buffer.bytes().len(),
            compression: name(buffer.code()),
            count: None,
            separator: None,
        })
    }
}
