//! Refuses HTTP/2, which gRPC uses, in a way that no client of gRPC repeats.
//!
//! A client of gRPC sends no call before it has the server's SETTINGS, and retries a call on a connection that
//! closes. So the connection gets the least of HTTP/2 (RFC 9113) that carries a status of gRPC
//! ("gRPC over HTTP2", Trailers-Only), and closes only some time after the last call.

/// The first bytes of each connection of HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty SETTINGS frame: all settings keep their defaults.
const SETTINGS: [u8; 9] = frame(0, 4, 0, 0);

/// The acknowledgement of the client's SETTINGS.
const SETTINGS_ACK: [u8; 9] = frame(0, 4, 1, 0);

const FRAME_HEAD: usize = 9;
const TYPE_HEADERS: u8 = 1;
const TYPE_SETTINGS: u8 = 4;
const FLAG_ACK: u8 = 1;

/// The fields of the response, in HPACK (RFC 7541) without a table and without Huffman's code: the status 404,
/// the content type of gRPC, the status 12 of gRPC (UNIMPLEMENTED), and its message. Clients of gRPC map 404 to
/// UNIMPLEMENTED too. With 200, other clients of HTTP/2 would count the request as a success.
const FIELDS: &[u8] = b"\x8d\
    \x0f\x10\x10application/grpc\
    \x00\x0bgrpc-status\x0212\
    \x00\x0cgrpc-message\x2dset OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";

/// Whether a connection begins with HTTP/2. `None` if more bytes must tell.
pub fn is_preface(bytes: &[u8]) -> Option<bool> {
    if bytes.len() < PREFACE.len() {
        return (!PREFACE.starts_with(bytes)).then_some(false);
    }
    Some(bytes.starts_with(PREFACE))
}

/// The place in the client's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2 {
    /// How many bytes of the current frame are left.
    left: usize,
    /// The stream of the last request.
    last_stream: u32,
}

/// The next event on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The input has no further whole head of a frame.
    Missing,
    Settings,
    /// A request on this stream.
    Request(u32),
}

impl Http2 {
    /// Takes the preface from the input, and writes the server's.
    pub fn begin(input: &mut &[u8], output: &mut Vec<u8>) -> Self {
        *input = &input[PREFACE.len()..];
        output.extend_from_slice(&SETTINGS);
        Self::default()
    }

    /// Takes the next frame that needs a response from the input.
    pub fn next(&mut self, input: &mut &[u8]) -> Frame {
        loop {
            let skipped = self.left.min(input.len());
            *input = &input[skipped..];
            self.left -= skipped;
            let Some((head, rest)) = input.split_first_chunk::<FRAME_HEAD>() else {
                return Frame::Missing;
            };
            let [l0, l1, l2, kind, flags, stream @ ..] = *head;
            *input = rest;
            self.left = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            match kind {
                TYPE_HEADERS => {
                    self.last_stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
                    return Frame::Request(self.last_stream);
                }
                TYPE_SETTINGS if flags & FLAG_ACK == 0 => return Frame::Settings,
                _ => {}
            }
        }
    }

    /// Announces the end of the connection. A client sends requests that are not answered on another one.
    pub fn go_away(self, output: &mut Vec<u8>) {
        const TYPE_GOAWAY: u8 = 7;
        output.extend_from_slice(&frame(8, TYPE_GOAWAY, 0, 0));
        output.extend_from_slice(&self.last_stream.to_be_bytes());
        output.extend_from_slice(&NO_ERROR);
    }
}

/// Acknowledges the client's SETTINGS.
pub fn acknowledge(output: &mut Vec<u8>) {
    output.extend_from_slice(&SETTINGS_ACK);
}

/// Refuses the request on this stream. Others may be on their way, so the connection stays open.
pub fn refuse(stream: u32, output: &mut Vec<u8>) {
    const END_STREAM_AND_HEADERS: u8 = 0x1 | 0x4;
    const TYPE_RST_STREAM: u8 = 3;
    output.extend_from_slice(&frame(FIELDS.len(), TYPE_HEADERS, END_STREAM_AND_HEADERS, stream));
    output.extend_from_slice(FIELDS);
    // The client need not send the rest of the request (RFC 9113, 8.1).
    output.extend_from_slice(&frame(4, TYPE_RST_STREAM, 0, stream));
    output.extend_from_slice(&NO_ERROR);
}

const NO_ERROR: [u8; 4] = [0; 4];

/// The head of a frame (RFC 9113, 4.1).
const fn frame(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; FRAME_HEAD] {
    let [.., l1, l0] = length.to_be_bytes();
    let [s3, s2, s1, s0] = stream.to_be_bytes();
    [0, l1, l0, kind, flags, s3, s2, s1, s0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_recognised_by_its_bytes_however_many_are_there() {
        for length in 1..PREFACE.len() {
            assert_eq!(is_preface(&PREFACE[..length]), None);
        }
        assert_eq!(is_preface(PREFACE), Some(true));
        for other in ["POST /v1/traces HTTP/1.1\r\n", "PRI", "PUT", "\x16"] {
            let is_start = PREFACE.starts_with(other.as_bytes());
            assert_eq!(is_preface(other.as_bytes()), (!is_start).then_some(false), "{other}");
        }
    }

    #[test]
    fn only_settings_and_requests_need_a_response() {
        let ping = [&frame(8, 6, 0, 0)[..], &[7; 8]].concat();
        let settings = [&frame(6, TYPE_SETTINGS, 0, 0)[..], &[0; 6]].concat();
        let request = [&frame(3, TYPE_HEADERS, 4, 5)[..], b"abc"].concat();
        let all = [&settings[..], &SETTINGS_ACK, &ping, &request, &ping].concat();
        for cut in 0..=all.len() {
            let (mut http2, mut seen, mut pending) = (Http2::default(), Vec::new(), Vec::new());
            for piece in [&all[..cut], &all[cut..]] {
                pending.extend_from_slice(piece);
                let mut input = &pending[..];
                loop {
                    match http2.next(&mut input) {
                        Frame::Missing => break,
                        frame => seen.push(frame),
                    }
                }
                pending = input.to_vec();
            }
            assert_eq!(seen, [Frame::Settings, Frame::Request(5)], "cut at {cut}");
        }
    }

    #[test]
    fn the_fields_are_what_their_lengths_say() {
        let mut rest = FIELDS.strip_prefix(b"\x8d\x0f\x10").unwrap();
        let mut texts = Vec::new();
        while let Some((&length, after)) = rest.split_first() {
            if length == 0 {
                rest = after; // a literal with a new name begins
                continue;
            }
            let (text, after) = after.split_at(usize::from(length));
            texts.push(std::str::from_utf8(text).unwrap());
            rest = after;
        }
        let message = "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
        assert_eq!(texts, ["application/grpc", "grpc-status", "12", "grpc-message", message]);
    }
}
