//! What happens while there is no controller, and what the next one makes of it.
//!
//! Every story has a part before the controller goes, a part while it is away, and the test, which looks at what has
//! become of it. The controller goes once for all of them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};

use crate::mirror::{addresses, text};
use crate::support::{NAMESPACE, ROLLOUT, Room, SOON, World};

/// A part of a story.
type Part = fn(&World) -> Result<()>;

/// The parts before the controller goes, and while it is away.
const STORIES: [(Part, Part); 4] = [
    (before_one_address_is_claimed_twice, while_one_address_is_claimed_twice),
    (before_pools_are_renamed_and_split, while_pools_are_renamed_and_split),
    (before_statuses_are_foreign, while_statuses_are_foreign),
    (before_services_leave, while_services_leave),
];

/// Returns when the controller was away and is back.
fn absence(world: &World) -> Result<()> {
    let happened = world.absence.get_or_init(|| tell(world).map_err(|error| format!("{error:?}")));
    happened.clone().map_err(|error| anyhow!("the controller's absence: {error}"))
}

fn tell(world: &World) -> Result<()> {
    for (before, _) in STORIES {
        before(world)?;
    }
    // The operator would bring the controller back.
    world.k(&format!("scale deployment metallb-operator-controller-manager -n {NAMESPACE} --replicas=0"))?;
    let gone = |what: &'static str, label: &'static str| {
        world.mirror.wait(&format!("the end of the {what}"), ROLLOUT, |state| {
            let of = |pod: &serde_json::Value| pod["metadata"]["labels"][label] == what;
            let pods: Vec<_> = state.pods.values().filter(|pod| of(pod)).collect();
            ensure!(pods.is_empty(), "{pods:?}");
            Ok(())
        })
    };
    gone("controller-manager", "control-plane").context("the operator")?;
    world.k(&format!("scale deployment controller -n {NAMESPACE} --replicas=0"))?;
    gone("controller", "component")?;
    for (_, meanwhile) in STORIES {
        meanwhile(world)?;
    }
    world.k(&format!("scale deployment metallb-operator-controller-manager -n {NAMESPACE} --replicas=1"))?;
    world.k(&format!(
        "rollout status deployment controller -n {NAMESPACE} --timeout={}s",
        ROLLOUT.as_secs()
    ))?;
    Ok(())
}

/// Two Services claim one address: the older one keeps it, the younger one is told and gets another.
pub(crate) fn of_two_that_claim_one_address_the_older_keeps_it(world: &World) -> Result<()> {
    absence(world)?;
    let room = Room::again(world, "claims", 61);
    let why = r#"can't change sharing key for "claims/a-younger", address also in use by claims/b-older"#;
    room.wait_displaced("a-younger", why)?;
    room.wait_from("a-younger", &[room.v4(2)], "a")?;
    room.wait_from("b-older", &[room.v4(1)], "a")?;
    let told = world.mirror.look(|state| state.events(&room.key("b-older")));
    ensure!(told.iter().all(|event| event.reason == "IPAllocated"), "{told:?}");
    Ok(())
}

fn before_one_address_is_claimed_twice(world: &World) -> Result<()> {
    let room = Room::enter(world, "claims", 61)?;
    room.pools(&[("a", &[room.v4s(1, 9)], "")])?;
    room.services(&[("b-older", "", "")])?;
    room.wait_has("b-older", &[room.v4(1)])?;
    let created = |service: &str| {
        let key = room.key(service);
        world.mirror.wait("the Service", SOON, |state| {
            Ok(text(&state.service(&key)?["metadata"]["creationTimestamp"]))
        })
    };
    let older = created("b-older")?;
    // The API server keeps whole seconds.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let begin = second();
    e2e::wait_for("the next second", SOON, || {
        ensure!(second() > begin, "still {begin}");
        Ok(())
    })?;
    room.services(&[("a-younger", "", "")])?;
    room.wait_has("a-younger", &[room.v4(2)])?;
    ensure!(older < created("a-younger")?, "both were created at {older}");
    Ok(())
}

