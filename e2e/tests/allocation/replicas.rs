//! Two controllers: one gives addresses, the other one stands by.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::wait_for;
use serde_json::Value;

use crate::churn;
use crate::mirror::{Key, State};
use crate::support::{NAMESPACE, ROLLOUT, Room, SOON, World, container, is_ready, writer};

/// How long a Service may wait for its address when the leader stops in an orderly way.
const HANDOVER: Duration = Duration::from_secs(2);
/// How long it may wait when the leader is lost: what the Lease lasts, and a margin.
const TAKEOVER: Duration = Duration::from_secs(8 + 4);

/// Two replicas are both Ready, and one of them holds the Lease.
pub(crate) fn of_two_replicas_one_leads_and_both_are_ready(world: &World) -> Result<()> {
    let leader = leader_of_two(world)?;
    world.mirror.look(|state| {
        let names: Vec<_> = World::controllers(state).into_iter().map(|(name, _)| name).collect();
        ensure!(names.len() == 2 && names.contains(&leader.as_str()), "{leader} leads, there are {names:?}");
        Ok(())
    })
}

/// A leader that is stopped hands over at once: Services that are made before, while and after it happens do not wait.
pub(crate) fn a_leader_that_stops_hands_over_at_once(world: &World) -> Result<()> {
    let leader = leader_of_two(world)?;
    let room = Room::enter(world, "handover", 72)?;
    room.pools(&[("a", &["10.201.0.0/16".to_owned()], "")])?;
    let over = AtomicBool::new(false);
    let (handed_over, made) = thread::scope(|scope| {
        let made = scope.spawn(|| keep_making(&room, &over));
        let handed_over = hand_over(world, &room, &leader);
        over.store(true, Ordering::Relaxed);
        (handed_over, made.join().expect("making Services does not panic"))
    });
    handed_over?;
    let made = made?;
    let mut slowest = Duration::ZERO;
    for name in &made {
        room.wait_any(name)?;
        slowest = slowest.max(waited(world, &room.key(name))?);
    }
    ensure!(slowest <= HANDOVER, "a service waited {slowest:.2?} for its address, more than {HANDOVER:?}");
    println!("handover: the slowest of {} services waited {slowest:.2?}", made.len());
    churn::check(&room, |address| address.starts_with("10.201.")).map(drop)
}

/// Makes Services, several a second, until it is over; their names.
fn keep_making(room: &Room<'_>, over: &AtomicBool) -> Result<Vec<String>> {
    let mut made = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let names: Vec<String> = (0..20).map(|number| format!("s{:05}", made.len() + number)).collect();
        let services: Vec<_> = names.iter().map(|name| (name.as_str(), "", "")).collect();
        room.services(&services)?;
        made.extend(names);
    }
    Ok(made)
}

/// Stops the leader while Services are being made, and returns when the next one has served some.
fn hand_over(world: &World, room: &Room<'_>, leader: &str) -> Result<()> {
    let given = |more: usize, begin: usize| {
        world.mirror.wait("services to be served", SOON, |state| {
            let log = state.log[begin..].iter().filter(|shown| shown.service.0 == room.name);
            let given = log.filter(|shown| !shown.addresses.is_empty()).count();
            ensure!(given >= more, "{given} were");
            Ok(())
        })
    };
    given(5, 0)?;
    world.k(&format!("delete pod {leader} -n {NAMESPACE} --wait=false"))?;
    wait_changed(world, leader)?;
    given(20, world.mirror.look(|state| state.log.len()))
}

