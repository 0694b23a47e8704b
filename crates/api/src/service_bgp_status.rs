//! ServiceBGPStatus: to which peers a node announces a Service's addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::schema;

custom_resource!(
    /// ServiceBGPStatus shows to which peers a node announces a service by BGP. Written by the speakers.
    ServiceBGPStatus {
        /// Nothing: the object only reports.
        spec: ServiceBGPStatusSpec,
        /// Who announces what to whom.
        status: ServiceBGPStatusStatus
    },
    "v1beta1",
    "servicebgpstatuses"
);

/// ServiceBGPStatusSpec is empty: the object only reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceBGPStatusSpec {}

/// ServiceBGPStatusStatus names the service, the node that announces it and the peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBGPStatusStatus {
    /// The node that announces the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub node: Option<String>,
    /// The name of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub service_name: Option<String>,
    /// The namespace of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub service_namespace: Option<String>,
    /// The BGPPeers, by name and sorted, to which the service is announced whenever their sessions are up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}
