//! The borrowed door: a pen that cannot outlive the borrow of the arena.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::arena::Arena;
use crate::writer::Writer;

/// A borrowed door to an arena: a [`Writer`] that cannot outlive the borrow.
///
/// A scope does not leave the function that owns the arena:
/// ```compile_fail,E0515
/// fn broken() -> kausal_arena::Scope<'static> {
///     let arena = kausal_arena::Arena::growing(&kausal_arena::Budget::unlimited("local"));
///     arena.scope()
/// }
/// ```
pub struct Scope<'arena> {
    writer: Writer,
    arena: PhantomData<&'arena Arena>,
}

impl Deref for Scope<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl<'arena> Scope<'arena> {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer, arena: PhantomData::<&'arena Arena> }
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Scope").field(&self.writer).finish()
    }
}
