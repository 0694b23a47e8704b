//! The controller is killed, over and over, while Services come and go.

use std::collections::BTreeMap;
use std::env;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::mirror::{Shown, State, addresses, text};
use crate::support::{ROLLOUT, Room, SOON, World, container, is_ready, writer};

/// How often the controller is killed where the environment does not say otherwise.
const KILLS: usize = 10;
/// How often it is killed, in the environment.
const KILLS_VARIABLE: &str = "E2E_KILLS";
/// What stands in all addresses of this room.
const NUMBER: u8 = 71;
/// The addresses: fewer than Services, so that what becomes free is wanted at once.
const ADDRESSES: u8 = 30;
/// The Services at any time.
const SERVICES: usize = 40;
/// The Services that come and go at a time.
const BATCH: usize = 8;
/// How long a killed container may take to be back at work.
const RESTART: Duration = Duration::from_secs(60);

/// A controller that starts where all is as it shall be writes to no Service and no pool.
pub(crate) fn a_controller_that_starts_at_rest_writes_nothing(world: &World) -> Result<()> {
    let room = Room::enter(world, "rest", 70)?;
    room.pools(&[("a", &[room.v4s(1, 9), room.v6s(1, 9)], "")])?;
    room.services(&[("one", "", ""), ("both", "", "ipFamilyPolicy: RequireDualStack")])?;
    room.wait_counters("a", [2, 1, 7, 8])?;
    let before = world.audited()?.len();
    replace_container(world)?;
    // Who serves this has decided about all that was there before.
    room.services(&[("last", "", "")])?;
    room.wait_counters("a", [3, 1, 6, 8])?;
    let written: Vec<Value> = world.audited()?.split_off(before);
    let mut to: Vec<String> = written
        .iter()
        .filter(|entry| writer(entry).starts_with("controller-"))
        .map(|entry| text(&entry["objectRef"]["resource"]) + "/" + &text(&entry["objectRef"]["name"]))
        .filter(|object| object.starts_with("services/") || object.starts_with("ipaddresspools/"))
        .collect();
    to.sort_unstable();
    ensure!(to == ["ipaddresspools/rest-a", "services/last"], "{to:?}");
    Ok(())
}

/// At no moment two Services show one address, none has an address that is not of the pools, and none ever shows
/// another one than it showed first. In the end everything is given that there is.
pub(crate) fn no_address_is_lost_or_doubled_when_the_controller_is_killed(world: &World) -> Result<()> {
    let kills = match env::var(KILLS_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{KILLS_VARIABLE} is {text:?}, no number"))?,
        Err(_) => KILLS,
    };
    let room = Room::enter(world, "kills", NUMBER)?;
    let half = ADDRESSES / 2;
    room.pools(&[("a", &[room.v4s(1, half)], ""), ("b", &[room.v4s(half + 1, ADDRESSES)], "")])?;
    let begin = world.mirror.look(|state| state.log.len());
    create(&room, 0..SERVICES)?;
    let over = AtomicBool::new(false);
    let (killed, churned) = thread::scope(|scope| {
        let churn = scope.spawn(|| churn(&room, &over));
        let killed = (0..kills).try_for_each(|number| kill(&room, number));
        over.store(true, Ordering::Relaxed);
        (killed, churn.join().expect("the churn does not panic"))
    });
    let last = churned?;
    killed?;
    settle(&room, last)?;
    let (breaches, states) = world.mirror.look(|state| {
        let log = state.log[begin..].iter().filter(|shown| shown.service.0 == room.name);
        (breaches(log, is_ours), state.log.len() - begin)
    });
    ensure!(breaches.is_empty(), "{} breaches: {breaches:#?}", breaches.len());
    println!("{kills} kills, {last} services, {states} states seen");
    Ok(())
}

/// Whether an address is one of the pools.
fn is_ours(address: &str) -> bool {
    let address: Option<Ipv4Addr> = address.parse().ok();
    address
        .is_some_and(|ip| ip.octets()[..3] == [10, 200, NUMBER] && (1..=ADDRESSES).contains(&ip.octets()[3]))
}

fn name(number: usize) -> String {
    format!("s{number:05}")
}

fn create(room: &Room<'_>, numbers: std::ops::Range<usize>) -> Result<()> {
    let services: Vec<String> = numbers.map(|number| room.service(&name(number), "", "")).collect();
    let yaml = services.join("\n---\n");
    room.world.cluster.kubectl_with_stdin(&["create", "-f", "-"], &yaml).map(drop)
}

