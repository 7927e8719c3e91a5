//! RUSTSEC-2020-0006, bumpalo's IntoIter, bump-scope#137: a reallocation copied beyond the old size; an iterator outlived its
//! arena; a safe reset through a mutable handle.
//!
//! They are kausal-arena's to prove: `tests/compile_fail.rs` rejects each way out of a lease, `tests/guards.rs` and the
//! AddressSanitizer (`cargo xtask sanitize`) see what reads or writes beyond. This test sees that those are there.

#[test]
fn the_arena_has_a_test_for_each_escape() {
    let rejected = include_str!("../../../kausal-arena/tests/compile_fail.rs");
    let guards = include_str!("../../../kausal-arena/tests/guards.rs");
    for test in [
        "s08_children_do_not_reset",
        "s20_a_result_does_not_outlive_its_request",
        "s22_a_child_arena_lives_within_its_parent",
        "s24_a_reference_does_not_cross_a_reset",
    ] {
        assert!(rejected.contains(&format!("fn {test}()")), "{test}");
    }
    assert!(guards.contains("fn a_write_past_the_end_is_found_by_the_reset()"));
}
