//! ARP for IPv4 over Ethernet (RFC 826; use of gratuitous packets and probes: RFC 5227).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |     hardware type (1)         |     protocol type (0x0800)    |
//! +---------------+---------------+-------------------------------+
//! | hw length (6) | pr length (4) |          operation            |
//! +---------------+---------------+-------------------------------+
//! |                  sender hardware address (6)                  |
//! |                               +-------------------------------+
//! |                               |  sender protocol address (4)  |
//! +-------------------------------+-------------------------------+
//! |                               |                               |
//! +-------------------------------+  target hardware address (6)  |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |                  target protocol address (4)                  |
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv4Addr;

use net::MacAddr;
use thiserror::Error;

use crate::ethernet::{Frame, TYPE_ARP};

/// Length of an ARP packet for IPv4 over Ethernet, in bytes.
pub const PACKET_LEN: usize = 28;

const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;
const ADDRESS_LENGTHS: [u8; 2] = [6, 4];
const OPERATION_REQUEST: u16 = 1;
const OPERATION_REPLY: u16 = 2;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// "Who has the target address?"
    Request,
    /// "The sender address is at the sender's hardware address."
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// The hardware address that the sender claims for [`sender_ip`](Self::sender_ip).
    pub sender_mac: MacAddr,
    /// The address the sender speaks for; `0.0.0.0` in a probe (RFC 5227 §1.1).
    pub sender_ip: Ipv4Addr,
    /// Whom a reply is for; without meaning in a request.
    pub target_mac: MacAddr,
    /// The address asked for.
    pub target_ip: Ipv4Addr,
}

/// Why bytes are no ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Fewer than [`PACKET_LEN`] bytes.
    #[error("ARP packet of {0} bytes is shorter than 28")]
    TooShort(usize),
    /// Not Ethernet.
    #[error("ARP hardware type {0} is not Ethernet")]
    HardwareType(u16),
    /// Not IPv4.
    #[error("ARP protocol type {0:#06x} is not IPv4")]
    ProtocolType(u16),
    /// Lengths of addresses other than 6 and 4.
    #[error("ARP address lengths {0} and {1} are not 6 and 4")]
    AddressLengths(u8, u8),
    /// Neither request nor reply.
    #[error("ARP operation {0} is neither request nor reply")]
    Operation(u16),
}

impl Packet {
    /// Reads the payload of a frame of type ARP; bytes beyond the packet are padding.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let short = || ParseError::TooShort(bytes.len());
        let (hardware, rest) = bytes.split_first_chunk::<2>().ok_or_else(short)?;
        let (protocol, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (lengths, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (operation, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (sender_mac, rest) = rest.split_first_chunk::<6>().ok_or_else(short)?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (target_mac, rest) = rest.split_first_chunk::<6>().ok_or_else(short)?;
        let (target_ip, _padding) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        match u16::from_be_bytes(*hardware) {
            HARDWARE_ETHERNET => {}
            other => return Err(ParseError::HardwareType(other)),
        }
        match u16::from_be_bytes(*protocol) {
            PROTOCOL_IPV4 => {}
            other => return Err(ParseError::ProtocolType(other)),
        }
        let [hardware_len, protocol_len] = *lengths;
        if *lengths != ADDRESS_LENGTHS {
            return Err(ParseError::AddressLengths(hardware_len, protocol_len));
        }
        let operation = match u16::from_be_bytes(*operation) {
            OPERATION_REQUEST => Operation::Request,
            OPERATION_REPLY => Operation::Reply,
            other => return Err(ParseError::Operation(other)),
        };
        Ok(Self {
            operation,
            sender_mac: MacAddr(*sender_mac),
            sender_ip: Ipv4Addr::from(*sender_ip),
            target_mac: MacAddr(*target_mac),
            target_ip: Ipv4Addr::from(*target_ip),
        })
    }

    /// The packet's bytes, [`PACKET_LEN`] of them.
    pub fn build(&self) -> Vec<u8> {
        let operation = match self.operation {
            Operation::Request => OPERATION_REQUEST,
            Operation::Reply => OPERATION_REPLY,
        };
        let mut bytes = Vec::with_capacity(PACKET_LEN);
        bytes.extend_from_slice(&HARDWARE_ETHERNET.to_be_bytes());
        bytes.extend_from_slice(&PROTOCOL_IPV4.to_be_bytes());
        bytes.extend_from_slice(&ADDRESS_LENGTHS);
        bytes.extend_from_slice(&operation.to_be_bytes());
        bytes.extend_from_slice(&self.sender_mac.0);
        bytes.extend_from_slice(&self.sender_ip.octets());
        bytes.extend_from_slice(&self.target_mac.0);
        bytes.extend_from_slice(&self.target_ip.octets());
        bytes
    }

    /// The whole frame, from the packet's sender to `destination`.
    pub fn frame(&self, destination: MacAddr) -> Vec<u8> {
        let payload = self.build();
        Frame { destination, source: self.sender_mac, ether_type: TYPE_ARP, payload: &payload }.build()
    }

    /// The answer "`mac` has the address that `self` asks for", to the one who asked.
    #[must_use]
    pub fn reply(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// A gratuitous packet: "`address` is at `mac`", told to everyone. Some hosts learn only from requests,
    /// some only from replies, so announcers send both.
    pub fn gratuitous(operation: Operation, address: Ipv4Addr, mac: MacAddr) -> Self {
        Self {
            operation,
            sender_mac: mac,
            sender_ip: address,
            target_mac: MacAddr::BROADCAST,
            target_ip: address,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    #[test]
    fn malformed_packets_are_refused_with_the_reason() {
        let good = Packet::gratuitous(Operation::Request, Ipv4Addr::new(192, 0, 2, 1), MAC).build();
        for (offset, value, error) in [
            (1, 6, ParseError::HardwareType(6)),
            (2, 0x86, ParseError::ProtocolType(0x8600)),
            (4, 8, ParseError::AddressLengths(8, 4)),
            (5, 16, ParseError::AddressLengths(6, 16)),
            (7, 3, ParseError::Operation(3)),
        ] {
            let mut bad = good.clone();
            *bad.get_mut(offset).expect("inside the packet") = value;
            assert_eq!(Packet::parse(&bad), Err(error));
        }
        let truncated = good.get(..27).expect("inside the packet");
        assert_eq!(Packet::parse(truncated), Err(ParseError::TooShort(27)));
    }

    #[test]
    fn a_reply_turns_the_question_around() {
        let asker = MacAddr([2, 0, 0, 0, 0, 9]);
        let question = Packet {
            operation: Operation::Request,
            sender_mac: asker,
            sender_ip: Ipv4Addr::new(192, 0, 2, 9),
            target_mac: MacAddr::ZERO,
            target_ip: Ipv4Addr::new(192, 0, 2, 1),
        };
        let answer = question.reply(MAC);
        assert_eq!(answer.operation, Operation::Reply);
        assert_eq!((answer.sender_mac, answer.sender_ip), (MAC, question.target_ip));
        assert_eq!((answer.target_mac, answer.target_ip), (asker, question.sender_ip));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert_eq!(Packet::parse(&packet.build()), Ok(packet));
            }
        }
    }
}
