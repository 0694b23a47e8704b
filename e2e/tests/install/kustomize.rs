//! `config/default` by the kustomize that is in kubectl, with images from elsewhere as docs/install.md has it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::wait_for;

use crate::chart::LASTING;
use crate::support::{NAMESPACE, ROLLOUT, SOON, World, file};
use crate::{BUILT, objects};

/// The example of the documentation, for the images that are built here, in a folder of its own.
fn overlay() -> Result<PathBuf> {
    let guide = fs::read_to_string(file("../docs/install.md")).context("reading docs/install.md")?;
    let example =
        guide.split("# kustomization.yaml\n").nth(1).context("docs/install.md has no kustomization")?;
    let example = example.split("```").next().unwrap_or_default();
    let (registry, tag) = BUILT;
    let ours = example
        .replace("registry.example.com/metallb-rs", registry)
        .replace("v0.1.0", tag)
        .replace("- config/default", "- ../../../config/default");
    ensure!(ours.matches(registry).count() == 4, "an image is missing or named twice: {ours}");
    let folder = file("../build/install/overlay");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(folder.join("kustomization.yaml"), ours).context("writing the overlay")?;
    Ok(folder)
}

pub(crate) fn an_overlay_of_the_default_gives_a_resource_that_is_available(world: &World) -> Result<()> {
    let addresses = world.wait_addresses(LASTING)?;
    let folder = overlay()?.display().to_string();
    world.kubectl(&["apply", "-k", &folder])?;
    for deployment in ["metallb-operator-controller-manager", "metallb-operator-webhook-server"] {
        world.k(&format!(
            "rollout status deployment {deployment} -n {NAMESPACE} --timeout={}s",
            ROLLOUT.as_secs()
        ))?;
    }
    world.mission("metallb.yaml")?;
    world.wait_available()?;
    for workload in ["deployment controller", "daemonset speaker"] {
        let image = world.template(workload)?["spec"]["containers"][0]["image"].take();
        ensure!(image.as_str().is_some_and(|image| image.starts_with(BUILT.0)), "{workload} runs {image}");
    }
    // It takes over what the chart served: the same pools, the same address.
    ensure!(world.wait_addresses(LASTING)? == addresses, "another address");
    world.wait_fetch(&addresses[0], 80)?;
    // Peers are converted by the webhook server, whom the definition trusts.
    world.apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: BGPPeer, metadata: {{name: router, namespace: {NAMESPACE}}}, spec: {{myASN: \
         64500, peerASN: 64501, peerAddress: 192.0.2.254}}}}"
    ))?;
    let newer = world.get(&format!("bgppeers.v1beta2.metallb.io router -n {NAMESPACE}"))?;
    ensure!(newer["spec"]["peerAddress"] == "192.0.2.254", "{newer}");
    // Once more changes nothing.
    let generation = |what: &str| {
        Ok::<_, anyhow::Error>(world.get(&format!("{what} -n {NAMESPACE}"))?["metadata"]["generation"].take())
    };
    let before = generation("deployment metallb-operator-controller-manager")?;
    world.kubectl(&["apply", "-k", &folder])?;
    ensure!(
        generation("deployment metallb-operator-controller-manager")? == before,
        "the operator is rolled out anew"
    );
    Ok(())
}

pub(crate) fn what_the_default_made_goes_as_it_came(world: &World) -> Result<()> {
    world.k(&format!("delete metallb metallb -n {NAMESPACE}"))?;
    wait_for("the workloads to be gone", SOON, || {
        let left = world.k(&format!("get deployments,daemonsets -n {NAMESPACE} -l app=metallb -o name"))?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;
    let folder = overlay()?.display().to_string();
    world.kubectl(&["delete", "-k", &folder, "--wait=false"])?;
    wait_for("everything to be gone", ROLLOUT, || {
        let left = objects::all(world)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}
