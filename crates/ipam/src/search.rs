//! The search for an address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use net::Family;

use crate::allocator::{Allocator, Usage};
use crate::error::Error;
use crate::pool::Pool;
use crate::request::{Families, Sharing, Subject};
use crate::slots::Slots;

/// The place of an address in its pool. Spots sort as addresses are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// The place of the range in the pool's list.
    range: usize,
    /// The number of the address in the range.
    number: u128,
}

/// A pool and what of it is in use.
#[derive(Clone, Debug)]
pub(crate) struct PoolState {
    pool: Pool,
    ranges: Vec<Slots>,
    /// The ranges that have a free address, by family.
    open: [BTreeSet<usize>; 2],
    /// How many addresses are usable, by family.
    total: [u128; 2],
    /// How many addresses are in use, by family.
    used: [u64; 2],
    /// The addresses in use that more Services can share, by what those must bring.
    sharable: BTreeMap<Sharing, BTreeSet<Spot>>,
}

/// A pool and the addresses chosen in it.
pub(crate) type Found = (Arc<str>, Vec<(IpAddr, Spot)>);

fn place(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

impl PoolState {
    pub(crate) fn new(pool: Pool) -> Self {
        let ranges: Vec<Slots> =
            pool.ranges.iter().map(|range| Slots::new(*range, pool.avoid_buggy_ips)).collect();
        let mut open = [BTreeSet::new(), BTreeSet::new()];
        let mut total: [u128; 2] = [0, 0];
        for (range, slots) in ranges.iter().enumerate() {
            let sum = &mut total[place(slots.family())];
            *sum = sum.saturating_add(slots.len());
            if slots.lowest_free().is_some() {
                open[place(slots.family())].insert(range);
            }
        }
        Self { pool, ranges, open, total, used: [0, 0], sharable: BTreeMap::new() }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Where in the pool an address of the given range is; `None` for one that is not usable.
    pub(crate) fn spot(&self, range: usize, address: IpAddr) -> Option<Spot> {
        let number = self.ranges.get(range)?.number(address)?;
        Some(Spot { range, number })
    }

    /// The first free address of a family.
    pub(crate) fn lowest_free(&self, family: Family) -> Option<Spot> {
        let range = *self.open[place(family)].first()?;
        let number = self.ranges.get(range)?.lowest_free()?;
        Some(Spot { range, number })
    }

    /// The addresses that a Service with this in mind might share, and where they are.
    fn sharable(&self, sharing: &Sharing, family: Family) -> impl Iterator<Item = (IpAddr, Spot)> {
        let spots = self.sharable.get(sharing).into_iter().flatten();
        spots
            .filter_map(move |spot| self.address(*spot).map(|address| (address, *spot)))
            .filter(move |(address, _)| Family::of(*address) == family)
    }

    fn address(&self, spot: Spot) -> Option<IpAddr> {
        self.ranges.get(spot.range).map(|slots| slots.address(spot.number))
    }

    /// Takes an address into use, by a Service that would share it so.
    pub(crate) fn take(&mut self, spot: Spot, sharing: &Sharing) {
        let Some(slots) = self.ranges.get_mut(spot.range) else { return };
        if !slots.take(spot.number) {
            return;
        }
        let family = place(slots.family());
        self.used[family] += 1;
        if slots.lowest_free().is_none() {
            self.open[family].remove(&spot.range);
        }
        if sharing.key.is_some() {
            self.sharable.entry(sharing.clone()).or_default().insert(spot);
        }
    }

    /// Takes an address, which was shared so, out of use.
    pub(crate) fn give_back(&mut self, spot: Spot, sharing: &Sharing) {
        let Some(slots) = self.ranges.get_mut(spot.range) else { return };
        if !slots.give_back(spot.number) {
            return;
        }
        let family = place(slots.family());
        self.used[family] -= 1;
        self.open[family].insert(spot.range);
        if let Some(spots) = self.sharable.get_mut(sharing) {
            spots.remove(&spot);
            if spots.is_empty() {
                self.sharable.remove(sharing);
            }
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            total_v4: self.total[place(Family::V4)],
            total_v6: self.total[place(Family::V6)],
            used_v4: self.used[place(Family::V4)],
            used_v6: self.used[place(Family::V6)],
        }
    }
}

impl<K: Clone + Ord + Display> Allocator<K> {
    /// The first address of a family in the pool that is free or that the Service may share.
    pub(crate) fn pick(
        &self,
        pool: &PoolState,
        family: Family,
        subject: Subject<'_>,
    ) -> Option<(IpAddr, Spot)> {
        let free = pool.lowest_free(family).and_then(|spot| Some((pool.address(spot)?, spot)));
        if subject.sharing.key.is_none() {
            return free;
        }
        let shared = pool
            .sharable(subject.sharing, family)
            .take_while(|(_, spot)| free.is_none_or(|(_, free)| *spot < free))
            .find(|(address, _)| {
                self.records.get(address).is_some_and(|record| record.has_free(subject.ports))
            });
        shared.or(free)
    }

    /// Addresses from the pool that the Service asks for.
    pub(crate) fn search_pool(
        &self,
        name: &str,
        subject: Subject<'_>,
        families: Families,
    ) -> Result<Found, Error> {
        let (name, pool) =
            self.pools.get_key_value(name).ok_or_else(|| Error::UnknownPool(name.to_owned()))?;
        if !admits(pool, subject) {
            return Err(Error::Incompatible(name.to_string()));
        }
        self.search([name].into_iter(), subject, families).ok_or_else(|| {
            let offers = |family| pool.pool().offers(family);
            let offered = match families {
                Families::One(family) => offers(family),
                Families::Both { required: true, .. } => offers(Family::V4) && offers(Family::V6),
                Families::Both { required: false, .. } => true,
            };
            if offered {
                Error::PoolExhausted(name.to_string())
            } else {
                Error::PoolLacksFamily(name.to_string(), families)
            }
        })
    }

    /// Addresses from any pool that assigns automatically and admits the Service.
    pub(crate) fn search_all(&self, subject: Subject<'_>, families: Families) -> Option<Found> {
        let fits = |name: &&Arc<str>| {
            let pool = &self.pools[*name];
            pool.pool().auto_assign && admits(pool, subject)
        };
        self.search(self.pinned.iter().filter(fits), subject, families)
            .or_else(|| self.search(self.general.iter().filter(fits), subject, families))
    }

    /// Addresses from the first of the pools that has what the Service needs.
    fn search<'a>(
        &self,
        mut pools: impl Iterator<Item = &'a Arc<str>>,
        subject: Subject<'_>,
        families: Families,
    ) -> Option<Found> {
        let pick = |name: &Arc<str>, family| self.pick(&self.pools[name], family, subject);
        let (primary, required) = match families {
            Families::One(family) => {
                return pools.find_map(|name| Some((name.clone(), vec![pick(name, family)?])));
            }
            Families::Both { primary, required } => (primary, required),
        };
        let mut second_best: [Option<Found>; 2] = [None, None];
        for name in pools {
            match (pick(name, primary), pick(name, primary.other())) {
                (Some(one), Some(other)) => {
                    let mut both = vec![one, other];
                    both.sort_unstable();
                    return Some((name.clone(), both));
                }
                (Some(one), None) => {
                    second_best[0].get_or_insert((name.clone(), vec![one]));
                }
                (None, Some(other)) => {
                    second_best[1].get_or_insert((name.clone(), vec![other]));
                }
                (None, None) => {}
            }
        }
        let [of_primary, of_secondary] = second_best;
        of_primary.or(of_secondary).filter(|_| !required)
    }
}

fn admits(pool: &PoolState, subject: Subject<'_>) -> bool {
    pool.pool().admits(subject.namespace, subject.namespace_labels, subject.labels)
}
