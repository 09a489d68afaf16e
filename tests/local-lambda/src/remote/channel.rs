//! The byte stream of one connection: TCP, optionally at a pace, and optionally TLS over it.

use std::io::{self, Read, Write};

use rustls::{ServerConnection, StreamOwned};

use crate::remote::Shared;
use crate::remote::connections::Line;

pub enum Channel<'a> {
    Plain(Wire<'a>),
    Tls(Box<StreamOwned<ServerConnection, Wire<'a>>>),
}

pub struct Wire<'a> {
    line: Line<'a>,
    shared: &'a Shared,
}

impl<'a> Channel<'a> {
    /// A handshake happens with the first read.
    pub fn new(line: Line<'a>, shared: &'a Shared) -> Self {
        let wire = Wire { line, shared };
        match &shared.identity {
            None => Self::Plain(wire),
            Some(identity) => Self::Tls(Box::new(identity.accept(wire))),
        }
    }

    /// Begins an orderly close. With TLS, this sends its close message (RFC 8446, section 6.1).
    pub fn say_goodbye(&mut self) {
        match self {
            Self::Tls(stream) if !stream.conn.is_handshaking() => {
                stream.conn.send_close_notify();
                // This fails if the client has gone, and then no close message is needed.
                let _ = stream.flush();
            }
            Self::Tls(_) | Self::Plain(_) => {}
        }
    }
}

impl Read for Channel<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.line.stream;
        let Some(pace) = self.shared.script.rules().reading else { return stream.read(buffer) };
        let most = pace.bytes.min(buffer.len());
        let count = stream.read(&mut buffer[..most])?;
        match self.line.pause(pace.pause) {
            None => Ok(count),
            // The same result as for a read that is running when the order comes.
            Some(_) => Ok(0),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.line.stream;
        self.line.write(|| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
