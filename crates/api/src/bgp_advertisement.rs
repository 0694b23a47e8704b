//! BGPAdvertisement: which pools are announced by BGP, how, to whom and from where.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::{rules, schema};

custom_resource!(
    /// BGPAdvertisement announces the addresses of pools to BGP peers.
    BGPAdvertisement {
        /// What is announced, how and to whom. An empty spec announces each address of every pool from all nodes to
        /// all peers.
        spec: BGPAdvertisementSpec,
        /// Nothing yet.
        status: BGPAdvertisementStatus
    },
    "v1beta1",
    "bgpadvertisements"
);

/// BGPAdvertisementSpec says which pools are announced, with which attributes, to which peers, from which nodes and
/// for which services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::advertisement()))]
pub struct BGPAdvertisementSpec {
    /// The prefix length of the IPv4 routes: addresses are announced as the prefixes of this length that hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("default" = 32, "x-kubernetes-validations" = rules::aggregation_length_v4()))]
    pub aggregation_length: Option<i32>,
    /// The prefix length of the IPv6 routes: addresses are announced as the prefixes of this length that hold them.
    #[serde(rename = "aggregationLengthV6", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 128, "x-kubernetes-validations" = rules::aggregation_length_v6()))]
    pub aggregation_length_v6: Option<i32>,
    /// The LOCAL_PREF of the routes, which only peers of the same AS see. The highest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int32")]
    pub local_pref: Option<i64>,
    /// The communities of the routes: each a value such as 65000:100 or large:65000:1:2, or the name that a
    /// Community gives to one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::advertised_communities")]
    pub communities: Vec<String>,
    /// IPAddressPools, by name, to announce. Together with ipAddressPoolSelectors: those that either names.
    /// Without both: all pools.
    #[serde(rename = "ipAddressPools", default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,
    /// IPAddressPools, by their labels, to announce. A list of selectors, of which one must match.
    #[serde(rename = "ipAddressPoolSelectors", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Nodes that announce. A list of selectors, of which one must match; an empty list means all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// BGPPeers, by name, to announce to; an empty list means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Services, by their labels, to announce. A list of selectors, of which one must match; an empty list means
    /// all services. Cannot be used together with aggregation, nor with services that share an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub service_selectors: Vec<LabelSelector>,
}

/// BGPAdvertisementStatus is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BGPAdvertisementStatus {}