/// A leader whose process is killed is replaced, by its own Pod or by the other one.
pub(crate) fn a_leader_that_is_killed_is_replaced(world: &World) -> Result<()> {
    let leader = leader_of_two(world)?;
    let room = Room::enter(world, "crash", 73)?;
    room.pools(&[("a", &[room.v4s(1, 250)], "")])?;
    let id = container_of(world, &leader)?;
    // Stopped first, so that the Service is there before whoever serves it.
    world.signal(&id, "SIGSTOP")?;
    let made = room.services(&[("web", "", "")]);
    world.signal(&id, "SIGKILL")?;
    made?;
    ensure!(room.has("web").map_or(0, |has| has.len()) == 0, "{leader} did not lead");
    room.wait_has("web", &[room.v4(1)])?;
    let waited = waited(world, &room.key("web"))?;
    ensure!(waited <= TAKEOVER, "it took {waited:.2?}, more than {TAKEOVER:?}");
    println!("crash: the service waited {waited:.2?}");
    world.mirror.wait("its Pod to have a new container", SOON, |state| {
        let controllers = World::controllers(state);
        let now = controllers.iter().find(|(name, _)| *name == leader).and_then(|(_, pod)| container(pod));
        ensure!(now.as_ref().is_some_and(|now| *now != id), "{now:?} was {id}");
        Ok(())
    })
}

/// A leader that is frozen is replaced when its Lease has run out. When it goes on it writes nothing and stands by.
pub(crate) fn a_leader_that_is_frozen_is_replaced_and_stands_by(world: &World) -> Result<()> {
    let leader = leader_of_two(world)?;
    let room = Room::enter(world, "frozen", 74)?;
    room.pools(&[("a", &[room.v4s(1, 10)], "")])?;
    room.services(&[("before", "", "")])?;
    room.wait_any("before")?;
    let id = container_of(world, &leader)?;
    world.signal(&id, "SIGSTOP")?;
    // What happens from here on is told to the frozen one too: it finds it when it goes on.
    let names: Vec<String> = (0..15).map(|number| format!("s{number:02}")).collect();
    let services: Vec<_> = names.iter().map(|name| (name.as_str(), "", "")).collect();
    let served = room.services(&services).and_then(|()| {
        world.mirror.wait("another leader to give all addresses", SOON, |state| {
            let waits =
                |name: &&String| state.events(&room.key(name)).iter().any(|e| e.reason == "AllocationFailed");
            let waiting = names.iter().filter(waits).count();
            ensure!(waiting == 6, "{waiting} were refused");
            Ok(())
        })?;
        room.delete("before")?;
        room.wait_counters("a", [10, 0, 0, 0])
    });
    let resumed = world.audited()?.len();
    world.signal(&id, "SIGCONT")?;
    served?;
    let waited = waited(world, &room.key("s00"))?;
    ensure!(waited <= TAKEOVER, "it took {waited:.2?}, more than {TAKEOVER:?}");
    println!("frozen: the first service waited {waited:.2?}");
    let next = holder(world)?;
    ensure!(next != leader, "{leader} holds the lease although it was frozen");
    // It says in its log that it stands by: then it has handled all that it found.
    wait_for("the former leader to stand by", SOON, || {
        let log = world.k(&format!("logs {leader} -n {NAMESPACE} --tail=200"))?;
        ensure!(log.contains("the lease is lost: this replica stands by"), "{log}");
        Ok(())
    })?;
    world.mirror.wait("the former leader to be Ready", SOON, |state| {
        let controllers = World::controllers(state);
        let (_, pod) = *controllers.iter().find(|(name, _)| *name == leader).context("it is gone")?;
        ensure!(is_ready(pod) && container(pod).as_ref() == Some(&id), "{}", pod["status"]);
        Ok(())
    })?;
    // Something to do for whoever leads.
    room.delete("s01")?;
    room.services(&[("after", "", "")])?;
    world.mirror.wait("every address to be given again", SOON, |state| {
        let has = |name: &str| {
            state.service(&room.key(name)).is_ok_and(|s| !crate::mirror::addresses(s).is_empty())
        };
        let given = names.iter().filter(|name| has(name)).count() + usize::from(has("after"));
        ensure!(given == 10, "{given} have one");
        Ok(())
    })?;
    let written: Vec<Value> = world.audited()?.split_off(resumed);
    let theirs = |pod: &str| written.iter().filter(|entry| writer(entry) == pod).count();
    ensure!(theirs(&next) > 0, "the audit log names no write of the new leader {next}: {written:?}");
    let wrong: Vec<_> = written.iter().filter(|entry| writer(entry) == leader).collect();
    ensure!(wrong.is_empty(), "the former leader wrote: {wrong:#?}");
    // Of what happened from the moment on in which it was stopped, it has told nothing either.
    let told: Vec<_> =
        world.mirror.look(|state| names.iter().flat_map(|name| state.events(&room.key(name))).collect());
    let wrong: Vec<_> = told.iter().filter(|event| event.teller == leader).collect();
    ensure!(wrong.is_empty(), "the former leader told: {wrong:#?}");
    churn::check(&room, |address| address.starts_with("10.200.74.")).map(drop)
}

