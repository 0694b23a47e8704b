//! One route, one local preference: the rule for BGP advertisements that would announce the same route.
//!
//! Two of them collide where all of this is so: neither selects Services, their local preferences differ, and they
//! have in common a pool with addresses of a family in which both aggregate alike, a peer, and a node.

use std::borrow::Borrow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipam::{Labels, Pool, Selector};
use net::Family;

use crate::bgp::BgpAdvertisement;
use crate::error::ConfigError;

/// Peers or nodes by number, in ascending order.
type Numbers = Arc<[u32]>;

/// The number of a peer that no advertisement taken so far names.
const UNHEARD_OF: u32 = u32::MAX;

/// What of an advertisement decides; those that are alike in it need to be looked at only once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Signature {
    local_pref: u32,
    lengths: [u8; 2],
    /// `None` is all of them.
    peers: Option<Numbers>,
    /// `None` is all of them, those that are not known here included.
    nodes: Option<Numbers>,
}

/// The pools of a group of advertisements with the same ones: a place in `Collisions::groups`.
type Group = usize;

/// Advertisements of one group and one signature.
#[derive(Debug)]
struct Class {
    signature: Signature,
    /// When the first of them was taken, and its name.
    place: usize,
    first: String,
    /// How many they are.
    count: usize,
}

/// Advertisements with the same pools.
#[derive(Debug)]
struct Members {
    /// Kept so that its address, by which the group is found, stays its own.
    pools: Arc<BTreeSet<String>>,
    /// The groups that have pools in common with this one, itself among them, in ascending order, and the families of
    /// those pools.
    neighbours: Vec<(Group, [bool; 2])>,
    classes: Vec<Class>,
}

/// The advertisements that are taken so far. To take one costs as much as there are groups with pools in common, and
/// different advertisements therein.
#[derive(Debug, Default)]
pub(crate) struct Collisions {
    groups: Vec<Members>,
    /// Address of a set of pools -> its group.
    by_address: HashMap<usize, Group>,
    /// Pool -> the families of its addresses, and the groups that have it.
    of_pool: HashMap<String, ([bool; 2], Vec<Group>)>,
    /// Group and signature -> the place among the group's classes.
    places: HashMap<(Group, Signature), usize>,
    peers: HashMap<String, u32>,
    selected: BTreeMap<Vec<Selector>, Numbers>,
    count: usize,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Collisions {
    /// Takes the advertisement, or says with which of those taken before it collides. `pools` and `nodes` are all
    /// that there are, the same in every call.
    pub(crate) fn add(
        &mut self,
        advertisement: &BgpAdvertisement,
        pools: &BTreeMap<String, Pool>,
        nodes: &[&Labels],
    ) -> Result<(), ConfigError> {
        if !advertisement.service_selectors.is_empty() {
            return Ok(());
        }
        let group = self.group(&advertisement.pools, pools);
        let signature = self.signature(advertisement, nodes);
        if let Some(place) = self.places.get(&(group, signature.clone())) {
            self.groups[group].classes[*place].count += 1;
            return Ok(());
        }
        let rivals = self.groups[group].neighbours.iter().flat_map(|(other, families)| {
            self.groups[*other].classes.iter().filter(|taken| taken.signature.collides(&signature, *families))
        });
        if let Some(rival) = rivals.min_by_key(|rival| rival.place) {
            return Err(ConfigError::LocalPrefCollision {
                local_pref: signature.local_pref,
                other_pref: rival.signature.local_pref,
                other: rival.first.clone(),
            });
        }
        self.count += 1;
        let classes = &mut self.groups[group].classes;
        self.places.insert((group, signature.clone()), classes.len());
        let first = advertisement.name.clone();
        classes.push(Class { signature, place: self.count, first, count: 1 });
        Ok(())
    }

    /// Whether the advertisement would collide with one of those that were taken, of which the one of its name,
    /// `before`, is none.
    pub(crate) fn would_collide(
        &self,
        advertisement: &BgpAdvertisement,
        before: Option<&BgpAdvertisement>,
        nodes: &[impl Borrow<Labels>],
    ) -> bool {
        if !advertisement.service_selectors.is_empty() {
            return false;
        }
        let signature = self.known_signature(advertisement, nodes);
        let itself = before.and_then(|before| {
            let group = *self.by_address.get(&address(&before.pools))?;
            let place = *self.places.get(&(group, self.known_signature(before, nodes)))?;
            let only = before.service_selectors.is_empty() && self.groups[group].classes[place].count == 1;
            only.then_some((group, place))
        });
        let rivals = |group: Group, families: [bool; 2]| {
            self.groups[group].classes.iter().enumerate().any(|(place, class)| {
                itself != Some((group, place)) && class.signature.collides(&signature, families)
            })
        };
        if let Some(group) = self.by_address.get(&address(&advertisement.pools)) {
            let mut neighbours = self.groups[*group].neighbours.iter();
            return neighbours.any(|(other, families)| rivals(*other, *families));
        }
        let common = advertisement.pools.iter().filter_map(|name| self.of_pool.get(name));
        let groups = common.flat_map(|(families, groups)| groups.iter().map(|group| (*group, *families)));
        let groups: BTreeSet<(Group, [bool; 2])> = groups.collect();
        groups.into_iter().any(|(other, families)| rivals(other, families))
    }

    /// Whether advertisements of these sets of pools, of which none collide, would do so if each had this pool, which
    /// takes the place of `before`.
    pub(crate) fn would_make_any(
        &self,
        sets: &[&Arc<BTreeSet<String>>],
        pool: &Pool,
        before: Option<&Pool>,
    ) -> bool {
        let now = families(Some(pool));
        let same = either(families(before), now) == families(before);
        let groups = || sets.iter().filter_map(|set| self.by_address.get(&address(set)).copied());
        // Those that had as much in common already are known not to collide.
        let had = |group: Group| same && self.groups[group].pools.contains(&pool.name);
        groups().filter(|group| !had(*group)).any(|group| {
            groups().any(|other| {
                let neighbours = &self.groups[group].neighbours;
                let common = neighbours.binary_search_by_key(&other, |(group, _)| *group);
                let common = common.map_or([false; 2], |place| neighbours[place].1);
                either(common, now) != common && self.any_collide(group, other, now)
            })
        })
    }

    fn any_collide(&self, group: Group, other: Group, families: [bool; 2]) -> bool {
        self.groups[group].classes.iter().any(|class| {
            let others = &mut self.groups[other].classes.iter();
            others.any(|other| class.signature.collides(&other.signature, families))
        })
    }

    fn group(&mut self, chosen: &Arc<BTreeSet<String>>, pools: &BTreeMap<String, Pool>) -> Group {
        let group = self.groups.len();
        match self.by_address.entry(address(chosen)) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(new) => new.insert(group),
        };
        let mut common: BTreeMap<Group, [bool; 2]> = BTreeMap::from([(group, [false; 2])]);
        for name in chosen.iter() {
            if !self.of_pool.contains_key(name) {
                self.of_pool.insert(name.clone(), (families(pools.get(name)), Vec::new()));
            }
            let (families, groups) = self.of_pool.get_mut(name).expect("it is there by now");
            groups.push(group);
            for other in groups.iter() {
                let common = common.entry(*other).or_default();
                *common = either(*common, *families);
            }
        }
        for (other, families) in common.range(..group) {
            self.groups[*other].neighbours.push((group, *families));
        }
        let neighbours = common.into_iter().collect();
        self.groups.push(Members { pools: Arc::clone(chosen), neighbours, classes: Vec::new() });
        group
    }

