//! Examines JSON without a parser, in one pass and without memory.
//!
//! Invariant: brackets, commas and quotes inside a string are ignored.

use crate::payload::signal::Signal;

/// Whether the bytes are a complete array or object. tiny_http reports a chunked body that ends inside a
/// chunk as complete. The outermost bracket of a truncated array or object is never closed, so this function
/// detects it.
pub fn is_whole(json: &[u8]) -> bool {
    let (mut is_open, mut end) = (false, None);
    marks(json.trim_ascii(), |_, open, left| {
        if is_open && open == 0 {
            end.get_or_insert(left);
        }
        is_open = open > 0;
    });
    end == Some(0)
}

/// Whether the body may be an object, by its first and last byte.
pub fn is_object(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    body.starts_with(b"{") && body.ends_with(b"}")
}

/// Whether an object has no member, or only an empty array as that of the signal.
pub fn is_empty_object(signal: Signal, body: &[u8]) -> bool {
    // Enough for both forms with white space. A longer body has content.
    const BYTES_MAX: usize = 64;
    let opening = signal.json_opening().bytes().chain(*b"]}");
    let bare = || body.iter().copied().filter(|it| !it.is_ascii_whitespace());
    body.len() <= BYTES_MAX && (bare().eq(*b"{}") || bare().eq(opening))
}

/// The largest number of open brackets.
pub fn depth(json: &[u8]) -> usize {
    let mut depth = 0;
    marks(json, |_, open, _| depth = depth.max(open));
    depth
}

pub fn commas_between_items(array: &[u8]) -> usize {
    let mut commas = 0;
    marks(array, |mark, open, _| commas += usize::from(mark == b',' && open == 1));
    commas
}

/// Calls `visit` for each bracket and comma outside of strings, with the number of open brackets after it and
/// the number of bytes after it.
fn marks(json: &[u8], mut visit: impl FnMut(u8, usize, usize)) {
    let mut open = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                skip_string(&mut bytes);
                continue;
            }
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b',' => {}
            _ => continue,
        }
        visit(*byte, open, bytes.len());
    }
}

/// Skips to the end of a string. An escaped byte never ends the string.
fn skip_string<'a>(bytes: &mut impl Iterator<Item = &'a u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_complete_only_with_its_last_byte() {
        let documents = [
            r#"[{"a":"]}\"[\\"},[1,2,"é"],{}]"#,
            r#" {"a":{"b":[]},"c":"}"} "#,
            "[]",
            "{}",
            "[[],[]]",
        ];
        for document in documents {
            assert!(is_whole(document.as_bytes()), "{document}");
            let end = document.trim_end().len();
            for cut in 0..end {
                assert!(!is_whole(&document.as_bytes()[..cut]), "{document} cut at {cut}");
            }
            assert!(!is_whole(format!("{document}[").as_bytes()), "{document} and more");
        }
        for other in ["", "1", "]", "}", ",", "[]]", "[],[]"] {
            assert!(!is_whole(other.as_bytes()), "{other}");
        }
    }
}
