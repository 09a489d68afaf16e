//! The requests of a telemetry agent inside the function. An [`Agent`] behaves as one family of agents by
//! Thundra or OpenTelemetry does. The functions below send single requests, also ones that no agent should
//! send.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

mod endpoint;
mod family;
mod profile;
mod invocation;
mod link;
mod reported;
mod reporter;
mod sockets;
mod stream;
mod wire;

pub use endpoint::{Endpoint, Localhost};
pub use family::Family;
pub use invocation::{Ending, Invocation};
pub(crate) use link::Link;
pub(crate) use profile::AfterTimeout;
pub use reported::{Attempt, Failure, Reported};
pub use reporter::Agent;
pub(crate) use sockets::Sockets;
pub(crate) use stream::Stream;

pub use crate::http::Response;
use crate::messages::Messages;

/// Time limit of an answer. It is longer than any agent waits. A server that takes longer hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Posts on a new connection, as the Python agent does.
///
/// # Panics
///
/// When there is no whole answer within 10 s.
#[must_use]
pub fn post(port: u16, path: &str, body: &[u8]) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAuthorization: ApiKey test-key\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    request(port, &[head.as_bytes(), body].concat())
}

/// Sends these bytes on a new connection and reads one response.
///
/// # Panics
///
/// When there is no whole answer within 10 s.
#[must_use]
pub fn request(port: u16, raw_bytes: &[u8]) -> Response {
    let mut connection = Connection::open(port);
    connection.send(raw_bytes);
    connection.response()
}

/// One connection to a local server, for tests in which the moment of each byte matters.
pub struct Connection {
    messages: Messages<TcpStream>,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Connection {
    #[must_use]
    pub fn open(port: u16) -> Self {
        Self::open_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    #[must_use]
    pub fn open_at(address: SocketAddr) -> Self {
        Self::try_open_at(address)
            .unwrap_or_else(|error| panic!("can't connect to {address}: {error}"))
    }

    /// # Errors
    ///
    /// When nobody listens at this port of 127.0.0.1.
    pub fn try_open(port: u16) -> io::Result<Self> {
        Self::try_open_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn try_open_at(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { messages: Messages::new(stream) })
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let sent = self.messages.stream().write_all(bytes);
        sent.unwrap_or_else(|error| panic!("can't send {} bytes: {error}", bytes.len()));
    }

    /// The next response. An interim response such as 100 counts too.
    #[must_use]
    pub fn response(&mut self) -> Response {
        self.set_read_timeout(ANSWER_WITHIN);
        self.messages
            .response()
            .unwrap_or_else(|error| panic!("no response within {ANSWER_WITHIN:?}: {error}"))
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    ///
    /// When the server has closed, or there is no whole response within 10 s.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        self.messages.stream().write_all(request)?;
        self.set_read_timeout(ANSWER_WITHIN);
        self.messages.response()
    }

    /// Closes the sending side. Responses can still be read.
    pub fn half_close(&mut self) {
        self.messages.stream().shutdown(Shutdown::Write).expect("an open connection");
    }

    /// Resets the connection, as a process that crashes may.
    pub fn reset(mut self) {
        let socket = SockRef::from(&*self.messages.stream());
        socket.set_linger(Some(Duration::ZERO)).expect("an option of every TCP socket");
    }

    /// Whether the server closes or resets the connection within this time. Bytes that it sends before are
    /// dropped.
    #[must_use]
    pub fn is_closed(&mut self, within: Duration) -> bool {
        self.set_read_timeout(within);
        loop {
            match self.messages.stream().read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    fn set_read_timeout(&mut self, timeout: Duration) {
        let stream = self.messages.stream();
        stream.set_read_timeout(Some(timeout)).expect("a timeout above zero");
    }
}
