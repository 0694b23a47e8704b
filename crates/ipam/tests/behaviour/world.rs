//! Services and pools to try the rules with.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipam::{Allocator, Error, Families, Labels, Pool, Port, Protocol, Request, Sharing, Subject};
use net::Family;

pub(crate) const V4: Families = Families::One(Family::V4);
pub(crate) const PREFER: Families = Families::Both { primary: Family::V4, required: false };
pub(crate) const REQUIRE: Families = Families::Both { primary: Family::V4, required: true };

/// A Service that owns what a [`Subject`] borrows.
#[derive(Clone, Default)]
pub(crate) struct Service {
    pub(crate) namespace_labels: Labels,
    pub(crate) labels: Labels,
    pub(crate) sharing: Sharing,
    pub(crate) ports: BTreeSet<Port>,
}

impl Service {
    pub(crate) fn sharing(key: &str, port: u16) -> Self {
        Self {
            sharing: Sharing { key: Some(key.to_owned()), backend: String::new() },
            ports: BTreeSet::from([Port { protocol: Protocol::Tcp, number: port }]),
            ..Self::default()
        }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            namespace: "default",
            namespace_labels: &self.namespace_labels,
            labels: &self.labels,
            sharing: &self.sharing,
            ports: &self.ports,
        }
    }
}

pub(crate) fn pool(name: &str, ranges: &[&str]) -> Pool {
    let ranges = ranges.iter().map(|range| range.parse().expect("a range in a test")).collect();
    Pool { name: name.to_owned(), ranges, auto_assign: true, ..Pool::default() }
}

pub(crate) fn with(pools: impl IntoIterator<Item = Pool>) -> Allocator<String> {
    let mut allocator = Allocator::new();
    assert!(allocator.set_pools(pools).is_empty());
    allocator
}

pub(crate) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address in a test")).collect()
}

pub(crate) fn ask<'a>(families: Families, pool: Option<&'a str>, addresses: &'a [IpAddr]) -> Request<'a> {
    Request { families, pool, addresses }
}

/// What a Service of no account gets that asks for nothing in particular.
pub(crate) fn get(
    allocator: &mut Allocator<String>,
    key: &str,
    families: Families,
) -> Result<Vec<String>, Error> {
    let service = Service::default();
    let allocation = allocator.allocate(&key.to_owned(), service.subject(), ask(families, None, &[]))?;
    Ok(allocation.addresses.iter().map(ToString::to_string).collect())
}