    fn signature(&mut self, advertisement: &BgpAdvertisement, nodes: &[&Labels]) -> Signature {
        for peer in &advertisement.peers {
            let number = u32::try_from(self.peers.len()).expect("fewer peers than addresses");
            if !self.peers.contains_key(peer) {
                self.peers.insert(peer.clone(), number);
            }
        }
        let selectors = &advertisement.node_selectors;
        if !selectors.is_empty() && !self.selected.contains_key(selectors) {
            self.selected.insert(selectors.clone(), select(selectors, nodes));
        }
        self.known_signature(advertisement, nodes)
    }

    /// The signature, made with what is known already.
    fn known_signature(&self, advertisement: &BgpAdvertisement, nodes: &[impl Borrow<Labels>]) -> Signature {
        let peers = (!advertisement.peers.is_empty()).then(|| {
            let number = |peer: &String| self.peers.get(peer).copied().unwrap_or(UNHEARD_OF);
            let mut numbers: Vec<u32> = advertisement.peers.iter().map(number).collect();
            numbers.sort_unstable();
            numbers.into()
        });
        let selectors = &advertisement.node_selectors;
        let nodes = (!selectors.is_empty())
            .then(|| self.selected.get(selectors).cloned().unwrap_or_else(|| select(selectors, nodes)));
        Signature {
            local_pref: advertisement.local_pref.unwrap_or(0),
            lengths: FAMILIES.map(|family| advertisement.aggregation(family)),
            peers,
            nodes,
        }
    }
}

impl Signature {
    /// Whether the two collide, given the families that pools in common have.
    fn collides(&self, other: &Self, families: [bool; 2]) -> bool {
        let alike = |family: usize| families[family] && self.lengths[family] == other.lengths[family];
        self.local_pref != other.local_pref
            && (alike(0) || alike(1))
            && match (&self.peers, &other.peers) {
                (Some(peers), Some(others)) => meet(peers, others),
                _ => true,
            }
            && match (&self.nodes, &other.nodes) {
                (None, None) => true,
                (Some(nodes), None) | (None, Some(nodes)) => !nodes.is_empty(),
                (Some(nodes), Some(others)) => meet(nodes, others),
            }
    }
}

/// Whether two ascending lists have a number in common.
fn meet(mut one: &[u32], mut two: &[u32]) -> bool {
    while let ([first, one_rest @ ..], [second, two_rest @ ..]) = (one, two) {
        match first.cmp(second) {
            std::cmp::Ordering::Less => one = one_rest,
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Greater => two = two_rest,
        }
    }
    false
}

/// The places of the nodes that one of the selectors matches.
fn select(selectors: &[Selector], nodes: &[impl Borrow<Labels>]) -> Numbers {
    let fits = |labels: &Labels| selectors.iter().any(|selector| selector.matches(labels));
    (0_u32..).zip(nodes).filter(|(_, labels)| fits((*labels).borrow())).map(|(place, _)| place).collect()
}

/// The families of a pool's addresses.
fn families(pool: Option<&Pool>) -> [bool; 2] {
    FAMILIES.map(|family| pool.is_some_and(|pool| pool.offers(family)))
}

fn either(one: [bool; 2], two: [bool; 2]) -> [bool; 2] {
    [one[0] || two[0], one[1] || two[1]]
}

fn address(pools: &Arc<BTreeSet<String>>) -> usize {
    Arc::as_ptr(pools).addr()
}
