//! Who gets which address: the promises of the mission, one by one, and what users of MetalLB rely on.

use api::names::ALLOCATED_FROM_POOL;
use controller::service::MISSING_POOL;
use serde_json::json;

use crate::world::World;

const POOL: &[(&str, &[&str])] = &[("doc-example", &["172.31.249.1-172.31.249.10"])];

#[test]
fn a_requested_address_inside_a_pool_is_assigned() {
    let mut world = World::with_pools(POOL);
    world.service("specific-ip", json!({}), json!({ "loadBalancerIP": "172.31.249.9" }));
    assert_eq!(world.ips("specific-ip"), ["172.31.249.9"]);
    assert_eq!(world.annotation("specific-ip", ALLOCATED_FROM_POOL), Some("doc-example"));
    assert_eq!(world.events(), ["specific-ip: Normal IPAllocated: Assigned IP [\"172.31.249.9\"]"]);
}

#[test]
fn a_requested_address_outside_every_pool_is_refused_with_the_documented_text() {
    let mut world = World::with_pools(POOL);
    world.service("invalid-request", json!({}), json!({ "loadBalancerIP": "4.3.2.1" }));
    assert!(world.ips("invalid-request").is_empty());
    assert_eq!(
        world.events(),
        [
            "invalid-request: Warning AllocationFailed: Failed to allocate IP for \"default/invalid-request\": \
             \"4.3.2.1\" is not allowed in config"
        ]
    );
}

#[test]
fn the_annotation_picks_the_pool_under_either_prefix() {
    let mut world = World::with_pools(&[("a", &["192.0.2.0/28"]), ("b", &["198.51.100.0/28"])]);
    for prefix in ["metallb.io", "metallb.universe.tf"] {
        let annotation = format!("{prefix}/address-pool");
        world.service("picky", json!({ "annotations": { annotation: "b" } }), json!({}));
        assert_eq!(world.ips("picky"), ["198.51.100.0"]);
        world.delete("picky");
    }
    let events = world.events();
    assert!(
        events.contains(
            &"picky: Warning deprecatedAnnotation: Service uses deprecated annotation metallb.universe.tf/address-pool"
                .to_owned()
        ),
        "{events:?}"
    );
}

#[test]
fn an_unknown_pool_gives_an_address_from_any_pool_and_a_warning() {
    let mut world = World::with_pools(POOL);
    let annotations = json!({ "annotations": { "metallb.universe.tf/address-pool": "no-such-pool" } });
    world.service("unknown-pool", annotations, json!({}));
    assert_eq!(world.ips("unknown-pool"), ["172.31.249.1"]);
    let events = world.events().join("\n");
    assert!(
        events.contains("Warning UnknownAddressPool: service asks for pool \"no-such-pool\""),
        "{events}"
    );

    world.pool("no-such-pool", json!({ "addresses": ["198.51.100.0/28"] }));
    assert_eq!(world.ips("unknown-pool"), ["172.31.249.1"], "a pool that appears later moves nobody");
    let events = world.events().join("\n");
    assert!(events.contains("to move it, remove the service's annotation"), "{events}");
    world.writes();
    world.restart();
    assert_eq!((world.ips("unknown-pool"), world.writes()), (vec!["172.31.249.1".to_owned()], 0));

    world.edit("unknown-pool", |service| {
        service.metadata.annotations.as_mut().expect("annotated").remove(MISSING_POOL);
    });
    assert_eq!(world.ips("unknown-pool"), ["198.51.100.0"], "who asks for it is moved");
    assert_eq!(world.annotation("unknown-pool", MISSING_POOL), None);
}

#[test]
fn without_a_request_the_lowest_address_of_a_pool_with_automatic_assignment_is_given() {
    let mut world = World::new();
    world.pool("a-manual", json!({ "addresses": ["192.0.2.0/28"], "autoAssign": false }));
    world.pool("b", json!({ "addresses": ["198.51.100.7/32", "198.51.100.1-198.51.100.2"] }));
    for (name, ip) in [("one", "198.51.100.7"), ("two", "198.51.100.1"), ("three", "198.51.100.2")] {
        world.service(name, json!({}), json!({}));
        assert_eq!(world.ips(name), [ip]);
    }
    world.service("four", json!({}), json!({}));
    assert!(world.ips("four").is_empty());
    let events = world.events();
    assert_eq!(
        events.last().map(String::as_str),
        Some("four: Warning AllocationFailed: Failed to allocate IP for \"default/four\": no available IPs")
    );
}

#[test]
fn an_address_of_another_family_is_refused() {
    let mut world = World::with_pools(&[("p", &["2001:db8::/120", "192.0.2.0/28"])]);
    world.service("v4", json!({}), json!({ "loadBalancerIP": "2001:db8::5" }));
    assert!(world.ips("v4").is_empty());
    assert_eq!(
        world.events(),
        [
            "v4: Warning AllocationFailed: Failed to allocate IP for \"default/v4\": requested loadBalancer IP(s) \
             [\"2001:db8::5\"] does not match the ipFamily of the service"
        ]
    );
}

#[test]
fn a_request_that_cannot_be_read_is_refused_and_takes_nothing_away() {
    let mut world = World::with_pools(POOL);
    world.service("s", json!({}), json!({}));
    assert_eq!(world.ips("s"), ["172.31.249.1"]);
    world.events();
    let annotations = json!({ "annotations": { "metallb.io/loadBalancerIPs": "172.31.249.300" } });
    world.service("s", annotations.clone(), json!({}));
    assert_eq!(world.ips("s"), ["172.31.249.1"]);
    let events = world.events().join("\n");
    assert!(
        events.contains("Warning LoadBalancerFailed: invalid requested loadbalancer IPs: invalid"),
        "{events}"
    );
    world.service("new", annotations, json!({}));
    assert!(world.ips("new").is_empty());
    let both = json!({ "annotations": { "metallb.io/loadBalancerIPs": "172.31.249.3" } });
    world.service("both", both, json!({ "loadBalancerIP": "172.31.249.3" }));
    assert!(world.ips("both").is_empty());
    let events = world.events().join("\n");
    assert!(
        events.contains("can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP"),
        "{events}"
    );
}

