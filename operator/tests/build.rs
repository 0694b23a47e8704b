//! The objects of MetalLB resources, whole in `golden/` and field by field in a table.
//!
//! `UPDATE_GOLDEN=1 cargo test -p operator --test build` writes the golden files anew; read the difference.
#![allow(clippy::needless_pass_by_value, reason = "a json! literal reads best as an argument")]

use std::path::PathBuf;

use api::MetalLB;
use operator::build::{Objects, build};
use operator::settings::{Environment, Extras, Monitors};
use serde_json::{Value, json};

fn environment() -> Environment {
    Environment {
        namespace: "metallb-system".to_owned(),
        controller_image: "registry.test:5000/metallb/controller@sha256:0123".to_owned(),
        speaker_image: "registry.test:5000/metallb/speaker:v1".to_owned(),
        metrics_port: 9120,
        liveness_port: 17472,
        member_port: 7946,
        extras: Extras::default(),
        openshift: false,
    }
}

fn objects(spec: Value) -> Value {
    let metallb =
        json!({"metadata": {"name": "metallb", "namespace": "metallb-system", "uid": "u"}, "spec": spec});
    let metallb: MetalLB = serde_json::from_value(metallb).expect("a MetalLB resource");
    let Objects { exclude_l2, speakers, controller, speaker, .. } = build(&metallb, &environment());
    json!({"configMap": exclude_l2, "speakers": speakers, "controller": controller, "speaker": speaker})
}

#[test]
fn whole_resources_give_the_golden_objects() {
    for name in ["default", "full"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let cr = std::fs::read_to_string(path.join(format!("{name}.cr.yaml"))).expect("the resource");
        let metallb: MetalLB = serde_saphyr::from_str(&cr).expect("a MetalLB resource");
        let objects = build(&metallb, &environment());
        let documents = [
            serde_saphyr::to_string(&objects.exclude_l2),
            serde_saphyr::to_string(&objects.speakers),
            serde_saphyr::to_string(&objects.controller),
            serde_saphyr::to_string(&objects.speaker),
        ];
        let built = documents.map(|document| document.expect("YAML")).join("---\n");
        let golden = path.join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &built).expect("writable");
        }
        let expected = std::fs::read_to_string(&golden).expect("the golden file");
        assert!(built == expected, "{} differs from what is built:\n{built}", golden.display());
    }
}

/// Where a field of the spec alone shows.
struct Case {
    spec: Value,
    /// `controller` or `speaker`.
    workload: &'static str,
    /// Below the Pod's template.
    path: &'static str,
    expected: Value,
}

