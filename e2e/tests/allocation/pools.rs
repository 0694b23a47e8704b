//! Which pool a Service gets its address from, and which address of it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::mirror::{Shown, addresses};
use crate::support::{Room, World, namespace};

/// How long a waiting Service may wait for an address that has become free.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The lowest priority number comes first, equal ones go by name, and pools without one come last.
pub(crate) fn the_pool_with_the_lowest_priority_number_comes_first(world: &World) -> Result<()> {
    let room = Room::enter(world, "priority", 1)?;
    let at = |priority: u8| format!("serviceAllocation: {{priority: {priority}, namespaces: [priority]}}");
    let (first, second) = (at(1), at(20));
    room.pools(&[
        ("a", &[room.v4s(1, 1)], ""),
        ("c", &[room.v4s(3, 3)], &second),
        ("b", &[room.v4s(2, 2)], &second),
        ("d", &[room.v4s(4, 4)], &first),
    ])?;
    for (service, last, pool) in [("one", 4, "d"), ("two", 2, "b"), ("three", 3, "c"), ("four", 1, "a")] {
        room.services(&[(service, "", "")])?;
        room.wait_from(service, &[room.v4(last)], pool)?;
    }
    Ok(())
}

/// A pool's namespaces, by name or by label, are the only ones that may use it, also on request. Labels that no
/// namespace has make a pool for nobody.
pub(crate) fn only_namespaces_that_are_named_or_selected_use_a_pool(world: &World) -> Result<()> {
    let room = Room::enter(world, "spaces", 2)?;
    let selected = Room::again(world, "spaces-selected", 2);
    let other = Room::again(world, "spaces-other", 2);
    world.apply(&[namespace(selected.name, "{team: shop}"), namespace(other.name, "{team: none}")])?;
    let selector = |team: &str| {
        format!("serviceAllocation: {{namespaceSelectors: [{{matchLabels: {{team: {team}}}}}]}}")
    };
    room.pools(&[
        ("named", &[room.v4s(1, 9)], ""),
        ("selected", &[room.v4s(11, 19)], &selector("shop")),
        ("nobody", &[room.v4s(21, 29)], &selector("nobody")),
    ])?;
    let asks = |pool: &str| format!("annotations: {{metallb.io/address-pool: {}}}", room.pool_name(pool));
    room.services(&[("any", "", ""), ("asks", &asks("nobody"), "")])?;
    selected.services(&[("any", "", "")])?;
    let address = format!("loadBalancerIP: {}", room.v4(12));
    other.services(&[("any", "", ""), ("pool", &asks("named"), ""), ("address", "", &address)])?;
    room.wait_from("any", &[room.v4(1)], "named")?;
    selected.wait_has("any", &[room.v4(11)])?;
    room.wait_refused("asks", "pool spaces-nobody not compatible for ip assignment")?;
    other.wait_refused("any", "no available IPs")?;
    other.wait_refused("pool", "pool spaces-named not compatible for ip assignment")?;
    other.wait_refused("address", "pool spaces-selected not compatible for ip assignment")
}

/// A namespace that loses its label loses the addresses, and has addresses again with the label.
pub(crate) fn a_namespace_s_labels_are_followed(world: &World) -> Result<()> {
    let room = Room::enter(world, "labels", 3)?;
    let selector =
        "serviceAllocation: {namespaceSelectors: [{matchExpressions: [{key: balanced, operator: Exists}]}]}";
    room.pools(&[("a", &[room.v4s(1, 9)], selector)])?;
    room.services(&[("web", "", "")])?;
    room.wait_refused("web", "no available IPs")?;
    world.k("label namespace labels balanced=")?;
    room.wait_has("web", &[room.v4(1)])?;
    world.k("label namespace labels balanced-")?;
    room.wait_displaced("web", "pool labels-a not compatible for ip assignment")?;
    room.wait_cleared("web")?;
    world.k("label namespace labels balanced=")?;
    room.wait_from("web", &[room.v4(1)], "a")
}

