//! One and two address families.

use serde_json::{Value, json};

use crate::world::World;

fn dual(policy: &str) -> Value {
    json!({ "clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilyPolicy": policy })
}

fn dual_v6_first(policy: &str) -> Value {
    json!({ "clusterIPs": ["fd00::1", "10.96.0.1"], "ipFamilyPolicy": policy })
}

const V4: (&str, &[&str]) = ("v4", &["192.0.2.0/28"]);
const V6: (&str, &[&str]) = ("v6", &["2001:db8::/124"]);
const BOTH: (&str, &[&str]) = ("both", &["2001:db8:1::/124", "198.51.100.0/28"]);

#[test]
fn the_families_of_the_cluster_ips_choose_the_pool() {
    for (spec, pools, ips) in [
        (json!({}), vec![V6, V4], vec!["192.0.2.0"]),
        (json!({ "clusterIPs": ["fd00::1"] }), vec![V4, V6], vec!["2001:db8::"]),
        (dual("RequireDualStack"), vec![V4, V6, BOTH], vec!["198.51.100.0", "2001:db8:1::"]),
        (dual("RequireDualStack"), vec![V4, V6], vec![]),
        (dual("PreferDualStack"), vec![V4, V6, BOTH], vec!["198.51.100.0", "2001:db8:1::"]),
        (dual("PreferDualStack"), vec![V4, V6], vec!["192.0.2.0"]),
        (dual_v6_first("PreferDualStack"), vec![V4, V6], vec!["2001:db8::"]),
        (dual_v6_first("PreferDualStack"), vec![V4], vec!["192.0.2.0"]),
        (json!({ "ipFamilyPolicy": "PreferDualStack" }), vec![BOTH], vec!["198.51.100.0"]),
        (json!({ "ipFamilyPolicy": "RequireDualStack" }), vec![BOTH], vec![]),
    ] {
        let mut world = World::with_pools(&pools);
        world.service("s", json!({}), spec.clone());
        assert_eq!(world.ips("s"), ips, "{spec} {pools:?}");
        world.writes();
        world.restart();
        assert_eq!(
            (world.ips("s"), world.writes()),
            (ips.iter().map(ToString::to_string).collect(), 0),
            "{spec}"
        );
    }
}

#[test]
fn too_few_cluster_ips_for_two_families_are_reported() {
    let mut world = World::with_pools(&[BOTH]);
    world.service("s", json!({}), json!({ "ipFamilyPolicy": "RequireDualStack" }));
    assert_eq!(
        world.events(),
        [
            "s: Warning not enough clusterips: Service requires dual stack but not enough clusterips [\"10.96.0.1\"]"
        ]
    );
}

#[test]
fn the_preferred_second_address_comes_when_the_pool_can_give_it() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.service("s", json!({}), dual("PreferDualStack"));
    assert_eq!(world.ips("s"), ["192.0.2.0"]);
    world.pool("other", json!({ "addresses": BOTH.1 }));
    assert_eq!(world.ips("s"), ["192.0.2.0"], "it does not jump to a pool that has both");
    world.events();
    world.pool("p", json!({ "addresses": ["192.0.2.0/28", "2001:db8::1/128"] }));
    assert_eq!(world.ips("s"), ["192.0.2.0", "2001:db8::1"]);
    assert_eq!(world.events(), ["s: Normal IPAllocated: Assigned additional IP \"2001:db8::1\""]);
    // The pool becomes single-stack again: the other one has both.
    world.pool("p", json!({ "addresses": ["192.0.2.0/28"] }));
    assert_eq!(world.ips("s"), ["198.51.100.0", "2001:db8:1::"]);
}

#[test]
fn the_preferred_second_address_comes_when_another_service_frees_it() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28", "2001:db8::1/128"])]);
    world.service("v6", json!({}), json!({ "clusterIPs": ["fd00::9"] }));
    world.service("s", json!({}), dual("PreferDualStack"));
    assert_eq!(world.ips("s"), ["192.0.2.0"]);
    let events = world.events().join("\n");
    assert!(
        events.contains("Normal AdditionalAssignFailed: cannot assign additional IP in PreferDualStack"),
        "{events}"
    );
    world.delete("v6");
    assert_eq!(world.ips("s"), ["192.0.2.0", "2001:db8::1"]);
}

#[test]
fn the_policy_can_be_switched_in_both_directions_and_the_address_stays() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28", "2001:db8::/124"])]);
    world.service("first", json!({}), json!({}));
    world.service("s", json!({}), json!({}));
    for (spec, ips) in [
        (json!({}), vec!["192.0.2.1"]),
        (dual("PreferDualStack"), vec!["192.0.2.1", "2001:db8::"]),
        (dual("RequireDualStack"), vec!["192.0.2.1", "2001:db8::"]),
        (dual("PreferDualStack"), vec!["192.0.2.1", "2001:db8::"]),
        (json!({}), vec!["192.0.2.1"]),
        (dual("RequireDualStack"), vec!["192.0.2.1", "2001:db8::"]),
        (json!({ "clusterIPs": ["fd00::1"] }), vec!["2001:db8::"]),
    ] {
        world.service("s", json!({}), spec.clone());
        assert_eq!(world.ips("s"), ips, "{spec}");
        if spec == json!({}) {
            world.delete("first");
        }
    }
}

#[test]
fn two_requested_addresses_are_both_given_or_none() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28", "2001:db8::/124"]), V6]);
    let asks = |ips: &str| json!({ "annotations": { "metallb.io/loadBalancerIPs": ips } });
    world.service("s", asks("2001:db8::5, 192.0.2.5"), dual("RequireDualStack"));
    // The pool v6 overlaps: only p is in force.
    assert_eq!(world.ips("s"), ["192.0.2.5", "2001:db8::5"]);
    for bad in ["192.0.2.5,192.0.2.6", "192.0.2.5,2001:db8::5,192.0.2.7", "192.0.2.5,"] {
        world.service("bad", asks(bad), dual("RequireDualStack"));
        assert!(world.ips("bad").is_empty(), "{bad}");
    }
}
