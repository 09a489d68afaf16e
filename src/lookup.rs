//! The look-up of a name, in the time there is.
//!
//! The system's own has no limit, so it runs on a thread of its own, which outlives a look-up that
//! was given up. ureq's does the same, and panics where there is no thread.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::base_url::port_of;
use crate::threads;

/// What ureq has room for; a name with more has others that do as well.
const ADDRESSES_MAX: usize = 16;

#[derive(Debug)]
pub struct Lookup;

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let name = format!("{host}:{}", port_of(uri));
        let found = match name.parse::<SocketAddr>() {
            Ok(address) => vec![address],
            Err(_) if timeout.after.is_not_happening() => name.to_socket_addrs()?.collect(),
            Err(_) => within(name, timeout)?,
        };
        let mut addresses = self.empty();
        found.into_iter().take(ADDRESSES_MAX).for_each(|it| addresses.push(it));
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

fn within(name: String, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (found, is_found) = sync_channel(1);
    let look_up = move || {
        let addresses = name.to_socket_addrs().map(Iterator::collect);
        let _ = found.send(addresses); // nobody waits any more if it took too long
    };
    threads::start("look-up", threads::SHALLOW, Box::new(look_up))?;
    match is_found.recv_timeout(*timeout.after) {
        Ok(addresses) => Ok(addresses?),
        Err(RecvTimeoutError::Timeout) => Err(ureq::Error::Timeout(timeout.reason)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the look-up failed inside").into())
        }
    }
}
