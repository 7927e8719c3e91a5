//! What the report prints.

use kausal_index::conformance::{Law, Settings, check};
use kausal_index::{BTreeIndex, BlockIndex, SkipListIndex};

fn report<I: BlockIndex>() -> String {
    check::<I>(&Settings::new().cases(4).seed(1)).to_string()
}

#[test]
fn the_report_says_which_laws_an_index_claims_and_holds() {
    insta::assert_snapshot!(report::<SkipListIndex>());
}

#[test]
fn the_report_says_what_an_index_does_not_claim() {
    insta::assert_snapshot!(report::<BTreeIndex>());
}

#[test]
fn every_law_has_a_name_and_a_sentence_of_its_own() {
    let names: std::collections::BTreeSet<_> = Law::ALL.map(Law::name).into();
    let sentences: std::collections::BTreeSet<_> = Law::ALL.map(Law::says).into();
    assert_eq!((names.len(), sentences.len()), (Law::ALL.len(), Law::ALL.len()));
}
