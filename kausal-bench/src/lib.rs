//! Benchmarks of the kausal crates.
#![forbid(unsafe_code)]
