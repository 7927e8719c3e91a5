//! `bench arena`.

pub mod source;
