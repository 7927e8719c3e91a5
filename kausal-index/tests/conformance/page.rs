//! The page docs/write-your-own-index.md shows the examples' code and what they print, and nothing else.

use std::fs;
use std::path::Path;

use kausal_index::conformance::{Settings, check};

use crate::plain_tree::PlainTree;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_page_on_indexes_shows_code_that_is_compiled_and_run() {
    let page = read("docs/write-your-own-index.md");
    let blocks = page.match_indices("\n```rust\n").map(|(place, mark)| {
        let code = &page[place + mark.len()..];
        let code = &code[..code.find("\n```").expect("a block has an end")];
        let origin = page[..place].lines().next_back().unwrap_or_default();
        let origin = origin.strip_prefix("<!-- from ").and_then(|rest| rest.strip_suffix(" -->"));
        (origin.unwrap_or_else(|| panic!("no origin before:\n{code}")), code)
    });
    let mut count = 0;
    for (origin, code) in blocks {
        assert!(read(origin).contains(code), "{origin} does not have what the page shows:\n{code}");
        count += 1;
    }
    assert!(count > 5, "{count} blocks found");
}

#[test]
fn the_page_on_indexes_shows_the_report_that_is_printed() {
    let report = check::<PlainTree>(&Settings::new().cases(4).seed(1)).to_string();
    assert!(read("docs/write-your-own-index.md").contains(report.trim_end()), "the report is now:\n{report}");
}
