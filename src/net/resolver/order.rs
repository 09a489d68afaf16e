//! Orders the addresses of a name after RFC 6724. They come from two separate answers, one for each family.
//!
//! The C library sorts the addresses within one answer. Between the families, the route decides. An address
//! without a route is tried only if no address has one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Any port works, because connecting a UDP socket sends nothing.
const PROBE_PORT: u16 = 65_535;

/// The rank of an address, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// IPv6, reached from an address of the same scope.
    Ipv6,
    Ipv4,
    /// IPv6 of a private network, or reached from an address of another scope.
    OtherIpv6,
    NoRoute,
}

/// An address with its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub rank: Rank,
    pub address: IpAddr,
}

impl Candidate {
    /// Ranks an address by the kernel's route to it. Nothing is sent.
    pub fn of(address: IpAddr) -> Self {
        Self { rank: rank(address, source_of(address)), address }
    }

    pub fn has_route(&self) -> bool {
        self.rank != Rank::NoRoute
    }
}

/// The address from which this machine would send. `None` without a route.
fn source_of(address: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0)).ok()?;
    probe.connect((address, PROBE_PORT)).ok()?;
    Some(probe.local_addr().ok()?.ip())
}

fn rank(address: IpAddr, source: Option<IpAddr>) -> Rank {
    match (address, source) {
        (_, None) => Rank::NoRoute,
        (IpAddr::V6(to), Some(IpAddr::V6(from))) if scope(to) == scope(from) && !is_private(to) => {
            Rank::Ipv6
        }
        (IpAddr::V6(_), _) => Rank::OtherIpv6,
        (IpAddr::V4(_), _) => Rank::Ipv4,
    }
}

/// The scope of an address. A private address counts as a scope of its own, because like a link-local one it
/// cannot reach the internet.
fn scope(address: Ipv6Addr) -> (bool, bool, bool) {
    (address.is_loopback(), address.is_unicast_link_local(), is_private(address))
}

fn is_private(address: Ipv6Addr) -> bool {
    address.is_unique_local()
}

/// Sorts the addresses: the best first, then the families in turn. So a family that does not work delays the
/// other one by one attempt only. Addresses without a route are removed if any address has one.
pub fn in_order(mut candidates: Vec<Candidate>) -> Vec<IpAddr> {
    if candidates.iter().any(Candidate::has_route) {
        candidates.retain(Candidate::has_route);
    }
    let mut ordered: Vec<IpAddr> = Vec::new();
    loop {
        let before = ordered.last().map(IpAddr::is_ipv6);
        let merit = |it: &Candidate| (Some(it.address.is_ipv6()) == before, it.rank);
        let next = candidates.iter().enumerate().min_by_key(|(_, it)| merit(it));
        let Some((index, _)) = next else { return ordered };
        ordered.push(candidates.remove(index).address);
    }
}

/// Moves this address to the front, if the list contains it.
pub fn put_first(addresses: &mut [IpAddr], first: IpAddr) {
    if let Some(index) = addresses.iter().position(|it| *it == first) {
        addresses[..=index].rotate_right(1);
    }
}

/// Moves this address to the end, if the list contains it.
pub fn put_last(addresses: &mut [IpAddr], last: IpAddr) {
    if let Some(index) = addresses.iter().position(|it| *it == last) {
        addresses[index..].rotate_left(1);
    }
}

#[cfg(test)]
mod tests {
    use super::Rank::{Ipv4, Ipv6, NoRoute, OtherIpv6};
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_route_and_its_scope_rank_an_address() {
        for (address, source, expected) in [
            ("192.0.2.1", "10.0.0.1", Rank::Ipv4),
            ("127.0.0.1", "127.0.0.1", Rank::Ipv4),
            ("2001:db8::1", "2001:db8::2", Rank::Ipv6),
            ("::1", "::1", Rank::Ipv6),
            ("2001:db8::1", "fd00::2", Rank::OtherIpv6),
            ("2001:db8::1", "fe80::2", Rank::OtherIpv6),
            ("2001:db8::1", "::1", Rank::OtherIpv6),
            ("fd00::1", "fd00::2", Rank::OtherIpv6),
            ("fd00::1", "2001:db8::2", Rank::OtherIpv6),
        ] {
            assert_eq!(rank(ip(address), Some(ip(source))), expected, "{address} from {source}");
            assert_eq!(rank(ip(address), None), Rank::NoRoute);
        }
    }

    #[test]
    fn this_machine_has_a_route_to_itself() {
        assert_eq!(Candidate::of(ip("127.0.0.1")).rank, Rank::Ipv4);
    }

    #[test]
    fn a_listed_address_moves_to_the_front_or_the_end() {
        let mut addresses: Vec<IpAddr> = ["::1", "::2", "::3"].map(ip).to_vec();
        put_first(&mut addresses, ip("::3"));
        put_first(&mut addresses, ip("::4"));
        assert_eq!(addresses, ["::3", "::1", "::2"].map(ip));
        put_last(&mut addresses, ip("::3"));
        put_last(&mut addresses, ip("::4"));
        assert_eq!(addresses, ["::1", "::2", "::3"].map(ip));
    }

    #[test]
    fn families_alternate_and_addresses_without_a_route_are_the_last_resort() {
        let order = |ranked: &[(Rank, &str)]| {
            let candidate =
                |(rank, address): &(Rank, &str)| Candidate { rank: *rank, address: ip(address) };
            in_order(ranked.iter().map(candidate).collect())
        };
        for (ranked, expected) in [
            (vec![], vec![]),
            (vec![(Ipv4, "192.0.2.1"), (Ipv6, "::2")], vec!["::2", "192.0.2.1"]),
            (vec![(OtherIpv6, "::2"), (Ipv4, "192.0.2.1")], vec!["192.0.2.1", "::2"]),
            (vec![(NoRoute, "::2"), (Ipv4, "192.0.2.1")], vec!["192.0.2.1"]),
            (vec![(NoRoute, "::2"), (NoRoute, "::3")], vec!["::2", "::3"]),
            (
                vec![
                    (Ipv4, "192.0.2.1"),
                    (Ipv4, "192.0.2.2"),
                    (Ipv6, "::2"),
                    (Ipv6, "::3"),
                    (Ipv6, "::4"),
                ],
                vec!["::2", "192.0.2.1", "::3", "192.0.2.2", "::4"],
            ),
        ] {
            let expected: Vec<IpAddr> = expected.into_iter().map(ip).collect();
            assert_eq!(order(&ranked), expected, "{ranked:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_address_with_a_route_is_lost_or_doubled(ranks in prop::collection::vec(0_u8..4, 0..12)) {
            let candidates: Vec<Candidate> = ranks.iter().enumerate().map(|(n, rank)| {
                let n = u16::try_from(n).unwrap();
                let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
                let [high, low] = n.to_be_bytes();
                let v4 = IpAddr::from(Ipv4Addr::new(192, 0, high, low));
                match rank {
                    0 => Candidate { rank: Rank::Ipv6, address: v6 },
                    1 => Candidate { rank: Rank::Ipv4, address: v4 },
                    2 => Candidate { rank: Rank::OtherIpv6, address: v6 },
                    _ => Candidate { rank: Rank::NoRoute, address: v6 },
                }
            }).collect();
            let has_route = candidates.iter().any(Candidate::has_route);
            let mut expected: Vec<IpAddr> =
                candidates.iter().filter(|it| !has_route || it.has_route()).map(|it| it.address).collect();
            let mut ordered = in_order(candidates);
            expected.sort();
            ordered.sort();
            prop_assert_eq!(ordered, expected);
        }
    }
}
