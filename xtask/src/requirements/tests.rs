//! The table and the sources, made up, agreeing and not.

use super::*;

/// A table of all rows, open, but for those given.
fn table(rows: &[&str]) -> String {
    let names = (1..=30).map(|number| format!("S{number}")).chain((1..=7).map(|number| format!("U{number}")));
    let line = |name: String| {
        let given = rows.iter().find(|row| row.starts_with(&format!("| {name} |")));
        given.map_or_else(|| format!("| {name} | says | shows | | | open |"), |row| (*row).to_owned())
    };
    names.map(line).collect::<Vec<_>>().join("\n")
}

fn sources(tests: &[(&str, &str)]) -> BTreeMap<String, Vec<NamedTest>> {
    let mut found = BTreeMap::<String, Vec<NamedTest>>::new();
    for (test, krate) in tests {
        let place = NamedTest { krate: (*krate).into(), file: format!("{krate}/src/a.rs").into(), line: 9 };
        found.entry((*test).into()).or_default().push(place);
    }
    found
}

/// What is wrong with a table, given the tests there are and those that pass.
#[track_caller]
fn check(rows: &[&str], tests: &[(&str, &str)], passing: &str, expected: &[&str]) {
    let (rows, mut violations) = parse(&table(rows));
    violations.extend(disagreements(&rows, &sources(tests)));
    if violations.is_empty() {
        violations.extend(unproven(&rows, &passed(passing)));
    }
    let found: Vec<_> = violations.iter().map(|violation| violation.what.as_str()).collect();
    assert_eq!(found, expected);
}

const S5: &str = "| S5 | says | shows | `s05_law` | `kausal-memtable` | proven |";

#[test]
fn a_proven_row_has_a_test_that_passes() {
    check(&[S5], &[("s05_law", "kausal-memtable")], "test manager::tests::s05_law ... ok", &[]);
}

#[test]
fn open_rows_are_only_counted() {
    check(&[], &[], "", &[]);
    assert_eq!(parse(&table(&[])).0.len(), ROW_COUNT);
}

#[test]
fn a_test_that_fails_or_is_ignored_proves_nothing() {
    let what = "row S5 is not proven: `s05_law` did not pass";
    for passing in
        ["test tests::s05_law ... FAILED", "test s05_law ... ignored", "test s05_law_too ... ok", ""]
    {
        check(&[S5], &[("s05_law", "kausal-memtable")], passing, &[what]);
    }
}

#[test]
fn a_test_that_does_not_exist_is_found() {
    check(&[S5], &[], "", &["row S5 names `s05_law`, which does not exist"]);
}

#[test]
fn a_test_in_another_crate_is_found() {
    let what = "row S5 says {\"kausal-memtable\"}, but its tests are in {\"kausal-arena\"}";
    check(&[S5], &[("s05_law", "kausal-arena")], "", &[what]);
}

#[test]
fn a_test_that_the_table_does_not_list_is_found() {
    let what = "`s06_other` is named after a row that does not list it";
    check(&[], &[("s06_other", "kausal-index")], "", &[what]);
}

#[test]
fn a_test_that_exists_twice_is_found() {
    let places = [("s05_law", "kausal-memtable"), ("s05_law", "kausal-memtable")];
    check(&[S5], &places, "", &["`s05_law` exists twice"]);
}

#[test]
fn a_row_is_proven_or_open() {
    let rows = ["| S5 | says | shows | `s05_law` | `kausal-memtable` | nearly |"];
    check(
        &rows,
        &[("s05_law", "kausal-memtable")],
        "",
        &["row S5 is `nearly`", "`s05_law` is named after a row that does not list it"],
    );
    check(&["| S5 | says | shows | | | proven |"], &[], "", &["row S5 claims a proof without a test"]);
    check(&["| S5 | says | open |"], &[], "", &["row S5 has not six cells"]);
}

#[test]
fn a_row_names_tests_of_its_own_number() {
    let rows = ["| S5 | says | shows | `s06_law` | `kausal-memtable` | proven |"];
    check(
        &rows,
        &[("s06_law", "kausal-memtable")],
        "",
        &["row S5 names `s06_law`", "`s06_law` is named after a row that does not list it"],
    );
}

#[test]
fn a_row_that_is_missing_or_stands_twice_is_found() {
    let short = table(&[]).replace("| S7 | says | shows | | | open |\n", "");
    assert_eq!(parse(&short).1[0].what, "36 rows, but the memory architecture has 37");
    let (_, violations) = parse(&format!("{}\n| S1 | says | shows | | | open |", table(&[])));
    assert_eq!(violations[0].what, "row S1 stands twice");
}

#[test]
fn tests_are_read_from_code_only() {
    let text = "#[test]\nfn s05_law() {}\n// fn s06_not() {}\nfn u1_budget() {}\nfn s1_short() {}\nfn seed_s05_x() {}";
    assert_eq!(tests_in(text), [("s05_law".to_owned(), 2), ("u1_budget".to_owned(), 4)]);
}