#[test]
fn each_field_alone_changes_only_its_own_workload_and_only_there() {
    const POD: &str = "/spec/template/spec";
    let default = objects(json!({}));
    let case = |spec, workload, path, expected| Case { spec, workload, path, expected };
    let control_plane = |taint| json!({"key": format!("node-role.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoSchedule"});
    let toleration = json!({"key": "a", "operator": "Exists"});
    for Case { spec, workload, path, expected } in [
        case(
            json!({"failover": {"profile": "Relaxed"}}),
            "speaker",
            "/containers/0/args",
            json!([
                "--port=9120",
                "--health-probe-port=17472",
                "--log-level=info",
                "--failover-profile=relaxed"
            ]),
        ),
        case(
            json!({"nodeSelector": {"a": "b"}}),
            "speaker",
            "/nodeSelector",
            json!({"a": "b", "kubernetes.io/os": "linux"}),
        ),
        case(
            json!({"nodeSelector": {"kubernetes.io/os": "linux", "node-role.kubernetes.io/worker": "true"}}),
            "speaker",
            "/nodeSelector",
            json!({"kubernetes.io/os": "linux", "node-role.kubernetes.io/worker": "true"}),
        ),
        case(
            json!({"controllerNodeSelector": {"a": "b"}}),
            "controller",
            "/nodeSelector",
            json!({"a": "b", "kubernetes.io/os": "linux"}),
        ),
        case(
            json!({"speakerTolerations": [toleration]}),
            "speaker",
            "/tolerations",
            json!([control_plane("master"), control_plane("control-plane"), toleration]),
        ),
        case(
            json!({"controllerTolerations": [toleration]}),
            "controller",
            "/tolerations",
            json!([toleration]),
        ),
        case(
            json!({"speakerConfig": {"priorityClassName": "p"}}),
            "speaker",
            "/priorityClassName",
            json!("p"),
        ),
        case(
            json!({"controllerConfig": {"priorityClassName": "p"}}),
            "controller",
            "/priorityClassName",
            json!("p"),
        ),
        case(json!({"speakerConfig": {"runtimeClassName": "r"}}), "speaker", "/runtimeClassName", json!("r")),
        case(
            json!({"controllerConfig": {"runtimeClassName": "r"}}),
            "controller",
            "/runtimeClassName",
            json!("r"),
        ),
        case(json!({"speakerConfig": {"affinity": {}}}), "speaker", "/affinity", json!({})),
        case(
            json!({"controllerConfig": {"affinity": {"podAffinity": {}}}}),
            "controller",
            "/affinity",
            json!({"podAffinity": {}}),
        ),
        case(
            json!({"speakerConfig": {"resources": {"limits": {"cpu": "300m"}}}}),
            "speaker",
            "/containers/0/resources",
            json!({"limits": {"cpu": "300m"}}),
        ),
        case(
            json!({"controllerConfig": {"resources": {"limits": {"cpu": "200m"}}}}),
            "controller",
            "/containers/0/resources",
            json!({"limits": {"cpu": "200m"}}),
        ),
    ] {
        let built = objects(spec.clone());
        let mut undone = built.clone();
        let at = format!("/{workload}{POD}{path}");
        assert_eq!(built.pointer(&at), Some(&expected), "{spec}");
        let (parent, field) = at.rsplit_once('/').expect("a path");
        let parent = undone.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        match default.pointer(&at) {
            Some(value) => parent.insert(field.to_owned(), value.clone()),
            None => parent.remove(field),
        };
        assert_eq!(undone, default, "{spec} changes more than {at}");
    }
}

#[test]
fn annotations_are_put_on_the_pods_and_not_on_the_workload() {
    let built = objects(json!({"speakerConfig": {"annotations": {"x": "y"}}}));
    assert_eq!(built["speaker"]["spec"]["template"]["metadata"]["annotations"], json!({"x": "y"}));
    assert_eq!(built["speaker"]["metadata"].get("annotations"), None);
    assert_eq!(built["controller"], objects(json!({}))["controller"]);
}

#[test]
fn empty_settings_are_no_settings() {
    let empty = json!({
        "bgpBackend": "", "nodeSelector": {}, "speakerTolerations": [], "controllerTolerations": [],
        "loadBalancerClass": "", "logLevel": "info", "bgp": {"listen": false},
        "speakerConfig": {"priorityClassName": "", "runtimeClassName": "", "annotations": {}}, "controllerConfig": {},
    });
    assert_eq!(objects(empty), objects(json!({})));
}

#[test]
fn a_speaker_that_listens_has_the_capability_for_it_and_no_other_has() {
    for (spec, port, capabilities) in [
        (json!({}), false, json!(["NET_RAW"])),
        (json!({"bgp": {"listen": false}}), false, json!(["NET_RAW"])),
        (json!({"bgp": {"listen": true}}), true, json!(["NET_RAW", "NET_BIND_SERVICE"])),
    ] {
        let built = objects(spec.clone());
        let container = &built["speaker"]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["securityContext"]["capabilities"]["add"], capabilities, "{spec}");
        assert_eq!(container["args"].to_string().contains("--bgp-listen-port=179"), port, "{spec}");
        assert_eq!(built["controller"], objects(json!({}))["controller"], "{spec}");
    }
    let built = objects(json!({"bgp": {"notificationRestart": true}}));
    let container = &built["speaker"]["spec"]["template"]["spec"]["containers"][0];
    let arguments =
        ["--port=9120", "--health-probe-port=17472", "--log-level=info", "--bgp-notification-restart"];
    assert_eq!(container["args"], json!(arguments));
}

