//! A batch in the form in which it is sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use crate::telemetry::destination::Destination;

/// The bytes, the same in each attempt.
pub struct Delivery {
    pub bytes: Vec<u8>,
}

impl Delivery {
    /// The entries, as an array in a POST or as lines.
    pub fn of(entries: &[Vec<u8>], destination: &Destination) -> Self {
        let bytes = match destination {
            Destination::Http { authority, target, .. } => post(authority, target, entries),
            Destination::Tcp { .. } => {
                entries.iter().flat_map(|entry| [entry, &b"\n"[..]].concat()).collect()
            }
        };
        Self { bytes }
    }
}

/// The headers are in the order of Go's client, which AWS's daemon uses.
fn post(authority: &str, target: &str, entries: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"[", &*entries.join(&b","[..]), b"]"].concat();
    let sequence_id = STANDARD.encode(digest::digest(&digest::SHA256, &body));
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Go-http-client/1.1\r\n\
         Content-Length: {}\r\nContent-Type: application/json\r\nSequence-Id: {sequence_id}\r\n\
         Accept-Encoding: gzip\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_the_post_of_awss_daemon() {
        let entries = [br#"{"a":1}"#.to_vec(), br#"{"b":2}"#.to_vec()];
        let post = post("sandbox.localdomain:4243", "/a", &entries);
        let expected = "POST /a HTTP/1.1\r\n\
            Host: sandbox.localdomain:4243\r\n\
            User-Agent: Go-http-client/1.1\r\n\
            Content-Length: 17\r\n\
            Content-Type: application/json\r\n\
            Sequence-Id: sbx23JCIkdimQ14cFqECUodif89xwiTPIHsu3HmwgiY=\r\n\
            Accept-Encoding: gzip\r\n\r\n\
            [{\"a\":1},{\"b\":2}]";
        assert_eq!(String::from_utf8_lossy(&post), expected);
    }
}
