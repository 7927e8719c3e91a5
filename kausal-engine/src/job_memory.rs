//! The memory of flushes, or of compactions: taken when a job begins, left to the next one when it ends.
//!
//! 1. A table writer's buffers, and the block buffers of inputs, are made once and used by one job after the other. They
//!    stay charged to the jobs' node of the budget; so a warm job calls the allocator for hardly more than what stays,
//!    the metadata of the tables it wrote.
//! 2. What is idle is within the node's floor, so it takes nothing from others. What would be more goes back.
//! 3. Who merges a part of a compaction beside others has a node of its own ([`PartsMemory`]), whose floor is what it needs:
//!    none of them takes of what was set aside for the compaction itself.
//!
//! Without this the process would grow beyond what is accounted for: buffers of many sizes that live for one table leave holes
//! between metadata that lives for longer, in heaps of as many threads as there are lanes.

use kausal_arena::sync::Mutex;
use kausal_arena::{AllocError, Budget};
use kausal_sstable::{BufferPool, WriterMemory};

use crate::planted::is_planted;

/// The node of a kind of job, and what its last jobs left behind.
#[derive(Debug)]
pub(crate) struct JobMemory {
    /// Before the budget: what is kept is charged to it.
    writers: Mutex<Vec<WriterMemory>>,
    buffers: BufferPool,
    /// Idle writers' memory is no more than this, half of the floor; the other half is for idle block buffers.
    kept_max: usize,
    budget: Budget,
}

impl JobMemory {
    /// Nothing yet; what jobs need is charged to `budget`, in which nothing is charged yet.
    pub(crate) fn new(budget: Budget) -> Self {
        let kept_max = budget.reserved() / 2;
        Self::keeping(kept_max, budget)
    }

    fn keeping(kept_max: usize, budget: Budget) -> Self {
        let buffers_max = if is_planted("buffers_for_each_job") { 0 } else { kept_max };
        let buffers = BufferPool::keeping(buffers_max, &budget);
        Self { writers: Mutex::new(Vec::new()), buffers, kept_max, budget }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Block buffers of inputs.
    pub(crate) fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// The memory for a table writer.
    pub(crate) fn take_writer(&self) -> WriterMemory {
        self.writers.lock().pop().unwrap_or_else(|| WriterMemory::new(&self.budget))
    }

    /// Keeps the memory of a table writer that has finished, if there is room.
    pub(crate) fn give_writer(&self, memory: WriterMemory) {
        let mut writers = self.writers.lock();
        let kept: usize = writers.iter().map(WriterMemory::charged_bytes).sum();
        if kept + memory.charged_bytes() <= self.kept_max && !is_planted("buffers_for_each_job") {
            writers.push(memory);
        }
    }
}

/// The node that parts of a compaction have their nodes in, but for the one in the compaction's own.
#[derive(Debug)]
pub(crate) struct PartsMemory {
    budget: Budget,
}

impl PartsMemory {
    /// Nothing is set aside: parts have what nobody else needs.
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget }
    }

    /// The memory of one more part, with `bytes` set aside for it until this is dropped.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if they cannot be had now.
    pub(crate) fn set_aside(&self, bytes: usize) -> Result<JobMemory, AllocError> {
        let ceiling = self.budget.ceiling();
        // A charge makes the block cache give way, which a floor does not; what it gave is there for the floor.
        drop(self.budget.reserve(bytes)?);
        // All that the part has may be idle: it goes back to everybody when the merge ends.
        let bytes = bytes.min(ceiling);
        self.budget.child("part", bytes, ceiling).map(|node| JobMemory::keeping(bytes, node))
    }
}
