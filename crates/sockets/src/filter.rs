//! What the kernel hands to a packet socket: classic BPF programs (linux/filter.h).

use socket2::SockFilter;

/// The frames that a packet socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// ARP requests and replies.
    Arp,
    /// `ICMPv6` neighbor solicitations and advertisements without IPv6 extension headers.
    NeighborDiscovery,
}

/// Where fields are in a frame, Ethernet header included.
const ARP_OPERATION: u32 = 14 + 6;
const IPV6_NEXT_HEADER: u32 = 14 + 6;
const ICMPV6_TYPE: u32 = 14 + 40;

const NEXT_HEADER_ICMPV6: u32 = 58;

/// Both values that are wanted of [`ARP_OPERATION`] and of [`ICMPV6_TYPE`].
const ARP_OPERATIONS: [u32; 2] = [1, 2];
const NEIGHBOR_TYPES: [u32; 2] = [135, 136];

/// More bytes than a frame has: hand over the whole frame.
const WHOLE: u32 = u32::MAX;

#[expect(clippy::cast_possible_truncation, reason = "BPF codes are below 0x100")]
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
#[expect(clippy::cast_possible_truncation, reason = "BPF codes are below 0x100")]
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
#[expect(clippy::cast_possible_truncation, reason = "BPF codes are below 0x100")]
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
#[expect(clippy::cast_possible_truncation, reason = "BPF codes are below 0x100")]
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

impl Traffic {
    /// The type of the frames, in host order.
    pub(crate) fn ether_type(self) -> u16 {
        match self {
            Self::Arp => 0x0806,
            Self::NeighborDiscovery => 0x86dd,
        }
    }

    /// The program that passes these frames, of those of the right type. A frame too short for a
    /// load is dropped by the kernel.
    pub(crate) fn program(self) -> Vec<SockFilter> {
        let load = |code, offset| SockFilter::new(code, 0, 0, offset);
        let equal = |value, then, otherwise| SockFilter::new(JUMP_EQUAL, then, otherwise, value);
        let end = |length| SockFilter::new(RETURN, 0, 0, length);
        match self {
            Self::Arp => {
                let [request, reply] = ARP_OPERATIONS;
                vec![
                    load(LOAD_HALF, ARP_OPERATION),
                    equal(request, 1, 0),
                    equal(reply, 0, 1),
                    end(WHOLE),
                    end(0),
                ]
            }
            Self::NeighborDiscovery => {
                let [solicitation, advertisement] = NEIGHBOR_TYPES;
                vec![
                    load(LOAD_BYTE, IPV6_NEXT_HEADER),
                    equal(NEXT_HEADER_ICMPV6, 0, 4),
                    load(LOAD_BYTE, ICMPV6_TYPE),
                    equal(solicitation, 1, 0),
                    equal(advertisement, 0, 1),
                    end(WHOLE),
                    end(0),
                ]
            }
        }
    }
}
