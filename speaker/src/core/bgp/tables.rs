//! Which routes each peer is told.
//!
//! ```text
//! asks of a Service ──► one Aggregates for each set of advertisements ──► changes ──► every peer of that set
//! ```
//!
//! Peers that the same advertisements go to, in most clusters all of them, share one table: memory and the work for a
//! change do not grow with their number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use announce::{Ask, ServiceKey};
use bgp::rib::{Aggregates, Change, Route};
use ipnet::IpNet;

/// The advertisements that go to a peer, by name.
pub(super) type Audience = BTreeSet<Arc<str>>;

/// A peer's changes, in the order in which they are to be told.
pub(super) type PeerChanges = (String, Arc<[Change]>);

/// The routes of all peers.
#[derive(Debug, Default)]
pub(super) struct Tables {
    audiences: BTreeMap<String, Audience>,
    tables: BTreeMap<Audience, Table>,
}

#[derive(Debug, Default)]
struct Table {
    aggregates: Aggregates<ServiceKey>,
    /// What the peers were not told yet.
    changes: Vec<Change>,
}

impl Tables {
    /// The Service asks for these routes and no others.
    pub(super) fn set(&mut self, service: &ServiceKey, asks: &[Ask]) {
        for (audience, table) in &mut self.tables {
            table.set(audience, service, asks);
        }
    }

    /// What changed since the last call, for each peer.
    pub(super) fn take_changes(&mut self) -> Vec<PeerChanges> {
        let mut of_audience = BTreeMap::new();
        for (audience, table) in &mut self.tables {
            if !table.changes.is_empty() {
                of_audience.insert(audience.clone(), Arc::from(std::mem::take(&mut table.changes)));
            }
        }
        let changes = self
            .audiences
            .iter()
            .filter_map(|(peer, audience)| Some((peer.clone(), Arc::clone(of_audience.get(audience)?))));
        changes.collect()
    }

    /// These are the peers now, with what goes to each. Returns what that changes for them; to be called when
    /// [`take_changes`](Self::take_changes) has nothing. `services` are all that are announced.
    pub(super) fn set_audiences<'a>(
        &mut self,
        audiences: BTreeMap<String, Audience>,
        services: impl Iterator<Item = (&'a ServiceKey, &'a [Ask])>,
    ) -> Vec<PeerChanges> {
        if audiences == self.audiences {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.audiences, audiences);
        let mut old = std::mem::take(&mut self.tables);
        let mut fresh = Vec::new();
        for audience in self.audiences.values() {
            if self.tables.contains_key(audience) {
                continue;
            }
            let known = old.remove(audience);
            if known.is_none() {
                fresh.push(audience.clone());
            }
            self.tables.insert(audience.clone(), known.unwrap_or_default());
        }
        for (service, asks) in services {
            for audience in &fresh {
                if let Some(table) = self.tables.get_mut(audience) {
                    table.set(audience, service, asks);
                }
            }
        }
        for audience in &fresh {
            if let Some(table) = self.tables.get_mut(audience) {
                table.changes.clear();
            }
        }
        let mut changes = Vec::new();
        for (peer, audience) in &self.audiences {
            let known = before.get(peer);
            if known == Some(audience) {
                continue;
            }
            let known = known.and_then(|audience| old.get(audience).or_else(|| self.tables.get(audience)));
            let difference = difference(known, self.tables.get(audience));
            if !difference.is_empty() {
                changes.push((peer.clone(), difference.into()));
            }
        }
        changes
    }

    /// For each peer the prefixes for which its advertisements ask for different local preferences.
    pub(super) fn conflicts(&self) -> BTreeMap<&str, Rc<BTreeSet<IpNet>>> {
        let of_table = |table: &Table| Rc::new(table.aggregates.conflicts().collect());
        let found: BTreeMap<&Audience, Rc<BTreeSet<IpNet>>> =
            self.tables.iter().map(|(audience, table)| (audience, of_table(table))).collect();
        let of_peer = |audience: &Audience| found.get(audience).cloned().unwrap_or_default();
        self.audiences.iter().map(|(peer, audience)| (peer.as_str(), of_peer(audience))).collect()
    }
}

impl Table {
    fn set(&mut self, audience: &Audience, service: &ServiceKey, asks: &[Ask]) {
        let heard = asks.iter().filter(|ask| audience.contains(&ask.advertisement));
        let routes = heard.map(|ask| (ask.prefix, Arc::clone(&ask.route)));
        self.aggregates.set(service.clone(), routes, &mut self.changes);
    }

    fn routes(&self) -> HashMap<IpNet, Arc<Route>> {
        self.aggregates.routes().filter_map(|change| Some((change.prefix, change.route?))).collect()
    }
}

