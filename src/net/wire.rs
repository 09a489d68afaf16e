//! A TCP connection that two threads share. The sender uses it, and the main thread may end the sender's
//! attempt.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ureq::unversioned::transport::ShutdownHandle;

use crate::net::kernel_table::is_queued;
use crate::net::status_line::final_status;

/// How long an interrupted attempt may still wait for its response, if the remote's system has acknowledged
/// the request. The main thread interrupts halfway through the shutdown phase of 2 s. So some 300 ms are
/// left for the other reports.
const SPARED_FOR: Duration = Duration::from_millis(600);

/// The start of a response. The last digit of the version may differ.
const ANSWER: &[u8] = b"HTTP/1.1 ";

/// How many unread bytes are examined. Interim responses may precede the final one.
const PEEKED: usize = 2 * 1024;

/// The first byte of a TLS record, its type (RFC 8446, 5.1).
const TLS_RECORDS: RangeInclusive<u8> = 0x14..=0x17;

pub struct Wire {
    stream: TcpStream,
    /// Whether the whole request was written.
    awaits_answer: AtomicBool,
    spared_until: OnceLock<Instant>,
}

/// The received bytes that the sender has not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// No bytes, or none that end a request.
    Nothing,
    /// A final response, or the end of the connection.
    Answer,
    /// Bytes that only TLS can read.
    Encrypted,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, awaits_answer: AtomicBool::new(false), spared_until: OnceLock::new() }
    }

    pub fn set_awaits_answer(&self, awaits_answer: bool) {
        self.awaits_answer.store(awaits_answer, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn awaits_answer(&self) -> bool {
        self.awaits_answer.load(Ordering::Relaxed)
    }

    /// The end of an attempt that was interrupted but still waits for its response.
    pub fn spared_until(&self) -> Option<Instant> {
        self.spared_until.get().copied()
    }

    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    pub fn limit_reading(&self, within: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(within)
    }

    pub fn limit_writing(&self, within: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(within)
    }

    /// Whether the connection is open and has no unread bytes. Bytes on an idle connection answer no request.
    pub fn is_silent(&self) -> bool {
        self.peek(&mut [0]).is_err_and(|error| error == Errno::WOULDBLOCK)
    }

    pub fn unread(&self) -> Unread {
        let mut first = [0; PEEKED];
        match self.peek(&mut first) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => Unread::Nothing,
            Err(_) | Ok(0) => Unread::Answer,
            Ok(count) => Unread::of(&first[..count]),
        }
    }

    fn peek(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(&self.stream, buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(count, _)| count)
    }

    /// Whether the remote's system has acknowledged all written bytes. False if this is unknown.
    pub fn is_acknowledged(&self) -> bool {
        let ends = self.stream.local_addr().and_then(|it| Ok((it, self.stream.peer_addr()?)));
        matches!(ends.and_then(|(local, remote)| is_queued(local, remote)), Ok(Some(false)))
    }
}

/// Ends the attempt. A request that has reached the remote may go on for [`SPARED_FOR`], because a retry would
/// deliver it twice.
impl ShutdownHandle for Wire {
    fn shutdown(&self) {
        if self.awaits_answer.load(Ordering::Relaxed) && self.is_acknowledged() {
            self.spared_until.get_or_init(|| Instant::now() + SPARED_FOR);
        } else {
            let _ = self.stream.shutdown(Shutdown::Both); // fails if the connection has already ended
        }
    }
}

impl Unread {
    /// Classifies received bytes by their start.
    pub fn of(first: &[u8]) -> Self {
        let version = ANSWER.len() - 2; // the place of its last digit
        let is_http =
            first.iter().zip(ANSWER).enumerate().all(|(at, (a, b))| at == version || a == b);
        if first.first().is_some_and(|it| TLS_RECORDS.contains(it)) {
            Self::Encrypted
        } else if !is_http || final_status(first).is_some() {
            // A remote that does not speak HTTP will not read the rest of the request either.
            Self::Answer
        } else {
            Self::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_final_answer_ends_a_request() {
        for (first, unread) in [
            ("", Unread::Nothing),
            ("HT", Unread::Nothing),
            ("HTTP/1.1 ", Unread::Nothing),
            ("HTTP/1.1 1", Unread::Nothing),
            ("HTTP/1.1 413 x", Unread::Nothing),
            ("HTTP/1.1 413 x\r\n", Unread::Answer),
            ("HTTP/1.0 200\r\n", Unread::Answer),
            ("HTTP/1.1 100 Continue\r\n\r\n", Unread::Nothing),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 x\r\n", Unread::Answer),
            ("\x17\x03\x03\x01", Unread::Encrypted),
            ("\x15\x03\x03\x00", Unread::Encrypted),
            ("\x18", Unread::Answer),
            ("HTML", Unread::Answer),
        ] {
            assert_eq!(Unread::of(first.as_bytes()), unread, "{first:?}");
        }
    }

    #[test]
    fn bytes_in_the_peers_system_are_acknowledged_before_the_peer_reads_them() {
        for host in ["127.0.0.1", "::1"] {
            let Ok(listener) = TcpListener::bind((host, 0)) else { continue }; // no IPv6
            let wire = Wire::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (_peer, _) = listener.accept().unwrap();
            wire.write(b"request").unwrap();
            let waited = Instant::now();
            while !wire.is_acknowledged() {
                assert!(waited.elapsed() < Duration::from_secs(10), "{host}");
            }
            wire.stream.set_nonblocking(true).unwrap();
            while wire.write(&[0; 4_096]).is_ok() {}
            assert!(!wire.is_acknowledged(), "{host}");
        }
    }
}
