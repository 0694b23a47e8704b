//! The namespace that operators for all namespaces share, as a web console uses it: install, use, upgrade, uninstall.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use e2e::{CATALOG, OLM_NAMESPACE, wait_for};
use serde_json::Value;

use crate::lifecycle::{
    SUBSCRIPTION, approve, approve_of, condition, csv, names, wait_available, wait_for_plan,
    wait_for_version, wait_gone,
};
use crate::support::{NAMESPACE, SOON, World};
use crate::{Suite, VERSIONS};

/// The namespace of a console.
const SHARED: &str = "openshift-operators";
/// The Service whose address may not be lost.
const LASTING: &str = "lasting";

/// Addresses, and how they are announced.
pub(crate) const POOL: &str = "\
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: example, namespace: NAMESPACE}, spec: {addresses: \
[172.31.249.10-172.31.249.20]}}
---
{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: example, namespace: NAMESPACE}, spec: {}}
";

pub(crate) fn a_subscription_in_the_namespace_of_operators_installs_the_version_that_it_names(
    suite: &Suite,
) -> Result<()> {
    let world = suite.world();
    let old = VERSIONS[0];
    world.apply(&format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {SHARED}}}}}
---
{{apiVersion: operators.coreos.com/v1, kind: OperatorGroup, metadata: {{name: global-operators, namespace: {SHARED}}}, spec: {{}}}}
---
{{apiVersion: operators.coreos.com/v1alpha1, kind: Subscription, metadata: {{name: {SUBSCRIPTION}, namespace: {SHARED}}}, \
  spec: {{channel: stable, name: metallb-operator, source: {CATALOG}, sourceNamespace: {OLM_NAMESPACE}, startingCSV: {}, \
  installPlanApproval: Manual}}}}
",
        csv(old)
    ))?;
    let plan = wait_for_plan(world, SHARED, old)?;
    approve(world, SHARED, &plan)?;
    wait_for_version(world, SHARED, old)?;
    for deployment in ["metallb-operator-controller-manager", "metallb-operator-webhook-server"] {
        let priority = world.get(&format!("deployment {deployment} -n {SHARED}"))?;
        ensure!(
            priority["spec"]["template"]["spec"]["priorityClassName"].is_null(),
            "{deployment} has a priority"
        );
    }
    // The Prometheus of OpenShift may look for Pods here, wherever here is.
    let binding = world.get(&format!("rolebinding metallb-prometheus-k8s -n {SHARED}"))?;
    ensure!(binding["subjects"][0]["namespace"] == "openshift-monitoring", "{binding}");
    let reader = "system:serviceaccount:openshift-monitoring:prometheus-k8s";
    for resource in ["pods", "services", "endpoints", "endpointslices.discovery.k8s.io"] {
        let verdict = world.k(&format!("auth can-i list {resource} -n {SHARED} --as {reader}"))?;
        ensure!(verdict.trim() == "yes", "{reader} may not list {resource}: {verdict}");
    }
    Ok(())
}

/// One in another namespace is told where it belongs.
pub(crate) fn the_resource_counts_in_the_operators_namespace_only(suite: &Suite) -> Result<()> {
    let world = suite.world();
    world.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"))?;
    let metallb = |namespace: &str| {
        format!(
            "{{apiVersion: metallb.io/v1beta1, kind: MetalLB, metadata: {{name: metallb, namespace: {namespace}}}, spec: \
             {{logLevel: debug}}}}"
        )
    };
    world.apply(&metallb(NAMESPACE))?;
    let message = wait_for("the resource elsewhere to be Degraded", SOON, || {
        let object = world.get(&format!("metallb metallb -n {NAMESPACE}"))?;
        let degraded = condition(&object, "Degraded").context("no condition yet")?;
        ensure!(degraded["reason"] == "IncorrectMetalLBNamespace", "{degraded}");
        Ok(degraded["message"].as_str().unwrap_or_default().to_owned())
    })?;
    ensure!(message.contains(&format!("create it in namespace {SHARED}")), "{message}");
    world.k(&format!("delete metallb metallb -n {NAMESPACE}"))?;
    world.apply(&metallb(SHARED))?;
    wait_available(world, SHARED)
}

