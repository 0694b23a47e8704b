//! Asking a LAN for addresses, with a real host on it that answers for some.

#[path = "../../crates/sockets/tests/netns/mod.rs"]
mod netns;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::MacAddr;
use netns::{Lan, OWN, OWN_MAC};
use nix::net::if_::if_nametoindex;
use speaker::failover::probe;

/// No interface has this number.
const GONE: u32 = 4_000;

#[test]
fn of_many_addresses_those_that_a_host_has_are_found() {
    let _lan = Lan::new();
    let mac: MacAddr = OWN_MAC.parse().expect("a MAC address");
    let index = if_nametoindex(OWN).expect("the interface is there");
    let free = (0..500).flat_map(|i| {
        let v4 = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 51, 100, 0)) + 3 * i);
        [v4.into(), Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(i)).into()]
    });
    let theirs: BTreeSet<IpAddr> =
        ["192.0.2.9", "2001:db8::9"].iter().map(|text| text.parse().expect("an address")).collect();
    let asked = free.chain(theirs.iter().copied()).map(|address| (address, vec![(index, mac)])).collect();
    let elsewhere: IpAddr = "192.0.2.77".parse().expect("an address");
    netns::run(async {
        assert_eq!(probe(asked).await, theirs);
        let down = probe(vec![(elsewhere, vec![(GONE, mac)]), (elsewhere, Vec::new())]).await;
        assert_eq!(down, BTreeSet::new(), "where nothing can be asked nothing can be announced");
    });
}
