//! The head of a request, as a server of a local port passes it to the collector.

/// A request without its body. It borrows from the server's buffer.
#[derive(Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    /// The target of the request line: a path with a query, or a complete URL.
    pub target: &'a str,
    pub headers: &'a [Header<'a>],
}

/// A header. Its value may have any bytes that HTTP allows (RFC 9110, 5.5).
pub type Header<'a> = httparse::Header<'a>;

impl<'a> Head<'a> {
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.headers.iter().map(|it| it.name)
    }

    /// The values of all headers of this name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.headers.iter().filter(move |it| it.name.eq_ignore_ascii_case(name));
        headers.map(|it| it.value)
    }

    /// The members of all lists of this name, without empty ones (RFC 9110, 5.6.1).
    pub fn members(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let members = self.values(name).flat_map(|it| it.split(|byte| *byte == b','));
        members.map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
    }

    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of the first header of this name. `None` without one, or if its value is no text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.values(name).next()?).ok()
    }

    /// Whether the request may be meant as a report. A probe, such as `GET /`, has no body.
    pub fn may_be_report(&self) -> bool {
        let has_length = || self.values("Content-Length").any(|it| it.trim_ascii() != b"0");
        self.method == "POST" || has_length() || self.has("Transfer-Encoding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(headers: &[(&'a str, &'a [u8])]) -> Vec<Header<'a>> {
        headers.iter().map(|&(name, value)| Header { name, value }).collect()
    }

    #[test]
    fn a_post_or_a_request_with_a_body_may_be_a_report() {
        for (method, header, may_be) in [
            ("POST", None, true),
            ("GET", None, false),
            ("GET", Some(("content-length", "0")), false),
            ("GET", Some(("content-length", "1")), true),
            ("PUT", Some(("TRANSFER-ENCODING", "chunked")), true),
        ] {
            let header = header.map(|(name, value)| (name, value.as_bytes()));
            let headers = headers(header.as_slice());
            let head = Head { method, target: "/", headers: &headers };
            assert_eq!(head.may_be_report(), may_be, "{method} {header:?}");
        }
    }

    #[test]
    fn a_name_has_any_case_and_a_value_may_be_no_text() {
        let headers =
            headers(&[("Content-Type", b"a"), ("content-TYPE", b"b"), ("x-team", b"Z\xfcrich")]);
        let head = Head { method: "POST", target: "/", headers: &headers };
        assert_eq!(head.values("content-type").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!((head.text("CONTENT-TYPE"), head.text("x-team")), (Some("a"), None));
        assert_eq!(head.members("content-type").collect::<Vec<_>>(), [b"a", b"b"]);
        assert!(head.has("X-Team") && !head.has("x-tea"));
        assert_eq!(head.names().count(), 3);
    }
}
