//! Recorded requests as patterns: the head, an empty line, the body, an Invocation and a Span, with
//! `$name` for what differs from one request to the next.

use uuid::Uuid;

#[derive(Clone, Copy)]
pub struct Wire {
    head: &'static str,
    body: &'static str,
    pub invocation: &'static str,
    pub span: &'static str,
}

/// What a head says of where it goes.
pub struct Destination<'a> {
    pub base: &'a str,
    pub authority: &'a str,
    pub resource: &'a str,
}

/// A request as it goes out.
pub struct Framed {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn of(pattern: &'static str) -> Self {
        let (head, rest) = pattern.split_once("\n\n").expect("a head ends with an empty line");
        let mut lines = rest.lines();
        let mut line = || lines.next().expect("a body, an Invocation and a Span");
        Self { head, body: line(), invocation: line(), span: line() }
    }

    pub fn keeps_alive(&self) -> bool {
        self.head.contains("\nConnection: keep-alive")
    }

    /// The body of one request; the items are in it byte for byte.
    pub fn body(&self, key: &str, items: &[String]) -> String {
        fill(self.body, |name| match name {
            "items" => Some(items.join(",")),
            "key" => Some(key.to_owned()),
            _ => None,
        })
    }

    /// The head as it precedes this body, and the body as the head frames it.
    pub fn frame(&self, to: &Destination<'_>, key: &str, body: &str) -> Framed {
        let head = fill(self.head, |name| match name {
            "base" => Some(to.base.to_owned()),
            "authority" => Some(to.authority.to_owned()),
            "resource" => Some(to.resource.to_owned()),
            "key" => Some(key.to_owned()),
            "length" => Some(body.len().to_string()),
            _ => None,
        });
        let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let body = if self.head.ends_with("\nTransfer-Encoding: chunked") {
            // Node sends what it is given at once as one chunk.
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
        } else {
            body.to_owned()
        };
        Framed { head: head.into_bytes(), body: body.into_bytes() }
    }
}

/// Replaces each `$name` that has a value, and `$uuid` by another one each time. `$LATEST` is no
/// name: names are lower case.
pub fn fill(pattern: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(pattern.len());
    let mut parts = pattern.split('$');
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        let end = part.find(|letter| !is_name(letter)).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let text = match name {
            "uuid" => Uuid::new_v4().to_string(),
            name => value(name).unwrap_or_else(|| format!("${name}")),
        };
        filled.push_str(&text);
        filled.push_str(rest);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_value_are_replaced() {
        let filled = fill("$a/[$LATEST]$b$a_b!", |name| match name {
            "a" => Some("$b".to_owned()),
            "a_b" => Some(String::new()),
            _ => None,
        });
        assert_eq!(filled, "$b/[$LATEST]$b!");
    }

    #[test]
    fn each_uuid_is_another() {
        let filled = fill("$uuid $uuid", |_| None);
        let (first, second) = filled.split_once(' ').expect("two of them");
        assert_ne!(first, second);
        assert!(Uuid::parse_str(first).is_ok() && Uuid::parse_str(second).is_ok(), "{filled}");
    }
}
