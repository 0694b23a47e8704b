//! The decision about BGP: every node for itself, without an election.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bgp::packet::{Community, Families, LargeCommunity};
use bgp::rib::Route;
use config::{BgpAdvertisement, Config};
use ipnet::IpNet;
use net::Family;

use super::{Index, Node};
use crate::bgp::{Ask, BgpAnnouncement, BgpDecision, BgpReason, Conflict, Unheard};
use crate::obstacle::Obstacle;
use crate::reduce::{Service, ServiceKey};

/// What an advertisement that selects this node comes to here. Kept for all its Services, which share the memory.
#[derive(Clone, Debug)]
pub(super) struct Way {
    advertisement: Arc<str>,
    route: Arc<Route>,
    /// The peers, by name, that both the advertisement and this node have, and which routes each takes.
    peers: BTreeMap<String, Families>,
    /// As these, but no session with them is possible.
    refused: BTreeSet<String>,
}

impl Way {
    /// The peers, by name, that take routes of the family.
    fn hearers(&self, family: Family) -> impl Iterator<Item = &String> {
        self.peers.iter().filter(move |(_, families)| families.contains(family)).map(|(peer, _)| peer)
    }
}

/// The ways of a node that looks like this, by advertisement. `takers` are as for [`Index::set_takers`].
pub(super) fn ways(
    config: &Config,
    takers: &BTreeMap<String, Families>,
    node: Option<&Node>,
) -> BTreeMap<String, Way> {
    let Some(node) = node else { return BTreeMap::new() };
    let selected = config.bgp_advertisements.values().filter(|a| a.matches_node(&node.labels));
    let way = |advertisement: &BgpAdvertisement| {
        let mut way = Way {
            advertisement: advertisement.name.as_str().into(),
            route: Arc::new(route(advertisement)),
            peers: BTreeMap::new(),
            refused: BTreeSet::new(),
        };
        let here = config.bgp_peers.values().filter(|peer| peer.matches_node(&node.labels));
        for peer in here.filter(|peer| advertisement.matches_peer(&peer.name)) {
            match takers.get(&peer.name) {
                Some(families) => {
                    way.peers.insert(peer.name.clone(), *families);
                }
                None => {
                    way.refused.insert(peer.name.clone());
                }
            }
        }
        way
    };
    selected.map(|advertisement| (advertisement.name.clone(), way(advertisement))).collect()
}

/// The attributes that an advertisement asks for.
fn route(advertisement: &BgpAdvertisement) -> Route {
    let mut route = Route { local_pref: advertisement.local_pref, ..Route::default() };
    for community in &advertisement.communities {
        match *community {
            config::Community::Standard(high, low) => {
                route.communities.insert(Community::new(high, low));
            }
            config::Community::Large(global, one, two) => {
                route.large_communities.insert(LargeCommunity { global, one, two });
            }
        }
    }
    route
}

impl Index {
    /// Whether this node announces the Service by BGP, by the rules in MetalLB's order.
    pub fn decide_bgp(&self, key: &ServiceKey) -> BgpDecision {
        match self.bgp_announcement(key) {
            Ok(announcement) => BgpDecision::Announce(announcement),
            Err(reason) => BgpDecision::Not(reason),
        }
    }

    /// The BGPPeers, by name, with which sessions are possible, and the families of which each takes routes: the same on all
    /// nodes. To be said anew after each [`set_config`](Self::set_config).
    pub fn set_takers(&mut self, takers: BTreeMap<String, Families>) -> Vec<ServiceKey> {
        if self.takers == takers {
            return Vec::new();
        }
        self.takers = takers;
        self.ways = ways(&self.config, &self.takers, self.own_node());
        self.with_addresses()
    }

    /// The BGPAdvertisements, by name, that this node announces to the peer.
    pub fn bgp_advertisements_to(&self, peer: &str) -> BTreeSet<Arc<str>> {
        let to = self.ways.values().filter(|way| way.peers.contains_key(peer));
        to.map(|way| Arc::clone(&way.advertisement)).collect()
    }

