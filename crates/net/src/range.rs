//! Inclusive address ranges: what the lines of an IPAddressPool become.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

use crate::Family;

/// A non-empty range of addresses of one family, both ends included.
///
/// Ordered by family (IPv4 first), then by first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no range. The texts are the second half of what MetalLB reports for a pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseRangeError {
    /// Neither `a-b` nor `prefix/length`.
    #[error(
        "invalid CIDR {0:?}: expected a prefix such as 198.51.100.0/24 or a range such as 198.51.100.10-198.51.100.20"
    )]
    Cidr(String),
    /// What stands before the dash is no address.
    #[error("invalid IP range {0:?}: invalid start IP {1:?}")]
    Start(String, String),
    /// What stands after the dash is no address.
    #[error("invalid IP range {0:?}: invalid end IP {1:?}")]
    End(String, String),
    /// The ends are of two families.
    #[error("invalid IP range {0:?}: start IP {1} and end IP {2} are not of the same family")]
    MixedFamilies(String, IpAddr, IpAddr),
    /// The ends are in the wrong order.
    #[error("invalid IP range {0:?}: start IP {1} is after the end IP {2}")]
    Reversed(String, IpAddr, IpAddr),
}

impl IpRange {
    /// The range from `first` to `last`, or `None` where the families differ or the order is reversed.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (Family::of(first) == Family::of(last) && first <= last).then_some(Self { first, last })
    }

    /// The range of one address.
    pub fn single(address: IpAddr) -> Self {
        Self { first: address, last: address }
    }

    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// The family of every address in the range.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && self.first <= address && address <= self.last
    }

    /// Whether some address lies in both ranges.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }

    /// The number of addresses, which is at most `u128::MAX`: `::/0` has one address more than that and
    /// counts as `u128::MAX`.
    pub fn len(&self) -> u128 {
        let (first, last) = (bits(self.first), bits(self.last));
        (last - first).saturating_add(1)
    }

    /// A range is never empty; this exists beside [`len`](Self::len) by convention.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The smallest list of prefixes that covers the range and nothing else, in order.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let width: u8 = match self.family() {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let (mut next, last) = (bits(self.first), bits(self.last));
        let mut prefixes = Vec::new();
        loop {
            // The largest block that starts here is bounded by the alignment of its start and by the end.
            let mut host_bits = next.trailing_zeros().min(u32::from(width));
            while host_bits > 0 && (host_bits == 128 || (1_u128 << host_bits) - 1 > last - next) {
                if host_bits == 128 && next == 0 && last == u128::MAX {
                    break;
                }
                host_bits -= 1;
            }
            let length = width - u8::try_from(host_bits).expect("at most 128");
            let start = from_bits(self.family(), next);
            prefixes.push(IpNet::new(start, length).expect("length is at most the width"));
            let block_last = if host_bits == 128 { u128::MAX } else { next + ((1_u128 << host_bits) - 1) };
            if block_last >= last {
                return prefixes;
            }
            next = block_last + 1;
        }
    }
}

/// The address as a number; both families fit.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).expect("of an IPv4 range"))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

impl From<IpNet> for IpRange {
    /// All addresses of the prefix, network and broadcast address included; host bits are masked off.
    fn from(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => Self { first: IpAddr::V4(net.network()), last: IpAddr::V4(net.broadcast()) },
            IpNet::V6(net) => Self { first: IpAddr::V6(net.network()), last: IpAddr::V6(net.broadcast()) },
        }
    }
}

impl FromStr for IpRange {
    type Err = ParseRangeError;

