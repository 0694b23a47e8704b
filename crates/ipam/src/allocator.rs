//! The table of who has which address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use net::Family;

use crate::error::Error;
use crate::pool::Pool;
use crate::request::{Families, Port, Request, Sharing, Subject};
use crate::search::{PoolState, Spot};

/// The addresses of all pools and the Services that have them. `K` names a Service; its text stands in errors.
#[derive(Clone, Debug)]
pub struct Allocator<K> {
    pub(crate) pools: BTreeMap<Arc<str>, PoolState>,
    /// The pools that say for whom they are, in the order in which they are tried.
    pub(crate) pinned: Vec<Arc<str>>,
    /// The pools for everybody, by name.
    pub(crate) general: Vec<Arc<str>>,
    /// First address of a range -> its last address, its pool, its place in the pool.
    ranges: BTreeMap<IpAddr, (IpAddr, Arc<str>, usize)>,
    /// Every address in use.
    pub(crate) records: BTreeMap<IpAddr, Record<K>>,
    services: BTreeMap<K, Holding>,
}

/// What a Service has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The pool that all of the addresses are from.
    pub pool: Arc<str>,
    /// One address, or an IPv4 and an IPv6 address in this order.
    pub addresses: Vec<IpAddr>,
}

/// How many addresses of a pool there are and how many are in use, each counted once however many share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Usable IPv4 addresses.
    pub total_v4: u128,
    /// Usable IPv6 addresses; at most `u128::MAX`.
    pub total_v6: u128,
    /// IPv4 addresses in use.
    pub used_v4: u64,
    /// IPv6 addresses in use.
    pub used_v6: u64,
}

/// One address in use.
#[derive(Clone, Debug)]
pub(crate) struct Record<K> {
    spot: Spot,
    sharing: Sharing,
    users: BTreeSet<K>,
    ports: BTreeMap<Port, K>,
}

/// What a Service has and under which conditions.
#[derive(Clone, Debug)]
struct Holding {
    allocation: Allocation,
    sharing: Sharing,
    ports: BTreeSet<Port>,
}

