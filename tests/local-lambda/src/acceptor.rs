//! Accepts connections from the kernel's queue one by one, and keeps track of each.

use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::SockRef;

use crate::watch::Watch;

/// Pause after descriptors or memory have run out. Meanwhile connections wait in the kernel's queue.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(10);

/// How often to check whether a connection has been served to its end. No event reports that.
const LOOKS_EVERY: Duration = Duration::from_millis(1);

/// Clones are the same acceptor.
#[derive(Clone)]
pub struct Acceptor {
    address: SocketAddr,
    table: Arc<Watch<Table>>,
}

/// One accepted connection; the socket closes when the last clone is gone.
#[derive(Clone)]
pub struct Accepted {
    pub stream: Arc<TcpStream>,
    /// Counts from 0, in the order of acceptance.
    pub number: usize,
}

struct Table {
    /// `None` once it is closed.
    socket: Option<Arc<TcpListener>>,
    /// Weak, so that the serving thread alone decides when a connection closes or is reset.
    accepted: Vec<Weak<TcpStream>>,
}

/// The state of the connection at the head of the kernel's queue.
enum Taken {
    Connection(TcpStream),
    /// The connection ended before it was accepted.
    Broken,
    Nothing,
    /// No descriptor or memory is left to accept it.
    Exhausted,
    Failed(io::Error),
}

impl Acceptor {
    pub fn on(socket: &Arc<TcpListener>) -> Self {
        let address = socket.local_addr().expect("a bound socket has an address");
        // Several threads accept from this socket. None of them may wait for a connection that another one
        // accepted.
        socket.set_nonblocking(true).expect("an option of every socket");
        let table = Table { socket: Some(Arc::clone(socket)), accepted: Vec::new() };
        Self { address, table: Arc::new(Watch::new(table)) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.table.read(|table| table.accepted.len())
    }

    /// Waits for the next connection. `None` once the acceptor is closed. Skips a broken connection, and waits
    /// while descriptors or memory are exhausted.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used any more.
    pub fn next(&self) -> io::Result<Option<Accepted>> {
        while let Some(socket) = self.table.read(|table| table.socket.clone()) {
            // A close ends this wait. The accept below finds any other reason.
            let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], None);
            match self.table.update(Table::take) {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(Taken::Failed(error)) => return Err(error),
                Err(Taken::Exhausted) => {
                    self.table.wait(EXHAUSTED_PAUSE, |table| table.socket.is_none().then_some(()));
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Waits until each connection that its client has ended is served to its end. Then all bytes from
    /// processes that have ended are read. False when the time is over.
    pub fn hear_out(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while !self.table.read(Table::is_heard_out) {
            if Instant::now() >= deadline {
                return false;
            }
            self.table.wait(LOOKS_EVERY, |_| None::<()>);
        }
        true
    }

    /// Ends all connections, also those in the kernel's queue. Returns the number of the next connection.
    pub fn cut_off(&self) -> usize {
        self.table.update(|table| {
            loop {
                match table.head_of_queue() {
                    Taken::Connection(stream) => reset(&stream),
                    Taken::Broken => {}
                    Taken::Nothing | Taken::Exhausted | Taken::Failed(_) => break,
                }
            }
            end_all(&table.accepted);
            table.accepted.len()
        })
    }

    /// Accepts no more connections, and resets those in the kernel's queue. The accepted ones stay with their
    /// threads. Returns how many were accepted.
    pub fn release(&self) -> usize {
        self.stop().len()
    }

    /// Accepts no more, and ends all connections.
    pub fn close(&self) {
        end_all(&self.stop());
    }

    fn stop(&self) -> Vec<Weak<TcpStream>> {
        self.table.update(|table| {
            if let Some(socket) = table.socket.take() {
                // Wakes the threads that wait for the next connection. This needs no descriptor.
                let _ = SockRef::from(&*socket).shutdown(Shutdown::Read);
            }
            mem::take(&mut table.accepted)
        })
    }
}

impl Table {
    fn take(&mut self) -> Result<Accepted, Taken> {
        match self.head_of_queue() {
            Taken::Connection(stream) => {
                let (stream, number) = (Arc::new(stream), self.accepted.len());
                self.accepted.push(Arc::downgrade(&stream));
                Ok(Accepted { stream, number })
            }
            none => Err(none),
        }
    }

    fn is_heard_out(&self) -> bool {
        let mut served = self.accepted.iter().filter_map(Weak::upgrade);
        self.socket.as_ref().is_none_or(|queue| !shows(queue, PollFlags::IN))
            && !served.any(|stream| shows(&stream, PollFlags::RDHUP))
    }

    /// Distinguishes errors of the socket from errors of a connection as accept(2) lists them.
    fn head_of_queue(&self) -> Taken {
        let Some(socket) = &self.socket else { return Taken::Nothing };
        let error = match socket.accept() {
            Ok((stream, _)) => return Taken::Connection(stream),
            Err(error) => error,
        };
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => Taken::Nothing,
            Some(
                Errno::CONNABORTED
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET,
            ) => Taken::Broken,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Taken::Exhausted,
            _ => Taken::Failed(error),
        }
    }
}

/// Whether poll reports this event now, or the socket is broken.
fn shows(socket: &impl AsFd, what: PollFlags) -> bool {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(socket, what)], Some(&NOW)).is_ok_and(|count| count > 0)
}

/// Resets the connection. The kernel does the same with the queue of a socket that closes.
fn reset(stream: &TcpStream) {
    // This fails if the client has gone.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn end_all(accepted: &[Weak<TcpStream>]) {
    for stream in accepted.iter().filter_map(Weak::upgrade) {
        // This fails if the other side closed first, and then nothing is left to do.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::listener::ANY_PORT;

    fn is_closed(mut client: &TcpStream) -> bool {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match client.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn a_client_that_has_gone_is_served_if_its_connection_was_accepted() {
        const A_MOMENT: Duration = Duration::from_millis(20);
        let socket = Arc::new(TcpListener::bind(ANY_PORT).unwrap());
        let acceptor = Acceptor::on(&socket);
        let connect = || TcpStream::connect(acceptor.address()).unwrap();
        drop(connect());
        assert!(!acceptor.hear_out(A_MOMENT), "in the queue");
        let gone = acceptor.next().unwrap().unwrap();
        let _client = connect();
        let _served = acceptor.next().unwrap().unwrap();
        assert!(!acceptor.hear_out(A_MOMENT), "not served");
        drop(gone);
        assert!(acceptor.hear_out(A_MOMENT));
    }

    #[test]
    fn a_cut_ends_what_was_accepted_and_what_waits_in_the_queue_and_nothing_later() {
        let socket = Arc::new(TcpListener::bind(ANY_PORT).unwrap());
        let acceptor = Acceptor::on(&socket);
        let connect = || TcpStream::connect(acceptor.address()).unwrap();
        let (first, queued) = (connect(), connect());
        let _first = acceptor.next().unwrap().unwrap();
        assert_eq!(acceptor.cut_off(), 1);
        assert!(is_closed(&first) && is_closed(&queued));
        let _later = connect();
        assert_eq!(acceptor.next().unwrap().unwrap().number, 1);
    }
}
