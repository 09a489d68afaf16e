//! A connection inside TLS.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};

use rustls::{ClientConnection, StreamOwned};
use ureq::config::Config;
use ureq::unversioned::transport::{
    Buffers, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::net::wire::Unread;

/// How many bytes a remote may send before it has the whole request. A remote that sends more counts as having
/// answered, so the rest of the request is not sent.
const EARLY_MAX: usize = 16 * 1024;

pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    /// Decrypted bytes that arrived before the whole request was sent.
    early: Vec<u8>,
    /// Whether the remote answered before it read the whole request. The rest is then not sent.
    is_answered: bool,
}

impl TlsTransport {
    pub fn new(stream: StreamOwned<ClientConnection, TransportAdapter>, config: &Config) -> Self {
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Self { buffers, stream, early: Vec::new(), is_answered: false }
    }

    /// Writes the encrypted bytes to the socket. Stops if the remote answers first.
    fn send(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.stream;
        while !self.is_answered && conn.wants_write() {
            match conn.write_tls(sock) {
                // The socket has unread bytes, which may be the answer. A TLS 1.3 server also sends tickets
                // for later sessions.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    receive(conn, sock)?;
                    self.is_answered = holds_answer(conn, &mut self.early)?;
                }
                written => drop(written?),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<usize> {
        let buffer = self.buffers.input_append_buf();
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.early[..count]);
            self.early.drain(..count);
            return Ok(count);
        }
        if !self.is_answered {
            return self.stream.read(buffer);
        }
        // Reads as the stream does, but without writing the rest of the request first.
        let StreamOwned { conn, sock } = &mut self.stream;
        loop {
            match conn.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => receive(conn, sock)?,
                read => return read,
            }
        }
    }
}

fn receive(conn: &mut ClientConnection, sock: &mut TransportAdapter) -> io::Result<()> {
    conn.read_tls(sock)?;
    let state = conn.process_new_packets();
    state.map(drop).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Adds the new bytes to `early`, and checks whether those contain an answer. Bytes that are still encrypted
/// are none: a connection through an https proxy has the remote's TLS inside.
fn holds_answer(conn: &mut ClientConnection, early: &mut Vec<u8>) -> io::Result<bool> {
    let mut reader = conn.reader();
    loop {
        let count = match reader.fill_buf() {
            Ok([]) => return Ok(true),
            Ok(plain) => {
                early.extend_from_slice(plain);
                plain.len()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok(early.len() > EARLY_MAX || Unread::of(early) == Unread::Answer);
            }
            Err(error) => return Err(error),
        };
        reader.consume(count);
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let mut written = 0;
        while !self.is_answered && written < amount {
            written += self.stream.conn.writer().write(&self.buffers.output()[written..amount])?;
            self.send()?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.read()?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        !self.is_answered && self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}
