//! Mistakes in the resource and around it that nothing refuses: they are named, and what is mended recovers without a
//! restart of the operator.

use anyhow::{Context, Result, ensure};
use e2e::wait_for;
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::support::{NAMESPACE, ROLLOUT, SOON, World};

/// The Deployment that refuses what the operator cannot do, while it runs.
const WEBHOOKS: &str = "deployment/metallb-operator-webhook-server";

/// The operator's only Pod, and how often its container was started anew.
fn operator(world: &World) -> Result<(String, i64)> {
    let pods = world.get(&format!("pods -n {NAMESPACE} -l control-plane=controller-manager"))?;
    let mut pods = pods["items"].as_array().into_iter().flatten();
    let pod = pods.find(|pod| pod["metadata"]["deletionTimestamp"].is_null()).context("no operator")?;
    let uid = pod["metadata"]["uid"].as_str().context("a Pod has a uid")?.to_owned();
    Ok((uid, pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)))
}

/// Waits until the resource is Degraded and says all of this.
fn wait_degraded(world: &World, parts: &[&str]) -> Result<(String, String, String)> {
    wait_for(&format!("Degraded to say {parts:?}"), ROLLOUT, || {
        let found = world.condition("metallb", "Degraded")?;
        let said = parts.iter().all(|part| found.2.contains(part));
        ensure!(found.0 == "True" && said, "{found:?}");
        Ok(found)
    })
}

fn wait_sound(world: &World) -> Result<()> {
    world.wait_available()?;
    wait_for("nothing to be wrong", SOON, || {
        let found = world.condition("metallb", "Degraded")?;
        ensure!(found.0 == "False", "{found:?}");
        Ok(())
    })
}

/// The generations of the workloads: what has been applied.
fn generations(world: &World) -> Result<[Value; 2]> {
    let of = |workload: &str| {
        anyhow::Ok(world.get(&format!("{workload} -n {NAMESPACE}"))?["metadata"]["generation"].take())
    };
    Ok([of("daemonset speaker")?, of("deployment controller")?])
}

pub(crate) fn a_spec_that_nobody_refused_is_explained_and_the_last_good_one_goes_on(
    world: &World,
) -> Result<()> {
    let (operator_before, before) = (operator(world)?, generations(world)?);
    world.k(&format!("scale -n {NAMESPACE} {WEBHOOKS} --replicas=0"))?;
    wait_for("the webhook server to be away", SOON, || {
        let pods = world.get(&format!("pods -n {NAMESPACE} -l component=webhook-server"))?;
        ensure!(pods["items"].as_array().is_some_and(Vec::is_empty), "it still runs");
        Ok(())
    })?;
    let heavy = json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 101, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}]}}});
    for (spec, said) in [
        (json!({"bgpBackend": "bird"}), "invalid BGP Backend, must be one of native, frr, frr-k8s"),
        (json!({"bgpBackend": "frr-k8s-external"}), "unsupported bgp backend frr-k8s-external"),
        (
            json!({"speakerTolerations": [{"effect": "NoSchedule", "key": "a", "operator": "Exists", "tolerationSeconds": 5}]}),
            "SpeakerToleration effect must be NoExecute when tolerationSeconds is set",
        ),
        (json!({"controllerConfig": heavy}), "ControllerConfig PodAntiAffinity set with invalid weight"),
        (
            json!({"frrk8sConfig": {"alwaysBlock": ["192.0.2.0/33"]}}),
            "invalid CIDR 192.0.2.0/33 in AlwaysBlock",
        ),
    ] {
        let object = json!({"apiVersion": "metallb.io/v1beta1", "kind": "MetalLB",
                            "metadata": {"name": "metallb", "namespace": NAMESPACE}, "spec": spec});
        world.cluster.kubectl_with_stdin(&["replace", "-f", "-"], &object.to_string())?;
        let (_, reason, _) = wait_degraded(world, &[said])?;
        ensure!(reason == "InvalidMetalLBSpec", "{reason}");
        ensure!(world.condition("metallb", "Available")?.0 == "True", "what ran before does not run on");
    }
    ensure!(generations(world)? == before, "a spec that cannot be was applied");
    world.plain_metallb()?;
    wait_sound(world)?;
    ensure!(operator(world)? == operator_before, "another operator, or it was started anew");
    world.k(&format!("scale -n {NAMESPACE} {WEBHOOKS} --replicas=1"))?;
    world.k(&format!("rollout status {WEBHOOKS} -n {NAMESPACE} --timeout={}s", ROLLOUT.as_secs())).map(drop)
}

