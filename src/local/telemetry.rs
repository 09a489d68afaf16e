//! The subscription to the Telemetry API, by which Lambda reports that the runtime has finished an invocation.

use std::io;
#[cfg(test)]
use std::net::TcpStream;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::lambda::extensions_api::Extension;
use crate::lambda::telemetry::subscription;
use crate::local::event_loop::{EventLoop, Order};
use crate::local::platform_events::{PlatformEvents, platform_events};
use crate::local::port::Port;
use crate::local::receiver::Receiver;
use crate::logging;
use crate::relay::queue::Outbox;

/// A subscription to the platform's events.
pub struct Telemetry {
    pub events: PlatformEvents,
    address: SocketAddr,
    receiver: &'static Receiver,
    event_loop: EventLoop,
}

impl Telemetry {
    /// Subscribes. From then on, the senders get a message at each end of an invocation. Must be called
    /// before the first poll, because Lambda accepts no subscriptions after that.
    ///
    /// # Errors
    /// The platform has no telemetry, as with emulators, or the receiver cannot start.
    pub fn subscribe(
        extension: &Extension,
        outboxes: Vec<Outbox>,
        event_loop: &EventLoop,
    ) -> io::Result<Self> {
        let telemetry = Self::receive(outboxes, event_loop)?;
        let subscription = subscription(telemetry.address.port());
        let subscribed = extension.subscribe(&subscription);
        subscribed.inspect_err(|_| telemetry.close()).map_err(io::Error::other)?;
        Ok(telemetry)
    }

    /// Starts the receiver at a free port.
    ///
    /// # Errors
    /// No thread, descriptor or port is free.
    pub fn receive(outboxes: Vec<Outbox>, event_loop: &EventLoop) -> io::Result<Self> {
        // It listens on every address, because Lambda does not document that it delivers over loopback. With
        // emulators, the host name has no address. Nothing outside can connect to an execution environment.
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let address = listener.local_addr()?;
        let (sender, events) = platform_events();
        // The event loop may use it until the process ends, which subscribes at most once.
        let receiver = Box::leak(Box::new(Receiver::new(sender, outboxes)));
        event_loop.order(Order::Listen(listener, Port::Telemetry(receiver)))?;
        Ok(Self { events, address, receiver, event_loop: event_loop.clone() })
    }

    /// Closes the port, so that the platform no longer wakes a thread at each invocation.
    pub fn close(&self) {
        self.receiver.close();
        let order = Order::Close(self.receiver);
        if let Err(error) = self.event_loop.order(order) {
            logging::debug!("cannot close the telemetry port: {error}; it stays open");
        }
    }
}

#[cfg(test)]
impl Telemetry {
    /// Posts a batch, as the platform does. Returns when it is parsed: the response to the next batch follows that.
    pub fn deliver(&self, batch: &str) {
        let mut platform = TcpStream::connect(self.address).unwrap();
        for batch in [batch, "[]"] {
            let answer = post(&mut platform, batch);
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        }
    }
}

/// Posts a batch over this connection. Returns the head of the answer.
#[cfg(test)]
fn post(platform: &mut TcpStream, batch: &str) -> String {
    use std::io::Write;
    let length = batch.len();
    write!(platform, "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{batch}").unwrap();
    head_of_answer(platform)
}

#[cfg(test)]
fn head_of_answer(platform: &mut TcpStream) -> String {
    use std::io::{BufRead, BufReader};
    let lines = BufReader::new(platform).lines().map(Result::unwrap);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn after_the_close_the_platform_must_connect_again() {
        let telemetry = Telemetry::receive(Vec::new(), &EventLoop::default()).unwrap();
        let mut platform = TcpStream::connect(telemetry.address).unwrap();
        assert!(!post(&mut platform, "[]").contains("close"));
        // The first half of a batch comes before the close, so that the connection is in use.
        platform.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n[").unwrap();
        telemetry.close();
        platform.write_all(b"]").unwrap();
        assert!(head_of_answer(&mut platform).contains("Connection: close"));
    }
}
