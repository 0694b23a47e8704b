//! What admission refuses.

use config::{Change, Kind, Object, ObjectRef, Resources, validate};
use serde_json::{Value, json};

use super::{World, pool};

/// Asks for an object to be created or changed: the reason of the refusal, or nothing.
pub(crate) fn review(resources: &Resources<'_>, kind: &str, name: &str, spec: &Value) -> String {
    let asked = World::of(&[(kind, name, spec.clone())]);
    let object = match kind {
        "pool" => Object::IpAddressPool(&asked.pools[0]),
        "l2" => Object::L2Advertisement(&asked.l2_advertisements[0]),
        "bgp" => Object::BgpAdvertisement(&asked.bgp_advertisements[0]),
        "peer" => Object::BgpPeer(&asked.peers[0]),
        "bfd" => Object::BfdProfile(&asked.profiles[0]),
        _ => Object::Community(&asked.communities[0]),
    };
    let result = validate(resources, Change::Apply(object));
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_change_is_refused_for_what_it_spoils_and_for_nothing_else() {
    let peer = |field: &str, value: Value| {
        let mut spec = json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1"});
        spec[field] = value;
        spec
    };
    let world = World::of(&[
        ("pool", "p", pool(&["198.51.100.0/24"])),
        ("pool", "broken", pool(&["x"])),
        ("bgp", "wide", json!({"aggregationLength": 24, "localPref": 7, "ipAddressPools": ["p"]})),
        ("community", "c", json!({"communities": [{"name": "mine", "value": "1:2"}]})),
    ]);
    for (kind, name, spec, refusal) in [
        ("pool", "q", pool(&["203.0.113.0/24"]), ""),
        (
            "pool",
            "a",
            pool(&["198.51.100.7/32"]),
            "CIDR \"198.51.100.7/32\" in pool \"a\" overlaps with already defined CIDR \"198.51.100.0/24\"",
        ),
        ("pool", "p", pool(&["198.51.100.0/23"]), ""),
        (
            "pool",
            "p",
            pool(&["198.51.100.0/26"]),
            "invalid aggregation length 24: prefix 26 in this pool is more specific than the aggregation length for addresses 198.51.100.0/26",
        ),
        ("pool", "broken", pool(&[]), "pool has no prefixes defined"),
        ("l2", "l2", json!({"ipAddressPools": ["nowhere"]}), ""),
        ("l2", "l2", json!({"ipAddressPools": ["p", "p"]}), "duplicate definition of ipAddressPools \"p\""),
        ("bgp", "adv", json!({"communities": ["still-unknown", "mine"]}), ""),
        ("bgp", "adv", json!({"communities": ["1:2:3"]}), "invalid community format: 1:2:3"),
        (
            "bgp",
            "adv",
            json!({"aggregationLength": 16, "communities": ["still-unknown"], "ipAddressPools": ["p"]}),
            "invalid aggregation length 16: prefix 24 in this pool is more specific than the aggregation length for addresses 198.51.100.0/24",
        ),
        ("peer", "p", peer("bfdProfile", json!("nowhere")), ""),
        ("peer", "p", peer("passwordSecret", json!({"name": "nowhere"})), ""),
        ("peer", "p", peer("disableMP", json!(true)), ""),
        ("peer", "p", peer("myASN", json!(0)), "parsing peer p missing local ASN"),
        (
            "bfd",
            "b",
            json!({"detectMultiplier": 1}),
            "parsing bfd profile #1: invalid value 1, must be in 2-255 range\ninvalid detect multiplier value",
        ),
        (
            "community",
            "d",
            json!({"communities": [{"name": "mine", "value": "1:3"}]}),
            "duplicate definition of community \"mine\"",
        ),
        ("community", "c", json!({"communities": [{"name": "mine", "value": "1:3"}]}), ""),
    ] {
        assert_eq!(review(&world.resources(), kind, name, &spec), refusal, "{kind} {name} {spec}");
    }
}

#[test]
fn a_profile_in_use_is_not_deleted() {
    let spec = json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "bfdProfile": "fast"});
    let world = World::of(&[("bfd", "fast", json!({})), ("peer", "z", spec.clone()), ("peer", "y", spec)]);
    let delete = |kind, name: &str| {
        let object = ObjectRef { kind, name: name.to_owned() };
        validate(&world.resources(), Change::Delete(&object)).map_err(|error| error.to_string())
    };
    assert_eq!(
        delete(Kind::BFDProfile, "fast"),
        Err("failed to delete BFDProfile fast, used by BGPPeer y".to_owned())
    );
    assert_eq!(delete(Kind::BFDProfile, "slow"), Ok(()));
    assert_eq!(delete(Kind::BGPPeer, "y"), Ok(()));
}
