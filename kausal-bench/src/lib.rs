//! kausal-bench
