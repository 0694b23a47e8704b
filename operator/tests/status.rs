//! What the conditions say of workloads, Pods, nodes and events as the API server shows them.
#![allow(clippy::needless_pass_by_value, reason = "a json! literal reads best as an argument")]

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator::health::{self, Health, Surroundings};
use operator::status::{Problem, Verdict, conditions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of the API")
}

/// The DaemonSet with these numbers: desired, current, ready, updated.
fn daemon_set([desired, current, ready, updated]: [i32; 4]) -> DaemonSet {
    object(json!({
        "metadata": {"name": "speaker", "generation": 2, "uid": "ds"},
        "spec": {"selector": {}, "template": {"metadata": {}, "spec": {"containers": []}}},
        "status": {"observedGeneration": 2, "desiredNumberScheduled": desired, "currentNumberScheduled": current,
                   "numberReady": ready, "updatedNumberScheduled": updated, "numberMisscheduled": 0},
    }))
}

/// The Deployment with these numbers: wanted, all, ready, updated.
fn deployment([wanted, all, ready, updated]: [i32; 4]) -> Deployment {
    object(json!({
        "metadata": {"name": "controller", "generation": 2},
        "spec": {"replicas": wanted, "selector": {}, "template": {"metadata": {}, "spec": {"containers": []}}},
        "status": {"observedGeneration": 2, "replicas": all, "readyReplicas": ready, "updatedReplicas": updated},
    }))
}

/// A speaker's Pod on node n1 with this status.
fn pod(name: &str, status: Value) -> Arc<Pod> {
    let component = name.split('-').next();
    Arc::new(object(json!({
        "metadata": {"name": name, "namespace": "metallb-system", "uid": name,
                     "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "metallb", "component": component},
                     "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "speaker", "uid": "ds"}]},
        "spec": {"containers": [], "nodeName": "n1"},
        "status": status,
    })))
}

fn warning(uid: &str, reason: &str, message: &str, at: &str) -> Arc<Event> {
    Arc::new(object(json!({
        "metadata": {"name": "e"}, "involvedObject": {"uid": uid}, "type": "Warning",
        "reason": reason, "message": message, "lastTimestamp": at,
    })))
}

fn container(state: Value, restarts: i32, last: Value) -> Value {
    json!({"containerStatuses": [{"name": "speaker", "image": "s:1", "imageID": "", "ready": false,
                                  "restartCount": restarts, "state": state, "lastState": last}]})
}

#[test]
fn a_workload_is_ready_when_all_of_it_runs_the_current_settings() {
    let around = Surroundings::default();
    for (numbers, ready) in [
        ([3, 3, 3, 3], true),
        ([0, 0, 0, 0], true),
        ([3, 3, 3, 2], false),
        ([3, 3, 2, 3], false),
        ([3, 2, 2, 2], false),
    ] {
        assert_eq!(health::speaker(Some(&daemon_set(numbers)), &around).is_ready(), ready, "{numbers:?}");
    }
    for (numbers, ready) in [
        ([1, 1, 1, 1], true),
        ([2, 2, 2, 2], true),
        ([1, 2, 1, 1], false),
        ([1, 0, 0, 0], false),
        ([1, 1, 1, 0], false),
    ] {
        assert_eq!(health::controller(Some(&deployment(numbers)), &around).is_ready(), ready, "{numbers:?}");
    }
    assert!(!health::speaker(None, &around).is_ready());
    assert!(!health::controller(None, &around).is_ready());
}

#[test]
fn a_generation_that_nobody_has_looked_at_is_a_rollout() {
    let mut speaker = daemon_set([3, 3, 3, 3]);
    speaker.metadata.generation = Some(3);
    let health = health::speaker(Some(&speaker), &Surroundings::default());
    assert_eq!(health.missing.as_deref(), Some("speaker: new settings are being rolled out"));
    assert_eq!(health.faults, Vec::<String>::new());
}

#[test]
fn a_pod_that_is_not_ready_is_named_with_its_node_and_the_reason() {
    let crash = container(
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting"}}),
        3,
        json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
    );
    let between_crashes =
        container(json!({"running": {}}), 1, json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
    let first_pull =
        container(json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}), 0, json!({}));
    let later_pull = container(
        json!({"waiting": {"reason": "ImagePullBackOff",
                           "message": "Back-off pulling image \"s:1\": ErrImagePull: no such image"}}),
        0,
        json!({}),
    );
    let starting = container(json!({"waiting": {"reason": "ContainerCreating"}}), 0, json!({}));
    let running = container(json!({"running": {}}), 0, json!({}));
    let config = container(
        json!({"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}}),
        0,
        json!({}),
    );
    let cannot_pull = "cannot pull image s:1 (ImagePullBackOff): no such image";
    for (status, text, fault) in [
        (
            crash,
            "is in CrashLoopBackOff: container speaker ended with exit code 1 (Error), 3 restarts; see \
             `kubectl logs -n metallb-system speaker-x --previous`",
            true,
        ),
        (
            between_crashes,
            "keeps ending: container speaker ended with exit code 137 (OOMKilled), 1 restarts; see \
             `kubectl logs -n metallb-system speaker-x --previous`",
            true,
        ),
        (first_pull, cannot_pull, true),
        (later_pull, cannot_pull, true),
        (config, "cannot run container speaker (CreateContainerConfigError): no secret", true),
        (starting, "is starting (ContainerCreating)", false),
        (running, "runs, but container speaker is not ready yet", false),
        (json!({}), "is not started yet", false),
        (
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}),
            "failed: Evicted: The node was low on memory.",
            true,
        ),
    ] {
        let around = Surroundings { pods: vec![pod("speaker-x", status)], ..Surroundings::default() };
        let health = health::speaker(Some(&daemon_set([3, 3, 2, 3])), &around);
        let whole = format!("pod speaker-x on node n1 {text}");
        assert_eq!(health.missing, Some(format!("speaker: ready on 2 of 3 nodes; {whole}")));
        assert_eq!(health.faults, if fault { vec![whole] } else { Vec::new() });
    }
}

