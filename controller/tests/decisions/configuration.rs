//! Pools that come, change, go and are wrong; restarts.

use api::IPAddressPoolStatus;
use api::names::ALLOCATED_FROM_POOL;
use serde_json::json;

use crate::world::World;

#[test]
fn without_any_configuration_nothing_is_touched_and_who_waits_is_told() {
    let mut world = World::new();
    world.service("pending", json!({}), json!({}));
    world.service("served", json!({}), json!({}));
    world.edit("served", |service| {
        service.status = serde_json::from_value(
            json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }, { "hostname": "x" }] } }),
        )
        .expect("a status");
    });
    world.restart();
    world.pool("bad", json!({ "addresses": ["192.0.2.0/33"] }));
    assert_eq!(world.writes(), 0);
    assert_eq!(world.ips("served"), ["192.0.2.9"]);
    let events = world.events().join("\n");
    assert!(events.contains("pending: Warning AllocationFailed"), "{events}");
    assert!(
        events.contains("bad: Warning InvalidConfiguration: invalid CIDR \"192.0.2.0/33\" in pool \"bad\""),
        "{events}"
    );
}

#[test]
fn removing_all_pools_clears_the_services() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.service("s", json!({}), json!({}));
    world.events();
    world.delete_pool("p");
    assert!(world.ips("s").is_empty());
    assert_eq!(world.annotation("s", ALLOCATED_FROM_POOL), None);
    assert_eq!(
        world.events(),
        [
            "s: Normal ClearAssignment: current IP for \"default/s\" not allowed by config, will attempt for new IP \
             assignment: \"192.0.2.0\" is not allowed in config",
            "s: Warning AllocationFailed: Failed to allocate IP for \"default/s\": no available IPs",
        ]
    );
}

#[test]
fn deleting_one_pool_of_several_moves_its_services_to_another() {
    let mut world = World::with_pools(&[("a", &["192.0.2.0/28"]), ("b", &["198.51.100.0/28"])]);
    world.service("s", json!({}), json!({}));
    assert_eq!(world.ips("s"), ["192.0.2.0"]);
    world.delete_pool("a");
    assert_eq!(world.ips("s"), ["198.51.100.0"]);
}

#[test]
fn pools_that_still_hold_an_address_let_it_stay() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.service("s", json!({}), json!({ "loadBalancerIP": "192.0.2.3" }));
    world.service("s", json!({}), json!({}));
    // A pool that could take it, one that grows, one for others only by hand: none moves anybody.
    world.pool("a-new", json!({ "addresses": ["198.51.100.0/28"], "serviceAllocation": { "priority": 1 } }));
    world.pool("p", json!({ "addresses": ["192.0.2.0/27"] }));
    world.pool("p", json!({ "addresses": ["192.0.2.0/27"], "autoAssign": false }));
    assert_eq!(world.ips("s"), ["192.0.2.3"]);
    // Renamed: the old one has to go before the new one can be.
    world.pool("renamed", json!({ "addresses": ["192.0.2.0/28"] }));
    assert_eq!(world.annotation("s", ALLOCATED_FROM_POOL), Some("p"));
    world.pool("p", json!({ "addresses": ["192.0.2.16/28"] }));
    world.pool("renamed", json!({ "addresses": ["192.0.2.0/29"] }));
    assert_eq!(world.ips("s").len(), 1);
}

#[test]
fn a_pool_split_in_one_step_keeps_the_address_and_the_annotation_follows() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.service("s", json!({}), json!({ "loadBalancerIP": "192.0.2.3" }));
    // A controller that was away sees only the result.
    world.core = controller::core::Core::new(None);
    world.pool("p", json!({ "addresses": ["192.0.2.8/29"] }));
    world.pool("q", json!({ "addresses": ["192.0.2.0/29"] }));
    world.restart();
    assert_eq!(world.ips("s"), ["192.0.2.3"]);
    assert_eq!(world.annotation("s", ALLOCATED_FROM_POOL), Some("q"));
}

#[test]
fn a_shrunk_pool_takes_addresses_away_at_once_and_gives_others() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0-192.0.2.3"])]);
    world.service("s", json!({}), json!({}));
    world.pool("p", json!({ "addresses": ["192.0.2.2-192.0.2.3"] }));
    assert_eq!(world.ips("s"), ["192.0.2.2"]);
    world.pool(
        "p",
        json!({ "addresses": ["192.0.2.2-192.0.2.3"],
        "serviceAllocation": { "namespaces": ["elsewhere"] } }),
    );
    assert!(world.ips("s").is_empty(), "a pool that is for others now");
}

#[test]
fn a_pool_that_becomes_invalid_stays_in_force_as_it_was() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.service("s", json!({}), json!({}));
    world.events();
    world.pool("p", json!({ "addresses": ["192.0.2.0/28", "oops"] }));
    assert_eq!(world.ips("s"), ["192.0.2.0"]);
    world.service("t", json!({}), json!({}));
    assert_eq!(world.ips("t"), ["192.0.2.1"], "everything else goes on working");
    let events = world.events();
    let warnings: Vec<_> = events.iter().filter(|event| event.contains("InvalidConfiguration")).collect();
    assert_eq!(warnings.len(), 1, "{events:?}");

    world.writes();
    world.restart();
    assert_eq!(
        world.writes(),
        0,
        "after a restart there is no version to use, and the services still keep theirs"
    );
    assert_eq!(
        (world.ips("s"), world.ips("t")),
        (vec!["192.0.2.0".to_owned()], vec!["192.0.2.1".to_owned()])
    );
    world.pool("p", json!({ "addresses": ["192.0.2.0/28"] }));
    world.service("u", json!({}), json!({}));
    assert_eq!(
        (world.ips("s"), world.ips("u")),
        (vec!["192.0.2.0".to_owned()], vec!["192.0.2.2".to_owned()])
    );
}

