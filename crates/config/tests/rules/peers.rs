//! BGPPeers and BFDProfiles.

use std::time::Duration;

use config::{Password, PeerAsn, PeerEndpoint, Timers};
use serde_json::{Value, json};

use super::World;

/// A valid peer with some fields changed; null takes one away.
fn peer(changes: &Value) -> Value {
    let mut spec = json!({"myASN": 65000, "peerASN": 65001, "peerAddress": "192.0.2.1"});
    for (field, value) in changes.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    spec.as_object_mut().expect("fields").retain(|_, value| !value.is_null());
    spec
}

#[test]
fn every_mistake_in_a_peer_has_its_exact_text() {
    let selector = |operator: &str, values: &[&str]| json!([{"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}]);
    for (changes, text) in [
        (json!({}), ""),
        (json!({"myASN": 0}), "parsing peer p missing local ASN"),
        (json!({"peerASN": null}), "parsing peer p missing peer ASN and dynamicASN"),
        (json!({"peerASN": 0}), "parsing peer p missing peer ASN and dynamicASN"),
        (json!({"dynamicASN": "internal"}), "parsing peer p both peer ASN and dynamicASN specified"),
        (json!({"peerASN": null, "dynamicASN": "external"}), ""),
        (
            json!({"peerASN": 65000, "ebgpMultiHop": true}),
            "parsing peer p invalid ebgp-multihop parameter set for an ibgp peer",
        ),
        (json!({"peerAddress": null}), "parsing peer p peer has no Address or Interface specified"),
        (json!({"interface": "eth1"}), "parsing peer p peer has both Address and Interface specified"),
        (json!({"peerAddress": null, "interface": "eth1"}), ""),
        (
            json!({"holdTime": "2.5s"}),
            "parsing peer p invalid BGPPeer timers: invalid hold time \"2.5s\": must be 0 or >=3s",
        ),
        (json!({"holdTime": "0s"}), ""),
        (
            json!({"holdTime": "9s", "keepaliveTime": "90s"}),
            "parsing peer p invalid BGPPeer timers: invalid keepaliveTime \"1m30s\", must be lower than holdTime \"9s\"",
        ),
        (json!({"connectTime": "0s"}), "parsing peer p connect time should be between 1 seconds to 65535"),
        (json!({"peerAddress": "192.0.2"}), "parsing peer p invalid BGPPeer address \"192.0.2\""),
        (json!({"routerID": "x"}), "parsing peer p invalid router ID \"x\""),
        (json!({"sourceAddress": "x"}), "parsing peer p invalid source IP \"x\""),
        (
            json!({"nodeSelectors": selector("Is", &[])}),
            "parsing peer p \"Is\" is not a valid label selector operator\nfailed to convert peer p node selector",
        ),
        (
            json!({"nodeSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]}),
            "parsing peer p duplicate definition of nodeSelectors",
        ),
        (
            json!({"nodeSelectors": selector("In", &["b", "b"])}),
            "parsing peer p duplicate definition of match expression value in label selector",
        ),
        (
            json!({"password": "x", "passwordSecret": {"name": "s"}}),
            "parsing peer p can not have both password and secret ref set in peer config \"metallb-system\"/\"p\"",
        ),
        (
            json!({"passwordSecret": {"name": "s"}}),
            "parsing peer p secret ref not found for peer config \"metallb-system\"/\"p\"\nfailed to parse peer p password secret",
        ),
        (json!({"bfdProfile": "fast"}), "peer p referencing non existing bfd profile fast"),
    ] {
        let world = World::of(&[("peer", "p", peer(&changes))]);
        assert_eq!(world.error(), text, "{changes}");
        assert_eq!(world.config(None).bgp_peers.len(), usize::from(text.is_empty()));
    }
}

#[test]
fn a_secret_must_have_the_type_and_the_key() {
    let named = peer(&json!({"passwordSecret": {"name": "bgp-password"}}));
    for (secret, summary) in [
        (json!({"type": "kubernetes.io/basic-auth", "password": true}), None),
        (
            json!({"type": "Opaque", "password": true}),
            Some(
                "configuration error: parsing peer peer1 secret type mismatch on \"metallb-system\"/\"bgp-password\", type \"kubernetes.io/basic-auth\" is expected \nfailed to parse peer peer1 password secret",
            ),
        ),
        (
            json!({"type": "kubernetes.io/basic-auth", "password": false}),
            Some(
                "configuration error: parsing peer peer1 password not specified in the secret \"metallb-system\"/\"bgp-password\"\nfailed to parse peer peer1 password secret",
            ),
        ),
    ] {
        let world = World::of(&[("peer", "peer1", named.clone()), ("secret", "bgp-password", secret)]);
        let config = world.config(None);
        assert_eq!(config.error_summary().as_deref(), summary);
        if summary.is_none() {
            let password = &config.bgp_peers["peer1"].password;
            assert_eq!(*password, Password::Secret("bgp-password".to_owned()));
        }
    }
}

#[test]
fn a_peer_is_read_with_its_defaults() {
    let config = World::of(&[("peer", "p", peer(&json!({"keepaliveTime": "10s", "password": "hidden"})))])
        .config(None);
    let peer = &config.bgp_peers["p"];
    assert_eq!((peer.my_asn, peer.peer_asn, peer.port), (65000, PeerAsn::Number(65001), 179));
    assert_eq!(peer.endpoint, PeerEndpoint::Address("192.0.2.1".parse().expect("an address")));
    let timers = Timers { hold: Duration::from_secs(30), keepalive: Duration::from_secs(10) };
    assert_eq!(peer.timers, Some(timers));
    assert!(!format!("{peer:?}").contains("hidden"), "a password is not for logs");
}

#[test]
fn every_mistake_in_a_bfd_profile_has_its_exact_text() {
    for (field, value, text) in [
        ("receiveInterval", 9, "invalid value 9, must be in 10-60000 range\ninvalid receive interval value"),
        (
            "transmitInterval",
            60_001,
            "invalid value 60001, must be in 10-60000 range\ninvalid transmit interval value",
        ),
        ("echoInterval", 1, "invalid value 1, must be in 10-60000 range\ninvalid echo interval value"),
        ("detectMultiplier", 1, "invalid value 1, must be in 2-255 range\ninvalid detect multiplier value"),
        ("minimumTtl", 255, "invalid value 255, must be in 1-254 range\ninvalid minimum ttl value"),
    ] {
        let world = World::of(&[("bfd", "a", json!({})), ("bfd", "b", json!({field: value}))]);
        assert_eq!(world.error(), format!("parsing bfd profile #2: {text}"));
    }
    let twice = World::of(&[("bfd", "a", json!({})), ("bfd", "a", json!({}))]);
    assert_eq!(twice.error(), "found duplicate bfd profile name a");
    assert_eq!(
        World::of(&[("bfd", "", json!({}))]).error(),
        "parsing bfd profile #1: missing bfd profile name"
    );
}

#[test]
fn a_peer_keeps_its_profile_when_that_is_deleted_and_the_error_is_shown() {
    let guarded = peer(&json!({"bfdProfile": "my-bfd-profile"}));
    let profile = ("bfd", "my-bfd-profile", json!({"detectMultiplier": 5}));
    let before = World::of(&[("peer", "peer1", guarded.clone()), profile]).config(None);
    assert_eq!(before.error_summary(), None);
    let after = World::of(&[("peer", "peer1", guarded)]).config(Some(&before));
    assert_eq!(after.bgp_peers, before.bgp_peers);
    let problem = after.first_error().expect("the profile is missing");
    assert!(problem.transient);
    assert_eq!(problem.error.to_string(), "peer peer1 referencing non existing bfd profile my-bfd-profile");
}

#[test]
fn the_summary_moves_on_as_mistakes_are_removed() {
    let bad = || peer(&json!({"myASN": 0}));
    let mut world = World::of(&[
        ("pool", "a", super::pool(&[])),
        ("peer", "peer2", bad()),
        ("peer", "peer1", bad()),
        ("l2", "a", json!({"ipAddressPools": ["nowhere"]})),
    ]);
    assert_eq!(world.error(), "parsing peer peer1 missing local ASN");
    world.peers.pop();
    assert_eq!(world.error(), "parsing peer peer2 missing local ASN");
    world.peers.pop();
    assert_eq!(world.error(), "pool has no prefixes defined");
    world.pools.pop();
    assert_eq!(world.error(), "", "a pool that is named in vain is no error");
    assert_eq!(world.config(None).problems.len(), 1);
}
