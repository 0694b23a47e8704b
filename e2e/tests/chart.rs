//! What the Helm chart renders, beside what the operator makes of a resource that says the same. Needs no cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use api::MetalLB;
use e2e::Progress;
use operator::build::build;
use operator::settings::{Environment, Extras, Monitors};
use serde_json::{Value, json};

const NAMESPACE: &str = "load-balancer";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/metallb")
}

/// Runs helm; what it printed, or why it failed.
fn try_helm(arguments: &[&str]) -> Output {
    let helm = e2e::helm(&Progress::new()).expect("helm is built");
    Command::new(helm).args(arguments).output().expect("helm starts")
}

/// Runs helm; its standard output.
fn helm(arguments: &[&str]) -> String {
    let output = try_helm(arguments);
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Kind and name, and the object.
type Objects = BTreeMap<(String, String), Value>;

fn key(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// What the chart renders with these values.
fn rendered(values: &Value) -> Objects {
    // The tests run at once.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("metallb-values-{}-{number}.json", std::process::id()));
    std::fs::write(&file, values.to_string()).expect("writable");
    let (chart, values) = (chart().display().to_string(), file.display().to_string());
    let release = ["template", "metallb", &chart, "--namespace", NAMESPACE, "--values", &values];
    let text = helm(&[&release[..], &["--kube-version", "1.36.3"]].concat());
    std::fs::remove_file(&file).expect("ours");
    let documents = text.split("\n---\n").filter(|part| part.lines().any(|line| line.starts_with("kind:")));
    let objects = documents.map(|part| {
        let part = part.strip_prefix("---\n").unwrap_or(part);
        let object: Value = serde_saphyr::from_str(part).expect("YAML");
        (key(&object), object)
    });
    objects.collect()
}

/// What the operator makes of a resource with that spec.
fn made(spec: &Value, extras: Extras) -> Objects {
    let version = env!("CARGO_PKG_VERSION");
    let environment = Environment {
        namespace: NAMESPACE.to_owned(),
        controller_image: format!("ghcr.io/metallb-rs/controller:v{version}"),
        speaker_image: format!("ghcr.io/metallb-rs/speaker:v{version}"),
        metrics_port: 9120,
        liveness_port: 17472,
        member_port: 7946,
        extras,
        openshift: false,
    };
    let metallb = json!({"metadata": {"name": "metallb", "namespace": NAMESPACE, "uid": "u"}, "spec": spec});
    let metallb: MetalLB = serde_json::from_value(metallb).expect("a resource");
    let objects = build(&metallb, &environment);
    let mut made = vec![
        serde_json::to_value(&objects.exclude_l2).expect("JSON"),
        serde_json::to_value(&objects.speakers).expect("JSON"),
        serde_json::to_value(&objects.controller).expect("JSON"),
        serde_json::to_value(&objects.speaker).expect("JSON"),
    ];
    made.extend(objects.extras.into_iter().filter_map(|extra| extra.wanted));
    let objects = made.into_iter().map(|mut object| {
        // The chart has no owner, and the label is Helm's.
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.remove("ownerReferences");
        metadata["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
        (key(&object), object)
    });
    objects.filter(|((_, name), _)| name != "metallb-operator").collect()
}

fn compare(values: &Value, spec: &Value, extras: Extras) {
    let rendered = rendered(values);
    for (key, object) in made(spec, extras) {
        let ours = rendered.get(&key).unwrap_or_else(|| panic!("the chart has no {key:?}"));
        assert_eq!(ours, &object, "{key:?} of {values}");
    }
}

#[test]
fn an_empty_resource_and_a_chart_without_values_are_the_same() {
    compare(&json!({}), &json!({}), Extras::default());
}

#[test]
fn every_value_has_the_effect_of_its_field() {
    let toleration = json!([{"key": "a", "operator": "Exists", "effect": "NoExecute"}]);
    let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "metallb"}}, "topologyKey": "kubernetes.io/hostname"}]}});
    let values = |component: &str| {
        json!({
            "logLevel": "debug", "nodeSelector": {"role": component, "kubernetes.io/os": "linux"}, "tolerations": toleration,
            "affinity": affinity, "priorityClassName": "high", "runtimeClassName": "mine", "podAnnotations": {"a": component},
            "resources": {"limits": {"cpu": "300m"}, "requests": {"memory": "32Mi"}},
        })
    };
    let config = |component: &str| {
        json!({
            "priorityClassName": "high", "runtimeClassName": "mine", "annotations": {"a": component}, "affinity": affinity,
            "resources": {"limits": {"cpu": "300m"}, "requests": {"memory": "32Mi"}},
        })
    };
    let mut speaker = values("speaker");
    speaker["bgp"] = json!({"listen": true, "notificationRestart": true});
    let mut controller = values("controller");
    controller["replicas"] = 2.into();
    let spec = json!({
        "logLevel": "debug", "loadBalancerClass": "example.com/class", "controllerReplicas": 2,
        "nodeSelector": {"role": "speaker"}, "controllerNodeSelector": {"role": "controller"},
        "speakerTolerations": toleration, "controllerTolerations": toleration,
        "controllerConfig": config("controller"), "speakerConfig": config("speaker"),
        "failover": {"profile": "Relaxed", "onQuorumLoss": "Announce"},
        "bgp": {"listen": true, "notificationRestart": true},
    });
    let values = json!({
        "failover": {"profile": "Relaxed", "onQuorumLoss": "Announce"},
        "loadBalancerClass": "example.com/class", "controller": controller, "speaker": speaker,
        "prometheus": {"serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true}},
    });
    let extras = Extras {
        monitors: Monitors::Services,
        prometheus_rules: true,
        dashboards: true,
        ..Extras::default()
    };
    compare(&values, &spec, extras);
    let pods =
        json!({"prometheus": {"podMonitor": {"enabled": true}}, "networkPolicies": {"enabled": false}});
    let extras = Extras { monitors: Monitors::Pods, without_network_policies: true, ..Extras::default() };
    compare(&pods, &json!({}), extras);
    assert!(!rendered(&pods).keys().any(|(kind, _)| kind == "NetworkPolicy"));
}

