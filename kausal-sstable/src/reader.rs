//! Reads a table: opens it, looks keys up, lends what is resident to the cursors.
//!
//! 1. Opening reads the footer, checks it against what the manifest expects, then reads properties, root, range
//!    tombstones and dictionary, each checked before it is believed. Filters and indexes of the segments are read as
//!    well and stay, or are left to the block source: see [`Residency`].
//! 2. A look-up asks the key range, then the root for a segment, the segment's filter, its index for a block, and the
//!    block's tags for the entry. It reads one data block at most, and decodes no entry but those whose tag is right.
//!
//! Everything that stays is charged to a budget before there is memory for it.

use std::fmt;
use std::sync::Arc;

use kausal_arena::{Budget, Reservation};
use kausal_index::{EntryRef, SeqNo};

use crate::block::{self, Block, Found};
use crate::buffer::BlockBuffer;
use crate::cache::FrameHint;
use crate::compression::Dictionary;
use crate::cursor::TableCursor;
use crate::error::{Damage, TableError};
use crate::file::{TableFile, TableSource};
use crate::filter::{self, KeyHash};
use crate::format::{BlockHandle, BlockKind, FOOTER_BYTES, Footer};
use crate::ids::{FileNumber, TableId};
use crate::index::{Guide, IndexBlock, IndexShape};
use crate::mapped::{MappedBlocks, Mark};
use crate::prefetch;
use crate::properties::Properties;
use crate::range_tombstones::RangeTombstones;
use crate::segment::Segment;
use crate::source::BlockSource;

/// Which parts of a table stay in memory while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// Root, range tombstones, and the filter and index of every segment.
    #[default]
    Indexes,
    /// Root and range tombstones. Filters and indexes are fetched from the block source like data.
    Root,
}

/// An open table. `Send + Sync`; look-ups share nothing that is written.
pub struct Table {
    file: TableFile,
    footer: Footer,
    properties: Properties,
    root: Box<[u8]>,
    root_shape: IndexShape,
    /// None of a root whose separators are out of order.
    guide: Option<Guide>,
    segments: Box<[Segment]>,
    range_tombstones: Option<Box<[u8]>>,
    /// What a group of entries takes in a block, on average.
    group_bytes: usize,
    residency: Residency,
    charge: Reservation,
    /// Lends data blocks, if the table was told to be mapped.
    pub(crate) mapped: Option<MappedBlocks>,
}

