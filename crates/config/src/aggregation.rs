//! Routes no larger than what the pools have: the rule for the aggregation lengths of BGP advertisements.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipam::Pool;
use net::{Family, IpRange};

use crate::bgp::BgpAdvertisement;
use crate::error::ConfigError;

/// How specific the ranges of pools are.
pub(crate) struct Aggregation<'a> {
    pools: &'a BTreeMap<String, Pool>,
    /// Set of pools -> the longest of [`block`] of its ranges of IPv4 and IPv6; 0 where there are none.
    longest: HashMap<*const BTreeSet<String>, [u8; 2]>,
}

/// The prefix length of the largest block of a range: a route must not be shorter.
pub(crate) fn block(range: &IpRange) -> u8 {
    range.prefixes().iter().map(ipnet::IpNet::prefix_len).min().unwrap_or(0)
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
            let mut longest = [0, 0];
            for range in pools.clone().flat_map(|pool| &pool.ranges) {
                let longest = &mut longest[usize::from(range.family() == Family::V6)];
                *longest = block(range).max(*longest);
            }
            longest
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
