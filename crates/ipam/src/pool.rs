//! Pools as the allocator and the speakers know them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use net::{Family, IpRange};

use crate::labels::{Labels, Selector};

/// A validated pool: named ranges of addresses and the rules for who may have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// The name of the IPAddressPool.
    pub name: String,
    /// The addresses, in the order in which they are tried. No two ranges overlap, here or between pools.
    pub ranges: Vec<IpRange>,
    /// Whether Services that ask for neither a pool nor an address may get one from here.
    pub auto_assign: bool,
    /// Whether IPv4 addresses that end in .0 and .255 are left out: see [`is_buggy`].
    pub avoid_buggy_ips: bool,
    /// Who may have the addresses; `None` is everybody, after the pools that say something here.
    pub allocation: Option<ServiceAllocation>,
}

/// Who may have a pool's addresses, and how early the pool is tried.
///
/// A Service must fit the namespaces, by name or by label, where any are named, and one of the Service
/// selectors, where there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAllocation {
    /// The pool with the lowest positive number is tried first; 0 and what is negative come last.
    pub priority: i64,
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// Namespaces by label: one must match.
    pub namespace_selectors: Vec<Selector>,
    /// Services by label: one must match.
    pub service_selectors: Vec<Selector>,
}

impl Pool {
    /// Whether the address is the pool's to give.
    pub fn contains(&self, address: IpAddr) -> bool {
        !(self.avoid_buggy_ips && is_buggy(address))
            && self.ranges.iter().any(|range| range.contains(address))
    }

    /// Whether the pool has ranges of the family.
    pub fn offers(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.family() == family)
    }

    /// Whether the pool's rules allow a Service with these labels in this namespace.
    pub fn admits(&self, namespace: &str, namespace_labels: &Labels, service_labels: &Labels) -> bool {
        self.allocation.as_ref().is_none_or(|rules| rules.admits(namespace, namespace_labels, service_labels))
    }
}

impl ServiceAllocation {
    /// Whether the rules allow a Service with these labels in this namespace.
    ///
    /// A namespace selector that matches no namespace at all still excludes the others.
    pub fn admits(&self, namespace: &str, namespace_labels: &Labels, service_labels: &Labels) -> bool {
        let any_namespace = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        let namespace_fits = any_namespace
            || self.namespaces.contains(namespace)
            || self.namespace_selectors.iter().any(|selector| selector.matches(namespace_labels));
        let service_fits = self.service_selectors.is_empty()
            || self.service_selectors.iter().any(|selector| selector.matches(service_labels));
        namespace_fits && service_fits
    }

    /// The place of the pool among those that fit a Service: lower is earlier.
    pub(crate) fn rank(&self) -> u64 {
        u64::try_from(self.priority).ok().filter(|&priority| priority > 0).unwrap_or(u64::MAX)
    }
}

/// Whether some old equipment takes the address, wrongly, for a network or broadcast address: IPv4 with a last byte
/// of 0 or 255, whatever the prefix.
pub fn is_buggy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets()[3], 0 | 255))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{Requirement, Test};

    fn selector(key: &str) -> Selector {
        Selector::new([Requirement { key: key.to_owned(), test: Test::Exists }])
    }

    fn labels(key: &str) -> Labels {
        Labels::from([(key.to_owned(), String::new())])
    }

    #[test]
    fn namespaces_and_services_must_both_fit() {
        let rules = |namespaces: &[&str], by_label: &[&str], services: &[&str]| ServiceAllocation {
            priority: 0,
            namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
            namespace_selectors: by_label.iter().map(|key| selector(key)).collect(),
            service_selectors: services.iter().map(|key| selector(key)).collect(),
        };
        for (rules, admitted) in [
            (rules(&[], &[], &[]), true),
            (rules(&["shop"], &[], &[]), true),
            (rules(&["other"], &[], &[]), false),
            (rules(&["other"], &["prod"], &[]), true),
            (rules(&[], &["test"], &[]), false),
            (rules(&["shop"], &[], &["web"]), true),
            (rules(&["shop"], &[], &["db"]), false),
            (rules(&["shop"], &[], &["db", "web"]), true),
            (rules(&["other"], &[], &["web"]), false),
        ] {
            assert_eq!(rules.admits("shop", &labels("prod"), &labels("web")), admitted, "{rules:?}");
        }
    }

    #[test]
    fn unset_and_negative_priorities_come_last() {
        let mut order = [0, 7, -3, 1].map(|priority| ServiceAllocation { priority, ..Default::default() });
        order.sort_by_key(ServiceAllocation::rank);
        assert_eq!(order.map(|rules| rules.priority), [1, 7, 0, -3]);
    }

    #[test]
    fn addresses_that_old_equipment_refuses_are_only_ipv4_ones() {
        for (address, buggy) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.2.1", false),
            ("192.0.0.2", false),
            ("2001:db8::", false),
            ("2001:db8::ff", false),
        ] {
            assert_eq!(is_buggy(address.parse().expect("an address")), buggy, "{address}");
        }
    }
}
