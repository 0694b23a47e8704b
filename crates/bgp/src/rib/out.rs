//! The Adj-RIB-Out of one peer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use net::Family;

use super::intern::{Interner, RouteId};
use super::outbound::{Outbound, encoded_len};
use super::route::{Change, Route};
use crate::packet::{AfiSafi, Families, PerFamily, RouteRefresh, Subtype, Update};

/// What is wanted of each prefix, what the peer was told of it, and what is still to be told.
#[derive(Clone, Debug, Default)]
pub struct AdjRibOut {
    routes: Interner,
    entries: HashMap<IpNet, Entry>,
    pending: PerFamily<Pending>,
    /// Prefixes with more communities than a message has room for.
    refused: BTreeSet<IpNet>,
    /// The session, while it is established.
    outbound: Option<Outbound>,
    /// Whether all routes are about to be withdrawn (RFC 8326).
    leaving: bool,
    /// How many prefixes the peer has been told of.
    told: usize,
}

/// One prefix. It is gone where nothing is wanted, nothing was told, and so nothing is pending.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    wanted: Option<RouteId>,
    told: Option<RouteId>,
    /// It is to be told although the peer knows: that asked for it, or something changed for all routes.
    again: bool,
}

/// What is still to be told of one family.
#[derive(Clone, Debug, Default)]
struct Pending {
    withdraw: BTreeSet<IpNet>,
    announce: BTreeMap<RouteId, BTreeSet<IpNet>>,
    /// The first routes of a session are to be ended.
    end_of_rib: bool,
    refresh: Refresh,
}

/// How far an answer to a request for all routes is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Refresh {
    #[default]
    None,
    /// Its begin is still to be told.
    Begin,
    /// Its end is to be told after the routes.
    End,
}

/// Figures for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prefixes that are wanted.
    pub wanted: usize,
    /// Prefixes that the peer was told of and not told otherwise.
    pub told: usize,
    /// Prefixes of which something is still to be told.
    pub pending: usize,
    /// Prefixes with more communities than a message has room for, which are not announced.
    pub refused: usize,
    /// Different sets of attributes that are wanted or told.
    pub attribute_sets: usize,
}

impl AdjRibOut {
    /// Nothing is wanted, and there is no session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what is wanted of one prefix.
    pub fn change(&mut self, change: &Change) {
        let prefix = change.prefix.trunc();
        let mut route = change.route.as_ref();
        self.refused.remove(&prefix);
        if route.is_some_and(|route| !route.fits()) {
            self.refused.insert(prefix);
            route = None;
        }
        let wanted = route.map(|route| self.routes.acquire(route));
        let before = self.entries.entry(prefix).or_default().wanted;
        if let Some(before) = before {
            self.unmark(prefix, before);
            self.routes.release(before);
        }
        if let Some(entry) = self.entries.get_mut(&prefix) {
            entry.wanted = wanted;
        }
        self.mark(prefix);
    }

    /// A session is established: the peer knows nothing yet.
    pub fn up(&mut self, outbound: Outbound) {
        self.forget();
        for family in outbound.families.iter() {
            self.pending.get_mut(family).end_of_rib = outbound.end_of_rib;
        }
        self.outbound = Some(outbound);
        self.mark_all(|_| true);
    }

    /// The session is over. What is wanted stays.
    pub fn down(&mut self) {
        self.forget();
    }

    /// Whether all routes are about to be withdrawn: they are told with the community for that, and within the AS
    /// with local preference 0, so that traffic takes other ways before they go (RFC 8326).
    pub fn set_leaving(&mut self, leaving: bool) {
        if self.leaving != leaving {
            self.leaving = leaving;
            self.tell_again(Families::BOTH);
        }
    }

    /// The peer asks for all routes of a family (RFC 2918). Further requests before the answer is complete join in.
    pub fn refresh(&mut self, family: Family) {
        let Some(outbound) = &self.outbound else { return };
        if !outbound.families.contains(family) {
            return;
        }
        let enhanced = outbound.enhanced_refresh;
        let refresh = &mut self.pending.get_mut(family).refresh;
        if enhanced && *refresh == Refresh::None {
            *refresh = Refresh::Begin;
        }
        self.tell_again(Families::only(family));
    }

    /// The next message for the peer, of at most 4,096 bytes; `None` when it knows all that is wanted. To be asked for
    /// when the socket takes more.
    pub fn next_message(&mut self) -> Option<Vec<u8>> {
        let outbound = self.outbound.take()?;
        let families = outbound.families;
        // Traffic that would be lost comes before traffic that could be served.
        let message = families
            .iter()
            .find_map(|family| self.next_withdrawal(&outbound, family))
            .or_else(|| families.iter().find_map(|family| self.next_announcement(&outbound, family)));
        self.outbound = Some(outbound);
        message
    }

    /// Figures for status and metrics.
    pub fn counts(&self) -> Counts {
        let pending = [&self.pending.v4, &self.pending.v6];
        let withdraw: usize = pending.iter().map(|pending| pending.withdraw.len()).sum();
        let announce: usize =
            pending.iter().flat_map(|pending| pending.announce.values()).map(BTreeSet::len).sum();
        Counts {
            // What is not wanted is here only until it is withdrawn.
            wanted: self.entries.len() - withdraw,
            told: self.told,
            pending: withdraw + announce,
            refused: self.refused.len(),
            attribute_sets: self.routes.len(),
        }
    }

