//! What the operator makes by request.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::wait_for;
use serde_json::Value;

use crate::OPERATOR;
use crate::support::{NAMESPACE, ROLLOUT, SOON, World, within};

/// Kinds that Prometheus' operator defines, as far as the API server has to know of them.
const KINDS: [(&str, &str); 3] = [
    ("ServiceMonitor", "servicemonitors"),
    ("PodMonitor", "podmonitors"),
    ("PrometheusRule", "prometheusrules"),
];
/// The ServiceMonitors.
pub(crate) const MONITORS: [&str; 2] =
    ["ServiceMonitor/controller-monitor", "ServiceMonitor/speaker-monitor"];
/// A watch of a kind that is unknown is begun again after half a minute at the latest.
const NOTICED: Duration = Duration::from_secs(60);

/// Sets variables of the operator, or with `NAME-` takes them back, and waits until it runs with them.
fn set_environment(world: &World, variables: &[&str]) -> Result<()> {
    world.kubectl(&[&["set", "env", "-n", NAMESPACE, OPERATOR][..], variables].concat())?;
    world.k(&format!("rollout status {OPERATOR} -n {NAMESPACE} --timeout={}s", ROLLOUT.as_secs())).map(drop)
}

/// The objects of the operator's among those of some kinds, as `KIND/NAME`.
fn made(world: &World, kinds: &str) -> Result<BTreeSet<String>> {
    let list =
        world.get(&format!("{kinds} -n {NAMESPACE} -l app.kubernetes.io/managed-by=metallb-operator"))?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(items
        .iter()
        .map(|object| format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])))
        .collect())
}

pub(crate) fn wait_for_made(world: &World, kinds: &str, limit: Duration, expected: &[&str]) -> Result<()> {
    wait_for(&format!("{kinds} to be {expected:?}"), limit, || {
        let found = made(world, kinds)?;
        ensure!(found.iter().map(String::as_str).eq(expected.iter().copied()), "there are {found:?}");
        Ok(())
    })
}

pub(crate) fn policies_are_there_and_come_back(world: &World) -> Result<()> {
    let policies = [
        "NetworkPolicy/controller",
        "NetworkPolicy/metallb-operator",
        "NetworkPolicy/metallb-webhook-server",
    ];
    wait_for_made(world, "networkpolicies", SOON, &policies)?;
    world.k(&format!("delete networkpolicy controller -n {NAMESPACE}"))?;
    within(Duration::from_secs(5), "the repair", || {
        wait_for_made(world, "networkpolicies", SOON, &policies)
    })?;
    let patch = r#"{"spec":{"ingress":[]}}"#;
    world.kubectl(&["patch", "networkpolicy", "controller", "-n", NAMESPACE, "--type=merge", "-p", patch])?;
    wait_for("the ports to be back", SOON, || {
        let policy = world.get(&format!("networkpolicy controller -n {NAMESPACE}"))?;
        let ports = &policy["spec"]["ingress"][0]["ports"];
        ensure!(ports[0]["port"] == 9120 && ports[1]["port"] == 17472, "{}", policy["spec"]);
        Ok(())
    })?;
    set_environment(world, &["DISABLE_NETWORK_POLICIES=true"])?;
    wait_for_made(world, "networkpolicies", SOON, &[])?;
    set_environment(world, &["DISABLE_NETWORK_POLICIES-"])?;
    wait_for_made(world, "networkpolicies", SOON, &policies)
}

pub(crate) fn what_is_asked_for_is_made_and_taken_away(world: &World) -> Result<()> {
    const ALWAYS: &str = "services,configmaps";
    let switches = ["DEPLOY_SERVICEMONITORS=true", "DEPLOY_PROMETHEUSRULES=true", "DEPLOY_DASHBOARDS=true"];
    set_environment(world, &switches)?;
    let expected = [
        "ConfigMap/metallb-dashboard",
        "ConfigMap/metallb-excludel2",
        "ConfigMap/metallb-speakers",
        "Service/controller-monitor-service",
        "Service/speaker-monitor-service",
    ];
    wait_for_made(world, ALWAYS, SOON, &expected)?;
    // The kinds of monitors are not known yet, which hinders nothing else.
    world.wait_available()?;
    let degraded = world.condition("metallb", "Degraded")?;
    ensure!(degraded.0 == "False", "{degraded:?}");
    for (kind, plural) in KINDS {
        world.apply(&format!(
            "{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: \
             {plural}.monitoring.coreos.com}}, spec: {{group: monitoring.coreos.com, scope: Namespaced, names: {{kind: {kind}, \
             plural: {plural}}}, versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, \
             x-kubernetes-preserve-unknown-fields: true}}}}}}]}}}}"
        ))?;
    }
    for (_, plural) in KINDS {
        world.k(&format!("wait --for=condition=Established crd/{plural}.monitoring.coreos.com"))?;
    }
    wait_for_made(world, "servicemonitors", NOTICED, &MONITORS)?;
    wait_for_made(world, "prometheusrules", NOTICED, &["PrometheusRule/metallb-alerts"])?;
    world.k(&format!("delete servicemonitor speaker-monitor -n {NAMESPACE}"))?;
    wait_for_made(world, "servicemonitors", SOON, &MONITORS)
}

