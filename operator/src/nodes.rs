//! Which nodes shall have a speaker, and which are not ready. Pure; it decides nothing and only names nodes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use kube_ext::wants_pod;

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
    use serde_json::json;

    use super::*;

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