pub(crate) fn reviews_are_answered_through_what_olm_set_up(suite: &Suite) -> Result<()> {
    let world = suite.world();
    let configurations = names(world, "validatingwebhookconfigurations")?;
    let ours = configurations.iter().filter(|name| name.contains(".metallb.io-"));
    ensure!(ours.count() == 7, "OLM made {configurations:?}");
    world.apply(&POOL.replace("NAMESPACE", SHARED))?;
    let overlapping = POOL.replace("NAMESPACE", SHARED).replacen("name: example", "name: other", 1);
    let refused = world.apply(&overlapping).expect_err("two pools with the same addresses").to_string();
    ensure!(refused.contains("denied the request") && refused.contains("overlap"), "{refused}");
    let patch = r#"{"spec":{"bgpBackend":"bird"}}"#;
    let refused = world.kubectl(&["patch", "metallb", "metallb", "-n", SHARED, "--type=merge", "-p", patch]);
    let refused = refused.expect_err("a backend that does not exist").to_string();
    ensure!(refused.contains("invalid BGP Backend"), "{refused}");
    Ok(())
}

pub(crate) fn peers_are_converted_through_what_olm_set_up(suite: &Suite) -> Result<()> {
    let world = suite.world();
    // OLM writes the definition again after the version counts as installed.
    wait_for("OLM to set the conversion up", SOON, || {
        let definition = world.get("customresourcedefinition bgppeers.metallb.io")?;
        let client = &definition["spec"]["conversion"]["webhook"]["clientConfig"];
        ensure!(client["service"]["name"] == "metallb-operator-webhook-server-service", "{client}");
        ensure!(client["caBundle"].as_str().is_some_and(|bundle| !bundle.is_empty()), "no caBundle");
        Ok(())
    })?;
    world.apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: BGPPeer, metadata: {{name: router, namespace: {SHARED}}}, spec: {{myASN: \
         64500, peerASN: 64501, peerAddress: 192.0.2.254, holdTime: 90s, nodeSelectors: [{{matchLabels: {{a: b}}}}]}}}}"
    ))?;
    let newer = world.get(&format!("bgppeers.v1beta2.metallb.io router -n {SHARED}"))?;
    ensure!(
        newer["spec"]["peerAddress"] == "192.0.2.254" && newer["apiVersion"] == "metallb.io/v1beta2",
        "{newer}"
    );
    let older = world.get(&format!("bgppeers.v1beta1.metallb.io router -n {SHARED}"))?;
    ensure!(older["spec"]["nodeSelectors"][0]["matchLabels"]["a"] == "b", "{older}");
    Ok(())
}

pub(crate) fn a_service_is_reachable(suite: &Suite) -> Result<()> {
    fetch_through_a_service(suite.world(), LASTING)
}

/// Makes a Service and fetches its page from the client's host.
pub(crate) fn fetch_through_a_service(world: &World, name: &str) -> Result<()> {
    world.service(name, "", "sessionAffinity: None")?;
    let addresses = world.wait_addresses(name)?;
    world.wait_fetch(&addresses[0], 80).map(drop)
}

/// The speakers and their restarts, by the UIDs of their Pods.
fn speakers(world: &World) -> Result<BTreeMap<String, i64>> {
    let pods = world.get(&format!("pods -n {SHARED} -l app=metallb,component=speaker"))?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let entry = |pod: &Value| {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        (uid, pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1))
    };
    Ok(pods.iter().map(entry).collect())
}

/// The condition Upgradeable of the OperatorCondition of a version, as OLM has taken it in: status and reason.
fn upgradeable(world: &World, version: &str) -> Result<(String, String)> {
    let object = world.get(&format!("operatorcondition {} -n {SHARED}", csv(version)))?;
    let found = condition(&object, "Upgradeable")
        .with_context(|| format!("OLM has taken nothing in: {}", object["spec"]["conditions"]))?;
    ensure!(found["observedGeneration"] == object["metadata"]["generation"], "of an older word: {found}");
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("reason")))
}

