//! The acknowledgement file: one key a line, each byte as [`std::ascii::escape_default`] writes it.
//!
//! `kausal import --ack FILE` appends a key after its write was acknowledged. The escape leaves no byte that ends a line,
//! so any key is one line. A last line without its end was torn by the kill: it acknowledges nothing.

/// The keys that `file` acknowledges, in its order.
///
/// # Errors
///
/// Says which line is not of the format.
pub(super) fn parse(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let Some(last_end) = file.iter().rposition(|&byte| byte == b'\n') else { return Ok(Vec::new()) };
    let lines = file[..last_end].split(|&byte| byte == b'\n').enumerate();
    let unescaped = lines.map(|(index, line)| {
        unescape(line).ok_or_else(|| format!("line {} is no escaped key: {}", index + 1, line.escape_ascii()))
    });
    unescaped.collect()
}

/// Whether `file` holds at least one acknowledgement.
pub(super) fn has_any(file: &[u8]) -> bool {
    file.contains(&b'\n')
}

/// Undoes [`std::ascii::escape_default`]; `None` for what that never writes.
fn unescape(line: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = line.iter().copied();
    let mut key = Vec::with_capacity(line.len());
    while let Some(byte) = bytes.next() {
        key.push(match byte {
            b'\\' => match bytes.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                quote @ (b'\'' | b'"' | b'\\') => quote,
                b'x' => 16 * digit(bytes.next()?)? + digit(bytes.next()?)?,
                _ => return None,
            },
            b' '..=b'~' => byte,
            _ => return None,
        });
    }
    Some(key)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escape(key: &[u8]) -> Vec<u8> {
        key.iter().copied().flat_map(std::ascii::escape_default).collect()
    }

    #[test]
    fn every_pair_of_bytes_comes_back() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let key = [first, second];
                let line = escape(&key);
                assert!(!line.contains(&b'\n'));
                assert_eq!(unescape(&line).as_deref(), Some(&key[..]));
            }
        }
    }

    #[test]
    fn a_torn_line_acknowledges_nothing() {
        let keys = |file: &[u8]| parse(file).expect("well formed");
        assert_eq!(keys(b"a/b.html\nc\\n\\xff\nto"), [b"a/b.html".to_vec(), b"c\n\xff".to_vec()]);
        assert_eq!(keys(b"torn"), [[0; 0]; 0]);
        assert_eq!(keys(b""), [[0; 0]; 0]);
        assert_eq!(keys(b"\n"), [b""]);
        assert!(!has_any(b"torn") && has_any(b"whole\n"));
    }

    #[test]
    fn a_malformed_line_is_named() {
        for line in ["a\\", "\\q", "\\x4", "\\xg0", "a\tb"] {
            let error = parse(format!("ok\n{line}\n").as_bytes()).expect_err(line);
            assert!(error.starts_with("line 2 "), "{error}");
        }
    }
}
