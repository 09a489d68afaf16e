//! Reads the kernel's table of TCP connections, `/proc/net/tcp` (proc(5)). The table shows whether the peer's
//! system has acknowledged all bytes, and which clients are connected to a port.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Time limit of a search in the table, in the shutdown phase. It is enough for 100,000 rows, most of them of
/// closed connections. A connection further down is not found.
const READ_MAX: Duration = Duration::from_millis(300);

/// Whether this connection has unacknowledged bytes. `None` if the search does not find the connection.
///
/// # Errors
/// The system has no such table.
pub fn is_queued(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<bool>> {
    find(table_for(local)?, local, remote, Instant::now() + READ_MAX)
}

/// The clients of this local port that may still send a request. Their addresses have the table's format.
///
/// # Errors
/// The system has no such table, or the process has no free descriptor to read it.
pub fn clients_of(local: SocketAddr) -> io::Result<Vec<Vec<u8>>> {
    clients_in(table_for(local)?, local.port())
}

fn table_for(local: SocketAddr) -> io::Result<BufReader<File>> {
    let table = if local.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    File::open(table).map(BufReader::new)
}

fn clients_in(mut table: impl BufRead, port: u16) -> io::Result<Vec<Vec<u8>>> {
    /// The states `ESTABLISHED` and `CLOSE_WAIT`.
    const MAY_SEND: [&[u8]; 2] = [b"01", b"08"];
    let (mut name, mut row, mut clients) = (vec![b':'], Vec::new(), Vec::new());
    add_hex(&mut name, &port.to_be_bytes());
    while table.read_until(b'\n', &mut row)? > 0 {
        let mut fields = addresses_in(&row).splitn(3, |byte| *byte == b' ');
        let mut next = || fields.next().unwrap_or_default();
        let (local, remote, rest) = (next(), next(), next());
        if local.ends_with(&name) && MAY_SEND.iter().any(|state| rest.starts_with(state)) {
            clients.push(remote.to_owned());
        }
        row.clear();
    }
    Ok(clients)
}

/// The row without the number at its start.
fn addresses_in(row: &[u8]) -> &[u8] {
    let number = row.iter().position(|it| *it == b':').unwrap_or_default();
    row.get(number + 2..).unwrap_or_default()
}

fn find(
    mut table: impl BufRead,
    local: SocketAddr,
    remote: SocketAddr,
    until: Instant,
) -> io::Result<Option<bool>> {
    /// The bytes before the queue's length: the connection's state, two digits and a space.
    const STATE: usize = 3;
    const EMPTY: &[u8] = b"00000000";
    let (mut names, mut row) = (Vec::new(), Vec::new());
    for address in [local, remote] {
        add_name(&mut names, address);
    }
    while Instant::now() < until && table.read_until(b'\n', &mut row)? > 0 {
        if let Some(rest) = addresses_in(&row).strip_prefix(names.as_slice()) {
            return Ok(rest.get(STATE..STATE + EMPTY.len()).map(|it| it != EMPTY));
        }
        row.clear();
    }
    Ok(None)
}

/// Adds an address in the table's format: 32-bit words in the machine's byte order.
fn add_name(row: &mut Vec<u8>, address: SocketAddr) {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    for word in octets.chunks_exact(4) {
        let word = u32::from_ne_bytes(word.try_into().expect("a chunk has four bytes"));
        add_hex(row, &word.to_be_bytes());
    }
    row.push(b':');
    add_hex(row, &address.port().to_be_bytes());
    row.push(b' ');
}

fn add_hex(row: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        row.extend([byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_to_the_port_that_may_still_send_are_clients() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n   \
                     0: 0100007F:0D05 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n   \
                     1: 0100007F:0D05 0100007F:1F90 01 00000000:00000000 00:00000000 00000000\n   \
                     2: 0100007F:1F90 0100007F:0D05 01 00000000:00000000 00:00000000 00000000\n   \
                     3: 0100007F:0D05 0100007F:1F91 08 00000000:00000000 00:00000000 00000000\n   \
                     4: 0100007F:0D05 0100007F:1F92 06 00000000:00000000 00:00000000 00000000\n";
        let clients = clients_in(table.as_bytes(), 3333).unwrap();
        assert_eq!(clients, [b"0100007F:1F90", b"0100007F:1F91"]);
        assert_eq!(clients_in(&b"\n x \n"[..], 3333).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_search_finds_whether_a_connection_has_unacknowledged_bytes() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n   \
                     0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n   \
                     1: 0100007F:1F90 0200007F:01BB 01 0000002A:00000007 01:00000014 00000000\n   \
                     2: 0100007F:1F91 0200007F:01BB 01 00000000:00000007 01:00000014 00000000\n";
        // The table comes from a little-endian machine. All of Lambda's machines are.
        assert_eq!(u32::from_ne_bytes([1, 0, 0, 0]), 1);
        let now = Instant::now();
        let remote = "127.0.0.2:443".parse().unwrap();
        for (local, queued) in [(8080, Some(true)), (8081, Some(false)), (8082, None)] {
            let local = SocketAddr::new([127, 0, 0, 1].into(), local);
            let found = |until| find(table.as_bytes(), local, remote, until).unwrap();
            assert_eq!(found(now + READ_MAX), queued, "{local}");
            assert_eq!(found(now), None, "no time is left");
        }
        let mut v6 = Vec::new();
        add_name(&mut v6, "[2001:db8::1]:443".parse().unwrap());
        assert_eq!(v6, b"B80D0120000000000000000001000000:01BB ");
    }
}
