//! Writes that are slow, fail, or meet a changed Service.

use serde_json::json;

use crate::world::World;

#[test]
fn an_address_is_the_services_from_the_decision_on() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0-192.0.2.1"])]);
    world.slow = true;
    world.service("a", json!({}), json!({}));
    world.service("b", json!({}), json!({}));
    world.service("c", json!({}), json!({}));
    assert!(world.ips("a").is_empty());
    world.finish_writes();
    assert_eq!([world.ips("a"), world.ips("b"), world.ips("c")].concat(), ["192.0.2.0", "192.0.2.1"]);
    let events = world.events();
    assert_eq!(events.iter().filter(|event| event.contains("IPAllocated")).count(), 2, "{events:?}");
}

#[test]
fn a_service_that_cannot_be_written_holds_up_no_other_and_keeps_its_address_reserved() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0-192.0.2.1"])]);
    world.unwritable = vec!["refused"];
    world.service("refused", json!({}), json!({}));
    world.service("b", json!({}), json!({}));
    assert_eq!(world.ips("b"), ["192.0.2.1"]);
    let refusals =
        |events: &[String]| events.iter().filter(|event| event.contains("StatusUpdateFailed")).count();
    assert_eq!(refusals(&world.events()), 1);
    for _ in 0..3 {
        world.core.retry(&kube_ext::ObjectKey::new("default", "refused"));
        world.settle();
    }
    assert_eq!(refusals(&world.events()), 0, "the same reason is told once");
    world.unwritable.clear();
    world.core.retry(&kube_ext::ObjectKey::new("default", "refused"));
    world.settle();
    assert_eq!(world.ips("refused"), ["192.0.2.0"]);
    assert_eq!(world.events(), ["refused: Normal IPAllocated: Assigned IP [\"192.0.2.0\"]"]);
}

#[test]
fn a_service_that_changes_while_it_is_written_is_decided_anew() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.slow = true;
    world.service("s", json!({}), json!({}));
    world.service("s", json!({}), json!({ "loadBalancerIP": "192.0.2.7" }));
    world.finish_writes();
    assert!(world.ips("s").is_empty(), "the write met another version of the service");
    world.finish_writes();
    assert_eq!(world.ips("s"), ["192.0.2.7"]);
    assert_eq!(world.events(), ["s: Normal IPAllocated: Assigned IP [\"192.0.2.7\"]"]);
}

#[test]
fn an_address_is_given_away_only_when_nobodys_status_shows_it_any_more() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0-192.0.2.1"])]);
    world.service("a", json!({}), json!({}));
    world.service("b", json!({}), json!({}));
    world.service("waits", json!({}), json!({}));
    world.unwritable = vec!["a"];
    world.service("a", json!({}), json!({ "loadBalancerIP": "4.3.2.1" }));
    assert_eq!(world.ips("a"), ["192.0.2.0"], "not written");
    assert!(world.ips("waits").is_empty());
    world.restart();
    assert!(world.ips("waits").is_empty());
    world.unwritable.clear();
    world.core.retry(&kube_ext::ObjectKey::new("default", "a"));
    world.settle();
    assert!(world.ips("a").is_empty());
    assert_eq!(world.ips("waits"), ["192.0.2.0"]);
}

#[test]
fn a_watch_that_is_behind_does_not_undo_what_was_written() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world
        .core
        .apply_service(controller::service::Service::reduce(k8s_openapi::api::core::v1::Service::default()));
    world.service("s", json!({}), json!({}));
    let old = {
        let mut old = world.object("s").clone();
        old.status = None;
        old.metadata.annotations = None;
        old.metadata.resource_version = Some("1".to_owned());
        old
    };
    world.writes();
    world.core.apply_service(controller::service::Service::reduce(old));
    world.settle();
    assert_eq!((world.ips("s"), world.writes()), (vec!["192.0.2.0".to_owned()], 0));
}

#[test]
fn a_status_that_somebody_else_changes_is_put_right() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.service("s", json!({}), json!({}));
    for status in [json!({}), json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }] } })] {
        world.edit("s", |service| service.status = serde_json::from_value(status).expect("a status"));
        assert_eq!(world.ips("s"), ["192.0.2.0"]);
    }
    world.edit("s", |service| service.metadata.annotations = None);
    assert_eq!(world.annotation("s", api::names::ALLOCATED_FROM_POOL), Some("p"));
    assert_eq!(
        world.object("s").status.as_ref().and_then(|status| status
            .load_balancer
            .as_ref()?
            .ingress
            .as_ref()?
            .first()?
            .ip_mode
            .clone()),
        Some("VIP".to_owned())
    );
}

#[test]
fn a_service_made_anew_under_the_same_name_starts_afresh() {
    let mut world = World::with_pools(&[("p", &["192.0.2.0/28"])]);
    world.slow = true;
    world.service("s", json!({}), json!({}));
    world.edit("s", |service| service.metadata.uid = Some("another".to_owned()));
    world.finish_writes();
    world.finish_writes();
    assert_eq!(world.ips("s"), ["192.0.2.0"]);
}
