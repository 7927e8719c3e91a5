//! Compression of single blocks.
//!
//! | code | what is stored |
//! |---|---|
//! | 0 | the contents as they are |
//! | 1 | length of the contents (u32), then an LZ4 block |
//! | 2 | length of the contents (u32), then a Zstandard frame |
//! | 3 | the same, compressed with the table's dictionary |
//!
//! Contents are at most [`RATIO_MAX`] times as long as what is stored after the length. LZ4 cannot exceed that; a
//! Zstandard frame that would is written with LZ4 instead. So what a reader sets aside for a block is bounded by what
//! the file really has, before any of it is believed. A block that does not become an eighth smaller stays raw: reading
//! it would cost more than it saves.
//!
//! Zstandard is a C library and stands behind the feature `zstd`; without it a block of code 2 or 3 is refused by name.

use std::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::error::{Damage, WriteError};
use crate::format::BLOCK_BYTES_MAX;

pub(crate) const RAW: u8 = 0;
pub(crate) const LZ4: u8 = 1;
pub(crate) const ZSTD: u8 = 2;
pub(crate) const ZSTD_DICTIONARY: u8 = 3;

/// Contents per stored byte, at most: the bound of the LZ4 block format.
const RATIO_MAX: usize = 255;
const LENGTH_BYTES: usize = 4;
/// What LZ4's table of recent positions takes: 4,096 of 4 bytes.
const LZ4_TABLE_BYTES: usize = 16 << 10;

/// How a writer compresses data blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: fast in both directions.
    Lz4,
    /// Zstandard at this level: smaller, slower. Needs the feature `zstd`.
    Zstd(i32),
}

impl Compression {
    /// The number under which the properties remember it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::None => RAW,
            Self::Lz4 => LZ4,
            Self::Zstd(_) => ZSTD,
        }
    }
}

/// The name of a compression code.
pub(crate) fn name(code: u8) -> &'static str {
    match code {
        RAW => "none",
        LZ4 => "lz4",
        ZSTD => "zstd",
        ZSTD_DICTIONARY => "zstd with dictionary",
        _ => "unknown",
    }
}

/// Compresses the blocks of one table, in memory that is reused.
pub(crate) struct Compressor {
    compression: Compression,
    lz4: CompressTable,
    #[cfg(feature = "zstd")]
    zstd: Option<Zstd>,
    output: Vec<u8>,
    was_compressed: bool,
}

impl Compressor {
    /// # Errors
    ///
    /// [`WriteError::Compression`] if this build has no Zstandard, or it refuses the dictionary.
    pub(crate) fn new(compression: Compression, dictionary: Option<&[u8]>) -> Result<Self, WriteError> {
        #[cfg(feature = "zstd")]
        let zstd = match compression {
            Compression::Zstd(level) => Some(Zstd::new(level, dictionary)?),
            _ => None,
        };
        if (!cfg!(feature = "zstd") && matches!(compression, Compression::Zstd(_)))
            || (dictionary.is_some() && !matches!(compression, Compression::Zstd(_)))
        {
            return Err(WriteError::Compression);
        }
        Ok(Self {
            compression,
            lz4: CompressTable::default(),
            #[cfg(feature = "zstd")]
            zstd,
            output: Vec::new(),
            was_compressed: false,
        })
    }

    /// Whether it does what a new one of these settings would. One with a dictionary is made for its table alone.
    pub(crate) fn is_for(&self, compression: Compression, dictionary: Option<&[u8]>) -> bool {
        self.compression == compression && dictionary.is_none()
    }

    /// Bytes held, and to be held for a block of `bytes`.
    pub(crate) fn memory_bytes(&self, bytes: usize) -> usize {
        let output = get_maximum_output_size(bytes) + 64;
        match self.compression {
            Compression::None => 0,
            Compression::Lz4 => LZ4_TABLE_BYTES + output.max(self.output.capacity()),
            Compression::Zstd(_) => {
                LZ4_TABLE_BYTES + self.context_bytes() + output.max(self.output.capacity())
            }
        }
    }

