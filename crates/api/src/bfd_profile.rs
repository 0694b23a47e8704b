//! BFDProfile: the settings of BFD sessions that guard BGP sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;

custom_resource!(
    /// BFDProfile has the settings of the BFD sessions (RFC 5880) that guard the BGP sessions of the peers that
    /// name it.
    BFDProfile {
        /// The settings. An empty spec is enough.
        spec: BFDProfileSpec,
        /// Nothing yet.
        status: BFDProfileStatus
    },
    "v1beta1",
    "bfdprofiles"
);

/// BFDProfileSpec has the settings of BFD sessions. Intervals are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// The shortest interval between packets that the speaker can receive, in milliseconds. The default is 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60_000))]
    pub receive_interval: Option<i32>,
    /// The shortest interval between packets that the speaker wants to send, in milliseconds. The default is 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60_000))]
    pub transmit_interval: Option<i32>,
    /// The number of packets in a row whose loss means that the path is down. The default is 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub detect_multiplier: Option<i32>,
    /// The shortest interval between echo packets, in milliseconds. The default is 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60_000))]
    pub echo_interval: Option<i32>,
    /// Whether packets are sent that the router forwards back. Not possible with multihop sessions or IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,
    /// Whether the session waits for the router's first packet before it sends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,
    /// The lowest TTL of packets that is accepted, for multihop sessions only. The default is 254.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub minimum_ttl: Option<i32>,
}

/// BFDProfileStatus is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BFDProfileStatus {}
