//! A DNS server over UDP that follows the test's script.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::support::fixture::{pass, spawn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    A,
    Aaaa,
}

#[derive(Clone, Debug)]
pub enum Reply {
    /// These addresses, if they are of the requested family. The list may be empty.
    Addresses(Vec<IpAddr>),
    /// A failure with one of the codes below.
    Failure(u8),
    Nothing,
    After(Duration, Box<Reply>),
}

pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;
pub const NOTIMP: u8 = 4;
pub const REFUSED: u8 = 5;

impl Reply {
    pub fn address(address: &str) -> Self {
        Self::Addresses(vec![address.parse().unwrap()])
    }

    pub fn after(self, time: Duration) -> Self {
        Self::After(time, Box::new(self))
    }
}

/// Serves 127.0.0.1, port 53, until the process ends. For use in namespaces. `script` gets the name, without a
/// dot at its end.
pub fn serve(script: impl Fn(&str, Question) -> Reply + Send + 'static) {
    let socket = Arc::new(UdpSocket::bind(("127.0.0.1", 53)).unwrap());
    spawn(move || {
        let mut buffer = [0; 512];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).unwrap();
            let Some((name, question, end)) = parse(&buffer[..length]) else { continue };
            reply(&socket, client, &buffer[..end], &script(&name, question));
        }
    });
}

/// The name and kind of the question, and the position of its end.
fn parse(query: &[u8]) -> Option<(String, Question, usize)> {
    const HEAD: usize = 12;
    let (mut labels, mut at) = (Vec::new(), HEAD);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    let question = match query.get(at..at + 2)? {
        [0, 1] => Question::A,
        [0, 28] => Question::Aaaa,
        _ => return None,
    };
    Some((labels.join("."), question, at + 4))
}

fn reply(socket: &Arc<UdpSocket>, client: SocketAddr, query: &[u8], reply: &Reply) {
    let (code, addresses) = match reply {
        Reply::Addresses(addresses) => (0, addresses.as_slice()),
        Reply::Failure(code) => (*code, &[][..]),
        Reply::Nothing => return,
        Reply::After(time, later) => {
            let (socket, query) = (Arc::clone(socket), query.to_vec());
            let (time, later) = (*time, later.clone());
            return spawn(move || {
                pass(time);
                self::reply(&socket, client, &query, &later);
            });
        }
    };
    let count = u8::try_from(addresses.len()).unwrap();
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code]); // an answer, with recursion
    answer.extend([0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&query[12..]);
    for address in addresses {
        let (kind, bytes) = match address {
            IpAddr::V4(it) => (1, it.octets().to_vec()),
            IpAddr::V6(it) => (28, it.octets().to_vec()),
        };
        answer.extend([0xc0, 12, 0, kind, 0, 1]); // the name of the question, class IN
        answer.extend([0; 5]); // TTL 0, so that no client caches it, and the high byte of the length
        answer.push(u8::try_from(bytes.len()).unwrap());
        answer.extend(bytes);
    }
    let _ = socket.send_to(&answer, client);
}
