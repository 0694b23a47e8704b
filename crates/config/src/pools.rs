//! Pools: each read for itself, then fitted together without overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipam::{Pool, ServiceAllocation};
use net::{IpRange, ParseRangeError};

use crate::Config;
use crate::error::ConfigError;
use crate::selector::compile_list;

/// Reads one IPAddressPool: all but the overlap with others.
pub(crate) fn parse(object: &api::IPAddressPool) -> Result<Pool, ConfigError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(ConfigError::MissingPoolName);
    }
    let spec = &object.spec;
    if spec.addresses.is_empty() {
        return Err(ConfigError::NoPrefixes);
    }
    let mut ranges = Vec::with_capacity(spec.addresses.len());
    for entry in &spec.addresses {
        ranges.push(parse_range(entry, &name)?);
    }
    let allocation = spec.service_allocation.as_ref().map(parse_allocation).transpose()?;
    Ok(Pool {
        name,
        ranges,
        auto_assign: spec.auto_assign.unwrap_or(true),
        avoid_buggy_ips: spec.avoid_buggy_ips.unwrap_or(false),
        allocation,
    })
}

fn parse_range(entry: &str, pool: &str) -> Result<IpRange, ConfigError> {
    entry.parse().map_err(|error: ParseRangeError| {
        let reason = match &error {
            // What this error begins with is said by ours already.
            ParseRangeError::Cidr(_) => "expected a prefix such as 198.51.100.0/24 or a range such as \
                                         198.51.100.10-198.51.100.20"
                .to_owned(),
            ParseRangeError::Reversed(text, first, last) => {
                format!("invalid IP range {text:?}: start IP \"{first}\" is after the end IP \"{last}\"")
            }
            other => other.to_string(),
        };
        ConfigError::Range { entry: entry.to_owned(), pool: pool.to_owned(), reason }
    })
}

fn parse_allocation(spec: &api::ServiceAllocation) -> Result<ServiceAllocation, ConfigError> {
    let mut namespaces = BTreeSet::new();
    for namespace in &spec.namespaces {
        if !namespaces.insert(namespace.clone()) {
            return Err(ConfigError::DuplicateNamespace(namespace.clone()));
        }
    }
    Ok(ServiceAllocation {
        priority: spec.priority.unwrap_or(0),
        namespaces,
        namespace_selectors: compile_list("namespaceSelectors", &spec.namespace_selectors)?,
        service_selectors: compile_list("serviceSelectors", &spec.service_selectors)?,
    })
}

/// Ranges of pools that do not overlap, by their first addresses. Asking for an overlap costs O(log n).
#[derive(Debug, Default)]
pub(crate) struct Disjoint {
    ranges: BTreeMap<IpAddr, (IpRange, String)>,
}

impl Disjoint {
    /// Adds all ranges of the pool, or, where one overlaps with what is there or within the pool, none of them.
    pub(crate) fn add(&mut self, pool: &Pool) -> Result<(), ConfigError> {
        for (place, range) in pool.ranges.iter().enumerate() {
            if let Some((other, other_pool)) = self.overlapping(range) {
                let error = overlap(range, &pool.name, other, other_pool);
                for added in &pool.ranges[..place] {
                    self.ranges.remove(&added.first());
                }
                return Err(error);
            }
            self.ranges.insert(range.first(), (*range, pool.name.clone()));
        }
        Ok(())
    }

    /// A range that has addresses in common with this one. As those that are here are disjoint, it can only be the
    /// last that begins at or before this one's end.
    fn overlapping(&self, range: &IpRange) -> Option<&(IpRange, String)> {
        let (_, before) = self.ranges.range(..=range.last()).next_back()?;
        before.0.overlaps(range).then_some(before)
    }

    /// First address of each range -> its last address and its pool.
    pub(crate) fn into_index(self) -> BTreeMap<IpAddr, (IpAddr, String)> {
        self.ranges.into_iter().map(|(first, (range, pool))| (first, (range.last(), pool))).collect()
    }
}

/// Refuses a pool that has an address twice, or one of another pool of the configuration: as [`Disjoint::add`] does
/// where all the others are there already.
pub(crate) fn fits(pool: &Pool, config: &Config) -> Result<(), ConfigError> {
    let mut own = Disjoint::default();
    for range in &pool.ranges {
        // As ranges are disjoint, only the last that begins before this one's end can reach into it; of the pool's
        // own only those in the new object count.
        let mut others = config.ranges.range(..=range.last()).rev();
        let other = others.find(|(_, (_, name))| *name != pool.name);
        let other = other.map(|(first, (last, name))| {
            (IpRange::new(*first, *last).expect("a range of a pool in force"), name.as_str())
        });
        let same = own.ranges.range(..=range.last()).next_back();
        let same = same.map(|(_, (range, name))| (*range, name.as_str()));
        let nearest = other.into_iter().chain(same).max_by_key(|(range, _)| range.first());
        if let Some((other, name)) = nearest.filter(|(other, _)| other.overlaps(range)) {
            return Err(overlap(range, &pool.name, &other, name));
        }
        own.ranges.insert(range.first(), (*range, pool.name.clone()));
    }
    Ok(())
}

fn overlap(range: &IpRange, pool: &str, other: &IpRange, other_pool: &str) -> ConfigError {
    ConfigError::Overlap {
        range: range.to_string(),
        pool: pool.to_owned(),
        other: other.to_string(),
        other_pool: other_pool.to_owned(),
    }
}
