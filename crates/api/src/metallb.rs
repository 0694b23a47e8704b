//! MetalLB: the one resource that an administrator edits to run the load balancer.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::{pod_schema, schema};

custom_resource!(
    /// MetalLB runs the load balancer: a controller that gives services their addresses and, on every node, a
    /// speaker that announces them. There is one, named metallb, in the operator's namespace.
    MetalLB {
        /// How the controller and the speakers run. An empty spec is enough.
        spec: MetalLBSpec,
        /// Whether they run, and if not, why.
        status: MetalLBStatus
    },
    "v1beta1",
    "metallbs"
);

/// MetalLBSpec says how the controller and the speakers run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalLBSpec {
    /// Deprecated, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// One of native, frr and frr-k8s, all served by the engine that is built into the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_backend: Option<String>,
    /// How much the controller and the speakers log. The default is info.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::log_level")]
    pub log_level: Option<LogLevel>,
    /// Only services of this load balancer class are served; without it only services that name no class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^([a-z0-9A-Z]([\w.\-]*[a-z0-9A-Z])?/)?[a-z0-9A-Z]([\w.\-]*[a-z0-9A-Z])?$"
    ))]
    pub load_balancer_class: Option<String>,
    /// Labels of the nodes that run a speaker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the speakers, beside those of control plane nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "pod_schema::tolerations")]
    pub speaker_tolerations: Vec<Toleration>,
    /// Labels of the nodes that may run the controller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub controller_node_selector: BTreeMap<String, String>,
    /// Tolerations of the controller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "pod_schema::tolerations")]
    pub controller_tolerations: Vec<Toleration>,
    /// How many controllers run, 1 by default. One of them gives addresses; another takes over within seconds when
    /// it fails, and at once when it stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub controller_replicas: Option<i32>,
    /// Further settings of the controller's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_config: Option<Config>,
    /// Further settings of the speaker's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker_config: Option<Config>,
    /// How fast the speakers find that one of them has failed, and what they do without a majority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// How the speakers speak BGP, beyond what each BGPPeer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<Bgp>,
    /// Settings of frr-k8s, accepted for manifests that carry them.
    #[serde(rename = "frrk8sConfig", default, skip_serializing_if = "Option::is_none")]
    pub frrk8s_config: Option<FrrK8sConfig>,
}

/// Config has further settings of the pods of a component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// The RuntimeClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// The affinity of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod_schema::affinity")]
    pub affinity: Option<Affinity>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Requests and limits of the component's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod_schema::resources")]
    pub resources: Option<ResourceRequirements>,
}

/// Failover says how layer 2 addresses move to another node when theirs fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// How fast a failure is found: after three heartbeats of 100 ms each (Default), of 50 ms (Fast) or of 300 ms
    /// (Relaxed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::failover_profile")]
    pub profile: Option<FailoverProfile>,
    /// What a speaker does that no majority of three or more speakers hears: it answers for no address (Silent, the
    /// default), or announces those that nobody answers for (Announce), which two halves of a divided network may both do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::on_quorum_loss")]
    pub on_quorum_loss: Option<OnQuorumLoss>,
}

/// Bgp says how the speakers speak BGP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bgp {
    /// Whether routers may connect to the speakers, which else only connect to them. The speakers then listen at port 179
    /// of the addresses from which the routers of BGPPeers are reached, and get the capability NET_BIND_SERVICE for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<bool>,
    /// Whether routers that keep routes over a restart of a speaker (enableGracefulRestart) keep them after errors, too, a
    /// silent speaker among them (RFC 8538). A node that dies then costs traffic for as long as they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_restart: Option<bool>,
}

/// FailoverProfile is how fast a failure is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailoverProfile {
    /// Within 0.15 s.
    Fast,
    /// Within 0.3 s.
    #[default]
    Default,
    /// Within 0.9 s.
    Relaxed,
}

/// OnQuorumLoss is what a speaker does that no majority hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnQuorumLoss {
    /// It answers for no address.
    #[default]
    Silent,
    /// It announces what nobody answers for.
    Announce,
}

/// FrrK8sConfig has settings of frr-k8s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrrK8sConfig {
    /// CIDRs that are never accepted from a peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub always_block: Vec<String>,
    /// The namespace of an frr-k8s that others run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether secrets are passed to frr-k8s by reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_passthrough: Option<bool>,
}

/// LogLevel is how much a program logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything, libraries included.
    All,
    /// Each decision.
    Debug,
    /// What changes.
    #[default]
    Info,
    /// What needs attention.
    Warn,
    /// What failed.
    Error,
    /// Nothing.
    None,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::None => "none",
        })
    }
}

/// MetalLBStatus shows whether the controller and the speakers run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalLBStatus {
    /// Available, Upgradeable, Progressing and Degraded, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
