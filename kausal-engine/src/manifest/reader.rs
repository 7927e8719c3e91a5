//! Reads the state that the current manifest describes.

use std::collections::BTreeMap;
use std::path::Path;

use kausal_index::SeqNo;

use crate::error::{Damage, Error};
use crate::file_names::{FileKind, file_path};
use crate::ids::{FileNumber, KeyspaceId};
use crate::manifest::edit::BadEdit;
use crate::manifest::writer::{HEADER_BYTES, RECORD_HEADER_BYTES, VERSION, header, record_checksum};
use crate::manifest::{Current, TableMeta, VersionEdit};
use crate::vfs::{OpenMode, Vfs};
use crate::wal::RecoveredLog;

/// The state of a database as its manifest has it.
#[derive(Clone, Debug)]
pub(crate) struct ManifestState {
    pub(crate) current: Current,
    pub(crate) next_file: FileNumber,
    pub(crate) last_seqno: SeqNo,
    pub(crate) oldest_log: FileNumber,
    /// Logs before the oldest one whose memtable is not in tables, oldest first.
    pub(crate) recovered_logs: Vec<RecoveredLog>,
    pub(crate) tables: BTreeMap<FileNumber, TableMeta>,
    /// The keyspaces beside the default one.
    pub(crate) keyspaces: BTreeMap<KeyspaceId, String>,
    /// Every keyspace that there ever was has a smaller number.
    pub(crate) next_keyspace: KeyspaceId,
    pub(crate) record_count: u64,
    /// Bytes behind the last good record: the torn tail of a crash.
    pub(crate) dropped: u64,
}

/// Reads `CURRENT` and the manifest it names. `None` if there is no database.
///
/// # Errors
///
/// [`Error::Corruption`] if bytes that were synced are damaged, [`Error::NewerFormat`], [`Error::Io`].
pub(crate) fn read_manifest(vfs: &dyn Vfs, directory: &Path) -> Result<Option<ManifestState>, Error> {
    let Some(current) = Current::read(vfs, directory)? else { return Ok(None) };
    let path = file_path(directory, FileKind::Manifest(current.manifest));
    let file = vfs.open(&path, OpenMode::Read).map_err(Error::io("open", &path))?;
    let len = file.len().map_err(Error::io("read the length of", &path))?;
    let exact = current.clean_log.is_some();
    if len < current.trusted || (exact && len != current.trusted) {
        let what = Damage::FileLength { expected: current.trusted, actual: len };
        return Err(Error::corruption(&path, len.min(current.trusted), what));
    }
    // The manifest is bounded by the engine, and no larger than the file in any case.
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Error::invalid("a manifest beyond memory"))?];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
    check_header(&path, &bytes, current)?;
    let mut state = ManifestState {
        current,
        next_file: FileNumber(1),
        last_seqno: SeqNo::ZERO,
        oldest_log: FileNumber(0),
        recovered_logs: Vec::new(),
        tables: BTreeMap::new(),
        keyspaces: BTreeMap::new(),
        next_keyspace: KeyspaceId(1),
        record_count: 0,
        dropped: 0,
    };
    let mut offset = HEADER_BYTES;
    while offset < bytes.len() {
        let Some(payload) = record(&bytes, offset, current) else {
            if (offset as u64) < current.trusted {
                return Err(Error::corruption(&path, offset as u64, Damage::Checksum));
            }
            state.dropped = (bytes.len() - offset) as u64;
            break;
        };
        let edit = VersionEdit::from_bytes(payload).map_err(|bad| match bad {
            BadEdit::Malformed => Error::corruption(&path, offset as u64, Damage::Payload),
            BadEdit::UnknownField(tag) => {
                Error::NewerFormat { file: path.clone(), what: format!("manifest field {tag}") }
            }
        })?;
        state.apply(edit).ok_or_else(|| Error::corruption(&path, offset as u64, Damage::Payload))?;
        offset += RECORD_HEADER_BYTES + payload.len();
    }
    Ok(Some(state))
}

fn check_header(path: &Path, bytes: &[u8], current: Current) -> Result<(), Error> {
    let Some(found) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(Error::corruption(path, bytes.len() as u64, Damage::ManifestHeader));
    };
    if *found == header(current.database_id, current.manifest) {
        return Ok(());
    }
    let sound = found[32..] == xxhash_rust::xxh3::xxh3_64(&found[..32]).to_le_bytes();
    let version = u32::from_le_bytes(found[8..12].try_into().expect("four bytes"));
    if sound && version > VERSION {
        return Err(Error::NewerFormat {
            file: path.to_owned(),
            what: format!("manifest version {version}"),
        });
    }
    Err(Error::corruption(path, 0, Damage::ManifestHeader))
}

/// The payload of the record at `offset`, if it is whole and good.
fn record(bytes: &[u8], offset: usize, current: Current) -> Option<&[u8]> {
    let rest = &bytes[offset..];
    let fixed = rest.first_chunk::<RECORD_HEADER_BYTES>()?;
    let len: [u8; 8] = fixed[..8].try_into().expect("eight bytes");
    let payload_bytes = u64::from_le_bytes(len);
    let end = usize::try_from(payload_bytes).ok()?.checked_add(RECORD_HEADER_BYTES)?;
    let payload = rest.get(RECORD_HEADER_BYTES..end)?;
    let checksum = record_checksum(current.database_id, current.manifest, offset as u64, len, payload);
    (fixed[8..] == checksum.to_le_bytes()).then_some(payload)
}

impl ManifestState {
    /// Whether there is such a keyspace.
    pub(crate) fn has(&self, keyspace: KeyspaceId) -> bool {
        keyspace == KeyspaceId::DEFAULT || self.keyspaces.contains_key(&keyspace)
    }

    /// Whether a log counts.
    pub(crate) fn needs_log(&self, number: FileNumber) -> bool {
        number >= self.oldest_log || self.recovered_logs.iter().any(|log| log.number == number)
    }

    /// `None` if the edit removes what is not there, adds what is, or adds a table to no keyspace.
    fn apply(&mut self, edit: VersionEdit) -> Option<()> {
        self.record_count += 1;
        self.next_file = edit.next_file.unwrap_or(self.next_file);
        self.last_seqno = edit.last_seqno.unwrap_or(self.last_seqno);
        if let Some(oldest) = edit.oldest_log {
            self.oldest_log = oldest;
            self.recovered_logs.clear();
        }
        self.recovered_logs.extend(edit.recovered_logs);
        // They are read one after the other, before the live ones.
        let numbers = self.recovered_logs.iter().map(|log| log.number);
        if !numbers.chain([self.oldest_log]).is_sorted_by(|left, right| left < right) {
            return None;
        }
        for (level, file) in edit.removed_tables {
            self.tables.remove(&file).filter(|table| table.level == level)?;
        }
        self.next_keyspace = edit.next_keyspace.unwrap_or(self.next_keyspace);
        for (id, name) in edit.added_keyspaces {
            let is_new = id != KeyspaceId::DEFAULT && id < self.next_keyspace;
            if !is_new || self.keyspaces.insert(id, name).is_some() {
                return None;
            }
        }
        for id in edit.removed_keyspaces {
            self.keyspaces.remove(&id)?;
            self.tables.retain(|_, table| table.keyspace != id);
        }
        for table in edit.added_tables {
            if !self.has(table.keyspace) {
                return None;
            }
            if self.tables.insert(table.file, table).is_some() {
                return None;
            }
        }
        Some(())
    }
}
