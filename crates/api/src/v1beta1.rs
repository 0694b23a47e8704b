//! BGPPeer as it was before v1beta2: still served, deprecated, no longer stored.
//!
//! Kinds that have only the version v1beta1 stand in the crate's root. Objects are brought from one version to the
//! other by [`convert_bgp_peer`](crate::convert_bgp_peer).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::{BGPPeerStatus, rules, schema};

custom_resource!(
    /// BGPPeer is a router that the speakers keep BGP sessions with. This version is deprecated: use v1beta2.
    BGPPeer {
        /// How to reach the router, and how the sessions with it are made.
        spec: BGPPeerSpec,
        /// Nothing yet.
        status: BGPPeerStatus
    },
    "v1beta1",
    "bgppeers"
);

/// BGPPeerSpec says how to reach the router, and how the sessions with it are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::old_peer()))]
pub struct BGPPeerSpec {
    /// The AS number of the speakers.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64), extend("x-kubernetes-validations" = rules::my_asn()))]
    pub my_asn: i64,
    /// The AS number of the router. 0 where the object says dynamicASN in v1beta2.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub peer_asn: i64,
    /// The IP address of the router. Empty where the object names an interface in v1beta2.
    #[schemars(extend("x-kubernetes-validations" = rules::peer_address()))]
    pub peer_address: String,
    /// The IP address of the node from which sessions are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::source_address()))]
    pub source_address: Option<String>,
    /// The TCP port of the router; without one, or 0, it is 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer", extend("minimum" = 0, "maximum" = 16384))]
    pub peer_port: Option<i32>,
    /// How long a session lives without a message from the router, such as 90s; 0s means forever. Both sides propose
    /// a time and use the shorter one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::hold_time()))]
    pub hold_time: Option<String>,
    /// How often a keepalive is sent, such as 30s. By default a third of the hold time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::keepalive_time()))]
    pub keepalive_time: Option<String>,
    /// The BGP identifier of the speakers, written as an IP address. By default the address of the node.
    #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::router_id()))]
    pub router_id: Option<String>,
    /// Nodes that keep a session with the router. A list of selectors, of which one must match; an empty list means
    /// all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<NodeSelector>,
    /// The password of the sessions (TCP MD5, RFC 2385).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The BFDProfile, by name, of a BFD session that guards the BGP session. Without one there is no BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether the router, of another AS, may be more than one hop away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
}

/// NodeSelector selects nodes by their labels: all of its parts must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels that the node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on the labels of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<MatchExpression>,
}

/// MatchExpression is a requirement on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MatchExpression {
    /// The key of the label.
    pub key: String,
    /// One of In, NotIn, Exists and DoesNotExist.
    pub operator: String,
    /// The values that the label may have, or may not. With Exists and DoesNotExist, which have none: one empty
    /// value.
    #[schemars(length(min = 1))]
    pub values: Vec<String>,
}
