//! The table of who has which address.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use net::Family;

use crate::error::Error;
use crate::hash::Folding;
use crate::pool::Pool;
use crate::pools::{Free, Pools};
use crate::record::{Record, Users};
use crate::request::{Families, Port, Request, Sharing, Subject};
use crate::spot::Places;
use crate::waiting::Waiting;

/// The addresses of all pools and the Services that have them. `K` names a Service; its text stands in errors.
#[derive(Clone, Debug)]
pub struct Allocator<K> {
    pub(crate) pools: Pools,
    /// Every address in use.
    pub(crate) records: HashMap<IpAddr, Record<K>, Folding>,
    services: HashMap<Arc<K>, Holding, Folding>,
    pub(crate) waiting: Waiting<K>,
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

/// What a Service has and under which conditions.
#[derive(Clone, Debug)]
struct Holding {
    allocation: Allocation,
    /// `None` for one that shares with nobody: most do not, and their ports are of no account here.
    conditions: Option<Box<Conditions>>,
}

type Conditions = (Sharing, BTreeSet<Port>);

/// The conditions of all who share with nobody.
static UNSHARED: Conditions = (Sharing { key: None, backend: String::new() }, BTreeSet::new());

impl<K> Default for Allocator<K> {
    fn default() -> Self {
        Self {
            pools: Pools::default(),
            records: HashMap::default(),
            services: HashMap::default(),
            waiting: Waiting::default(),
        }
    }
}

impl<K: Clone + Ord + Hash + Display> Allocator<K> {
    /// An allocator without pools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the pools. They must not overlap: a range that does, with one of a pool that is tried earlier, is left
    /// out. A Service whose addresses are all in one of the new pools keeps them, whatever that pool is called and
    /// whomever it is for (see [`adopt`](Self::adopt)); the others lose theirs and are returned, in order, with what
    /// they had. Whoever [waits](Self::wait) is forgotten, since other pools may be of use now.
    pub fn set_pools(&mut self, pools: impl IntoIterator<Item = Pool>) -> Vec<(K, Allocation)> {
        self.pools = Pools::new(pools);
        self.records.clear();
        self.waiting = Waiting::default();
        let mut displaced = Vec::new();
        for (key, holding) in std::mem::take(&mut self.services) {
            match self.place(&holding.allocation.addresses) {
                Ok(places) => {
                    self.attach(&key, places, holding.conditions);
                }
                Err(_) => displaced.push((K::clone(&key), holding.allocation)),
            }
        }
        displaced.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
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
        let places = self.place(addresses)?;
        if !self.pools.admits(places.pool(), subject) {
            return Err(Error::Incompatible(self.pools.get(places.pool()).name.to_string()));
        }
        self.enter(key, subject.sharing, subject.ports, places)
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
        let places = self.place(&[address])?;
        self.enter(key, sharing, ports, places)
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
        // The name of a Service that is known is not copied again.
        let key = self.take_from(key).map_or_else(|| Arc::new(key.clone()), |(key, _)| key);
        if !request.addresses.is_empty() {
            return self.give(&key, subject, request);
        }
        let found = match request.pool {
            Some(name) => self.search_pool(name, subject, request.families)?,
            None => self.search_all(subject, request.families).ok_or(Error::Exhausted)?,
        };
        Ok(self.attach(&key, found, conditions(subject.sharing, subject.ports)))
    }

    /// Gives a Service that has nothing the addresses that it asks for.
    fn give(&mut self, key: &K, subject: Subject<'_>, request: Request<'_>) -> Result<&Allocation, Error> {
        if !request.families.are_all_of(request.addresses) {
            return Err(Error::FamilyMismatch(request.addresses.to_vec()));
        }
        let found = self.adopt(key, subject, request.addresses)?.pool.clone();
        if let Some(pool) = request.pool.filter(|pool| **pool != *found) {
            self.release(key);
            let addresses = request.addresses.to_vec();
            return Err(Error::PoolMismatch { addresses, pool: pool.to_owned() });
        }
        self.get(key).ok_or(Error::Exhausted)
    }