fn wait_upgradeable(world: &World, version: &str, status: &str, reason: &str) -> Result<()> {
    wait_for(&format!("Upgradeable to be {status}, {reason}"), SOON * 2, || {
        let found = upgradeable(world, version)?;
        ensure!(found == (status.to_owned(), reason.to_owned()), "it is {found:?}");
        Ok(())
    })
}

/// Leaves the rollout begun and the upgrade approved: the next test lets them go on.
pub(crate) fn an_upgrade_waits_for_a_rollout(suite: &Suite) -> Result<()> {
    let world = suite.world();
    let [old, new] = VERSIONS;
    wait_upgradeable(world, old, "True", "Settled")?;
    // A Deployment that is paused rolls nothing out, and nothing is wrong with it.
    world.k(&format!("rollout pause deployment controller -n {SHARED}"))?;
    let patch = r#"{"spec":{"controllerConfig":{"annotations":{"example.com/held":"yes"}}}}"#;
    world.kubectl(&["patch", "metallb", "metallb", "-n", SHARED, "--type=merge", "-p", patch])?;
    wait_upgradeable(world, old, "False", "RollingOut")?;
    let plan = wait_for_plan(world, SHARED, new)?;
    approve(world, SHARED, &plan)?;
    wait_for("the newer version to wait", SOON * 6, || {
        approve_of(world, SHARED, new)?;
        let status = world.get(&format!("csv {} -n {SHARED}", csv(new)))?["status"].take();
        ensure!(
            status["phase"] == "Pending" && status["reason"] == "OperatorConditionNotUpgradeable",
            "it is {}: {}: {}",
            status["phase"],
            status["reason"],
            status["message"]
        );
        Ok(())
    })?;
    // OLM looks once more whether all of it is there.
    wait_for("the older version to be in its place", SOON, || {
        let phase = world.get(&format!("csv {} -n {SHARED}", csv(old)))?["status"]["phase"].take();
        ensure!(phase == "Succeeded" || phase == "Replacing", "it is {phase}");
        Ok(())
    })?;
    ensure!(upgradeable(world, old)? == ("False".to_owned(), "RollingOut".to_owned()));
    Ok(())
}

pub(crate) fn an_approved_upgrade_restarts_no_speaker_and_loses_no_address(suite: &Suite) -> Result<()> {
    let world = suite.world();
    let [old, new] = VERSIONS;
    let addresses = world.wait_addresses(LASTING)?;
    let before = speakers(world)?;
    let generation = world.get(&format!("daemonset speaker -n {SHARED}"))?["metadata"]["generation"].take();
    ensure!(before.len() == world.cluster.node_names().len(), "{before:?}");
    // What the upgrade has waited for comes to its end.
    world.k(&format!("rollout resume deployment controller -n {SHARED}"))?;
    // The Service is asked for all the while.
    let mut unanswered = Vec::new();
    let mut asked = 0;
    wait_for(&format!("{} to be Succeeded", csv(new)), SOON * 6, || {
        asked += 1;
        if let Err(error) = world.fetch(&addresses[0], 80) {
            unanswered.push(format!("{error:#}"));
        }
        let object = world.get(&format!("csv {} -n {SHARED}", csv(new)))?;
        ensure!(object["status"]["phase"] == "Succeeded", "it is {}", object["status"]["phase"]);
        Ok(())
    })?;
    wait_gone(&csv(old), || {
        let all = names(world, &format!("csv -n {SHARED}"))?;
        Ok(all.into_iter().filter(|name| name.ends_with(&csv(old))).collect())
    })?;
    wait_available(world, SHARED)?;
    ensure!(unanswered.is_empty(), "{} of {asked} requests failed: {unanswered:?}", unanswered.len());
    ensure!(world.wait_addresses(LASTING)? == addresses, "another address");
    let after = speakers(world)?;
    ensure!(after == before, "speakers before {before:?}, after {after:?}");
    let daemon_set = world.get(&format!("daemonset speaker -n {SHARED}"))?;
    ensure!(daemon_set["metadata"]["generation"] == generation, "the DaemonSet was changed");
    world.wait_fetch(&addresses[0], 80)?;
    wait_upgradeable(world, new, "True", "Settled")?;
    println!("upgraded while {asked} requests were answered");
    Ok(())
}