    /// Whether there is nothing to be told, the end of the first routes included.
    pub fn is_settled(&self) -> bool {
        [&self.pending.v4, &self.pending.v6].into_iter().all(|pending| {
            pending.withdraw.is_empty()
                && pending.announce.is_empty()
                && !pending.end_of_rib
                && pending.refresh == Refresh::None
        })
    }

    /// Prefixes that are not announced, as they have more communities than a message has room for.
    pub fn refused(&self) -> impl Iterator<Item = IpNet> {
        self.refused.iter().copied()
    }

    fn next_withdrawal(&mut self, outbound: &Outbound, family: Family) -> Option<Vec<u8>> {
        if self.pending.get(family).withdraw.is_empty() {
            return None;
        }
        Some(outbound.withdraw(family, |room| {
            let withdraw = &mut self.pending.get_mut(family).withdraw;
            let prefix = withdraw.first().copied().filter(|prefix| encoded_len(prefix) <= room)?;
            withdraw.remove(&prefix);
            if let Some(told) = self.entries.remove(&prefix).and_then(|entry| entry.told) {
                self.routes.release(told);
                self.told -= 1;
            }
            Some(prefix)
        }))
    }

    fn next_announcement(&mut self, outbound: &Outbound, family: Family) -> Option<Vec<u8>> {
        let refresh_message = |subtype| RouteRefresh { family: AfiSafi::unicast(family), subtype }.build();
        let pending = self.pending.get_mut(family);
        if pending.refresh == Refresh::Begin {
            pending.refresh = Refresh::End;
            return Some(refresh_message(Subtype::Begin));
        }
        if let Some((id, mut prefixes)) = pending.announce.pop_first() {
            let route: Arc<Route> = self.routes.get(id).cloned().unwrap_or_default();
            let message = outbound.announce(family, &route, self.leaving, |room| {
                let prefix = prefixes.first().copied().filter(|prefix| encoded_len(prefix) <= room)?;
                prefixes.remove(&prefix);
                self.announced(prefix, id);
                Some(prefix)
            });
            if !prefixes.is_empty() {
                self.pending.get_mut(family).announce.insert(id, prefixes);
            }
            return message;
        }
        if pending.refresh == Refresh::End {
            pending.refresh = Refresh::None;
            return Some(refresh_message(Subtype::End));
        }
        std::mem::take(&mut pending.end_of_rib).then(|| Update::end_of_rib(family).build(true))
    }

    /// The peer is told of a prefix.
    fn announced(&mut self, prefix: IpNet, id: RouteId) {
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        entry.again = false;
        self.routes.retain(id);
        match entry.told.replace(id) {
            Some(before) => self.routes.release(before),
            None => self.told += 1,
        }
    }

    /// Takes a prefix out of what is pending. `wanted` is what was wanted of it.
    fn unmark(&mut self, prefix: IpNet, wanted: RouteId) {
        let announce = &mut self.pending.get_mut(Family::of(prefix.addr())).announce;
        if let Some(prefixes) = announce.get_mut(&wanted) {
            prefixes.remove(&prefix);
            if prefixes.is_empty() {
                announce.remove(&wanted);
            }
        }
    }

    /// Puts a prefix among what is pending, if something is to be told of it.
    fn mark(&mut self, prefix: IpNet) {
        let Some(entry) = self.entries.get(&prefix).copied() else { return };
        let family = Family::of(prefix.addr());
        let pending = self.pending.get_mut(family);
        pending.withdraw.remove(&prefix);
        match entry.wanted {
            None if entry.told.is_none() => drop(self.entries.remove(&prefix)),
            None => drop(pending.withdraw.insert(prefix)),
            Some(wanted) if entry.told != Some(wanted) || entry.again => {
                if self.outbound.as_ref().is_some_and(|outbound| outbound.announces(family)) {
                    pending.announce.entry(wanted).or_default().insert(prefix);
                }
            }
            Some(_) => {}
        }
    }

    fn mark_all(&mut self, which: impl Fn(Family) -> bool) {
        let prefixes: Vec<IpNet> =
            self.entries.keys().copied().filter(|prefix| which(Family::of(prefix.addr()))).collect();
        for prefix in prefixes {
            self.mark(prefix);
        }
    }

    /// All routes of these families are to be told, known or not.
    fn tell_again(&mut self, families: Families) {
        if self.outbound.is_none() {
            return;
        }
        for (prefix, entry) in &mut self.entries {
            // Also one that waits to be withdrawn: should it be wanted once more, what the peer knows is not it.
            if families.contains(Family::of(prefix.addr())) {
                entry.again = true;
            }
        }
        self.mark_all(|family| families.contains(family));
    }

    /// Nobody was told of anything.
    fn forget(&mut self) {
        self.outbound = None;
        self.pending = PerFamily::default();
        self.told = 0;
        self.entries.retain(|_, entry| {
            if let Some(told) = entry.told.take() {
                self.routes.release(told);
            }
            entry.again = false;
            entry.wanted.is_some()
        });
    }
}
