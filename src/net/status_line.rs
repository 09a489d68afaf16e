//! Reads the status line of a response that ureq cannot parse: the outermost layer of a connection.
//!
//! ureq gives up on a head of over 16 KiB or 100 lines, on a folded line, and on a connection that ends
//! within the head. The status line still shows whether the remote accepted the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ureq::http::StatusCode;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

/// The status of the response to the current request. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StatusLine(Arc<AtomicU16>);

impl StatusLine {
    /// The status, if the remote has sent one since the last write to the remote.
    pub fn status(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.0.load(Ordering::Relaxed)).ok()
    }

    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub fn watch(&self, transport: Box<dyn Transport>) -> Watched {
        Watched { transport, line: self.clone() }
    }
}

#[derive(Debug)]
pub struct Watched {
    transport: Box<dyn Transport>,
    line: StatusLine,
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.line.forget();
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let has_input = self.transport.await_input(timeout)?;
        if self.line.status().is_none() {
            let status = final_status(self.transport.buffers().input());
            self.line.0.store(status.unwrap_or_default(), Ordering::Relaxed);
        }
        Ok(has_input)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

/// The status of the first complete status line that is not 1xx. After a 1xx another response follows.
pub fn final_status(mut input: &[u8]) -> Option<u16> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    loop {
        let line = input.strip_prefix(b"HTTP/1.")?;
        let status = match line.get(..5)? {
            [b'0' | b'1', b' ', digits @ ..] if line.contains(&b'\n') => {
                std::str::from_utf8(digits).ok()?.parse::<u16>().ok()?
            }
            _ => return None,
        };
        if status >= 200 {
            return Some(status);
        }
        let end = input.windows(HEAD_END.len()).position(|it| it == HEAD_END)?;
        input = &input[end + HEAD_END.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_it_panic(hints in 0_usize..3, rest: Vec<u8>, status: String) {
            let hints = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(hints);
            final_status(&[&*hints, &rest].concat());
            final_status(&[&*hints, b"HTTP/1.1 ", status.as_bytes(), b"\n"].concat());
        }
    }

    #[test]
    fn a_status_line_counts_once_it_is_whole_and_not_1xx() {
        for (input, status) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 204 \r\nX: a\r\n b\r\n", Some(204)),
            ("HTTP/1.1 503\r\n", Some(503)),
            ("HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 202 Accepted\r\n", Some(202)),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", None),
            ("HTTP/1.1 100 Continue\r\n", None),
            ("HTTP/1.1 200 O", None),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 +20 OK\r\n", None),
            ("HTTP/1.1 2x0 OK\r\n", None),
            ("HTTP/2 200\r\n", None),
            ("HTTP/1.2 200 OK\r\n", None),
            ("SSH-2.0-OpenSSH_9.9\r\n", None),
            ("\u{16}\u{3}\u{1} not HTTP\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(final_status(input.as_bytes()), status, "{input:?}");
        }
    }
}
