//! Free ports for extensions, which need a number and cannot bind to any free port by themselves.

use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Mutex;

use socket2::{Domain, SockRef, Socket, Type};

/// Below the kernel's ephemeral range (Linux: from 32768). So no outgoing connection and no listener on port 0
/// can take a port between this call and its use.
const PORTS: Range<u16> = 20_000..32_000;

/// How many consecutive ports one claim covers.
const CLAIM_PORTS: u16 = 60;

/// A port that is free on 127.0.0.1 and on `[::1]`. No other process of this crate hands it out while this
/// process lives.
///
/// # Panics
///
/// When every port of the range is taken.
#[must_use]
pub fn free_port() -> u16 {
    static CLAIMS: Mutex<Claims> = Mutex::new(Claims { made: 0, left: 0..0, held: Vec::new() });
    let mut claims = CLAIMS.lock().expect("it panics only where no port is left");
    loop {
        let port = claims.next();
        if is_free(port) {
            return port;
        }
    }
}

/// Ports that only this process hands out.
struct Claims {
    /// How many claims this process has tried.
    made: u16,
    /// The unused ports of the last claim.
    left: Range<u16>,
    /// The sockets by which other processes see the claims, until this process ends.
    held: Vec<UnixDatagram>,
}

impl Claims {
    fn next(&mut self) -> u16 {
        const CLAIMS_MAX: u16 = (PORTS.end - PORTS.start) / CLAIM_PORTS;
        loop {
            if let Some(port) = self.left.next() {
                return port;
            }
            assert!(self.made < CLAIMS_MAX, "all ports of {PORTS:?} are claimed");
            // Processes that start one after the other begin with different claims, and so rarely collide.
            let first = u16::try_from(process::id() % u32::from(CLAIMS_MAX))
                .expect("a remainder of a u16 is a u16");
            let claim = (first + self.made) % CLAIMS_MAX;
            self.made += 1;
            if self.claim(claim) {
                let start = PORTS.start + claim * CLAIM_PORTS;
                self.left = start..start + CLAIM_PORTS;
            }
        }
    }

    /// Claims ports by binding a socket name. Only one process of a network can have it, and it leaves no file.
    /// If that fails for another reason, such as a shortage of descriptors, the ports are used without a claim.
    fn claim(&mut self, claim: u16) -> bool {
        let name = format!("local-lambda ports {claim}");
        let bound =
            SocketAddr::from_abstract_name(name).and_then(|it| UnixDatagram::bind_addr(&it));
        match bound {
            Ok(socket) => self.held.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return false,
            Err(_) => {}
        }
        true
    }
}

/// A port on which another listener answers nobody, on both addresses. Free when dropped.
pub struct TakenPort(Vec<TcpListener>);

impl TakenPort {
    /// Takes the addresses that are free. The machine may lack IPv6, or the port may be taken already.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self(addresses(port).into_iter().filter_map(|it| TcpListener::bind(it).ok()).collect())
    }
}

impl Drop for TakenPort {
    fn drop(&mut self) {
        for listener in &self.0 {
            // A process that was just forked also has the socket until it executes another file. Closing this
            // descriptor alone would leave the port taken until then.
            let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        }
    }
}

fn addresses(port: u16) -> [net::SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

fn is_free(port: u16) -> bool {
    let [v4, v6] = addresses(port).map(hold);
    // On a machine without IPv6, no process can have the port there.
    let v6_is_taken = v6.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    v4.is_ok() && !v6_is_taken
}

/// Binds without listening. This shows whether another socket listens there, and hinders no later listener.
///
/// # Errors
///
/// When a socket listens there, or the address does not exist.
pub fn hold(address: net::SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As in std, because earlier connections may still be closing.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::TcpStream;

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: HashSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }

    #[test]
    fn no_port_is_handed_out_that_another_process_has_claimed() {
        let claims = || Claims { made: 0, left: 0..0, held: Vec::new() };
        // Two values in one process behave as two processes do.
        let (mut ours, mut theirs) = (claims(), claims());
        let ours: HashSet<u16> = (0..2 * CLAIM_PORTS).map(|_| ours.next()).collect();
        assert!((0..2 * CLAIM_PORTS).all(|_| !ours.contains(&theirs.next())));
    }

    #[test]
    fn a_taken_port_is_free_at_once_although_another_process_has_its_sockets_too() {
        let port = free_port();
        let taken = TakenPort::new(port);
        let _others: Vec<_> = taken.0.iter().map(|it| it.try_clone().unwrap()).collect();
        assert!(!is_free(port));
        drop(taken);
        assert!(is_free(port));
        for address in addresses(port) {
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{address}");
        }
        TcpListener::bind(addresses(port)[0]).unwrap();
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
