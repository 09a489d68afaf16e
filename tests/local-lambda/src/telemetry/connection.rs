//! The only connection to a subscriber, opened when there is an event to deliver.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::http::Response;
use crate::messages::Messages;
use crate::telemetry::delivery::Delivery;
use crate::telemetry::destination::Destination;
use crate::telemetry::gate::{Gate, Pass};
use crate::telemetry::stream::Stream;

pub struct Connection {
    destination: Destination,
    gate: Arc<Gate>,
    /// Time limit of one attempt, from its first byte to the end of the answer.
    within: Duration,
    open: Option<Messages<Stream>>,
}

impl Connection {
    pub fn new(destination: Destination, gate: Arc<Gate>, within: Duration) -> Self {
        Self { destination, gate, within, open: None }
    }

    pub fn delivery(&self, entries: &[Vec<u8>]) -> Delivery {
        Delivery::of(entries, &self.destination)
    }

    /// Makes one attempt.
    ///
    /// # Errors
    ///
    /// When the subscriber does not listen, closes, takes too long, or answers 400 or above. Over TCP, a
    /// subscriber does not confirm a delivery. It counts when the kernel has accepted it.
    pub fn deliver(&mut self, delivery: &Delivery) -> io::Result<()> {
        let reused = self.open.is_some();
        match self.attempt(delivery) {
            // Servers close idle connections. That is no failure of the subscriber.
            Err(error) if reused && is_end(&error) => self.attempt(delivery),
            attempted => attempted,
        }
    }

    /// Keeps the connection open only if it can take the next delivery.
    fn attempt(&mut self, delivery: &Delivery) -> io::Result<()> {
        let pass = self.gate.enter()?;
        let mut messages = match self.open.take() {
            Some(messages) => messages,
            None => self.connect(pass)?,
        };
        messages.stream().start(pass);
        messages.stream().write_all(&delivery.bytes)?;
        if let Destination::Http { .. } = self.destination {
            let response = final_response(&mut messages)?;
            if !closes(&response) {
                self.open = Some(messages);
            }
            return match response.status {
                400.. => {
                    Err(io::Error::other(format!("the subscriber answered {}", response.status)))
                }
                _ => Ok(()),
            };
        }
        self.open = Some(messages);
        Ok(())
    }

    fn connect(&self, pass: Pass) -> io::Result<Messages<Stream>> {
        let (port, gate) = (self.destination.port(), Arc::clone(&self.gate));
        Stream::connect(port, gate, pass, self.within).map(Messages::new)
    }
}

fn final_response(messages: &mut Messages<Stream>) -> io::Result<Response> {
    loop {
        let response = messages.response()?;
        if response.status >= 200 {
            return Ok(response);
        }
    }
}

