//! The receiver of the Telemetry API, by which Lambda reports that the runtime has finished an invocation.
//!
//! Invariant: each batch is answered with 200, even a malformed one. Any other answer makes the platform send
//! the batch again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tiny_http::Request;

use crate::lambda::extensions_api::Extension;
use crate::lambda::telemetry::{PlatformEvent, ended, subscription};
use crate::local::body;
use crate::local::panics::{self, PanicWatch};
use crate::local::platform_events::{EventSender, PlatformEvents, platform_events};
use crate::local::response::Response;
use crate::local::workers::{self, ServerHandle};
use crate::logging;
use crate::payload::quota::Quota;
use crate::relay::queue::{Message, Outbox};

/// Memory limit for batches and for the ends of invocations in them, in bytes. A batch that does not fit is
/// ignored. Lambda's documentation announces up to twice the subscription's `maxBytes`, plus the JSON around
/// the events.
const BATCHES_BYTES_MAX: usize = 1024 * 1024;

/// The memory of an invocation's end in a sender's queue, in bytes: its request id and its place.
const END_COST: usize = 384;

/// The time until the next check whether the port is open, if the last check had no free descriptor.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A subscription to the platform's events.
pub struct Telemetry {
    pub events: PlatformEvents,
    address: SocketAddr,
    panics: PanicWatch,
    server: Arc<ServerHandle>,
}

/// Receives the batches.
struct Receiver {
    events: EventSender,
    quota: Quota,
    outboxes: Vec<Outbox>,
    server: Arc<ServerHandle>,
}

impl Telemetry {
    /// Subscribes. From then on, the senders get a message at each end of an invocation. Must be called
    /// before the first poll, because Lambda accepts no subscriptions after that.
    ///
    /// # Errors
    /// The platform has no telemetry, as with emulators, or the receiver cannot start.
    pub fn subscribe(extension: &Extension, outboxes: Vec<Outbox>) -> io::Result<Self> {
        let telemetry = Self::receive(outboxes)?;
        let subscription = subscription(telemetry.address.port());
        let subscribed = extension.subscribe(&subscription);
        subscribed.inspect_err(|_| telemetry.close()).map_err(io::Error::other)?;
        Ok(telemetry)
    }

    /// Starts the receiver at a free port.
    ///
    /// # Errors
    /// No thread, descriptor or port is free.
    pub fn receive(outboxes: Vec<Outbox>) -> io::Result<Self> {
        // It listens on every address, because Lambda does not document that it delivers over loopback. With
        // emulators, the host name has no address. Nothing outside can connect to an execution environment.
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let address = listener.local_addr()?;
        let (sender, events) = platform_events();
        panics::wake_on_panic(events.waker());
        let closing = sender.clone();
        let server = ServerHandle::new(move |error| {
            logging::debug!("cannot accept telemetry: {error}; the port stays closed");
            closing.send(PlatformEvent::Closed);
        });
        let quota = Quota::all_of(BATCHES_BYTES_MAX);
        let receiver = Receiver { events: sender, quota, outboxes, server: Arc::clone(&server) };
        let take = Box::new(move |request| receiver.take(request));
        workers::serve(listener, take, Arc::clone(&server))?;
        Ok(Self { events, address, panics: PanicWatch::default(), server })
    }

    /// Whether the port has closed, because no descriptor or thread was free. No further event can arrive then.
    pub fn is_closed(&mut self) -> bool {
        self.looks_closed() || self.events.is_closed()
    }

    /// Waits for an event that ends a wait, at most until this time.
    pub fn wait(&self, until: Instant) {
        let look = self.panics.has_changed().then(|| Instant::now() + LOOKS_AGAIN_AFTER);
        self.events.wait(look.map_or(until, |look| look.min(until)));
    }

    /// Closes the port and ends its threads, so that the platform no longer wakes them at each invocation.
    pub fn close(&self) {
        self.server.close(None);
    }

    fn looks_closed(&mut self) -> bool {
        if !self.panics.take_change() {
            return false;
        }
        match TcpListener::bind(self.address) {
            // An address that can be bound has no listener.
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => false,
            Err(_) => {
                self.panics.recheck();
                false
            }
        }
    }
}

impl Receiver {
    fn take(&self, mut request: Request) {
        if !body::is_readable(&request) {
            Response::ACCEPTED.send_and_abandon(request);
            return;
        }
        match body::read(&mut request, &self.quota, 0) {
            Ok(batch) => self.report(&batch.bytes),
            Err(unread) => logging::debug!("cannot read telemetry: {unread:?}"),
        }
        // If the server closes, the platform must connect again, and then finds the port closed.
        let answer = Response::ACCEPTED;
        if self.server.is_closing() { answer.closing() } else { answer }.send(request);
    }

    fn report(&self, batch: &[u8]) {
        self.events.send(PlatformEvent::Batch);
        for end in ended(batch) {
            self.events.send(PlatformEvent::RuntimeDone);
            if end.is_a_crash() {
                self.events.send(PlatformEvent::Crashed(end.request_id.clone()));
            }
            for outbox in &self.outboxes {
                let Some(permit) = self.quota.take(END_COST) else {
                    logging::debug!(
                        "cannot keep an invocation's end: too many wait; it is ignored"
                    );
                    break;
                };
                // A send fails only if the sender has ended, at the end of the process.
                let request_id = end.request_id.clone();
                drop(outbox.send(Message::RuntimeDone { request_id, _permit: permit }));
            }
        }
    }
}

#[cfg(test)]
impl Telemetry {
    /// Posts a batch, as the platform does.
    pub fn deliver(&self, batch: &str) {
        use std::io::{Read, Write};
        let mut platform = std::net::TcpStream::connect(self.address).unwrap();
        let length = batch.len();
        write!(platform, "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{batch}").unwrap();
        let mut answer = [0; 15];
        platform.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
}
