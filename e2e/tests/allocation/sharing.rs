//! Several Services on one address.

use anyhow::{Result, ensure};

use crate::support::{Room, World};

/// Metadata of a Service that shares with this key.
fn key(key: &str) -> String {
    format!("annotations: {{metallb.io/allow-shared-ip: {key}}}")
}

/// A Service's specification: its port, the policy for external traffic, the application behind it, its address.
fn on(port: u16, policy: &str, app: &str, address: &str) -> String {
    format!(
        "ports: [{{port: {port}}}], externalTrafficPolicy: {policy}, selector: {{app: {app}}}, \
         loadBalancerIP: {address}"
    )
}

/// Whose key, port, policy or selector does not fit is refused with the reason.
pub(crate) fn services_that_may_not_share_are_told_why(world: &World) -> Result<()> {
    let room = Room::enter(world, "conflicts", 31)?;
    room.pools(&[("a", &[room.v4s(1, 9)], "")])?;
    let (one, two) = (room.v4(1), room.v4(2));
    room.services(&[
        ("cluster", &key("k"), &on(80, "Cluster", "web", &one)),
        ("local", &key("k"), &on(80, "Local", "web", &two)),
    ])?;
    room.wait_has("cluster", &[&one])?;
    room.wait_has("local", &[&two])?;
    let taken = |service: &str, by: &str| {
        format!("can't change sharing key for \"conflicts/{service}\", address also in use by conflicts/{by}")
    };
    let port = format!("port TCP/80 is already in use on \"{one}\"");
    let refused = [
        ("other-key", key("other"), on(81, "Cluster", "web", &one), taken("other-key", "cluster")),
        ("no-key", String::new(), on(81, "Cluster", "web", &one), taken("no-key", "cluster")),
        ("same-port", key("k"), on(80, "Cluster", "web", &one), port),
        ("other-selector", key("k"), on(81, "Local", "db", &two), taken("other-selector", "local")),
        ("other-policy", key("k"), on(81, "Cluster", "web", &two), taken("other-policy", "local")),
    ];
    let shared = [
        ("any-selector", key("k"), on(82, "Cluster", "db", &one), &one),
        ("same-selector", key("k"), on(82, "Local", "web", &two), &two),
    ];
    let services: Vec<_> = refused.iter().map(|(name, m, spec, _)| (*name, &**m, &**spec)).collect();
    room.services(&services)?;
    for (service, _, _, why) in &refused {
        room.wait_refused(service, why)?;
    }
    let services: Vec<_> = shared.iter().map(|(name, m, spec, _)| (*name, &**m, &**spec)).collect();
    room.services(&services)?;
    for (service, _, _, address) in shared {
        room.wait_has(service, &[address])?;
    }
    room.wait_counters("a", [2, 0, 7, 0])
}

/// Who is alone on an address changes the key there; who is not loses the address.
pub(crate) fn the_key_changes_in_place_for_who_is_alone(world: &World) -> Result<()> {
    let room = Room::enter(world, "rekeyed", 32)?;
    room.pools(&[("a", &[room.v4s(1, 9)], "")])?;
    let rekey = |key: &str| {
        format!(r#"{{"metadata": {{"annotations": {{"metallb.io/allow-shared-ip": "{key}"}}}}}}"#)
    };
    room.services(&[("first", "", "")])?;
    room.wait_has("first", &[room.v4(1)])?;
    // It waits for that address; the key is what it lacks.
    let asks = format!("ports: [{{port: 81}}], loadBalancerIP: {}", room.v4(1));
    room.services(&[("second", &key("k"), &asks)])?;
    room.wait_refused(
        "second",
        r#"can't change sharing key for "rekeyed/second", address also in use by rekeyed/first"#,
    )?;
    room.patch("first", &rekey("k"))?;
    room.wait_has("second", &[room.v4(1)])?;
    ensure!(room.has("first")? == [room.v4(1)]);
    room.patch("first", &rekey("other"))?;
    room.wait_displaced(
        "first",
        r#"can't change sharing key for "rekeyed/first", address also in use by rekeyed/second"#,
    )?;
    room.wait_has("first", &[room.v4(2)])?;
    ensure!(room.has("second")? == [room.v4(1)]);
    Ok(())
}

/// What a sharer gives up goes to who waits for it: a port, a policy.
pub(crate) fn what_a_sharer_gives_up_goes_to_who_waits_for_it(world: &World) -> Result<()> {
    let room = Room::enter(world, "yields", 33)?;
    room.pools(&[("a", &[room.v4s(1, 9)], "")])?;
    let one = room.v4(1);
    room.services(&[("first", &key("k"), &on(80, "Local", "web", &one))])?;
    room.wait_has("first", &[&one])?;
    room.services(&[
        ("port", &key("k"), &on(80, "Cluster", "db", &one)),
        ("policy", &key("k"), &on(81, "Cluster", "db", &one)),
    ])?;
    for service in ["port", "policy"] {
        let why = "can't change sharing key for \"yields/{}\", address also in use by yields/first";
        room.wait_refused(service, &why.replace("{}", service))?;
    }
    room.patch("first", r#"{"spec": {"externalTrafficPolicy": "Cluster"}}"#)?;
    room.wait_has("policy", &[&one])?;
    room.wait_event(
        "port",
        "Warning",
        "AllocationFailed",
        &format!("port TCP/80 is already in use on \"{one}\""),
    )?;
    room.services(&[("first", &key("k"), &on(8080, "Cluster", "web", &one))])?;
    room.wait_has("port", &[&one])?;
    ensure!(room.has("first")? == [one]);
    Ok(())
}

/// Services with a key gather on the lowest address that they can share, without asking for it.
pub(crate) fn services_with_a_key_gather_on_the_lowest_address(world: &World) -> Result<()> {
    let room = Room::enter(world, "gather", 34)?;
    room.pools(&[("a", &[room.v4s(1, 9), room.v6s(1, 9)], "")])?;
    let port = |port: u16| format!("ports: [{{port: {port}}}], ipFamilyPolicy: PreferDualStack");
    for (service, metadata, number, last) in [
        ("alone", String::new(), 1, 1),
        ("first", key("k"), 2, 2),
        ("second", key("k"), 3, 2),
        ("same", key("k"), 2, 3),
    ] {
        room.services(&[(service, &metadata, &port(number))])?;
        room.wait_has(service, &[room.v4(last), room.v6(last)])?;
    }
    room.wait_counters("a", [3, 3, 6, 6])
}
