//! BGPPeer in the version that is stored: a router that the speakers keep BGP sessions with.

use k8s_openapi::api::core::v1::SecretReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::{rules, schema};

custom_resource!(
    /// BGPPeer is a router that the speakers keep BGP sessions with.
    BGPPeer {
        /// How to reach the router, and how the sessions with it are made.
        spec: BGPPeerSpec,
        /// Nothing yet.
        status: BGPPeerStatus
    },
    "v1beta2",
    "bgppeers"
);

/// BGPPeerSpec says how to reach the router, and how the sessions with it are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::peer()))]
pub struct BGPPeerSpec {
    /// The AS number of the speakers.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64), extend("x-kubernetes-validations" = rules::my_asn()))]
    pub my_asn: i64,
    /// The AS number of the router. Either this or dynamicASN is needed.
    #[serde(rename = "peerASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub peer_asn: Option<i64>,
    /// An AS number to show to this router instead of myASN.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub local_asn: Option<i64>,
    /// Takes the AS number of the router from its side of the session: internal accepts only the speakers' own,
    /// external only another.
    #[serde(rename = "dynamicASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dynamic_asn")]
    pub dynamic_asn: Option<DynamicAsn>,
    /// The IP address of the router. Either this or interface is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::peer_address()))]
    pub peer_address: Option<String>,
    /// The interface behind which the router is, for a session over its link-local address (unnumbered BGP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The IP address of the node from which sessions are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::source_address()))]
    pub source_address: Option<String>,
    /// The TCP port of the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer", extend("default" = 179, "minimum" = 1, "maximum" = 16384))]
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
    /// How long to wait between attempts to connect, in whole seconds, such as 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::connect_time()))]
    pub connect_time: Option<String>,
    /// The BGP identifier of the speakers, written as an IP address. By default the address of the node.
    #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::router_id()))]
    pub router_id: Option<String>,
    /// Nodes that keep a session with the router. A list of selectors, of which one must match; an empty list means
    /// all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// The password of the sessions (TCP MD5, RFC 2385). Better kept in a Secret: see passwordSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The Secret with the password of the sessions, in MetalLB's namespace, of type kubernetes.io/basic-auth with
    /// the key password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_reference")]
    pub password_secret: Option<SecretReference>,
    /// The BFDProfile, by name, of a BFD session that guards the BGP session. Without one there is no BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether the router shall go on using routes for a while when the speaker restarts (RFC 4724). Cannot be
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::graceful_restart()))]
    pub enable_graceful_restart: Option<bool>,
    /// Whether the router, of another AS, may be more than one hop away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
    /// The VRF in which the router is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Deprecated, without effect.
    #[serde(rename = "disableMP", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disable_mp: Option<bool>,
    /// Whether IPv4 and IPv6 routes are both sent over the session; otherwise only those of its own family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub dual_stack_address_family: Option<bool>,
}

/// Which AS numbers of a router are accepted where none is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DynamicAsn {
    /// The same as ours.
    Internal,
    /// Any but ours.
    External,
}

/// BGPPeerStatus is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BGPPeerStatus {}
