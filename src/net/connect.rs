//! Makes a TCP connection to one of several addresses.
//!
//! An address that does not answer must not use up the time of the others. So after a pause the next address
//! is tried as well, and the first connection that succeeds is used (RFC 8305, section 5). std connects to
//! one address at a time, and after a freeze it gives up without checking the socket.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect as start, socket_with};
use ureq::Timeout;
use ureq::unversioned::transport::ShutdownHandle;

use crate::net::freeze::{FreezeClock, Waited};

/// The time after which the next address is tried too: the "Connection Attempt Delay" of RFC 8305.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Gives another thread a handle to end a connect. The handle shuts the socket down, which ends the wait.
pub type Register<'a> = &'a dyn Fn(Weak<dyn ShutdownHandle>) -> Result<(), ureq::Error>;

/// Connects to the first address that accepts a connection, and returns that address too.
///
/// # Errors
/// The error of the last address, or a timeout with `reason` if the time is over.
pub fn connect(
    addresses: &[SocketAddr],
    clock: &mut FreezeClock,
    reason: Timeout,
    register: Register,
) -> Result<(TcpStream, SocketAddr), ureq::Error> {
    let mut race = Race::of(addresses);
    loop {
        race.begin_next(register)?;
        let started = Instant::now();
        let until_next = race.next_at.saturating_duration_since(started);
        let left = clock.next_wait(started);
        let asked = if race.waiting.is_empty() { left } else { left.min(until_next) };
        if let Some((stream, address)) = race.wait(asked)? {
            // From here on, the handle of the connect has no effect. If another thread uses the handle at
            // this moment, it still owns the socket, and the attempt ends.
            let stream = Arc::into_inner(stream).ok_or(ureq::Error::ConnectionFailed)?;
            stream.set_nonblocking(false)?;
            return Ok((stream, address));
        }
        if !clock.has_time((asked, started), Waited::TimedOut, Instant::now()) {
            return Err(ureq::Error::Timeout(reason));
        }
    }
}

/// A connect in progress.
type Attempt = (Arc<TcpStream>, SocketAddr);

struct Race<'a> {
    waiting: &'a [SocketAddr],
    pending: Vec<Attempt>,
    next_at: Instant,
    failure: ureq::Error,
}

impl<'a> Race<'a> {
    fn of(waiting: &'a [SocketAddr]) -> Self {
        let failure = ureq::Error::HostNotFound;
        Self { waiting, pending: Vec::new(), next_at: Instant::now(), failure }
    }

    /// Starts to connect to the next address, if it is time.
    ///
    /// # Errors
    /// All addresses have failed.
    fn begin_next(&mut self, register: Register) -> Result<(), ureq::Error> {
        while self.pending.is_empty() || self.next_at <= Instant::now() {
            let Some((address, waiting)) = self.waiting.split_first() else { break };
            self.waiting = waiting;
            match begin(*address) {
                Ok(stream) => {
                    // Only now: the system cannot shut down a socket before its connect has started.
                    let handle: Weak<TcpStream> = Arc::downgrade(&stream);
                    register(handle)?;
                    self.pending.push((stream, *address));
                    self.next_at = Instant::now() + NEXT_AFTER;
                }
                Err(error) => self.failure = error.into(),
            }
        }
        if self.pending.is_empty() {
            return Err(mem::replace(&mut self.failure, ureq::Error::ConnectionFailed));
        }
        Ok(())
    }

    /// Waits at most as long as `asked` for a connect to succeed or fail.
    fn wait(&mut self, asked: Duration) -> io::Result<Option<Attempt>> {
        let timeout = Timespec::try_from(asked).ok();
        let mut polled: Vec<_> =
            self.pending.iter().map(|(it, _)| PollFd::new(&**it, PollFlags::OUT)).collect();
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(None),
            result => result?,
        };
        let mut done = polled.iter().map(PollFd::revents).enumerate();
        let Some((index, happened)) = done.find(|(_, it)| !it.is_empty()) else { return Ok(None) };
        let (stream, address) = self.pending.remove(index);
        match stream.take_error()? {
            None if !happened.contains(PollFlags::HUP) => return Ok(Some((stream, address))),
            error => self.failure = error.unwrap_or_else(|| ErrorKind::NotConnected.into()).into(),
        }
        // After a failure, the next address is tried at once.
        self.next_at = Instant::now();
        Ok(None)
    }
}

fn begin(address: SocketAddr) -> io::Result<Arc<TcpStream>> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = TcpStream::from(socket_with(family, SocketType::STREAM, flags, None)?);
    match start(&stream, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Arc::new(stream)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;
    use crate::net::freeze::TimeLimit;
    use crate::threads;

    /// Longer than any of these tests takes.
    const LONG: Duration = Duration::from_secs(20);

    fn connect_to(
        addresses: &[SocketAddr],
        within: Duration,
        register: Register,
    ) -> Result<SocketAddr, ureq::Error> {
        let mut clock = FreezeClock::start(TimeLimit::ExcludingFreezes(within), Instant::now());
        connect(addresses, &mut clock, Timeout::Connect, register).map(|(_, address)| address)
    }

    fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A listener that accepts no connection and refuses none. Its queue is full, so the kernel drops each SYN.
    fn silent() -> (Vec<TcpStream>, TcpListener, SocketAddr) {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let queued = (0..8).map(|_| begin(address).unwrap()).map(|it| it.try_clone().unwrap());
        (queued.collect(), listener, address)
    }

    #[test]
    fn the_first_address_that_works_is_used() {
        let (gone, refusing) = listen();
        drop(gone);
        let (_one, good) = listen();
        let (_queued, _silent, silent) = silent();
        for addresses in [
            &[good][..],
            &[refusing, good],
            &[silent, good],
            &[silent, refusing, good],
            &[refusing, silent, refusing, good],
            &[good, silent],
        ] {
            let used = connect_to(addresses, LONG, &|_| Ok(())).unwrap();
            assert_eq!(used, good, "{addresses:?}");
        }
    }

    #[test]
    fn without_a_working_address_a_connect_fails_with_the_last_error_or_a_timeout() {
        let (gone, refusing) = listen();
        drop(gone);
        let (_queued, _silent, silent) = silent();
        let error = connect_to(&[refusing, refusing], LONG, &|_| Ok(())).unwrap_err();
        assert!(matches!(error, ureq::Error::Io(it) if it.kind() == ErrorKind::ConnectionRefused));
        let error = connect_to(&[], LONG, &|_| Ok(())).unwrap_err();
        assert!(matches!(error, ureq::Error::HostNotFound));
        let error = connect_to(&[silent], Duration::from_millis(10), &|_| Ok(())).unwrap_err();
        assert!(matches!(error, ureq::Error::Timeout(Timeout::Connect)));
    }

    #[test]
    fn another_thread_ends_a_connect() {
        let (_queued, _silent, silent) = silent();
        let (registered, handles) = mpsc::channel::<Weak<dyn ShutdownHandle>>();
        let end = move || handles.recv().unwrap().upgrade().unwrap().shutdown();
        threads::spawn("ends", threads::STACK_SMALL, Box::new(end)).unwrap();
        let started = Instant::now();
        let error = connect_to(&[silent], LONG, &move |handle| {
            registered.send(handle).unwrap();
            Ok(())
        });
        assert!(matches!(error, Err(ureq::Error::Io(_))) && started.elapsed() < LONG);
    }
}
