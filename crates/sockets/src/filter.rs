//! What the kernel hands to a packet socket: classic BPF programs (linux/filter.h).
//!
//! ```text
//! right protocol and operation? ──► target among the addresses? ──► sender among them? ──► drop
//!                                      └─ pass                         └─ pass
//! ```
//!
//! A program has at most 4,096 instructions and no loop. So the addresses are sorted ranges, and each search for one
//! is a tree of comparisons; neighbouring addresses are one range, and of too many the closest ones are joined, which
//! lets some foreign frames through and never keeps one of ours out.

use std::net::IpAddr;

use socket2::SockFilter;

/// The frames that a packet socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// ARP requests and replies.
    Arp,
    /// `ICMPv6` neighbor solicitations and advertisements without IPv6 extension headers.
    NeighborDiscovery,
}

/// Where fields are in a frame, Ethernet header included.
const ARP_OPERATION: u32 = 14 + 6;
const ARP_SENDER: u32 = 14 + 14;
const ARP_TARGET: u32 = 14 + 24;
const IPV6_NEXT_HEADER: u32 = 14 + 6;
const IPV6_SOURCE: u32 = 14 + 8;
const ICMPV6_TYPE: u32 = 14 + 40;
const NEIGHBOR_TARGET: u32 = 14 + 40 + 8;

const NEXT_HEADER_ICMPV6: u32 = 58;

/// Both values that are wanted of [`ARP_OPERATION`] and of [`ICMPV6_TYPE`].
const ARP_OPERATIONS: [u32; 2] = [1, 2];
const NEIGHBOR_TYPES: [u32; 2] = [135, 136];

/// More bytes than a frame has: hand over the whole frame.
const WHOLE: u32 = u32::MAX;

/// The most ranges that are told apart: two searches with six instructions for each stay below the kernel's limit.
pub(crate) const MAX_RANGES: usize = 330;

#[expect(clippy::cast_possible_truncation, reason = "BPF codes are below 0x100")]
mod code {
    pub(super) const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    pub(super) const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    pub(super) const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
    pub(super) const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    pub(super) const JUMP_FROM: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    pub(super) const JUMP_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
}

/// One instruction; jumps are relative to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    then: u8,
    otherwise: u8,
    value: u32,
}

fn instruction(code: u16, value: u32, then: u8, otherwise: u8) -> Instruction {
    Instruction { code, then, otherwise, value }
}

impl Traffic {
    /// The type of the frames, in host order.
    pub(crate) fn ether_type(self) -> u16 {
        match self {
            Self::Arp => 0x0806,
            Self::NeighborDiscovery => 0x86dd,
        }
    }

    /// The program that passes all frames of this kind, of those of the right type. A frame too short for a load is
    /// dropped by the kernel.
    pub(crate) fn program(self) -> Vec<SockFilter> {
        let mut program = self.kind();
        program.push(instruction(code::RETURN, WHOLE, 0, 0));
        assemble(&program)
    }

    /// The program that passes those of them whose target or sender is one of the addresses, told apart as `most` ranges
    /// at most, which is 1 to [`MAX_RANGES`].
    pub(crate) fn program_for(self, addresses: &[IpAddr], most: usize) -> Vec<SockFilter> {
        assemble(&self.instructions(addresses, most))
    }