impl<K> Default for Allocator<K> {
    fn default() -> Self {
        Self {
            pools: BTreeMap::new(),
            pinned: Vec::new(),
            general: Vec::new(),
            ranges: BTreeMap::new(),
            records: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

impl<K: Clone + Ord + Display> Allocator<K> {
    /// An allocator without pools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the pools, which must not overlap. A Service whose addresses are all in one of the new pools keeps
    /// them, whatever that pool is called and whomever it is for (see [`adopt`](Self::adopt)); the others lose
    /// theirs and are returned with what they had.
    pub fn set_pools(&mut self, pools: impl IntoIterator<Item = Pool>) -> Vec<(K, Allocation)> {
        self.pools.clear();
        self.ranges.clear();
        self.records.clear();
        for pool in pools {
            let name: Arc<str> = pool.name.as_str().into();
            for (place, range) in pool.ranges.iter().enumerate() {
                self.ranges.insert(range.first(), (range.last(), name.clone(), place));
            }
            self.pools.insert(name, PoolState::new(pool));
        }
        (self.pinned, self.general) =
            self.pools.keys().cloned().partition(|name| self.pools[name].pool().allocation.is_some());
        self.pinned.sort_by_key(|name| {
            self.pools[name].pool().allocation.as_ref().map(crate::ServiceAllocation::rank)
        });
        let mut displaced = Vec::new();
        for (key, holding) in std::mem::take(&mut self.services) {
            match self.place(&holding.allocation.addresses) {
                Ok((pool, spots)) => {
                    let addresses = holding.allocation.addresses;
                    self.attach(key, pool, addresses, spots, holding.sharing, holding.ports);
                }
                Err(_) => displaced.push((key, holding.allocation)),
            }
        }
        displaced
    }

    /// Notes that the Service has these addresses: when it is first seen with them, and again whenever something
    /// about it has changed. What it had before and does not name is given back. On error nothing changes.
    pub fn adopt(
        &mut self,
        key: &K,
        subject: Subject<'_>,
        addresses: &[IpAddr],
    ) -> Result<&Allocation, Error> {
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        let (pool, spots) = self.place(&addresses)?;
        if !self.pools[&pool].pool().admits(subject.namespace, subject.namespace_labels, subject.labels) {
            return Err(Error::Incompatible(pool.to_string()));
        }
        for &address in &addresses {
            self.may_use(key, subject.sharing, subject.ports, address)?;
        }
        self.release(key);
        Ok(self.attach(key.clone(), pool, addresses, spots, subject.sharing.clone(), subject.ports.clone()))
    }

    /// Keeps an address for whoever has it although the rules of its pool do not give it to them: so that it goes to
    /// nobody else for now. Replaces what `key` had before.
    pub fn reserve(
        &mut self,
        key: &K,
        sharing: &Sharing,
        ports: &BTreeSet<Port>,
        address: IpAddr,
    ) -> Result<&Allocation, Error> {
        let (pool, spots) = self.place(&[address])?;
        self.may_use(key, sharing, ports, address)?;
        self.release(key);
        Ok(self.attach(key.clone(), pool, vec![address], spots, sharing.clone(), ports.clone()))
    }

    /// Gives the Service what it asks for. What it had before is given back first, also where this fails.
    ///
    /// Requested addresses and a requested pool are used whether or not the pool assigns automatically. Otherwise
    /// the pools that say for whom they are and admit the Service come first, by priority and name, and then those
    /// for everybody, by name. Both addresses of a Service with two families are from one pool. A Service that
    /// prefers both gets one address where no pool of a group has both: of the primary family if possible.
    pub fn allocate(
        &mut self,
        key: &K,
        subject: Subject<'_>,
        request: Request<'_>,
    ) -> Result<&Allocation, Error> {
        self.release(key);
        if !request.addresses.is_empty() {
            if !request.families.are_all_of(request.addresses) {
                return Err(Error::FamilyMismatch(request.addresses.to_vec()));
            }
            let found = self.adopt(key, subject, request.addresses)?.pool.clone();
            if let Some(pool) = request.pool.filter(|pool| **pool != *found) {
                self.release(key);
                let addresses = request.addresses.to_vec();
                return Err(Error::PoolMismatch { addresses, pool: pool.to_owned() });
            }
            return self.get(key).ok_or(Error::Exhausted);
        }
        let found = match request.pool {
            Some(name) => self.search_pool(name, subject, request.families)?,
            None => self.search_all(subject, request.families).ok_or(Error::Exhausted)?,
        };
        let (pool, chosen) = found;
        let (addresses, spots) = chosen.into_iter().unzip();
        Ok(self.attach(key.clone(), pool, addresses, spots, subject.sharing.clone(), subject.ports.clone()))
    }

    /// Gives a Service that has one address another of the other family, from the same pool.
    pub fn extend(&mut self, key: &K, subject: Subject<'_>) -> Result<IpAddr, Error> {
        let Some(Allocation { pool, addresses }) = self.get(key).cloned() else {
            return Err(Error::NothingToExtend);
        };
        let &[address] = addresses.as_slice() else { return Err(Error::NothingToExtend) };
        let family = Family::of(address).other();
        let (added, _) = self.pick(&self.pools[&pool], family, subject).ok_or_else(|| {
            if self.pools[&pool].pool().offers(family) {
                Error::PoolExhausted(pool.to_string())
            } else {
                Error::PoolLacksFamily(pool.to_string(), Families::One(family))
            }
        })?;
        self.adopt(key, subject, &[address, added])?;
        Ok(added)
    }

    /// Takes the Service's addresses from it; what they were.
    pub fn release(&mut self, key: &K) -> Option<Allocation> {
        let holding = self.services.remove(key)?;
        for address in &holding.allocation.addresses {
            let Some(record) = self.records.get_mut(address) else { continue };
            record.users.remove(key);
            for port in &holding.ports {
                // Ports of its own only: a Service that changes its ports is attached again with the new ones.
                if record.ports.get(port) == Some(key) {
                    record.ports.remove(port);
                }
            }
            if record.users.is_empty()
                && let Some(record) = self.records.remove(address)
                && let Some(pool) = self.pools.get_mut(&holding.allocation.pool)
            {
                pool.give_back(record.spot, &record.sharing);
            }
        }
        Some(holding.allocation)
    }

    /// What the Service has.
    pub fn get(&self, key: &K) -> Option<&Allocation> {
        self.services.get(key).map(|holding| &holding.allocation)
    }

    /// The conditions under which the Service has its addresses, as it brought them last: with whom it shares, and its
    /// ports.
    pub fn conditions(&self, key: &K) -> Option<(&Sharing, &BTreeSet<Port>)> {
        self.services.get(key).map(|holding| (&holding.sharing, &holding.ports))
    }

    /// The Services that have addresses, in order.
    pub fn services(&self) -> impl Iterator<Item = (&K, &Allocation)> {
        self.services.iter().map(|(key, holding)| (key, &holding.allocation))
    }

    /// Whether a pool of this name is in force.
    pub fn has_pool(&self, name: &str) -> bool {
        self.pools.contains_key(name)
    }

    /// Whether some Service has the address.
    pub fn in_use(&self, address: IpAddr) -> bool {
        self.records.contains_key(&address)
    }

    /// Whether the pool has an address of the family that nobody uses.
    pub fn has_free(&self, pool: &str, family: Family) -> bool {
        self.pools.get(pool).is_some_and(|pool| pool.lowest_free(family).is_some())
    }

    /// How much of a pool is in use.
    pub fn usage(&self, pool: &str) -> Option<Usage> {
        self.pools.get(pool).map(PoolState::usage)
    }

    /// The one pool that has these addresses, and where in it they are.
    fn place(&self, addresses: &[IpAddr]) -> Result<(Arc<str>, Vec<Spot>), Error> {
        let is_set = match addresses {
            [_] => true,
            [a, b] => Family::of(*a) != Family::of(*b),
            _ => false,
        };
        if !is_set {
            return Err(Error::NotASet(addresses.to_vec()));
        }
        let not_allowed = || Error::NotAllowed(addresses.to_vec());
        let mut found: Option<Arc<str>> = None;
        let mut spots = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let (_, (last, name, range)) =
                self.ranges.range(..=address).next_back().ok_or_else(not_allowed)?;
            if address > *last || found.as_ref().is_some_and(|found| found != name) {
                return Err(not_allowed());
            }
            spots.push(self.pools[name].spot(*range, address).ok_or_else(not_allowed)?);
            found = Some(name.clone());
        }
        found.map(|pool| (pool, spots)).ok_or_else(not_allowed)
    }

    /// Whether the Service may use the address beside those who use it already.
    fn may_use(
        &self,
        key: &K,
        sharing: &Sharing,
        ports: &BTreeSet<Port>,
        address: IpAddr,
    ) -> Result<(), Error> {
        let Some(record) = self.records.get(&address) else { return Ok(()) };
        let others: Vec<String> =
            record.users.iter().filter(|user| *user != key).map(ToString::to_string).collect();
        if others.is_empty() {
            return Ok(());
        }
        if sharing.key.is_none() || record.sharing != *sharing {
            return Err(Error::SharingKey { service: key.to_string(), others });
        }
        match ports.iter().find(|port| record.ports.get(port).is_some_and(|user| user != key)) {
            Some(&port) => Err(Error::PortInUse { port, address }),
            None => Ok(()),
        }
    }

    /// Enters the Service at addresses that it may use.
    fn attach(
        &mut self,
        key: K,
        pool: Arc<str>,
        addresses: Vec<IpAddr>,
        spots: Vec<Spot>,
        sharing: Sharing,
        ports: BTreeSet<Port>,
    ) -> &Allocation {
        for (&address, spot) in addresses.iter().zip(spots) {
            let record = self.records.entry(address).or_insert_with(|| {
                if let Some(pool) = self.pools.get_mut(&pool) {
                    pool.take(spot, &sharing);
                }
                Record { spot, sharing: sharing.clone(), users: BTreeSet::new(), ports: BTreeMap::new() }
            });
            record.users.insert(key.clone());
            record.ports.extend(ports.iter().map(|port| (*port, key.clone())));
        }
        let holding = Holding { allocation: Allocation { pool, addresses }, sharing, ports };
        &self.services.entry(key).insert_entry(holding).into_mut().allocation
    }
}

impl<K: Ord> Record<K> {
    /// Whether nobody who uses the address has one of the ports.
    pub(crate) fn has_free(&self, ports: &BTreeSet<Port>) -> bool {
        !ports.iter().any(|port| self.ports.contains_key(port))
    }
}