/// Names of metrics of ours in a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("metallb_") && !word.starts_with("metallb_bgp_")).collect()
}

pub(crate) fn every_metric_of_alerts_and_dashboard_exists(world: &World) -> Result<()> {
    let rules = world.get(&format!("prometheusrule metallb-alerts -n {NAMESPACE}"))?["spec"].to_string();
    let dashboard = world.get(&format!("configmap metallb-dashboard -n {NAMESPACE}"))?["data"].to_string();
    let asked = format!("{rules} {dashboard}");
    world.apply(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: reader}}, roleRef: {{apiGroup: \
         rbac.authorization.k8s.io, kind: ClusterRole, name: metallb-metrics-reader}}, subjects: [{{kind: ServiceAccount, \
         name: default, namespace: {NAMESPACE}}}]}}"
    ))?;
    world.cluster.apply_file("config/prometheus/metrics-reader.yaml")?;
    let token = world.k(&format!("create token default -n {NAMESPACE}"))?;
    let service = |name: &str| -> Result<String> {
        let slices =
            world.get(&format!("endpointslices -n {NAMESPACE} -l kubernetes.io/service-name={name}"))?;
        let slices = slices["items"].as_array().cloned().unwrap_or_default();
        let slice = slices.iter().find(|slice| slice["addressType"] == "IPv4").context("no EndpointSlice")?;
        let address = slice["endpoints"][0]["addresses"][0].as_str().context("no endpoint")?;
        Ok(format!("https://{address}:{}/metrics", slice["ports"][0]["port"]))
    };
    // Where the Services that Prometheus goes by lead to.
    wait_for("all metrics to be there", SOON, || {
        let mut served = String::new();
        for name in ["controller-monitor-service", "speaker-monitor-service"] {
            let header = format!("Authorization: Bearer {}", token.trim());
            served.push_str(
                &world
                    .cluster
                    .run("control-plane", &["curl", "-sSk", "-m", "5", "-H", &header, &service(name)?])?,
            );
        }
        let served = metrics_in(&served);
        // A conflict that never was has no counter yet.
        let missing: Vec<&str> = metrics_in(&asked)
            .into_iter()
            .filter(|name| !served.contains(name) && !name.starts_with("metallb_layer2_"))
            .collect();
        ensure!(missing.is_empty(), "nobody serves {missing:?}; served are {served:?}");
        Ok(())
    })?;
    // The next test begins without them; what somebody else made stays.
    set_environment(world, &["DEPLOY_SERVICEMONITORS-", "DEPLOY_PROMETHEUSRULES-", "DEPLOY_DASHBOARDS-"])?;
    wait_for_made(
        world,
        "services,configmaps,servicemonitors,prometheusrules",
        SOON,
        &["ConfigMap/metallb-excludel2", "ConfigMap/metallb-speakers"],
    )?;
    world.apply(&format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: metallb-dashboard, namespace: {NAMESPACE}}}}}"
    ))?;
    set_environment(world, &["DEPLOY_PODMONITORS=false"])?;
    world.wait_available()?;
    world
        .k(&format!("get configmap metallb-dashboard -n {NAMESPACE}"))
        .context("the ConfigMap of somebody else")?;
    set_environment(world, &["DEPLOY_PODMONITORS-"])
}

pub(crate) fn pods_are_monitored_where_that_is_asked_for(world: &World) -> Result<()> {
    set_environment(world, &["DEPLOY_PODMONITORS=true"])?;
    let monitors = ["PodMonitor/controller-monitor", "PodMonitor/speaker-monitor"];
    wait_for_made(world, "podmonitors", NOTICED, &monitors)?;
    world.k(&format!("delete podmonitor controller-monitor -n {NAMESPACE}"))?;
    wait_for_made(world, "podmonitors", SOON, &monitors)?;
    set_environment(world, &["DEPLOY_PODMONITORS-"])?;
    wait_for_made(world, "podmonitors", SOON, &[])
}