#[test]
fn a_failure_is_told_once_and_again_when_it_is_another() {
    let mut world = World::with_pools(POOL);
    world.service("s", json!({}), json!({ "loadBalancerIP": "4.3.2.1" }));
    assert_eq!(world.events().len(), 1);
    for round in 0..3 {
        world.service(
            "s",
            json!({ "labels": { "round": round.to_string() } }),
            json!({ "loadBalancerIP": "4.3.2.1" }),
        );
    }
    assert!(world.events().is_empty());
    world.service("s", json!({}), json!({ "loadBalancerIP": "4.3.2.2" }));
    assert_eq!(world.events().len(), 1);
}

#[test]
fn a_freed_address_goes_to_the_oldest_who_waits_for_it() {
    let mut world = World::with_pools(&[("one", &["192.0.2.1/32"]), ("other", &["198.51.100.1/32"])]);
    world.service("holder", json!({}), json!({ "loadBalancerIP": "192.0.2.1" }));
    world.service("elsewhere", json!({}), json!({ "loadBalancerIP": "198.51.100.1" }));
    world.service("first", json!({}), json!({}));
    world.service("second", json!({}), json!({ "loadBalancerIP": "192.0.2.1" }));
    assert!(world.ips("first").is_empty() && world.ips("second").is_empty());
    world.delete("holder");
    assert_eq!(world.ips("first"), ["192.0.2.1"]);
    assert!(world.ips("second").is_empty());
    world
        .edit("first", |service| service.spec.as_mut().expect("a spec").type_ = Some("ClusterIP".to_owned()));
    assert_eq!(world.ips("second"), ["192.0.2.1"], "a type change frees as a deletion does");
    assert!(world.ips("first").is_empty());
    assert_eq!(world.annotation("first", ALLOCATED_FROM_POOL), None);
}

#[test]
fn a_changed_request_moves_the_service_and_an_infeasible_one_takes_its_address() {
    let mut world = World::with_pools(&[("a", &["192.0.2.0/28"]), ("b", &["198.51.100.0/28"])]);
    world.service("s", json!({}), json!({}));
    assert_eq!(world.ips("s"), ["192.0.2.0"]);
    world.service("s", json!({}), json!({ "loadBalancerIP": "192.0.2.5" }));
    assert_eq!(world.ips("s"), ["192.0.2.5"]);
    world.service("s", json!({ "annotations": { "metallb.io/address-pool": "b" } }), json!({}));
    assert_eq!(world.ips("s"), ["198.51.100.0"]);
    let conflicting = json!({ "annotations": { "metallb.io/address-pool": "b" } });
    world.service("s", conflicting, json!({ "loadBalancerIP": "192.0.2.5" }));
    assert!(world.ips("s").is_empty());
    let events = world.events().join("\n");
    let text = "requested loadBalancer IP(s) [\"192.0.2.5\"] is not compatible with requested address pool b";
    assert!(events.contains(text), "{events}");
}

#[test]
fn services_of_another_class_are_left_alone() {
    let mut world = World::with_pools(POOL);
    world.service("foreign", json!({}), json!({ "loadBalancerClass": "example.com/other" }));
    world.edit("foreign", |service| {
        service.status =
            serde_json::from_value(json!({ "loadBalancer": { "ingress": [{ "ip": "172.31.249.1" }] } }))
                .expect("a status");
    });
    assert_eq!(world.ips("foreign"), ["172.31.249.1"]);
    world.service("ours", json!({}), json!({}));
    assert_eq!(world.ips("ours"), ["172.31.249.1"], "what a foreign status says reserves nothing");
    assert_eq!(world.writes(), 3, "the service, the pool twice");
    world.restart_for("example.com/other");
    assert_eq!(world.ips("foreign"), ["172.31.249.1"]);
    assert_eq!(world.annotation("foreign", ALLOCATED_FROM_POOL), Some("doc-example"));
}

#[test]
fn a_headless_service_gets_nothing_and_is_told_why() {
    let mut world = World::with_pools(POOL);
    world.service("headless", json!({}), json!({ "clusterIPs": ["None"] }));
    assert!(world.ips("headless").is_empty());
    let events = world.events().join("\n");
    assert!(
        events.contains("Warning noclusterIPsIPFamily: Failed to retrieve ClusterIPs IPFamily for"),
        "{events}"
    );
}

#[test]
fn a_service_in_a_namespace_that_is_not_known_yet_waits_for_its_labels() {
    let mut world = World::new();
    world.pool(
        "team",
        json!({ "addresses": ["192.0.2.0/28"],
            "serviceAllocation": { "namespaceSelectors": [{ "matchLabels": { "team": "a" } }] } }),
    );
    world.pool("zz", json!({ "addresses": ["198.51.100.0/28"] }));
    world.service_in("new", "s", json!({}), json!({}));
    assert!(world.all_ips().values().all(Vec::is_empty));
    world.namespace("new", &[("team", "a")]);
    assert!(world.all_ips().values().all(|ips| *ips == ["192.0.2.0"]), "{:?}", world.all_ips());
    world.namespace("new", &[]);
    assert!(world.all_ips().values().all(|ips| *ips == ["198.51.100.0"]), "no longer compatible");
}
