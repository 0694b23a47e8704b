//! Planned moves: rollouts, drained nodes, fewer nodes.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::flows::Outcome;
use e2e::{Claim, wait_for};

use crate::choosing::status;
use crate::deaths::whole;
use crate::support::{NAMESPACE, ROLLOUT, SOON, World};
use crate::watching::Moving;

/// What keeps the speakers as the MetalLB resource wants them.
const OPERATOR: &str = "deployment/metallb-operator-controller-manager";

/// Every speaker is replaced, one after the other, and no client notices.
pub(crate) fn a_rollout_of_the_speakers_loses_no_new_flow(world: &World) -> Result<()> {
    let moving = Moving::create(world, "rollout")?;
    let outcome = moving.flows_during(40, || {
        world.k(&format!("rollout restart -n {NAMESPACE} daemonset/speaker"))?;
        whole(world)
    })?;
    none_lost(&outcome)?;
    moving.wait_holder(|_| true)?;
    moving.delete()
}

/// The speakers change to the protocol of the release before, and back, while each version talks to the other.
pub(crate) fn a_rollout_between_two_versions_of_the_protocol_loses_no_new_flow(world: &World) -> Result<()> {
    let moving = Moving::create(world, "versions")?;
    let observer = moving.observe(&moving.v4)?;
    // The operator would take the variable back.
    world.k(&format!("scale -n {NAMESPACE} {OPERATOR} --replicas=0"))?;
    let variable = "METALLB_PROTOCOL_VERSION_MAX";
    let older = speak(world, &moving, &format!("{variable}=1"), true);
    let newer = speak(world, &moving, &format!("{variable}-"), false);
    world.k(&format!("scale -n {NAMESPACE} {OPERATOR} --replicas=1"))?;
    older.and(newer)?;
    one_at_a_time(&observer.claims()?)?;
    whole(world)?;
    moving.delete()
}

/// Rolls the speakers out with this change of their environment, after which they speak the older version or not.
fn speak(world: &World, moving: &Moving<'_>, change: &str, older: bool) -> Result<()> {
    let outcome = moving.flows_during(40, || {
        world.k(&format!("set env -n {NAMESPACE} daemonset/speaker {change}"))?;
        let status =
            format!("rollout status -n {NAMESPACE} daemonset/speaker --timeout={}s", ROLLOUT.as_secs());
        world.k(&status).map(drop)
    })?;
    let speakers = world.get(&format!("pods -n {NAMESPACE} -l app=metallb,component=speaker"))?;
    for pod in speakers["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let log = world.k(&format!("logs -n {NAMESPACE} {name}"))?;
        ensure!(log.contains("held at an older version") == older, "{name} after {change}: {log}");
        ensure!(
            !log.contains("no key opens") && !log.contains("has protocol version"),
            "not everybody was understood: {log}"
        );
    }
    // A flow whose connection stood when its address moved may be reset, for its state is on the node that it came by.
    let (reset, lost): (Vec<_>, Vec<_>) =
        outcome.lost.into_iter().partition(|(_, why)| why.starts_with("TCP: reading: Connection reset"));
    ensure!(
        reset.len() <= world.cluster.node_names().len(),
        "more were reset than addresses moved: {reset:?}"
    );
    none_lost(&Outcome { lost, ..outcome })?;
    println!("{} reset after they were connected", reset.len());
    moving.wait_holder(|_| true).map(drop)
}

/// Whoever takes an address over is the only one that claims it for a second at least.
fn one_at_a_time(claims: &[Claim]) -> Result<()> {
    let mut moves = 0;
    for (number, pair) in claims.windows(2).enumerate() {
        if pair[0].mac == pair[1].mac {
            continue;
        }
        moves += 1;
        let soon =
            claims.iter().skip(number + 1).take_while(|claim| claim.at < pair[1].at + Duration::from_secs(1));
        let both = soon.clone().find(|claim| claim.mac == pair[0].mac);
        ensure!(
            both.is_none(),
            "{} claims beside {}: {:?}",
            pair[0].mac,
            pair[1].mac,
            soon.collect::<Vec<_>>()
        );
    }
    println!("{} claims, {moves} moves, never two at once", claims.len());
    Ok(())
}

pub(crate) fn a_drained_node_hands_over_and_takes_nothing(world: &World) -> Result<()> {
    let moving = Moving::create(world, "drained")?;
    let first = moving.holder()?;
    let outcome = moving.flows_during(10, || {
        world.k(&format!("annotate node {first} metallb.io/drain=true"))?;
        let second = moving.wait_holder(|node| node != first)?;
        world.wait_announcer_that("drained", &second, |node| node == second)?;
        let status = status(world, "drained")?;
        ensure!(status["cause"] == "HolderDrained" && status["formerNode"] == *first, "{status}");
        Ok(())
    })?;
    none_lost(&outcome)?;
    // Nor does it take a new Service.
    let another = Moving::create(world, "drained-2")?;
    ensure!(another.holder()? != first, "the drained node took a new Service");
    another.delete()?;
    let outcome = moving.flows_during(10, || {
        world.k(&format!("annotate node {first} metallb.io/drain-"))?;
        moving.wait_holder(|node| node == first).map(drop)
    })?;
    none_lost(&outcome)?;
    moving.delete()
}

