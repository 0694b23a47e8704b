//! What is made besides the workloads, by request: each object with whether it is wanted.
//!
//! ```text
//! NetworkPolicy   controller, metallb-operator, metallb-webhook-server   unless DISABLE_NETWORK_POLICIES
//! Service         controller-monitor-service, speaker-monitor-service    DEPLOY_SERVICEMONITORS
//! ServiceMonitor  controller-monitor, speaker-monitor                    DEPLOY_SERVICEMONITORS
//! PodMonitor      controller-monitor, speaker-monitor                    DEPLOY_PODMONITORS
//! PrometheusRule  metallb-alerts                                         DEPLOY_PROMETHEUSRULES
//! ConfigMap       metallb-dashboard                                      DEPLOY_DASHBOARDS
//! ```
//!
//! Several of these kinds are defined by others and may be unknown to the cluster, so they are untyped.

mod alerts;
mod monitors;
mod policies;

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};

use super::{Frame, common_labels};

/// An object that is there by request, in the operator's namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Extra {
    /// What it is.
    pub kind: ExtraKind,
    /// Its name.
    pub name: &'static str,
    /// The object, or nothing where it shall not be there.
    pub wanted: Option<Value>,
}

/// The kinds of these objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraKind {
    /// Who may talk to Pods, and whom they may talk to.
    NetworkPolicy,
    /// Names Pods for a ServiceMonitor.
    Service,
    /// Tells Prometheus of the Pods of a Service.
    ServiceMonitor,
    /// Tells Prometheus of Pods.
    PodMonitor,
    /// Alerts.
    PrometheusRule,
    /// A dashboard.
    ConfigMap,
}

impl ExtraKind {
    /// Where it is in the API.
    pub fn resource(self) -> ApiResource {
        let (group, kind, plural) = match self {
            Self::NetworkPolicy => ("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
            Self::Service => ("", "Service", "services"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "ServiceMonitor", "servicemonitors"),
            Self::PodMonitor => ("monitoring.coreos.com", "PodMonitor", "podmonitors"),
            Self::PrometheusRule => ("monitoring.coreos.com", "PrometheusRule", "prometheusrules"),
            Self::ConfigMap => ("", "ConfigMap", "configmaps"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural)
    }

    /// The setting of the operator without which there is none of this kind.
    pub(crate) fn without(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "DISABLE_NETWORK_POLICIES=true",
            Self::Service | Self::ServiceMonitor => "DEPLOY_SERVICEMONITORS=false",
            Self::PodMonitor => "DEPLOY_PODMONITORS=false",
            Self::PrometheusRule => "DEPLOY_PROMETHEUSRULES=false",
            Self::ConfigMap => "DEPLOY_DASHBOARDS=false",
        }
    }
}

/// All of them, wanted or not.
pub(super) fn extras(frame: &Frame<'_>) -> Vec<Extra> {
    let described = [policies::objects(frame), monitors::objects(frame), alerts::objects(frame)].concat();
    described
        .into_iter()
        .map(|(kind, name, content)| Extra {
            kind,
            name,
            wanted: content.map(|c| object(frame, kind, name, c)),
        })
        .collect()
}

/// A kind, a name, and what the object has beside its metadata, if it is wanted. `metadata` in it is added to ours.
type Described = (ExtraKind, &'static str, Option<Value>);

/// The object with its metadata.
fn object(frame: &Frame<'_>, kind: ExtraKind, name: &str, mut content: Value) -> Value {
    let metadata = serde_json::to_value(frame.metadata(name, common_labels())).expect("metadata is JSON");
    let mut metadata: Map<String, Value> = serde_json::from_value(metadata).expect("metadata is an object");
    for (field, value) in content["metadata"].as_object().cloned().unwrap_or_default() {
        match (metadata.get_mut(&field).and_then(Value::as_object_mut), value) {
            (Some(ours), Value::Object(further)) => ours.extend(further),
            (_, value) => drop(metadata.insert(field, value)),
        }
    }
    let resource = kind.resource();
    let mut object = json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata});
    for (field, value) in content.as_object_mut().into_iter().flatten() {
        if field != "metadata" {
            object[field] = value.take();
        }
    }
    object
}

/// Where Prometheus finds the metrics of a component.
fn monitor_service(component: &str) -> String {
    format!("{component}-monitor-service")
}

/// The Secret with the certificate that OpenShift makes for that Service.
pub(super) fn certificate_secret(component: &str) -> String {
    format!("{component}-certs-secret")
}