/// One of a pool's service selectors must match, now and later.
pub(crate) fn only_selected_services_use_a_pool(world: &World) -> Result<()> {
    let room = Room::enter(world, "selected", 4)?;
    let rules = "serviceAllocation: {namespaces: [selected], serviceSelectors: [{matchLabels: {tier: web}}, \
                 {matchExpressions: [{key: tier, operator: In, values: [db]}]}]}";
    room.pools(&[("a", &[room.v4s(1, 9)], rules)])?;
    let asks = "annotations: {metallb.io/address-pool: selected-a}, labels: {tier: none}";
    room.services(&[("web", "labels: {tier: web}", ""), ("none", "", ""), ("asks", asks, "")])?;
    room.wait_has("web", &[room.v4(1)])?;
    room.wait_refused("none", "no available IPs")?;
    room.wait_refused("asks", "pool selected-a not compatible for ip assignment")?;
    world.k("label service none -n selected tier=db")?;
    room.wait_has("none", &[room.v4(2)])?;
    world.k("label service web -n selected tier=none --overwrite")?;
    room.wait_displaced("web", "pool selected-a not compatible for ip assignment")?;
    room.wait_refused("web", "no available IPs")?;
    room.wait_cleared("web")
}

/// Without automatic assignment a pool serves those who ask for it or for its addresses; who has one keeps it.
pub(crate) fn a_pool_without_automatic_assignment_serves_on_request(world: &World) -> Result<()> {
    let room = Room::enter(world, "manual", 5)?;
    room.pools(&[("a", &[room.v4s(1, 9)], "autoAssign: false"), ("b", &[room.v4s(11, 11)], "")])?;
    room.services(&[("automatic", "", "")])?;
    room.wait_from("automatic", &[room.v4(11)], "b")?;
    world.apply(&[room.pool("b", &[room.v4s(11, 12)], "autoAssign: false")])?;
    room.wait_counters("b", [1, 0, 1, 0])?;
    let address = format!("loadBalancerIP: {}", room.v4(5));
    let pool = "annotations: {metallb.io/address-pool: manual-a}";
    room.services(&[("any", "", ""), ("address", "", &address), ("pool", pool, "")])?;
    room.wait_refused("any", "no available IPs")?;
    room.wait_from("address", &[room.v4(5)], "a")?;
    room.wait_from("pool", &[room.v4(1)], "a")?;
    room.wait_from("automatic", &[room.v4(11)], "b")
}

