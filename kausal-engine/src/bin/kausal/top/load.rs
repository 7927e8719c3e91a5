//! What `kausal top` does to the database while it shows it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use kausal_engine::{Error, StorageEngine};

/// A load by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// Nothing: what is there, at rest.
    None,
    /// One thread writes values of 100 bytes to keys of 16, in no order.
    Write,
    /// One thread reads such keys.
    Read,
    /// One thread writes, another one reads.
    Readwrite,
}

/// The threads of a load.
pub(crate) struct Running<'scope> {
    is_over: &'static AtomicBool,
    threads: Vec<ScopedJoinHandle<'scope, Result<(), Error>>>,
}

/// One load runs in a process.
static IS_OVER: AtomicBool = AtomicBool::new(false);

impl<'scope> Running<'scope> {
    pub(crate) fn start<'env>(
        threads: &'scope Scope<'scope, 'env>,
        engine: &'env StorageEngine,
        load: Load,
        keys: u64,
    ) -> Self {
        let is_over = &IS_OVER;
        let mut started = Vec::new();
        if matches!(load, Load::Write | Load::Readwrite) {
            started.push(
                threads
                    .spawn(move || walk(is_over, keys, |key, number| engine.put(key, &[number as u8; 100]))),
            );
        }
        if matches!(load, Load::Read | Load::Readwrite) {
            started.push(threads.spawn(move || {
                let mut value = Vec::new();
                walk(is_over, keys, |key, _| engine.get_into(key, &mut value).map(drop))
            }));
        }
        Self { is_over, threads: started }
    }

    /// Ends the load, and answers the first error that ended one of its threads before.
    pub(crate) fn stop(self) -> Result<(), Error> {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join().expect("a load does not panic"));
        ended.fold(Ok(()), Result::and)
    }
}

/// Does something to one key after the other, in no order, until it is over.
fn walk(
    is_over: &AtomicBool,
    keys: u64,
    mut step: impl FnMut(&[u8], u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut number = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        // Weyl's sequence: every number once, then again.
        number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let key = format!("{:016x}", number % keys.max(1));
        step(key.as_bytes(), number)?;
    }
    Ok(())
}
