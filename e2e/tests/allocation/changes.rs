//! What becomes of addresses that were given when pools and Services change.

use anyhow::{Result, ensure};

use crate::mirror::addresses;
use crate::support::{Room, SOON, World};

/// An address that its pool has no longer is replaced by another one of it, and where there is none, taken away.
pub(crate) fn a_pool_that_shrinks_or_goes_takes_its_addresses_along(world: &World) -> Result<()> {
    let room = Room::enter(world, "shrunk", 41)?;
    room.pools(&[("a", &[room.v4s(1, 5)], "")])?;
    room.services(&[("web", "", "")])?;
    room.wait_has("web", &[room.v4(1)])?;
    world.apply(&[room.pool("a", &[room.v4s(3, 5)], "")])?;
    room.wait_displaced("web", &format!("{:?} is not allowed in config", room.v4(1)))?;
    room.wait_from("web", &[room.v4(3)], "a")?;
    room.pools(&[("b", &[room.v4s(11, 15)], "")])?;
    room.delete_pool("a")?;
    room.wait_displaced("web", &format!("{:?} is not allowed in config", room.v4(3)))?;
    room.wait_from("web", &[room.v4(11)], "b")?;
    room.delete_pool("b")?;
    room.wait_refused("web", "no available IPs")?;
    room.wait_cleared("web")
}

/// A better pool that appears moves nobody who has an address.
pub(crate) fn a_new_pool_moves_nobody(world: &World) -> Result<()> {
    let room = Room::enter(world, "newpool", 42)?;
    room.pools(&[("b", &[room.v4s(11, 15)], "")])?;
    room.services(&[("old", "", "")])?;
    room.wait_has("old", &[room.v4(11)])?;
    let better = "serviceAllocation: {priority: 1, namespaces: [newpool]}";
    room.pools(&[("a", &[room.v4s(1, 5)], better)])?;
    room.services(&[("new", "", "")])?;
    room.wait_from("new", &[room.v4(1)], "a")?;
    room.wait_from("old", &[room.v4(11)], "b")?;
    let shown = world.mirror.look(|state| state.log.iter().filter(|s| s.service == room.key("old")).count());
    // Created, and given its address: nothing was written since.
    ensure!(shown == 2, "it was written {shown} times");
    Ok(())
}

