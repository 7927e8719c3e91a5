//! Spans of jobs for the `tracing` facade (feature `tracing`): target `kausal`, level info. Without the feature, nothing.

/// Opens a span that lasts until the end of the block.
macro_rules! span {
    ($name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        #[cfg(feature = "tracing")]
        let _span = tracing::info_span!(target: "kausal", $name $(, $field = $value)*).entered();
    };
}

pub(crate) use span;