pub(crate) fn a_cordon_changes_nothing(world: &World) -> Result<()> {
    let moving = Moving::create(world, "cordoned")?;
    let first = moving.holder()?;
    let observer = moving.observe(&moving.v4)?;
    let before = observer.claims()?.len();
    world.k(&format!("cordon {first}"))?;
    // The speakers have seen it once a Service that came later is announced.
    let later = Moving::create(world, "cordoned-2")?;
    later.delete()?;
    ensure!(moving.holder()? == first, "the address moved");
    let others = observer.claims()?.into_iter().skip(before).map(|claim| claim.mac).collect::<Vec<_>>();
    world.k(&format!("uncordon {first}"))?;
    let mac = e2e::plan::Host::by_name(&first)?.mac(e2e::plan::Lan::First);
    ensure!(others.iter().all(|other| *other == mac), "claimed by {others:?}");
    moving.delete()
}

/// Two of three speakers end for good at once: the one that is left needs no majority of those.
pub(crate) fn speakers_on_fewer_nodes_go_on(world: &World) -> Result<()> {
    let moving = Moving::create(world, "fewer")?;
    world.k("label node node2 failover-test=only")?;
    speakers_only_where(world, "only", 1)?;
    wait_for("the one that is left to answer", ROLLOUT, || {
        let holder = moving.holder()?;
        ensure!(holder == "node2", "{holder} answers");
        Ok(())
    })?;
    world.plain_metallb()?;
    world.k("label node node2 failover-test-")?;
    wait_speakers(world, 3)?;
    whole(world)?;
    wait_for("an answer", SOON, || world.fetch(&moving.v4, 80))?;
    moving.delete()
}

/// Only nodes whose label `failover-test` has this value are to have a speaker: waits until so many are left on the list.
fn speakers_only_where(world: &World, value: &str, count: usize) -> Result<()> {
    let patch = format!(r#"{{"spec": {{"nodeSelector": {{"failover-test": "{value}"}}}}}}"#);
    world.kubectl(&["patch", "-n", NAMESPACE, "metallb", "metallb", "--type=merge", "-p", &patch])?;
    wait_speakers(world, count)
}

fn wait_speakers(world: &World, count: usize) -> Result<()> {
    wait_for(&format!("{count} speakers"), ROLLOUT, || {
        let speakers = world.get(&format!("configmap -n {NAMESPACE} metallb-speakers"))?["data"].take();
        ensure!(speakers.as_object().is_some_and(|all| all.len() == count), "{speakers}");
        Ok(())
    })
}

/// Three of five leave at once, the holder among them: the two that stay need their votes until all agreed to do without.
pub(crate) fn speakers_that_leave_together_lose_no_new_flow(world: &World) -> Result<()> {
    let moving = Moving::create(world, "leaving")?;
    let first = moving.holder()?;
    let stay: Vec<String> =
        world.cluster.node_names().into_iter().filter(|node| *node != first).take(2).collect();
    for node in &stay {
        world.k(&format!("label node {node} failover-test=stays"))?;
    }
    let outcome = moving.flows_during(60, || {
        speakers_only_where(world, "stays", 2)?;
        let second = moving.wait_holder(|node| stay.iter().any(|other| other == node))?;
        wait_for("the others to have ended", ROLLOUT, || {
            let pods = world.k(&format!("get pods -n {NAMESPACE} -l component=speaker --no-headers"))?;
            ensure!(pods.lines().count() == 2, "{pods}");
            Ok(())
        })?;
        ensure!(moving.holder()? == second, "{second} does not answer any more");
        Ok(())
    })?;
    none_lost(&outcome)?;
    moving.delete()
}

/// The speakers' common key is replaced under their hands.
pub(crate) fn a_new_key_moves_nothing(world: &World) -> Result<()> {
    let moving = Moving::create(world, "rekeyed")?;
    let first = moving.holder()?;
    let observer = moving.observe(&moving.v4)?;
    let secret = format!("secret -n {NAMESPACE} metallb-memberlist");
    let before = world.get(&secret)?["data"].take();
    world.k(&format!("delete {secret}"))?;
    wait_for("the controller to make another key", SOON, || {
        let after = world.get(&secret)?["data"].take();
        ensure!(after != before, "it is the same");
        Ok(())
    })?;
    // A kubelet looks at a Pod's Secrets again when the Pod changes, and else once in a minute.
    let speakers = format!("pods -n {NAMESPACE} -l app=metallb,component=speaker");
    world.k(&format!("annotate {speakers} failover-test/key=changed --overwrite"))?;
    for pod in world.get(&speakers)?["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        wait_for(&format!("{name} to have the new key"), ROLLOUT, || {
            let log = world.k(&format!("logs -n {NAMESPACE} {name}"))?;
            ensure!(log.contains("the speakers' common key has changed"), "{name} has the former one");
            ensure!(!log.contains("no key opens the packet"), "{name} did not understand the others");
            Ok(())
        })?;
    }
    ensure!(moving.holder()? == first, "the address moved");
    let mac = e2e::plan::Host::by_name(&first)?.mac(e2e::plan::Lan::First);
    let claims = observer.claims()?;
    ensure!(claims.iter().all(|claim| claim.mac == mac), "claimed by others: {claims:?}");
    moving.delete()
}

fn none_lost(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.opened > 0, "no flow was opened");
    ensure!(
        outcome.lost.is_empty(),
        "of {} new flows {} were lost: {:?}",
        outcome.opened,
        outcome.lost.len(),
        outcome.lost
    );
    println!("{} new flows, none lost", outcome.opened);
    Ok(())
}
