//! A connection of a client of the platform's APIs. Answers are given while the APIs are locked, which fixes
//! their order. So no answer may wait for a client that does not read.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::acceptor::Accepted;

/// Limit of unsent bytes of answers, which the client has not read and the socket does not take. It is ten of
/// the largest events. Beyond it the connection is cut off.
const UNSENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Clones are the same connection. The socket closes when the last clone is gone and all bytes are sent.
#[derive(Clone)]
pub struct Connection {
    /// The connection's number, from 0, in the order of acceptance.
    pub number: usize,
    stream: Arc<TcpStream>,
    unsent: Arc<Mutex<Unsent>>,
}

/// The bytes of an answer, and the way to write them.
pub enum Outgoing {
    Whole(Vec<u8>),
    /// Writes each byte separately, so that most bytes have their own segment.
    Bytewise(Vec<u8>),
}

#[derive(Default)]
struct Unsent {
    queue: VecDeque<Outgoing>,
    /// The unsent bytes: those in the queue and those that the writer is sending.
    bytes: usize,
    /// Whether a writer thread is sending. Later answers must not overtake it.
    has_writer: bool,
}

impl Connection {
    pub fn of(accepted: Accepted) -> Self {
        let Accepted { stream, number } = accepted;
        Self { number, stream, unsent: Arc::default() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends the bytes that the socket takes at once, which is nearly always all of them. A thread of this
    /// connection sends the rest. Never waits. If the client has gone, the reading thread notices that.
    pub fn send(&self, outgoing: Outgoing) {
        let mut unsent = self.unsent();
        let rest = if unsent.has_writer { Some(outgoing) } else { self.send_now(outgoing) };
        let Some(rest) = rest else { return };
        unsent.bytes += rest.bytes().len();
        unsent.queue.push_back(rest);
        if unsent.bytes > UNSENT_BYTES_MAX {
            self.cut_off();
        } else if !unsent.has_writer {
            unsent.has_writer = true;
            let writing = self.clone();
            let writer = thread::Builder::new()
                .name(format!("answers {}", self.number))
                .spawn(move || writing.write_unsent());
            if let Err(error) = writer {
                eprintln!("local-lambda: connection {} is cut off: {error}", self.number);
                self.cut_off();
            }
        }
    }

    /// Returns the unsent rest.
    fn send_now(&self, outgoing: Outgoing) -> Option<Outgoing> {
        let bytes = match outgoing {
            Outgoing::Whole(bytes) => bytes,
            // This takes too many writes for a thread that holds the lock.
            bytewise @ Outgoing::Bytewise(_) => return Some(bytewise),
        };
        match send(&self.stream, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => None,
            Ok(sent) => Some(Outgoing::Whole(bytes[sent..].to_vec())),
            Err(Errno::AGAIN | Errno::INTR) => Some(Outgoing::Whole(bytes)),
            Err(_) => None,
        }
    }

    fn write_unsent(&self) {
        while let Some(outgoing) = self.next_unsent() {
            if outgoing.write(&self.stream).is_err() {
                // The client gets none of the other answers either. Each of them fails.
                self.cut_off();
            }
            self.unsent().bytes -= outgoing.bytes().len();
        }
    }

    fn next_unsent(&self) -> Option<Outgoing> {
        let mut unsent = self.unsent();
        let next = unsent.queue.pop_front();
        unsent.has_writer = next.is_some();
        next
    }

    /// Stops reading and writing. This fails if the client has already closed.
    fn cut_off(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().expect("queueing and counting never panics")
    }
}

impl Outgoing {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Bytewise(bytes) => bytes,
        }
    }

    fn write(&self, mut stream: &TcpStream) -> io::Result<()> {
        match self {
            Self::Whole(bytes) => stream.write_all(bytes),
            Self::Bytewise(bytes) => {
                stream.set_nodelay(true)?;
                bytes.iter().try_for_each(|byte| stream.write_all(&[*byte]))
            }
        }
    }
}