    /// Gives a Service that has one address another of the other family, from the same pool.
    pub fn extend(&mut self, key: &K, subject: Subject<'_>) -> Result<IpAddr, Error> {
        let Some(Allocation { pool, addresses }) = self.get(key) else {
            return Err(Error::NothingToExtend);
        };
        let &[address] = addresses.as_slice() else { return Err(Error::NothingToExtend) };
        let family = Family::of(address).other();
        let Some(number) = self.pools.number(pool) else { return Err(Error::NothingToExtend) };
        let (added, _) = self.pick(number, family, subject).ok_or_else(|| {
            if self.pools.get(number).pool.offers(family) {
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
        self.take_from(key).map(|(_, allocation)| allocation)
    }

    fn take_from(&mut self, key: &K) -> Option<(Arc<K>, Allocation)> {
        let (key, holding) = self.services.remove_entry(key)?;
        for address in &holding.allocation.addresses {
            let Entry::Occupied(mut entry) = self.records.entry(*address) else { continue };
            let record = entry.get_mut();
            let spot = record.spot;
            let is_last = match (&mut record.users, holding.conditions.as_deref()) {
                (Users::Sharing(sharers), Some((sharing, ports))) => {
                    let is_last = sharers.remove(&key, ports);
                    self.pools.unshare(spot, sharing, ports, is_last);
                    is_last
                }
                _ => true,
            };
            if is_last {
                entry.remove();
                self.pools.give_back(spot);
            }
        }
        Some((key, holding.allocation))
    }

    /// What the Service has.
    pub fn get(&self, key: &K) -> Option<&Allocation> {
        self.services.get(key).map(|holding| &holding.allocation)
    }

    /// The conditions under which the Service has its addresses, as it brought them last: with whom it shares, and its
    /// ports. Nothing is noted, and both are empty, for one that shares with nobody.
    pub fn conditions(&self, key: &K) -> Option<(&Sharing, &BTreeSet<Port>)> {
        let holding = self.services.get(key)?;
        let (sharing, ports) = holding.conditions.as_deref().unwrap_or(&UNSHARED);
        Some((sharing, ports))
    }

    /// The Services that have addresses, in order.
    pub fn services(&self) -> impl Iterator<Item = (&K, &Allocation)> {
        let mut all: Vec<(&K, &Allocation)> =
            self.services.iter().map(|(key, holding)| (&**key, &holding.allocation)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    /// Whether some Service has the address.
    pub fn in_use(&self, address: IpAddr) -> bool {
        self.records.contains_key(&address)
    }

    /// Whether the pool has an address of the family that nobody uses.
    pub fn has_free(&self, pool: &str, family: Family) -> bool {
        self.pools.number(pool).is_some_and(|pool| self.pools.is_open(pool, Free::One(family)))
    }

    /// How much of a pool is in use.
    pub fn usage(&self, pool: &str) -> Option<Usage> {
        self.pools.number(pool).map(|pool| self.pools.get(pool).usage())
    }

    /// Where addresses are that one Service can have: in one pool, and of different families.
    fn place(&self, addresses: &[IpAddr]) -> Result<Places, Error> {
        let spot = |address| self.pools.spot(address).map(|spot| (address, spot));
        let found = match *addresses {
            [address] => spot(address).map(|one| Places::One([one])),
            [a, b] if Family::of(a) != Family::of(b) => spot(a.min(b))
                .zip(spot(a.max(b)))
                .filter(|((_, v4), (_, v6))| v4.pool == v6.pool)
                .map(|(v4, v6)| Places::Two([v4, v6])),
            _ => return Err(Error::NotASet(addresses.to_vec())),
        };
        found.ok_or_else(|| {
            let mut addresses = addresses.to_vec();
            addresses.sort_unstable();
            Error::NotAllowed(addresses)
        })
    }

    /// Whether the Service may use the address beside those who use it already.
    pub(crate) fn may_use(
        &self,
        key: &K,
        sharing: &Sharing,
        ports: &BTreeSet<Port>,
        address: IpAddr,
    ) -> Result<(), Error> {
        let Some(record) = self.records.get(&address).filter(|record| record.users.has_others(key)) else {
            return Ok(());
        };
        match &record.users {
            Users::Sharing(sharers) if sharers.sharing == *sharing => {
                match ports.iter().find(|port| sharers.ports.get(port).is_some_and(|user| **user != *key)) {
                    Some(&port) => Err(Error::PortInUse { port, address }),
                    None => Ok(()),
                }
            }
            users => {
                let others = users.others(key).iter().map(ToString::to_string).collect();
                Err(Error::SharingKey { service: key.to_string(), others })
            }
        }
    }

    /// Enters the Service at addresses in place of what it had, where it may use them.
    fn enter(
        &mut self,
        key: &K,
        sharing: &Sharing,
        ports: &BTreeSet<Port>,
        places: Places,
    ) -> Result<&Allocation, Error> {
        for address in places.addresses() {
            self.may_use(key, sharing, ports, address)?;
        }
        let conditions = conditions(sharing, ports);
        let known = self.services.get_key_value(key);
        let is_same = known.is_some_and(|(_, holding)| {
            holding.conditions == conditions
                && holding.allocation.addresses.iter().copied().eq(places.addresses())
        });
        if is_same {
            return Ok(&self.services[key].allocation);
        }
        let key = known.map_or_else(|| Arc::new(key.clone()), |(key, _)| key.clone());
        self.take_from(&key);
        Ok(self.attach(&key, places, conditions))
    }

    /// Enters a Service that has nothing at addresses that it may use.
    fn attach(&mut self, key: &Arc<K>, places: Places, conditions: Option<Box<Conditions>>) -> &Allocation {
        for &(address, spot) in places.as_slice() {
            let sharing = conditions.as_ref().map(|conditions| &conditions.0);
            let record = self.records.entry(address).or_insert_with(|| {
                self.pools.take(spot);
                Record { spot, users: Users::first(key, sharing) }
            });
            if let (Users::Sharing(sharers), Some((sharing, ports))) =
                (&mut record.users, conditions.as_deref())
            {
                sharers.add(key, ports);
                self.pools.share(spot, sharing, ports);
            }
        }
        let pool = self.pools.get(places.pool()).name.clone();
        let allocation = Allocation { pool, addresses: places.addresses().collect() };
        let holding = Holding { allocation, conditions };
        &self.services.entry(key.clone()).insert_entry(holding).into_mut().allocation
    }
}

fn conditions(sharing: &Sharing, ports: &BTreeSet<Port>) -> Option<Box<Conditions>> {
    sharing.key.is_some().then(|| Box::new((sharing.clone(), ports.clone())))
}
