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
fn what_is_no_mistake_in_a_peer_is_in_force() {
    for changes in [
        json!({}),
        json!({"peerASN": null, "dynamicASN": "external"}),
        json!({"peerAddress": null, "interface": "eth1"}),
        json!({"holdTime": "0s"}),
        json!({"peerPort": 0}),
    ] {
        let world = World::of(&[("peer", "p", peer(&changes))]);
        assert_eq!(world.error(), "", "{changes}");
        assert_eq!(world.config(None).bgp_peers.len(), 1);
    }
}

#[test]
fn a_password_may_be_in_a_secret() {
    let named = peer(&json!({"passwordSecret": {"name": "bgp-password"}}));
    let secret = json!({"type": "kubernetes.io/basic-auth", "key": "password"});
    let config = World::of(&[("peer", "peer1", named), ("secret", "bgp-password", secret)]).config(None);
    assert_eq!(config.error_summary(), None);
    assert_eq!(config.bgp_peers["peer1"].password, Password::Secret("bgp-password".to_owned()));
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
fn a_bfd_profile_has_one_name_and_no_other_has_it() {
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
