//! Which nodes shall have a speaker, and which are not ready. Pure; it decides nothing and only names nodes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint, Toleration};

/// Taints that the DaemonSet controller lets Pods in the node's network tolerate by itself, with their effects.
const TOLERATED: [(&str, &str); 7] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

/// The names of those nodes that shall have a speaker, which `pod` describes, and have none.
pub(crate) fn uncovered(nodes: &[Node], pod: &PodSpec, pods: &[Arc<Pod>]) -> Vec<String> {
    let of_daemon_set = |pod: &&Arc<Pod>| {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| owner.kind == "DaemonSet") && !crate::pods::has_ended(pod)
    };
    let covered: Vec<&str> =
        pods.iter().filter(of_daemon_set).filter_map(|pod| crate::pods::node(pod)).collect();
    let names =
        nodes.iter().filter(|node| wants_pod(node, pod)).filter_map(|node| node.metadata.name.clone());
    names.filter(|name| !covered.contains(&name.as_str())).collect()
}

/// Whether the DaemonSet's Pods belong on the node, as far as its node selector and taints say.
pub(crate) fn wants_pod(node: &Node, pod: &PodSpec) -> bool {
    let labels = node.metadata.labels.as_ref();
    let labelled = |(key, value): (&String, &String)| {
        labels.and_then(|labels| labels.get(key)).is_some_and(|v| v == value)
    };
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut repelling = taints.filter(|taint| taint.effect != "PreferNoSchedule");
    pod.node_selector.iter().flatten().all(labelled) && repelling.all(|taint| tolerated(taint, pod))
}

fn tolerated(taint: &Taint, pod: &PodSpec) -> bool {
    let value = taint.value.as_deref().unwrap_or_default();
    let tolerates = |toleration: &Toleration| {
        let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
        let key = toleration.key.as_deref().filter(|key| !key.is_empty());
        let exists = toleration.operator.as_deref() == Some("Exists");
        effect.is_none_or(|effect| effect == taint.effect)
            && key.map_or(exists, |key| key == taint.key)
            && (exists || toleration.value.as_deref().unwrap_or_default() == value)
    };
    TOLERATED.contains(&(taint.key.as_str(), taint.effect.as_str()))
        || pod.tolerations.iter().flatten().any(tolerates)
}

/// Why a node is not ready; nothing if it is.
pub(crate) fn not_ready(node: &Node) -> Option<String> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
    if ready.status == "True" {
        return None;
    }
    let reason = ready.reason.as_deref().unwrap_or("NotReady");
    Some(match ready.message.as_deref() {
        Some(message) if !message.is_empty() => format!("{reason}: {}", message.trim_end_matches('.')),
        _ => reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wants(node: Value, pod: Value) -> bool {
        let node = serde_json::from_value(node).expect("a node");
        let pod = serde_json::from_value(pod).expect("a pod spec");
        wants_pod(&node, &pod)
    }

    #[test]
    fn labels_and_taints_decide_where_speakers_belong() {
        let worker = json!({"metadata": {"labels": {"role": "worker"}}});
        let tainted = json!({"metadata": {}, "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoExecute"}]}});
        let cordoned = json!({"metadata": {}, "spec": {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}});
        let starting = json!({"metadata": {}, "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}});
        let preferring =
            json!({"metadata": {}, "spec": {"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}});
        for (node, pod, expected) in [
            (&worker, json!({}), true),
            (&worker, json!({"nodeSelector": {"role": "worker"}}), true),
            (&worker, json!({"nodeSelector": {"role": "edge"}}), false),
            (&tainted, json!({}), false),
            (&tainted, json!({"tolerations": [{"operator": "Exists"}]}), true),
            (&tainted, json!({"tolerations": [{"key": "gpu", "value": "yes", "effect": "NoExecute"}]}), true),
            (&tainted, json!({"tolerations": [{"key": "gpu", "value": "no"}]}), false),
            (
                &tainted,
                json!({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}),
                false,
            ),
            (&cordoned, json!({}), true),
            (&starting, json!({}), false),
            (&preferring, json!({}), true),
        ] {
            let mut pod = pod;
            pod["containers"] = json!([]);
            assert_eq!(wants(node.clone(), pod.clone()), expected, "{node} {pod}");
        }
    }

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let node = |status: &str| -> Node {
            serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [{
                "type": "Ready", "status": status, "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status."}]}}))
            .expect("a node")
        };
        assert_eq!(not_ready(&node("True")), None);
        assert_eq!(
            not_ready(&node("Unknown")).as_deref(),
            Some("NodeStatusUnknown: Kubelet stopped posting node status")
        );
    }
}