    /// Reads one line of a pool: `prefix/length`, or `start-end` with optional blanks around the dash.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((start, end)) = text.split_once('-') else {
            let net: IpNet = text.trim().parse().map_err(|_| ParseRangeError::Cidr(text.to_owned()))?;
            return Ok(net.into());
        };
        let (start, end) = (start.trim(), end.trim());
        let first = start.parse().map_err(|_| ParseRangeError::Start(text.to_owned(), start.to_owned()))?;
        let last = end.parse().map_err(|_| ParseRangeError::End(text.to_owned(), end.to_owned()))?;
        if Family::of(first) != Family::of(last) {
            return Err(ParseRangeError::MixedFamilies(text.to_owned(), first, last));
        }
        Self::new(first, last).ok_or_else(|| ParseRangeError::Reversed(text.to_owned(), first, last))
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefixes().as_slice() {
            [one] => write!(f, "{one}"),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().expect("a valid range in a test")
    }

    #[test]
    fn prefixes_and_ranges_are_read() {
        for (text, first, last, len) in [
            ("198.51.100.0/24", "198.51.100.0", "198.51.100.255", 256),
            ("198.51.100.10/24", "198.51.100.0", "198.51.100.255", 256),
            ("10.101.0.50-10.101.0.60", "10.101.0.50", "10.101.0.60", 11),
            ("10.0.0.1 - 10.0.0.1", "10.0.0.1", "10.0.0.1", 1),
            ("2001:db8::/127", "2001:db8::", "2001:db8::1", 2),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 1 << 32),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u128::MAX),
        ] {
            let range = range(text);
            assert_eq!(range.first().to_string(), first, "{text}");
            assert_eq!(range.last().to_string(), last, "{text}");
            assert_eq!(range.len(), len, "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_reason() {
        for (text, reason) in [
            ("10.0.0.1", "invalid CIDR"),
            ("10.0.0.0/33", "invalid CIDR"),
            ("", "invalid CIDR"),
            ("-", "invalid start IP"),
            ("x-10.0.0.1", "invalid start IP"),
            ("10.0.0.1-", "invalid end IP"),
            ("10.0.0.1-10.0.0.2-10.0.0.3", "invalid end IP"),
            ("10.0.0.9-10.0.0.1", "start IP 10.0.0.9 is after the end IP 10.0.0.1"),
            ("10.0.0.1-2001:db8::1", "not of the same family"),
        ] {
            let error = text.parse::<IpRange>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        for (text, prefixes) in [
            ("10.0.0.0-10.0.0.255", vec!["10.0.0.0/24"]),
            ("10.0.0.1-10.0.0.4", vec!["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]),
            ("0.0.0.0-255.255.255.255", vec!["0.0.0.0/0"]),
            ("255.255.255.255-255.255.255.255", vec!["255.255.255.255/32"]),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", vec!["::/0"]),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", vec![]),
        ] {
            let found: Vec<String> = range(text).prefixes().iter().map(ToString::to_string).collect();
            if prefixes.is_empty() {
                assert_eq!(found.len(), 128, "{text}");
            } else {
                assert_eq!(found, prefixes, "{text}");
            }
        }
    }

    #[test]
    fn overlap_is_seen_from_both_sides_and_never_across_families() {
        for (a, b, overlap) in [
            ("10.0.0.0/24", "10.0.0.255-10.0.1.3", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("10.0.0.0/8", "10.9.9.9/32", true),
            ("0.0.0.0/0", "::/0", false),
        ] {
            assert_eq!(range(a).overlaps(&range(b)), overlap, "{a} {b}");
            assert_eq!(range(b).overlaps(&range(a)), overlap, "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn prefixes_cover_exactly_the_range(start: u32, size in 0_u32..5_000) {
            let first = Ipv4Addr::from_bits(start);
            let last = Ipv4Addr::from_bits(start.saturating_add(size));
            let range = IpRange::new(first.into(), last.into()).expect("ordered");
            let mut next = bits(range.first());
            for net in range.prefixes() {
                let block = IpRange::from(net);
                prop_assert_eq!(bits(block.first()), next);
                next = bits(block.last()) + 1;
            }
            prop_assert_eq!(next, bits(range.last()) + 1);
        }

        #[test]
        fn the_text_of_a_range_reads_as_the_same_range(a: u128, b: u128) {
            let (a, b) = (a.min(b), a.max(b));
            let range = IpRange::new(Ipv6Addr::from_bits(a).into(), Ipv6Addr::from_bits(b).into()).expect("ordered");
            prop_assert_eq!(range.to_string().parse::<IpRange>().expect("own text"), range);
        }
    }
}
