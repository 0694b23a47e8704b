//! Neighbor Discovery for IPv6: solicitations and advertisements (RFC 4861 §4.3, §4.4, §7).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |  type 135/136 |    code (0)   |           checksum            |
//! +-+-+-+---------+---------------+-------------------------------+
//! |R|S|O|            reserved (flags only in type 136)            |
//! +-+-+-+---------------------------------------------------------+
//! |                     target address (16)                       |
//! +---------------------------------------------------------------+
//! |  options: type, length in units of 8 bytes, value ...         |
//! +---------------------------------------------------------------+
//! ```
//!
//! What is read and built here is the whole IPv6 packet, since its header decides whether the message is
//! genuine (hop limit 255: it came from this link) and takes part in the checksum.

use std::net::Ipv6Addr;

use net::MacAddr;
use thiserror::Error;

use crate::ethernet::{Frame, TYPE_IPV6};

/// The group of every node on the link, `ff02::1`.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const IPV6_HEADER_LEN: usize = 40;
const IPV6_VERSION: u8 = 6;
const NEXT_HEADER_ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 255;
const TYPE_SOLICITATION: u8 = 135;
const TYPE_ADVERTISEMENT: u8 = 136;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;
/// Options are counted in units of this many bytes.
const OPTION_UNIT: usize = 8;

/// A neighbor message with the addresses of the IPv6 packet that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it; `::` where a host asks whether the target is free for itself (RFC 4862 §5.4.2).
    pub source: Ipv6Addr,
    /// A node, a solicited-node group, or all nodes.
    pub destination: Ipv6Addr,
    /// What it says.
    pub message: Message,
}

/// What a neighbor message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// "Who has the target address?"
    Solicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asker's link-layer address, where it says it.
        source_link: Option<MacAddr>,
    },
    /// "The target address is here."
    Advertisement {
        /// The address spoken of.
        target: Ipv6Addr,
        /// R: the sender is a router.
        router: bool,
        /// S: this answers a solicitation.
        solicited: bool,
        /// O: a cached link-layer address is to be replaced.
        overrides: bool,
        /// Where the target is, where it says it.
        target_link: Option<MacAddr>,
    },
}

/// Why bytes are no valid neighbor message (the checks of RFC 4861 §7.1.1 and §7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The packet ends before its headers do, or before the length that they state.
    #[error("IPv6 packet is truncated at {0} bytes")]
    Truncated(usize),
    /// The version field is not 6.
    #[error("IP version {0} is not 6")]
    Version(u8),
    /// The header is not followed directly by ICMPv6.
    #[error("IPv6 next header {0} is not ICMPv6")]
    NextHeader(u8),
    /// A type other than solicitation and advertisement.
    #[error("ICMPv6 type {0} is neither a neighbor solicitation nor an advertisement")]
    Type(u8),
    /// The packet has crossed a router, so it cannot come from a neighbor.
    #[error("hop limit {0} is not 255: the packet does not come from this link")]
    HopLimit(u8),
    /// The checksum does not fit the bytes.
    #[error("wrong ICMPv6 checksum")]
    Checksum,
    /// The code is not zero.
    #[error("ICMPv6 code {0} is not 0")]
    Code(u8),
    /// A multicast address cannot be a target.
    #[error("target {0} is a multicast address")]
    MulticastTarget(Ipv6Addr),
    /// An option of length 0, or longer than the packet.
    #[error("malformed neighbor discovery option")]
    Option,
    /// From `::`, but not to a solicited-node group or with a source link-layer address.
    #[error("solicitation from :: is not one for duplicate address detection")]
    UnspecifiedSource,
    /// An answer to a solicitation cannot go to a group.
    #[error("solicited advertisement was sent to a group")]
    SolicitedToGroup,
}

