//! The connections of the event loop: their sockets, and which of them may stay.
//!
//! Invariant: a connection with a request in hand is closed only by its deadline, its client, or an error.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::event::PollFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::local::endpoint::Endpoint;
use crate::local::event_loop::connection::{Connection, Need, Step};
use crate::local::event_loop::running::Running;
use crate::local::port::Port;
use crate::logging;

/// How many connections are open. With one more, an idle one is closed: the oldest that has never sent a byte, or
/// else the one that has been idle for longest. If all have a request in hand, the next one waits in the kernel's
/// queue.
pub const CONNECTIONS_MAX: usize = 256;

/// How many bytes are read at once. A report is rarely longer.
const READ_BYTES: usize = 16 * 1024;

/// The answer to a request on whose way the program panicked.
const INTERNAL_ERROR: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
    /// How many requests or parts of them were read so far. It orders the clients by their last one.
    reads: u64,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    connection: Connection<Port>,
    /// The number of its last read, or of the last one before it came.
    last_read: u64,
    /// Whether it has sent bytes. A flood of silent clients must not displace one that is between two requests.
    has_sent: bool,
    /// Whether the client knows that nothing more will come.
    is_half_closed: bool,
    is_closed: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Self { all: Vec::new(), reads: 0, buffer: vec![0; READ_BYTES].into() }
    }
}

impl Clients {
    pub fn sockets(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.all.iter().map(|it| (it.stream.as_fd(), it.awaited()))
    }

    /// The first deadline of all.
    pub fn deadline(&self) -> Option<Running> {
        self.all.iter().filter_map(|it| it.connection.deadline()).min()
    }

    /// Adds a client, and reads what it has already sent.
    pub fn add(&mut self, stream: TcpStream, port: Port, now: Running) {
        let (connection, last_read) = (Connection::new(port), self.reads);
        self.all.push(Client {
            stream,
            connection,
            last_read,
            has_sent: false,
            is_half_closed: false,
            is_closed: false,
        });
        self.serve(&[self.all.len() - 1], now);
    }

    /// Whether one more fits. If all places are taken, this closes an idle client.
    pub fn make_room(&mut self) -> bool {
        self.all.len() < CONNECTIONS_MAX || self.close_longest_idle()
    }

    /// Whether one more would fit.
    pub fn has_room(&self) -> bool {
        self.all.len() < CONNECTIONS_MAX || self.all.iter().any(|it| it.connection.is_idle())
    }

    /// Closes an idle client: see [`CONNECTIONS_MAX`]. False if none is idle.
    pub fn close_longest_idle(&mut self) -> bool {
        let idle = self.all.iter().enumerate().filter(|(_, it)| it.connection.is_idle());
        let longest = idle.min_by_key(|(_, it)| (it.has_sent, it.last_read));
        let longest = longest.map(|(index, _)| index);
        longest.map(|it| self.all.remove(it)).is_some()
    }

    /// Closes all idle clients of this port.
    pub fn close_idle(&mut self, port: Port) {
        self.all.retain(|it| !(it.connection.is_idle() && *it.connection.endpoint() == port));
    }

    /// Serves these clients, whose sockets are ready.
    pub fn serve(&mut self, ready: &[usize], now: Running) {
        for index in ready {
            let client = &mut self.all[*index];
            self.reads += 1;
            client.last_read = self.reads;
            client.guarded(|it| it.serve(&mut self.buffer, now));
        }
        self.remove_closed(!ready.is_empty());
    }

    /// Ends the waits that have taken too long.
    pub fn expire(&mut self, now: Running) {
        let is_over = |it: &&mut Client| it.connection.deadline().is_some_and(|at| at <= now);
        let mut any = false;
        for client in self.all.iter_mut().filter(is_over) {
            any = true;
            client.guarded(|it| {
                let step = it.connection.expire(now);
                it.go_on(step, &mut &[][..], now)
            });
        }
        self.remove_closed(any);
    }

    fn remove_closed(&mut self, may_be: bool) {
        if may_be {
            self.all.retain(|it| !it.is_closed);
        }
    }
}

impl Client {
    /// Does this for the client. After an error or a panic, the client is closed.
    fn guarded(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Errno>) {
        match catch_unwind(AssertUnwindSafe(|| act(self))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                logging::debug!("cannot serve an agent: {error}; its connection is closed");
                self.is_closed = true;
            }
            Err(_) => {
                logging::error!(
                    "cannot handle a request: an internal error, a panic; the collector continues"
                );
                let _ = send(&self.stream, INTERNAL_ERROR, SendFlags::NOSIGNAL); // it may have gone
                self.is_closed = true;
            }
        }
    }

    /// What to wait for.
    fn awaited(&self) -> PollFlags {
        match self.connection.need() {
            Need::Write => PollFlags::OUT,
            Need::Read | Need::ReadWithoutWriting | Need::Close => PollFlags::IN,
        }
    }

    fn serve(&mut self, buffer: &mut [u8], now: Running) -> Result<(), Errno> {
        if self.connection.need() == Need::Write {
            return self.go_on(Step::Responded(None), &mut &[][..], now);
        }
        let received = match retry_on_intr(|| recv(&self.stream, &mut *buffer, RecvFlags::empty()))
        {
            Err(Errno::AGAIN) => return Ok(()),
            received => received?.1,
        };
        let mut input = &buffer[..received];
        self.has_sent |= received > 0;
        let step = if received == 0 {
            self.connection.end(now)
        } else {
            self.connection.step(&mut input, now)
        };
        self.go_on(step, &mut input, now)
    }

    /// Sends the output of a step, and takes further steps as long as the input has requests.
    fn go_on(
        &mut self,
        mut step: Step<<Port as Endpoint>::Deferred>,
        input: &mut &[u8],
        now: Running,
    ) -> Result<(), Errno> {
        loop {
            self.send(now)?;
            let Step::Responded(deferred) = step else { return Ok(()) };
            if let Some(deferred) = deferred {
                self.connection.endpoint().go_on(&deferred);
            }
            step = self.connection.step(input, now);
        }
    }

    /// Sends as much of the output as the system takes.
    fn send(&mut self, now: Running) -> Result<(), Errno> {
        while !self.connection.output().is_empty() {
            let output = self.connection.output();
            match retry_on_intr(|| send(&self.stream, output, SendFlags::NOSIGNAL)) {
                Ok(count) => self.connection.sent(count, now),
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match self.connection.need() {
            Need::Close => self.is_closed = true,
            Need::ReadWithoutWriting if !self.is_half_closed => {
                self.is_half_closed = true;
                let _ = self.stream.shutdown(Shutdown::Write); // fails only if the client has gone
            }
            _ => {}
        }
        Ok(())
    }
}
