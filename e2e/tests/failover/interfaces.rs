//! Interfaces beside that of the node network.

use anyhow::{Context, Result, ensure};
use e2e::plan::{Host, Lan};
use e2e::wait_for;

use crate::deaths::whole;
use crate::support::{SOON, World};

/// A VLAN that is misconfigured leaves the carrier on: the speakers find it by not hearing each other there.
pub(crate) fn a_dead_interface_with_carrier_moves_its_addresses(world: &World) -> Result<()> {
    let metadata = "annotations: {metallb.io/address-pool: second}";
    world.service("second-lan", metadata, "sessionAffinity: None")?;
    let address = world.wait_addresses("second-lan")?.first().cloned().context("an address")?;
    let holder = || -> Result<String> {
        let output =
            world.cluster.exec("client", &["arping", "-c", "1", "-w", "1", "-r", "-i", "eth1", &address])?;
        let mac = String::from_utf8_lossy(&output.stdout).split_whitespace().next().map(str::to_owned);
        let mac = mac.with_context(|| format!("nobody answers for {address}"))?;
        let nodes = world.cluster.node_names();
        let of = |node: &String| Host::by_name(node).is_ok_and(|host| host.mac(Lan::Second) == mac);
        nodes.into_iter().find(of).with_context(|| format!("{address} is at {mac}"))
    };
    let first = wait_for("the holder", SOON, holder)?;
    world.cluster.set_connected(&first, Lan::Second, false)?;
    let second = wait_for("another node to answer", SOON, || {
        let node = holder()?;
        ensure!(node != first, "{first} answers");
        Ok(node)
    })?;
    world.wait_announcer_that("second-lan", &second, |node| node == second)?;
    world.wait_event("Node", &first, r#"on the network of interface "eth1""#)?;
    world.cluster.set_connected(&first, Lan::Second, true)?;
    wait_for("the first node to answer again", SOON, || {
        let node = holder()?;
        ensure!(node == first, "{node} answers");
        Ok(())
    })?;
    // Without carrier it needs nobody to tell.
    world.cluster.set_link(&first, Lan::Second, false)?;
    wait_for("another node to answer", SOON, || {
        let node = holder()?;
        ensure!(node != first, "{first} answers");
        Ok(())
    })?;
    world.cluster.set_link(&first, Lan::Second, true)?;
    wait_for("the first node to answer again", SOON, || {
        let node = holder()?;
        ensure!(node == first, "{node} answers");
        Ok(())
    })?;
    whole(world)?;
    world.delete_services(&["second-lan"])
}