impl Packet {
    /// Reads an IPv6 packet, the payload of a frame of type IPv6; bytes beyond its length are padding.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let truncated = || ParseError::Truncated(bytes.len());
        let (head, rest) = bytes.split_first_chunk::<IPV6_HEADER_LEN>().ok_or_else(truncated)?;
        let [first, _, _, _, length_high, length_low, next_header, hop_limit, addresses @ ..] = *head;
        let (source, destination) = addresses.split_first_chunk::<16>().ok_or_else(truncated)?;
        let (destination, _) = destination.split_first_chunk::<16>().ok_or_else(truncated)?;
        let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
        if first >> 4 != IPV6_VERSION {
            return Err(ParseError::Version(first >> 4));
        }
        if next_header != NEXT_HEADER_ICMPV6 {
            return Err(ParseError::NextHeader(next_header));
        }
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let icmp = rest.get(..length).ok_or_else(truncated)?;
        let (fixed, body) = icmp.split_first_chunk::<8>().ok_or_else(truncated)?;
        let [kind, code, _, _, flags, _, _, _] = *fixed;
        if kind != TYPE_SOLICITATION && kind != TYPE_ADVERTISEMENT {
            return Err(ParseError::Type(kind));
        }
        if hop_limit != HOP_LIMIT {
            return Err(ParseError::HopLimit(hop_limit));
        }
        if checksum(source, destination, icmp) != 0 {
            return Err(ParseError::Checksum);
        }
        if code != 0 {
            return Err(ParseError::Code(code));
        }
        let (target, options) = body.split_first_chunk::<16>().ok_or_else(truncated)?;
        let target = Ipv6Addr::from(*target);
        if target.is_multicast() {
            return Err(ParseError::MulticastTarget(target));
        }
        let message = if kind == TYPE_SOLICITATION {
            let source_link = link_option(options, OPTION_SOURCE_LINK)?;
            if source.is_unspecified() && (!is_solicited_node(destination) || source_link.is_some()) {
                return Err(ParseError::UnspecifiedSource);
            }
            Message::Solicitation { target, source_link }
        } else {
            let solicited = flags & FLAG_SOLICITED != 0;
            if solicited && destination.is_multicast() {
                return Err(ParseError::SolicitedToGroup);
            }
            Message::Advertisement {
                target,
                router: flags & FLAG_ROUTER != 0,
                solicited,
                overrides: flags & FLAG_OVERRIDE != 0,
                target_link: link_option(options, OPTION_TARGET_LINK)?,
            }
        };
        Ok(Self { source, destination, message })
    }

    /// The IPv6 packet's bytes, checksum included.
    pub fn build(&self) -> Vec<u8> {
        let icmp = self.message.build(self.source, self.destination);
        // 32 at most, so nothing is lost.
        let length = u16::try_from(icmp.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(IPV6_HEADER_LEN + icmp.len());
        bytes.extend_from_slice(&[IPV6_VERSION << 4, 0, 0, 0]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[NEXT_HEADER_ICMPV6, HOP_LIMIT]);
        bytes.extend_from_slice(&self.source.octets());
        bytes.extend_from_slice(&self.destination.octets());
        bytes.extend_from_slice(&icmp);
        bytes
    }

    /// The whole frame, from the station `source` to the station or group `destination`.
    pub fn frame(&self, source: MacAddr, destination: MacAddr) -> Vec<u8> {
        Frame { destination, source, ether_type: TYPE_IPV6, payload: &self.build() }.build()
    }

    /// The advertisement "`target` is at `mac`", to one asker (`solicited`) or to all nodes.
    ///
    /// Its source is the target itself, as the kernel does for addresses of its own: so nothing depends on
    /// the interface having a usable link-local address. O is set because the target is a unicast address
    /// that has moved here (RFC 4861 §7.2.4).
    pub fn advertisement(target: Ipv6Addr, mac: MacAddr, asker: Option<Ipv6Addr>) -> Self {
        Self {
            source: target,
            destination: asker.unwrap_or(ALL_NODES),
            message: Message::Advertisement {
                target,
                router: false,
                solicited: asker.is_some(),
                overrides: true,
                target_link: Some(mac),
            },
        }
    }
}

