//! Our packets against smoltcp's: what one builds the other must read as the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use l2::{arp, ndp};
use net::MacAddr;
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire;

fn ether(mac: MacAddr) -> wire::EthernetAddress {
    wire::EthernetAddress(mac.0)
}

/// A unicast address out of any bits.
fn unicast(bits: u128) -> Ipv6Addr {
    Ipv6Addr::from_bits((bits >> 8) | (0x20 << 120))
}

proptest! {
    #[test]
    fn arp_packets_agree(request: bool, sender_mac: [u8; 6], sender: u32, target_mac: [u8; 6], target: u32) {
        let packet = arp::Packet {
            operation: if request { arp::Operation::Request } else { arp::Operation::Reply },
            sender_mac: MacAddr(sender_mac),
            sender_ip: Ipv4Addr::from_bits(sender),
            target_mac: MacAddr(target_mac),
            target_ip: Ipv4Addr::from_bits(target),
        };
        let theirs = wire::ArpRepr::EthernetIpv4 {
            operation: if request { wire::ArpOperation::Request } else { wire::ArpOperation::Reply },
            source_hardware_addr: ether(packet.sender_mac),
            source_protocol_addr: packet.sender_ip,
            target_hardware_addr: ether(packet.target_mac),
            target_protocol_addr: packet.target_ip,
        };
        let ours = packet.build();
        let read = wire::ArpPacket::new_checked(ours.as_slice()).expect("whole");
        prop_assert_eq!(wire::ArpRepr::parse(&read).expect("valid"), theirs);
        let mut built = vec![0; theirs.buffer_len()];
        theirs.emit(&mut wire::ArpPacket::new_unchecked(built.as_mut_slice()));
        prop_assert_eq!(built, ours);
    }

    #[test]
    fn neighbor_messages_agree(
        solicits: bool, source: u128, destination: u128, target: u128, mac: [u8; 6], has_link: bool,
        router: bool, solicited: bool, overrides: bool
    ) {
        let (source, destination, target) = (unicast(source), unicast(destination), unicast(target));
        let link = has_link.then_some(MacAddr(mac));
        let raw = link.map(|mac| wire::RawHardwareAddress::from(ether(mac)));
        let (message, theirs) = if solicits {
            (
                ndp::Message::Solicitation { target, source_link: link },
                wire::NdiscRepr::NeighborSolicit { target_addr: target, lladdr: raw },
            )
        } else {
            let mut flags = wire::NdiscNeighborFlags::empty();
            flags.set(wire::NdiscNeighborFlags::ROUTER, router);
            flags.set(wire::NdiscNeighborFlags::SOLICITED, solicited);
            flags.set(wire::NdiscNeighborFlags::OVERRIDE, overrides);
            (
                ndp::Message::Advertisement { target, router, solicited, overrides, target_link: link },
                wire::NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr: raw },
            )
        };
        let packet = ndp::Packet { source, destination, message };
        let ours = packet.build();

        let ip = wire::Ipv6Packet::new_checked(ours.as_slice()).expect("whole");
        let header = wire::Ipv6Repr::parse(&ip).expect("valid");
        prop_assert_eq!((header.src_addr, header.dst_addr, header.hop_limit), (source, destination, 255));
        let icmp = wire::Icmpv6Packet::new_checked(ip.payload()).expect("whole");
        let read = wire::Icmpv6Repr::parse(&source, &destination, &icmp, &ChecksumCapabilities::default());
        let wire::Icmpv6Repr::Ndisc(read) = read.expect("valid, with a right checksum") else {
            panic!("not neighbor discovery")
        };
        prop_assert_eq!(read, theirs);

        let repr = wire::Icmpv6Repr::Ndisc(theirs);
        let header = wire::Ipv6Repr {
            src_addr: source,
            dst_addr: destination,
            next_header: wire::IpProtocol::Icmpv6,
            payload_len: repr.buffer_len(),
            hop_limit: 255,
        };
        let mut built = vec![0; 40 + repr.buffer_len()];
        let mut out = wire::Ipv6Packet::new_unchecked(built.as_mut_slice());
        header.emit(&mut out);
        let mut icmp = wire::Icmpv6Packet::new_unchecked(out.payload_mut());
        repr.emit(&source, &destination, &mut icmp, &ChecksumCapabilities::default());
        prop_assert_eq!(ndp::Packet::parse(&built), Ok(packet));
    }
}