/// `avoidBuggyIPs` leaves .0 and .255 out: they are not given, not counted, not to be asked for, and taken away.
pub(crate) fn addresses_that_old_equipment_refuses_are_left_out(world: &World) -> Result<()> {
    let room = Room::enter(world, "buggy", 6)?;
    let around = ["10.200.5.254-10.200.6.1".to_owned()];
    room.pools(&[("a", &around, "avoidBuggyIPs: true")])?;
    let asks = |last: &str| format!("loadBalancerIP: {last}");
    room.services(&[
        ("one", "", &asks("10.200.5.254")),
        ("two", "", ""),
        ("zero", "", &asks("10.200.6.0")),
        ("last", "", &asks("10.200.5.255")),
    ])?;
    room.wait_has("one", &["10.200.5.254"])?;
    room.wait_has("two", &["10.200.6.1"])?;
    room.wait_refused("zero", r#""10.200.6.0" is not allowed in config"#)?;
    room.wait_refused("last", r#""10.200.5.255" is not allowed in config"#)?;
    room.wait_counters("a", [2, 0, 0, 0])?;
    world.apply(&[room.pool("a", &around, "avoidBuggyIPs: false")])?;
    room.wait_has("zero", &["10.200.6.0"])?;
    room.wait_has("last", &["10.200.5.255"])?;
    room.wait_counters("a", [4, 0, 0, 0])?;
    world.apply(&[room.pool("a", &around, "avoidBuggyIPs: true")])?;
    room.wait_displaced("zero", r#""10.200.6.0" is not allowed in config"#)?;
    room.wait_cleared("zero")?;
    room.wait_cleared("last")?;
    room.wait_counters("a", [2, 0, 0, 0])
}

/// Fifty pools of one address serve fifty Services, and the fifty-first is told once and served at once when one
/// becomes free.
pub(crate) fn fifty_pools_of_one_address_serve_fifty_services(world: &World) -> Result<()> {
    let room = Room::enter(world, "fifty", 7)?;
    let names: Vec<String> = (1..=51).map(|number| format!("n{number:02}")).collect();
    let ranges: Vec<[String; 1]> = (1..=50).map(|last| [room.v4s(last, last)]).collect();
    let pools: Vec<_> =
        names.iter().zip(&ranges).map(|(name, range)| (name.as_str(), &range[..], "")).collect();
    room.pools(&pools)?;
    let services: Vec<_> = names.iter().map(|name| (name.as_str(), "", "")).collect();
    room.services(&services[..50])?;
    let mut given = Vec::new();
    for name in &names[..50] {
        given.extend(room.wait_any(name)?);
    }
    given.sort_unstable();
    given.dedup();
    ensure!(given.len() == 50, "{given:?}");
    room.services(&services[50..])?;
    room.wait_refused(&names[50], "no available IPs")?;
    room.delete(&names[7])?;
    room.wait_any(&names[50])?;
    let waited = world.mirror.look(|state| {
        let at = |name: &String, what: fn(&Shown) -> bool| {
            state
                .log
                .iter()
                .find(|shown| shown.service == room.key(name) && what(shown))
                .map(|shown| shown.at)
        };
        let freed = at(&names[7], |shown| shown.deleted)?;
        at(&names[50], |shown| !shown.addresses.is_empty())?.checked_duration_since(freed)
    });
    ensure!(waited.is_some_and(|waited| waited <= AT_ONCE), "it waited {waited:?}");
    let told = world.mirror.look(|state| state.events(&room.key(&names[50])));
    let refusals: Vec<_> = told.iter().filter(|event| event.reason == "AllocationFailed").collect();
    ensure!(matches!(refusals[..], [one] if one.count == 1), "{refusals:?}");
    Ok(())
}

/// A pool of 2^64 addresses: the lowest is given, and the counters say as much as they can.
pub(crate) fn a_pool_may_be_larger_than_its_counters(world: &World) -> Result<()> {
    let room = Room::enter(world, "huge", 8)?;
    room.pools(&[("a", &["\"fd00:200:8::/64\"".to_owned(), room.v4s(1, 2)], "")])?;
    room.wait_counters("a", [0, 0, 2, i64::MAX])?;
    room.services(&[("six", "", "ipFamilies: [IPv6]"), ("both", "", "ipFamilyPolicy: RequireDualStack")])?;
    room.wait_that("six", "an address", |service| {
        let has = addresses(service);
        ensure!(has == ["fd00:200:8::"] || has == ["fd00:200:8::1"], "{has:?}");
        Ok(())
    })?;
    let both = room.wait_any("both")?;
    ensure!(both.len() == 2 && both[0] == room.v4(1), "{both:?}");
    room.wait_counters("a", [1, 2, 1, i64::MAX - 2])
}

/// Pools that say nothing about whom they are for come after all others, in the order of their names.
pub(crate) fn pools_for_everybody_come_last_and_by_name(world: &World) -> Result<()> {
    let room = Room::enter(world, "general", 9)?;
    room.pools(&[
        ("a", &[room.v4s(1, 1)], "serviceAllocation: {}"),
        ("b", &[room.v4s(2, 2)], "autoAssign: true, serviceAllocation: null"),
        ("c", &[room.v4s(3, 3)], "autoAssign: true, serviceAllocation: null"),
        ("d", &[room.v4s(4, 4)], ""),
    ])?;
    for (service, last, pool) in [("one", 1, "a"), ("two", 4, "d"), ("three", 2, "b"), ("four", 3, "c")] {
        room.services(&[(service, "", "")])?;
        room.wait_from(service, &[room.v4(last)], pool)?;
    }
    for name in ["a", "b", "c", "d"] {
        room.delete_pool(name)?;
    }
    for service in ["one", "two", "three", "four"] {
        room.wait_cleared(service)?;
    }
    Ok(())
}
