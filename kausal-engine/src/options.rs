//! Settings: numbers and policies with a documented default. Components (file system, clock, index) are arguments
//! of the [`Builder`](crate::Builder).

use std::time::Duration;

use kausal_sstable::Compression;

use crate::compaction::Compaction;
use crate::planted::is_planted;
use crate::vfs::OpenMode;

/// Smallest memory budget a database opens with.
pub const MEMORY_BUDGET_MIN: usize = 8 << 20;

/// Levels that a compression can be chosen for one by one; deeper ones share the last one's.
const COMPRESSION_LEVELS: usize = 8;

/// What a write survives when it has been acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing for certain: the log keeps up to 64 KiB of such writes in memory. What survives is a prefix.
    Buffered,
    /// The end of the process, however sudden: the record is in the kernel's hands.
    #[default]
    Process,
    /// The end of the machine's power: the record is on the disk.
    Power,
}

/// How one write is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// What it survives; `None` takes the database's default.
    pub durability: Option<Durability>,
    /// Whether a write that would have to wait for memory, for compaction or for disk space fails at once instead, with
    /// [`Error::Stalled`](crate::Error). It still waits for its turn behind writes that are under way.
    pub no_wait: bool,
}

impl WriteOptions {
    /// A write with this durability.
    pub fn durable(durability: Durability) -> Self {
        Self { durability: Some(durability), no_wait: false }
    }

    /// The same write, but with an error in the place of a wait.
    pub fn no_wait(mut self) -> Self {
        self.no_wait = true;
        self
    }
}

