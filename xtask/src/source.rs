//! Rust source as the scans see it: code alone, every byte still on its line.
//!
//! [`code`] puts blanks in the place of comments and of what stands between quotes, so a word found in the result is a
//! word of the program, and a brace found there opens a block. [`without_tests`] blanks what is compiled for tests only.
//!
//! Not here: a parser. The scans look for words; what needs types (who calls `Arena::reset`, by whatever name) is
//! asked of clippy.

/// `text` with comments and the inside of literals blanked. Line breaks stay.
pub(crate) fn code(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let blanked = blanked_bytes(rest, out.chars().next_back());
        if blanked == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..blanked].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[blanked..];
        }
    }
    out
}

/// `code` (as from [`code`]) with every item under `#[cfg(test)]` blanked as well.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let item = &rest[start + MARK.len()..];
        let end = start + MARK.len() + item_bytes(item);
        out.push_str(&rest[..start]);
        out.extend(rest[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

/// The lines of `code`, counted from 1, on which `word` stands as a whole word.
pub(crate) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let is_whole = |line: &str, place: usize| {
        !line[..place].ends_with(is_word) && !line[place + word.len()..].starts_with(is_word)
    };
    let has_word = |line: &str| line.match_indices(word).any(|(place, _)| is_whole(line, place));
    code.lines().enumerate().filter(|(_, line)| has_word(line)).map(|(index, _)| index + 1).collect()
}

/// The line of byte `place`, counted from 1.
pub(crate) fn line_at(text: &str, place: usize) -> usize {
    text[..place].matches('\n').count() + 1
}

/// The text from the brace at the start of `text` through the one that closes it; all of `text` if none does.
pub(crate) fn block(text: &str) -> &str {
    let mut depth = 0usize;
    for (place, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return &text[..place + 1],
            '}' => depth -= 1,
            _ => {}
        }
    }
    text
}

/// Whether `c` continues a word of the language.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the comment or literal that `rest` begins with; 0 if it begins with code. A literal's quotes count.
fn blanked_bytes(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_bytes(rest);
    }
    if rest.starts_with('"') {
        return quoted_bytes(rest, '"');
    }
    if rest.starts_with('\'') {
        return character_bytes(rest);
    }
    let starts_word = !before.is_some_and(is_word);
    if starts_word && (rest.starts_with('r') || rest.starts_with("br") || rest.starts_with("cr")) {
        return raw_string_bytes(rest);
    }
    0
}

fn block_comment_bytes(rest: &str) -> usize {
    let mut depth = 0usize;
    let mut place = 0;
    while place < rest.len() {
        if rest.as_bytes()[place..].starts_with(b"/*") {
            depth += 1;
            place += 2;
        } else if rest.as_bytes()[place..].starts_with(b"*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                return place;
            }
        } else {
            place += 1;
        }
    }
    rest.len()
}

fn quoted_bytes(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (place, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'x'` and `'\n'` are literals, `'x` alone is a lifetime.
fn character_bytes(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match (inside.next(), inside.next()) {
        (Some('\\'), _) => quoted_bytes(rest, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

fn raw_string_bytes(rest: &str) -> usize {
    let after_r = rest.find('r').map_or(rest, |r| &rest[r + 1..]);
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    if !after_r[hashes..].starts_with('"') {
        return 0;
    }
    let opened = rest.len() - after_r.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    rest[opened..].find(&close).map_or(rest.len(), |inside| opened + inside + close.len())
}

/// Length of the item that `rest` begins with: through its semicolon or its block.
fn item_bytes(rest: &str) -> usize {
    let mut brackets = 0usize;
    for (place, c) in rest.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if brackets == 0 => return place + 1,
            '{' if brackets == 0 => return place + block(&rest[place..]).len(),
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = code(text);
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), expected);
        assert_eq!(found.matches('\n').count(), text.matches('\n').count(), "every line stays");
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        check("a // unsafe\nb", "a b");
        check("a /* x /* unsafe */ y */ b", "a b");
        check(r#"let a = "unsafe \" { unsafe"; b"#, "let a = ; b");
        check("let a = r#\"unsafe \" {\"#; b", "let a = ; b");
        check("let a = br\"\\\"; b", "let a = ; b");
        check(r"let a = '\''; let b = '{'; c", "let a = ; let b = ; c");
    }

    #[test]
    fn lifetimes_and_words_with_r_are_code() {
        check("fn f<'a>(x: &'a str, r: u8) -> &'a str { x }", "fn f<'a>(x: &'a str, r: u8) -> &'a str { x }");
        check("for br in r#type {}", "for br in r#type {}");
    }

    #[test]
    fn what_is_compiled_for_tests_is_blanked_whole() {
        let text = "a\n#[cfg(test)]\nmod tests { fn f() { [0; 3] } }\nb\n#[cfg(test)] use x::{y, z};\nc";
        let rest = without_tests(text);
        assert_eq!(rest.split_whitespace().collect::<String>(), "ab;c");
        assert_eq!(rest.matches('\n').count(), text.matches('\n').count());
    }

    #[test]
    fn a_word_is_found_whole_only() {
        assert_eq!(lines_with_word("unsafe_code\nunsafe {\n(unsafe)\nnot_unsafe", "unsafe"), [2, 3]);
    }
}
