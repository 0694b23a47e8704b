//! The addresses of this host around a connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// The addresses of the interface that has the local address of a connection. Those of the host itself (127.0.0.1, ::1)
/// are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NearbyAddresses {
    /// An IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// An IPv6 address that is not only for the link.
    pub v6: Option<Ipv6Addr>,
    /// The IPv6 link-local address, where `peer` is on the link.
    pub link_local: Option<Ipv6Addr>,
}

/// One address of an interface.
#[derive(Clone, Debug)]
struct Entry {
    interface: String,
    address: IpAddr,
    mask: IpAddr,
}

/// The address of this host from which `peer` is reached, as its routes are now. Nothing is sent. Fails where there is no
/// route.
pub fn source_towards(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // The port is of no account: a connected socket of UDP has its addresses chosen and says nothing.
    socket.connect((peer, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// Looks at the interface that has the address `local`, from which `peer` is reached.
pub fn nearby_addresses(local: IpAddr, peer: IpAddr) -> io::Result<NearbyAddresses> {
    let entries: Vec<Entry> = getifaddrs()?
        .filter_map(|found| {
            let address = ip(found.address.as_ref()?)?;
            Some(Entry { interface: found.interface_name, address, mask: ip(found.netmask.as_ref()?)? })
        })
        .collect();
    Ok(choose(&entries, local, peer))
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn choose(entries: &[Entry], local: IpAddr, peer: IpAddr) -> NearbyAddresses {
    let Some(own) = entries.iter().find(|entry| entry.address == local) else {
        return NearbyAddresses::default();
    };
    let here =
        || entries.iter().filter(|entry| entry.interface == own.interface && !entry.address.is_loopback());
    // The address that is used itself comes first.
    let addresses = || {
        std::iter::once(own).filter(|own| !own.address.is_loopback()).chain(here()).map(|entry| entry.address)
    };
    let v6 = || addresses().filter_map(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None });
    let on_link = here().any(|entry| same_network(entry.address, peer, entry.mask));
    NearbyAddresses {
        v4: addresses().find_map(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None }),
        v6: v6().find(|v6| !v6.is_unicast_link_local()),
        link_local: v6().find(|v6| on_link && v6.is_unicast_link_local()),
    }
}

/// Whether both addresses are in one network of this mask.
fn same_network(one: IpAddr, other: IpAddr, mask: IpAddr) -> bool {
    match (one, other, mask) {
        (IpAddr::V4(one), IpAddr::V4(other), IpAddr::V4(mask)) => {
            (one.to_bits() ^ other.to_bits()) & mask.to_bits() == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other), IpAddr::V6(mask)) => {
            (one.to_bits() ^ other.to_bits()) & mask.to_bits() == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(interface: &str, address: &str, mask: &str) -> Entry {
        let parse = |text: &str| text.parse().expect("an address");
        Entry { interface: interface.to_owned(), address: parse(address), mask: parse(mask) }
    }

    #[test]
    fn next_hops_are_of_the_interface_of_the_connection() {
        let (v4_mask, v6_mask) = ("255.255.255.0", "ffff:ffff:ffff:ffff::");
        let entries = [
            entry("lo", "127.0.0.1", "255.0.0.0"),
            entry("lo", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            entry("lo", "203.0.113.7", "255.255.255.255"),
            entry("eth0", "192.0.2.10", v4_mask),
            entry("eth0", "192.0.2.11", v4_mask),
            entry("eth0", "fe80::1", v6_mask),
            entry("eth0", "2001:db8::10", v6_mask),
            entry("eth0", "2001:db8::11", v6_mask),
            entry("eth1", "198.51.100.1", v4_mask),
        ];
        for (local, peer, expected) in [
            ("192.0.2.11", "192.0.2.254", (Some("192.0.2.11"), Some("2001:db8::10"), Some("fe80::1"))),
            ("192.0.2.10", "203.0.113.1", (Some("192.0.2.10"), Some("2001:db8::10"), None)),
            ("2001:db8::11", "2001:db8::fe", (Some("192.0.2.10"), Some("2001:db8::11"), Some("fe80::1"))),
            ("198.51.100.1", "198.51.100.254", (Some("198.51.100.1"), None, None)),
            ("203.0.113.7", "192.0.2.254", (Some("203.0.113.7"), None, None)),
            ("127.0.0.1", "127.0.0.2", (Some("203.0.113.7"), None, None)),
            ("192.0.2.99", "192.0.2.254", (None, None, None)),
        ] {
            let found =
                choose(&entries, local.parse().expect("an address"), peer.parse().expect("an address"));
            let (v4, v6, link_local) = expected;
            assert_eq!(found.v4, v4.map(|a: &str| a.parse().expect("v4")), "{local}");
            assert_eq!(found.v6, v6.map(|a: &str| a.parse().expect("v6")), "{local}");
            assert_eq!(found.link_local, link_local.map(|a: &str| a.parse().expect("v6")), "{local}");
        }
    }
}