#[test]
fn a_speaker_that_cannot_be_scheduled_is_named_with_the_node_it_is_meant_for() {
    let pod: Pod = object(json!({
        "metadata": {"name": "speaker-y", "labels": {"app": "metallb", "component": "speaker"}},
        "spec": {"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]}}}},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available: pod affinity rules. no new claims to deallocate, preemption: 0/3."}]},
    }));
    let around = Surroundings { pods: vec![Arc::new(pod)], ..Surroundings::default() };
    let health = health::speaker(Some(&daemon_set([3, 3, 2, 3])), &around);
    assert_eq!(
        health.faults,
        ["pod speaker-y for node n2 cannot be scheduled: 0/3 nodes are available: pod affinity rules"]
    );
}

#[test]
fn what_an_event_says_of_a_pod_that_is_starting_is_passed_on() {
    let starting = container(json!({"waiting": {"reason": "ContainerCreating"}}), 0, json!({}));
    let around = Surroundings {
        pods: vec![pod("speaker-x", starting)],
        warnings: vec![
            warning(
                "speaker-x",
                "FailedMount",
                "secret \"metallb-memberlist\" not found",
                "2026-01-01T00:00:02Z",
            ),
            warning("speaker-x", "Older", "was worse", "2026-01-01T00:00:01Z"),
            warning("speaker-x", "FailedScheduling", "is over", "2026-01-01T00:00:04Z"),
            warning("another", "Newer", "is not ours", "2026-01-01T00:00:03Z"),
        ],
        ..Surroundings::default()
    };
    let health = health::speaker(Some(&daemon_set([1, 1, 0, 1])), &around);
    let missing = health.missing.expect("not ready");
    assert!(
        missing.ends_with(
            "pod speaker-x on node n1 is starting (ContainerCreating): FailedMount: secret \"metallb-memberlist\" not found"
        ),
        "{missing}"
    );
}

