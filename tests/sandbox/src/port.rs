//! Ports for extensions, which take a number and can't be told to listen on "any".

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the kernel's ephemeral range (Linux: from 32768), so that no outgoing connection and no
/// listener on port 0 can take a port between this call and its use.
const PORTS: Range<u16> = 20_000..32_000;

/// Spreads the starting points of processes started one after the other, as test runners do.
const STRIDE: u32 = 131;

/// A port that is free on 127.0.0.1 and on `[::1]`, and that this process never hands out twice.
///
/// # Panics
///
/// When every port of the range is taken.
#[must_use]
pub fn free_port() -> u16 {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let start = u16::try_from(process::id().wrapping_mul(STRIDE) % u32::from(count))
        .expect("a remainder of a u16 is a u16");
    loop {
        let offset = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        assert!(offset < count, "all ports of {PORTS:?} were tried");
        let port = PORTS.start + (start + offset) % count;
        if is_free(port) {
            return port;
        }
    }
}

fn is_free(port: u16) -> bool {
    let v4 = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let v6 = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    // A machine without IPv6 has nobody there who could hold the port.
    let v6_is_taken = v6.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    v4.is_ok() && !v6_is_taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: HashSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }

    #[test]
    fn a_port_taken_on_either_family_is_not_free() {
        let port = free_port();
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        assert!(!is_free(port), "taken on 127.0.0.1");
        drop(v4);
        if let Ok(_v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            assert!(!is_free(port), "taken on ::1");
        }
    }
}