/// A Service that is of another type now gives its address up to who waits for one, the oldest first.
pub(crate) fn another_type_gives_the_address_to_who_waits(world: &World) -> Result<()> {
    let room = Room::enter(world, "types", 43)?;
    room.pools(&[("a", &[room.v4s(1, 1)], "")])?;
    room.services(&[("first", "", "")])?;
    room.wait_from("first", &[room.v4(1)], "a")?;
    room.services(&[("waiting", "", "")])?;
    room.wait_refused("waiting", "no available IPs")?;
    room.patch("first", r#"{"spec": {"type": "ClusterIP"}}"#)?;
    room.wait_from("waiting", &[room.v4(1)], "a")?;
    room.wait_cleared("first")?;
    room.patch("first", r#"{"spec": {"type": "LoadBalancer"}}"#)?;
    room.wait_refused("first", "no available IPs")?;
    room.patch("waiting", r#"{"spec": {"type": "NodePort"}}"#)?;
    room.wait_from("first", &[room.v4(1)], "a")?;
    room.wait_cleared("waiting")
}

/// Whatever others write into the status or our annotation is put right; a class that is not ours is not looked at.
pub(crate) fn what_others_write_is_put_right(world: &World) -> Result<()> {
    let room = Room::enter(world, "foreign", 44)?;
    room.pools(&[("a", &[room.v4s(1, 3)], "")])?;
    let class = "loadBalancerClass: example.com/other";
    room.services(&[("web", "", ""), ("other", "", ""), ("theirs", "", class)])?;
    let web = room.wait_any("web")?;
    let other = room.wait_any("other")?;
    let theirs = format!(r#"[{{"ip": "{}"}}, {{"ip": "{}"}}]"#, web[0], room.v4(3));
    room.patch_ingress("theirs", &theirs)?;
    for entries in [
        r#"[{"hostname": "balancer.example.com"}]"#.to_owned(),
        format!(r#"[{{"ip": "{}"}}, {{"hostname": "balancer.example.com"}}]"#, web[0]),
        r#"[{"ip": "203.0.113.9"}]"#.to_owned(),
        format!(r#"[{{"ip": "{}"}}]"#, other[0]),
        format!(r#"[{{"ip": "{}"}}, {{"ip": "{}"}}, {{"ip": "{}"}}]"#, web[0], other[0], room.v6(1)),
        "[]".to_owned(),
    ] {
        overwrite(&room, "web", &entries)?;
        room.wait_that("web", &format!("its own address after {entries}"), |service| {
            let entries = service["status"]["loadBalancer"]["ingress"].as_array().map_or(0, Vec::len);
            ensure!(entries == 1 && addresses(service) == web, "{}", service["status"]);
            Ok(())
        })?;
    }
    ensure!(room.has("other")? == other);
    world.k("annotate service web -n foreign metallb.io/ip-allocated-from-pool-")?;
    room.wait_from("web", &web, "a")?;
    ensure!(room.has("theirs")? == [web[0].clone(), room.v4(3)]);
    // And what another class claims is not out of reach.
    room.services(&[("third", "", "")])?;
    room.wait_has("third", &[room.v4(3)])?;
    // Nobody has one for it, so nothing may stand there.
    room.services(&[("pending", "", "")])?;
    room.wait_refused("pending", "no available IPs")?;
    overwrite(&room, "pending", r#"[{"hostname": "balancer.example.com"}]"#)?;
    room.wait_cleared("pending")
}

/// Writes into the status of a Service, and waits until somebody has written after that.
fn overwrite(room: &Room<'_>, service: &str, entries: &str) -> Result<()> {
    let mirror = &room.world.mirror;
    let before = mirror.look(|state| state.log.len());
    room.patch_ingress(service, entries)?;
    mirror.wait(&format!("an answer to {entries}"), SOON, |state| {
        let writes = state.log[before..].iter().filter(|shown| shown.service == room.key(service)).count();
        ensure!(writes == 2, "{writes} writes");
        Ok(())
    })
}

/// A Service whose status a policy protects is told so, and holds up nobody; once it may be written it is.
pub(crate) fn a_status_that_cannot_be_written_holds_up_nobody(world: &World) -> Result<()> {
    let room = Room::enter(world, "policy", 45)?;
    room.pools(&[("a", &[room.v4s(1, 30)], "")])?;
    room.services(&[("refused", "", "loadBalancerClass: example.com/none")])?;
    world.apply(&[
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: protect}, spec: {\
          failurePolicy: Fail, matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], \
          operations: [UPDATE], resources: [services/status]}]}, validations: [{message: this status is protected, \
          expression: \"object.metadata.namespace != 'policy' || !object.metadata.name.startsWith('refused')\"}]}}"
            .to_owned(),
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: protect}, \
          spec: {policyName: protect, validationActions: [Deny]}}"
            .to_owned(),
    ])?;
    e2e::wait_for("the policy to be in force", SOON, || {
        match room.patch_ingress("refused", r#"[{"hostname": "tried.example.com"}]"#) {
            Ok(()) => anyhow::bail!("the status may still be written"),
            Err(error) => {
                ensure!(error.to_string().contains("this status is protected"), "{error}");
                Ok(())
            }
        }
    })?;
    let names: Vec<String> = (0..20).map(|number| format!("refused-{number:02}")).collect();
    let refused: Vec<_> = names.iter().map(|name| (name.as_str(), "", "")).collect();
    room.services(&refused)?;
    let told = "failed to write the addresses to the service's status, trying again: ";
    for name in &names {
        let event = room.wait_event(name, "Warning", "StatusUpdateFailed", told)?;
        ensure!(event.message.contains("this status is protected"), "{}", event.message);
    }
    room.services(&[("served", "", "")])?;
    let served = room.wait_any("served")?;
    // They have theirs, although it is not to be seen.
    ensure!(served == [room.v4(21)], "{served:?}");
    world.k("delete validatingadmissionpolicybinding protect")?;
    let mut given = served;
    for name in &names {
        given.extend(room.wait_any(name)?);
        let events = world.mirror.look(|state| state.events(&room.key(name)));
        let failures: Vec<_> = events.iter().filter(|event| event.reason == "StatusUpdateFailed").collect();
        ensure!(matches!(failures[..], [one] if one.count == 1), "{failures:?}");
    }
    given.sort_unstable();
    given.dedup();
    ensure!(given.len() == 21, "{given:?}");
    Ok(())
}

/// Each transition is told once, however often what has not changed is looked at.
pub(crate) fn a_transition_is_told_once(world: &World) -> Result<()> {
    let room = Room::enter(world, "once", 46)?;
    room.pools(&[("a", &[room.v4s(1, 2)], ""), ("b", &[room.v4s(11, 12)], "autoAssign: false")])?;
    room.services(&[("lacks", "", "ipFamilyPolicy: PreferDualStack")])?;
    room.wait_event("lacks", "Normal", "AdditionalAssignFailed", "cannot assign additional IP")?;
    room.services(&[("has", "", ""), ("waits", "annotations: {metallb.io/address-pool: missing}", "")])?;
    room.wait_has("has", &[room.v4(2)])?;
    room.wait_refused("waits", "no available IPs")?;
    let told = |world: &World| -> Vec<_> {
        let all = world.mirror.look(|state| ["lacks", "has", "waits"].map(|s| state.events(&room.key(s))));
        let mut events = all.concat();
        events.sort_by(|a, b| a.message.cmp(&b.message));
        events
    };
    let before = told(world);
    ensure!(before.iter().all(|event| event.count == 1), "{before:?}");
    for round in 0..4_u8 {
        // Each of these has all three looked at again.
        world.k(&format!("label service lacks has waits -n once round={round} --overwrite"))?;
        world.k(&format!("label namespace once round={round} --overwrite"))?;
        world.apply(&[room.pool("b", &[room.v4s(11, 13 + round)], "autoAssign: false")])?;
        room.wait_counters("b", [0, 0, i64::from(3 + round), 0])?;
    }
    // Who is told last is told behind all that was under way.
    room.services(&[("last", "", "")])?;
    room.wait_refused("last", "no available IPs")?;
    let after = told(world);
    ensure!(after == before, "{after:?}\nbefore: {before:?}");
    Ok(())
}
