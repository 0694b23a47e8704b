//! Who waits for an address, by what would help.
//!
//! Services that the same addresses would help are in one queue, so that an address that becomes free is weighed
//! against queues, and only Services that can use it are ever named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Bound;

use net::Family;

use crate::allocator::Allocator;
use crate::pools::Free;
use crate::record::Users;
use crate::request::{Families, Port, Request, Sharing, Subject};
use crate::spot::Spot;

/// A Service that waits. Those that wait longer sort first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiter<K> {
    /// Since when, in any unit: when the Service was created.
    pub since: i64,
    /// The Service.
    pub key: K,
}

/// All who wait.
#[derive(Clone, Debug)]
pub(crate) struct Waiting<K> {
    /// For any address of a pool that nobody uses.
    free: Queues<K>,
    /// For an address that is shared under these conditions.
    shared: BTreeMap<Sharing, Queues<K>>,
    /// For this address.
    address: BTreeMap<IpAddr, Queues<K>>,
    wishes: BTreeMap<K, (i64, Wish)>,
}

/// Services that wait, by what they have in common.
type Queues<K> = BTreeMap<Wish, BTreeSet<Waiter<K>>>;

/// What would help a Service, as far as a queue has to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    /// These addresses; empty is any.
    addresses: Vec<IpAddr>,
    families: Families,
    /// From one of these pools.
    pools: PoolSet,
    /// Under which conditions addresses could be shared, where that matters.
    sharing: Option<(Sharing, BTreeSet<Port>)>,
}

/// Pools by their numbers, a bit for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct PoolSet(Vec<u64>);

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self {
            free: BTreeMap::new(),
            shared: BTreeMap::new(),
            address: BTreeMap::new(),
            wishes: BTreeMap::new(),
        }
    }
}

impl<K: Clone + Ord + Hash + Display> Allocator<K> {
    /// Notes that the Service could not get this, in place of what it waited for before. One that has one address
    /// and lacks another waits for that family, in the pool that it has the first one from.
    ///
    /// Nothing but [`stop_waiting`](Self::stop_waiting) and [`set_pools`](Self::set_pools) ends the wait: call
    /// this again when the Service, or its namespace, has changed.
    pub fn wait(&mut self, key: &K, since: i64, subject: Subject<'_>, request: Request<'_>) {
        let pools = self.useful(subject, request);
        if pools == PoolSet::default() {
            self.waiting.remove(key);
            return;
        }
        let sharing = subject.sharing.key.as_ref().map(|_| (subject.sharing.clone(), subject.ports.clone()));
        let addresses = request.addresses.to_vec();
        self.waiting.insert(key, since, Wish { addresses, families: request.families, pools, sharing });
    }

    /// Notes that the Service waits no longer.
    pub fn stop_waiting(&mut self, key: &K) {
        self.waiting.remove(key);
    }

    /// The Service that waits longest, after `last` in that order, of those that can be given the address as things
    /// stand: because nobody uses it, or because those who do share it.
    ///
    /// To be asked again and again, each time with the Service that was given last, after an address was given
    /// back, or shared in another way: until there is none left.
    pub fn next_waiter(&self, address: IpAddr, last: Option<&Waiter<K>>) -> Option<Waiter<K>> {
        let spot = self.pools.spot(address)?;
        let waiting = &self.waiting;
        let general = match self.records.get(&address).map(|record| &record.users) {
            None => Some(&waiting.free),
            Some(Users::One(_)) => None,
            Some(Users::Sharing(sharers)) => waiting.shared.get(&sharers.sharing),
        };
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let queues = general.into_iter().chain(waiting.address.get(&address)).flatten();
        let helped = queues.filter(|(wish, _)| self.helps(wish, spot, address));
        helped.filter_map(|(_, queue)| queue.range((after, Bound::Unbounded)).next()).min().cloned()
    }

    /// The pools that a request can be met from, as far as their rules decide and not what is in use.
    fn useful(&self, subject: Subject<'_>, request: Request<'_>) -> PoolSet {
        let mut set = PoolSet::default();
        let asked = request.pool.map(|name| self.pools.number(name));
        let mut enter = |number| {
            if self.pools.admits(number, subject) && asked.is_none_or(|asked| asked == Some(number)) {
                set.insert(number);
            }
        };
        if !request.addresses.is_empty() {
            if !request.families.are_all_of(request.addresses) {
                return set;
            }
            let spots =
                request.addresses.iter().map(|address| self.pools.spot(*address).map(|spot| spot.pool));
            let pools: BTreeSet<Option<usize>> = spots.collect();
            if let (1, Some(Some(pool))) = (pools.len(), pools.first()) {
                enter(*pool);
            }
        } else if let Some(asked) = asked {
            asked.into_iter().for_each(&mut enter);
        } else {
            self.pools.candidates(subject).into_iter().flatten().copied().for_each(&mut enter);
        }
        set
    }