impl Message {
    fn build(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let (kind, flags, target, option) = match *self {
            Self::Solicitation { target, source_link } => {
                (TYPE_SOLICITATION, 0, target, source_link.map(|mac| (OPTION_SOURCE_LINK, mac)))
            }
            Self::Advertisement { target, router, solicited, overrides, target_link } => {
                let flag = |set, bit| if set { bit } else { 0 };
                let flags = flag(router, FLAG_ROUTER)
                    | flag(solicited, FLAG_SOLICITED)
                    | flag(overrides, FLAG_OVERRIDE);
                (TYPE_ADVERTISEMENT, flags, target, target_link.map(|mac| (OPTION_TARGET_LINK, mac)))
            }
        };
        let assemble = |sum: u16| {
            let [high, low] = sum.to_be_bytes();
            let mut bytes = vec![kind, 0, high, low, flags, 0, 0, 0];
            bytes.extend_from_slice(&target.octets());
            if let Some((option, mac)) = option {
                bytes.extend_from_slice(&[option, 1]);
                bytes.extend_from_slice(&mac.0);
            }
            bytes
        };
        assemble(checksum(source, destination, &assemble(0)))
    }
}

/// The solicited-node group of an address (RFC 4291 §2.7.1): where questions for it are sent.
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

fn is_solicited_node(address: Ipv6Addr) -> bool {
    solicited_node(address) == address
}

