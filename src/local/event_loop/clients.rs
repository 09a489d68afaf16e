//! The connections of the event loop: their sockets, and which of them may stay.
//!
//! Invariant: a connection whose request may be accepted is closed only by its deadline, its client, or an error.

use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::local::PANICKED;
use crate::local::endpoint::Endpoint;
use crate::local::event_loop::connection::{Connection, Cost, Need, Step};
use crate::local::event_loop::poller::{Interest, Key, Poller};
use crate::local::event_loop::running_time::RunningTime;
use crate::local::port::Port;
use crate::local::receiver::Receiver;
use crate::logging;

/// How many connections of reports are open. For one more, the server closes the one that loses least: one between
/// two requests, or else one that is refused or has sent only a part of a head. Of several, it closes one of which
/// it has heard nothing for the longest time, silent ones first. If all have a request that may be accepted, the
/// next one waits in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;

/// How many connections of telemetry are open. The platform uses one. They have places of their own, so that no
/// client of the other ports can delay an event.
const TELEMETRY_CONNECTIONS_MAX: usize = 16;

/// How long a client that has just come, or has just sent something, is spared for others.
const SPARED_FOR: Duration = Duration::from_secs(1);

/// How many bytes are read at once. A report is rarely longer.
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
    buffer: Box<[u8]>,
    poller: Arc<Poller>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    connection: Connection<Port>,
    /// What the poller waits for.
    interest: Interest,
    /// When it came, or sent something for the last time.
    seen_at: Instant,
    /// Whether it has sent bytes.
    has_sent: bool,
    /// Whether the client knows that nothing more will come.
    is_half_closed: bool,
    is_closed: bool,
}

impl Clients {
    pub fn with(poller: Arc<Poller>) -> Self {
        Self { all: Vec::new(), buffer: vec![0; READ_BYTES].into(), poller }
    }

    /// The first deadline of all.
    pub fn deadline(&self) -> Option<RunningTime> {
        self.all.iter().filter_map(|it| it.connection.deadline()).min()
    }

    /// Adds a client, and reads what it has already sent. Without memory for it, the client is closed.
    pub fn add(&mut self, stream: TcpStream, port: Port, now: RunningTime) {
        if !self.has_place(port) {
            self.close_one(port, now);
        }
        if let Err(error) = self.poller.add(&stream, Interest::Read) {
            logging::debug!("cannot wait for an agent: {error}; its connection is closed");
            return;
        }
        self.all.push(Client {
            stream,
            connection: Connection::new(port),
            interest: Interest::Read,
            seen_at: Instant::now(),
            has_sent: false,
            is_half_closed: false,
            is_closed: false,
        });
        self.serve_at(self.all.len() - 1, now);
    }

    /// Whether one more may be added for this port.
    pub fn has_room(&self, port: Port) -> bool {
        self.has_place(port) || self.dispensable(port).is_some()
    }

    fn has_place(&self, port: Port) -> bool {
        let most = if port.is_telemetry() { TELEMETRY_CONNECTIONS_MAX } else { CONNECTIONS_MAX };
        // The count is rarely needed: it is no more than all.
        self.all.len() < most || self.of_kind(port).count() < most
    }

    /// Closes the client of this kind of port that loses least: see [`CONNECTIONS_MAX`]. False if each would lose
    /// a request.
    pub fn close_one(&mut self, port: Port, now: RunningTime) -> bool {
        let Some(index) = self.dispensable(port) else { return false };
        let mut client = self.all.remove(index);
        client.guarded(now, |it| {
            let step = it.connection.end(now);
            it.go_on(step, &mut &[][..], now)
        });
        true
    }

    fn dispensable(&self, port: Port) -> Option<usize> {
        let now = Instant::now();
        let least = self.of_kind(port).min_by_key(|(_, it)| it.loss(now));
        least.filter(|(_, it)| it.connection.cost() < Cost::Request).map(|(index, _)| index)
    }