    #[cfg(feature = "zstd")]
    fn context_bytes(&self) -> usize {
        self.zstd.as_ref().map_or(0, Zstd::memory_bytes)
    }

    #[cfg(not(feature = "zstd"))]
    fn context_bytes(&self) -> usize {
        0
    }

    /// What is to be stored for `contents`, with its code; `None` if it stays raw. There is room behind it for a
    /// trailer.
    pub(crate) fn compress(&mut self, contents: &[u8]) -> Option<(u8, Vec<u8>)> {
        self.was_compressed = false;
        let code = match self.compression {
            Compression::None => return None,
            Compression::Lz4 => self.lz4(contents)?,
            Compression::Zstd(_) => self.zstd(contents).or_else(|| self.lz4(contents))?,
        };
        self.was_compressed = self.output.len() <= contents.len() - contents.len() / 8;
        self.was_compressed.then(|| (code, std::mem::take(&mut self.output)))
    }

    /// Takes the memory of what [`compress`](Self::compress) answered back, for the next block.
    pub(crate) fn give_back(&mut self, stored: Vec<u8>) {
        self.output = stored;
    }

    /// Whether the last block was compressed.
    pub(crate) fn was_compressed(&self) -> bool {
        self.was_compressed
    }

    /// Makes the output as long as it may become, with the length of the contents at its front.
    fn begin(&mut self, contents: &[u8]) {
        let len = LENGTH_BYTES + get_maximum_output_size(contents.len());
        let room = len + crate::format::TRAILER_BYTES;
        if self.output.capacity() < room {
            self.output = Vec::with_capacity(room);
        }
        // What is there from the block before is written over, and needs not be cleared first.
        self.output.resize(len, 0);
        self.output[..LENGTH_BYTES].copy_from_slice(&(contents.len() as u32).to_le_bytes());
    }

    fn lz4(&mut self, contents: &[u8]) -> Option<u8> {
        self.begin(contents);
        let bytes =
            compress_into_with_table(contents, &mut self.output[LENGTH_BYTES..], &mut self.lz4).ok()?;
        self.output.truncate(LENGTH_BYTES + bytes);
        Some(LZ4)
    }

    #[cfg(not(feature = "zstd"))]
    fn zstd(&mut self, _: &[u8]) -> Option<u8> {
        None
    }

    #[cfg(feature = "zstd")]
    fn zstd(&mut self, contents: &[u8]) -> Option<u8> {
        self.begin(contents);
        let zstd = self.zstd.as_mut()?;
        let bytes = zstd.compress(contents, &mut self.output[LENGTH_BYTES..])?;
        self.output.truncate(LENGTH_BYTES + bytes);
        (contents.len() <= bytes.saturating_mul(RATIO_MAX)).then_some(zstd.code())
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Compressor").field("compression", &self.compression).finish_non_exhaustive()
    }
}

/// Length of the contents of a block stored as `stored`, if it is a bound that can be believed.
pub(crate) fn contents_bytes(code: u8, stored: &[u8]) -> Result<usize, Damage> {
    if code == RAW {
        return Ok(stored.len());
    }
    if code > ZSTD_DICTIONARY {
        return Err(Damage::Compression(code));
    }
    let (length, rest) = stored.split_first_chunk::<LENGTH_BYTES>().ok_or(Damage::Decompression)?;
    let length = u32::from_le_bytes(*length) as usize;
    let ratio_max = if cfg!(kausal_planted = "sst_file") { usize::MAX } else { RATIO_MAX };
    let max = rest.len().saturating_mul(ratio_max);
    if length <= max.min(BLOCK_BYTES_MAX) { Ok(length) } else { Err(Damage::Decompression) }
}

/// Decompresses blocks; holds a context where one is needed. Belongs to one reader, and is reused.
#[derive(Default)]
pub struct Decompressor {
    #[cfg(feature = "zstd")]
    context: Option<zstd::zstd_safe::DCtx<'static>>,
}