/// The Ethernet group of an IPv6 group (RFC 2464 §7).
pub fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The link-layer address in the first option of this kind that holds an Ethernet address; `None` without
/// one. All options are checked for their form, as RFC 4861 §7.1 demands.
fn link_option(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, ParseError> {
    let mut found = None;
    while let Some((&kind, rest)) = options.split_first() {
        let units = *rest.first().ok_or(ParseError::Option)?;
        let length = usize::from(units) * OPTION_UNIT;
        if length == 0 {
            return Err(ParseError::Option);
        }
        let (option, after) = options.split_at_checked(length).ok_or(ParseError::Option)?;
        if let (true, None, [_, _, mac @ ..]) = (kind == wanted, found, option) {
            found = <[u8; 6]>::try_from(mac).ok().map(MacAddr);
        }
        options = after;
    }
    Ok(found)
}

/// The internet checksum over pseudo-header and message (RFC 8200 §8.1, RFC 4443 §2.3). Over a message that
/// carries its checksum the result is 0; over one with a zero there, it is the checksum.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + words(&length.to_be_bytes())
        + u64::from(NEXT_HEADER_ICMPV6)
        + words(message);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// The sum of the big-endian 16-bit words; an odd last byte counts as the high half of a word.
fn words(bytes: &[u8]) -> u64 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let odd = last.first().map_or(0, |&byte| u64::from(byte) << 8);
    pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>() + odd
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().expect("a valid address in a test")
    }

    fn question() -> Packet {
        let target = ip("2001:db8::1");
        Packet {
            source: ip("fe80::9"),
            destination: solicited_node(target),
            message: Message::Solicitation { target, source_link: Some(MAC) },
        }
    }

    /// The packet with some bytes of it replaced and the checksum made good again.
    fn patched(packet: &Packet, changes: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = packet.build();
        for &(offset, value) in changes {
            *bytes.get_mut(offset).expect("inside the packet") = value;
        }
        let sum = |bytes: &[u8]| {
            let address = |at: usize| {
                let octets: [u8; 16] =
                    bytes.get(at..at + 16).and_then(|b| b.try_into().ok()).expect("in the header");
                Ipv6Addr::from(octets)
            };
            checksum(address(8), address(24), bytes.get(IPV6_HEADER_LEN..).expect("longer than the header"))
        };
        for offset in [42, 43] {
            *bytes.get_mut(offset).expect("inside the packet") = 0;
        }
        let [high, low] = sum(&bytes).to_be_bytes();
        for (offset, value) in [(42, high), (43, low)] {
            *bytes.get_mut(offset).expect("inside the packet") = value;
        }
        bytes
    }

    #[test]
    fn groups_follow_from_the_last_three_bytes() {
        let group = solicited_node(ip("2001:db8::a1:b2c3:d4e5"));
        assert_eq!(group, ip("ff02::1:ffc3:d4e5"));
        assert_eq!(multicast_mac(group).to_string(), "33:33:ff:c3:d4:e5");
    }

    #[test]
    fn what_did_not_come_from_a_neighbor_is_refused() {
        let mut spoiled = question().build();
        *spoiled.get_mut(50).expect("inside the packet") ^= 1;
        for (name, bytes, error) in [
            ("version", patched(&question(), &[(0, 0x40)]), ParseError::Version(4)),
            ("next header", patched(&question(), &[(6, 17)]), ParseError::NextHeader(17)),
            ("hop limit", patched(&question(), &[(7, 254)]), ParseError::HopLimit(254)),
            ("type", patched(&question(), &[(40, 134)]), ParseError::Type(134)),
            ("code", patched(&question(), &[(41, 1)]), ParseError::Code(1)),
            ("checksum", spoiled, ParseError::Checksum),
            ("option of no length", patched(&question(), &[(65, 0)]), ParseError::Option),
            ("option beyond the end", patched(&question(), &[(65, 2)]), ParseError::Option),
            ("length beyond the end", patched(&question(), &[(5, 33)]), ParseError::Truncated(72)),
        ] {
            assert_eq!(Packet::parse(&bytes), Err(error), "{name}");
        }
        let to_group = Packet {
            destination: ALL_NODES,
            ..Packet::advertisement(ip("2001:db8::1"), MAC, Some(ip("fe80::9")))
        };
        assert_eq!(Packet::parse(&to_group.build()), Err(ParseError::SolicitedToGroup));
        let detection = Packet { source: Ipv6Addr::UNSPECIFIED, ..question() };
        assert_eq!(Packet::parse(&detection.build()), Err(ParseError::UnspecifiedSource));
    }

    #[test]
    fn truncation_anywhere_is_an_error() {
        let bytes = question().build();
        for len in 0..bytes.len() {
            assert!(Packet::parse(bytes.get(..len).expect("inside")).is_err(), "{len} bytes were accepted");
        }
    }

    #[test]
    fn unknown_options_and_padding_are_skipped() {
        let options = [14, 1, 0, 0, 0, 0, 0, 0, OPTION_SOURCE_LINK, 1, 2, 0, 0, 0, 0, 1];
        assert_eq!(link_option(&options, OPTION_SOURCE_LINK), Ok(Some(MAC)));
        assert_eq!(link_option(&options, OPTION_TARGET_LINK), Ok(None));
        let mut padded = question().build();
        padded.extend_from_slice(&[0; 7]);
        assert_eq!(Packet::parse(&padded), Ok(question()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert_eq!(Packet::parse(&packet.build()), Ok(packet));
            }
        }

        #[test]
        fn no_change_of_a_valid_packet_makes_the_parser_panic(
            changes in proptest::collection::vec((0_usize..72, any::<u8>()), 0..6)
        ) {
            let changes: Vec<_> = changes.into_iter().filter(|(offset, _)| !(42..44).contains(offset)).collect();
            if let Ok(packet) = Packet::parse(&patched(&question(), &changes)) {
                prop_assert_eq!(Packet::parse(&packet.build()), Ok(packet));
            }
        }

        #[test]
        fn what_is_built_is_read_back(
            target: u128, asker: u128, mac: [u8; 6], router: bool, overrides: bool, link: bool, solicits: bool
        ) {
            // Unicast: the first byte is not ff, and not the unspecified address.
            let unicast = |bits: u128| Ipv6Addr::from_bits((bits >> 8) | (0x20 << 120));
            let (target, asker) = (unicast(target), unicast(asker));
            let mac = link.then_some(MacAddr(mac));
            let message = if solicits {
                Message::Solicitation { target, source_link: mac }
            } else {
                Message::Advertisement { target, router, solicited: true, overrides, target_link: mac }
            };
            let packet = Packet { source: target, destination: asker, message };
            prop_assert_eq!(Packet::parse(&packet.build()), Ok(packet));
        }
    }
}
