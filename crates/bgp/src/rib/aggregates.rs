//! Prefixes that several ask for: one address or one aggregate of several Services.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use ipnet::IpNet;

use super::route::{Change, Route};

/// Who asks for which prefixes, for one peer. `K` says who: a Service, say.
///
/// A prefix is announced while anyone asks for it, with all communities that are asked for and the highest local
/// preference. A change costs as much as the one who asks has prefixes, not as many as ask for the same.
#[derive(Clone, Debug)]
pub struct Aggregates<K> {
    asked: HashMap<K, BTreeMap<IpNet, Arc<Route>>>,
    prefixes: HashMap<IpNet, Aggregate>,
}

/// One prefix: how many ask for each route, and what is announced.
#[derive(Clone, Debug)]
struct Aggregate {
    asked: HashMap<Arc<Route>, usize>,
    announced: Arc<Route>,
}

impl<K> Default for Aggregates<K> {
    fn default() -> Self {
        Self { asked: HashMap::new(), prefixes: HashMap::new() }
    }
}

impl<K: Eq + Hash> Aggregates<K> {
    /// Nobody asks for anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// `who` asks for these routes and no others; appended are the prefixes of which something changes. A prefix that
    /// occurs several times is asked for in all these ways.
    pub fn set(
        &mut self,
        who: K,
        routes: impl IntoIterator<Item = (IpNet, Arc<Route>)>,
        changes: &mut Vec<Change>,
    ) {
        let mut wanted = BTreeMap::<IpNet, Arc<Route>>::new();
        for (prefix, route) in routes {
            let known = wanted.entry(prefix.trunc()).or_insert_with(|| Arc::clone(&route));
            if *known != route {
                *known = Arc::new(Route::united([&**known, &*route]));
            }
        }
        let before = self.asked.remove(&who).unwrap_or_default();
        for (prefix, route) in &wanted {
            if before.get(prefix) != Some(route) {
                self.change(*prefix, before.get(prefix), Some(route), changes);
            }
        }
        for (prefix, route) in &before {
            if !wanted.contains_key(prefix) {
                self.change(*prefix, Some(route), None, changes);
            }
        }
        if !wanted.is_empty() {
            self.asked.insert(who, wanted);
        }
    }

    /// `who` asks for nothing any more.
    pub fn remove(&mut self, who: K, changes: &mut Vec<Change>) {
        self.set(who, [], changes);
    }

    /// The prefixes for which different local preferences are asked, in no order.
    pub fn conflicts(&self) -> impl Iterator<Item = IpNet> {
        self.prefixes.iter().filter_map(|(prefix, aggregate)| {
            let announced = aggregate.announced.preference();
            aggregate.asked.keys().any(|route| route.preference() != announced).then_some(*prefix)
        })
    }

    /// All that is announced, in no order.
    pub fn routes(&self) -> impl Iterator<Item = Change> {
        self.prefixes.iter().map(|(prefix, aggregate)| Change {
            prefix: *prefix,
            route: Some(Arc::clone(&aggregate.announced)),
        })
    }

    /// One who asked for `before` asks for `after`.
    fn change(
        &mut self,
        prefix: IpNet,
        before: Option<&Arc<Route>>,
        after: Option<&Arc<Route>>,
        changes: &mut Vec<Change>,
    ) {
        let (mut asked, known) = match self.prefixes.remove(&prefix) {
            Some(Aggregate { asked, announced }) => (asked, Some(announced)),
            None => (HashMap::new(), None),
        };
        if let Some(route) = after {
            *asked.entry(Arc::clone(route)).or_default() += 1;
        }
        if let Some(count) = before.and_then(|route| asked.get_mut(route)) {
            *count -= 1;
        }
        asked.retain(|_, count| *count > 0);
        if asked.is_empty() {
            if known.is_some() {
                changes.push(Change { prefix, route: None });
            }
            return;
        }
        let announced = match asked.keys().next() {
            // The common case shares the memory of the one who asks.
            Some(route) if asked.len() == 1 => Arc::clone(route),
            _ => Arc::new(Route::united(asked.keys().map(Arc::as_ref))),
        };
        if known.as_ref() != Some(&announced) {
            changes.push(Change { prefix, route: Some(Arc::clone(&announced)) });
        }
        self.prefixes.insert(prefix, Aggregate { asked, announced });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Community;

    fn route(communities: &[u16], local_pref: Option<u32>) -> Arc<Route> {
        let communities = communities.iter().map(|low| Community::new(64_512, *low)).collect();
        Arc::new(Route { local_pref, communities, ..Route::default() })
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn set(
        table: &mut Aggregates<&'static str>,
        who: &'static str,
        routes: &[(&str, Arc<Route>)],
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        table.set(who, routes.iter().map(|(prefix, route)| (net(prefix), Arc::clone(route))), &mut changes);
        changes
    }

    #[test]
    fn a_prefix_stays_until_the_last_who_asks_for_it_is_gone() {
        let mut table = Aggregates::new();
        let plain = route(&[1], None);
        let announced = Change { prefix: net("192.0.2.0/24"), route: Some(plain.clone()) };
        assert_eq!(set(&mut table, "a", &[("192.0.2.7/24", plain.clone())]), [announced]);
        assert_eq!(set(&mut table, "b", &[("192.0.2.0/24", plain.clone())]), []);
        assert_eq!(set(&mut table, "a", &[]), []);
        assert_eq!(set(&mut table, "b", &[]), [Change { prefix: net("192.0.2.0/24"), route: None }]);
        assert_eq!(table.routes().count(), 0);
    }

    #[test]
    fn communities_are_united_and_conflicting_preferences_reported() {
        let mut table = Aggregates::new();
        set(&mut table, "a", &[("192.0.2.0/24", route(&[1], Some(50)))]);
        assert_eq!(table.conflicts().count(), 0);
        let changes = set(&mut table, "b", &[("192.0.2.0/24", route(&[2], Some(70)))]);
        assert_eq!(changes, [Change { prefix: net("192.0.2.0/24"), route: Some(route(&[1, 2], Some(70))) }]);
        assert_eq!(table.conflicts().collect::<Vec<_>>(), [net("192.0.2.0/24")]);
        let changes = set(&mut table, "b", &[("198.51.100.1/32", route(&[2], Some(70)))]);
        assert_eq!(
            changes,
            [
                Change { prefix: net("198.51.100.1/32"), route: Some(route(&[2], Some(70))) },
                Change { prefix: net("192.0.2.0/24"), route: Some(route(&[1], Some(50))) },
            ]
        );
        assert_eq!(table.conflicts().count(), 0);
    }

    #[test]
    fn one_who_asks_twice_for_a_prefix_gets_all_communities() {
        let mut table = Aggregates::new();
        let changes =
            set(&mut table, "a", &[("192.0.2.1/32", route(&[1], None)), ("192.0.2.1/32", route(&[2], None))]);
        assert_eq!(changes, [Change { prefix: net("192.0.2.1/32"), route: Some(route(&[1, 2], None)) }]);
    }
}
