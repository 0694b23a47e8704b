//! One route, one local preference: the rule for BGP advertisements that would announce the same route.
//!
//! Two of them collide where all of this is so: neither selects Services, their local preferences differ, and they
//! have in common a pool with addresses of a family in which both aggregate alike, a peer, and a node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ipam::{Labels, Pool, Selector};
use net::Family;

use crate::bgp::BgpAdvertisement;
use crate::error::ConfigError;

/// What of an advertisement decides; those that are alike in it need to be looked at only once.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Signature {
    local_pref: u32,
    lengths: [u8; 2],
    peers: Rc<BTreeSet<String>>,
    nodes: Option<Rc<BTreeSet<usize>>>,
}

/// The pools of a group of advertisements with the same ones: a place in `Collisions::groups`.
type Group = usize;

/// The advertisements that are taken so far. Where all local preferences are equal, as they mostly are, an
/// advertisement costs O(1); else it costs as much as there are groups with pools in common, and different
/// advertisements therein.
pub(crate) struct Collisions<'a> {
    pools: &'a BTreeMap<String, Pool>,
    nodes: &'a [&'a Labels],
    groups: HashMap<*const BTreeSet<String>, Group>,
    /// Pool -> groups that have it.
    of_pool: HashMap<String, Vec<Group>>,
    /// Group -> the groups that have pools in common with it, and the families of those.
    neighbours: Vec<BTreeMap<Group, [bool; 2]>>,
    /// Group -> what is taken, with the place and name of the first that is so.
    taken: Vec<HashMap<Signature, (usize, String)>>,
    selected: BTreeMap<Vec<Selector>, Rc<BTreeSet<usize>>>,
    count: usize,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl<'a> Collisions<'a> {
    /// Among advertisements of these pools, from nodes with these labels.
    pub(crate) fn new(pools: &'a BTreeMap<String, Pool>, nodes: &'a [&'a Labels]) -> Self {
        Self {
            pools,
            nodes,
            groups: HashMap::new(),
            of_pool: HashMap::new(),
            neighbours: Vec::new(),
            taken: Vec::new(),
            selected: BTreeMap::new(),
            count: 0,
        }
    }

    /// Takes the advertisement, or says with which of those taken before it collides.
    pub(crate) fn add(&mut self, advertisement: &BgpAdvertisement) -> Result<(), ConfigError> {
        if !advertisement.service_selectors.is_empty() {
            return Ok(());
        }
        let group = self.group(advertisement);
        let signature = Signature {
            local_pref: advertisement.local_pref.unwrap_or(0),
            lengths: FAMILIES.map(|family| advertisement.aggregation(family)),
            peers: Rc::new(advertisement.peers.clone()),
            nodes: self.select(&advertisement.node_selectors),
        };
        if self.taken[group].contains_key(&signature) {
            return Ok(());
        }
        let rivals = self.neighbours[group].iter().flat_map(|(other, families)| {
            self.taken[*other].iter().filter(|(taken, _)| taken.collides(&signature, *families))
        });
        if let Some((taken, (_, other))) = rivals.min_by_key(|(_, (place, _))| *place) {
            return Err(ConfigError::LocalPrefCollision {
                local_pref: signature.local_pref,
                other_pref: taken.local_pref,
                other: other.clone(),
            });
        }
        self.count += 1;
        self.taken[group].insert(signature, (self.count, advertisement.name.clone()));
        Ok(())
    }

    fn group(&mut self, advertisement: &BgpAdvertisement) -> Group {
        let key = std::sync::Arc::as_ptr(&advertisement.pools);
        if let Some(group) = self.groups.get(&key) {
            return *group;
        }
        let group = self.taken.len();
        self.groups.insert(key, group);
        self.taken.push(HashMap::new());
        self.neighbours.push(BTreeMap::new());
        for pool in advertisement.pools.iter() {
            let families =
                FAMILIES.map(|family| self.pools.get(pool).is_some_and(|pool| pool.offers(family)));
            let groups = self.of_pool.entry(pool.clone()).or_default();
            groups.push(group);
            for &other in groups.iter() {
                for (one, two) in [(group, other), (other, group)] {
                    let common = self.neighbours[one].entry(two).or_default();
                    *common = [common[0] || families[0], common[1] || families[1]];
                }
            }
        }
        group
    }

    /// The nodes that are selected; `None` is all, those that are not known here included.
    fn select(&mut self, selectors: &[Selector]) -> Option<Rc<BTreeSet<usize>>> {
        if selectors.is_empty() {
            return None;
        }
        let nodes = self.nodes;
        let selected = self.selected.entry(selectors.to_vec()).or_insert_with(|| {
            let fits = |labels: &Labels| selectors.iter().any(|selector| selector.matches(labels));
            Rc::new((0..nodes.len()).filter(|&node| fits(nodes[node])).collect())
        });
        Some(Rc::clone(selected))
    }
}

impl Signature {
    /// Whether the two collide, given the families that pools in common have.
    fn collides(&self, other: &Self, families: [bool; 2]) -> bool {
        let alike = (0..2).any(|family| families[family] && self.lengths[family] == other.lengths[family]);
        let peers = self.peers.is_empty() || other.peers.is_empty() || !self.peers.is_disjoint(&other.peers);
        self.local_pref != other.local_pref && alike && peers && self.same_node(other)
    }

    fn same_node(&self, other: &Self) -> bool {
        match (&self.nodes, &other.nodes) {
            (None, None) => true,
            (Some(nodes), None) | (None, Some(nodes)) => !nodes.is_empty(),
            (Some(nodes), Some(others)) => !nodes.is_disjoint(others),
        }
    }
}