#[test]
fn a_node_that_is_down_explains_its_speaker() {
    let around = Surroundings {
        pods: vec![pod("speaker-x", container(json!({"running": {}}), 0, json!({})))],
        broken_nodes: BTreeMap::from([("n1".to_owned(), "NodeStatusUnknown: Kubelet stopped".to_owned())]),
        ..Surroundings::default()
    };
    let health = health::speaker(Some(&daemon_set([3, 3, 2, 3])), &around);
    assert_eq!(
        health.faults,
        [
            "pod speaker-x on node n1 is out of reach, its node is not ready (NodeStatusUnknown: Kubelet stopped)"
        ]
    );
}

#[test]
fn nodes_without_a_speaker_are_named_with_the_refusal_of_their_pods() {
    let refused = warning(
        "ds",
        "FailedCreate",
        "Error creating: pods \"speaker-x\" is forbidden: violates PodSecurity",
        "2026-01-01T00:00:09Z",
    );
    let mut around = Surroundings {
        uncovered_nodes: vec!["n2".to_owned(), "n3".to_owned()],
        warnings: vec![refused],
        ..Surroundings::default()
    };
    let speaker = daemon_set([3, 1, 1, 1]);
    assert_eq!(
        health::speaker(Some(&speaker), &around).faults,
        ["nodes n2, n3 have no speaker pod: forbidden: violates PodSecurity"]
    );
    // A Pod that was taken since tells that the refusal is over.
    let mut later =
        Arc::unwrap_or_clone(pod("speaker-x", json!({"conditions": [{"type": "Ready", "status": "True"}]})));
    later.metadata.creation_timestamp = Some(object(json!("2026-01-01T00:00:10Z")));
    around.pods.push(Arc::new(later));
    let health = health::speaker(Some(&speaker), &around);
    assert_eq!(health.faults, Vec::<String>::new());
    assert!(health.missing.expect("not ready").ends_with("nodes n2, n3 have no speaker pod"));
}

#[test]
fn a_deployment_whose_pods_are_refused_says_so() {
    let mut controller = deployment([1, 0, 0, 0]);
    let failure =
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
    controller.status.as_mut().expect("a status").conditions = Some(object(failure));
    let health = health::controller(Some(&controller), &Surroundings::default());
    assert_eq!(health.faults, ["controller pod cannot be created: quota"]);
}

#[test]
fn many_pods_are_counted_and_not_all_named() {
    let pods = (10..40).map(|n| pod(&format!("speaker-{n}"), json!({}))).collect();
    let around = Surroundings { pods, ..Surroundings::default() };
    let missing = health::speaker(Some(&daemon_set([30, 30, 0, 30])), &around).missing.expect("not ready");
    assert!(missing.contains("pod speaker-19 ") && missing.ends_with("; and 20 more"), "{missing}");
}

fn ready() -> Health {
    Health::default()
}

fn waiting(missing: &str, faults: &[&str]) -> Health {
    let faults = faults.iter().map(|&fault| fault.to_owned()).collect();
    Health { missing: Some(missing.to_owned()), faults, remark: None }
}

fn serving(controller: Health, speaker: Health) -> Verdict {
    Verdict::Serving { controller, speaker, applied: true, problem: None }
}

fn now(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::new(second, 5).expect("a time")
}

/// Each condition as `Type=Status/reason: message`.
fn written(conditions: &[Condition]) -> Vec<String> {
    let text = |c: &Condition| format!("{}={}/{}: {}", c.type_, c.status, c.reason, c.message);
    conditions.iter().map(text).collect()
}