impl Decompressor {
    /// Decompresses into `contents`, which is as long as [`contents_bytes`] answered.
    pub(crate) fn decompress(
        &mut self,
        code: u8,
        stored: &[u8],
        dictionary: Option<&Dictionary>,
        contents: &mut [u8],
    ) -> Result<(), Damage> {
        let compressed = stored.get(LENGTH_BYTES..).ok_or(Damage::Decompression)?;
        let bytes = match code {
            LZ4 => decompress_into(compressed, contents).ok(),
            _ => self.zstd(code, compressed, dictionary, contents),
        };
        if bytes == Some(contents.len()) { Ok(()) } else { Err(Damage::Decompression) }
    }

    /// Bytes held.
    #[cfg(feature = "zstd")]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.context.as_ref().map_or(0, zstd::zstd_safe::DCtx::sizeof)
    }

    /// Bytes held.
    #[cfg(not(feature = "zstd"))]
    pub(crate) fn memory_bytes(&self) -> usize {
        0
    }

    /// Bytes that decompressing a block of this code may add: what a context of Zstandard takes, rounded up.
    pub(crate) fn bytes_to_come(&self, code: u8) -> usize {
        if code >= ZSTD && self.memory_bytes() == 0 { 192 << 10 } else { 0 }
    }

    #[cfg(not(feature = "zstd"))]
    fn zstd(&mut self, _: u8, _: &[u8], _: Option<&Dictionary>, _: &mut [u8]) -> Option<usize> {
        None
    }

    #[cfg(feature = "zstd")]
    fn zstd(
        &mut self,
        code: u8,
        compressed: &[u8],
        dictionary: Option<&Dictionary>,
        contents: &mut [u8],
    ) -> Option<usize> {
        if self.context.is_none() {
            self.context = zstd::zstd_safe::DCtx::try_create();
        }
        let context = self.context.as_mut()?;
        match code {
            ZSTD => context.decompress(contents, compressed).ok(),
            _ => context.decompress_using_ddict(contents, compressed, &dictionary?.0).ok(),
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// A table's dictionary, ready for decompression.
#[cfg(feature = "zstd")]
pub(crate) struct Dictionary(zstd::zstd_safe::DDict<'static>);

/// A table's dictionary, which this build cannot use.
#[cfg(not(feature = "zstd"))]
pub(crate) struct Dictionary;

impl Dictionary {
    #[cfg(feature = "zstd")]
    pub(crate) fn new(contents: &[u8]) -> Result<Self, Damage> {
        zstd::zstd_safe::DDict::try_create(contents).map(Self).ok_or(Damage::Dictionary)
    }

    #[cfg(not(feature = "zstd"))]
    pub(crate) fn new(_: &[u8]) -> Result<Self, Damage> {
        Ok(Self)
    }

    /// Bytes held for a dictionary of this length: a copy, and tables of the decompressor.
    pub(crate) fn memory_bytes(contents: usize) -> usize {
        if cfg!(feature = "zstd") { contents + (32 << 10) } else { 0 }
    }
}

#[cfg(feature = "zstd")]
struct Zstd {
    context: zstd::zstd_safe::CCtx<'static>,
    dictionary: Option<zstd::zstd_safe::CDict<'static>>,
    level: i32,
}

#[cfg(feature = "zstd")]
impl Zstd {
    fn new(level: i32, dictionary: Option<&[u8]>) -> Result<Self, WriteError> {
        use zstd::zstd_safe::{CCtx, CDict};
        let dictionary = match dictionary {
            Some(bytes) => Some(CDict::try_create(bytes, level).ok_or(WriteError::Compression)?),
            None => None,
        };
        let context = CCtx::try_create().ok_or(WriteError::Compression)?;
        Ok(Self { context, dictionary, level })
    }

    fn code(&self) -> u8 {
        if self.dictionary.is_some() { ZSTD_DICTIONARY } else { ZSTD }
    }

    fn memory_bytes(&self) -> usize {
        self.context.sizeof() + self.dictionary.as_ref().map_or(0, zstd::zstd_safe::CDict::sizeof)
    }

    fn compress(&mut self, contents: &[u8], output: &mut [u8]) -> Option<usize> {
        match &self.dictionary {
            Some(dictionary) => self.context.compress_using_cdict(output, contents, dictionary).ok(),
            None => self.context.compress(output, contents, self.level).ok(),
        }
    }
}
