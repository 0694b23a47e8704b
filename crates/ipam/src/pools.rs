//! The pools in the order in which they are tried, and what of them is in use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use net::Family;

use crate::allocator::Usage;
use crate::directory::Directory;
use crate::group::Group;
use crate::pool::{Pool, ServiceAllocation};
use crate::request::{Port, Sharing, Subject};
use crate::slots::Slots;
use crate::spot::Spot;

/// All pools. A pool is known by its number: its place in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    list: Vec<PoolState>,
    numbers: BTreeMap<Arc<str>, usize>,
    /// How many pools say for whom they are: these come first.
    pinned: usize,
    /// First address of a range -> its last address, its pool, its place in the pool.
    ranges: BTreeMap<IpAddr, (IpAddr, usize, usize)>,
    /// The pools that assign automatically, by whom they admit.
    directory: Directory,
    /// Whether each pool has a free address: IPv4, IPv6, both. Kept apart because a search reads many of them.
    open: Vec<[bool; 3]>,
    /// Addresses in use that more Services can share, by what those must bring.
    groups: BTreeMap<Sharing, Groups>,
}

/// Shared addresses by pool and family.
pub(crate) type Groups = BTreeMap<(usize, Family), Group>;

/// Of what a pool has a free address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Free {
    One(Family),
    Both,
}

/// A pool and what of it is in use.
#[derive(Clone, Debug)]
pub(crate) struct PoolState {
    pub(crate) name: Arc<str>,
    pub(crate) pool: Pool,
    ranges: Vec<Slots>,
    /// The ranges that have a free address, by family.
    open: [BTreeSet<usize>; 2],
    /// How many addresses are usable, by family.
    total: [u128; 2],
    /// How many addresses are in use, by family.
    used: [u64; 2],
}

