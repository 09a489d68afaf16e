//! The healthy agents that report during an attack. One keeps its connection, the other opens a new one for
//! each report.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::conformance::Speech;
use crate::conformance::fixture::pass;
use crate::conformance::raw_requests::report;
use crate::http::Response;
use crate::messages::Messages;
use crate::standstill::Standstills;

/// The pause between two reports of one agent.
const EACH: Duration = Duration::from_millis(10);
/// Time limit of an answer.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);
/// Bytes that make a report longer than the part of a body that small servers read with the head, but too short
/// to fill a buffer.
const FILLER: usize = 1_500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionUse {
    Keeps,
    Reconnects,
}

/// The observations of an agent.
#[derive(Default)]
pub struct Seen {
    /// The items that were accepted.
    pub accepted: Vec<String>,
    /// The start and end of each wait for an answer.
    pub waits: Vec<(Instant, Instant)>,
    /// The reasons why the other items were not accepted.
    pub failures: Vec<String>,
}

impl Seen {
    /// The longest wait for an answer, without the time in which the machine stood still.
    pub fn slowest(&self, standstills: &Standstills) -> Duration {
        let took = |(from, to): &(Instant, Instant)| {
            (*to - *from).saturating_sub(standstills.within(*from, *to))
        };
        self.waits.iter().map(took).max().unwrap_or_default()
    }
}

/// Reports until `is_over` is set.
pub fn report_until(
    is_over: &AtomicBool,
    port: u16,
    speech: Speech,
    connection_use: ConnectionUse,
) -> Seen {
    let (mut seen, mut connection) = (Seen::default(), None);
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        pass(due.saturating_duration_since(Instant::now()));
        due = Instant::now() + EACH;
        let told = format!(
            r#"{{"agent":"{connection_use:?}","report":{},"filler":"{}"}}"#,
            seen.waits.len(),
            "x".repeat(FILLER)
        );
        let (body, item) = speech.report(&told);
        let from = Instant::now();
        let answered = exchange(&mut connection, port, &report(speech, "", &body));
        seen.waits.push((from, Instant::now()));
        match answered {
            Ok(Response { status: 200, .. }) => seen.accepted.push(item),
            Ok(Response { status, .. }) => seen.failures.push(format!("answered {status}")),
            Err(error) => {
                seen.failures.push(error.to_string());
                connection = None;
            }
        }
        if connection_use == ConnectionUse::Reconnects {
            connection = None;
        }
    }
    seen
}

/// The status of the answer to one request on a new connection.
pub fn status(port: u16, request: &[u8]) -> io::Result<u16> {
    exchange(&mut None, port, request).map(|answer| answer.status)
}

fn exchange(
    connection: &mut Option<Messages<TcpStream>>,
    port: u16,
    request: &[u8],
) -> io::Result<Response> {
    use io::Write;
    let messages = match connection {
        Some(open) => open,
        None => connection.insert(Messages::new(connect(port)?)),
    };
    messages.stream().write_all(request)?;
    messages.response()
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, GIVEN_UP_AFTER)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GIVEN_UP_AFTER))?;
    stream.set_write_timeout(Some(GIVEN_UP_AFTER))?;
    Ok(stream)
}
