//! Parses values of settings, for both programs of the layer. The wrapper must read them as the extension does.

/// Default port of the extension for Thundra's agents.
pub const PORT_DEFAULT: u16 = 3333;

/// The value without a pair of quotation marks around it, or `None` without such a pair. A shell removes the
/// quotation marks, but consoles and templates keep them.
pub fn unquoted(held: &str) -> Option<&str> {
    let [opening, closing] = [held.chars().next()?, held.chars().next_back()?];
    let is_pair = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’')].contains(&(opening, closing));
    let inner = held.get(opening.len_utf8()..held.len() - closing.len_utf8())?;
    is_pair.then(|| inner.trim())
}

/// Parses a boolean in each spelling that an agent accepts.
pub fn boolean(held: &str) -> Option<bool> {
    match unquoted(held).unwrap_or(held).to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Some(true),
        "false" | "f" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// Parses a port from 1 to 65535.
pub fn port(held: &str) -> Option<u16> {
    unquoted(held).unwrap_or(held).parse().ok().filter(|&port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pair_of_quotation_marks_is_removed() {
        for (held, inner) in [
            ("\"a\"", Some("a")),
            ("' a '", Some("a")),
            ("“a”", Some("a")),
            ("\"\"", Some("")),
            ("\"", None),
            ("'a\"", None),
            ("a\"", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(unquoted(held), inner, "{held}");
        }
        assert_eq!((boolean("\"false\""), port("'80'")), (Some(false), Some(80)));
    }
}
