//! The agents that report properly all the while: one on a connection that it keeps, one on a new
//! connection for each report.

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

/// Between two reports of one agent.
const EACH: Duration = Duration::from_millis(10);
/// After this an answer has not come.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);
/// Above what tiny servers read along with the head, and below what fills a buffer.
const FILLER: usize = 1_500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionUse {
    Keeps,
    Reconnects,
}

/// What an agent has seen.
#[derive(Default)]
pub struct Seen {
    /// The items that were accepted.
    pub accepted: Vec<String>,
    /// When each answer was waited for.
    pub waits: Vec<(Instant, Instant)>,
    /// Why the others were not.
    pub failures: Vec<String>,
}

impl Seen {
    /// The longest that an answer took, without the time in which the machine stood still.
    pub fn slowest(&self, standstills: &Standstills) -> Duration {
        let took = |(from, to): &(Instant, Instant)| {
            (*to - *from).saturating_sub(standstills.within(*from, *to))
        };
        self.waits.iter().map(took).max().unwrap_or_default()
    }
}

/// Reports until told to end.
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

/// What one request on a connection of its own is answered.
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
