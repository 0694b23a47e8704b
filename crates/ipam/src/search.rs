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
use crate::spot::{Places, Spot};

/// The pools that may have an address for a Service, in the order in which they are tried.
#[derive(Clone)]
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
        self.clone().into_those_among(range, what)
    }

    fn into_those_among(mut self, range: Range<usize>, what: Free) -> impl Iterator<Item = usize> + use<'a> {
        let mut next = range.start;
        std::iter::from_fn(move || {
            let pools = self.pools;
            for list in &mut self.lists {
                let passed = list.iter().take_while(|pool| **pool < next || !pools.is_open(**pool, what));
                *list = &list[passed.count()..];
            }
            let free = self.lists.iter().filter_map(|list| list.first().copied());
            let shared = self.groups.and_then(|groups| groups.range((next, Family::V4)..).next());
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
    ) -> Result<Places, Error> {
        let number = self.pools.number(name).ok_or_else(|| Error::UnknownPool(name.to_owned()))?;
        if !self.pools.admits(number, subject) {
            return Err(Error::Incompatible(name.to_owned()));
        }
        let found = match families {
            Families::One(family) => self.pick(number, family, subject).map(|one| Places::One([one])),
            Families::Both { primary, required } => {
                self.search_both(primary, required, subject, |_| std::iter::once(number))
            }
        };
        found.ok_or_else(|| {
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
    pub(crate) fn search_all(&self, subject: Subject<'_>, families: Families) -> Option<Places> {
        let (lists, groups) = (self.pools.candidates(subject), self.pools.groups(subject.sharing));
        let candidates = Candidates { pools: &self.pools, lists, groups };
        let fits = |pool: &usize| self.pools.get(*pool).pool.auto_assign && self.pools.admits(*pool, subject);
        let [pinned, general] = self.pools.tiers();
        match families {
            Families::One(family) => candidates
                .into_those_among(pinned.start..general.end, Free::One(family))
                .filter(fits)
                .find_map(|pool| Some(Places::One([self.pick(pool, family, subject)?]))),
            Families::Both { primary, required } => [pinned, general].into_iter().find_map(|tier| {
                self.search_both(primary, required, subject, |what| {
                    candidates.among(tier.clone(), what).filter(fits)
                })
            }),
        }
    }

    /// Addresses of both families from the first of the pools that has them, or else, where that will do, one of
    /// them. `pools` gives the pools that may have what it is called with.
    fn search_both<I: Iterator<Item = usize>>(
        &self,
        primary: Family,
        required: bool,
        subject: Subject<'_>,
        pools: impl Fn(Free) -> I,
    ) -> Option<Places> {
        let pick = |pool, family| self.pick(pool, family, subject);
        let both = pools(Free::Both)
            .find_map(|pool| Some(Places::Two([pick(pool, Family::V4)?, pick(pool, Family::V6)?])));
        if both.is_some() || required {
            return both;
        }
        let one = |family| pools(Free::One(family)).find_map(|pool| Some(Places::One([pick(pool, family)?])));
        one(primary).or_else(|| one(primary.other()))
    }
}