/// What makes the routes of one table those of another.
fn difference(before: Option<&Table>, after: Option<&Table>) -> Vec<Change> {
    let before = before.map(Table::routes).unwrap_or_default();
    let after = after.map(Table::routes).unwrap_or_default();
    let gone = before.keys().filter(|prefix| !after.contains_key(*prefix));
    let mut changes: Vec<Change> = gone.map(|prefix| Change { prefix: *prefix, route: None }).collect();
    let new = after.into_iter().filter(|(prefix, route)| before.get(prefix) != Some(route));
    changes.extend(new.map(|(prefix, route)| Change { prefix, route: Some(route) }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> ServiceKey {
        ServiceKey { namespace: "shop".into(), name: name.into() }
    }

    fn ask(prefix: &str, advertisement: &str, local_pref: Option<u32>) -> Ask {
        Ask {
            prefix: prefix.parse().expect("a prefix"),
            route: Arc::new(Route { local_pref, ..Route::default() }),
            advertisement: advertisement.into(),
        }
    }

    fn audiences(of: &[(&str, &[&str])]) -> BTreeMap<String, Audience> {
        of.iter()
            .map(|(peer, all)| ((*peer).to_owned(), all.iter().map(|&name| name.into()).collect()))
            .collect()
    }

    /// Each change as a line.
    fn lines(changes: &[PeerChanges]) -> Vec<String> {
        let mut lines: Vec<String> = changes
            .iter()
            .flat_map(|(peer, changes)| {
                changes.iter().map(move |change| {
                    let sign = if change.route.is_some() { '+' } else { '-' };
                    format!("{peer} {sign}{}", change.prefix)
                })
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn peers_of_the_same_advertisements_are_told_the_same() {
        let mut tables = Tables::default();
        let none = || std::iter::empty();
        let first =
            tables.set_audiences(audiences(&[("a", &["all"]), ("b", &["all"]), ("c", &["one"])]), none());
        assert_eq!(lines(&first), [""; 0]);
        assert_eq!(tables.tables.len(), 2);
        tables.set(&service("web"), &[ask("192.0.2.1/32", "all", None), ask("192.0.2.0/24", "one", None)]);
        assert_eq!(lines(&tables.take_changes()), ["a +192.0.2.1/32", "b +192.0.2.1/32", "c +192.0.2.0/24"]);
        assert_eq!(lines(&tables.take_changes()), [""; 0]);
        tables.set(&service("web"), &[]);
        assert_eq!(lines(&tables.take_changes()), ["a -192.0.2.1/32", "b -192.0.2.1/32", "c -192.0.2.0/24"]);
    }

    #[test]
    fn a_peer_whose_advertisements_change_is_told_the_difference() {
        let (web, dns) = (service("web"), service("dns"));
        let of_web = [ask("192.0.2.1/32", "all", None), ask("192.0.2.0/24", "one", None)];
        let of_dns = [ask("192.0.2.2/32", "all", None)];
        let services = || [(&web, &of_web[..]), (&dns, &of_dns[..])].into_iter();
        let mut tables = Tables::default();
        let first = tables.set_audiences(audiences(&[("a", &["all"])]), services());
        assert_eq!(lines(&first), ["a +192.0.2.1/32", "a +192.0.2.2/32"]);
        assert_eq!(lines(&tables.take_changes()), [""; 0]);
        let second = tables.set_audiences(audiences(&[("a", &["all", "one"]), ("b", &["all"])]), services());
        assert_eq!(lines(&second), ["a +192.0.2.0/24", "b +192.0.2.1/32", "b +192.0.2.2/32"]);
        let third = tables.set_audiences(audiences(&[("a", &["one"]), ("b", &["all"])]), services());
        assert_eq!(lines(&third), ["a -192.0.2.1/32", "a -192.0.2.2/32"]);
        assert_eq!(lines(&tables.set_audiences(audiences(&[("b", &["all"])]), services())), [""; 0]);
        assert_eq!(tables.tables.len(), 1);
        tables.set(&dns, &[]);
        assert_eq!(lines(&tables.take_changes()), ["b -192.0.2.2/32"]);
    }

    #[test]
    fn different_preferences_of_several_services_for_one_route_are_reported() {
        let mut tables = Tables::default();
        tables.set_audiences(audiences(&[("a", &["one", "two"])]), std::iter::empty());
        tables.set(&service("web"), &[ask("192.0.2.0/24", "one", Some(5))]);
        assert_eq!(tables.conflicts()["a"].len(), 0);
        tables.set(&service("dns"), &[ask("192.0.2.0/24", "two", Some(6))]);
        assert_eq!(tables.conflicts()["a"].len(), 1);
    }
}