#[test]
fn each_way_to_fail_over_alone_is_the_operators_and_others_are_refused() {
    for failover in [
        json!({"profile": "Default"}),
        json!({"profile": "Fast"}),
        json!({"profile": "Relaxed"}),
        json!({"onQuorumLoss": "Silent"}),
        json!({"onQuorumLoss": "Announce"}),
        // As `helm upgrade --reuse-values` has it from a chart that knew nothing of it.
        json!(null),
    ] {
        let same = json!({"failover": failover});
        compare(&same, &same, Extras::default());
    }
    let chart = chart().display().to_string();
    for (value, said) in [
        ("failover.profile=fast", "failover.profile is \"fast\": use Default or Fast or Relaxed"),
        ("failover.onQuorumLoss=Panic", "failover.onQuorumLoss is \"Panic\": use Silent or Announce"),
    ] {
        let output = try_helm(&["template", "metallb", &chart, "--kube-version", "1.36.3", "--set", value]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(said), "{value}: {text}");
    }
}

#[test]
fn everything_lies_in_the_namespace_of_the_release_and_definitions_stay() {
    let objects = rendered(&json!({"prometheus": {"serviceMonitor": {"enabled": true}}}));
    for ((kind, name), object) in &objects {
        assert!(!object.to_string().contains("metallb-system"), "{kind} {name}: {object}");
        if kind == "CustomResourceDefinition" {
            assert_eq!(object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{name}");
        }
    }
    let definitions = objects.keys().filter(|(kind, _)| kind == "CustomResourceDefinition").count();
    assert_eq!(definitions, 9);
    let peers = &objects[&("CustomResourceDefinition".to_owned(), "bgppeers.metallb.io".to_owned())];
    let service = &peers["spec"]["conversion"]["webhook"]["clientConfig"]["service"];
    assert_eq!(service["namespace"], NAMESPACE);
    let without = rendered(&json!({"crds": {"enabled": false}, "rbac": {"create": false}}));
    assert!(!without.keys().any(|(kind, _)| kind == "CustomResourceDefinition" || kind.ends_with("Binding")));
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    let chart = chart().display().to_string();
    let said = helm(&["lint", "--strict", &chart]);
    assert!(said.contains("0 chart(s) failed"), "{said}");
}
