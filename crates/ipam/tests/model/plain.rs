//! An allocator that lists every address of every pool whenever it looks for one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipam::{Families, Pool, Port, Sharing, is_buggy};
use net::Family;

use crate::drawn::Ask;

/// What one Service has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) pool: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) sharing: Sharing,
    pub(crate) ports: BTreeSet<Port>,
}

/// Lists every address of every pool whenever it looks for one.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) pools: Vec<Pool>,
    pub(crate) held: BTreeMap<u8, Held>,
    /// Since when a Service waits, and for what.
    pub(crate) waiting: BTreeMap<u8, (i64, Ask)>,
}

impl Model {
    /// All usable addresses of a pool in the order in which they are tried.
    pub(crate) fn addresses(pool: &Pool) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for range in &pool.ranges {
            let mut next = Some(range.first());
            while let Some(address) = next.filter(|address| *address <= range.last()) {
                if !(pool.avoid_buggy_ips && is_buggy(address)) {
                    all.push(address);
                }
                next = match address {
                    IpAddr::V4(v4) => {
                        v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into())
                    }
                    IpAddr::V6(v6) => {
                        v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into())
                    }
                };
            }
        }
        all
    }

    fn may_use(&self, key: u8, ask: &Ask, address: IpAddr) -> bool {
        self.held.iter().filter(|(other, held)| **other != key && held.addresses.contains(&address)).all(
            |(_, held)| {
                ask.sharing.key.is_some() && held.sharing == ask.sharing && held.ports.is_disjoint(&ask.ports)
            },
        )
    }

    fn first(&self, key: u8, ask: &Ask, pool: &Pool, family: Family) -> Option<IpAddr> {
        let mut all = Self::addresses(pool).into_iter();
        all.find(|address| Family::of(*address) == family && self.may_use(key, ask, *address))
    }

    pub(crate) fn adopt(&mut self, key: u8, ask: &Ask, addresses: &[IpAddr]) -> bool {
        let mut sorted = addresses.to_vec();
        sorted.sort_unstable();
        let is_set =
            sorted.len() == 1 || (sorted.len() == 2 && Family::of(sorted[0]) != Family::of(sorted[1]));
        let pool = self.pools.iter().find(|pool| {
            let all = Self::addresses(pool);
            sorted.iter().all(|address| all.contains(address))
        });
        let Some(pool) = pool.filter(|pool| is_set && ask.fits(pool)) else {
            return false;
        };
        if !sorted.iter().all(|address| self.may_use(key, ask, *address)) {
            return false;
        }
        let held = Held {
            pool: pool.name.clone(),
            addresses: sorted,
            sharing: ask.sharing.clone(),
            ports: ask.ports.clone(),
        };
        self.held.insert(key, held);
        true
    }

    pub(crate) fn allocate(&mut self, key: u8, ask: &Ask) {
        self.held.remove(&key);
        if !ask.addresses.is_empty() {
            if ask.families.are_all_of(&ask.addresses) && self.adopt(key, ask, &ask.addresses) {
                let found = &self.held[&key].pool;
                if ask.pool.as_ref().is_some_and(|pool| pool != found) {
                    self.held.remove(&key);
                }
            }
            return;
        }
        let fits = |pool: &&Pool| ask.fits(pool);
        let groups: Vec<Vec<&Pool>> = if let Some(name) = &ask.pool {
            vec![self.pools.iter().filter(|pool| pool.name == *name).filter(fits).collect()]
        } else {
            let auto = || self.pools.iter().filter(|pool| pool.auto_assign).filter(fits);
            let mut pinned: Vec<&Pool> = auto().filter(|pool| pool.allocation.is_some()).collect();
            pinned.sort_by_key(|pool| {
                let priority = pool.allocation.as_ref().map_or(0, |rules| rules.priority);
                (priority <= 0, priority.max(0), pool.name.clone())
            });
            vec![pinned, auto().filter(|pool| pool.allocation.is_none()).collect()]
        };
        for group in groups {
            if let Some((pool, addresses)) = self.best(key, ask, &group) {
                let held = Held { pool, addresses, sharing: ask.sharing.clone(), ports: ask.ports.clone() };
                self.held.insert(key, held);
                return;
            }
        }
    }

    fn best(&self, key: u8, ask: &Ask, pools: &[&Pool]) -> Option<(String, Vec<IpAddr>)> {
        let of = |pool: &&Pool, families: &[Family]| {
            let found: Option<Vec<IpAddr>> =
                families.iter().map(|family| self.first(key, ask, pool, *family)).collect();
            found.map(|found| (pool.name.clone(), found))
        };
        let attempts: Vec<Vec<Family>> = match ask.families {
            Families::One(family) => vec![vec![family]],
            Families::Both { required: true, .. } => vec![vec![Family::V4, Family::V6]],
            Families::Both { primary, .. } => {
                vec![vec![Family::V4, Family::V6], vec![primary], vec![primary.other()]]
            }
        };
        attempts.iter().find_map(|families| pools.iter().find_map(|pool| of(pool, families)))
    }

    pub(crate) fn extend(&mut self, key: u8, ask: &Ask) {
        let Some(held) = self.held.get(&key).filter(|held| held.addresses.len() == 1) else { return };
        let family = Family::of(held.addresses[0]).other();
        let pool = self.pools.iter().find(|pool| pool.name == held.pool).expect("in force");
        if let Some(added) = self.first(key, ask, pool, family) {
            let both = [held.addresses[0], added];
            self.adopt(key, ask, &both);
        }
    }

    pub(crate) fn set_pools(&mut self, pools: Vec<Pool>) {
        self.pools = pools;
        self.waiting.clear();
        self.held.retain(|_, held| {
            let pool = self.pools.iter().find(|pool| {
                let all = Self::addresses(pool);
                held.addresses.iter().all(|address| all.contains(address))
            });
            held.pool = pool.map(|pool| pool.name.clone()).unwrap_or_default();
            pool.is_some()
        });
    }

    /// Who waits for something that the address helps with, the oldest first.
    pub(crate) fn named(&self, address: IpAddr) -> Vec<u8> {
        let Some(pool) = self.pools.iter().find(|pool| Self::addresses(pool).contains(&address)) else {
            return Vec::new();
        };
        let helped = |key: u8, ask: &Ask| {
            if !ask.fits(pool) || !self.may_use(key, ask, address) {
                return false;
            }
            if ask.pool.as_ref().is_some_and(|asked| *asked != pool.name) {
                return false;
            }
            if !ask.addresses.is_empty() {
                return ask.addresses.contains(&address)
                    && ask.families.are_all_of(&ask.addresses)
                    && ask.addresses.iter().all(|asked| Self::addresses(pool).contains(asked))
                    && ask.addresses.iter().all(|asked| self.may_use(key, ask, *asked));
            }
            let family = Family::of(address);
            (pool.auto_assign || ask.pool.is_some())
                && match ask.families {
                    Families::One(wanted) => wanted == family,
                    Families::Both { required, .. } => {
                        !required || self.first(key, ask, pool, family.other()).is_some()
                    }
                }
        };
        let mut waiters: Vec<(i64, u8)> = self
            .waiting
            .iter()
            .filter(|(key, (_, ask))| helped(**key, ask))
            .map(|(key, (since, _))| (*since, *key))
            .collect();
        waiters.sort_unstable();
        waiters.into_iter().map(|(_, key)| key).collect()
    }
}
