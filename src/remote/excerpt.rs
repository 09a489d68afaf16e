//! The start of a refusal's body, for the log at level `debug`. Vendors describe the error there.
//!
//! Invariant: an excerpt shows no key, header value or credential of the request, even if the remote repeats
//! it. The same holds for a part between spaces, `&`, `=` or `:`. These forms are recognised: unchanged, in
//! another case, percent-encoded or decoded, with the backslashes of JSON, and the decoded text of `Basic`.
//! Other forms, such as HTML, are not recognised.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::HeaderValue;

use crate::net::url::HIDDEN;
use crate::payload::route::Route;
use crate::remote::destination::Destination;

/// How many characters of a body are logged. The rest is cut off.
const SHOWN_MAX: usize = 200;

/// Secrets with fewer bytes are not hidden, because any text may contain them by chance.
const SECRET_MIN: usize = 4;

/// Secrets in a request that the log must not show.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// The secrets of requests by this route. `key` is the report's own key.
    pub fn of(destination: &Destination, route: Route, key: Option<&HeaderValue>) -> Self {
        let mut secrets = Self::default();
        for (_, value) in destination.headers(route) {
            secrets.add_header(value.as_bytes());
        }
        if let Some(value) = key {
            secrets.add_header(value.as_bytes());
        }
        for secret in destination.secrets() {
            secrets.add(secret.as_bytes(), b" &=");
        }
        if let Some(proxy) = &destination.proxy {
            let (user, password) = (proxy.username(), proxy.password());
            for secret in [user, password].into_iter().flatten() {
                secrets.add(secret.as_bytes(), b"");
            }
            let pair = [user.unwrap_or_default(), ":", password.unwrap_or_default()].concat();
            secrets.add(BASE64_STANDARD.encode(pair).as_bytes(), b"=");
        }
        secrets
    }

    /// Adds a header's value. A value may be `Bearer KEY` or `name=KEY`, and the remote may repeat a part of
    /// it.
    fn add_header(&mut self, value: &[u8]) {
        self.add(value, b" &=:");
        if let Some((scheme, credentials)) = value.split_at_checked(b"Basic ".len()) {
            if scheme.eq_ignore_ascii_case(b"Basic ") {
                self.add(&of_base64(credentials), b":");
            }
        }
    }

    /// Adds a secret, and its parts between these separators.
    fn add(&mut self, secret: &[u8], separators: &[u8]) {
        self.0.push(secret.to_vec());
        for part in secret.split(|it| separators.contains(it)) {
            self.0.push(part.to_vec());
        }
    }

    /// The length of the longest secret at the start of this text. Zero without one.
    fn length_at(&self, text: &[u8]) -> usize {
        let mut longest = 0;
        for secret in self.0.iter().filter(|it| it.len() >= SECRET_MIN) {
            longest = longest.max(length_of(secret, text).unwrap_or_default());
        }
        longest
    }
}

/// The length of this secret at the start of the text, in the form that the text has. `None` if the text begins
/// differently.
fn length_of(mut secret: &[u8], text: &[u8]) -> Option<usize> {
    let mut rest = text;
    while !secret.is_empty() {
        if !next_byte(&mut secret)?.eq_ignore_ascii_case(&next_byte(&mut rest)?) {
            return None;
        }
    }
    Some(text.len() - rest.len())
}

/// Removes and decodes the next byte of a text. It may be percent-encoded, or escaped by a backslash as in
/// JSON.
fn next_byte(text: &mut &[u8]) -> Option<u8> {
    let (mut first, mut rest) = text.split_first()?;
    if let (b'\\', [escaped @ (b'/' | b'"' | b'\\'), further @ ..]) = (first, rest) {
        (first, rest) = (escaped, further);
    }
    if let (b'%', [high, low, rest @ ..]) = (first, rest) {
        if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
            *text = rest;
            return Some(high << 4 | low);
        }
    }
    *text = rest;
    Some(*first)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Decodes Base64 up to the first other byte. `-` and `_` are also valid, for `+` and `/` in URLs.
fn of_base64(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    bytes
}

/// The first characters of a body on one line, without secrets.
pub fn excerpt(body: &[u8], secrets: &Secrets) -> String {
    let text = String::from_utf8_lossy(body);
    let (mut shown, mut left, mut hidden_until) = (String::new(), SHOWN_MAX, 0);
    for (at, character) in text.char_indices() {
        if left == 0 {
            break;
        }
        let length = secrets.length_at(&text.as_bytes()[at..]);
        if length > 0 {
            if at >= hidden_until {
                shown.push_str(HIDDEN);
                left = left.saturating_sub(HIDDEN.len());
            }
            // Two overlapping secrets are both hidden completely.
            hidden_until = hidden_until.max(at + length);
        }
        if at < hidden_until {
            continue;
        }
        let is_shown = !character.is_control() && character != char::REPLACEMENT_CHARACTER;
        shown.push(if is_shown { character } else { ' ' });
        left -= 1;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(headers: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        for header in headers {
            secrets.add_header(header.as_bytes());
        }
        secrets
    }

    #[test]
    fn an_excerpt_is_short_printable_and_without_secrets() {
        let long = "x".repeat(300);
        let cases: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"unknown API key", "unknown API key"),
            (b"\x08\x05wrong\r\n\xff\x1b[31m", "  wrong    [31m"),
            (b"no such key: s3cret", "no such key: ***"),
            (b"Bearer s3cret, s3cret", "***, ***"),
            (long.as_bytes(), &long[..SHOWN_MAX]),
        ];
        for (body, shown) in cases {
            assert_eq!(excerpt(body, &secrets(&["Bearer s3cret"])), shown, "{body:?}");
        }
    }

    #[test]
    fn a_secret_is_hidden_in_each_recognised_form() {
        for (header, body, shown) in [
            ("Bearer S3cret-K/y", "no key s3CRET-k/Y here", "no key *** here"),
            ("Bearer S3cret-K/y", "no key s3cret-k%2fy here", "no key *** here"),
            ("Bearer S3cret-K%2Fy", "no key S3cret-K/y here", "no key *** here"),
            ("Basic dXNlcjpzM2NyZXQ6eA==", "no login user:s3cret:x here", "no login *** here"),
            ("basic dXNlcjpzM2NyZXQ6eA", "wrong password s3cret", "wrong password ***"),
            ("Basic dXNlcjpzM2NyZXQ6eA==", "not dXNlcjpzM2NyZXQ6eA", "not ***"),
            ("Bearer S3cret/K\"y", r#"{"key":"S3cret\/K\"y"}"#, r#"{"key":"***"}"#),
            ("tenant:s3cret", "no s3cret of tenant", "no *** of ***"),
            ("Bearer s3cret", "100% %zz s3cre", "100% %zz s3cre"),
            ("key=s3cretabc&abcdefgh", "s3cretabcdefgh", "***"),
        ] {
            assert_eq!(excerpt(body.as_bytes(), &secrets(&[header])), shown, "{header}");
        }
    }

    #[test]
    fn a_secret_across_the_excerpts_end_is_hidden_completely() {
        let body = format!("{}s3cret-key", "x".repeat(SHOWN_MAX - 3));
        assert_eq!(
            excerpt(body.as_bytes(), &secrets(&["s3cret-key"])),
            format!("{}***", &body[..197])
        );
    }
}
