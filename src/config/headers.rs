//! Parses lists of headers as SDKs do ("OpenTelemetry Protocol Exporter", Specifying headers via environment
//! variables), and chooses the remote of each list.

use std::borrow::Cow;

use ureq::http::HeaderValue;
use ureq::http::header::{self, HeaderName};

use super::otlp::{HEADERS, Variables};
use super::reading::Reading;
use super::urls::Bad;
use crate::config::values::unquoted;
use crate::net::url::Url;
use crate::remote::destination::Headers;

/// Headers that the extension sets itself, or that would break a request. An entry with one is ignored.
const NOT_CONFIGURABLE: [HeaderName; 11] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

impl Reading<'_> {
    /// The headers for each endpoint, and the variable that sets them. The list of a signal overrides the
    /// list of all signals. The latter goes only to the origin of the base URL, or to the only origin. Another
    /// host may belong to another party, which must not get the key.
    pub fn headers_of_each(
        &mut self,
        endpoints: &[(&Variables, Url)],
        base: Result<Option<&Url>, Bad>,
    ) -> Vec<(&'static str, Headers)> {
        let general = self.headers(HEADERS);
        let is_meant = |url: &Url| match base {
            Ok(Some(base)) => base.has_origin_of(url),
            Ok(None) => endpoints.iter().all(|(_, it)| it.has_origin_of(url)),
            Err(Bad) => false,
        };
        let mut of_each = Vec::new();
        for (variables, url) in endpoints {
            let has_own = self.environment.get(variables.headers).is_some();
            of_each.push(if has_own {
                (variables.headers, self.headers(variables.headers))
            } else if is_meant(url) {
                (HEADERS, general.clone())
            } else {
                (variables.headers, Vec::new())
            });
            if !has_own && !is_meant(url) && !general.is_empty() {
                self.complain(format!(
                    "{HEADERS} is not sent to {}, which only {} names; headers for it belong in {}",
                    url.origin(),
                    variables.endpoint,
                    variables.headers
                ));
            }
        }
        of_each
    }

    /// Parses a list. An obvious mistake in an entry is corrected. Any other bad entry is dropped, and the rest
    /// is kept.
    fn headers(&mut self, name: &str) -> Headers {
        let mut headers = Headers::new();
        let Some(held) = self.held(name) else { return headers };
        let entries = entries(held);
        if entries.iter().any(|it| it.ends_at_semicolon) {
            self.complain(format!(
                "{name} holds a semicolon between two entries, where a comma belongs; it is taken for one"
            ));
        }
        for (nth, Entry { text, .. }) in entries.iter().enumerate() {
            let (mended, mistake) = mended(text);
            if let Some(mistake) = mistake {
                self.complain(format!("entry {} of {name} {mistake}", nth + 1));
            }
            match parse_header(&mended) {
                Some((name, value)) => {
                    headers.retain(|(known, _)| *known != name);
                    headers.push((name, value));
                }
                None => self.complain(format!(
                    "entry {} of {name} is ignored: {}",
                    nth + 1,
                    why_not(&mended)
                )),
            }
        }
        headers
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    text: &'a str,
    ends_at_semicolon: bool,
}

/// Splits a list, and drops empty entries. A semicolon counts as a comma if another entry follows. A value
/// cannot contain a plain semicolon (W3C Baggage, 3.3.1).
fn entries(list: &str) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    for mut part in list.split(',') {
        while let Some(at) = separating_semicolon(part) {
            entries.push(Entry { text: part[..at].trim(), ends_at_semicolon: true });
            part = &part[at + 1..];
        }
        entries.push(Entry { text: part.trim(), ends_at_semicolon: false });
    }
    entries.retain(|it| !it.text.is_empty());
    entries
}

fn separating_semicolon(part: &str) -> Option<usize> {
    let begins_entry = |rest: &str| {
        let name = rest.split_once(['=', ':']).map(|(name, _)| name.trim());
        name.is_some_and(is_name)
    };
    let semicolons = part.match_indices(';').map(|(at, _)| at);
    semicolons.into_iter().find(|at| begins_entry(&part[..*at]) && begins_entry(&part[at + 1..]))
}

