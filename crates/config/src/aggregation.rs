//! Routes no larger than what the pools have: the rule for the aggregation lengths of BGP advertisements.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipam::Pool;
use net::{Family, IpRange};

use crate::bgp::BgpAdvertisement;
use crate::error::ConfigError;

/// How specific the ranges of pools are.
pub(crate) struct Aggregation<'a> {
    pools: &'a BTreeMap<String, Pool>,
    /// Set of pools -> what is [`longest`] in it.
    longest: HashMap<*const BTreeSet<String>, [u8; 2]>,
}

/// The prefix length of the largest block of a range: a route must not be shorter.
pub(crate) fn block(range: &IpRange) -> u8 {
    let (first, last, width) = match (range.first(), range.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (u128::from(first.to_bits()), u128::from(last.to_bits()), 32)
        }
        (first, last) => (v6(first).to_bits(), v6(last).to_bits(), 128),
    };
    // What all blocks would have to be less than; none where it is every address of IPv6.
    let Some(len) = (last - first).checked_add(1) else { return 0 };
    // A block of half the largest power of two in the length always fits.
    let fits = |bits: &u32| {
        let size = 1_u128 << bits;
        let start = first.checked_next_multiple_of(size);
        start.and_then(|start| start.checked_add(size - 1)).is_some_and(|end| end <= last)
    };
    let bits = (0..=len.ilog2()).rev().find(fits).unwrap_or(0);
    width - u8::try_from(bits).expect("at most 128")
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The longest of [`block`] of the ranges of IPv4 and IPv6; 0 where there are none.
pub(crate) fn longest(pool: &Pool) -> [u8; 2] {
    let mut longest = [0, 0];
    for range in &pool.ranges {
        let longest = &mut longest[usize::from(range.family() == Family::V6)];
        *longest = block(range).max(*longest);
    }
    longest
}

impl<'a> Aggregation<'a> {
    pub(crate) fn new(pools: &'a BTreeMap<String, Pool>) -> Self {
        Self { pools, longest: HashMap::new() }
    }

    /// Refuses an advertisement of which a route would be larger than a range; the first by pool and place.
    pub(crate) fn check(
        &mut self,
        advertisement: &BgpAdvertisement,
        written: impl Fn(&str, &IpRange) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let lengths = [advertisement.aggregation_length, advertisement.aggregation_length_v6];
        if lengths == [32, 128] {
            return Ok(());
        }
        let pools = advertisement.pools.iter().filter_map(|name| self.pools.get(name));
        let longest = self.longest.entry(Arc::as_ptr(&advertisement.pools)).or_insert_with(|| {
            let all = pools.clone().map(self::longest);
            all.fold([0, 0], |all, one| [all[0].max(one[0]), all[1].max(one[1])])
        });
        if longest[0] <= lengths[0] && longest[1] <= lengths[1] {
            return Ok(());
        }
        for (pool, range) in pools.flat_map(|pool| pool.ranges.iter().map(move |range| (pool, range))) {
            let (length, prefix) = (advertisement.aggregation(range.family()), block(range));
            if length < prefix {
                return Err(ConfigError::Aggregation {
                    length,
                    prefix,
                    addresses: written(&pool.name, range).unwrap_or_else(|| range.to_string()),
                    pool: pool.name.clone(),
                    advertisement: advertisement.name.clone(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn shortest_of_all(range: &IpRange) -> u8 {
        range.prefixes().iter().map(ipnet::IpNet::prefix_len).min().expect("a range is never empty")
    }

    #[test]
    fn the_largest_block_of_everything_is_everything() {
        for text in
            ["::/0", "0.0.0.0/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "::1/128", "ffff::/16"]
        {
            let range: IpRange = text.parse().expect("a range");
            assert_eq!(block(&range), shortest_of_all(&range), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_largest_block_is_the_shortest_of_the_prefixes_that_make_up_a_range(
            a: u128, b: u128, first: u32, last: u32, near in 0_u32..70,
        ) {
            let v6 = |bits| Ipv6Addr::from_bits(bits).into();
            let v4 = |bits| Ipv4Addr::from_bits(bits).into();
            for range in [
                IpRange::new(v6(a.min(b)), v6(a.max(b))),
                IpRange::new(v4(first.min(last)), v4(first.max(last))),
                IpRange::new(v4(first), v4(first.saturating_add(near))),
            ] {
                let range = range.expect("ordered");
                prop_assert_eq!(block(&range), shortest_of_all(&range));
            }
        }
    }
}
