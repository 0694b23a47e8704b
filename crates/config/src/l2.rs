//! Layer 2 advertisements.

use std::collections::{BTreeMap, BTreeSet};

use ipam::{Labels, Selector};

use crate::error::ConfigError;
use crate::selector::{compile_list, compile_selector};

/// A validated L2Advertisement: which pools are announced by ARP and NDP, from where and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L2Advertisement {
    /// The name of the L2Advertisement.
    pub name: String,
    /// The pools that it announces, whether named, selected by label, or all of them, and among them those that
    /// exist and are [left out](crate::Config::pools_left_out): addresses may be in use from before. May be empty.
    pub pools: BTreeSet<String>,
    /// The nodes that may announce: one selector must match; none stands for every node. See
    /// [`matches_node`](Self::matches_node).
    pub node_selectors: Vec<Selector>,
    /// The names of the interfaces to announce on; none stands for all of them.
    pub interfaces: BTreeSet<String>,
    /// The Services to announce: one selector must match; none stands for every Service. See
    /// [`matches_service`](Self::matches_service).
    pub service_selectors: Vec<Selector>,
    /// Nodes to prefer; see [`preference`](Self::preference).
    pub preferred_nodes: Vec<NodePreference>,
    /// Which pools it asks for, in force or not.
    pub(crate) wanted: Wanted,
}

/// A preference for some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePreference {
    /// What a matching node gains, from 1 to 100.
    pub weight: u32,
    /// The nodes that are preferred.
    pub nodes: Selector,
}

/// The pools that an advertisement asks for: by name or by label; neither stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) names: BTreeSet<String>,
    pub(crate) selectors: Vec<Selector>,
}

impl L2Advertisement {
    /// Whether a node with these labels may announce.
    pub fn matches_node(&self, labels: &Labels) -> bool {
        self.node_selectors.is_empty() || self.node_selectors.iter().any(|selector| selector.matches(labels))
    }

    /// Whether a Service with these labels is announced.
    pub fn matches_service(&self, labels: &Labels) -> bool {
        self.service_selectors.is_empty()
            || self.service_selectors.iter().any(|selector| selector.matches(labels))
    }

    /// The sum of the weights of all preferences that a node with these labels meets.
    pub fn preference(&self, labels: &Labels) -> u64 {
        self.preferred_nodes
            .iter()
            .filter(|preference| preference.nodes.matches(labels))
            .map(|p| u64::from(p.weight))
            .sum()
    }
}

impl Wanted {
    /// The pools that are asked for, out of these with the labels of their objects.
    pub(crate) fn choose<'a>(&self, pools: impl Iterator<Item = (&'a str, &'a Labels)>) -> BTreeSet<String> {
        let all = self.names.is_empty() && self.selectors.is_empty();
        pools
            .filter(|(name, labels)| {
                all || self.names.contains(*name)
                    || self.selectors.iter().any(|selector| selector.matches(labels))
            })
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

/// Reads one L2Advertisement; its pools are resolved later.
pub(crate) fn parse(object: &api::L2Advertisement) -> Result<L2Advertisement, ConfigError> {
    let spec = &object.spec;
    let mut preferred_nodes = Vec::with_capacity(spec.preferred_node_selectors.len());
    for preferred in &spec.preferred_node_selectors {
        let weight = u32::try_from(preferred.weight).ok().filter(|weight| (1..=100).contains(weight));
        let weight = weight.ok_or(ConfigError::Weight(preferred.weight))?;
        let nodes = compile_selector(&preferred.preference)
            .map_err(|source| ConfigError::Selector { field: "preferredNodeSelectors", source })?;
        preferred_nodes.push(NodePreference { weight, nodes });
    }
    Ok(L2Advertisement {
        name: object.metadata.name.clone().unwrap_or_default(),
        pools: BTreeSet::new(),
        node_selectors: compile_list("nodeSelectors", &spec.node_selectors)?,
        interfaces: spec.interfaces.iter().cloned().collect(),
        service_selectors: compile_list("serviceSelectors", &spec.service_selectors)?,
        preferred_nodes,
        wanted: Wanted {
            names: distinct("ipAddressPools", &spec.ip_address_pools)?,
            selectors: compile_list("ipAddressPoolSelectors", &spec.ip_address_pool_selectors)?,
        },
    })
}

/// The names as a set, refused where one stands twice.
fn distinct(field: &'static str, names: &[String]) -> Result<BTreeSet<String>, ConfigError> {
    let mut set = BTreeSet::new();
    for name in names {
        if !set.insert(name.clone()) {
            return Err(ConfigError::Duplicate { field, value: format!("{name:?}") });
        }
    }
    Ok(set)
}

/// Pool -> the advertisements that announce it.
pub(crate) fn by_pool(
    advertisements: &BTreeMap<String, L2Advertisement>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut by_pool: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for advertisement in advertisements.values() {
        for pool in &advertisement.pools {
            by_pool.entry(pool.clone()).or_default().insert(advertisement.name.clone());
        }
    }
    by_pool
}
