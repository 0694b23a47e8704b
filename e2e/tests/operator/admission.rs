//! MetalLB resources before they are stored.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::{NAMESPACE, World};

/// What the API server says to a resource of that spec: nothing where it takes it.
fn try_create(world: &World, name: &str, spec: &Value) -> Option<String> {
    let object = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "MetalLB", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    });
    let arguments = ["apply", "--dry-run=server", "-f", "-"];
    let answer = world.cluster.kubectl_with_stdin(&arguments, &object.to_string());
    answer.err().map(|error| format!("{error:#}"))
}

fn preference(kind: &str, weight: i32) -> Value {
    let key = "preferredDuringSchedulingIgnoredDuringExecution";
    let term = match kind {
        "nodeAffinity" => {
            json!({"weight": weight, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}})
        }
        _ => json!({"weight": weight, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}),
    };
    json!({"affinity": {kind: {key: [term]}}})
}

pub(crate) fn what_the_operator_cannot_do_is_refused_in_words_that_users_know(world: &World) -> Result<()> {
    let toleration = |seconds: i64| json!([{"effect": "NoSchedule", "key": "group", "value": "infra", "tolerationSeconds": seconds}]);
    for (spec, message) in [
        (
            json!({"speakerTolerations": toleration(i64::MAX / 1000)}),
            "SpeakerToleration effect must be NoExecute when tolerationSeconds is set",
        ),
        (
            json!({"controllerTolerations": toleration(0)}),
            "ControllerToleration effect must be NoExecute when tolerationSeconds is set",
        ),
        (
            json!({"controllerConfig": preference("nodeAffinity", 0)}),
            "ControllerConfig NodeAffinity set with invalid weight for preferred scheduling term",
        ),
        (
            json!({"speakerConfig": preference("podAffinity", 101)}),
            "SpeakerConfig PodAffinity set with invalid weight for preferred scheduling term",
        ),
        (
            json!({"speakerConfig": preference("podAntiAffinity", 101)}),
            "SpeakerConfig PodAntiAffinity set with invalid weight for preferred scheduling term",
        ),
        (
            json!({"bgpBackend": "bird"}),
            "invalid BGP Backend, must be one of native, frr, frr-k8s, frr-k8s-external",
        ),
        (json!({"bgpBackend": "frr-k8s-external"}), "unsupported bgp backend frr-k8s-external"),
        (
            json!({"frrk8sConfig": {"alwaysBlock": ["192.0.2.0/33"]}}),
            "invalid CIDR 192.0.2.0/33 in AlwaysBlock",
        ),
        (json!({"logLevel": "loud"}), "spec.logLevel"),
        (json!({"loadBalancerClass": "a b"}), "spec.loadBalancerClass"),
        (json!({"controllerReplicas": 0}), "spec.controllerReplicas"),
    ] {
        let said = try_create(world, "metallb", &spec);
        ensure!(
            said.as_ref().is_some_and(|said| said.contains(message)),
            "{spec}: expected {message:?}, got {said:?}"
        );
    }
    for (name, spec) in [
        (
            "metallb",
            json!({"controllerConfig": preference("nodeAffinity", 10), "speakerConfig": preference("podAffinity", 100)}),
        ),
        (
            "metallb",
            json!({"bgpBackend": "frr-k8s", "frrk8sConfig": {"alwaysBlock": ["192.0.2.0/24", "2001:db8::/32"]}}),
        ),
        // Of a wrong name the status tells.
        ("incorrectname", json!({})),
    ] {
        let said = try_create(world, name, &spec);
        ensure!(said.is_none(), "{spec}: {said:?}");
    }
    Ok(())
}
