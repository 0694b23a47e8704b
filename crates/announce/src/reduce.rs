//! The few fields of the API's objects that decide who announces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{self, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// Namespace and name of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Namespace and name of an `EndpointSlice`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceKey {
    /// The slice's namespace, which is that of its Service.
    pub namespace: String,
    /// The slice's name.
    pub name: String,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Whether it is of type `LoadBalancer`.
    pub load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// The addresses in its status, in order: the first decides the election.
    pub addresses: Vec<IpAddr>,
    /// An entry of its status that is no address.
    pub unreadable: Option<String>,
    /// Whether `externalTrafficPolicy` is `Local`: only a node with an endpoint can serve.
    pub local: bool,
    /// The pool that its addresses came from, by the controller's annotation.
    pub pool: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it may share its address with other Services.
    pub shares: bool,
}

impl From<&v1::Service> for Service {
    fn from(service: &v1::Service) -> Self {
        let spec = service.spec.as_ref();
        let mut reduced = Self {
            load_balancer: spec.and_then(|s| s.type_.as_deref()) == Some("LoadBalancer"),
            class: spec.and_then(|s| s.load_balancer_class.clone()),
            local: spec.and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local"),
            labels: service.metadata.labels.clone().unwrap_or_default(),
            pool: service
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(api::names::ALLOCATED_FROM_POOL).cloned()),
            shares: service
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| api::names::ALLOW_SHARED_IP.find(all))
                .is_some(),
            ..Self::default()
        };
        let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        for ingress in status.and_then(|s| s.ingress.as_deref()).unwrap_or_default() {
            let text = ingress.ip.as_deref().or(ingress.hostname.as_deref()).unwrap_or_default();
            match text.parse() {
                Ok(address) => reduced.addresses.push(address),
                Err(_) => reduced.unreadable = Some(text.to_owned()),
            }
        }
        reduced
    }
}

/// An `EndpointSlice`: where endpoints of one Service are that can serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The Service; `None` for a slice that belongs to none.
    pub service: Option<ServiceKey>,
    /// The nodes of the endpoints that can serve; `None` is an endpoint on no known node.
    pub serving: BTreeSet<Option<String>>,
}

impl From<&EndpointSlice> for Slice {
    /// An endpoint can serve when it is ready, when nothing is said about that, or when it still serves
    /// while it terminates.
    fn from(slice: &EndpointSlice) -> Self {
        let label = slice.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name"));
        let service = label.map(|name| ServiceKey {
            namespace: slice.metadata.namespace.clone().unwrap_or_default(),
            name: name.clone(),
        });
        let serving = slice.endpoints.iter().flatten().filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            ready || conditions.and_then(|c| c.serving).unwrap_or(false)
        });
        Self { service, serving: serving.map(|endpoint| endpoint.node_name.clone()).collect() }
    }
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its condition `NetworkUnavailable` is True.
    pub network_unavailable: bool,
    /// Whether its addresses are to be handed over: an administrator drains it by annotation, or it is shutting down.
    pub draining: bool,
}

impl Node {
    /// Whether its label keeps external load balancers away; the label's value does not matter.
    pub fn excluded(&self) -> bool {
        self.labels.contains_key(api::names::EXCLUDE_LABEL)
    }
}

impl From<&v1::Node> for Node {
    fn from(node: &v1::Node) -> Self {
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            network_unavailable: conditions
                .iter()
                .any(|c| c.type_ == "NetworkUnavailable" && c.status == "True"),
            draining: asked_to_drain(node) || conditions.iter().any(is_shutting_down),
        }
    }
}

fn asked_to_drain(node: &v1::Node) -> bool {
    let annotations = node.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(api::names::DRAIN_ANNOTATION)).is_some_and(|value| value != "false")
}

/// The kubelet's only word of a graceful shutdown (pkg/kubelet/nodestatus, `ReadyCondition`) is this text.
fn is_shutting_down(condition: &v1::NodeCondition) -> bool {
    let told = condition.message.as_deref().unwrap_or_default();
    condition.type_ == "Ready" && condition.status == "False" && told.contains("node is shutting down")
}

/// The node that the speaker in this Pod makes a member: that of a Pod which is ready and not terminating.
pub fn member_node(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    let live = ready && pod.metadata.deletion_timestamp.is_none();
    pod.spec.as_ref().and_then(|s| s.node_name.clone()).filter(|_| live)
}