/// Settings of a database.
///
/// # Examples
///
/// ```
/// use kausal_engine::{Durability, Options};
///
/// let options = Options::new().memory_budget(32 << 20).durability(Durability::Power);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) memory_budget: usize,
    pub(crate) durability: Durability,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) salvage: bool,
    pub(crate) block_bytes: usize,
    pub(crate) filter_bits_per_key: u32,
    pub(crate) direct_reads: bool,
    pub(crate) mapped_tables: bool,
    compression: [Compression; COMPRESSION_LEVELS],
    pub(crate) compaction: Compaction,
    pub(crate) compaction_threads: usize,
    pub(crate) table_bytes: Option<u64>,
    pub(crate) open_tables_max: usize,
    pub(crate) level1_bytes: Option<u64>,
    /// What was set, if anything was: see `level0`.
    pub(crate) level0_compaction_count: Option<usize>,
    /// The same.
    pub(crate) level0_stall_count: Option<usize>,
    pub(crate) settle_after: Option<Duration>,
    pub(crate) stall_timeout: Duration,
    pub(crate) background_bytes_per_second: Option<u64>,
    pub(crate) rate_limit_flushes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults: 64 MiB of memory, writes that survive the process, a database created where there is none.
    pub fn new() -> Self {
        Self {
            memory_budget: if is_planted("default_of_a_gigabyte") { 1 << 30 } else { 64 << 20 },
            durability: Durability::Process,
            create: true,
            read_only: false,
            salvage: false,
            block_bytes: 4 << 10,
            filter_bits_per_key: 10,
            direct_reads: false,
            mapped_tables: false,
            compression: [Compression::None; COMPRESSION_LEVELS],
            compaction: Compaction::Leveled,
            compaction_threads: 1,
            table_bytes: None,
            open_tables_max: 512,
            level1_bytes: None,
            level0_compaction_count: None,
            level0_stall_count: None,
            settle_after: Some(Duration::from_millis(50)),
            stall_timeout: Duration::from_secs(60),
            background_bytes_per_second: None,
            rate_limit_flushes: false,
        }
    }

    /// All the memory the database accounts for, in bytes; at least [`MEMORY_BUDGET_MIN`]. Default 64 MiB.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// What a write survives unless it says otherwise, and what the database shows when it has been opened. Default
    /// [`Durability::Process`]: what an open after a kill shows survives another kill, and is durable with the next sync or close.
    /// With [`Durability::Power`] it is durable when the open returns.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether to create the database where there is none. Default `true`.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether the database is only read: no file is made, changed or removed, and whatever writes is an
    /// [`Error::ReadOnly`](crate::Error::ReadOnly). What the logs hold is replayed into memory, so it must fit into the
    /// memtables. Any number of handles and processes may read a database at a time, as long as none has it open for writing.
    /// Default `false`.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether opening goes on where a log is damaged in what was synced, which is an
    /// [`Error::Corruption`](crate::Error::Corruption) otherwise. What is
    /// found then is a moment of the past: all writes before the damage and none behind it. What was lost stands in
    /// [`RecoveryReport::salvaged`](crate::RecoveryReport::salvaged). Copy the folder first: it is lost for good. Default
    /// `false`.
    pub fn salvage(mut self, salvage: bool) -> Self {
        self.salvage = salvage;
        self
    }

    /// Size at which a table's data block is closed, in bytes before the trailer. Default 4 KiB.
    pub fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Bits of a table's filter for each key. Default 10: about one in a hundred absent keys costs a read.
    pub fn filter_bits_per_key(mut self, bits: u32) -> Self {
        self.filter_bits_per_key = bits;
        self
    }

    /// Whether tables are read past the kernel's page cache, where the file system can do that. Default `false`.
    ///
    /// What is read twice is then read from the disk twice, unless this process keeps it.
    pub fn direct_reads(mut self, direct: bool) -> Self {
        self.direct_reads = direct;
        self
    }

    /// Whether look-ups and walks have data blocks that are not compressed from mappings of the tables' files, rather than from the
    /// block cache, into which they are read. Default `false`.
    ///
    /// That is faster where the cache holds less of the data than the kernel's page cache does: nothing is copied, and a block's
    /// checksum is computed when it is first used since its table was opened. What it costs:
    ///
    /// - The pages are the kernel's. It can take them back at any time, but they stand outside of the
    ///   [memory budget](Self::memory_budget), and those that were looked at count as resident memory of the process.
    /// - A block that is damaged on the disk after it was first used is not found out before the database is opened again.
    /// - A disk that fails to give a page, and anybody who cuts the files of an open database, ends the process by a signal
    ///   (`SIGBUS`), where a read gives an [`Error::Io`](crate::Error::Io).
    /// - [Pinned values](crate::Keyspace::get_pinned) of such tables are copies.
    ///
    /// Filters and indexes, compressed blocks, and the inputs of compactions are read as without it. So is everything where files
    /// cannot be mapped: on other systems than Unix, with a [`Vfs`](crate::vfs::Vfs) that offers no mappings, and with
    /// [`direct_reads`](Self::direct_reads).
    pub fn mapped_tables(mut self, mapped: bool) -> Self {
        self.mapped_tables = mapped;
        self
    }

    /// How tables are opened.
    pub(crate) fn table_open_mode(&self) -> OpenMode {
        match (self.direct_reads, self.mapped_tables) {
            (true, _) => OpenMode::ReadDirect,
            (false, true) => OpenMode::ReadMapped,
            (false, false) => OpenMode::Read,
        }
    }

    /// How tables of `level` and of all deeper ones are compressed when they are written. Default none. A table keeps
    /// the compression it was written with; one database may hold all of them.
    pub fn compression(mut self, level: usize, compression: Compression) -> Self {
        self.compression
            .iter_mut()
            .skip(level.min(COMPRESSION_LEVELS - 1))
            .for_each(|chosen| *chosen = compression);
        self
    }

    /// The compression of tables of `level`.
    pub(crate) fn compression_of(&self, level: u8) -> Compression {
        self.compression[usize::from(level).min(COMPRESSION_LEVELS - 1)]
    }

    /// What is compacted when. Default [`Compaction::Leveled`]. It may change from open to open.
    pub fn compaction(mut self, compaction: Compaction) -> Self {
        self.compaction = compaction;
        self
    }

    /// Threads that merge the tables of one compaction at the same time, each a range of their keys; at least 1. Default 1.
    ///
    /// A merge is cut where it has the bytes of several tables ([`table_bytes`](Self::table_bytes)), into as many parts as there
    /// is memory for beside what is set aside for compaction; the rest of the budget is the block cache's otherwise. The threads
    /// are started when the database is opened, unless the [environment](crate::Builder::environment) brings its own.
    ///
    /// The threads of a part are busy with the processor and the disk as a whole compaction is: more than there are to spare slow
    /// everybody else down.
    pub fn compaction_threads(mut self, threads: usize) -> Self {
        self.compaction_threads = threads.max(1);
        self
    }

    /// Length from which on a compaction begins the next table, in bytes. Default the size of a memtable, 3/16 of the
    /// memory budget, and at least 1 MiB. A table is longer where a key has many versions.
    pub fn table_bytes(mut self, bytes: u64) -> Self {
        self.table_bytes = Some(bytes);
        self
    }

    /// Files of tables that are open at a time, beside one for each thread that reads; at least 1. Default 512, half of what most
    /// systems let a process have. A table whose file is not open opens it for its next read that the cache cannot answer.
    pub fn open_tables_max(mut self, files: usize) -> Self {
        self.open_tables_max = files;
        self
    }

    /// Size from which on level 1 is compacted into level 2, in bytes; each further level has ten times that. Default the
    /// memory budget: five memtables and a third.
    pub fn level1_bytes(mut self, bytes: u64) -> Self {
        self.level1_bytes = Some(bytes);
        self
    }

    /// Tables of level 0 from which on they are compacted, at least 1. By default 4 while somebody reads, and 12 while tables are only
    /// written: merges are made for readers, and cost the less for each byte the more tables they take. It is judged
    /// whenever a memtable has been flushed; when nobody writes any more the tree is settled ([`settle_after`](Self::settle_after)).
    pub fn level0_compaction_count(mut self, tables: usize) -> Self {
        self.level0_compaction_count = Some(tables);
        self
    }

    /// Tables of level 0 from which on writers that need a new memtable wait. By default 12 while somebody reads and 24 while
    /// tables are only written, and never fewer than twice the [`level0_compaction_count`](Self::level0_compaction_count).
    pub fn level0_stall_count(mut self, tables: usize) -> Self {
        self.level0_stall_count = Some(tables);
        self
    }

    /// For how long nothing has to be written before the tree is brought to fewer runs than it must have, which is what readers
    /// like best ([`CompactionPolicy::settle`](crate::CompactionPolicy::settle)); `None` is never. Default 50 ms.
    ///
    /// The files of merged tables that are kept for later ones, up to two memory budgets on ext4, are removed then, too.
    pub fn settle_after(mut self, rest: Option<Duration>) -> Self {
        self.settle_after = rest;
        self
    }

    /// Bytes of keys and values that flushes and compactions write in a second, at most. Flushes go first: compaction waits for
    /// what both have written, and flushes only if [`rate_limit_flushes`](Self::rate_limit_flushes) says so. Default no limit.
    ///
    /// Too small a number lets level 0 grow until writers are slowed down to it.
    pub fn background_bytes_per_second(mut self, bytes: u64) -> Self {
        self.background_bytes_per_second = Some(bytes);
        self
    }

    /// Whether flushes keep to [`background_bytes_per_second`](Self::background_bytes_per_second) too, rather than only use it
    /// up before compaction does. Default `false`.
    pub fn rate_limit_flushes(mut self, limit: bool) -> Self {
        self.rate_limit_flushes = limit;
        self
    }

    /// How long a writer waits for memory or for compaction before it gets [`Error::Stalled`](crate::Error).
    /// Default 60 seconds.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }
}
