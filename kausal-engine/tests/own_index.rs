//! The example of an engine over an index of one's own does what it says.

#[path = "../examples/own_index.rs"]
mod example;

#[test]
fn the_engine_works_over_an_index_that_a_user_wrote() {
    example::main().expect("the example checks what it reads");
}
