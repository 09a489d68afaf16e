//! A TCP connection, to the remote or to the Runtime API.
//!
//! After a freeze, ureq's own socket finds its time over and gives up without a read. A report whose response
//! is already in the socket is then sent twice. This socket gives up by the rules of [`crate::net::freeze`].
//! Without a limit it waits in one system call, and does not wake up in between.
//!
//! ureq's own limits count frozen time. So this socket uses them only to find the phase, except the limit of a
//! whole call, which is final. ureq passes the limits of a write and a read on unchanged. Here they contain the
//! time limits of the request and of the response's body.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::net::connect::connect as connect_to_any;
use crate::net::freeze::{FreezeClock, TimeLimit};
use crate::net::liveness::Liveness;
use crate::net::resolver::{Interrupt, Names};
use crate::net::url::port_of;
use crate::net::wire::{Unread, Wire};

/// ureq's own limit where this module has a shorter one that does not count freezes. No freeze is longer,
/// because execution environments end after some hours ("Lambda execution environment lifecycle").
pub const FREEZE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The least time limit of a request once it has a connection. A slow connect cannot shorten it further.
const REQUEST_MIN: Duration = Duration::from_secs(1);

/// The part of the connection's time limit that the look-up of its name may use, as a fraction.
const LOOKUP_SHARE: (u32, u32) = (3, 4);

/// Connects without proxy and TLS.
#[derive(Debug, Default)]
pub struct SocketConnector(Names);

impl Connector for SocketConnector {
    type Out = Socket;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Socket>, ureq::Error> {
        connect(details, &self.0).map(Some)
    }
}

/// Connects to the host itself.
///
/// # Errors
/// The host has no address, or no address accepts a connection in time.
pub fn connect(details: &ConnectionDetails, names: &Names) -> Result<Socket, ureq::Error> {
    let (stream, clock) = connect_to(details, names)?;
    stream.set_nodelay(true)?;
    let wire = Arc::new(Wire::new(stream));
    let handle: Weak<Wire> = Arc::downgrade(&wire);
    (details.register_shutdown)(handle)?;
    let config = details.config;
    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
    let is_limited = !details.timeout.after.is_not_happening();
    Ok(Socket::new(wire, buffers, is_limited.then_some(clock)))
}

/// Looks the host up, unless it is an address, and connects within the time limit. Returns the clock, which
/// also limits the handshakes.
fn connect_to(
    details: &ConnectionDetails,
    names: &Names,
) -> Result<(TcpStream, FreezeClock), ureq::Error> {
    let (register, reason) = (&*details.register_shutdown, details.timeout.reason);
    let host = details.uri.host().ok_or(ureq::Error::HostNotFound)?;
    let port = port_of(details.uri);
    let within = limit_of(details.timeout);
    let mut clock = FreezeClock::start(TimeLimit::ExcludingFreezes(within), Instant::now());
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        let address = [SocketAddr::new(address, port)];
        return Ok((connect_to_any(&address, &mut clock, reason, &register)?.0, clock));
    }
    let interrupt = Interrupt::of_this_thread();
    let handle: Weak<Interrupt> = Arc::downgrade(&interrupt);
    register(handle)?;
    let (share, whole) = LOOKUP_SHARE;
    let for_look_up = within / whole * share;
    clock = FreezeClock::start(TimeLimit::ExcludingFreezes(for_look_up), Instant::now());
    let found = names.look_up(host, &mut clock, &interrupt)?;
    clock.extend(within.saturating_sub(for_look_up));
    let addresses: Vec<_> = found.addresses.iter().map(|it| SocketAddr::new(*it, port)).collect();
    let (stream, to) = connect_to_any(&addresses, &mut clock, reason, &register)?;
    names.connected(host, found, to.ip());
    Ok((stream, clock))
}

/// A connection that ureq reads and writes through.
pub struct Socket {
    /// The thread that may end an attempt has a weak reference to it.
    wire: Arc<Wire>,
    buffers: LazyBuffers,
    limits: Limits,
    /// The phase of the current request. `None` between requests.
    phase: Option<Phase>,
    /// `None` while the phase has no limit.
    clock: Option<FreezeClock>,
    liveness: Liveness,
    /// How many bytes of the output were written before TLS was asked to read.
    written: usize,
    /// Why the rest of the request cannot be written. The response may exist anyway, because a remote that
    /// does not want a body answers early.
    cut: Option<ErrorKind>,
}

/// Each phase of a request has its own limit. During a request the phases only go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The look-up, the connect, and the handshakes with a proxy and of TLS.
    Connection,
    /// Writing the request and reading the head of its response.
    Request,
    /// Reading the body of the response.
    Body,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    /// The error [`ErrorKind::WouldBlock`] asks the TLS layer to read first, and to call again with the same
    /// output.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.enter(timeout);
        // TLS may read a response before the whole request is written.
        self.wire.set_awaits_answer(false);
        while self.cut.is_none() && self.written < amount {
            match self.write_some(amount, timeout) {
                Err(ureq::Error::Io(error)) if cuts_short(&error) => self.cut = Some(error.kind()),
                written => self.written += written?,
            }
        }
        self.written = 0;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.enter(timeout);
        self.wire.set_awaits_answer(self.phase == Some(Phase::Request));
        let Self { wire, buffers, clock, limits, liveness, .. } = self;
        let read = repeat(clock.as_mut(), timeout, |within| {
            let within = liveness.check(wire, within)?;
            limits.reading.set(within, |it| wire.limit_reading(it))?;
            wire.read(buffers.input_append_buf())
        });
        let read = match (read, self.cut) {
            (Ok(0) | Err(_), Some(kind)) => return Err(io::Error::from(kind).into()),
            (read, _) => read?,
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    /// ureq calls this before each request on an idle connection.
    fn is_open(&mut self) -> bool {
        self.phase = None;
        self.liveness = Liveness::of_kept();
        self.wire.set_awaits_answer(false);
        self.cut.is_none() && self.wire.is_silent()
    }
}