fn is_name(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

/// Corrects an entry. Returns its text and the mistake, if there was one.
fn mended(entry: &str) -> (Cow<'_, str>, Option<&'static str>) {
    const QUOTES: &str = "holds quotation marks, which are ignored";
    const COLON: &str = "has a colon between name and value, where = belongs; it is taken for that";
    let inner = unquoted(entry).unwrap_or(entry);
    let (before, _) = inner.split_once('=').unwrap_or((inner, ""));
    let by_colon = before.split_once(':').map(|(name, _)| name.trim()).filter(|name| is_name(name));
    let pair = match by_colon {
        Some(name) => inner.split_once(':').map(|(_, value)| (name, value.trim())),
        None => inner.split_once('=').map(|(name, value)| (name.trim(), value.trim())),
    };
    let Some((name, value)) = pair else { return (entry.into(), None) };
    let bare = unquoted(value).unwrap_or(value);
    let mistake = match by_colon {
        Some(_) => Some(COLON),
        None if inner != entry || bare != value => Some(QUOTES),
        None => return (entry.into(), None),
    };
    (format!("{name}={bare}").into(), mistake)
}

fn parse_header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    // A percent sign in a name has no special meaning. Only values are encoded (W3C Baggage, 3.2.1.1).
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())?).ok()?;
    value.set_sensitive(true);
    // ureq sends any bytes, except in `Authorization`.
    let can_be_sent = name != header::AUTHORIZATION || value.to_str().is_ok();
    (can_be_sent && !NOT_CONFIGURABLE.contains(&name)).then_some((name, value))
}

/// Decodes %XX. `None` if two hexadecimal digits are missing after a percent sign.
fn percent_decoded(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(text.as_bytes().into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            byte => byte,
        });
    }
    Some(bytes.into())
}

/// Why an entry is no header that can be sent.
fn why_not(entry: &str) -> &'static str {
    let Some((name, _)) = entry.split_once('=') else {
        return "it holds no =; expected are name=value pairs with commas between";
    };
    match HeaderName::from_bytes(name.trim().as_bytes()) {
        Ok(name) if NOT_CONFIGURABLE.contains(&name) => "the extension itself sets this header",
        Ok(_) => {
            "its value holds a character that no header may hold, or a % without two hexadecimal digits \
             after it (a percent sign is written %25)"
        }
        Err(_) => "what stands before the = is no name of a header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_separates_entries_only_if_an_entry_follows_it() {
        for (list, expected) in [
            ("a=1,b=2", vec![("a=1", false), ("b=2", false)]),
            ("a=1;b=2", vec![("a=1", true), ("b=2", false)]),
            (
                "a=1; b=2 ;c=3,d=4",
                vec![("a=1", true), ("b=2", true), ("c=3", false), ("d=4", false)],
            ),
            ("a: 1; b: 2", vec![("a: 1", true), ("b: 2", false)]),
            ("a=1;b", vec![("a=1;b", false)]),
            ("a=x;/=2", vec![("a=x;/=2", false)]),
            (";a=1", vec![(";a=1", false)]),
            (" , a=1,,", vec![("a=1", false)]),
            ("", vec![]),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(text, ends_at_semicolon)| Entry { text, ends_at_semicolon })
                .collect();
            assert_eq!(entries(list), expected, "{list}");
        }
    }

    #[test]
    fn obvious_mistakes_in_an_entry_are_corrected() {
        for (entry, meant, is_mended) in [
            ("a=b", "a=b", false),
            ("a = b", "a = b", false),
            ("a=b:c", "a=b:c", false),
            ("a=b=", "a=b=", false),
            ("a=%22b%22", "a=%22b%22", false),
            ("a=\"b\"", "a=b", true),
            ("'a=b'", "a=b", true),
            ("a: b", "a=b", true),
            ("a:b", "a=b", true),
            ("Authorization: Basic abc==", "Authorization=Basic abc==", true),
            ("\"a: b\"", "a=b", true),
            ("key", "key", false),
            ("a b: c", "a b: c", false),
        ] {
            let (text, mistake) = mended(entry);
            assert_eq!((&*text, mistake.is_some()), (meant, is_mended), "{entry}");
        }
    }

    #[test]
    fn values_are_percent_decoded_and_names_are_not() {
        for (pair, name, value) in [
            ("k=t%C3%A4xt", "k", "täxt".as_bytes()),
            ("k=täxt", "k", "täxt".as_bytes()),
            ("k=%e2%82%ac %F0%9F%98%80", "k", "€ 😀".as_bytes()),
            ("k=%E4", "k", b"\xe4"),
            ("a%2Db=1", "a%2db", b"1"),
            ("a%=1", "a%", b"1"),
        ] {
            let (read, sent) = parse_header(pair).unwrap();
            assert_eq!((read.as_str(), sent.as_bytes()), (name, value), "{pair}");
            assert!(sent.is_sensitive());
        }
        for pair in ["authorization=k%C3%A9y", "k=%00", "k=%7f", "k=%0A", "k=%zz", "näme=1"] {
            assert_eq!(parse_header(pair), None, "{pair}");
        }
    }
}
