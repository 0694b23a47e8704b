//! Nodes that die without a word.

use std::time::SystemTime;

use anyhow::{Result, bail, ensure};
use e2e::wait_for;

use crate::choosing::status;
use crate::support::{NAMESPACE, ROLLOUT, SOON, World};
use crate::watching::{Moving, wait_takeover};

/// Both families move, to one node, and back once it is whole.
pub(crate) fn a_node_that_is_cut_off_loses_its_addresses_to_one_other(world: &World) -> Result<()> {
    let moving = Moving::create(world, "cut")?;
    let first = moving.holder()?;
    let observers = [moving.observe(&moving.v4)?, moving.observe(&moving.v6)?];
    let cut = SystemTime::now();
    world.cluster.cut(&first)?;
    for observer in &observers {
        println!("cut off: another node claims after {:.0?}", wait_takeover(observer, &first, cut)?);
    }
    let second = moving.wait_holder(|node| node != first)?;
    world.wait_announcer_that("cut", &second, |node| node == second)?;
    let status = status(world, "cut")?;
    ensure!(status["cause"] == "HolderDown" && status["formerNode"] == *first, "{status}");
    let event = format!(r#"announcing from node "{second}" with protocol "layer2""#);
    world.wait_event("Service", "cut", &event)?;
    world.wait_event("Node", &second, "has not been heard for 10 seconds")?;
    world.cluster.restore(&first)?;
    moving.wait_holder(|node| node == first)?;
    world.wait_announcer_that("cut", &first, |node| node == first)?;
    whole(world)?;
    moving.delete()
}

pub(crate) fn a_node_that_is_killed_loses_its_addresses(world: &World) -> Result<()> {
    let moving = Moving::create(world, "killed")?;
    let first = moving.holder()?;
    let observer = moving.observe(&moving.v4)?;
    let killed = SystemTime::now();
    world.cluster.kill(&first)?;
    println!("killed: another node claims after {:.0?}", wait_takeover(&observer, &first, killed)?);
    world.cluster.boot(&first)?;
    moving.wait_holder_within(ROLLOUT, |node| node == first)?;
    whole(world)?;
    moving.delete()
}

/// A machine that stood still finds its lease gone before it says anything.
pub(crate) fn a_paused_speaker_that_goes_on_does_not_answer_again(world: &World) -> Result<()> {
    let moving = Moving::create(world, "paused")?;
    let first = moving.holder()?;
    let observer = moving.observe(&moving.v4)?;
    let paused = SystemTime::now();
    world.cluster.pause(&first)?;
    println!("paused: another node claims after {:.0?}", wait_takeover(&observer, &first, paused)?);
    let second = moving.wait_holder(|node| node != first)?;
    let resumed = SystemTime::now();
    world.cluster.resume(&first)?;
    // It comes back by asking the other one, and not by answering beside it.
    moving.wait_holder(|node| node == first)?;
    let claims = observer.claims()?;
    let macs: Vec<&String> =
        claims.iter().filter(|claim| claim.at > resumed).map(|claim| &claim.mac).collect();
    let changes = macs.windows(2).filter(|pair| pair[0] != pair[1]).count();
    ensure!(changes <= 1, "{first} went on beside {second}: {macs:?}");
    whole(world)?;
    moving.delete()
}

/// The speakers agree without the API server.
pub(crate) fn a_death_is_survived_without_the_api_server(world: &World) -> Result<()> {
    let moving = Moving::create(world, "headless")?;
    let first = moving.holder()?;
    let observer = moving.observe(&moving.v4)?;
    world.cluster.stop_api()?;
    let cut = SystemTime::now();
    world.cluster.cut(&first)?;
    let took = wait_takeover(&observer, &first, cut);
    world.cluster.restore(&first)?;
    world.cluster.start_api()?;
    println!("without the API server: another node claims after {:.0?}", took?);
    moving.wait_holder(|node| node == first)?;
    whole(world)?;
    moving.delete()
}

/// Better silent than twice: who is cut off from the others cannot know what they do.
pub(crate) fn one_of_three_alone_is_silent(world: &World) -> Result<()> {
    let moving = Moving::create(world, "minority")?;
    let nodes = world.cluster.node_names();
    let (left, gone) = nodes.split_first().expect("three nodes");
    for node in gone {
        world.cluster.cut(node)?;
    }
    wait_for("silence", SOON, || match moving.holder() {
        Err(_) => Ok(()),
        Ok(holder) => bail!("{holder} answers"),
    })?;
    world.wait_event("Node", left, "no majority of the speakers hears the one of this node")?;
    for node in gone {
        world.cluster.restore(node)?;
    }
    moving.wait_holder(|_| true)?;
    whole(world)?;
    moving.delete()
}

/// Two nodes have no majority that survives one of them: the LAN is asked instead.
pub(crate) fn of_two_nodes_the_one_that_is_left_goes_on(world: &World) -> Result<()> {
    let moving = Moving::create(world, "two")?;
    let first = moving.holder()?;
    let observers = [moving.observe(&moving.v4)?, moving.observe(&moving.v6)?];
    let cut = SystemTime::now();
    world.cluster.cut(&first)?;
    for observer in &observers {
        println!("two nodes: the other one claims after {:.0?}", wait_takeover(observer, &first, cut)?);
    }
    moving.wait_holder(|node| node != first)?;
    world.cluster.restore(&first)?;
    moving.wait_holder(|node| node == first)?;
    whole(world)?;
    moving.delete()
}

/// Waits until every node and everything of MetalLB is well again, for the next test.
pub(crate) fn whole(world: &World) -> Result<()> {
    for node in world.cluster.node_names() {
        wait_for(&format!("{node} to be Ready"), ROLLOUT, || {
            let ready = world.k(&format!("get node {node} --no-headers"))?;
            ensure!(ready.split_whitespace().nth(1) == Some("Ready"), "{ready}");
            Ok(())
        })?;
    }
    world.k(&format!("rollout status -n {NAMESPACE} daemonset/speaker --timeout={}s", ROLLOUT.as_secs()))?;
    world.k(&format!("rollout status deployment web --timeout={}s", ROLLOUT.as_secs()))?;
    world.wait_available()
}