    /// Whether an address helps those who wish this.
    fn helps(&self, wish: &Wish, spot: Spot, address: IpAddr) -> bool {
        if !wish.pools.contains(spot.pool) {
            return false;
        }
        if !wish.addresses.is_empty() {
            return wish.addresses.iter().all(|address| self.can_have(wish, *address));
        }
        let family = Family::of(address);
        let fits = match wish.families {
            Families::One(wanted) => wanted == family,
            Families::Both { required: false, .. } => true,
            Families::Both { required: true, .. } => self.has_partner(wish, spot.pool, family.other()),
        };
        fits && self.can_have(wish, address)
    }

    fn can_have(&self, wish: &Wish, address: IpAddr) -> bool {
        match (self.records.get(&address).map(|record| &record.users), &wish.sharing) {
            (None, _) => true,
            (Some(Users::Sharing(sharers)), Some((sharing, ports))) => sharers.admit(sharing, ports),
            _ => false,
        }
    }

    /// Whether the pool has an address of the family, to go with one of the other.
    fn has_partner(&self, wish: &Wish, pool: usize, family: Family) -> bool {
        let shared = wish.sharing.as_ref().and_then(|(sharing, ports)| {
            self.pools.groups(sharing)?.get(&(pool, family))?.lowest_without(ports)
        });
        self.pools.is_open(pool, Free::One(family)) || shared.is_some()
    }
}

impl<K: Clone + Ord> Waiting<K> {
    fn insert(&mut self, key: &K, since: i64, wish: Wish) {
        self.remove(key);
        let waiter = Waiter { since, key: key.clone() };
        let add = |queues: &mut Queues<K>, wish| {
            queues.entry(wish).or_default().insert(waiter.clone());
        };
        for address in &wish.addresses {
            add(self.address.entry(*address).or_default(), wish.clone());
        }
        if wish.addresses.is_empty() {
            add(&mut self.free, wish.alone());
            if let Some((sharing, _)) = &wish.sharing {
                add(self.shared.entry(sharing.clone()).or_default(), wish.clone());
            }
        }
        self.wishes.insert(key.clone(), (since, wish));
    }

    fn remove(&mut self, key: &K) {
        let Some((since, wish)) = self.wishes.remove(key) else { return };
        let waiter = Waiter { since, key: key.clone() };
        for address in &wish.addresses {
            take_from(&mut self.address, address, &wish, &waiter);
        }
        if wish.addresses.is_empty() {
            take(&mut self.free, &wish.alone(), &waiter);
            if let Some((sharing, _)) = &wish.sharing {
                take_from(&mut self.shared, sharing, &wish, &waiter);
            }
        }
    }
}

fn take_from<P: Ord, K: Ord>(
    places: &mut BTreeMap<P, Queues<K>>,
    place: &P,
    wish: &Wish,
    waiter: &Waiter<K>,
) {
    if let Some(queues) = places.get_mut(place) {
        take(queues, wish, waiter);
        if queues.is_empty() {
            places.remove(place);
        }
    }
}

fn take<K: Ord>(queues: &mut Queues<K>, wish: &Wish, waiter: &Waiter<K>) {
    if let Some(queue) = queues.get_mut(wish) {
        queue.remove(waiter);
        if queue.is_empty() {
            queues.remove(wish);
        }
    }
}

impl Wish {
    /// The same, for an address that nobody uses. With whom it would be shared then only matters where a second one is
    /// needed beside it.
    fn alone(&self) -> Self {
        let needs_two = matches!(self.families, Families::Both { required: true, .. });
        let families = match self.families {
            // Whichever family comes first, any address helps.
            Families::Both { required, .. } => Families::Both { primary: Family::V4, required },
            one @ Families::One(_) => one,
        };
        Self { families, sharing: self.sharing.clone().filter(|_| needs_two), ..self.clone() }
    }
}

impl PoolSet {
    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}