    /// Whether advertisements that select this node ask for different local preferences, so that Services may be in
    /// conflict over a route.
    pub fn has_different_preferences(&self) -> bool {
        let mut preferences = self.ways.values().map(|way| way.route.preference());
        preferences.next().is_some_and(|first| preferences.any(|other| other != first))
    }

    /// The node that this speaker runs on, where it is known.
    pub fn own_node(&self) -> Option<&Node> {
        self.nodes.get(&self.settings.node)
    }

    /// This node is drained and routers have had time to take other ways: it withdraws what others can announce, too. Or it
    /// is not drained any more.
    pub fn set_withdraws(&mut self, withdraws: bool) -> Vec<ServiceKey> {
        if std::mem::replace(&mut self.withdraws, withdraws) == withdraws {
            return Vec::new();
        }
        self.with_addresses()
    }

    /// Why no node announces a Service by BGP whose pool has BGPAdvertisements, in place of an obstacle of Layer 2, which
    /// was not asked for.
    pub(super) fn bgp_obstacle(&self, pool: &str, service: &Service) -> Option<Obstacle> {
        let mut matching =
            self.config.bgp_advertisements_of(pool).filter(|a| a.matches_service(&service.labels)).peekable();
        if matching.peek().is_none() {
            return Some(Obstacle::NotSelectedByBgp(pool.to_owned()));
        }
        let matching: Vec<&BgpAdvertisement> = matching.collect();
        let peers = self.config.bgp_peers.keys().filter(|peer| matching.iter().any(|a| a.matches_peer(peer)));
        let (able, refused): (Vec<&String>, Vec<&String>) =
            peers.partition(|peer| self.takers.contains_key(*peer));
        if able.is_empty() {
            return Some(if refused.is_empty() {
                Obstacle::NoPeer(pool.to_owned())
            } else {
                Obstacle::PeersRefused(refused.into_iter().cloned().collect())
            });
        }
        let unheard = |address: &IpAddr| !able.iter().any(|peer| self.takes(peer, Family::of(*address)));
        let addresses = service.addresses.iter().copied();
        service.addresses.iter().all(unheard).then(|| Obstacle::NoFamily {
            addresses: addresses.collect(),
            peers: able.into_iter().cloned().collect(),
        })
    }

    /// Whether a session with the peer is possible and takes routes of the family.
    fn takes(&self, peer: &str, family: Family) -> bool {
        self.takers.get(peer).is_some_and(|families| families.contains(family))
    }

    fn bgp_announcement(&self, key: &ServiceKey) -> Result<BgpAnnouncement, BgpReason> {
        let service = self.services.get(key).ok_or(crate::Reason::NoService)?;
        let pool = self.pool(service)?;
        let mut all = self.config.bgp_advertisements_of(pool).peekable();
        if all.peek().is_none() {
            return Err(BgpReason::NoAdvertisement(pool.to_owned()));
        }
        let mut here = all.filter(|a| self.ways.contains_key(&a.name)).peekable();
        if here.peek().is_none() {
            return Err(BgpReason::NodeNotSelected(pool.to_owned()));
        }
        if !here.any(|a| a.matches_service(&service.labels)) {
            return Err(BgpReason::NotSelected(pool.to_owned()));
        }
        let mut asks = Vec::new();
        for &address in &service.addresses {
            for (advertisement, length) in self.config.bgp_routes(address) {
                if let Some(way) = self.ways.get(&advertisement.name)
                    && advertisement.matches_service(&service.labels)
                    && let Ok(block) = IpNet::new(address, length)
                {
                    asks.push((block.trunc(), way));
                }
            }
        }
        if let Some(conflict) = conflict(&asks) {
            return Err(BgpReason::Conflict(Box::new(conflict)));
        }
        let node = self.own_node();
        if node.is_some_and(|node| node.network_unavailable) {
            return Err(BgpReason::NetworkUnavailable);
        }
        if node.is_some_and(Node::excluded) && !self.settings.ignore_exclude {
            return Err(BgpReason::Excluded);
        }
        let serving = self.serving(key);
        if serving.is_empty() {
            return Err(BgpReason::NoEndpoint);
        }
        if service.local && !serving.contains(&Some(self.settings.node.as_str())) {
            return Err(BgpReason::NoLocalEndpoint);
        }
        let family = |prefix: &IpNet| Family::of(prefix.addr());
        let (asks, deaf): (Vec<_>, Vec<_>) =
            asks.into_iter().partition(|(prefix, way)| way.hearers(family(prefix)).next().is_some());
        let asked = |address: &IpAddr| asks.iter().any(|(prefix, _)| prefix.contains(address));
        let (addresses, rest): (Vec<IpAddr>, Vec<IpAddr>) = service.addresses.iter().partition(|a| asked(a));
        let unheard: Vec<Unheard> = rest.into_iter().filter_map(|address| unheard(address, &deaf)).collect();
        if asks.is_empty() {
            let refused: BTreeSet<String> =
                deaf.iter().flat_map(|(_, way)| way.refused.iter().cloned()).collect();
            return Err(match (unheard.is_empty(), refused.is_empty()) {
                (false, _) => BgpReason::NoFamily(unheard),
                (true, false) => BgpReason::PeersRefused(refused),
                (true, true) => BgpReason::NoPeer,
            });
        }
        if self.withdraws && self.is_announced_elsewhere(pool, service, &addresses, &serving) {
            return Err(BgpReason::Drained);
        }
        let peers = asks.iter().flat_map(|(prefix, way)| way.hearers(family(prefix)).cloned()).collect();
        let ask = |(prefix, way): (IpNet, &Way)| Ask {
            prefix,
            route: Arc::clone(&way.route),
            advertisement: Arc::clone(&way.advertisement),
        };
        Ok(BgpAnnouncement { addresses, asks: asks.into_iter().map(ask).collect(), peers, unheard })
    }
}