    fn instructions(self, addresses: &[IpAddr], most: usize) -> Vec<Instruction> {
        let mut keys: Vec<[u32; 4]> = addresses.iter().filter_map(|address| self.words(*address)).collect();
        keys.sort_unstable();
        let Some(first) = keys.first().copied() else { return vec![instruction(code::RETURN, 0, 0, 0)] };
        let ranges = ranges(keys.iter().map(|&[_, _, _, low]| low).collect(), most);
        let places = match self {
            Self::Arp => [ARP_TARGET, ARP_SENDER],
            Self::NeighborDiscovery => [NEIGHBOR_TARGET, IPV6_SOURCE],
        };
        let mut program = self.kind();
        for place in places {
            let mut search = Vec::new();
            let mut low = place;
            if self == Self::NeighborDiscovery {
                // Of IPv6 the last four bytes are searched for, and those before are compared where all have them in
                // common.
                low = place + 12;
                for (offset, at) in [(0, 0), (4, 1), (8, 2)] {
                    let word = |key: &[u32; 4]| key.get(at).copied().unwrap_or_default();
                    if keys.iter().all(|key| word(key) == word(&first)) {
                        search.push(instruction(code::LOAD_WORD, place + offset, 0, 0));
                        search.push(instruction(code::JUMP_EQUAL, word(&first), 1, 0));
                        // To the end of this search; where that is follows from its length, below.
                        search.push(instruction(code::JUMP, END, 0, 0));
                    }
                }
            }
            search.push(instruction(code::LOAD_WORD, low, 0, 0));
            tree(&ranges, &mut search);
            let length = search.len();
            for (at, step) in search.iter_mut().enumerate() {
                if step.code == code::JUMP && step.value == END {
                    step.value = u32::try_from(length - at - 1).unwrap_or(0);
                }
            }
            program.extend(search);
        }
        program.push(instruction(code::RETURN, 0, 0, 0));
        program
    }

    /// Drops what is of another kind, and goes on with the rest.
    fn kind(self) -> Vec<Instruction> {
        let drop = instruction(code::RETURN, 0, 0, 0);
        match self {
            Self::Arp => {
                let [request, reply] = ARP_OPERATIONS;
                vec![
                    instruction(code::LOAD_HALF, ARP_OPERATION, 0, 0),
                    instruction(code::JUMP_EQUAL, request, 2, 0),
                    instruction(code::JUMP_EQUAL, reply, 1, 0),
                    drop,
                ]
            }
            Self::NeighborDiscovery => {
                let [solicitation, advertisement] = NEIGHBOR_TYPES;
                vec![
                    instruction(code::LOAD_BYTE, IPV6_NEXT_HEADER, 0, 0),
                    instruction(code::JUMP_EQUAL, NEXT_HEADER_ICMPV6, 0, 3),
                    instruction(code::LOAD_BYTE, ICMPV6_TYPE, 0, 0),
                    instruction(code::JUMP_EQUAL, solicitation, 2, 0),
                    instruction(code::JUMP_EQUAL, advertisement, 1, 0),
                    drop,
                ]
            }
        }
    }

    /// The address in words, where it is of this kind; an IPv4 address is the last of them.
    fn words(self, address: IpAddr) -> Option<[u32; 4]> {
        match (self, address) {
            (Self::Arp, IpAddr::V4(v4)) => Some([0, 0, 0, v4.to_bits()]),
            (Self::NeighborDiscovery, IpAddr::V6(v6)) => {
                let octets = v6.octets();
                let mut words = octets.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word));
                Some(std::array::from_fn(|_| words.next().unwrap_or_default()))
            }
            _ => None,
        }
    }
}

/// A jump to behind the search that it is in.
const END: u32 = u32::MAX;

/// The values as ranges, both ends included: exact up to `most` of them, beyond that the closest are joined.
fn ranges(mut values: Vec<u32>, most: usize) -> Vec<(u32, u32)> {
    values.sort_unstable();
    let mut gaps: Vec<u32> =
        values.windows(2).filter_map(|pair| pair.last()?.checked_sub(*pair.first()?)).collect();
    gaps.sort_unstable();
    // All gaps up to this one are closed, so that few enough are left.
    let joined =
        gaps.len().checked_sub(most.max(1)).and_then(|at| gaps.get(at)).map_or(1, |gap| (*gap).max(1));
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match ranges.last_mut() {
            Some((_, end)) if value - *end <= joined => *end = value,
            _ => ranges.push((value, value)),
        }
    }
    ranges
}

