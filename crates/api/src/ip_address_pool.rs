//! IPAddressPool: the addresses that may be given to Services.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::schema;

custom_resource!(
    /// IPAddressPool represents a pool of IP addresses that can be allocated to LoadBalancer services.
    IPAddressPool {
        /// Which addresses the pool has and who may get them.
        spec: IPAddressPoolSpec,
        /// How many of the addresses are in use.
        status: IPAddressPoolStatus
    },
    "v1beta1",
    "ipaddresspools"
);

/// IPAddressPoolSpec says which addresses the pool has and which services may get them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// Address ranges of the pool: each a CIDR prefix such as 198.51.100.0/24 or a range such as
    /// 198.51.100.10-198.51.100.20, IPv4 or IPv6. Ranges must not overlap, within a pool or between pools.
    #[schemars(schema_with = "schema::address_lines")]
    pub addresses: Vec<String>,
    /// Whether services that name neither a pool nor an address may get one from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub auto_assign: Option<bool>,
    /// Whether addresses ending in .0 and .255 are left out, since some old devices refuse them.
    #[serde(rename = "avoidBuggyIPs", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub avoid_buggy_ips: Option<bool>,
    /// Limits the pool to some namespaces or services and gives it a priority among the pools that fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
}

/// ServiceAllocation limits a pool to some namespaces or services. A service must match the namespaces, if
/// any are named by either field, and one of the service selectors, if there are any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Among the pools that fit a service the one with the lowest number is tried first; 0, the default, comes last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer")]
    pub priority: Option<i64>,
    /// Namespaces, by name, whose services may get addresses from the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces, by their labels, whose services may get addresses from the pool. A list of selectors, of
    /// which one must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Services, by their labels, that may get addresses from the pool. A list of selectors, of which one
    /// must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub service_selectors: Vec<LabelSelector>,
}

/// IPAddressPoolStatus counts the pool's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolStatus {
    /// The number of IPv4 addresses in use, each counted once, however many services share it.
    #[serde(rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// The number of IPv6 addresses in use, each counted once, however many services share it.
    #[serde(rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// The number of free IPv4 addresses.
    #[serde(rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// The number of free IPv6 addresses; the largest 64-bit number where there are more.
    #[serde(rename = "availableIPv6")]
    pub available_ipv6: i64,
}