#[test]
fn arguments_follow_log_level_and_class_in_the_known_order() {
    let built = objects(json!({"logLevel": "warn", "loadBalancerClass": "c"}));
    let arguments =
        |workload: &str| built[workload]["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    let common = ["--port=9120", "--health-probe-port=17472", "--log-level=warn", "--lb-class=c"];
    assert_eq!(arguments("speaker"), json!(common));
    assert_eq!(arguments("controller"), json!([&common[..], &["--webhook-mode=disabled"]].concat()));
}

#[test]
fn the_bgp_type_is_told_to_both_unless_it_is_native() {
    for (spec, expected) in [
        (json!({}), Some("frr")),
        (json!({"bgpBackend": ""}), Some("frr")),
        (json!({"bgpBackend": "frr"}), Some("frr")),
        (json!({"bgpBackend": "frr-k8s"}), Some("frr-k8s")),
        (json!({"bgpBackend": "native"}), None),
    ] {
        let built = objects(spec.clone());
        for workload in ["controller", "speaker"] {
            let variables =
                built[workload]["spec"]["template"]["spec"]["containers"][0]["env"].as_array().expect("env");
            let found = variables.iter().find(|variable| variable["name"] == "METALLB_BGP_TYPE");
            assert_eq!(found.and_then(|v| v["value"].as_str()), expected, "{workload} of {spec}");
        }
    }
}

/// Kind and name of what is wanted besides the workloads.
fn wanted(environment: &Environment) -> Vec<String> {
    let named = operator::build::wanted_extras(environment).into_iter();
    named.map(|(kind, name)| format!("{} {name}", kind.resource().kind)).collect()
}

#[test]
fn what_is_made_besides_follows_the_switches() {
    const POLICIES: [&str; 3] = [
        "NetworkPolicy controller",
        "NetworkPolicy metallb-operator",
        "NetworkPolicy metallb-webhook-server",
    ];
    let with = |extras: Extras| Environment { extras, ..environment() };
    assert_eq!(wanted(&environment()), POLICIES);
    let without = with(Extras { without_network_policies: true, ..Extras::default() });
    assert_eq!(wanted(&without), [""; 0]);
    for (extras, expected) in [
        (
            Extras { monitors: Monitors::Services, ..Extras::default() },
            &[
                "Service controller-monitor-service",
                "ServiceMonitor controller-monitor",
                "Service speaker-monitor-service",
                "ServiceMonitor speaker-monitor",
            ][..],
        ),
        (
            Extras { monitors: Monitors::Pods, ..Extras::default() },
            &["PodMonitor controller-monitor", "PodMonitor speaker-monitor"],
        ),
        (Extras { prometheus_rules: true, ..Extras::default() }, &["PrometheusRule metallb-alerts"]),
        (Extras { dashboards: true, ..Extras::default() }, &["ConfigMap metallb-dashboard"]),
    ] {
        assert_eq!(wanted(&with(extras.clone())), [&POLICIES[..], expected].concat(), "{extras:?}");
    }
}

#[test]
fn everything_at_once_gives_the_golden_objects_and_each_belongs_to_the_resource() {
    let extras = Extras {
        monitors: Monitors::Services,
        prometheus_rules: true,
        dashboards: true,
        tls: vec!["--tls-min-version=VersionTLS12".to_owned()],
        ..Extras::default()
    };
    let pods = Extras { monitors: Monitors::Pods, without_network_policies: true, ..Extras::default() };
    for (name, extras, openshift) in
        [("extras", extras.clone(), false), ("podmonitors", pods, false), ("openshift", extras, true)]
    {
        let environment = Environment { extras, openshift, ..environment() };
        let metallb =
            json!({"metadata": {"name": "metallb", "namespace": "metallb-system", "uid": "u"}, "spec": {}});
        let objects = build(&serde_json::from_value(metallb).expect("a resource"), &environment);
        let mut built = Vec::new();
        for extra in &objects.extras {
            let Some(object) = &extra.wanted else { continue };
            assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u", "{}", extra.name);
            assert_eq!(object["metadata"]["name"], extra.name);
            built.push(serde_saphyr::to_string(object).expect("YAML"));
        }
        if openshift {
            built.push(serde_saphyr::to_string(&objects.controller).expect("YAML"));
            built.push(serde_saphyr::to_string(&objects.speaker).expect("YAML"));
        }
        let built = built.join("---\n");
        let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &built).expect("writable");
        }
        let expected = std::fs::read_to_string(&golden).expect("the golden file");
        assert!(built == expected, "{} differs from what is built:\n{built}", golden.display());
    }
}
