//! ServiceL2Status: which node announces a Service's addresses, on which interfaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::schema;

custom_resource!(
    /// ServiceL2Status shows which node announces a service by ARP and NDP. Written by the speakers.
    ServiceL2Status {
        /// Nothing: the object only reports.
        spec: ServiceL2StatusSpec,
        /// Who announces what.
        status: ServiceL2StatusStatus
    },
    "v1beta1",
    "servicel2statuses"
);

/// ServiceL2StatusSpec is empty: the object only reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceL2StatusSpec {}

/// ServiceL2StatusStatus names the service, the node that announces it and the interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceL2StatusStatus {
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
    /// The interfaces on which the service is announced; empty means all of the node's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<InterfaceInfo>,
    /// Why the node has come to announce the service: NoHolder where no node did, HolderDown where the speaker of the
    /// node that did is not heard any more, HolderDrained where that node hands everything over, HolderUnfit where it
    /// may not announce it any more or is not heard on an interface, Preferred where this node goes before it, NoQuorum
    /// where there is no majority of speakers and nobody on the network answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The node that announced the service before, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_node: Option<String>,
}

/// InterfaceInfo is an interface of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceInfo {
    /// The name of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