#[test]
fn an_advertisement_of_a_pool_that_does_not_exist_is_reported_once() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.l2_advertisement("l2", json!({ "ipAddressPools": ["p", "nowhere"] }));
    world.pool("q", json!({ "addresses": ["198.51.100.0/28"] }));
    let events = world.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with(
        "l2: Warning InvalidConfiguration: L2Advertisement \"l2\" refers to IPAddressPool \"nowhere\""
    ));
    assert_eq!(world.core.standing_warnings().len(), 1);
    world.pool("nowhere", json!({ "addresses": ["203.0.113.0/28"] }));
    assert!(world.core.standing_warnings().is_empty());
}

#[test]
fn after_a_restart_addresses_in_use_are_adopted_before_others_are_given() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0-192.0.2.2"])]);
    for name in ["a", "b", "c"] {
        world.service(name, json!({}), json!({}));
    }
    world.delete("a");
    world.core = controller::core::Core::new(None);
    // Created while no controller ran, and older by its name.
    world.service("0-new", json!({ "creationTimestamp": "2020-01-01T00:00:00Z" }), json!({}));
    let before = world.all_ips();
    world.writes();
    world.restart();
    assert_eq!(world.ips("0-new"), ["192.0.2.0"]);
    assert_eq!(
        (world.ips("b"), world.ips("c")),
        (vec!["192.0.2.1".to_owned()], vec!["192.0.2.2".to_owned()])
    );
    assert_eq!(world.writes(), 2, "the new service and the pool's counters; before: {before:?}");
}

#[test]
fn two_services_that_claim_one_address_are_settled_by_age() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.service("older", json!({ "creationTimestamp": "2026-02-01T00:00:00Z" }), json!({}));
    world.core = controller::core::Core::new(None);
    world.service("a-copy", json!({ "creationTimestamp": "2026-02-02T00:00:00Z" }), json!({}));
    let status = world.object("older").status.clone();
    world.edit("a-copy", |service| service.status = status);
    world.events();
    world.restart();
    assert_eq!(world.ips("older"), ["192.0.2.0"]);
    assert_eq!(world.ips("a-copy"), ["192.0.2.1"]);
    assert_eq!(
        world.events(),
        [
            "a-copy: Normal ClearAssignment: current IP for \"default/a-copy\" not allowed by config, will attempt for \
             new IP assignment: can't change sharing key for \"default/a-copy\", address also in use by default/older",
            "a-copy: Normal IPAllocated: Assigned IP [\"192.0.2.1\"]",
        ]
    );
}

#[test]
fn malformed_content_of_a_status_is_cleaned() {
    for ingress in [
        json!([{ "ip": "192.0.2.1" }, { "ip": "192.0.2.2" }]),
        json!([{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }, { "ip": "192.0.2.3" }]),
        json!([{ "ip": "nonsense" }]),
        json!([{ "hostname": "example.com" }]),
    ] {
        let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
        world.core = controller::core::Core::new(None);
        world.service("s", json!({}), json!({}));
        world.edit("s", |service| {
            service.status =
                serde_json::from_value(json!({ "loadBalancer": { "ingress": ingress.clone() } }))
                    .expect("a status");
        });
        world.restart();
        assert_eq!(world.ips("s"), ["192.0.2.0"], "{ingress}");
        let hostname_only = ingress[0]["hostname"].is_string();
        assert_eq!(
            world.events().join("\n").contains("Warning nolbIPsIPFamily"),
            !hostname_only,
            "{ingress}"
        );
    }
}

#[test]
fn the_counters_of_a_pool_are_written_on_change_only() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28", "2001:db8::/64"])]);
    let counters = |assigned: i64| IPAddressPoolStatus {
        assigned_ipv4: assigned,
        assigned_ipv6: 0,
        available_ipv4: 16 - assigned,
        available_ipv6: i64::MAX,
    };
    assert_eq!(world.counters("p"), counters(0));
    world.service("s", json!({}), json!({}));
    assert_eq!(world.counters("p"), counters(1));
    world.writes();
    world.service("s", json!({ "labels": { "a": "b" } }), json!({}));
    world.restart();
    assert_eq!(world.writes(), 0);
    world.delete("s");
    assert_eq!(world.counters("p"), counters(0));
}

#[test]
fn the_counters_that_a_former_leader_left_are_corrected() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    let none_assigned = world.counters("p");
    world.stand_by();
    // The leader counts a Service, and ends before it counts that the Service is gone.
    let one_assigned = IPAddressPoolStatus { assigned_ipv4: 1, available_ipv4: 15, ..none_assigned.clone() };
    world.count_elsewhere("p", one_assigned);
    world.core.start();
    world.settle();
    assert_eq!(world.counters("p"), none_assigned);
}