pub(crate) fn a_speaker_that_keeps_ending_is_named_with_its_node_and_its_log(world: &World) -> Result<()> {
    let pod = || -> Result<Value> {
        let mut pods = world.get(&format!("pods -n {NAMESPACE} -l component=speaker"))?;
        Ok(pods["items"][0].take())
    };
    let name = pod()?["metadata"]["name"].as_str().context("no speaker")?.to_owned();
    wait_for("the speaker to be named", ROLLOUT, || {
        let status = pod()?["status"]["containerStatuses"][0].take();
        if !status["state"]["running"].is_null() {
            let id = status["containerID"].as_str().unwrap_or_default().trim_start_matches("containerd://");
            let words = ["ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
            world.cluster.run("node1", &words)?;
        }
        let (status, reason, message) = world.condition("metallb", "Degraded")?;
        let named = message.contains(&format!("pod {name} on node node1"))
            && message.contains("exit code 137")
            && message.contains(&format!("kubectl logs -n {NAMESPACE} {name} --previous"));
        ensure!(status == "True" && reason == "PodsFailing" && named, "{status} {reason} {message}");
        Ok(())
    })?;
    ensure!(world.condition("metallb", "Available")?.0 == "False");
    // Nobody kills it any more.
    wait_sound(world)
}

pub(crate) fn a_node_without_a_speaker_is_named_with_what_keeps_it_away(world: &World) -> Result<()> {
    let label = |level: &str| {
        world
            .k(&format!("label namespace {NAMESPACE} pod-security.kubernetes.io/enforce={level} --overwrite"))
    };
    label("restricted")?;
    world.k(&format!("delete pod -n {NAMESPACE} -l component=speaker"))?;
    wait_degraded(world, &["node node1 has no speaker pod", "violates PodSecurity \"restricted"])?;
    label("privileged")?;
    wait_sound(world)
}

pub(crate) fn definitions_that_are_missing_are_waited_for(world: &World) -> Result<()> {
    let addresses = world.wait_addresses("lasting")?;
    let restarts = || -> Result<Vec<Value>> {
        let pods = world.get(&format!("pods -n {NAMESPACE} -l app=metallb"))?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        Ok(pods
            .iter()
            .map(|pod| json!([pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]]))
            .collect())
    };
    // One of those that only controller and speakers read: they work on with what they know.
    let before = restarts()?;
    world.k("delete crd communities.metallb.io")?;
    world.service("meanwhile", "annotations: {metallb.io/address-pool: spread}", "sessionAffinity: None")?;
    let meanwhile = world.wait_addresses("meanwhile")?;
    for address in [&addresses[0], &meanwhile[0]] {
        world.wait_fetch(address, 80)?;
    }
    world.cluster.apply_file("config/crd/metallb.io_communities.yaml")?;
    world.delete_services(&["meanwhile"])?;
    ensure!(restarts()? == before, "{before:?} became {:?}", restarts()?);

    // That of the MetalLB resource, which goes with it; and an operator that starts without it.
    world.k("delete crd metallbs.metallb.io")?;
    world.k(&format!("delete pod -n {NAMESPACE} -l control-plane=controller-manager"))?;
    world.k(&format!("rollout status {OPERATOR} -n {NAMESPACE} --timeout={}s", ROLLOUT.as_secs()))?;
    wait_for("the operator to tell what is missing", SOON, || {
        let log = world.k(&format!("logs -n {NAMESPACE} {OPERATOR} --tail=50"))?;
        ensure!(log.contains("install the definitions of metallb.io"), "{log}");
        Ok(())
    })?;
    let operator_before = operator(world)?;
    world.cluster.install()?;
    world.mission("metallb.yaml")?;
    wait_sound(world)?;
    ensure!(operator(world)? == operator_before, "another operator, or it was started anew");
    ensure!(world.wait_addresses("lasting")? == addresses, "another address");
    world.wait_fetch(&addresses[0], 80).map(drop)
}
