//! The record of a run, as Markdown.
