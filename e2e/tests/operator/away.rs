//! What goes wrong, and what happens while the operator is not there.

use anyhow::{Context, Result, ensure};
use e2e::wait_for;
use serde_json::Value;

use crate::OPERATOR;
use crate::support::{NAMESPACE, ROLLOUT, SOON, World};

pub(crate) fn an_image_that_cannot_be_pulled_is_named_until_it_can(world: &World) -> Result<()> {
    let image = |tag: &str| {
        let variable = format!("SPEAKER_IMAGE=metallb-rs.test/speaker:{tag}");
        world.kubectl(&["set", "env", "-n", NAMESPACE, OPERATOR, &variable]).map(drop)
    };
    image("missing")?;
    wait_for("the image to be named", ROLLOUT, || {
        let (status, reason, message) = world.condition("metallb", "Degraded")?;
        let named = message.contains("cannot pull image metallb-rs.test/speaker:missing");
        ensure!(status == "True" && named, "{status} {reason} {message}");
        Ok(())
    })?;
    image("dev")?;
    world.wait_available()
}

/// The operator with that many replicas.
fn scale(world: &World, replicas: u8) -> Result<()> {
    world.k(&format!("scale -n {NAMESPACE} {OPERATOR} --replicas={replicas}"))?;
    let pods = format!("pods -n {NAMESPACE} -l control-plane=controller-manager");
    wait_for("the operator to be as many", SOON, || {
        let items = world.get(&pods)?["items"].as_array().map_or(0, Vec::len);
        ensure!(items == usize::from(replicas), "{items} Pods");
        Ok(())
    })
}

pub(crate) fn a_resource_deleted_while_the_operator_is_away_leaves_nothing(world: &World) -> Result<()> {
    scale(world, 0)?;
    let addresses = world.wait_addresses("lasting")?;
    world.k(&format!("delete metallb metallb -n {NAMESPACE}"))?;
    let ours = "-l app.kubernetes.io/managed-by=metallb-operator";
    wait_for("its objects to be gone", SOON, || {
        let list =
            world.get(&format!("daemonsets,deployments,configmaps,networkpolicies -n {NAMESPACE} {ours}"))?;
        let left = list["items"].as_array().map_or(0, Vec::len);
        ensure!(left == 0, "{left} are left");
        Ok(())
    })?;
    scale(world, 1)?;
    world.mission("metallb.yaml")?;
    world.wait_available()?;
    ensure!(world.wait_addresses("lasting")? == addresses, "another address");
    Ok(())
}

pub(crate) fn an_operator_that_starts_anew_changes_nothing(world: &World) -> Result<()> {
    let versions = || -> Result<Vec<Value>> {
        let kinds = ["daemonset/speaker", "deployment/controller"];
        kinds
            .map(|workload| {
                Ok(world.get(&format!("{workload} -n {NAMESPACE}"))?["metadata"]["generation"].take())
            })
            .into_iter()
            .collect()
    };
    let before = versions()?;
    let speaker = || -> Result<String> {
        let pods = world.get(&format!("pods -n {NAMESPACE} -l component=speaker"))?;
        pods["items"][0]["metadata"]["uid"].as_str().map(str::to_owned).context("no speaker")
    };
    let first = speaker()?;
    // Two replicas, of which the one that leads goes: the other takes over and applies everything once.
    scale(world, 2)?;
    let lease = || -> Result<String> {
        let lease = world.get(&format!("lease metallb.io.metallboperator -n {NAMESPACE}"))?;
        lease["spec"]["holderIdentity"].as_str().map(str::to_owned).context("nobody leads")
    };
    let leader = lease()?;
    world.k(&format!("delete pod {leader} -n {NAMESPACE}"))?;
    wait_for("another replica to lead", SOON, || {
        let now = lease()?;
        ensure!(!now.is_empty() && now != leader, "{now:?} leads");
        Ok(())
    })?;
    // It works: what somebody deletes comes back.
    world.k(&format!("delete configmap metallb-excludel2 -n {NAMESPACE}"))?;
    wait_for("the ConfigMap to be back", SOON, || {
        world.k(&format!("get configmap metallb-excludel2 -n {NAMESPACE}"))
    })?;
    ensure!(versions()? == before, "{before:?} became {:?}", versions()?);
    ensure!(speaker()? == first, "another speaker");
    scale(world, 1)
}