#[test]
fn the_four_conditions_tell_each_state() {
    let problem = Problem { reason: "InvalidMetalLBSpec", message: "wrong".to_owned() };
    for (verdict, expected) in [
        (
            serving(ready(), ready()),
            [
                "Available=True/Available: ",
                "Upgradeable=True/Upgradeable: ",
                "Progressing=False/Progressing: ",
                "Degraded=False/Degraded: ",
            ],
        ),
        (
            serving(ready(), waiting("speaker: 2 of 3", &[])),
            [
                "Available=False/Available: speaker: 2 of 3",
                "Upgradeable=False/Upgradeable: ",
                "Progressing=True/Progressing: speaker: 2 of 3",
                "Degraded=False/Degraded: ",
            ],
        ),
        (
            serving(
                waiting("controller: 0 of 1", &[]),
                waiting("speaker: 2 of 3; x crashes", &["x crashes"]),
            ),
            [
                "Available=False/Available: controller: 0 of 1. speaker: 2 of 3; x crashes",
                "Upgradeable=False/Upgradeable: ",
                "Progressing=True/Progressing: controller: 0 of 1. speaker: 2 of 3; x crashes",
                "Degraded=True/PodsFailing: x crashes",
            ],
        ),
        (
            // The last good spec goes on running.
            Verdict::Serving {
                controller: ready(),
                speaker: ready(),
                applied: false,
                problem: Some(problem.clone()),
            },
            [
                "Available=True/Available: ",
                "Upgradeable=False/Upgradeable: ",
                "Progressing=False/Progressing: ",
                "Degraded=True/InvalidMetalLBSpec: wrong",
            ],
        ),
        (
            Verdict::Serving {
                controller: waiting("none", &[]),
                speaker: ready(),
                applied: false,
                problem: Some(problem.clone()),
            },
            [
                "Available=False/Available: none",
                "Upgradeable=False/Upgradeable: ",
                "Progressing=False/Progressing: ",
                "Degraded=True/InvalidMetalLBSpec: wrong",
            ],
        ),
        (
            Verdict::Ignored(problem),
            [
                "Available=False/Available: ",
                "Upgradeable=False/Upgradeable: ",
                "Progressing=False/Progressing: ",
                "Degraded=True/InvalidMetalLBSpec: wrong",
            ],
        ),
    ] {
        assert_eq!(written(&conditions(&verdict, Some(4), &[], now(1))), expected);
    }
}

#[test]
fn what_cannot_be_looked_at_is_said_and_the_rest_stays_as_it_was() {
    let ready = Health { missing: None, ..Health::default() };
    let serving =
        Verdict::Serving { controller: ready.clone(), speaker: ready, applied: true, problem: None };
    let before = conditions(&serving, Some(4), &[], now(1));
    let problem = Problem { reason: "FailedToSyncMetalLBResources", message: "no right".to_owned() };
    let after = conditions(&Verdict::Unseen(problem.clone()), Some(5), &before, now(2));
    assert_eq!(
        written(&after),
        [
            "Available=True/Available: ",
            "Upgradeable=False/Upgradeable: ",
            "Progressing=False/Progressing: ",
            "Degraded=True/FailedToSyncMetalLBResources: no right",
        ]
    );
    assert_eq!(after[0].last_transition_time, before[0].last_transition_time);
    let first = conditions(&Verdict::Unseen(problem), Some(5), &[], now(2));
    assert_eq!(written(&first)[0], "Available=False/Available: ");
}

#[test]
fn times_move_only_with_the_status_and_generations_with_the_spec() {
    let first = conditions(&serving(ready(), waiting("a", &[])), Some(1), &[], now(100));
    let again = conditions(&serving(ready(), waiting("a", &[])), Some(1), &first, now(200));
    assert_eq!(again, first, "nothing new, nothing to write");
    let text = conditions(&serving(ready(), waiting("b", &[])), Some(1), &first, now(200));
    assert_ne!(text, first);
    let times = |conditions: &[Condition]| {
        conditions.iter().map(|c| c.last_transition_time.0.as_second()).collect::<Vec<_>>()
    };
    assert_eq!(times(&text), [100; 4]);
    let done = conditions(&serving(ready(), ready()), Some(2), &text, now(300));
    assert_eq!(times(&done), [300, 300, 300, 100], "Degraded did not change");
    assert!(done.iter().all(|condition| condition.observed_generation == Some(2)));
    assert_eq!(done[0].last_transition_time.0.subsec_nanosecond(), 0);
}
