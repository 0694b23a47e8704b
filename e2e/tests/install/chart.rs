//! MetalLB by its Helm chart, without an operator.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Progress, wait_for};

use crate::support::{NAMESPACE, ROLLOUT, SOON, World, file};
use crate::{BUILT, objects};

/// The name of the release.
const RELEASE: &str = "metallb";
/// The Service that is asked for all the while.
pub(crate) const LASTING: &str = "lasting";

/// Runs helm on the cluster; its standard output.
fn helm(world: &World, arguments: &[&str]) -> Result<String> {
    let home = world.cluster.instance().bin().with_file_name("helm");
    let output = Command::new(e2e::helm(&Progress::new())?)
        .args(arguments)
        .args(["--namespace", NAMESPACE])
        .env("KUBECONFIG", world.cluster.instance().kubeconfig())
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .output()
        .context("starting helm")?;
    ensure!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The arguments of the speaker and those of the controller.
fn arguments(world: &World) -> Result<[String; 2]> {
    let of = |workload| {
        Ok::<_, anyhow::Error>(world.template(workload)?["spec"]["containers"][0]["args"].to_string())
    };
    Ok([of("daemonset speaker")?, of("deployment controller")?])
}

pub(crate) fn the_chart_serves_an_address(world: &World) -> Result<()> {
    // As docs/install.md says.
    world.k(&format!("create namespace {NAMESPACE}"))?;
    world.k(&format!("label namespace {NAMESPACE} pod-security.kubernetes.io/enforce=privileged"))?;
    wait_for("what every namespace has", SOON, || {
        world.k(&format!("get configmap kube-root-ca.crt -n {NAMESPACE}"))
    })?;
    let chart = file("../charts/metallb").display().to_string();
    let (registry, tag) = BUILT;
    let mut command = vec!["install".to_owned(), RELEASE.to_owned(), chart];
    for component in ["controller", "speaker"] {
        command.push("--set".to_owned());
        command
            .push(format!("{component}.image.repository={registry}/{component},{component}.image.tag={tag}"));
    }
    command.extend(["--wait".to_owned(), format!("--timeout={}s", ROLLOUT.as_secs())]);
    helm(world, &command.iter().map(String::as_str).collect::<Vec<_>>())?;
    world.kubectl(&["apply", "-f", &file("fixtures/pools.yaml").display().to_string()])?;
    world.apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: all, namespace: {NAMESPACE}}}, spec: {{}}}}"
    ))?;
    // The webhook server of the chart judges what is written.
    let overlapping = format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: twice, namespace: {NAMESPACE}}}, spec: \
         {{addresses: [172.31.240.0/20, 172.31.240.0/24]}}}}"
    );
    let refused = world.apply(&overlapping).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("overlap"), "the pool that overlaps itself: {refused:?}");
    world.service(LASTING, "annotations: {metallb.io/address-pool: spread}", "sessionAffinity: None")?;
    let addresses = world.wait_addresses(LASTING)?;
    world.wait_fetch(&addresses[0], 80)?;
    ensure!(world.holder(&addresses[0])? == "node1", "somebody else answers ARP");
    Ok(())
}

pub(crate) fn an_upgrade_with_other_values_reaches_the_programs_and_keeps_the_address(
    world: &World,
) -> Result<()> {
    let addresses = world.wait_addresses(LASTING)?;
    let chart = file("../charts/metallb").display().to_string();
    let values = "speaker.logLevel=debug,failover.profile=Fast,controller.replicas=2,prometheus.dashboard.enabled=true";
    let timeout = format!("--timeout={}s", ROLLOUT.as_secs());
    helm(
        world,
        &["upgrade", RELEASE, &chart, "--reset-then-reuse-values", "--set", values, "--wait", &timeout],
    )?;
    let [speaker, controller] = arguments(world)?;
    ensure!(
        speaker.contains("--log-level=debug") && speaker.contains("--failover-profile=fast"),
        "{speaker}"
    );
    ensure!(controller.contains("--log-level=info"), "{controller}");
    let controllers =
        world.get(&format!("deployment controller -n {NAMESPACE}"))?["status"]["readyReplicas"].take();
    ensure!(controllers == 2, "{controllers} controllers are ready");
    world.k(&format!("get configmap metallb-dashboard -n {NAMESPACE}"))?;
    wait_for("debug lines of the speaker", SOON, || {
        let log = world.k(&format!("logs -n {NAMESPACE} daemonset/speaker --tail=400"))?;
        ensure!(log.contains(r#""level":"debug""#), "{log}");
        Ok(())
    })?;
    ensure!(world.addresses(LASTING)? == addresses, "another address");
    world.wait_fetch(&addresses[0], 80)?;
    // And back: what is not said any more is as it was.
    helm(world, &["rollback", RELEASE, "1", "--wait", &timeout])?;
    let [speaker, _] = arguments(world)?;
    ensure!(speaker.contains("--log-level=info") && !speaker.contains("--failover-profile"), "{speaker}");
    ensure!(world.addresses(LASTING)? == addresses, "another address");
    world.wait_fetch(&addresses[0], 80).map(drop)
}

pub(crate) fn an_uninstalled_chart_leaves_definitions_and_what_users_wrote(world: &World) -> Result<()> {
    let addresses = world.wait_addresses(LASTING)?;
    helm(world, &["uninstall", RELEASE, "--wait"])?;
    let definitions =
        |object: &&String| object.starts_with("customresourcedefinition.") && object.ends_with(".metallb.io");
    let left = wait_for("all else to be gone", SOON, || {
        let left = objects::all(world)?;
        let others: Vec<&String> = left
            .iter()
            .filter(|object| !definitions(object) && !users(object) && !EVERYWHERE.contains(&object.as_str()))
            .collect();
        ensure!(others.is_empty(), "still there: {others:?}");
        Ok(left)
    })?;
    ensure!(left.iter().filter(definitions).count() == 9, "{left:?}");
    ensure!(left.iter().filter(|object| users(object)).count() >= 2, "{left:?}");
    // Nobody answers for it, and nobody takes it from the Service.
    ensure!(world.addresses(LASTING)? == addresses, "another address");
    ensure!(world.arp(&addresses[0]).is_err(), "somebody still answers ARP for {}", addresses[0]);
    Ok(())
}

/// What every namespace has, and the namespace.
const EVERYWHERE: [&str; 3] =
    ["configmap/kube-root-ca.crt", "serviceaccount/default", "namespace/metallb-system"];

/// Whether users wrote it.
fn users(object: &str) -> bool {
    ["ipaddresspool.metallb.io/", "l2advertisement.metallb.io/"].iter().any(|kind| object.starts_with(kind))
}