/// Whether the connection ends with this response. One without framing always ends it.
fn closes(response: &Response) -> bool {
    let framed = ["Content-Length", "Transfer-Encoding"];
    let is_framed = framed.iter().any(|name| response.header(name).is_some());
    let asks = response.header("Connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    asks || !(is_framed || crate::http::is_bodiless(response.status))
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::remote::Remote;

    const SOON: Duration = Duration::from_secs(60);

    fn connection(to: &Remote, gate: &Arc<Gate>, within: Duration) -> Connection {
        let authority = to.base_url().split('/').nth(2).unwrap().to_owned();
        let port = authority.split(':').nth(1).unwrap().parse().unwrap();
        let destination = Destination::Http { port, authority, target: "/".to_owned() };
        Connection::new(destination, Arc::clone(gate), within)
    }

    fn deliver(connection: &mut Connection) -> io::Result<()> {
        let delivery = connection.delivery(&[b"{}".to_vec()]);
        connection.deliver(&delivery)
    }

    #[test]
    fn one_connection_carries_all_deliveries() {
        let remote = Remote::start();
        let mut connection = connection(&remote, &Arc::default(), SOON);
        for _ in 0..3 {
            deliver(&mut connection).unwrap();
        }
        assert_eq!((remote.received().len(), remote.connections()), (3, 1));
    }

    #[test]
    fn a_connection_that_was_closed_while_idle_is_no_failure() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        let remote = Remote::start_scripted([Answer::HalfAnswer(whole)]);
        let mut connection = connection(&remote, &Arc::default(), SOON);
        deliver(&mut connection).unwrap();
        deliver(&mut connection).unwrap();
        assert_eq!((remote.received().len(), remote.connections()), (2, 2));
    }

    #[test]
    fn a_status_below_400_is_a_success_and_an_error_keeps_the_connection() {
        let remote = Remote::start_scripted([399, 400, 500].map(Answer::status));
        let mut connection = connection(&remote, &Arc::default(), SOON);
        assert!(deliver(&mut connection).is_ok());
        for status in [400, 500] {
            let error = deliver(&mut connection).unwrap_err().to_string();
            assert_eq!(error, format!("the subscriber answered {status}"));
        }
        assert_eq!(remote.connections(), 1);
    }

    #[test]
    fn an_answer_that_ends_with_its_connection_is_the_last_on_it() {
        let unframed = b"HTTP/1.1 200 OK\r\n\r\nbody".to_vec();
        let closing = Answer::status(200).header("Connection", "close");
        let remote = Remote::start_scripted([Answer::HalfAnswer(unframed), closing]);
        let mut connection = connection(&remote, &Arc::default(), SOON);
        for connections in 1..=3 {
            deliver(&mut connection).unwrap();
            assert_eq!(remote.connections(), connections);
        }
    }

    #[test]
    fn a_subscriber_has_its_time_and_no_more() {
        let remote = Remote::start_scripted([Answer::Hang]);
        let within = Duration::from_millis(50);
        let mut connection = connection(&remote, &Arc::default(), within);
        let error = deliver(&mut connection).unwrap_err();
        assert_eq!(error.to_string(), "the subscriber took more than 50ms");
        connection.within = SOON;
        deliver(&mut connection).unwrap();
        assert_eq!(remote.connections(), 2, "the late answer can not be taken for another");
    }

    #[test]
    fn each_delivery_on_a_connection_has_its_own_time() {
        let gate = Arc::new(Gate::default());
        let remote = Remote::start();
        let within = Duration::from_secs(1);
        remote.answer_with(move |_| Answer::ok().after(within / 20));
        let mut connection = connection(&remote, &gate, within);
        deliver(&mut connection).unwrap();
        assert!(gate.pause(within));
        deliver(&mut connection).unwrap();
        assert_eq!((remote.received().len(), remote.connections()), (2, 1));
    }

    #[test]
    fn time_spent_frozen_is_not_the_subscribers() {
        let gate = Arc::new(Gate::default());
        let remote = Remote::start();
        let (holding, within) = (Arc::clone(&gate), Duration::from_millis(300));
        remote.answer_with(move |_| {
            holding.hold();
            Answer::ok().after(within * 2)
        });
        let mut connection = connection(&remote, &gate, within);
        std::thread::scope(|scope| {
            let delivered = scope.spawn(|| deliver(&mut connection));
            remote.wait_for(1, SOON);
            assert!(gate.pause(within * 3));
            gate.release();
            delivered.join().unwrap().unwrap();
        });
        assert_eq!(remote.received().len(), 1);
    }

    #[test]
    fn a_closed_gate_ends_a_delivery_that_is_under_way() {
        let gate = Arc::new(Gate::default());
        let remote = Remote::start_scripted([Answer::Hang]);
        let mut connection = connection(&remote, &gate, SOON);
        std::thread::scope(|scope| {
            let delivered = scope.spawn(|| deliver(&mut connection));
            remote.wait_for(1, SOON);
            gate.close();
            let error = delivered.join().unwrap().unwrap_err().to_string();
            assert_eq!(error, "closed in the head", "not that it took too long");
        });
        assert_eq!(
            deliver(&mut connection).unwrap_err().to_string(),
            "the execution environment is gone"
        );
    }
}
