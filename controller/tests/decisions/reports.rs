//! What is told of pools and of the configuration: gauges, and whether it is valid.

use controller::action::{Measure, Standing};
use ipam::Usage;
use serde_json::json;

use crate::world::World;

/// Addresses of both families, those in use, Services.
#[expect(clippy::unnecessary_wraps, reason = "it is compared with what may not be there")]
fn measure(total: [u128; 2], used: [u64; 2], services: u64) -> Option<Measure> {
    let [total_v4, total_v6] = total;
    let [used_v4, used_v6] = used;
    Some(Measure { usage: Usage { total_v4, total_v6, used_v4, used_v6 }, services })
}

#[test]
fn pools_are_measured_from_the_start_to_their_end() {
    let mut world =
        World::with_pools(&[("a", &["192.0.2.0/30"]), ("b", &["198.51.100.0/31", "2001:db8::/127"])]);
    let of = |world: &World, pool: &str| world.measures.get(pool).copied();
    assert_eq!(of(&world, "a"), measure([4, 0], [0, 0], 0));
    assert_eq!(of(&world, "b"), measure([2, 2], [0, 0], 0));
    let shared = |port: u16| json!({ "ports": [{ "port": port }], "loadBalancerIP": "192.0.2.1" });
    let key = json!({ "annotations": { "metallb.io/allow-shared-ip": "k" } });
    world.service("one", key.clone(), shared(80));
    world.service("two", key, shared(81));
    world.service("three", json!({}), json!({ "loadBalancerIP": "198.51.100.1" }));
    assert_eq!(
        of(&world, "a"),
        measure([4, 0], [1, 0], 2),
        "a shared address counts once, its services both"
    );
    assert_eq!(of(&world, "b"), measure([2, 2], [1, 0], 1));
    world.restart();
    assert_eq!(of(&world, "a"), measure([4, 0], [1, 0], 2), "adopted services count");
    world.delete("two");
    assert_eq!(of(&world, "a"), measure([4, 0], [1, 0], 1));
    world.service("three", json!({}), json!({ "loadBalancerIP": "192.0.2.3" }));
    assert_eq!([of(&world, "a"), of(&world, "b")], [measure([4, 0], [2, 0], 2), measure([2, 2], [0, 0], 0)]);
    world.delete_pool("a");
    assert_eq!(of(&world, "a"), None, "a pool that is gone is shown no more");
    world.delete_pool("b");
    assert!(world.measures.is_empty());
}

#[test]
fn a_pool_that_takes_over_the_addresses_of_another_takes_over_its_services() {
    let mut world = World::with_pools(&[("old", &["192.0.2.0/31"])]);
    world.service("s", json!({}), json!({}));
    world.pool("old", json!({ "addresses": ["198.51.100.0/31"] }));
    world.pool("new", json!({ "addresses": ["192.0.2.0/31"] }));
    let services: Vec<u64> = world.measures.values().map(|measure| measure.services).collect();
    assert_eq!(services.iter().sum::<u64>(), 1, "{:?}", world.measures);
}

#[test]
fn the_configuration_is_told_to_be_invalid_until_the_mistake_is_taken_back() {
    let mut world = World::with_pools(&[("a", &["192.0.2.0/30"])]);
    assert_eq!(world.standings, [Standing::Valid], "told once");
    world.pool("b", json!({ "addresses": ["192.0.2.0/31"] }));
    let [_, Standing::Invalid(why)] = world.standings.as_slice() else { panic!("{:?}", world.standings) };
    assert!(why.starts_with("configuration error: CIDR \"192.0.2.0/31\" in pool \"b\" overlaps"), "{why}");
    world.pool("c", json!({ "addresses": ["203.0.113.0/31"] }));
    assert_eq!(world.standings.len(), 2, "nothing new");
    world.delete_pool("b");
    assert_eq!(world.standings.last(), Some(&Standing::Valid), "what was in force before is valid again");
}

#[test]
fn a_mistake_in_a_community_makes_the_configuration_invalid_until_it_is_corrected() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.community("c", json!({ "communities": [{ "name": "vpn", "value": "65000:99999" }] }));
    let Some(Standing::Invalid(why)) = world.standings.last() else { panic!("{:?}", world.standings) };
    assert!(why.contains("parsing community \"vpn\": invalid community value"), "{why}");
    assert!(world.events().iter().any(|event| event.starts_with("c: Warning InvalidConfiguration: ")));
    world.service("s", json!({}), json!({}));
    assert_eq!(world.ips("s"), ["192.0.2.0"], "addresses do not depend on it");
    world.community("c", json!({ "communities": [{ "name": "vpn", "value": "65000:9999" }] }));
    assert_eq!(world.standings.last(), Some(&Standing::Valid));
    world.community("d", json!({ "communities": [{ "name": "vpn", "value": "65000:1" }] }));
    let Some(Standing::Invalid(why)) = world.standings.last() else { panic!("{:?}", world.standings) };
    assert!(why.contains("duplicate definition of community \"vpn\""), "{why}");
    world.core.delete_community("d");
    world.settle();
    assert_eq!(world.standings.last(), Some(&Standing::Valid));
}
