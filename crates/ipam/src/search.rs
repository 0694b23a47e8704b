//! The search for an address.

use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Range;

use net::Family;

use crate::allocator::Allocator;
use crate::error::Error;
use crate::pools::{Free, Groups, Pools};
use crate::request::{Families, Subject};
use crate::spot::Spot;

/// The addresses chosen in a pool, in order.
pub(crate) type Found = Vec<(IpAddr, Spot)>;

/// The pools that may have an address for a Service, in the order in which they are tried.
struct Candidates<'a> {
    pools: &'a Pools,
    /// The pools that may admit it: lists, each ascending.
    lists: Vec<&'a [usize]>,
    /// The addresses that it may share, also in pools that are full.
    groups: Option<&'a Groups>,
}

impl<'a> Candidates<'a> {
    /// The pools with numbers in the range that have free addresses, or some to share.
    fn among(&self, range: Range<usize>, what: Free) -> impl Iterator<Item = usize> + use<'a> {
        let (pools, groups) = (self.pools, self.groups);
        let mut lists = self.lists.clone();
        let mut next = range.start;
        std::iter::from_fn(move || {
            for list in &mut lists {
                let passed = list.iter().take_while(|pool| **pool < next || !pools.is_open(**pool, what));
                *list = &list[passed.count()..];
            }
            let free = lists.iter().filter_map(|list| list.first().copied());
            let shared = groups.and_then(|groups| groups.range((next, Family::V4)..).next());
            let found = free.chain(shared.map(|((pool, _), _)| *pool)).min()?;
            next = found + 1;
            (found < range.end).then_some(found)
        })
    }
}

impl<K: Clone + Ord + Hash + Display> Allocator<K> {
    /// The first address of a family in the pool that is free or that the Service may share.
    pub(crate) fn pick(&self, pool: usize, family: Family, subject: Subject<'_>) -> Option<(IpAddr, Spot)> {
        let free = self.pools.lowest_free(pool, family);
        let group = self.pools.groups(subject.sharing).and_then(|groups| groups.get(&(pool, family)));
        let shared = group.and_then(|group| group.lowest_without(subject.ports));
        let spot = shared.into_iter().chain(free).min()?;
        Some((self.pools.address(spot), spot))
    }

    /// Addresses from the pool that the Service asks for.
    pub(crate) fn search_pool(
        &self,
        name: &str,
        subject: Subject<'_>,
        families: Families,
    ) -> Result<Found, Error> {
        let number = self.pools.number(name).ok_or_else(|| Error::UnknownPool(name.to_owned()))?;
        if !self.pools.admits(number, subject) {
            return Err(Error::Incompatible(name.to_owned()));
        }
        self.search(families, subject, |_| std::iter::once(number)).ok_or_else(|| {
            let offers = |family| self.pools.get(number).pool.offers(family);
            let offered = match families {
                Families::One(family) => offers(family),
                Families::Both { required: true, .. } => offers(Family::V4) && offers(Family::V6),
                Families::Both { required: false, .. } => true,
            };
            if offered {
                Error::PoolExhausted(name.to_owned())
            } else {
                Error::PoolLacksFamily(name.to_owned(), families)
            }
        })
    }

    /// Addresses from any pool that assigns automatically and admits the Service.
    pub(crate) fn search_all(&self, subject: Subject<'_>, families: Families) -> Option<Found> {
        let (lists, groups) = (self.pools.candidates(subject), self.pools.groups(subject.sharing));
        let candidates = Candidates { pools: &self.pools, lists, groups };
        self.pools.tiers().into_iter().find_map(|tier| {
            self.search(families, subject, |what| {
                let among = candidates.among(tier.clone(), what);
                among.filter(|pool| {
                    self.pools.get(*pool).pool.auto_assign && self.pools.admits(*pool, subject)
                })
            })
        })
    }

    /// Addresses from the first of the pools that has what the Service needs. `pools` gives those that may have what
    /// it is called with.
    fn search<I: Iterator<Item = usize>>(
        &self,
        families: Families,
        subject: Subject<'_>,
        pools: impl Fn(Free) -> I,
    ) -> Option<Found> {
        let one =
            |family| pools(Free::One(family)).find_map(|pool| Some(vec![self.pick(pool, family, subject)?]));
        match families {
            Families::One(family) => one(family),
            Families::Both { primary, required } => {
                let both = pools(Free::Both).find_map(|pool| {
                    let pick = |family| self.pick(pool, family, subject);
                    Some(vec![pick(Family::V4)?, pick(Family::V6)?])
                });
                let second_best = || one(primary).or_else(|| one(primary.other()));
                both.or_else(|| second_best().filter(|_| !required))
            }
        }
    }
}
