//! Asking a LAN who has an address, without claiming it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::MacAddr;

use crate::ethernet::{Frame, TYPE_ARP, TYPE_IPV6};
use crate::{arp, ndp};

/// The frame that asks everyone on the link who has the address (RFC 5227 §1.1, RFC 4862 §5.4.2); `mac` is this
/// host's.
pub fn question(address: IpAddr, mac: MacAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(target_ip) => arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: mac,
            sender_ip: Ipv4Addr::UNSPECIFIED,
            target_mac: MacAddr::ZERO,
            target_ip,
        }
        .frame(MacAddr::BROADCAST),
        IpAddr::V6(target) => {
            let group = ndp::solicited_node(target);
            let message = ndp::Message::Solicitation { target, source_link: None };
            ndp::Packet { source: Ipv6Addr::UNSPECIFIED, destination: group, message }
                .frame(mac, ndp::multicast_mac(group))
        }
    }
}

/// The address that the frame's sender says to have: that of the sender of an ARP packet, or of a neighbour advertisement.
pub fn claimed(frame: &[u8]) -> Option<IpAddr> {
    let frame = Frame::parse(frame).ok()?;
    match frame.ether_type {
        TYPE_ARP => {
            let sender = arp::Packet::parse(frame.payload).ok()?.sender_ip;
            (!sender.is_unspecified()).then_some(sender.into())
        }
        TYPE_IPV6 => match ndp::Packet::parse(frame.payload).ok()?.message {
            ndp::Message::Advertisement { target, .. } => Some(target.into()),
            ndp::Message::Solicitation { .. } => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_no_claim_and_an_announcement_is_one() {
        let (mac, other) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let v4 = Ipv4Addr::new(192, 0, 2, 7);
        let v6: Ipv6Addr = "2001:db8::7".parse().expect("an address");
        for address in [v4.into(), v6.into()] {
            assert_eq!(claimed(&question(address, mac)), None, "{address}");
        }
        let arp = arp::Packet::gratuitous(arp::Operation::Reply, v4, other).frame(MacAddr::BROADCAST);
        let ndp =
            ndp::Packet::advertisement(v6, other, None).frame(other, ndp::multicast_mac(ndp::ALL_NODES));
        assert_eq!([claimed(&arp), claimed(&ndp)], [Some(v4.into()), Some(v6.into())]);
        assert_eq!(claimed(arp.get(..30).expect("longer")), None);
    }
}