    /// The clients that share places with those of this port.
    fn of_kind(&self, port: Port) -> impl Iterator<Item = (usize, &Client)> {
        let is_of =
            move |it: &Client| it.connection.endpoint().is_telemetry() == port.is_telemetry();
        self.all.iter().enumerate().filter(move |(_, it)| is_of(it))
    }

    /// Closes the clients of telemetry that are between two requests.
    pub fn close_idle_of(&mut self, receiver: &Receiver) {
        self.all.retain(|it| {
            let is_idle = it.connection.cost() == Cost::Nothing;
            !(is_idle && it.connection.endpoint().is_of(receiver))
        });
    }

    /// Serves the client whose socket is ready. It may have been closed meanwhile.
    pub fn serve(&mut self, key: Key, now: RunningTime) {
        if let Some(index) = self.all.iter().position(|it| Key::of(&it.stream) == key) {
            self.serve_at(index, now);
        }
    }

    fn serve_at(&mut self, index: usize, now: RunningTime) {
        let client = &mut self.all[index];
        client.guarded(now, |it| it.serve(&mut self.buffer, now));
        client.change_interest(&self.poller);
        if client.is_closed {
            self.all.swap_remove(index);
        }
    }

    /// Ends the waits that have taken too long.
    pub fn expire(&mut self, now: RunningTime) {
        let is_over = |it: &&mut Client| it.connection.deadline().is_some_and(|at| at <= now);
        for client in self.all.iter_mut().filter(is_over) {
            client.guarded(now, |it| {
                let step = it.connection.expire(now);
                it.go_on(step, &mut &[][..], now)
            });
            client.change_interest(&self.poller);
        }
        self.all.retain(|it| !it.is_closed);
    }
}

impl Client {
    /// What its close would cost, to compare with others. A flood of silent clients must displace neither one that
    /// has just come, nor one that is between two requests.
    fn loss(&self, now: Instant) -> (Cost, bool, bool, Instant) {
        let is_spared = now.saturating_duration_since(self.seen_at) < SPARED_FOR;
        (self.connection.cost(), is_spared, self.has_sent, self.seen_at)
    }

    /// Does this for the client. After an error or a panic, the client is closed.
    fn guarded(&mut self, now: RunningTime, act: impl FnOnce(&mut Self) -> Result<(), Errno>) {
        match catch_unwind(AssertUnwindSafe(|| act(self))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                logging::debug!("cannot serve an agent: {error}; its connection is closed");
                // A request whose body will not come counts as malformed.
                drop(self.connection.end(now));
                self.is_closed = true;
            }
            Err(_) => {
                logging::error!("{PANICKED}");
                self.connection.fail(now);
                let _ = self.go_on(Step::Waits, &mut &[][..], now); // the client may have gone
                self.is_closed = true;
            }
        }
    }

    fn change_interest(&mut self, poller: &Poller) {
        let interest = match self.connection.need() {
            Need::Write => Interest::Write,
            Need::Read | Need::ReadWithoutWriting | Need::Close => Interest::Read,
        };
        if interest != self.interest && !self.is_closed {
            self.interest = interest;
            self.is_closed = poller.modify(&self.stream, interest).is_err();
        }
    }

    fn serve(&mut self, buffer: &mut [u8], now: RunningTime) -> Result<(), Errno> {
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
        self.seen_at = Instant::now();
        let step = if received == 0 {
            self.connection.end(now)
        } else {
            self.connection.step(&mut input, now)
        };
        self.go_on(step, &mut input, now)
    }

    fn go_on(
        &mut self,
        step: Step<<Port as Endpoint>::Deferred>,
        input: &mut &[u8],
        now: RunningTime,
    ) -> Result<(), Errno> {
        let stream = &self.stream;
        self.connection.go_on(step, input, now, |output| {
            match retry_on_intr(|| send(stream, output, SendFlags::NOSIGNAL)) {
                Err(Errno::AGAIN) => Ok(None),
                sent => sent.map(Some),
            }
        })?;
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
