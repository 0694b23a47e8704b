//! The mission's own file, as an administrator applies it.

use anyhow::{Context, Result, ensure};
use e2e::{CATALOG, OLM_NAMESPACE, wait_for};

use crate::console::{POOL, fetch_through_a_service};
use crate::lifecycle::{SUBSCRIPTION, csv, wait_available, wait_for_version};
use crate::support::{NAMESPACE, SOON, file};
use crate::{Suite, VERSIONS};

/// D3.11: with only `source` and `sourceNamespace` changed.
pub(crate) fn the_missions_file_installs_and_the_resource_is_available(suite: &Suite) -> Result<()> {
    let world = suite.world();
    let path = file("mission/olm-install.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let ours = text
        .replace("source: redhat-operators", &format!("source: {CATALOG}"))
        .replace("sourceNamespace: openshift-marketplace", &format!("sourceNamespace: {OLM_NAMESPACE}"));
    let changed = text.lines().zip(ours.lines()).filter(|(before, after)| before != after).count();
    ensure!(changed == 2, "{changed} lines of the mission's file were changed");
    world.apply(&ours)?;
    let newest = VERSIONS[1];
    wait_for_version(world, NAMESPACE, newest)?;
    let installed = wait_for("the subscription to know of it", SOON, || {
        let subscription = world.get(&format!("subscription {SUBSCRIPTION} -n {NAMESPACE}"))?;
        subscription["status"]["installedCSV"].as_str().map(str::to_owned).context("nothing is installed")
    })?;
    ensure!(installed == csv(newest), "{installed}");
    let column = "custom-columns=Name:.metadata.name,Phase:.status.phase";
    let table = world.k(&format!("get csv -n {NAMESPACE} -o {column}"))?;
    ensure!(table.contains("Succeeded"), "{table}");
    world.mission("metallb.yaml")?;
    wait_available(world, NAMESPACE)?;
    let pools = POOL.replace("NAMESPACE", NAMESPACE);
    world.apply(&pools)?;
    fetch_through_a_service(world, "mission")?;
    Ok(())
}
