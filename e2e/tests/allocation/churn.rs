//! Services that come and go, and whether anything of what they showed may not be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};

use crate::mirror::{Shown, addresses};
use crate::support::{ROLLOUT, Room, SOON, World, is_ready};

/// The addresses: fewer than Services, so that what becomes free is wanted at once.
const ADDRESSES: u8 = 30;
/// The Services at any time.
const SERVICES: usize = 40;
/// The Services that come and go at a time.
const BATCH: usize = 8;

/// Does what `faults` says while Services come and go; how it went, in a few words.
///
/// Fails unless at every moment no two Services showed one address, none had an address that is not of the pools, and
/// none showed another one than it showed first; and unless everything is given in the end that there is.
pub(crate) fn survive(room: &Room<'_>, faults: impl FnOnce() -> Result<()>) -> Result<String> {
    let half = ADDRESSES / 2;
    room.pools(&[("a", &[room.v4s(1, half)], ""), ("b", &[room.v4s(half + 1, ADDRESSES)], "")])?;
    create(room, 0..SERVICES)?;
    let over = AtomicBool::new(false);
    let (survived, made) = thread::scope(|scope| {
        let churn = scope.spawn(|| churn(room, &over));
        let survived = faults();
        over.store(true, Ordering::Relaxed);
        (survived, churn.join().expect("the churn does not panic"))
    });
    let made = made?;
    survived?;
    settle(room, made)?;
    let ours: Vec<String> = (1..=ADDRESSES).map(|last| room.v4(last)).collect();
    let states = check(room, |address| ours.iter().any(|ours| ours == address))?;
    Ok(format!("{made} services, {states} states"))
}

/// Fails where a Service of the room showed what it may not; how many states there were.
pub(crate) fn check(room: &Room<'_>, ours: impl Fn(&str) -> bool) -> Result<usize> {
    room.world.mirror.look(|state| {
        let log: Vec<_> = state.log.iter().filter(|shown| shown.service.0 == room.name).collect();
        let breaches = breaches(&log, ours);
        ensure!(breaches.is_empty(), "{} breaches: {breaches:#?}", breaches.len());
        Ok(log.len())
    })
}

fn name(number: usize) -> String {
    format!("s{number:05}")
}

fn create(room: &Room<'_>, numbers: Range<usize>) -> Result<()> {
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
fn breaches(log: &[&Shown], ours: impl Fn(&str) -> bool) -> Vec<String> {
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
