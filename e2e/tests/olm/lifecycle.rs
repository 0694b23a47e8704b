//! What an administrator does with OLM, and what OLM answers.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::{CATALOG, OLM_NAMESPACE, wait_for};
use serde_json::Value;

use crate::support::{ROLLOUT, SOON, World};

/// The Subscription, as the mission's file names it.
pub(crate) const SUBSCRIPTION: &str = "metallb-operator-sub";
/// OLM works in steps, each after what the one before has brought about, with pauses in between.
const STEPS: Duration = Duration::from_secs(180);

/// The name of the ClusterServiceVersion of a version.
pub(crate) fn csv(version: &str) -> String {
    format!("metallb-operator.v{version}")
}

/// Waits until OLM reads the catalog.
pub(crate) fn wait_for_catalog(world: &World) -> Result<()> {
    wait_for("the catalog to be READY", SOON * 2, || {
        let source = world.get(&format!("catalogsource {CATALOG} -n {OLM_NAMESPACE}"))?;
        let state = &source["status"]["connectionState"]["lastObservedState"];
        ensure!(state == "READY", "it is {state}");
        Ok(())
    })
}

/// Waits until the Subscription wants an InstallPlan approved that installs this version; its name.
pub(crate) fn wait_for_plan(world: &World, namespace: &str, version: &str) -> Result<String> {
    wait_for(&format!("an InstallPlan of {version}"), STEPS, || {
        let plans = world.get(&format!("installplans -n {namespace}"))?;
        let plans = plans["items"].as_array().cloned().unwrap_or_default();
        let plan = plans.iter().find(|plan| {
            let names = plan["spec"]["clusterServiceVersionNames"].as_array();
            names.is_some_and(|names| names.contains(&csv(version).into()))
        });
        let conditions = || {
            let subscription = world.get(&format!("subscription {SUBSCRIPTION} -n {namespace}"));
            subscription.map(|mut subscription| subscription["status"]["conditions"].take())
        };
        match plan {
            Some(plan) => Ok(plan["metadata"]["name"].as_str().unwrap_or_default().to_owned()),
            None => bail!("the subscription says {:?}", conditions()),
        }
    })
}

/// Approves an InstallPlan.
pub(crate) fn approve(world: &World, namespace: &str, plan: &str) -> Result<()> {
    let patch = r#"{"spec":{"approved":true}}"#;
    world.kubectl(&["patch", "installplan", plan, "-n", namespace, "--type=merge", "-p", patch]).map(drop)
}

/// Approves the InstallPlans of the version that nobody has approved yet: while OLM resolves it may make a second one, and
/// only the one that the Subscription names then is carried out.
pub(crate) fn approve_of(world: &World, namespace: &str, version: &str) -> Result<()> {
    let plans = world.get(&format!("installplans -n {namespace}"))?;
    for plan in plans["items"].as_array().into_iter().flatten() {
        let names = plan["spec"]["clusterServiceVersionNames"].as_array();
        let is_of = names.is_some_and(|names| names.contains(&csv(version).into()));
        if is_of && plan["spec"]["approved"] == false {
            approve(world, namespace, plan["metadata"]["name"].as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Waits until the version is installed, whose installation has been approved.
pub(crate) fn wait_for_version(world: &World, namespace: &str, version: &str) -> Result<Value> {
    wait_for(&format!("{} to be Succeeded", csv(version)), STEPS, || {
        approve_of(world, namespace, version)?;
        let csv = world.get(&format!("csv {} -n {namespace}", csv(version)))?;
        let status = &csv["status"];
        ensure!(
            status["phase"] == "Succeeded",
            "it is {}: {}: {}",
            status["phase"],
            status["message"],
            unmet(status)
        );
        Ok(csv)
    })
}

/// What OLM still waits for.
fn unmet(status: &Value) -> String {
    let requirements = status["requirementStatus"].as_array().into_iter().flatten();
    let unmet: Vec<String> = requirements
        .filter(|one| one["status"] != "Present")
        .map(|one| format!("{} {} {}", one["kind"], one["name"], one["message"]))
        .collect();
    unmet.join("; ")
}

/// The names of the objects of a kind, `NAMESPACE/NAME`, or `NAME` where it has none.
pub(crate) fn names(world: &World, line: &str) -> Result<Vec<String>> {
    let list = world.get(line)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        metadata["namespace"].as_str().map_or(name.to_owned(), |namespace| format!("{namespace}/{name}"))
    };
    Ok(items.iter().map(name).collect())
}

/// Waits until the MetalLB resource of a namespace is Available in its present generation.
pub(crate) fn wait_available(world: &World, namespace: &str) -> Result<()> {
    wait_for(&format!("MetalLB {namespace}/metallb to be Available"), ROLLOUT, || {
        let object = world.get(&format!("metallb metallb -n {namespace}"))?;
        let condition = condition(&object, "Available").context("no condition yet")?;
        let is_current = condition["observedGeneration"] == object["metadata"]["generation"];
        ensure!(
            condition["status"] == "True" && is_current,
            "conditions: {}",
            object["status"]["conditions"]
        );
        Ok(())
    })
}

/// A condition of an object.
pub(crate) fn condition(object: &Value, kind: &str) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind).cloned()
}

/// Waits until nothing is left of what a command lists.
pub(crate) fn wait_gone(what: &str, list: impl Fn() -> Result<Vec<String>>) -> Result<()> {
    wait_for(&format!("{what} to be gone"), SOON * 2, || {
        let left = list()?;
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(())
    })
}
