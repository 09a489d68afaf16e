//! What attackers throw: bytes on connections of their own, without regard to what comes back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::conformance::relay::ARRAYS;

/// Who is not answered within this time stops waiting.
const PATIENCE: Duration = Duration::from_millis(10);

/// How an attacker ends its connection.
#[derive(Clone, Copy)]
pub enum Then {
    /// After whatever comes back.
    Read,
    Close,
    Reset,
}

/// The bytes, so many times, each time on a new connection, one after the other.
pub fn volley(port: u16, times: usize, bytes: &[u8], then: Then) -> usize {
    (0..times).filter(|_| throw(port, bytes, then)).count()
}

/// Each of these in turn, so many times.
pub fn volleys(port: u16, times: usize, all: &[Vec<u8>], then: Then) -> usize {
    (0..times).map(|_| all.iter().filter(|bytes| throw(port, bytes, then)).count()).sum()
}

/// False if there was no connection.
fn throw(port: u16, bytes: &[u8], then: Then) -> bool {
    let Some(mut stream) = connect(port) else { return false };
    // The server may end it before it has all.
    let _ = stream.write_all(bytes);
    match then {
        Then::Read => {
            let _ = stream.read(&mut [0; 1024]);
        }
        Then::Close => {}
        Then::Reset => {
            let lingers = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            lingers.expect("an option of every TCP socket");
        }
    }
    true
}

/// A connection whose reads and writes don't last; `None` if there is none to be had.
pub fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// A proper report, with these header lines beside the usual ones.
pub fn report(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    [head(&format!("{headers}Content-Length: {length}\r\n")), body.as_bytes().to_vec()].concat()
}

/// The head of a report with these header lines; each ends with its line end.
pub fn head(headers: &str) -> Vec<u8> {
    let head = format!(
        "POST {ARRAYS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Authorization: ApiKey some-key\r\n{headers}\r\n"
    );
    head.into_bytes()
}
