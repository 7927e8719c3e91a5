//! kausal-memtable
