//! The connections of one client. Another thread can close all at once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

/// A connection. It closes when the last clone is dropped.
#[derive(Clone)]
pub struct Socket(Arc<TcpStream>);

#[derive(Default)]
pub struct Sockets(Mutex<State>);

#[derive(Default)]
struct State {
    open: Vec<Weak<TcpStream>>,
    closed: bool,
}

impl Sockets {
    /// Connects to the first of these addresses that accepts. `patience` limits each connection attempt, read
    /// and write. Without it the system's own limits apply.
    pub fn connect(
        &self,
        addresses: &[SocketAddr],
        patience: Option<Duration>,
    ) -> io::Result<Socket> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in addresses {
            let stream = match patience {
                Some(patience) => TcpStream::connect_timeout(address, patience),
                None => TcpStream::connect(address),
            };
            match stream {
                Ok(stream) => return self.register(stream, patience),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn register(&self, stream: TcpStream, patience: Option<Duration>) -> io::Result<Socket> {
        // Agents for Python and Go set this themselves. Node.js sets it when it connects.
        stream.set_nodelay(true)?;
        let stream = Arc::new(stream);
        let socket = Socket(Arc::clone(&stream));
        socket.set_patience(patience)?;
        let mut state = self.state();
        if state.closed {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the function was stopped"));
        }
        state.open.retain(|stream| stream.strong_count() > 0);
        state.open.push(Arc::downgrade(&stream));
        Ok(socket)
    }

    /// Closes all connections, and forbids new ones.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for stream in state.open.iter().filter_map(Weak::upgrade) {
            // This fails if the other side closed first, and then nothing is left to do.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics with the list in its hands")
    }
}

impl Socket {
    /// Sets the time limit of each read and write. `None` is no limit.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(patience)?;
        self.0.set_write_timeout(patience)
    }

    /// Whether the other side has neither closed nor sent unexpected bytes.
    pub fn is_quiet(&self) -> bool {
        let peeked = self.0.set_nonblocking(true).and_then(|()| self.0.peek(&mut [0]));
        let quiet = peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        quiet && self.0.set_nonblocking(false).is_ok()
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self.0).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}
