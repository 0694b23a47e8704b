//! BGP advertisements.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipam::{Labels, Selector};
use net::Family;

use crate::community::Community;
use crate::error::ConfigError;
use crate::selector::{compile_list, distinct};
use crate::wanted::Wanted;

/// A validated BGPAdvertisement: which pools are announced by BGP, with which attributes, to whom, from where and
/// for which Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpAdvertisement {
    /// The name of the BGPAdvertisement.
    pub name: String,
    /// The pools in force that it announces, whether named, selected by label, or all of them. May be empty.
    pub pools: Arc<BTreeSet<String>>,
    /// The prefix length of the IPv4 routes: 1 to 32.
    pub aggregation_length: u8,
    /// The prefix length of the IPv6 routes: 0 to 128.
    pub aggregation_length_v6: u8,
    /// The LOCAL_PREF of the routes, not 0; `None` is the default of the BGP engine.
    pub local_pref: Option<u32>,
    /// The communities of the routes.
    pub communities: BTreeSet<Community>,
    /// The nodes that announce: one selector must match; none stands for every node. See
    /// [`matches_node`](Self::matches_node).
    pub node_selectors: Vec<Selector>,
    /// The BGPPeers, by name, to announce to; none stands for all of them. See
    /// [`matches_peer`](Self::matches_peer).
    pub peers: BTreeSet<String>,
    /// The Services to announce: one selector must match; none stands for every Service. See
    /// [`matches_service`](Self::matches_service).
    pub service_selectors: Vec<Selector>,
    /// Which pools it asks for, in force or not.
    pub(crate) wanted: Wanted,
}

impl BgpAdvertisement {
    /// Whether a node with these labels announces.
    pub fn matches_node(&self, labels: &Labels) -> bool {
        self.node_selectors.is_empty() || self.node_selectors.iter().any(|selector| selector.matches(labels))
    }

    /// Whether a Service with these labels is announced.
    pub fn matches_service(&self, labels: &Labels) -> bool {
        self.service_selectors.is_empty()
            || self.service_selectors.iter().any(|selector| selector.matches(labels))
    }

    /// Whether it is announced to the BGPPeer of this name.
    pub fn matches_peer(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.contains(name)
    }

    /// Whether it is what it was, whatever pools there are.
    pub(crate) fn says_as(&self, other: &Self) -> bool {
        // Every field by name, so that none that is new is forgotten.
        let Self {
            name,
            pools: _,
            aggregation_length,
            aggregation_length_v6,
            local_pref,
            communities,
            node_selectors,
            peers,
            service_selectors,
            wanted,
        } = self;
        *name == other.name
            && *aggregation_length == other.aggregation_length
            && *aggregation_length_v6 == other.aggregation_length_v6
            && *local_pref == other.local_pref
            && *communities == other.communities
            && *node_selectors == other.node_selectors
            && *peers == other.peers
            && *service_selectors == other.service_selectors
            && *wanted == other.wanted
    }

    /// The prefix length of the routes of a family.
    pub fn aggregation(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.aggregation_length,
            Family::V6 => self.aggregation_length_v6,
        }
    }
}

/// Reads one BGPAdvertisement; its pools are resolved later. `alias` knows the names of communities.
pub(crate) fn parse(
    object: &api::BGPAdvertisement,
    alias: impl Fn(&str) -> Option<Community>,
) -> Result<BgpAdvertisement, ConfigError> {
    let spec = &object.spec;
    let name = object.metadata.name.clone().unwrap_or_default();
    let service_selectors = compile_list("serviceSelectors", &spec.service_selectors)?;
    let aggregation_length = length(spec.aggregation_length, Family::V4)?;
    let aggregation_length_v6 = length(spec.aggregation_length_v6, Family::V6)?;
    for (field, aggregated) in [
        ("aggregationLength", aggregation_length != 32),
        ("aggregationLengthV6", aggregation_length_v6 != 128),
    ] {
        if aggregated && !service_selectors.is_empty() {
            return Err(ConfigError::SelectorsWithAggregation { field, advertisement: name });
        }
    }
    let local_pref =
        spec.local_pref.map(|value| u32::try_from(value).map_err(|_| ConfigError::LocalPref(value)));
    let advertisement = BgpAdvertisement {
        name,
        pools: Arc::default(),
        aggregation_length,
        aggregation_length_v6,
        local_pref: local_pref.transpose()?.filter(|value| *value != 0),
        communities: BTreeSet::new(),
        node_selectors: compile_list("nodeSelectors", &spec.node_selectors)?,
        peers: distinct("peers", &spec.peers)?,
        service_selectors,
        wanted: Wanted {
            names: distinct("ipAddressPools", &spec.ip_address_pools)?,
            selectors: compile_list("ipAddressPoolSelectors", &spec.ip_address_pool_selectors)?,
        },
    };
    // Last, as a name that may still be given to a community may hide no other mistake; and those names after all
    // that is wrong for good.
    let (mut communities, mut unknown) = (BTreeSet::new(), None);
    for text in &distinct("community", &spec.communities)? {
        match alias(text).map_or_else(|| text.parse(), Ok) {
            Ok(community) => {
                communities.insert(community);
            }
            Err(error) => {
                let error = ConfigError::from(error);
                if !error.is_transient() {
                    return Err(error);
                }
                unknown.get_or_insert(error);
            }
        }
    }
    unknown.map_or(Ok(BgpAdvertisement { communities, ..advertisement }), Err)
}

/// The prefix length of the routes of a family, by default that of one address.
fn length(value: Option<i32>, family: Family) -> Result<u8, ConfigError> {
    let (first, last) = match family {
        Family::V4 => (1, 32),
        Family::V6 => (0, 128),
    };
    let length = value.unwrap_or(i32::from(last));
    u8::try_from(length)
        .ok()
        .filter(|length| (first..=last).contains(length))
        .ok_or(ConfigError::AggregationLength { length, family })
}