/// However the lead changes while Services come and go, no address is lost and none doubled: a leader is frozen and goes
/// on, is stopped, is killed.
pub(crate) fn no_address_is_lost_or_doubled_when_the_lead_changes(world: &World) -> Result<()> {
    let room = Room::enter(world, "changes-of-lead", 75)?;
    let survived = churn::survive(&room, || {
        let leader = leader_of_two(world)?;
        let id = container_of(world, &leader)?;
        world.signal(&id, "SIGSTOP")?;
        let changed = wait_changed(world, &leader);
        world.signal(&id, "SIGCONT")?;
        changed?;
        let leader = leader_of_two(world)?;
        world.k(&format!("delete pod {leader} -n {NAMESPACE} --wait=false"))?;
        wait_changed(world, &leader)?;
        let leader = leader_of_two(world)?;
        world.signal(&container_of(world, &leader)?, "SIGKILL")
    })?;
    println!("changes of lead: {survived}");
    Ok(())
}

/// Sees to two Ready controllers; which of them leads.
fn leader_of_two(world: &World) -> Result<String> {
    let patch = r#"{"spec": {"controllerReplicas": 2}}"#;
    world
        .cluster
        .kubectl(&["patch", "metallb", "metallb", "-n", NAMESPACE, "--type", "merge", "-p", patch])?;
    world.mirror.wait("two controllers to be Ready", ROLLOUT, |state| {
        let controllers = World::controllers(state);
        let ready = controllers.iter().filter(|(_, pod)| is_ready(pod)).count();
        ensure!(ready == 2 && controllers.len() == 2, "{ready} of {}", controllers.len());
        Ok(())
    })?;
    wait_for("one of them to lead", SOON, || {
        let holder = holder(world)?;
        let is_one = |state: &State| World::controllers(state).iter().any(|(name, _)| *name == holder);
        ensure!(world.mirror.look(is_one), "{holder:?} holds the lease");
        Ok(holder)
    })
}

/// Waits until somebody else leads.
fn wait_changed(world: &World, former: &str) -> Result<()> {
    wait_for("the lease to change hands", SOON, || {
        let holder = holder(world)?;
        ensure!(!holder.is_empty() && holder != former, "{holder:?} holds it");
        Ok(())
    })
}

/// Who holds the Lease; empty when nobody does.
fn holder(world: &World) -> Result<String> {
    let lease = world
        .k(&format!("get lease metallb-controller -n {NAMESPACE} -o jsonpath={{.spec.holderIdentity}}"))?;
    Ok(lease.trim().to_owned())
}

fn container_of(world: &World, pod: &str) -> Result<String> {
    let found = world.mirror.look(|state| {
        let controllers = World::controllers(state);
        controllers.iter().find(|(name, _)| *name == pod).and_then(|(_, pod)| container(pod))
    });
    found.with_context(|| format!("no container of {pod} runs"))
}

/// How long it took from the Service to its address.
fn waited(world: &World, service: &Key) -> Result<Duration> {
    world.mirror.look(|state| {
        let mut shown = state.log.iter().filter(|shown| shown.service == *service);
        let created = shown.next().context("it was never seen")?.at;
        let given = shown.find(|shown| !shown.addresses.is_empty()).context("it has no address")?.at;
        Ok(given - created)
    })
}