fn while_one_address_is_claimed_twice(world: &World) -> Result<()> {
    let room = Room::again(world, "claims", 61);
    room.patch_ingress("a-younger", &format!(r#"[{{"ip": "{}"}}]"#, room.v4(1)))
}

/// A pool that is now called otherwise or is cut in two: the addresses stay, and the annotation says whose they are.
pub(crate) fn renamed_and_split_pools_keep_their_services(world: &World) -> Result<()> {
    absence(world)?;
    let room = Room::again(world, "renamed", 62);
    for (service, last, pool) in
        [("one", 1, "new"), ("two", 2, "new"), ("left", 11, "split"), ("right", 12, "off")]
    {
        room.wait_from(service, &[room.v4(last)], pool)?;
        let told = world.mirror.look(|state| state.events(&room.key(service)));
        ensure!(told.iter().all(|event| event.reason == "IPAllocated" && event.count == 1), "{told:?}");
    }
    room.wait_displaced("lost", &format!("{:?} is not allowed in config", room.v4(13)))?;
    room.wait_cleared("lost")
}

fn before_pools_are_renamed_and_split(world: &World) -> Result<()> {
    let room = Room::enter(world, "renamed", 62)?;
    room.pools(&[("old", &[room.v4s(1, 2)], ""), ("split", &[room.v4s(11, 13)], "autoAssign: false")])?;
    let at = |last: u8| format!("loadBalancerIP: {}", room.v4(last));
    room.services(&[
        ("one", "", &at(1)),
        ("two", "", &at(2)),
        ("left", "", &at(11)),
        ("right", "", &at(12)),
        ("lost", "", &at(13)),
    ])?;
    for (service, last) in [("one", 1), ("two", 2), ("left", 11), ("right", 12), ("lost", 13)] {
        room.wait_has(service, &[room.v4(last)])?;
    }
    Ok(())
}

fn while_pools_are_renamed_and_split(world: &World) -> Result<()> {
    let room = Room::again(world, "renamed", 62);
    room.delete_pool("old")?;
    world.apply(&[
        room.pool("new", &[room.v4s(1, 2)], ""),
        room.pool("split", &[room.v4s(11, 11)], "autoAssign: false"),
        room.pool("off", &[room.v4s(12, 12)], "autoAssign: false"),
    ])
}

/// What stands in the status of Services that no controller of ours has seen is taken over where it is good.
pub(crate) fn a_status_that_was_there_before_is_taken_over_where_it_is_good(world: &World) -> Result<()> {
    absence(world)?;
    let room = Room::again(world, "restored", 63);
    // A restored backup: the address that it had.
    room.wait_from("good", &[room.v4(5)], "a")?;
    // The address counts, the hostname goes.
    room.wait_from("hostname", &[room.v4(6)], "a")?;
    room.wait_that("hostname", "one entry", |service| {
        let ingress = &service["status"]["loadBalancer"]["ingress"];
        ensure!(ingress.as_array().is_some_and(|entries| entries.len() == 1), "{ingress}");
        Ok(())
    })?;
    let three = [room.v4(7), room.v6(7), room.v4(8)];
    let shown = format!("[{:?} {:?} {:?}]", three[0], three[1], three[2]);
    let malformed = format!("Failed to retrieve LBIPs IPFamily for {shown}: invalid ips length 3 {shown}");
    room.wait_event("three", "Warning", "nolbIPsIPFamily", &malformed)?;
    room.wait_displaced("outside", r#""203.0.113.9" is not allowed in config"#)?;
    for service in ["three", "outside"] {
        room.wait_that(service, "a good address", |service| {
            let has = addresses(service);
            ensure!((1..=4).any(|last| has == [room.v4(last)]), "{has:?}");
            Ok(())
        })?;
    }
    ensure!(room.has("theirs")? == [room.v4(5)], "another class was touched");
    Ok(())
}

fn before_statuses_are_foreign(world: &World) -> Result<()> {
    let room = Room::enter(world, "restored", 63)?;
    room.pools(&[("a", &[room.v4s(1, 9), room.v6s(7, 7)], "")])
}

fn while_statuses_are_foreign(world: &World) -> Result<()> {
    let room = Room::again(world, "restored", 63);
    let class = "loadBalancerClass: example.com/other";
    let services = ["good", "hostname", "three", "outside", "theirs"];
    let specs = services.map(|name| (name, "", if name == "theirs" { class } else { "" }));
    room.services(&specs)?;
    let ip = |address: &str| format!(r#"{{"ip": "{address}"}}"#);
    for (service, entries) in [
        ("good", ip(&room.v4(5))),
        ("hostname", format!(r#"{{"hostname": "balancer.example.com"}}, {}"#, ip(&room.v4(6)))),
        ("three", [ip(&room.v4(7)), ip(&room.v6(7)), ip(&room.v4(8))].join(", ")),
        ("outside", ip("203.0.113.9")),
        ("theirs", ip(&room.v4(5))),
    ] {
        room.patch_ingress(service, &format!("[{entries}]"))?;
    }
    Ok(())
}

/// Addresses of Services that are gone, or of another type now, are there for others.
pub(crate) fn what_left_meanwhile_has_left_its_address(world: &World) -> Result<()> {
    absence(world)?;
    let room = Room::again(world, "leaves", 64);
    for service in ["waits-one", "waits-two"] {
        let has = room.wait_any(service)?;
        ensure!(has == [room.v4(1)] || has == [room.v4(2)], "{has:?}");
    }
    ensure!(room.has("waits-one")? != room.has("waits-two")?);
    room.wait_cleared("changes")?;
    room.wait_has("stays", &[room.v4(3)])
}

fn before_services_leave(world: &World) -> Result<()> {
    let room = Room::enter(world, "leaves", 64)?;
    room.pools(&[("a", &[room.v4s(1, 3)], "")])?;
    for (service, last) in [("goes", 1), ("changes", 2), ("stays", 3)] {
        room.services(&[(service, "", "")])?;
        room.wait_has(service, &[room.v4(last)])?;
    }
    room.services(&[("waits-one", "", ""), ("waits-two", "", "")])?;
    room.wait_refused("waits-one", "no available IPs")?;
    room.wait_refused("waits-two", "no available IPs")
}

fn while_services_leave(world: &World) -> Result<()> {
    let room = Room::again(world, "leaves", 64);
    room.delete("goes")?;
    room.patch("changes", r#"{"spec": {"type": "ClusterIP"}}"#)
}
