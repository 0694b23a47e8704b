//! Everything that decides who announces, and the decision.

mod bgp;

use std::collections::{BTreeMap, BTreeSet};

use ::bgp::packet::Families;
use config::{Config, L2Advertisement};
use l2::election::{self, Candidate};

use crate::decision::{CANDIDATES, Decision, Election, Interfaces, Reason, Shortage};
use crate::obstacle::Obstacle;
use crate::reduce::{Node, Service, ServiceKey, Slice, SliceKey};

/// What does not change while a speaker runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The name of the node that this speaker runs on.
    pub node: String,
    /// The `loadBalancerClass` of Services that are ours; `None`: those without a class.
    pub class: Option<String>,
    /// Whether nodes labelled to be left out by external load balancers announce nevertheless.
    pub ignore_exclude: bool,
}

/// What is known of the cluster. The methods that change it return the Services whose decision may
/// be another now, none where the change is none.
#[derive(Debug, Default)]
pub struct Index {
    settings: Settings,
    services: BTreeMap<ServiceKey, Service>,
    /// The slices of each Service.
    slices: BTreeMap<ServiceKey, BTreeMap<SliceKey, Slice>>,
    /// The Service of each slice.
    service_of_slice: BTreeMap<SliceKey, ServiceKey>,
    nodes: BTreeMap<String, Node>,
    /// The nodes that have a speaker, whether it is up or not.
    speakers: BTreeSet<String>,
    /// Those of them whose speaker is ready by the API.
    ready: BTreeSet<String>,
    config: Config,
    /// By advertisement, the nodes that it selects and how much it prefers each.
    reach: BTreeMap<String, BTreeMap<String, u64>>,
    /// By BGP advertisement that selects this node, what it comes to here.
    ways: BTreeMap<String, bgp::Way>,
    /// The BGPPeers with which sessions are possible, and the families of which each takes routes.
    takers: BTreeMap<String, Families>,
    /// Whether this node withdraws what others can announce by BGP.
    withdraws: bool,
}

impl Index {
    /// An index of an empty cluster.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The Service exists and looks like this.
    pub fn apply_service(&mut self, key: ServiceKey, service: Service) -> Vec<ServiceKey> {
        let before = self.services.insert(key.clone(), service);
        if before.as_ref() == self.services.get(&key) { Vec::new() } else { vec![key] }
    }

    /// The Service is gone.
    pub fn delete_service(&mut self, key: &ServiceKey) -> Vec<ServiceKey> {
        self.services.remove(key).map(|_| key.clone()).into_iter().collect()
    }

    /// The Service, where it exists.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    /// The slice exists and looks like this.
    pub fn apply_slice(&mut self, key: SliceKey, slice: Slice) -> Vec<ServiceKey> {
        if let Some(owner) = self.service_of_slice.get(&key)
            && self.slices.get(owner).and_then(|slices| slices.get(&key)) == Some(&slice)
        {
            return Vec::new();
        }
        let mut touched = self.delete_slice(&key);
        if let Some(service) = slice.service.clone() {
            self.service_of_slice.insert(key.clone(), service.clone());
            self.slices.entry(service.clone()).or_default().insert(key, slice);
            if !touched.contains(&service) {
                touched.push(service);
            }
        }
        touched
    }

    /// The slice is gone.
    pub fn delete_slice(&mut self, key: &SliceKey) -> Vec<ServiceKey> {
        let Some(service) = self.service_of_slice.remove(key) else { return Vec::new() };
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(key);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        vec![service]
    }

    /// The node exists and looks like this.
    pub fn apply_node(&mut self, name: String, node: Node) -> Vec<ServiceKey> {
        if self.nodes.get(&name) == Some(&node) {
            return Vec::new();
        }
        for (advertisement, reach) in &mut self.reach {
            match self.config.l2_advertisements.get(advertisement).and_then(|a| reached(a, &node)) {
                Some(preference) => reach.insert(name.clone(), preference),
                None => reach.remove(&name),
            };
        }
        let own = name == self.settings.node;
        self.nodes.insert(name, node);
        if own {
            self.ways = bgp::ways(&self.config, &self.takers, self.own_node());
        }
        self.with_addresses()
    }

    /// The node is gone.
    pub fn delete_node(&mut self, name: &str) -> Vec<ServiceKey> {
        if self.nodes.remove(name).is_none() {
            return Vec::new();
        }
        for reach in self.reach.values_mut() {
            reach.remove(name);
        }
        if name == self.settings.node {
            self.ways.clear();
        }
        self.with_addresses()
    }

