//! The receiver of the Telemetry API, by which Lambda reports that the runtime has finished an invocation.
//!
//! Invariant: each batch is answered with 200, even a malformed one. Any other answer makes the platform send
//! the batch again.

use std::io;
#[cfg(test)]
use std::net::TcpStream;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tiny_http::Request;

use crate::lambda::extensions_api::Extension;
use crate::lambda::telemetry::{ended, subscription};
use crate::local::body::{self, ReadError};
use crate::local::exchange;
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
const RECHECK_AFTER: Duration = Duration::from_millis(100);

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
            closing.closed();
        });
        let quota = Quota::of(BATCHES_BYTES_MAX);
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
        let look = self.panics.has_changed().then(|| Instant::now() + RECHECK_AFTER);
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
            exchange::send_and_abandon(Response::ACCEPTED, request);
            return;
        }
        match body::read(&mut request, &self.quota, 0) {
            Ok(batch) => self.report(&batch.bytes),
            Err(error) => {
                logging::debug!("cannot read telemetry: {}; the batch is ignored", reason(&error));
            }
        }
        // If the server closes, the platform must connect again, and then finds the port closed.
        let response = Response::ACCEPTED;
        let response = if self.server.is_closing() { response.closing() } else { response };
        exchange::send(response, request);
    }

    fn report(&self, batch: &[u8]) {
        let ends = ended(batch);
        self.events.batch(&ends);
        for end in ends {
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

fn reason(error: &ReadError) -> &'static str {
    match error {
        ReadError::Full | ReadError::TooLarge => "batches of more than 1 MiB",
        ReadError::Malformed(reason) => reason,
    }
}

#[cfg(test)]
impl Telemetry {
    /// Posts a batch, as the platform does.
    pub fn deliver(&self, batch: &str) {
        let answer = post(&mut TcpStream::connect(self.address).unwrap(), batch);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }

    /// Closes the port as an error of the system does.
    pub fn break_down(&self) {
        self.server.closed(io::Error::other("no descriptor"));
    }
}

/// Posts a batch over this connection. Returns the head of the answer.
#[cfg(test)]
fn post(platform: &mut TcpStream, batch: &str) -> String {
    use std::io::{BufRead, BufReader, Write};
    let length = batch.len();
    write!(platform, "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{batch}").unwrap();
    let lines = BufReader::new(platform).lines().map(Result::unwrap);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_close_the_platform_must_connect_again() {
        let telemetry = Telemetry::receive(Vec::new()).unwrap();
        let mut platform = TcpStream::connect(telemetry.address).unwrap();
        assert!(!post(&mut platform, "[]").contains("close"));
        telemetry.close();
        assert!(post(&mut platform, "[]").contains("Connection: close"));
    }
}
