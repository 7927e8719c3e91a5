//! Spans of jobs, as a subscriber of the program sees them.

use std::sync::{Arc, Mutex};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::open;

/// Keeps the names of the spans of this crate.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<&'static str>>>);

impl Subscriber for Names {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "kausal"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut names = self.0.lock().unwrap();
        names.push(span.metadata().name());
        Id::from_u64(names.len() as u64)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[test]
fn jobs_on_the_callers_thread_have_spans() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    tracing::subscriber::with_default(names.clone(), || {
        let engine = open(&folder.path().join("db"));
        engine.put(b"apple", b"red").unwrap();
        engine.flush().unwrap();
        engine.put(b"apple", b"green").unwrap();
        engine.compact().unwrap();
        engine.checkpoint(&folder.path().join("copy")).unwrap();
    });
    // Flushes run on a thread that this subscriber is not of.
    assert_eq!(*names.0.lock().unwrap(), ["recovery", "compaction", "checkpoint"]);
}
