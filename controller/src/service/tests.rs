#![expect(clippy::needless_pass_by_value, reason = "calls with json! read better without references")]

use ipam::Families;
use serde_json::{Value, json};

use super::*;

fn service(metadata: Value, spec: Value, status: Value) -> Service {
    let object = json!({ "metadata": metadata, "spec": spec, "status": status });
    Service::reduce(serde_json::from_value(object).expect("a Service"))
}

fn status(ingress: Value) -> Status {
    service(json!({}), json!({}), json!({ "loadBalancer": { "ingress": ingress } })).status
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn the_fields_that_matter_are_found() {
    let found = service(
        json!({
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": { "a": "b" },
            "creationTimestamp": "1970-01-01T00:01:00Z",
            "annotations": {
                "metallb.io/address-pool": "new", "metallb.universe.tf/address-pool": "old",
                "metallb.universe.tf/allow-shared-ip": "key", (MISSING_POOL): "gone",
            },
        }),
        json!({
            "type": "LoadBalancer", "loadBalancerClass": "c", "clusterIPs": ["10.96.0.1", "fd00::1"],
            "ipFamilyPolicy": "PreferDualStack", "externalTrafficPolicy": "Local", "selector": { "b": "2", "a": "1" },
            "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 80 }], "loadBalancerIP": "192.0.2.1",
        }),
        json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1", "ipMode": "VIP" }, { "hostname": "x" }] } }),
    );
    let port = |protocol, number| Port { protocol, number };
    let expected = Service {
        key: ObjectKey::new("shop", "web"),
        uid: "u".to_owned(),
        resource_version: "7".to_owned(),
        created: 60,
        is_load_balancer: true,
        class: Some("c".to_owned()),
        labels: Labels::from([("a".to_owned(), "b".to_owned())]),
        cluster_ips: vec!["10.96.0.1".to_owned(), "fd00::1".to_owned()],
        family_policy: FamilyPolicy::Prefer,
        sharing: Sharing { key: Some("key".to_owned()), backend: "a=1,b=2".to_owned() },
        ports: BTreeSet::from([port(Protocol::Tcp, 80), port(Protocol::Udp, 53)]),
        asked_pool: Some("new".to_owned()),
        asked_addresses: Ok(ips(&["192.0.2.1"])),
        deprecated: vec!["metallb.universe.tf/address-pool", "metallb.universe.tf/allow-shared-ip"],
        status: Status {
            ingress: vec![Some("192.0.2.1".to_owned()), None],
            pool: None,
            missing_pool: Some("gone".to_owned()),
        },
    };
    assert_eq!(found, expected);
}

#[test]
fn requested_addresses_are_read_or_refused() {
    let annotation = |text: &str| json!({ "annotations": { "metallb.io/loadBalancerIPs": text } });
    let spec = |text: &str| json!({ "loadBalancerIP": text });
    for (metadata, spec, expected) in [
        (json!({}), json!({}), Ok(ips(&[]))),
        (json!({}), spec(""), Ok(ips(&[]))),
        (annotation(""), spec("192.0.2.1"), Ok(ips(&["192.0.2.1"]))),
        (annotation("192.0.2.1"), json!({}), Ok(ips(&["192.0.2.1"]))),
        (annotation("2001:db8::1 , 192.0.2.1"), json!({}), Ok(ips(&["192.0.2.1", "2001:db8::1"]))),
        (annotation("192.0.2.1,192.0.2.2"), json!({}), Err("one of each family")),
        (annotation("192.0.2.1,2001:db8::1,192.0.2.2"), json!({}), Err("one of each family")),
        (annotation("192.0.2.1,"), json!({}), Err("invalid metallb.io/loadBalancerIPs")),
        (annotation("192.0.2"), json!({}), Err("invalid metallb.io/loadBalancerIPs: \"192.0.2\"")),
        (json!({}), spec("192.0.2.1,2001:db8::1"), Err("invalid spec.loadBalancerIP")),
        (annotation("192.0.2.1"), spec("192.0.2.1"), Err("can not have both metallb.io/loadBalancerIPs")),
    ] {
        let found = service(metadata.clone(), spec.clone(), json!({})).asked_addresses;
        match (&found, &expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            _ => panic!("{metadata} {spec}: {found:?}"),
        }
    }
}

#[test]
fn the_families_are_those_of_the_cluster_ips() {
    let both = |primary| Ok(Families::Both { primary, required: false });
    for (spec, expected) in [
        (json!({ "clusterIP": "10.96.0.1" }), Ok(Families::One(Family::V4))),
        (json!({ "clusterIPs": ["fd00::1"] }), Ok(Families::One(Family::V6))),
        (json!({ "clusterIPs": ["fd00::1", "10.96.0.1"] }), both(Family::V6)),
        (json!({ "clusterIPs": ["10.96.0.1", "fd00::1"] }), both(Family::V4)),
        (json!({}), Err(FamilyError::None)),
        (json!({ "clusterIP": "None", "clusterIPs": ["None"] }), Err(FamilyError::None)),
        (json!({ "clusterIPs": ["10.96.0.1", "10.96.0.2"] }), Err(FamilyError::Malformed)),
        (json!({ "clusterIPs": ["oops"] }), Err(FamilyError::Malformed)),
    ] {
        assert_eq!(service(json!({}), spec.clone(), json!({})).families(), expected, "{spec}");
    }
}

#[test]
fn a_status_claims_one_address_or_one_of_each_family() {
    for (ingress, claim) in [
        (json!([]), Some(ips(&[]))),
        (json!([{ "hostname": "x" }]), Some(ips(&[]))),
        (json!([{ "ip": "192.0.2.1" }, { "hostname": "x" }]), Some(ips(&["192.0.2.1"]))),
        (json!([{ "ip": "2001:db8::1" }, { "ip": "192.0.2.1" }]), Some(ips(&["192.0.2.1", "2001:db8::1"]))),
        (json!([{ "ip": "192.0.2.1" }, { "ip": "192.0.2.2" }]), None),
        (json!([{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }, { "ip": "192.0.2.2" }]), None),
        (json!([{ "ip": "oops" }]), None),
    ] {
        let found = match status(ingress.clone()).claim() {
            Claim::None => Some(Vec::new()),
            Claim::Addresses(addresses) => Some(addresses),
            Claim::Malformed(_) => None,
        };
        assert_eq!(found, claim, "{ingress}");
    }
}

#[test]
fn what_a_status_shows_is_compared_by_address_only() {
    let addresses = ips(&["192.0.2.1", "2001:db8::1"]);
    for (ingress, shows) in [
        (json!([{ "ip": "192.0.2.1", "ipMode": "Proxy" }, { "ip": "2001:db8:0::1" }]), true),
        (json!([{ "ip": "2001:db8::1" }, { "ip": "192.0.2.1" }]), true),
        (json!([{ "ip": "192.0.2.1" }]), false),
        (json!([{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }, { "hostname": "x" }]), false),
        (json!([{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }, { "ip": "192.0.2.1" }]), false),
    ] {
        assert_eq!(status(ingress.clone()).shows(&addresses), shows, "{ingress}");
    }
}

#[test]
fn later_states_have_larger_versions() {
    let at = |version: &str| service(json!({ "resourceVersion": version }), json!({}), json!({}));
    for (one, other, newer) in
        [("10", "9", true), ("9", "10", false), ("9", "9", false), ("b", "a", true), ("a", "a", false)]
    {
        assert_eq!(at(one).newer_than(&at(other)), newer, "{one} {other}");
    }
}
