//! A permit lends its pen; nobody has it exclusively, to swap it for another.

use kausal_arena::{Permit, Writer};

fn swapped(pen: &mut Writer, other: Writer) -> Writer {
    std::mem::replace(pen, other)
}

fn stolen(permit: &mut Permit, other: Writer) -> Writer {
    swapped(permit.pen(), other)
}

fn main() {}
