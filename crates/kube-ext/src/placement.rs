//! Whether a DaemonSet's Pods belong on a node, as its controller judges: selector, required affinity, taints.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

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

/// Whether Pods of this kind in the node's network belong on the node.
pub fn wants_pod(node: &Node, pod: &PodSpec) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let labelled = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut repelling = taints.filter(|taint| taint.effect != "PreferNoSchedule");
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    pod.node_selector.iter().flatten().all(labelled)
        && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches(term, labels, name)))
        && repelling.all(|taint| tolerated(taint, pod))
}

/// Whether a term of a required affinity selects the node. An empty one selects none (core/v1, `NodeSelectorTerm`).
fn matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |r: &NodeSelectorRequirement| r.key == "metadata.name" && holds(r, Some(name));
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|r| holds(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(field)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = value.is_some_and(|value| values.iter().any(|other| other == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
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
    fn labels_and_taints_decide_where_pods_belong() {
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
    fn a_required_affinity_decides_too() {
        let node = json!({"metadata": {"name": "n1", "labels": {"role": "edge", "rank": "5"}}});
        let term = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let named = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        for (terms, expected) in [
            (vec![term("role", "In", &["edge", "core"])], true),
            (vec![term("role", "NotIn", &["edge"])], false),
            (vec![term("role", "NotIn", &["edge"]), term("rank", "Gt", &["4"])], true),
            (vec![term("rank", "Lt", &["5"])], false),
            (vec![term("role", "Exists", &[])], true),
            (vec![term("gpu", "DoesNotExist", &[])], true),
            (vec![term("gpu", "Exists", &[])], false),
            (vec![named("n1")], true),
            (vec![named("n2")], false),
            (vec![json!({})], false),
        ] {
            let pod = json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
            assert_eq!(wants(node.clone(), pod), expected, "{terms:?}");
        }
    }
}
