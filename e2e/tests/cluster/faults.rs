//! What goes wrong: a node, the API server, the controller. One after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::wait_for;

use crate::support::{NAMESPACE, ROLLOUT, SOON, World};

/// D4.20: a node that is cut off is replaced by another one, and takes no part until it is whole.
pub(crate) fn another_node_takes_over_when_one_is_cut_off(world: &World) -> Result<()> {
    world.service("moving", "labels: {}", "sessionAffinity: None")?;
    let address = world.wait_addresses("moving")?[0].clone();
    let first = world.wait_announcer("moving")?;
    world.wait_fetch(&address, 80)?;
    world.cluster.cut(&first)?;
    let second = wait_for("another node to answer", Duration::from_secs(60), || {
        let holder = world.holder(&address)?;
        ensure!(holder != first, "{first} still answers");
        Ok(holder)
    })?;
    ensure!(world.wait_announcer_that("moving", &second, |n| n == second)? == second);
    let event = format!(r#"announcing from node "{second}""#);
    world.wait_event("Service", "moving", &event)?;
    wait_for("answers from Pods that live", Duration::from_secs(60), || {
        for _ in 0..5 {
            let answer = world.fetch(&address, 80)?;
            ensure!(answer.node != first, "answered by {answer:?}");
        }
        Ok(())
    })?;
    world.cluster.restore(&first)?;
    wait_for("the node to be Ready", ROLLOUT, || {
        let ready = world.k(&format!("get node {first} --no-headers"))?;
        ensure!(ready.split_whitespace().nth(1) == Some("Ready"), "{ready}");
        Ok(())
    })?;
    // The rule of the election has the address back at the first node.
    let back = world.wait_announcer_that("moving", &first, |n| n == first)?;
    wait_for("that node to answer", SOON, || {
        let holder = world.holder(&address)?;
        ensure!(holder == back, "{holder} answers");
        Ok(())
    })?;
    world.wait_available()?;
    world.delete_services(&["moving"])
}

/// A minute without the API server: what is announced stays, what was missed is caught up with.
pub(crate) fn a_minute_without_the_api_server_loses_nothing(world: &World) -> Result<()> {
    world.service("outage", "labels: {}", "sessionAffinity: None")?;
    let address = world.wait_addresses("outage")?[0].clone();
    let node = world.wait_announcer("outage")?;
    world.wait_fetch(&address, 80)?;
    world.cluster.stop_api()?;
    let end = Instant::now() + Duration::from_secs(60);
    let mut answers = 0;
    while Instant::now() < end {
        // Each look is a new question on the LAN, since the client asks past its neighbour cache.
        let holder = world.holder(&address)?;
        ensure!(holder == node, "{holder} answers for {address} without the API server, {node} did before");
        world.fetch(&address, 80)?;
        answers += 1;
    }
    ensure!(answers > 10, "only {answers} answers in a minute");
    world.cluster.start_api()?;
    wait_for("the API server", SOON, || world.k("get --raw /readyz").map(drop))?;
    world.service("after-outage", "labels: {}", "sessionAffinity: None")?;
    let next = world.wait_addresses("after-outage")?[0].clone();
    // Kubernetes' own parts, which say which Pods can serve, may be half a minute late.
    wait_for("the new Service to be announced", ROLLOUT, || world.fetch(&next, 80))?;
    wait_for("the old Service to be announced", ROLLOUT, || world.fetch(&address, 80))?;
    ensure!(world.addresses("outage")?.first() == Some(&address));
    for pod in
        world.get(&format!("pods -n {NAMESPACE} -l app=metallb"))?["items"].as_array().into_iter().flatten()
    {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(restarts == 0, "{name} was restarted {restarts} times");
    }
    world.wait_available()?;
    world.delete_services(&["outage", "after-outage"])
}

/// A new controller takes every address over that the old one gave, and gives none of them again.
pub(crate) fn addresses_survive_a_new_controller(world: &World) -> Result<()> {
    let names: Vec<String> = (1..=5).map(|n| format!("survivor-{n}")).collect();
    for name in &names {
        world.service(name, "labels: {}", "sessionAffinity: None")?;
    }
    let mut before = Vec::new();
    for name in &names {
        before.push(world.wait_addresses(name)?);
    }
    let controllers = format!("pods -n {NAMESPACE} -l app=metallb,component=controller");
    let old = world.get(&controllers)?["items"][0]["metadata"]["uid"].take();
    world.k(&format!("delete {controllers} --grace-period=0 --force"))?;
    // Forced, the old one may still run for a moment: what is asked for from here on meets the new one.
    wait_for("a new controller to be Ready", ROLLOUT, || {
        let pods = world.get(&controllers)?["items"].take();
        let ready = pods.as_array().into_iter().flatten().any(|pod| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["uid"] != old && conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
        });
        ensure!(ready, "controllers: {pods}");
        Ok(())
    })?;
    world.service("newcomer", "labels: {}", "sessionAffinity: None")?;
    let newcomer = wait_for("the new controller to serve", ROLLOUT, || {
        let addresses = world.addresses("newcomer")?;
        ensure!(!addresses.is_empty(), "none yet");
        Ok(addresses)
    })?;
    for (name, address) in names.iter().zip(&before) {
        ensure!(&world.addresses(name)? == address, "{name} had {address:?}");
        ensure!(address != &newcomer, "{newcomer:?} was given twice");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["newcomer"]).collect();
    world.delete_services(&names)
}