    /// These nodes have a speaker. Which of them are alive is for `membership` to find out.
    pub fn set_speakers(&mut self, nodes: BTreeSet<String>) -> Vec<ServiceKey> {
        if self.speakers == nodes {
            return Vec::new();
        }
        self.speakers = nodes;
        self.with_addresses()
    }

    /// The speaker of the node is ready by the API, or not any more. That decides who tells users what concerns the
    /// whole cluster, and what a drained node may withdraw from BGP.
    pub fn set_ready(&mut self, node: &str, ready: bool) -> Vec<ServiceKey> {
        let changed = if ready { self.ready.insert(node.to_owned()) } else { self.ready.remove(node) };
        if changed && self.withdraws { self.with_addresses() } else { Vec::new() }
    }

    /// Whether the node exists.
    pub fn has_node(&self, name: &str) -> bool {
        self.nodes.contains_key(name)
    }

    /// The configuration is this now.
    pub fn set_config(&mut self, config: Config) -> Vec<ServiceKey> {
        if self.config == config {
            return Vec::new();
        }
        self.reach = config
            .l2_advertisements
            .iter()
            .map(|(name, advertisement)| {
                let nodes = self.nodes.iter();
                let reach = nodes.filter_map(|(node, n)| Some((node.clone(), reached(advertisement, n)?)));
                (name.clone(), reach.collect())
            })
            .collect();
        self.config = config;
        self.ways = bgp::ways(&self.config, &self.takers, self.own_node());
        self.with_addresses()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who may announce the Service, by the rules in MetalLB's order.
    pub fn decide(&self, key: &ServiceKey) -> Decision {
        match self.election(key) {
            Ok(election) => Decision::Elect(election),
            Err(reason) => Decision::Not(reason),
        }
    }

    /// Why no node at all announces a Service, given the decision about it: the same answer on all
    /// nodes. `None` where one announces it, or where that is ordinary or told elsewhere (see [`Obstacle`]).
    pub fn obstacle(&self, key: &ServiceKey, decision: &Decision) -> Option<Obstacle> {
        let Decision::Not(reason) = decision else { return None };
        match reason {
            Reason::SharedWithServiceSelector(name) => {
                Some(Obstacle::SharedWithServiceSelector(name.clone()))
            }
            Reason::NoCandidate(shortage) => Some(Obstacle::NoCandidate(*shortage)),
            Reason::NoAdvertisement(pool) => {
                if self.config.bgp_advertisements_of(pool).next().is_some() {
                    return self.bgp_obstacle(pool, self.services.get(key)?);
                }
                Some(if self.config.l2_advertisements_of(pool).next().is_some() {
                    Obstacle::NotSelected(pool.clone())
                } else {
                    Obstacle::NoAdvertisement(pool.clone())
                })
            }
            _ => None,
        }
    }

    /// Whether it is for this node to tell the user of the Service what concerns the whole cluster: for one ready
    /// speaker of all, the first in the order of election for the first address.
    pub fn is_spokesman(&self, key: &ServiceKey) -> bool {
        let Some(first) = self.services.get(key).and_then(|service| service.addresses.first()) else {
            return false;
        };
        let members = self.ready.iter().map(|node| Candidate { node, score: 0 });
        election::winner(members, *first) == Some(self.settings.node.as_str())
    }

    /// Whether this node is the first by name of those whose speaker is ready: what one of all has to do is for it.
    pub fn is_first_ready(&self) -> bool {
        self.ready.first() == Some(&self.settings.node)
    }

    /// Whether this node announces the Service on interfaces by name, should it announce it.
    pub fn chooses_interfaces(&self, key: &ServiceKey) -> bool {
        let Decision::Elect(election) = self.decide(key) else { return false };
        matches!(election.here, Ok(Interfaces::Only(_)))
    }

    /// The advertisements of the pool that cover the Service, whatever the node.
    fn matching(&self, pool: &str, service: &Service) -> Vec<&L2Advertisement> {
        self.config.l2_advertisements_of(pool).filter(|a| a.matches_service(&service.labels)).collect()
    }

    /// The Services whose decision depends on nodes, members and configuration.
    fn with_addresses(&self) -> Vec<ServiceKey> {
        let services = self.services.iter().filter(|(_, s)| s.load_balancer && !s.addresses.is_empty());
        services.map(|(key, _)| key.clone()).collect()
    }

    fn election(&self, key: &ServiceKey) -> Result<Election, Reason> {
        let service = self.services.get(key).ok_or(Reason::NoService)?;
        let pool = self.pool(service)?;
        let serving = self.serving(key);
        if serving.is_empty() {
            return Err(Reason::NoEndpoint);
        }
        let advertisements = self.matching(pool, service);
        if service.shares
            && let Some(picky) = advertisements.iter().find(|a| !a.service_selectors.is_empty())
        {
            return Err(Reason::SharedWithServiceSelector(picky.name.clone()));
        }
        if advertisements.is_empty() {
            return Err(Reason::NoAdvertisement(pool.to_owned()));
        }
        let first = *service.addresses.first().ok_or(Reason::NoAddress)?;
        let candidates = self.candidates(service, &advertisements, &serving).map_err(Reason::NoCandidate)?;
        let all = election::order(candidates, first);
        let beyond = all.iter().skip(CANDIDATES).filter(|&&node| node == self.settings.node);
        let order: Vec<String> =
            all.iter().take(CANDIDATES).chain(beyond).map(|&node| node.to_owned()).collect();
        let mut interfaces = Interfaces::Only(BTreeSet::new());
        let mut reached = false;
        for advertisement in advertisements.iter().filter(|a| self.reaches(a, &self.settings.node)) {
            reached = true;
            interfaces.extend(&if advertisement.interfaces.is_empty() {
                Interfaces::All
            } else {
                Interfaces::Only(advertisement.interfaces.clone())
            });
        }
        let here = match order.first() {
            _ if order.contains(&self.settings.node) => Ok(interfaces),
            Some(best) if reached => Err(Reason::OtherNode(best.clone())),
            _ => Err(Reason::NoAdvertisement(pool.to_owned())),
        };
        Ok(Election { addresses: service.addresses.clone(), order, here })
    }

    /// The one pool that has all addresses of the Service, which must be ours.
    fn pool(&self, service: &Service) -> Result<&str, Reason> {
        if !service.load_balancer {
            return Err(Reason::NotLoadBalancer);
        }
        if service.class != self.settings.class {
            return Err(Reason::OtherClass);
        }
        if let Some(text) = &service.unreadable {
            return Err(Reason::Unreadable(text.clone()));
        }
        // A pool that became invalid keeps its last good version only where that is known. A speaker that started
        // since knows it not and must still announce what the others expect of it.
        let left_out = service.pool.as_ref().and_then(|pool| self.config.pools_left_out.get(pool));
        let mut found = None;
        for &address in &service.addresses {
            let pool = self.config.pool_of(address).map(|pool| &pool.name).or(left_out);
            let pool = pool.ok_or(Reason::NotInPool(address))?;
            if found.is_some_and(|found| found != pool) {
                return Err(Reason::NotInPool(address));
            }
            found = Some(pool.as_str());
        }
        found.ok_or(Reason::NoAddress)
    }

    /// Where endpoints of the Service can serve; `None` is an endpoint on no known node.
    fn serving(&self, key: &ServiceKey) -> BTreeSet<Option<&str>> {
        let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
        slices.flat_map(|slice| &slice.serving).map(Option::as_deref).collect()
    }

    fn reaches(&self, advertisement: &L2Advertisement, node: &str) -> bool {
        self.reach.get(&advertisement.name).is_some_and(|nodes| nodes.contains_key(node))
    }

    /// The nodes that may announce the Service, with how much each is preferred; the shortage where there
    /// is none.
    fn candidates(
        &self,
        service: &Service,
        advertisements: &[&L2Advertisement],
        serving: &BTreeSet<Option<&str>>,
    ) -> Result<Vec<Candidate<'_>>, Shortage> {
        let mut shortage = Shortage::default();
        let mut candidates = Vec::new();
        for name in &self.speakers {
            let Some(node) = self.nodes.get(name) else {
                shortage.unknown += 1;
                continue;
            };
            let preferences: Vec<u64> = advertisements
                .iter()
                .filter_map(|a| self.reach.get(&a.name).and_then(|nodes| nodes.get(name)).copied())
                .collect();
            if node.network_unavailable {
                shortage.network_unavailable += 1;
            } else if node.excluded() && !self.settings.ignore_exclude {
                shortage.excluded += 1;
            } else if preferences.is_empty() {
                shortage.not_selected += 1;
            } else if service.local && !serving.contains(&Some(name.as_str())) {
                shortage.no_endpoint += 1;
            } else {
                let score = preferences.into_iter().sum::<u64>();
                candidates.push(Candidate { node: name, score: i64::try_from(score).unwrap_or(i64::MAX) });
            }
        }
        if candidates.is_empty() { Err(shortage) } else { Ok(candidates) }
    }
}

/// How much the advertisement prefers the node; `None` where it does not select it.
fn reached(advertisement: &L2Advertisement, node: &Node) -> Option<u64> {
    advertisement.matches_node(&node.labels).then(|| advertisement.preference(&node.labels))
}