impl Table {
    /// Opens and checks a table, and keeps its filters and indexes. `expected` is the identity and length that the
    /// manifest has for it.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn open(
        source: Arc<dyn TableSource>,
        file: FileNumber,
        expected: Option<(TableId, u64)>,
        budget: &Budget,
    ) -> Result<Self, TableError> {
        Self::open_with(source, file, expected, Residency::default(), budget)
    }

    /// [`open`](Self::open), with a choice of what stays in memory.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn open_with(
        source: Arc<dyn TableSource>,
        file: FileNumber,
        expected: Option<(TableId, u64)>,
        residency: Residency,
        budget: &Budget,
    ) -> Result<Self, TableError> {
        let (len, footer) = read_footer(&*source, file, expected)?;
        let mut file = TableFile { source, number: file, table: footer.table, len, dictionary: None };
        let mut charge = budget.reserve(size_of::<Self>()).map_err(|error| file.no_memory(error))?;
        let properties = footer.properties;
        let properties =
            Properties::from_bytes(&file.load(properties, BlockKind::Properties, &mut charge)?)
                .map_err(|what| file.corrupt(properties.offset, what))?;
        if let Some(handle) = footer.dictionary {
            let bytes = file.load(handle, BlockKind::Dictionary, &mut charge)?;
            let grown = charge.bytes() + Dictionary::memory_bytes(bytes.len());
            charge.resize(grown).map_err(|error| file.no_memory(error))?;
            let dictionary = Dictionary::new(&bytes).map_err(|what| file.corrupt(handle.offset, what))?;
            file.dictionary = Some(dictionary);
        }
        let range_tombstones = match footer.range_tombstones {
            Some(handle) => {
                let block = file.load(handle, BlockKind::RangeTombstones, &mut charge)?;
                RangeTombstones::check(&block).map_err(|what| file.corrupt(handle.offset, what))?;
                Some(block)
            }
            None => None,
        };
        let root = file.load(footer.root, BlockKind::Root, &mut charge)?;
        let corrupt_root = |what| file.corrupt(footer.root.offset, what);
        let root_block = IndexBlock::of_table(&root).map_err(corrupt_root)?;
        // As many as the root has room for, so bounded by the file; so is what the guide takes.
        let grown =
            charge.bytes() + root_block.count() * size_of::<Segment>() + Guide::memory_bytes(&root_block);
        charge.resize(grown).map_err(|error| file.no_memory(error))?;
        let mut segments = Segment::all(&root_block, footer.segments_end()).map_err(corrupt_root)?;
        if residency == Residency::Indexes {
            for segment in &mut segments {
                segment.make_resident(&file, &mut charge)?;
            }
        }
        let segments = segments.into_boxed_slice();
        let group_bytes = block::group_bytes(properties.entry_count, properties.block_bytes);
        let (root_shape, guide) = (root_block.shape(), Guide::new(&root_block));
        Ok(Self {
            file,
            footer,
            properties,
            root,
            root_shape,
            guide,
            segments,
            range_tombstones,
            group_bytes,
            residency,
            charge,
            mapped: None,
        })
    }

    /// Number of the file.
    pub fn file(&self) -> FileNumber {
        self.file.number
    }

    /// Counts and bounds.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Identity, and where everything but the segments lies.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// What a group of entries takes in a block, on average.
    #[inline]
    pub(crate) fn group_bytes(&self) -> usize {
        self.group_bytes
    }

    /// Bytes held in memory while the table is open.
    pub fn resident_bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// The fragments of range tombstones. Look-ups and cursors do not heed them: who reads at a snapshot does.
    pub fn range_tombstones(&self) -> RangeTombstones<'_> {
        let block = self.range_tombstones.as_deref();
        block.map_or(RangeTombstones::NONE, |block| {
            RangeTombstones::new(block).expect("checked when the table was opened")
        })
    }

    /// The newest entry of `key` at or below `at`, tombstones included; its value is lent from `source`, or from the table if that
    /// is [mapped](Self::map).
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn get<'b, S: BlockSource>(
        &'b self,
        key: &'b [u8],
        at: SeqNo,
        source: &'b mut S,
    ) -> Result<Option<EntryRef<'b>>, TableError> {
        self.get_hashed(key, KeyHash::of(key), at, source)
    }

    /// [`get`](Self::get) with the key's hash at hand.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn get_hashed<'b, S: BlockSource>(
        &'b self,
        key: &'b [u8],
        hash: KeyHash,
        at: SeqNo,
        source: &'b mut S,
    ) -> Result<Option<EntryRef<'b>>, TableError> {
        let Some(block) = self.locate(key, hash, at, source)? else { return Ok(None) };
        self.get_located(block, key, hash, at, source)
    }

    /// Looks for `key` in `block`.
    #[inline]
    fn get_located<'b, S: BlockSource>(
        &'b self,
        block: Located<'_>,
        key: &'b [u8],
        hash: KeyHash,
        at: SeqNo,
        source: &'b mut S,
    ) -> Result<Option<EntryRef<'b>>, TableError> {
        let contents = self.contents(block, None, source)?;
        let found = self.find_in(block.handle, contents, key, hash, at)?;
        Ok(found.map(|found| entry(key, found, contents)))
    }

    /// The contents of `block`, from the mapping or the source, which may hold the one at `held`.
    #[inline]
    fn contents<'b, S: BlockSource>(
        &'b self,
        block: Located<'_>,
        held: Option<BlockHandle>,
        source: &'b mut S,
    ) -> Result<&'b [u8], TableError> {
        if S::WANTS_MAPPED
            && let Some(mapped) = &self.mapped
        {
            mapped.ask_for_end(block.handle, block.mark);
            if let Some(contents) = mapped.contents(&self.file, block.handle, block.mark)? {
                return Ok(contents);
            }
        }
        if held != Some(block.handle) {
            source.fetch_hinted(&self.file, block.handle, BlockKind::Data, 0, block.hint)?;
            prefetch::end(source.bytes());
        }
        Ok(source.bytes())
    }

    /// Asks for the line of the filter that a look-up of `key` begins with, if the filter is in memory. For those who look many
    /// keys up, in several tables: what each waits for comes while the others are attended to.
    pub fn ask_for_filter(&self, key: &[u8], hash: KeyHash, at: SeqNo) {
        let place = if self.segments.len() == 1 { Some(0) } else { self.segment_of(key, at).ok().flatten() };
        if let Some(filter) = place.and_then(|place| self.segments[place].filter()) {
            filter.ask(hash);
        }
    }

    /// Does what a look-up of `key` does before it looks into a block, and asks for the line that says where that is;
    /// [`approach_further`](Self::approach_further) goes on. `None` if filters or indexes are not in memory.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn approach<S: BlockSource>(
        &self,
        key: &[u8],
        hash: KeyHash,
        at: SeqNo,
        source: &mut S,
    ) -> Result<Option<Approach>, TableError> {
        if self.residency == Residency::Root {
            return Ok(None);
        }
        let located = self.locate(key, hash, at, source)?;
        let approach = Approach { block: located.map(|block| (block.handle, block.mark)) };
        self.approach_further(approach, 0, source);
        Ok(Some(approach))
    }

    /// Asks for the line that the one before says: that of the block's header (`step` 1), the block's end (`step` 2).
    pub fn approach_further<S: BlockSource>(&self, approach: Approach, step: u32, source: &S) {
        let Some((handle, mark)) = approach.block else { return };
        match &self.mapped {
            // One step leads there.
            Some(mapped) if S::WANTS_MAPPED && (step > 0 || mapped.ask_for_end(handle, mark)) => {}
            _ => source.approach(&self.file, handle, step),
        }
    }

    /// Ends the look-up of the `key` that was [approached](Self::approach): answers what [`get_hashed`](Self::get_hashed) does.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    #[inline]
    pub fn get_approached<'b, S: BlockSource>(
        &'b self,
        approach: Approach,
        key: &'b [u8],
        hash: KeyHash,
        at: SeqNo,
        source: &'b mut S,
    ) -> Result<Option<EntryRef<'b>>, TableError> {
        let Some((handle, mark)) = approach.block else { return Ok(None) };
        self.get_located(Located { handle, mark, hint: None }, key, hash, at, source)
    }

    /// Looks many keys up and hands what [`get`](Self::get) would answer for each to `each`, with the key's place.
    /// Keys in order are cheapest: those that lie in one block fetch it once.
    ///
    /// # Errors
    ///
    /// [`TableError`]; keys before the one that failed have been answered.
    pub fn get_many<S: BlockSource>(
        &self,
        keys: &[&[u8]],
        at: SeqNo,
        source: &mut S,
        mut each: impl FnMut(usize, Option<EntryRef<'_>>),
    ) -> Result<(), TableError> {
        let mut held = None;
        for (place, &key) in keys.iter().enumerate() {
            let hash = KeyHash::of(key);
            let located = self.locate(key, hash, at, source)?;
            if self.residency == Residency::Root {
                // The source was needed for filter and index.
                held = None;
            }
            let Some(block) = located else {
                each(place, None);
                continue;
            };
            let contents = self.contents(block, held, source)?;
            let found = self.find_in(block.handle, contents, key, hash, at)?;
            each(place, found.map(|found| entry(key, found, contents)));
            if !self.is_in_mapping(contents) {
                held = Some(block.handle);
            }
        }
        Ok(())
    }

    /// Whether the table may hold `key`, of which `hash` is the hash: what key range and filter say, and nothing else is
    /// asked.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn may_hold<S: BlockSource>(
        &self,
        key: &[u8],
        hash: KeyHash,
        source: &mut S,
    ) -> Result<bool, TableError> {
        match self.segment_of(key, SeqNo::MAX)? {
            Some(place) => self.segment_may_hold(place, hash, source),
            None => Ok(false),
        }
    }

    /// Whether the table may hold a key that begins with `prefix`. Asks the filters if they were given prefixes of this
    /// very length, else only the key range.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn may_hold_prefix<S: BlockSource>(&self, prefix: &[u8], source: &mut S) -> Result<bool, TableError> {
        let (first, last) = (self.properties.key_min.as_slice(), self.properties.key_max.as_slice());
        if self.properties.entry_count == 0 || last < prefix || (prefix < first && !first.starts_with(prefix))
        {
            return Ok(false);
        }
        if self.properties.filter_prefix_bytes as usize != prefix.len() || prefix.is_empty() {
            return Ok(true);
        }
        let hash = KeyHash::of(prefix);
        let root = self.root();
        let damage = |what| self.root_damage(what);
        let mut separator = Vec::new();
        for place in root.seek(prefix, SeqNo::MAX).map_err(damage)?..self.segments.len() {
            if self.segment_may_hold(place, hash, source)? {
                return Ok(true);
            }
            // Keys that begin so may go on in the next segment if this one does not end behind them.
            root.separator(place, &mut separator).map_err(damage)?;
            if !separator.starts_with(prefix) {
                break;
            }
        }
        Ok(false)
    }

    /// Shows `each` where the table could be divided, in order, the last of them its end: a key that nothing before the place is
    /// after and nothing behind it before, and how many bytes of the file lie between the place and the one before. That is
    /// `stride` at least, but for the last, and more only by as much as a block has. For whoever divides a table, or a merge of
    /// several, into ranges of about the same size.
    ///
    /// Reads no data, and of the indexes those of segments longer than `stride`, unless they are in memory.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use kausal_arena::Budget;
    /// # use kausal_index::{EntryRef, Kind, SeqNo};
    /// # use kausal_sstable::{
    /// #     BlockBuffer, FileNumber, KeyspaceId, Table, TableId, TableOptions, TableWriter,
    /// # };
    /// # let budget = Budget::root("tables", 4 << 20);
    /// # let options = TableOptions { block_bytes: 64, ..TableOptions::default() };
    /// # let mut writer =
    /// #     TableWriter::new(Vec::new(), TableId(7), KeyspaceId::DEFAULT, options, &budget).unwrap();
    /// # for number in 0..1_000_u32 {
    /// #     let (key, seqno) = (number.to_be_bytes(), SeqNo::new(1).unwrap());
    /// #     writer.add(EntryRef { key: &key, seqno, kind: Kind::Put, value: b"" }).unwrap();
    /// # }
    /// # let (file, _) = writer.finish().unwrap();
    /// let bytes = file.len() as u64;
    /// let table = Table::open(Arc::new(file), FileNumber(1), None, &budget).unwrap();
    /// let mut buffer = BlockBuffer::new(&budget).unwrap();
    /// let mut places = Vec::new();
    /// table.split_points(bytes / 8, &mut buffer, |key, bytes| places.push((key.to_vec(), bytes))).unwrap();
    /// assert!((6..=8).contains(&places.len()) && places.is_sorted());
    /// ```
    pub fn split_points<S: BlockSource>(
        &self,
        stride: u64,
        source: &mut S,
        mut each: impl FnMut(&[u8], u64),
    ) -> Result<(), TableError> {
        let (root, mut key, mut before) = (self.root(), Vec::new(), 0);
        for (place, segment) in self.segments.iter().enumerate() {
            let end = segment.index_handle.end();
            if end - before > stride {
                let damage = |what| self.file.corrupt(segment.index_handle.offset, what);
                let index = self.index_of(segment, source)?;
                // The last block's end is the segment's, which the root names.
                for place in 0..index.count() - 1 {
                    let block = segment.data_block(&index, place).map_err(damage)?;
                    if block.end() - before >= stride {
                        index.separator(place, &mut key).map_err(damage)?;
                        each(&key, block.end() - before);
                        before = block.end();
                    }
                }
            }
            if end - before >= stride || place + 1 == self.segments.len() {
                root.separator(place, &mut key).map_err(|what| self.root_damage(what))?;
                each(&key, end - before);
                before = end;
            }
        }
        Ok(())
    }

    /// A cursor over all entries. Its block buffer is charged to `budget`.
    ///
    /// # Errors
    ///
    /// [`TableError::Memory`].
    pub fn cursor(&self, budget: &Budget) -> Result<TableCursor<'_>, TableError> {
        let buffer = BlockBuffer::new(budget).map_err(|error| self.file.no_memory(error))?;
        Ok(self.cursor_from(buffer))
    }

    /// A cursor over all entries whose blocks come from `source`.
    pub fn cursor_from<S: BlockSource>(&self, source: S) -> TableCursor<'_, S> {
        TableCursor::new(self, source)
    }

    pub(crate) fn table_file(&self) -> &TableFile {
        &self.file
    }

    /// Charges `bytes` more for what stays while the table is open.
    pub(crate) fn grow_charge(&mut self, bytes: usize) -> Result<(), TableError> {
        let grown = self.charge.bytes() + bytes;
        self.charge.resize(grown).map_err(|error| self.file.no_memory(error))
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    #[inline]
    pub(crate) fn root(&self) -> IndexBlock<'_> {
        IndexBlock::with(&self.root, self.root_shape, &[])
    }

    pub(crate) fn root_damage(&self, what: Damage) -> TableError {
        self.file.corrupt(self.footer.root.offset, what)
    }

    /// The index of a segment. Uses `source` unless it is resident.
    #[inline]
    fn index_of<'a, S: BlockSource>(
        &self,
        segment: &'a Segment,
        source: &'a mut S,
    ) -> Result<IndexBlock<'a>, TableError> {
        if let Some(index) = segment.index() {
            return Ok(index);
        }
        source.fetch(&self.file, segment.index_handle, BlockKind::Index, 0)?;
        let damage = |what| self.file.corrupt(segment.index_handle.offset, what);
        IndexBlock::of_segment(source.bytes()).map_err(damage)
    }

    /// Whether the filter of the segment at `place` admits a hash. Uses `source` unless the filter is resident.
    #[inline]
    pub(crate) fn segment_may_hold<S: BlockSource>(
        &self,
        place: usize,
        hash: KeyHash,
        source: &mut S,
    ) -> Result<bool, TableError> {
        let segment = &self.segments[place];
        if let Some(filter) = segment.filter() {
            return Ok(filter.may_hold(hash));
        }
        source.fetch(&self.file, segment.filter_handle, BlockKind::Filter, 0)?;
        let damage = |what| self.file.corrupt(segment.filter_handle.offset, what);
        filter::check(source.bytes()).map_err(damage)?;
        Ok(filter::may_hold(source.bytes(), hash))
    }

    /// The segment that may hold the newest version of `key` at or below `at`. None for keys outside of the table's range:
    /// the last separator of the root is the last position itself.
    #[inline]
    fn segment_of(&self, key: &[u8], at: SeqNo) -> Result<Option<usize>, TableError> {
        let place = self.first_segment(key, at)?;
        let is_outside = place >= self.segments.len() || (place == 0 && *key < *self.properties.key_min);
        Ok((!is_outside).then_some(place))
    }

    /// Number of the first segment whose separator is at or after (`key`, `at`); the count if there is none.
    #[inline]
    pub(crate) fn first_segment(&self, key: &[u8], at: SeqNo) -> Result<usize, TableError> {
        let guided = self.guide.as_ref().and_then(|guide| guide.seek(self.root().prefix(), key));
        guided.map_or_else(|| self.seek_root(key, at), Ok)
    }

    /// The same for keys of which the guide cannot tell.
    #[inline(never)]
    fn seek_root(&self, key: &[u8], at: SeqNo) -> Result<usize, TableError> {
        self.root().seek(key, at).map_err(|what| self.root_damage(what))
    }

    /// The one data block that may hold the newest version of `key` at or below `at`.
    #[inline]
    fn locate<S: BlockSource>(
        &self,
        key: &[u8],
        hash: KeyHash,
        at: SeqNo,
        source: &mut S,
    ) -> Result<Option<Located<'_>>, TableError> {
        // What lies outside of a lone segment its own index tells as well, and who asks knows the table's range as a rule.
        let lone = (self.segments.len() == 1).then_some(0);
        let Some(place) = lone.map_or_else(|| self.segment_of(key, at), |place| Ok(Some(place)))? else {
            return Ok(None);
        };
        let segment = &self.segments[place];
        if !self.segment_may_hold(place, hash, source)? {
            return Ok(None);
        }
        let damage = |what| self.file.corrupt(segment.index_handle.offset, what);
        let index = self.index_of(segment, source)?;
        let place = index.seek(key, at).map_err(damage)?;
        if place == index.count() {
            // Where the root says that the segment ends at or after the position, one of them is wrong.
            return if self.segment_of(key, at)?.is_some() { Err(damage(Damage::Index)) } else { Ok(None) };
        }
        let handle = segment.data_block(&index, place).map_err(damage)?;
        Ok(Some(Located { handle, hint: segment.place(place), mark: segment.mark(place) }))
    }

    fn find_in(
        &self,
        handle: BlockHandle,
        contents: &[u8],
        key: &[u8],
        hash: KeyHash,
        at: SeqNo,
    ) -> Result<Option<Found>, TableError> {
        let found = Block::new(contents).and_then(|block| block.find(key, hash, at));
        found.map_err(|what| self.file.corrupt(handle.offset, what))
    }
}