impl Pools {
    /// Pools of which nothing is in use. Of two with one name the later one counts, and what a range has in common with
    /// one before it counts as the former's only: the whole range is left out.
    pub(crate) fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        let by_name: BTreeMap<String, Pool> =
            pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
        let (mut ordered, general): (Vec<Pool>, Vec<Pool>) =
            by_name.into_values().partition(|pool| pool.allocation.is_some());
        // Stable: pools of equal priority stay in the order of their names.
        ordered.sort_by_key(|pool| pool.allocation.as_ref().map(ServiceAllocation::rank));
        let mut made = Self { pinned: ordered.len(), ..Self::default() };
        ordered.extend(general);
        for (number, pool) in ordered.into_iter().enumerate() {
            made.add(number, pool);
        }
        made
    }

    fn add(&mut self, number: usize, mut pool: Pool) {
        let mut ranges = Vec::with_capacity(pool.ranges.len());
        for range in pool.ranges {
            let before = self.ranges.range(..=range.last()).next_back();
            if before.is_none_or(|(_, (last, ..))| *last < range.first()) {
                self.ranges.insert(range.first(), (range.last(), number, ranges.len()));
                ranges.push(range);
            }
        }
        pool.ranges = ranges;
        if pool.auto_assign {
            self.directory.enter(number, pool.allocation.as_ref());
        }
        let state = PoolState::new(pool);
        self.numbers.insert(state.name.clone(), number);
        self.open.push(state.is_open());
        self.list.push(state);
    }

    pub(crate) fn get(&self, number: usize) -> &PoolState {
        &self.list[number]
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The pools that say for whom they are, and those for everybody.
    pub(crate) fn tiers(&self) -> [Range<usize>; 2] {
        [0..self.pinned, self.pinned..self.list.len()]
    }

    /// The lists, each ascending, in which the pools are that may admit the Service and assign automatically.
    pub(crate) fn candidates(&self, subject: Subject<'_>) -> Vec<&[usize]> {
        self.directory.lists(subject)
    }

    /// Whether the pool's rules allow the Service.
    pub(crate) fn admits(&self, number: usize, subject: Subject<'_>) -> bool {
        self.list[number].pool.admits(subject.namespace, subject.namespace_labels, subject.labels)
    }

    /// Whether the pool has free addresses.
    pub(crate) fn is_open(&self, number: usize, what: Free) -> bool {
        let place = match what {
            Free::One(family) => place(family),
            Free::Both => 2,
        };
        self.open[number][place]
    }

    /// The addresses that a Service with this in mind might share.
    pub(crate) fn groups(&self, sharing: &Sharing) -> Option<&Groups> {
        sharing.key.as_ref().and_then(|_| self.groups.get(sharing))
    }

    /// Where an address is; `None` for one that is in no pool or not usable.
    pub(crate) fn spot(&self, address: IpAddr) -> Option<Spot> {
        let (_, &(last, pool, range)) = self.ranges.range(..=address).next_back()?;
        if address > last {
            return None;
        }
        let number = self.list[pool].ranges[range].number(address)?;
        Some(Spot { pool, range, number })
    }

    pub(crate) fn address(&self, spot: Spot) -> IpAddr {
        self.list[spot.pool].ranges[spot.range].address(spot.number)
    }

    /// The first free address of a family in a pool.
    pub(crate) fn lowest_free(&self, number: usize, family: Family) -> Option<Spot> {
        let pool = &self.list[number];
        let range = *pool.open[place(family)].first()?;
        Some(Spot { pool: number, range, number: pool.ranges[range].lowest_free()? })
    }

    /// Takes a free address into use.
    pub(crate) fn take(&mut self, spot: Spot) {
        let pool = &mut self.list[spot.pool];
        let slots = &mut pool.ranges[spot.range];
        if slots.take(spot.number) {
            let family = place(slots.family());
            pool.used[family] += 1;
            if slots.lowest_free().is_none() {
                pool.open[family].remove(&spot.range);
                self.open[spot.pool] = pool.is_open();
            }
        }
    }

    /// Takes an address out of use.
    pub(crate) fn give_back(&mut self, spot: Spot) {
        let pool = &mut self.list[spot.pool];
        let slots = &mut pool.ranges[spot.range];
        let was_full = slots.lowest_free().is_none();
        if slots.give_back(spot.number) {
            let family = place(slots.family());
            pool.used[family] -= 1;
            if was_full {
                pool.open[family].insert(spot.range);
                self.open[spot.pool] = pool.is_open();
            }
        }
    }

    /// Notes ports in use at an address that is shared so.
    pub(crate) fn share(&mut self, spot: Spot, sharing: &Sharing, ports: &BTreeSet<Port>) {
        let place = (spot.pool, self.family(spot));
        if !self.groups.contains_key(sharing) {
            self.groups.insert(sharing.clone(), Groups::new());
        }
        if let Some(groups) = self.groups.get_mut(sharing) {
            groups.entry(place).or_default().add(spot, ports);
        }
    }

    /// Notes ports that are in use no longer at an address that is shared so, and with `last` the whole address.
    pub(crate) fn unshare(&mut self, spot: Spot, sharing: &Sharing, ports: &BTreeSet<Port>, last: bool) {
        let place = (spot.pool, self.family(spot));
        let Some(groups) = self.groups.get_mut(sharing) else { return };
        let Some(group) = groups.get_mut(&place) else { return };
        if last {
            group.leave(spot);
        } else {
            group.remove(spot, ports);
        }
        if group.is_empty() {
            groups.remove(&place);
        }
        if groups.is_empty() {
            self.groups.remove(sharing);
        }
    }

    fn family(&self, spot: Spot) -> Family {
        self.list[spot.pool].ranges[spot.range].family()
    }
}

impl PoolState {
    fn new(pool: Pool) -> Self {
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
        Self { name: pool.name.as_str().into(), pool, ranges, open, total, used: [0, 0] }
    }

    /// Whether there is a free address: IPv4, IPv6, both.
    fn is_open(&self) -> [bool; 3] {
        let [v4, v6] = [0, 1].map(|family: usize| !self.open[family].is_empty());
        [v4, v6, v4 && v6]
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

fn place(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}
