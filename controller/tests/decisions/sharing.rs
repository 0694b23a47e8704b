//! Services that share an address.

use serde_json::{Value, json};

use crate::world::World;

fn key(key: &str) -> Value {
    json!({ "annotations": { "metallb.universe.tf/allow-shared-ip": key } })
}

fn port(port: u16, protocol: &str) -> Value {
    json!({ "ports": [{ "port": port, "protocol": protocol }], "loadBalancerIP": "172.31.249.7" })
}

fn local(mut spec: Value, app: &str) -> Value {
    spec["externalTrafficPolicy"] = json!("Local");
    spec["selector"] = json!({ "app": app });
    spec
}

const POOL: &[(&str, &[&str])] = &[("doc-example", &["172.31.249.1-172.31.249.10"])];

#[test]
fn services_share_an_address_exactly_when_key_backend_and_ports_allow() {
    let a = |spec| (key("web"), spec);
    for (first, second, refusal) in [
        (a(port(80, "TCP")), a(port(443, "TCP")), None),
        (a(port(53, "TCP")), a(port(53, "UDP")), None),
        (a(port(80, "TCP")), a(port(80, "TCP")), Some("port TCP/80 is already in use on \"172.31.249.7\"")),
        (
            a(port(80, "TCP")),
            (key("other"), port(443, "TCP")),
            Some("can't change sharing key for \"default/second\", address also in use by default/first"),
        ),
        (a(port(80, "TCP")), (json!({}), port(443, "TCP")), Some("can't change sharing key")),
        ((json!({}), port(80, "TCP")), (json!({}), port(443, "TCP")), Some("can't change sharing key")),
        (a(local(port(80, "TCP"), "x")), a(local(port(443, "TCP"), "x")), None),
        (a(local(port(80, "TCP"), "x")), a(local(port(443, "TCP"), "y")), Some("can't change sharing key")),
        (a(local(port(80, "TCP"), "x")), a(port(443, "TCP")), Some("can't change sharing key")),
    ] {
        let mut world = World::with_pools(POOL);
        world.service("first", first.0.clone(), first.1.clone());
        world.service("second", second.0.clone(), second.1.clone());
        assert_eq!(world.ips("first"), ["172.31.249.7"]);
        let events = world.events().join("\n");
        match refusal {
            None => assert_eq!(world.ips("second"), ["172.31.249.7"], "{first:?} {second:?}: {events}"),
            Some(text) => {
                assert!(world.ips("second").is_empty(), "{first:?} {second:?}");
                assert!(events.contains(text), "{events}");
            }
        }
        world.writes();
        world.restart();
        assert_eq!(world.writes(), 0);
    }
}

#[test]
fn a_key_without_a_request_packs_services_onto_the_lowest_address() {
    let mut world = World::with_pools(POOL);
    world.service("alone", json!({}), json!({}));
    for (name, number) in [("a", 80), ("b", 81), ("c", 80)] {
        world.service(name, key("web"), json!({ "ports": [{ "port": number }] }));
    }
    assert_eq!(
        [world.ips("a"), world.ips("b"), world.ips("c")].concat(),
        ["172.31.249.2", "172.31.249.2", "172.31.249.3"]
    );
    assert_eq!(world.counters("doc-example").assigned_ipv4, 3, "shared addresses count once");
}

#[test]
fn a_sharer_whose_conditions_change_loses_the_address_and_the_other_keeps_it() {
    let mut world = World::with_pools(POOL);
    let on = |number: u16| json!({ "ports": [{ "port": number }] });
    world.service("a", key("web"), on(80));
    world.service("b", key("web"), on(81));
    world.service("a", key("web"), local(on(80), "x"));
    assert_eq!(
        (world.ips("a"), world.ips("b")),
        (vec!["172.31.249.2".to_owned()], vec!["172.31.249.1".to_owned()])
    );
    let events = world.events().join("\n");
    assert!(events.contains("a: Normal ClearAssignment"), "{events}");
}

#[test]
fn who_waits_for_a_port_or_a_key_gets_it_when_it_becomes_possible() {
    let mut world = World::with_pools(POOL);
    world.service("holder", key("web"), port(80, "TCP"));
    world.service("same-port", key("web"), port(80, "TCP"));
    world.service("other-key", key("dns"), port(53, "UDP"));
    assert!(world.ips("same-port").is_empty() && world.ips("other-key").is_empty());
    world.service("holder", key("web"), port(8080, "TCP"));
    assert_eq!(world.ips("same-port"), ["172.31.249.7"]);
    world.delete("same-port");
    world.service("holder", key("dns"), port(8080, "TCP"));
    assert_eq!(world.ips("holder"), ["172.31.249.7"], "the sole user may change its key");
    assert_eq!(world.ips("other-key"), ["172.31.249.7"]);
}