/// A data block, with what is kept of it.
#[derive(Clone, Copy)]
struct Located<'t> {
    handle: BlockHandle,
    /// Where the cache had it last.
    hint: Option<&'t FrameHint>,
    mark: Mark,
}

/// A look-up of a key in a table that has asked filter and index, and has yet to look into a block, if into any.
#[derive(Clone, Copy, Debug)]
pub struct Approach {
    block: Option<(BlockHandle, Mark)>,
}

/// Reads and checks the footer. Also answers the file's length.
fn read_footer(
    source: &dyn TableSource,
    file: FileNumber,
    expected: Option<(TableId, u64)>,
) -> Result<(u64, Footer), TableError> {
    let len = source.len().map_err(|source| TableError::Io { file, offset: 0, len: 0, source })?;
    let corrupt = |offset, what| TableError::Corruption { file, offset, what };
    if let Some((_, bytes)) = expected.filter(|&(_, bytes)| bytes != len) {
        return Err(corrupt(len.min(bytes), Damage::FileLength { expected: bytes, actual: len }));
    }
    let shortest = FOOTER_BYTES as u64;
    let offset = len
        .checked_sub(shortest)
        .ok_or_else(|| corrupt(0, Damage::FileLength { expected: shortest, actual: len }))?;
    let mut bytes = [0; FOOTER_BYTES];
    source.read_exact_at(&mut bytes, offset).map_err(|source| TableError::Io {
        file,
        offset,
        len: shortest,
        source,
    })?;
    let footer = Footer::from_bytes(file, offset, &bytes)?;
    if let Some((expected, _)) = expected.filter(|&(table, _)| table != footer.table) {
        return Err(corrupt(offset + 32, Damage::ForeignTable { expected, actual: footer.table }));
    }
    Ok((len, footer))
}

/// What was found, with the caller's own key: it is equal, and needs not be put together.
fn entry<'b>(key: &'b [u8], found: Found, contents: &'b [u8]) -> EntryRef<'b> {
    EntryRef { key, seqno: found.packed.seqno(), kind: found.packed.kind(), value: &contents[found.value] }
}

impl fmt::Debug for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Table").field("file", &self.file.number).finish_non_exhaustive()
    }
}
