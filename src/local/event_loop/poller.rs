//! Waits for several sockets at once, by `epoll`. Unlike `poll`, it does not pass over all sockets each time.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// How many ready sockets one wait returns. The next one returns further ones.
const READY_MAX: usize = 32;

#[derive(Debug)]
pub struct Poller(OwnedFd);

/// What to wait for at a socket. The end of a connection ends each wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    Nothing,
}

/// A socket. The key is unique while the socket is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(RawFd);

impl Key {
    pub fn of(socket: &impl AsRawFd) -> Self {
        Self(socket.as_raw_fd())
    }
}

impl Poller {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> Result<Self, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Self)
    }

    /// Waits for this socket, too, until it is closed.
    ///
    /// # Errors
    /// The system has no memory for one more.
    pub fn add(&self, socket: &(impl AsFd + AsRawFd), interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.0, socket, data_of(Key::of(socket)), interest.flags())
    }

    /// Changes what to wait for at a socket.
    ///
    /// # Errors
    /// The socket was never added.
    pub fn modify(&self, socket: &(impl AsFd + AsRawFd), to: Interest) -> Result<(), Errno> {
        epoll::modify(&self.0, socket, data_of(Key::of(socket)), to.flags())
    }

    /// Waits for this socket no longer. Needed only if it stays open.
    pub fn remove(&self, socket: &impl AsFd) {
        let _ = epoll::delete(&self.0, socket); // fails only if it was never added
    }

    /// Waits until a socket is ready or the time is over. Adds the ready sockets to `ready`.
    pub fn wait(&self, limit: Option<Duration>, ready: &mut Vec<Key>) {
        let none = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [none; READY_MAX];
        // Only a duration of more than 2^63 s is no timespec.
        let limit = limit.and_then(|it| Timespec::try_from(it).ok());
        // It can only be interrupted. Then nothing is ready.
        let count = epoll::wait(&self.0, &mut events, limit.as_ref()).unwrap_or(0);
        ready.extend(events[..count].iter().filter_map(key_of));
    }
}

fn data_of(key: Key) -> EventData {
    EventData::new_u64(u64::from(key.0.unsigned_abs()))
}

fn key_of(event: &Event) -> Option<Key> {
    let data = event.data; // the field is unaligned
    RawFd::try_from(data.u64()).ok().map(Key)
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::Nothing => EventFlags::empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_wait_returns_the_sockets_that_are_ready_until_they_are_closed() {
        let poller = Poller::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut ready = Vec::new();
        let mut wait = |limit| {
            ready.clear();
            poller.wait(limit, &mut ready);
            ready.clone()
        };
        poller.add(&listener, Interest::Read).unwrap();
        assert_eq!(wait(Some(Duration::ZERO)), []);
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(wait(None), [Key::of(&listener)]);
        poller.modify(&listener, Interest::Nothing).unwrap();
        assert_eq!(wait(Some(Duration::ZERO)), []);
        poller.modify(&listener, Interest::Read).unwrap();
        assert_eq!(wait(None), [Key::of(&listener)]);
        poller.remove(&listener);
        assert_eq!(wait(Some(Duration::ZERO)), []);
        let (server, _) = listener.accept().unwrap();
        poller.add(&server, Interest::Write).unwrap();
        assert_eq!(wait(None), [Key::of(&server)]);
        poller.modify(&server, Interest::Read).unwrap();
        assert_eq!(wait(Some(Duration::ZERO)), []);
        client.write_all(b"a").unwrap();
        assert_eq!(wait(None), [Key::of(&server)]);
        drop(server);
        assert_eq!(wait(Some(Duration::ZERO)), []);
    }
}
