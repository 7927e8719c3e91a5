//! One thread, one pen: a writer is not shared.
use kausal_arena::Writer;

fn shared<T: Sync>() {}

fn main() {
    shared::<Writer>();
}
