//! A TCP stream to a subscriber, which may be frozen while it reads or answers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::telemetry::gate::{Gate, Pass};

/// Time limit of a connection attempt. Loopback connects at once or never, unless the listener's backlog is
/// full.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A stream with a time limit that stands still while the subscriber is frozen.
pub struct Stream {
    socket: Arc<TcpStream>,
    gate: Arc<Gate>,
    pass: Pass,
    within: Duration,
    deadline: Instant,
}

impl Stream {
    /// Connects with this pass. All later steps together have the time limit `within`.
    pub fn connect(port: u16, gate: Arc<Gate>, pass: Pass, within: Duration) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let socket = Arc::new(TcpStream::connect_timeout(&address, CONNECT_WITHIN)?);
        socket.set_nodelay(true)?;
        gate.watch_over(&socket)?;
        let deadline = Instant::now() + within;
        Ok(Self { socket, gate, pass, within, deadline })
    }

    /// Restarts the time limit for another delivery.
    pub fn start(&mut self, pass: Pass) {
        self.pass = pass;
        self.deadline = Instant::now() + self.within;
    }

    fn patiently<R>(
        &mut self,
        mut action: impl FnMut(&TcpStream, Duration) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // With a timeout of zero the socket would wait for ever.
            match action(&self.socket, left.max(Duration::from_millis(1))) {
                Err(error) if is_timeout(&error) => {
                    let pass = self.gate.reenter(self.pass).ok_or_else(|| self.too_long())?;
                    self.start(pass);
                }
                done => return done,
            }
        }
    }

    fn too_long(&self) -> io::Error {
        let text = format!("the subscriber took more than {:?}", self.within);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(|mut socket, left| {
            socket.set_read_timeout(Some(left))?;
            socket.read(buffer)
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|mut socket, left| {
            socket.set_write_timeout(Some(left))?;
            socket.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
