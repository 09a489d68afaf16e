//! Requests that no proper client sends: bytes on a connection of their own, whatever comes
//! back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::speech::Speech;

/// Where the kernel's queue is full, it asks again after a second.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);

/// What the client does once it has sent its bytes.
#[derive(Clone, Copy)]
pub enum Then {
    /// Reads what is answered, for a short while, and closes.
    Wait,
    Close,
    Reset,
}

impl Then {
    pub fn end(self, mut stream: TcpStream, patience: Duration) {
        match self {
            Self::Wait => {
                stream.set_read_timeout(Some(patience)).expect("a timeout above zero");
                // Whatever comes, or does not, is the server's choice.
                let _ = stream.read(&mut [0; 1024]);
            }
            Self::Close => {}
            Self::Reset => {
                let lingers = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                lingers.expect("an option of every TCP socket");
            }
        }
    }
}

/// A connection on which these bytes were sent, or as many of them as the server let come before it
/// ended it; `None` if it takes no connection, or no more bytes for this long.
pub fn send_raw(port: u16, bytes: &[u8], patience: Duration) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, CONNECTED_WITHIN).ok()?;
    stream.set_write_timeout(Some(patience)).ok()?;
    stream.set_nodelay(true).ok()?;
    match stream.write_all(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        _ => Some(stream),
    }
}

/// A proper report, with these header lines beside the usual ones.
pub fn report(speech: Speech, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    [head(speech, &format!("{headers}Content-Length: {length}\r\n")), body.as_bytes().to_vec()]
        .concat()
}

/// The head of a report with these header lines; each ends with its line end.
pub fn head(speech: Speech, headers: &str) -> Vec<u8> {
    let path = speech.path();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Authorization: ApiKey some-key\r\n{headers}\r\n"
    );
    head.into_bytes()
}

pub fn chunked(speech: Speech, body: &str) -> Vec<u8> {
    [&head(speech, "Transfer-Encoding: chunked\r\n")[..], body.as_bytes()].concat()
}
