//! Layer 2 advertisements.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipam::{Labels, Selector};

use crate::error::ConfigError;
use crate::selector::{compile_list, compile_selector, distinct};
use crate::wanted::Wanted;

/// A validated L2Advertisement: which pools are announced by ARP and NDP, from where and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L2Advertisement {
    /// The name of the L2Advertisement.
    pub name: String,
    /// The pools that it announces, whether named, selected by label, or all of them, and among them those that
    /// exist and are [left out](crate::Config::pools_left_out): addresses may be in use from before. May be empty.
    pub pools: Arc<BTreeSet<String>>,
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
        pools: Arc::default(),
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
