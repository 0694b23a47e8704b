//! The decision about BGP: every node for itself, without an election.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp::packet::{Community, LargeCommunity};
use bgp::rib::Route;
use config::{BgpAdvertisement, Config};
use ipnet::IpNet;

use super::{Index, Node};
use crate::bgp::{Ask, BgpAnnouncement, BgpDecision, BgpReason, Conflict};
use crate::obstacle::Obstacle;
use crate::reduce::{Service, ServiceKey};

/// What an advertisement that selects this node comes to here. Kept for all its Services, which share the memory.
#[derive(Clone, Debug)]
pub(super) struct Way {
    advertisement: Arc<str>,
    route: Arc<Route>,
    /// The peers, by name, that both the advertisement and this node have.
    peers: BTreeSet<String>,
}

/// The ways of a node that looks like this, by advertisement.
pub(super) fn ways(config: &Config, node: Option<&Node>) -> BTreeMap<String, Way> {
    let Some(node) = node else { return BTreeMap::new() };
    let selected = config.bgp_advertisements.values().filter(|a| a.matches_node(&node.labels));
    let way = |advertisement: &BgpAdvertisement| Way {
        advertisement: advertisement.name.as_str().into(),
        route: Arc::new(route(advertisement)),
        peers: config
            .bgp_peers
            .values()
            .filter(|peer| advertisement.matches_peer(&peer.name) && peer.matches_node(&node.labels))
            .map(|peer| peer.name.clone())
            .collect(),
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

    /// The BGPAdvertisements, by name, that this node announces to the peer.
    pub fn bgp_advertisements_to(&self, peer: &str) -> BTreeSet<Arc<str>> {
        let to = self.ways.values().filter(|way| way.peers.contains(peer));
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
        let heard = matching.any(|a| self.config.bgp_peers.keys().any(|peer| a.matches_peer(peer)));
        (!heard).then(|| Obstacle::NoPeer(pool.to_owned()))
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
        let peers: BTreeSet<String> = asks.iter().flat_map(|(_, way)| way.peers.iter().cloned()).collect();
        if peers.is_empty() {
            return Err(BgpReason::NoPeer);
        }
        if self.withdraws && self.is_announced_elsewhere(pool, service, &serving) {
            return Err(BgpReason::Drained);
        }
        let ask = |(prefix, way): (IpNet, &Way)| Ask {
            prefix,
            route: Arc::clone(&way.route),
            advertisement: Arc::clone(&way.advertisement),
        };
        Ok(BgpAnnouncement {
            addresses: service.addresses.clone(),
            asks: asks.into_iter().map(ask).collect(),
            peers,
        })
    }
}

impl Index {
    /// Whether another node with a ready speaker, which is not drained, may announce the Service by BGP. `serving` is where its
    /// endpoints are.
    fn is_announced_elsewhere(
        &self,
        pool: &str,
        service: &Service,
        serving: &BTreeSet<Option<&str>>,
    ) -> bool {
        let others = self.ready.iter().filter(|name| **name != self.settings.node);
        others.filter_map(|name| Some((name, self.nodes.get(name)?))).any(|(name, node)| {
            let able = !node.draining
                && !node.network_unavailable
                && (!node.excluded() || self.settings.ignore_exclude)
                && (!service.local || serving.contains(&Some(name.as_str())));
            let to_a_peer =
                |advertisement: &BgpAdvertisement| {
                    advertisement.matches_service(&service.labels)
                        && advertisement.matches_node(&node.labels)
                        && self.config.bgp_peers.values().any(|peer| {
                            advertisement.matches_peer(&peer.name) && peer.matches_node(&node.labels)
                        })
                };
            able && self.config.bgp_advertisements_of(pool).any(to_a_peer)
        })
    }
}

/// The first two of them that ask for different local preferences of one route to one peer.
fn conflict(asks: &[(IpNet, &Way)]) -> Option<Conflict> {
    asks.iter().enumerate().find_map(|(i, (prefix, one))| {
        asks.iter().skip(i + 1).filter(|(other, _)| other == prefix).find_map(|(_, other)| {
            if one.route.local_pref == other.route.local_pref {
                return None;
            }
            let peer = one.peers.intersection(&other.peers).next()?;
            Some(Conflict {
                prefix: *prefix,
                peer: peer.clone(),
                one: one.advertisement.to_string(),
                other: other.advertisement.to_string(),
            })
        })
    })
}
