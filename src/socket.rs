//! A TCP connection, to the remote or to the Runtime API: the link of ureq's chain that all others
//! stand on.
//!
//! ureq's own link, woken from a freeze, finds its time over and gives up without a look: a report
//! whose answer is in the socket is then sent twice. This one gives up as [`crate::patience`] says, and
//! where there is no limit waits once, without waking up.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ureq::Timeout;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use crate::lookup::look_up;
use crate::patience::{Limit, Patience, Waited};

/// What is added to the time of an attempt where ureq is told it, as its global timeout, so that
/// ureq leaves the clock to this module: longer than any freeze, as environments end after some
/// hours ("Lambda execution environment lifecycle").
pub const FREEZE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// An attempt to connect is never shorter: the system takes no limit of zero.
const CONNECT_MIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub struct SocketConnector;

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(through_proxy) = chained {
            return Ok(Some(Either::A(through_proxy)));
        }
        let (within, reason) = (limit_of(details.timeout), details.timeout.reason);
        let is_limited = !details.timeout.after.is_not_happening();
        let asked_at = Instant::now();
        let addresses = look_up(details.uri, is_limited.then_some(within))?;
        // The limit of a connection begins when the name is looked up, that of a request before.
        let from = if reason == Timeout::Connect { Instant::now() } else { asked_at };
        let connected_by = is_limited.then_some(from + within);
        let stream = Arc::new(connect(&addresses, from + within, reason)?);
        stream.set_nodelay(true)?;
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let patience = Patience::default();
        Ok(Some(Either::B(Socket {
            stream,
            buffers,
            patience,
            limits: Limits::default(),
            has_read: true,
            connects: false,
            connected_by,
            broken: None,
        })))
    }
}

/// Each address but the last may take half of what is left.
fn connect(
    addresses: &[SocketAddr],
    by: Instant,
    reason: Timeout,
) -> Result<TcpStream, ureq::Error> {
    let mut failure = ureq::Error::HostNotFound;
    for (behind, address) in (0..addresses.len()).rev().zip(addresses) {
        let left = by.saturating_duration_since(Instant::now());
        let share = if behind > 0 { left / 2 } else { left };
        failure = match TcpStream::connect_timeout(address, share.max(CONNECT_MIN)) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => ureq::Error::Timeout(reason),
            Err(error) => error.into(),
        };
    }
    Err(failure)
}

/// A connection that ureq reads and writes through.
pub struct Socket {
    /// Shared, weakly, with who may interrupt an attempt.
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    patience: Patience,
    limits: Limits,
    /// Since it was written to last: what is written next begins a request.
    has_read: bool,
    /// What was written last was part of a handshake.
    connects: bool,
    /// When the handshakes of a new connection have to be over, all together: ureq gives each step the
    /// whole time.
    connected_by: Option<Instant>,
    /// Why nothing more can be written. The answer may be there all the same: a remote that does not
    /// want a body answers and closes before it is sent.
    broken: Option<io::Error>,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let connects = timeout.reason == Timeout::Connect;
        if self.has_read || (self.connects && !connects) {
            let now = Instant::now();
            self.patience.renew(limit(timeout, now), now);
            self.has_read = false;
        }
        self.connects = connects;
        if self.broken.is_some() {
            return Ok(());
        }
        let Self { stream, buffers, patience, limits, .. } = self;
        let mut output = &buffers.output()[..amount];
        let sent = transfer(patience, timeout, Waited::Done, |within| {
            limits.writing.set(within, |it| stream.set_write_timeout(it))?;
            let sent = (&**stream).write(output)?;
            if sent == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            output = &output[sent..];
            // A blocking write that leaves something was interrupted, or its time was over.
            if output.is_empty() { Ok(()) } else { Err(ErrorKind::Interrupted.into()) }
        });
        match sent {
            Err(ureq::Error::Io(error))
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                self.broken = Some(error);
                Ok(())
            }
            sent => sent,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.has_read = true;
        let timeout = self.in_all(timeout);
        let Self { stream, buffers, patience, limits, broken, .. } = self;
        let read = transfer(patience, timeout, Waited::Came, |within| {
            limits.reading.set(within, |it| stream.set_read_timeout(it))?;
            (&**stream).read(buffers.input_append_buf())
        });
        let read = match (read, broken.take()) {
            (Ok(0) | Err(_), Some(error)) => return Err(error.into()),
            (read, _) => read?,
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.broken.is_none() && is_silent(&self.stream)
    }
}

impl Socket {
    /// Less than that, where steps before took some of it.
    fn in_all(&mut self, mut timeout: NextTimeout) -> NextTimeout {
        if timeout.reason != Timeout::Connect {
            self.connected_by = None;
        } else if !timeout.after.is_not_happening() {
            let left = |until: Instant| until.saturating_duration_since(Instant::now());
            let left = self.connected_by.map_or(CONNECT_MIN, left).max(CONNECT_MIN);
            timeout.after = left.min(*timeout.after).into();
        }
        timeout
    }
}

/// The limits that the system keeps for a socket: `None` is none.
#[derive(Debug, Default)]
struct Limits {
    reading: SystemLimit,
    writing: SystemLimit,
}

#[derive(Debug, Default)]
struct SystemLimit(Option<Duration>);

impl SystemLimit {
    /// Told to the system where it is another than before.
    fn set(
        &mut self,
        within: Option<Duration>,
        tell: impl FnOnce(Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.0 != within {
            tell(within)?;
            self.0 = within;
        }
        Ok(())
    }
}

/// Reads or writes, as `done` says, again after each freeze, until it is done, fails or time is over.
fn transfer<R>(
    patience: &mut Patience,
    timeout: NextTimeout,
    done: Waited,
    mut step: impl FnMut(Option<Duration>) -> io::Result<R>,
) -> Result<R, ureq::Error> {
    if timeout.after.is_not_happening() {
        loop {
            match step(None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return Ok(result?),
            }
        }
    }
    let limit = limit(timeout, Instant::now());
    patience.resume(Instant::now());
    loop {
        let started = Instant::now();
        let asked = patience.left(limit, started);
        let result = step(Some(asked));
        let waited = match result.as_ref().map_err(io::Error::kind) {
            Err(ErrorKind::Interrupted) => Waited::Interrupted,
            Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Waited::TimedOut,
            _ => done,
        };
        if !patience.goes_on(limit, (asked, started), waited, Instant::now()) {
            return Err(ureq::Error::Timeout(timeout.reason));
        }
        if waited == done {
            return Ok(result?);
        }
    }
}

/// What ureq's limit is on our clock.
fn limit(timeout: NextTimeout, now: Instant) -> Limit {
    let after = limit_of(timeout);
    match timeout.reason {
        Timeout::PerCall => Limit::Final(now + after),
        Timeout::Global => Limit::Running((now + after).checked_sub(FREEZE_MAX).unwrap_or(now)),
        _ => Limit::Running(now + after),
    }
}

/// No limit is one too many for the clock to count.
fn limit_of(timeout: NextTimeout) -> Duration {
    (*timeout.after).min(FREEZE_MAX * 2)
}

/// Whether a connection that waits for its next request is still there. What it has to say by
/// itself is nothing that could be an answer.
fn is_silent(stream: &TcpStream) -> bool {
    let peeked = recv(stream, &mut [0_u8][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    peeked.is_err_and(|error| error == Errno::WOULDBLOCK)
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Socket")
    }
}
