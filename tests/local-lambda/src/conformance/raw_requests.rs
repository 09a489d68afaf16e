//! Requests as raw bytes, which no proper client sends. Each has its own connection, and any answer is good.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::speech::Speech;

/// Time limit of a connection attempt. If the kernel's queue is full, the client's system repeats the attempt
/// after a second.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);

/// The client's next step after it has sent its bytes.
#[derive(Clone, Copy)]
pub enum Then {
    /// Reads an answer for a short while, and closes.
    Wait,
    Close,
    Reset,
}

impl Then {
    pub fn end(self, mut stream: TcpStream, patience: Duration) {
        match self {
            Self::Wait => {
                stream.set_read_timeout(Some(patience)).expect("a timeout above zero");
                // The server may answer anything or nothing.
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

/// A connection on which these bytes were sent. If the server ends it early, some are missing. `None` if the
/// server accepts no connection, or reads no more bytes for `patience`.
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

/// A proper report with these additional header lines.
pub fn report(speech: Speech, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    [head(speech, &format!("{headers}Content-Length: {length}\r\n")), body.as_bytes().to_vec()]
        .concat()
}

/// The head of a report with these additional header lines, each with its line end.
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