/// Every account does all of its work with the rules of the bundle.
pub(crate) fn what_the_operator_may_do_is_enough(suite: &Suite) -> Result<()> {
    let world = suite.world();
    let mut told = Vec::new();
    for workload in [
        "deployment/metallb-operator-controller-manager",
        "deployment/metallb-operator-webhook-server",
        "deployment/controller",
        "daemonset/speaker",
    ] {
        // A Pod that is being replaced has no log yet.
        world.k(&format!("rollout status -n {SHARED} {workload} --timeout={}s", SOON.as_secs()))?;
        let log = world.k(&format!("logs -n {SHARED} {workload} --all-pods=true"))?;
        told.extend(log.lines().filter(|line| line.contains("forbidden")).map(str::to_owned));
    }
    ensure!(told.is_empty(), "{}", told.join("\n"));
    Ok(())
}

pub(crate) fn an_uninstalled_operator_leaves_resources_and_a_clean_api_server(suite: &Suite) -> Result<()> {
    let world = suite.world();
    let new = VERSIONS[1];
    world.k(&format!("delete subscription {SUBSCRIPTION} -n {SHARED}"))?;
    world.k(&format!("delete csv {} -n {SHARED}", csv(new)))?;
    wait_gone("OLM's webhooks", || {
        let all = names(world, "validatingwebhookconfigurations")?;
        Ok(all.into_iter().filter(|name| name.contains("metallb.io")).collect())
    })?;
    wait_for("peers to be converted by nobody", SOON, || {
        let definition = world.get("customresourcedefinition bgppeers.metallb.io")?;
        let strategy = &definition["spec"]["conversion"]["strategy"];
        ensure!(strategy == "None", "the strategy is {strategy}");
        Ok(())
    })?;
    wait_gone("the operator", || {
        names(world, &format!("deployments -n {SHARED} -l app.kubernetes.io/name=metallb-operator"))
    })?;
    wait_gone("the rights", || {
        let all = names(world, &format!("roles,rolebindings,operatorconditions -n {SHARED}"))?;
        let ours = all.into_iter().filter(|name| name.contains("metallb"));
        // OLM has no owner for what a bundle installs as it is; the documentation says what to delete.
        Ok(ours.filter(|name| !name.ends_with("/metallb-prometheus-k8s")).collect())
    })?;
    world.k(&format!("delete role,rolebinding metallb-prometheus-k8s -n {SHARED}"))?;
    // What users wrote, and what serves it, is still there and can be read and changed.
    for object in [
        "metallb metallb",
        "ipaddresspool example",
        "l2advertisement example",
        "bgppeer router",
        "daemonset speaker",
    ] {
        world.k(&format!("get {object} -n {SHARED}")).with_context(|| format!("{object} is gone"))?;
    }
    let definitions = names(world, "customresourcedefinitions")?;
    let ours = definitions.iter().filter(|name| name.ends_with(".metallb.io")).count();
    ensure!(ours == 10, "{definitions:?}");
    world.k(&format!("annotate ipaddresspool example -n {SHARED} note=kept"))?;
    // What was announced stays so, although OLM has taken the speakers' accounts away.
    let addresses = world.wait_addresses(LASTING)?;
    world.wait_fetch(&addresses[0], 80)?;
    // For whoever installs anew.
    for objects in
        ["service lasting", &format!("metallb,ipaddresspools,l2advertisements,bgppeers --all -n {SHARED}")]
    {
        world.k(&format!("delete {objects}"))?;
    }
    wait_gone("what the resource stood for", || {
        names(world, &format!("daemonsets,deployments -n {SHARED} -l app=metallb"))
    })?;
    world.k(&format!("delete operatorgroup global-operators -n {SHARED}")).map(drop)
}
