//! Interfaces beside that of the node network.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::plan::{Host, Lan};
use e2e::wait_for;

use crate::deaths::whole;
use crate::support::{SOON, World};
use crate::watching::Moving;

/// How long until a conflict is told: it has to be seen twice, and is answered once in ten seconds.
const CONFLICT: Duration = Duration::from_secs(60);
/// How long an address is announced after it was taken.
const ANNOUNCING: Duration = Duration::from_secs(6);

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

/// A host on the LAN is given the addresses of a Service by mistake, and goes on using them.
pub(crate) fn a_stranger_with_our_addresses_is_reported_and_answered_once_in_ten_seconds(
    world: &World,
) -> Result<()> {
    let moving = Moving::create(world, "stolen")?;
    let holder = Host::by_name(&moving.holder()?)?;
    // Its announcements come to an end: what it says then is in defence.
    let observer = moving.observe(&moving.v4)?;
    let mac = |name| Host::by_name(name).map(|host| host.mac(Lan::First));
    let (stranger, ours) = (mac("client")?, holder.mac(Lan::First));
    let (v4, v6) = (moving.v4.as_str(), moving.v6.as_str());
    let on_client = |command: &str| world.cluster.exec("client", &["sh", "-c", command]);
    on_client(&format!("ip address add {v4}/32 dev eth0; ip address add {v6}/128 dev eth0 nodad"))?;
    let claimed = SystemTime::now();
    let report = |address: &str| {
        format!("with MAC address {stranger}, answers for {address}: take the address away from that host")
    };
    let result = wait_for("events about both addresses, and two defences", CONFLICT, || {
        // Gratuitous replies of ARP, which nobody answers, and questions of neighbour discovery that come from the address.
        on_client(&format!(
            "arping -c 1 -w 1 -U -P -i eth0 -S {v4} {v4}; ndisc6 -1 -q -r 1 -w 500 -s {v6} 2001:db8::dead eth0"
        ))?;
        let events = world.events("Service", "stolen")?;
        for address in [v4, v6] {
            ensure!(events.iter().any(|event| event.contains(&report(address))), "{events:?}");
        }
        let mut defences: Vec<SystemTime> = Vec::new();
        for claim in observer.claims()? {
            // Request and reply are one.
            let again = defences.last().is_some_and(|last| claim.at <= *last + Duration::from_secs(1));
            if claim.mac == ours && claim.at > claimed + ANNOUNCING && !again {
                defences.push(claim.at);
            }
        }
        ensure!(defences.len() >= 2, "defended at {defences:?}");
        Ok(defences)
    });
    on_client(&format!("ip address del {v4}/32 dev eth0; ip address del {v6}/128 dev eth0"))?;
    let defences = result?;
    let soon = defences.windows(2).find(|pair| pair[1] < pair[0] + Duration::from_millis(9_900));
    ensure!(soon.is_none(), "defended twice in ten seconds: {soon:?}");
    moving.delete()
}