impl Index {
    /// Whether another node with a ready speaker, which is not drained, may announce these addresses of the Service by BGP.
    /// `serving` is where its endpoints are.
    fn is_announced_elsewhere(
        &self,
        pool: &str,
        service: &Service,
        addresses: &[IpAddr],
        serving: &BTreeSet<Option<&str>>,
    ) -> bool {
        let others = self.ready.iter().filter(|name| **name != self.settings.node);
        others.filter_map(|name| Some((name, self.nodes.get(name)?))).any(|(name, node)| {
            let able = !node.draining
                && !node.network_unavailable
                && (!node.excluded() || self.settings.ignore_exclude)
                && (!service.local || serving.contains(&Some(name.as_str())));
            let to_a_peer = |advertisement: &BgpAdvertisement, family| {
                advertisement.matches_service(&service.labels)
                    && advertisement.matches_node(&node.labels)
                    && self.config.bgp_peers.values().any(|peer| {
                        advertisement.matches_peer(&peer.name)
                            && peer.matches_node(&node.labels)
                            && self.takes(&peer.name, family)
                    })
            };
            let told = |address: &IpAddr| {
                self.config.bgp_advertisements_of(pool).any(|a| to_a_peer(a, Family::of(*address)))
            };
            able && addresses.iter().all(told)
        })
    }
}

/// The address, where there are peers but none of them takes routes of its family. `deaf` are the asks that no peer takes.
fn unheard(address: IpAddr, deaf: &[(IpNet, &Way)]) -> Option<Unheard> {
    let ways = deaf.iter().filter(|(prefix, _)| prefix.contains(&address));
    let peers: BTreeSet<String> = ways.flat_map(|(_, way)| way.peers.keys().cloned()).collect();
    (!peers.is_empty()).then_some(Unheard { address, peers })
}

/// The first two of them that ask for different local preferences of one route to one peer.
fn conflict(asks: &[(IpNet, &Way)]) -> Option<Conflict> {
    asks.iter().enumerate().find_map(|(i, (prefix, one))| {
        asks.iter().skip(i + 1).filter(|(other, _)| other == prefix).find_map(|(_, other)| {
            if one.route.local_pref == other.route.local_pref {
                return None;
            }
            let peer = one.hearers(Family::of(prefix.addr())).find(|peer| other.peers.contains_key(*peer))?;
            Some(Conflict {
                prefix: *prefix,
                peer: peer.clone(),
                one: one.advertisement.to_string(),
                other: other.advertisement.to_string(),
            })
        })
    })
}