/// Deletes the oldest Services and makes new ones until it is over; how many were made in all.
fn churn(room: &Room<'_>, over: &AtomicBool) -> Result<usize> {
    let mut next = SERVICES;
    while !over.load(Ordering::Relaxed) {
        let oldest: Vec<String> = (next - SERVICES..next - SERVICES + BATCH).map(name).collect();
        room.world.k(&format!("delete service -n {} --wait=false {}", room.name, oldest.join(" ")))?;
        create(room, next..next + BATCH)?;
        next += BATCH;
    }
    Ok(next)
}

/// Kills the controller in the midst of its work: after it has written as many statuses as `number` says, from none to
/// several.
fn kill(room: &Room<'_>, number: usize) -> Result<()> {
    let mirror = &room.world.mirror;
    mirror.wait("a controller to run", RESTART, running)?;
    let seen = mirror.look(|state| state.log.len());
    mirror.wait("the controller to work", RESTART, |state| {
        let given =
            |shown: &&Shown| shown.service.0 == room.name && !shown.deleted && !shown.addresses.is_empty();
        let writes = state.log[seen..].iter().filter(given).count();
        ensure!(writes >= number % 6, "{writes} addresses given");
        Ok(())
    })?;
    replace_container(room.world)
}

/// Kills the controller and waits for another container.
fn replace_container(world: &World) -> Result<()> {
    let id = world.mirror.wait("a controller to run", RESTART, running)?;
    world.signal(&id, "SIGKILL")?;
    world.mirror.wait("another container", RESTART, |state| {
        let now = running(state)?;
        ensure!(now != id, "{id} still runs");
        Ok(())
    })
}

/// The container in which the controller runs.
fn running(state: &State) -> Result<String> {
    let pods = World::controllers(state);
    pods.iter().find_map(|(_, pod)| container(pod)).context("no controller runs")
}

/// Waits until every address is given.
fn settle(room: &Room<'_>, made: usize) -> Result<()> {
    let mirror = &room.world.mirror;
    mirror.wait("the controller to be Ready", ROLLOUT, |state| {
        ensure!(World::controllers(state).iter().all(|(_, pod)| is_ready(pod)), "it is not");
        Ok(())
    })?;
    mirror.wait("every address to be given", SOON, |state| {
        let services: Vec<_> = state.services.iter().filter(|(key, _)| key.0 == room.name).collect();
        let given = services.iter().filter(|(_, service)| !addresses(service).is_empty()).count();
        let oldest = services.first().map(|(key, _)| key.1.clone());
        ensure!(
            services.len() == SERVICES
                && oldest == Some(name(made - SERVICES))
                && given == usize::from(ADDRESSES),
            "{} services from {oldest:?} on have {given} addresses",
            services.len()
        );
        Ok(())
    })?;
    let half = i64::from(ADDRESSES / 2);
    room.wait_counters("a", [half, 0, 0, 0])?;
    room.wait_counters("b", [half, 0, 0, 0])
}

/// What was shown that may not be: an address at two Services, one that is not `ours`, one that changed or went.
pub(crate) fn breaches<'a>(log: impl Iterator<Item = &'a Shown>, ours: impl Fn(&str) -> bool) -> Vec<String> {
    let mut holders: BTreeMap<&str, &Shown> = BTreeMap::new();
    let mut has: BTreeMap<&str, &Shown> = BTreeMap::new();
    let mut breaches = Vec::new();
    for shown in log {
        let before = has.remove(shown.uid.as_str());
        for address in before.iter().flat_map(|before| &before.addresses) {
            holders.remove(address.as_str());
        }
        if shown.deleted {
            continue;
        }
        if let Some(before) = before
            && !before.addresses.is_empty()
            && before.addresses != shown.addresses
        {
            breaches.push(format!("{before:?} became {:?}", shown.addresses));
        }
        for address in &shown.addresses {
            if let Some(holder) = holders.insert(address, shown) {
                breaches.push(format!("{address} at {shown:?} and {holder:?}"));
            }
            if !ours(address) {
                breaches.push(format!("{address} of {shown:?} is of no pool"));
            }
        }
        has.insert(&shown.uid, shown);
    }
    breaches
}
