//! What is kept of the API's objects.

use announce::{Node, Service, Slice, member_node};
use serde_json::{Value, json};

#[test]
fn a_service_is_reduced_to_what_decides() {
    let service = |annotations: Value, ingress: Value| {
        let object = json!({
            "metadata": {"labels": {"app": "web"}, "annotations": annotations},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "c", "externalTrafficPolicy": "Local"},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        Service::from(&serde_json::from_value(object).expect("a valid Service"))
    };
    let plain = service(json!({}), json!([{"ip": "10.0.0.1"}, {"ip": "fc00::1"}]));
    assert!(plain.load_balancer && plain.local && !plain.shares);
    assert_eq!(plain.class.as_deref(), Some("c"));
    assert_eq!(plain.addresses.len(), 2);
    assert_eq!(plain.unreadable, None);
    for key in ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"] {
        assert!(service(json!({key: "key"}), json!([])).shares, "{key}");
    }
    let allocated = service(json!({"metallb.io/ip-allocated-from-pool": "blue"}), json!([]));
    assert_eq!(allocated.pool.as_deref(), Some("blue"));
    let foreign = service(json!({}), json!([{"hostname": "lb.example"}]));
    assert_eq!(foreign.unreadable.as_deref(), Some("lb.example"));
    assert_eq!(
        Service::from(&serde_json::from_value(json!({})).expect("an empty Service")),
        Service::default()
    );
}

#[test]
fn a_slice_without_a_service_belongs_to_none() {
    let object =
        json!({"metadata": {"namespace": "shop", "name": "x"}, "addressType": "IPv4", "endpoints": []});
    assert_eq!(Slice::from(&serde_json::from_value(object).expect("a valid slice")), Slice::default());
}

#[test]
fn only_a_true_condition_makes_the_network_unavailable() {
    for (status, unavailable) in [("True", true), ("False", false), ("Unknown", false)] {
        let object = json!({"status": {"conditions": [{"type": "NetworkUnavailable", "status": status}]}});
        let node = Node::from(&serde_json::from_value(object).expect("a valid Node"));
        assert_eq!(node.network_unavailable, unavailable, "{status}");
    }
}

#[test]
fn a_node_drains_by_its_annotation_or_while_it_shuts_down() {
    let node = |annotations: Value, message: &str, status: &str| {
        let object = json!({
            "metadata": {"annotations": annotations},
            "status": {"conditions": [{"type": "Ready", "status": status, "message": message}]},
        });
        Node::from(&serde_json::from_value(object).expect("a valid Node")).draining
    };
    for (annotations, message, status, draining) in [
        (json!({}), "kubelet is posting ready status", "True", false),
        (json!({"metallb.io/drain": ""}), "", "True", true),
        (json!({"metallb.io/drain": "true"}), "", "True", true),
        (json!({"metallb.io/drain": "false"}), "", "True", false),
        (json!({}), "node is shutting down", "False", true),
        (json!({}), "container runtime is down", "False", false),
        (json!({}), "node is shutting down", "Unknown", false),
    ] {
        assert_eq!(node(annotations.clone(), message, status), draining, "{annotations} {status} {message}");
    }
}

#[test]
fn a_speaker_counts_while_its_pod_is_ready_and_not_terminating() {
    let pod = |ready: &str, deleted: Value| {
        let object = json!({
            "metadata": {"deletionTimestamp": deleted},
            "spec": {"nodeName": "iris1", "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        member_node(&serde_json::from_value(object).expect("a valid Pod"))
    };
    assert_eq!(pod("True", Value::Null).as_deref(), Some("iris1"));
    assert_eq!(pod("False", Value::Null), None);
    assert_eq!(pod("True", json!("2026-01-01T00:00:00Z")), None);
    let unscheduled = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(member_node(&serde_json::from_value(unscheduled).expect("a valid Pod")), None);
}
