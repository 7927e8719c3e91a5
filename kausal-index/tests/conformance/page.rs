//! The page and the example.
