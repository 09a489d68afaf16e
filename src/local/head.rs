//! The head of a request, as a server of a local port passes it to the collector.
//!
//! Of repeated headers, the first one counts.

/// A request without its body. It borrows from the server's buffer.
#[derive(Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    /// The target of the request line: a path with a query, or a complete URL.
    pub target: &'a str,
    /// The names and values of the headers. A value may have any bytes that HTTP allows (RFC 9110, 5.5).
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Head<'a> {
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.headers.iter().map(|(name, _)| *name)
    }

    /// The values of all headers of this name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.headers.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name));
        headers.map(|(_, value)| *value)
    }

    /// The value of a header that has text. `None` without such a header, or if its value is no text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.values(name).next()?).ok()
    }

    /// Whether the request may be meant as a report. A probe, such as `GET /`, has no body.
    pub fn may_be_report(&self) -> bool {
        let has_length = || self.values("Content-Length").any(|it| it.trim_ascii() != b"0");
        self.method == "POST" || has_length() || self.values("Transfer-Encoding").next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(method: &'a str, headers: &[(&'a str, &'a str)]) -> Head<'a> {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Head { method, target: "/", headers }
    }

    #[test]
    fn a_post_or_a_request_with_a_body_may_be_a_report() {
        for (method, headers, may_be) in [
            ("POST", [].as_slice(), true),
            ("GET", &[], false),
            ("GET", &[("content-length", "0")], false),
            ("GET", &[("content-length", "1")], true),
            ("PUT", &[("TRANSFER-ENCODING", "chunked")], true),
        ] {
            assert_eq!(head(method, headers).may_be_report(), may_be, "{method} {headers:?}");
        }
    }

    #[test]
    fn a_name_has_any_case_and_a_value_may_be_no_text() {
        let mut head = head("POST", &[("Content-Type", "a"), ("content-TYPE", "b")]);
        head.headers.push(("x-team", b"Z\xfcrich"));
        assert_eq!(head.values("content-type").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!((head.text("CONTENT-TYPE"), head.text("x-team")), (Some("a"), None));
        assert_eq!(head.names().count(), 3);
    }
}
