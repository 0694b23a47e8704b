//! NetworkPolicies. Each selects Pods of ours only, so none gets in the way of others in a shared namespace.
//!
//! They say on which ports others may come in. Whom the Pods talk to is the API server, and on which address and port that
//! answers differs from cluster to cluster; a wrong guess would end MetalLB. So they may talk to all, which is said, for a
//! namespace may have a policy that forbids what no other allows.
//! Speakers are on the network of their nodes, which NetworkPolicies do not reach.

use serde_json::{Value, json};

use super::{Described, ExtraKind};
use crate::build::{CONTROLLER, Frame, labels};

/// Where the webhook server answers, its own probes and metrics included: as its Deployment says.
const WEBHOOK_PORTS: [u16; 3] = [9443, 9120, 17472];
/// Where the operator answers probes.
const OPERATOR_PORTS: [u16; 1] = [8080];

pub(super) fn objects(frame: &Frame<'_>) -> Vec<Described> {
    let environment = frame.environment;
    let installed = |component: Value| {
        let mut labels = json!({"app.kubernetes.io/name": "metallb-operator"});
        labels
            .as_object_mut()
            .into_iter()
            .for_each(|labels| labels.extend(component.as_object().cloned().unwrap_or_default()));
        labels
    };
    let policy = |pods: Value, ports: &[u16]| {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
        let spec = json!({
            "podSelector": {"matchLabels": pods},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": ports}],
            "egress": [{}],
        });
        (!environment.extras.without_network_policies).then(|| json!({"spec": spec}))
    };
    let kind = ExtraKind::NetworkPolicy;
    vec![
        (
            kind,
            CONTROLLER,
            policy(json!(labels(CONTROLLER)), &[environment.metrics_port, environment.liveness_port]),
        ),
        (
            kind,
            "metallb-operator",
            policy(installed(json!({"control-plane": "controller-manager"})), &OPERATOR_PORTS),
        ),
        (
            kind,
            "metallb-webhook-server",
            policy(installed(json!({"component": "webhook-server"})), &WEBHOOK_PORTS),
        ),
    ]
}
