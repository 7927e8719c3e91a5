//! kausal-sstable
