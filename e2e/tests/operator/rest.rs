//! Nothing is written where nothing happens.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{NAMESPACE, World};

/// How long nothing may be written.
const REST: Duration = Duration::from_secs(60);
/// What the operator makes and what runs of it, with all that it can be asked for, in MetalLB's namespace.
const IN_NAMESPACE: &str = "metallbs,deployments,daemonsets,controllerrevisions,replicasets,pods,configmaps,secrets,services,\
    endpointslices,networkpolicies,servicemonitors,prometheusrules,configurationstates,servicel2statuses,servicebgpstatuses,\
    ipaddresspools,l2advertisements,roles,rolebindings,serviceaccounts";
/// What it needs in no namespace.
const ANYWHERE: &str =
    "customresourcedefinitions,validatingwebhookconfigurations,clusterroles,clusterrolebindings";

/// The resource version of each of these objects by `KIND/NAME`, but of those that no one of ours has made.
fn versions(world: &World, kinds: &str, place: &str) -> Result<BTreeMap<String, String>> {
    let list = world.get(&format!("{kinds} {place}"))?;
    let items = list["items"].as_array().context("a list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = items.iter().map(|object| {
        let metadata = &object["metadata"];
        (format!("{}/{}", text(&object["kind"]), text(&metadata["name"])), text(&metadata["resourceVersion"]))
    });
    Ok(named.filter(|(name, _)| !place.is_empty() || name.contains("metallb")).collect())
}

fn all(world: &World) -> Result<BTreeMap<String, String>> {
    let mut found = versions(world, IN_NAMESPACE, &format!("-n {NAMESPACE}"))?;
    found.extend(versions(world, ANYWHERE, "")?);
    let service = world.get("service lasting")?;
    found.insert("lasting".to_owned(), service["metadata"]["resourceVersion"].to_string());
    Ok(found)
}

/// What the programs have written since a time, but for their leases: lines of the audit log.
fn written(world: &World, since: &str) -> Result<Vec<String>> {
    let path = world.cluster.instance().logs().join("control-plane/audit.log");
    let log = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let account = format!("system:serviceaccount:{NAMESPACE}:");
    // The last line may be half written.
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let written = entries.filter(|entry| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        text(&entry["user"]["username"]).starts_with(&account)
            && ["create", "update", "patch", "delete", "deletecollection"].contains(&text(&entry["verb"]).as_str())
            && text(&entry["requestReceivedTimestamp"]).as_str() >= since
            // Who may read the metrics is asked by writing, and nothing is stored. An event is no writing in a loop: what is
            // said of a busy machine is true.
            && !["leases", "events", "tokenreviews", "subjectaccessreviews"].contains(&text(&entry["objectRef"]["resource"]).as_str())
    });
    Ok(written
        .map(|entry| format!("{} {} {}", entry["user"]["username"], entry["verb"], entry["objectRef"]))
        .collect())
}

/// Runs with everything that the operator can be asked for, which the test before has switched on.
pub(crate) fn nothing_is_written_in_a_minute_of_rest(world: &World) -> Result<()> {
    world.wait_available()?;
    let before = all(world)?;
    let has = |what: &str| before.keys().any(|name| name.starts_with(what));
    for kind in [
        "NetworkPolicy/",
        "ServiceMonitor/",
        "PrometheusRule/",
        "ConfigMap/metallb-dashboard",
        "ServiceL2Status/",
    ] {
        ensure!(has(kind), "there is no {kind} among {before:?}");
    }
    let since = jiff::Timestamp::now();
    // What is looked for is the absence of writes over a time, so a time has to pass.
    std::thread::sleep(REST);
    let after = all(world)?;
    let changed: Vec<&String> = before.keys().filter(|&name| before.get(name) != after.get(name)).collect();
    ensure!(
        changed.is_empty() && before.len() == after.len(),
        "changed: {changed:?}; {before:?} became {after:?}"
    );
    let written = written(world, &since.to_string())?;
    ensure!(written.is_empty(), "{written:#?}");
    println!("{} objects, none written in {REST:?}", before.len());
    Ok(())
}