/// Passes the frame where the loaded value is in one of the sorted ranges, and else goes to [`END`].
fn tree(ranges: &[(u32, u32)], program: &mut Vec<Instruction>) {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    match (left, right) {
        ([], [(start, end)]) => {
            program.push(instruction(code::JUMP_FROM, *start, 0, 2));
            program.push(instruction(code::JUMP_ABOVE, *end, 1, 0));
            program.push(instruction(code::RETURN, WHOLE, 0, 0));
            program.push(instruction(code::JUMP, END, 0, 0));
        }
        (_, [(middle, _), ..]) => {
            program.push(instruction(code::JUMP_FROM, *middle, 0, 1));
            let jump = program.len();
            program.push(instruction(code::JUMP, 0, 0, 0));
            tree(left, program);
            let distance = u32::try_from(program.len() - jump - 1).unwrap_or(0);
            if let Some(step) = program.get_mut(jump) {
                step.value = distance;
            }
            tree(right, program);
        }
        (_, []) => program.push(instruction(code::JUMP, END, 0, 0)),
    }
}

fn assemble(program: &[Instruction]) -> Vec<SockFilter> {
    program.iter().map(|step| SockFilter::new(step.code, step.then, step.otherwise, step.value)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// The kernel's limit (BPF_MAXINSNS).
    const LIMIT: usize = 4_096;

    /// Runs the program as the kernel does; whether the frame passes.
    fn passes(program: &[Instruction], frame: &[u8]) -> bool {
        let load = |at: u32, length: usize| {
            let at = usize::try_from(at).expect("small");
            let bytes = frame.get(at..at + length)?;
            Some(bytes.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)))
        };
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step: Instruction = program[at];
            at += 1;
            let holds = match step.code {
                code::RETURN => return step.value > 0,
                code::JUMP => {
                    at += usize::try_from(step.value).expect("small");
                    continue;
                }
                code::JUMP_EQUAL => loaded == step.value,
                code::JUMP_FROM => loaded >= step.value,
                code::JUMP_ABOVE => loaded > step.value,
                load_code => {
                    let length = match load_code {
                        code::LOAD_WORD => 4,
                        code::LOAD_HALF => 2,
                        _ => 1,
                    };
                    let Some(value) = load(step.value, length) else { return false };
                    loaded = value;
                    continue;
                }
            };
            at += usize::from(if holds { step.then } else { step.otherwise });
        }
    }

    fn arp(operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[21] = operation;
        frame[28..32].copy_from_slice(&sender.octets());
        frame[38..42].copy_from_slice(&target.octets());
        frame
    }

    fn neighbor(kind: u8, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let mut frame = vec![0; 78];
        frame[20] = 58;
        frame[22..38].copy_from_slice(&source.octets());
        frame[54] = kind;
        frame[62..78].copy_from_slice(&target.octets());
        frame
    }

    const FOREIGN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    #[test]
    fn frames_whose_target_or_sender_is_ours_pass_and_no_others() {
        for count in [1_u32, 2, 3, 7, 100, 329, 330] {
            // Every third address, so that no two are one range.
            let base = u32::from(Ipv4Addr::new(192, 0, 2, 0));
            let held: Vec<IpAddr> = (0..count).map(|i| Ipv4Addr::from_bits(base + 3 * i).into()).collect();
            let program = Traffic::Arp.instructions(&held, MAX_RANGES);
            assert!(program.len() <= LIMIT, "{count} addresses make {} instructions", program.len());
            for offset in 0..3 * count {
                let address = Ipv4Addr::from_bits(base + offset);
                let ours = offset % 3 == 0;
                assert_eq!(passes(&program, &arp(1, FOREIGN, address)), ours, "target {address} of {count}");
                assert_eq!(passes(&program, &arp(2, address, FOREIGN)), ours, "sender {address} of {count}");
                assert!(!passes(&program, &arp(3, address, address)), "another operation");
            }
            assert!(!passes(&program, &arp(1, FOREIGN, FOREIGN)));
            assert!(!passes(&program, &arp(1, FOREIGN, FOREIGN)[..40]), "too short");
        }
    }

    #[test]
    fn ten_thousand_neighbouring_addresses_are_one_range() {
        let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
        let held: Vec<IpAddr> = (0..10_000).map(|i| Ipv4Addr::from_bits(base + i).into()).collect();
        let program = Traffic::Arp.instructions(&held, MAX_RANGES);
        assert!(program.len() < 20, "{}", program.len());
        assert!(passes(&program, &arp(1, FOREIGN, Ipv4Addr::from_bits(base + 9_999))));
        assert!(!passes(&program, &arp(1, FOREIGN, Ipv4Addr::from_bits(base + 10_000))));
    }

    #[test]
    fn of_too_many_scattered_addresses_each_passes_and_most_foreign_frames_do_not() {
        let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
        // Gaps of many sizes.
        let values: Vec<u32> =
            (0..10_000_u32).map(|i| base + i * 7 + (i * i) % 5 + (i / 50) * 1_000).collect();
        let held: Vec<IpAddr> = values.iter().map(|value| Ipv4Addr::from_bits(*value).into()).collect();
        let program = Traffic::Arp.instructions(&held, MAX_RANGES);
        assert!(program.len() <= LIMIT, "{}", program.len());
        for value in &values {
            assert!(passes(&program, &arp(1, FOREIGN, Ipv4Addr::from_bits(*value))));
        }
        let foreign = (0..10_000_u32).map(|i| base + 500 + i * 1_350);
        let passed = foreign.filter(|v| passes(&program, &arp(1, FOREIGN, Ipv4Addr::from_bits(*v)))).count();
        assert!(passed < 3_000, "{passed} of 10,000");
    }

    #[test]
    fn fewer_ranges_make_a_shorter_program_that_passes_all_of_ours() {
        let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
        let held: Vec<IpAddr> = (0..300_u32).map(|i| Ipv4Addr::from_bits(base + i * i).into()).collect();
        let mut longest = usize::MAX;
        for most in [MAX_RANGES, 165, 41, 5, 2, 1] {
            let program = Traffic::Arp.instructions(&held, most);
            assert!(program.len() < longest && program.len() <= 12 * most + 10, "{most}: {}", program.len());
            longest = program.len();
            for address in &held {
                let IpAddr::V4(v4) = address else { panic!("all are IPv4") };
                assert!(passes(&program, &arp(1, FOREIGN, *v4)), "{most}: {v4}");
            }
        }
    }

    #[test]
    fn neighbor_messages_pass_by_target_and_source_and_differ_in_every_part() {
        let ours: Ipv6Addr = "2001:db8::50".parse().expect("an address");
        let held = [ours.into(), "2001:db8::52".parse().expect("an address")];
        let program = Traffic::NeighborDiscovery.instructions(&held, MAX_RANGES);
        let other: Ipv6Addr = "fe80::9".parse().expect("an address");
        assert!(passes(&program, &neighbor(135, other, ours)));
        assert!(passes(&program, &neighbor(135, Ipv6Addr::UNSPECIFIED, ours)), "duplicate address detection");
        assert!(passes(&program, &neighbor(135, ours, other)));
        assert!(passes(&program, &neighbor(136, other, ours)));
        assert!(!passes(&program, &neighbor(134, other, ours)), "a router advertisement");
        for text in ["2001:db8::51", "2001:db8:0:1::50", "2001:db9::50", "2001:db8::1:0:0:50"] {
            let near = text.parse().expect("an address");
            assert!(!passes(&program, &neighbor(135, other, near)), "{text}");
        }
    }

    #[test]
    fn scattered_prefixes_of_ipv6_pass_each_of_their_addresses() {
        let held: Vec<IpAddr> = (0..400_u16)
            .map(|i| Ipv6Addr::new(0x2001, 0xdb8, i % 3, 0, 0, i % 2, i * 150, i).into())
            .collect();
        let program = Traffic::NeighborDiscovery.instructions(&held, MAX_RANGES);
        assert!(program.len() <= LIMIT, "{}", program.len());
        for address in &held {
            let IpAddr::V6(v6) = address else { panic!("all are IPv6") };
            assert!(passes(&program, &neighbor(135, Ipv6Addr::UNSPECIFIED, *v6)), "{v6}");
        }
    }

    #[test]
    fn nothing_held_means_nothing_received() {
        for traffic in [Traffic::Arp, Traffic::NeighborDiscovery] {
            assert!(!passes(&traffic.instructions(&[], MAX_RANGES), &arp(1, FOREIGN, FOREIGN)));
        }
    }
}