impl Socket {
    fn new(wire: Arc<Wire>, buffers: LazyBuffers, clock: Option<FreezeClock>) -> Self {
        Self {
            wire,
            buffers,
            limits: Limits::default(),
            phase: Some(Phase::Connection),
            clock,
            liveness: Liveness::default(),
            written: 0,
            cut: None,
        }
    }

    fn write_some(&mut self, amount: usize, timeout: NextTimeout) -> Result<usize, ureq::Error> {
        let Self { wire, buffers, clock, limits, liveness, written, .. } = self;
        let output = &buffers.output()[*written..amount];
        let count = repeat(clock.as_mut(), timeout, |within| {
            let within = liveness.check(wire, within)?;
            limits.writing.set(within, |it| wire.limit_writing(it))?;
            match wire.write(output) {
                // The remote may have stopped reading because it has answered.
                Err(error) if error.kind() == ErrorKind::WouldBlock => match wire.unread() {
                    Unread::Nothing => Err(error),
                    Unread::Answer => Err(ErrorKind::BrokenPipe.into()),
                    Unread::Encrypted => Ok(None),
                },
                written => written.map(Some),
            }
        })?;
        liveness.progress();
        match count {
            Some(0) => Err(io::Error::from(ErrorKind::WriteZero).into()),
            Some(count) => Ok(count),
            None => Err(io::Error::from(ErrorKind::WouldBlock).into()),
        }
    }

    /// Starts the clock of a phase at the phase's first step.
    fn enter(&mut self, timeout: NextTimeout) {
        let phase = match timeout.reason {
            Timeout::Connect => Phase::Connection,
            Timeout::RecvBody => Phase::Body,
            _ => Phase::Request,
        };
        if self.phase.is_some_and(|it| it >= phase) {
            return;
        }
        let now = Instant::now();
        let connection = self.clock.as_ref().filter(|_| self.phase == Some(Phase::Connection));
        let connecting = connection.map_or(Duration::ZERO, |clock| clock.used(now));
        self.phase = Some(phase);
        let limit = match (timeout.reason, phase) {
            (Timeout::PerCall, _) => Some(TimeLimit::WallClock(now + limit_of(timeout))),
            (_, Phase::Body) => timeout.per_read.map(|limit| TimeLimit::ExcludingFreezes(*limit)),
            _ => timeout.per_write.map(|limit| {
                // The limit is that of a whole attempt, which includes the connect.
                TimeLimit::ExcludingFreezes(limit.saturating_sub(connecting).max(REQUEST_MIN))
            }),
        };
        if let (Some(TimeLimit::WallClock(until)), Phase::Request) = (limit, phase) {
            self.liveness.begin(now, until);
        }
        self.clock = limit.map(|limit| FreezeClock::start(limit, now));
    }
}

/// The time limits that are set on the system's socket.
#[derive(Debug, Default)]
struct Limits {
    reading: SystemLimit,
    writing: SystemLimit,
}

/// `None` is no limit.
#[derive(Debug, Default)]
struct SystemLimit(Option<Duration>);

impl SystemLimit {
    /// Sets the limit, with a system call only if it changes.
    fn set(
        &mut self,
        within: Option<Duration>,
        apply: impl FnOnce(Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.0 != within {
            apply(within)?;
            self.0 = within;
        }
        Ok(())
    }
}

/// Repeats a step until it succeeds or fails, or until the time of the phase is over.
fn repeat<R>(
    clock: Option<&mut FreezeClock>,
    timeout: NextTimeout,
    mut step: impl FnMut(Option<Duration>) -> io::Result<R>,
) -> Result<R, ureq::Error> {
    let Some(clock) = clock else {
        loop {
            match step(None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return Ok(result?),
            }
        }
    };
    let result = clock.repeat(Instant::now, |within| step(Some(within)));
    Ok(result.ok_or(ureq::Error::Timeout(timeout.reason))??)
}

/// Whether no more can be written, although a response may exist.
fn cuts_short(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// ureq's limit, cut to a length that an [`Instant`] can represent. ureq's "no limit" is too long.
fn limit_of(timeout: NextTimeout) -> Duration {
    (*timeout.after).min(FREEZE_MAX * 2)
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Socket")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn timeout() -> NextTimeout {
        let after = Duration::from_secs(20).into();
        NextTimeout { after, reason: Timeout::SendBody, ..NextTimeout::default() }
    }

    #[test]
    fn a_request_that_is_still_written_awaits_no_answer_even_after_a_read() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut remote, _) = listener.accept().unwrap();
        remote.write_all(b"a ticket of TLS").unwrap();
        let wire = Arc::new(Wire::new(stream));
        let mut socket = Socket::new(Arc::clone(&wire), LazyBuffers::new(64, 64), None);
        for _ in 0..2 {
            socket.buffers().output()[0] = b'a';
            socket.transmit_output(1, timeout()).unwrap();
            assert!(!wire.awaits_answer());
            socket.await_input(timeout()).unwrap();
            assert!(wire.awaits_answer());
            remote.write_all(b"more").unwrap();
        }
    }
}
