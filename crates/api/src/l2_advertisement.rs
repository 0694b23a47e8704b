//! L2Advertisement: which pools are announced by ARP and NDP, from where and for whom.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::schema;

custom_resource!(
    /// L2Advertisement announces the addresses of pools on the local network, by ARP and NDP.
    L2Advertisement {
        /// What is announced from where. An empty spec announces every pool from any node on all interfaces.
        spec: L2AdvertisementSpec,
        /// Nothing yet.
        status: L2AdvertisementStatus
    },
    "v1beta1",
    "l2advertisements"
);

/// L2AdvertisementSpec says which pools are announced, from which nodes and interfaces, and for which services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
    /// IPAddressPools, by name, to announce. Together with ipAddressPoolSelectors: those that either names.
    /// Without both: all pools.
    #[serde(rename = "ipAddressPools", default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,
    /// IPAddressPools, by their labels, to announce. A list of selectors, of which one must match.
    #[serde(rename = "ipAddressPoolSelectors", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Nodes that may announce. A list of selectors, of which one must match; an empty list means all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// Interfaces, by name, to announce on; an empty list means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Services, by their labels, to announce. A list of selectors, of which one must match; an empty list means
    /// all services. Cannot be used with services that share an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub service_selectors: Vec<LabelSelector>,
    /// Nodes to prefer among those that may announce: the node with the highest sum of the weights of the
    /// preferences that it matches is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_node_selectors: Vec<PreferredNodeSelector>,
}

/// PreferredNodeSelector is a preference for some nodes, with a weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodeSelector {
    /// The nodes that are preferred.
    #[schemars(schema_with = "schema::label_selector")]
    pub preference: LabelSelector,
    /// The weight that matching nodes gain, from 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
}

/// L2AdvertisementStatus is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct L2AdvertisementStatus {}
