//! The look-up of a name, in the time there is.
//!
//! ureq looks names up before it looks for a kept connection, which needs none: a query and a thread
//! for each request. So ureq is told nothing ([`Later`]), and who makes a connection looks up.
//!
//! The system's own look-up has no limit, so it runs on a thread of its own, which outlives one that
//! was given up. ureq's does the same, and panics where there is no thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::threads;
use crate::url::port_of;

/// How long one may take, where there is as much time.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Of a name with more addresses these do as well.
const ADDRESSES_MAX: usize = 16;

/// Gives an address that nobody may connect to.
#[derive(Debug)]
pub struct Later;

impl Resolver for Later {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push((Ipv4Addr::UNSPECIFIED, port_of(uri)).into());
        Ok(addresses)
    }
}

/// The addresses of the host, at least one; `within` is what there is of time, if that has a limit.
pub fn look_up(uri: &Uri, within: Option<Duration>) -> Result<Vec<SocketAddr>, ureq::Error> {
    let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
    let name = format!("{host}:{}", port_of(uri));
    let mut found = match name.parse::<SocketAddr>() {
        Ok(address) => vec![address],
        Err(_) => match within {
            Some(left) => look_up_name(name, left.min(LOOKUP_TIMEOUT))?,
            None => name.to_socket_addrs()?.collect(),
        },
    };
    found.truncate(ADDRESSES_MAX);
    if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
}

fn look_up_name(name: String, within: Duration) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (found, is_found) = sync_channel(1);
    let look_up = move || {
        let addresses = name.to_socket_addrs().map(Iterator::collect);
        let _ = found.send(addresses); // nobody waits any more if it took too long
    };
    threads::start("look-up", threads::SHALLOW, Box::new(look_up))?;
    match is_found.recv_timeout(within) {
        Ok(addresses) => Ok(addresses?),
        Err(RecvTimeoutError::Timeout) => Err(ureq::Error::Timeout(Timeout::Resolve)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the look-up failed inside").into())
        }
    }
}
