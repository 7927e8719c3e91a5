//! The value that a cursor stands on, or a look-up found, read from front to back.

use std::io::Read;

use kausal_index::BlockIndex;

use crate::blob::{BlobReader, BlobRef};
use crate::core::Core;
use crate::error::{Damage, Error};
use crate::read::View;

/// Reads one value from front to back. A large one is read in pieces of 64 KiB, each checked before it is handed out.
#[derive(Debug)]
pub struct ValueReader {
    source: ValueSource,
}

#[derive(Debug)]
enum ValueSource {
    Inline(std::io::Cursor<Vec<u8>>),
    Blob(BlobReader),
}

impl ValueReader {
    pub(crate) fn inline(value: Vec<u8>) -> Self {
        Self { source: ValueSource::Inline(std::io::Cursor::new(value)) }
    }

    pub(crate) fn blob(reader: BlobReader) -> Self {
        Self { source: ValueSource::Blob(reader) }
    }

    /// The whole value; one that lay beside its key is not copied again.
    pub(crate) fn into_bytes(self, directory: &std::path::Path) -> Result<Vec<u8>, Error> {
        let mut reader = match self.source {
            ValueSource::Inline(value) => return Ok(value.into_inner()),
            ValueSource::Blob(reader) => reader,
        };
        let mut value = Vec::new();
        reader.read_to_end(&mut value).map_err(Error::read_value(directory))?;
        Ok(value)
    }

    /// Length of the value in bytes.
    pub fn len(&self) -> u64 {
        match &self.source {
            ValueSource::Inline(value) => value.get_ref().len() as u64,
            ValueSource::Blob(reader) => reader.len(),
        }
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Read for ValueReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.source {
            ValueSource::Inline(value) => value.read(buffer),
            ValueSource::Blob(reader) => reader.read(buffer),
        }
    }
}

impl<I: BlockIndex> Core<I> {
    /// Opens the blob that an entry's value refers to.
    pub(crate) fn open_blob(&self, view: &View<I>, value: &[u8]) -> Result<BlobReader, Error> {
        let reference = BlobRef::from_bytes(value)
            .ok_or_else(|| Error::corruption(&self.directory, 0, Damage::BlobReference))?;
        let blob = view.blob(reference.file);
        BlobReader::open(&*self.environment.vfs, &self.directory, reference, blob)
    }
}
