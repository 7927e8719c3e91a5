//! First in, first out: nothing is merged, and the oldest tables are dropped when there are too many bytes.

use crate::compaction::{CompactionPolicy, Proposal, Step, TreeShape};

/// See the file's first lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fifo {
    pub(crate) bytes_max: u64,
}

impl CompactionPolicy for Fifo {
    fn name(&self) -> &'static str {
        "fifo"
    }

    fn propose(&self, tree: &TreeShape<'_>) -> Option<Proposal> {
        let mut bytes = tree.level_bytes(0);
        let urgency = bytes as f64 / self.bytes_max.max(1) as f64;
        let mut tables = 0;
        // The newest stays, however large.
        while bytes > self.bytes_max && tables + 1 < tree.table_count(0) {
            tables += 1;
            bytes -= tree.table_bytes(0, tree.table_count(0) - tables);
        }
        (tables > 0).then_some(Proposal { urgency, step: Step::DropOldest { tables } })
    }

    fn merges(&self) -> bool {
        false
    }
}
