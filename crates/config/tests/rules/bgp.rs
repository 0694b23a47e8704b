//! BGPAdvertisements and Communities.

use config::Community;
use serde_json::json;

use super::{World, pool};

const LONG: &str = "Check existing BGP advertisements with common pools and aggregation lengths";

#[test]
fn what_is_no_mistake_in_an_advertisement_is_in_force() {
    for spec in [
        json!({}),
        json!({"aggregationLength": 26}),
        json!({"aggregationLength": 32, "aggregationLengthV6": 128, "serviceSelectors": [{}]}),
        json!({"communities": ["1:2", "large:1:2:4294967295"]}),
        json!({"ipAddressPools": ["p", "nowhere"], "peers": ["nobody"]}),
    ] {
        let world = World::of(&[
            ("pool", "p", pool(&["198.51.100.0/25", "192.0.2.70/26"])),
            ("bgp", "adv", spec.clone()),
        ]);
        assert_eq!(world.error(), "", "{spec}");
    }
}

#[test]
fn of_two_objects_of_one_name_from_two_namespaces_none_is_good() {
    let twice = World::of(&[("bgp", "a", json!({})), ("bgp", "a", json!({}))]);
    assert_eq!(twice.error(), "duplicate definition of bgpadvertisements. advertisement 1 and 2 are equal");
}

#[test]
fn the_state_recovers_when_the_name_of_a_community_is_given() {
    let mut world = World::of(&[("bgp", "adv", json!({"communities": ["mine"]}))]);
    let before = world.config(None);
    assert!(before.bgp_advertisements.is_empty() && before.problems[0].transient);
    world.add("community", "c", &json!({"communities": [{"name": "mine", "value": "65000:7"}]}));
    let config = world.config(Some(&before));
    assert_eq!(config.error_summary(), None);
    assert!(config.bgp_advertisements["adv"].communities.contains(&Community::Standard(65000, 7)));
}

#[test]
fn local_preferences_collide_only_for_one_and_the_same_route() {
    let collision = format!(
        "invalid local preference 200: local preferernce 100 was already set for the same type of BGP update. {LONG}"
    );
    let nodes = |key: &str| json!([{"matchLabels": {key: "yes"}}]);
    for (one, two, collides) in [
        (json!({}), json!({}), true),
        (json!({}), json!({"localPref": 100}), false),
        (json!({"ipAddressPools": ["v4"]}), json!({"ipAddressPools": ["v6"]}), false),
        (json!({"ipAddressPools": ["v4"]}), json!({}), true),
        (json!({"peers": ["a", "b"]}), json!({"peers": ["c"]}), false),
        (json!({"peers": ["a", "b"]}), json!({"peers": ["b"]}), true),
        (
            json!({"ipAddressPools": ["v4"]}),
            json!({"ipAddressPools": ["v4"], "aggregationLength": 26}),
            false,
        ),
        (
            json!({"ipAddressPools": ["v4"]}),
            json!({"ipAddressPools": ["v4"], "aggregationLengthV6": 120}),
            true,
        ),
        (json!({"aggregationLength": 26}), json!({"ipAddressPools": ["v6"]}), true),
        (json!({"serviceSelectors": [{}]}), json!({}), false),
        (json!({"nodeSelectors": nodes("x")}), json!({"nodeSelectors": nodes("y")}), true),
        (json!({"nodeSelectors": nodes("x")}), json!({"nodeSelectors": nodes("z")}), false),
        (json!({"nodeSelectors": nodes("gone")}), json!({}), false),
    ] {
        let (mut first, mut second) = (json!({"localPref": 100}), json!({"localPref": 200}));
        for (spec, changes) in [(&mut first, &one), (&mut second, &two)] {
            for (field, value) in changes.as_object().expect("fields") {
                spec[field] = value.clone();
            }
        }
        let world = World::of(&[
            ("pool", "v4", pool(&["192.0.2.0/24"])),
            ("pool", "v6", pool(&["2001:db8::/120"])),
            ("bgp", "a", first),
            ("bgp", "b", second),
            ("node", "one", json!({"x": "yes", "y": "yes"})),
            ("node", "two", json!({"z": "yes"})),
        ]);
        assert_eq!(world.error(), if collides { collision.as_str() } else { "" }, "{one} {two}");
    }
}

#[test]
fn a_conflict_that_a_new_label_of_a_node_makes_is_shown_and_takes_nothing_away() {
    let of_nodes =
        |key: &str, pref: u32| json!({"localPref": pref, "nodeSelectors": [{"matchLabels": {key: "yes"}}]});
    let mut world = World::of(&[
        ("pool", "p", pool(&["192.0.2.0/24"])),
        ("bgp", "a", of_nodes("x", 100)),
        ("bgp", "b", of_nodes("y", 200)),
        ("node", "n", json!({"x": "yes"})),
    ]);
    let before = world.config(None);
    assert_eq!(before.error_summary(), None);
    world.nodes[0].insert("y".to_owned(), "yes".to_owned());
    let after = world.config(Some(&before));
    assert_eq!(after.problems.len(), 1);
    assert_eq!(after.bgp_advertisements, before.bgp_advertisements);
    world.nodes[0].remove("x");
    assert_eq!(world.config(Some(&after)).error_summary(), None);
}

#[test]
fn no_route_is_larger_than_the_range_that_it_is_from() {
    let world = World::of(&[
        ("pool", "p", pool(&["198.51.100.0/24", "192.0.2.64/26"])),
        ("bgp", "exact", json!({})),
        ("bgp", "wide", json!({"aggregationLength": 24})),
    ]);
    let config = world.config(None);
    let routes = |address: &str| -> Vec<(String, u8)> {
        let routes = config.bgp_routes(address.parse().expect("an address"));
        routes.map(|(advertisement, length)| (advertisement.name.clone(), length)).collect()
    };
    assert_eq!(routes("198.51.100.9"), [("exact".to_owned(), 32), ("wide".to_owned(), 24)]);
    assert_eq!(routes("192.0.2.70"), [("exact".to_owned(), 32)]);
    assert_eq!(routes("203.0.113.1"), []);
}

#[test]
fn bfd_echo_and_ipv6_do_not_go_together() {
    let world = World::of(&[
        ("bfd", "echo", json!({"echoMode": true})),
        ("peer", "p", json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "bfdProfile": "echo"})),
        ("pool", "v6", pool(&["2001:db8::/120"])),
        ("bgp", "adv", json!({})),
    ]);
    assert_eq!(
        world.error(),
        "pool v6 has bgpadvertisement adv which references peer p which has bfd echo enabled, which is not possible"
    );
}

#[test]
fn a_namespace_selector_that_matches_nothing_serves_nobody() {
    let mut spec = pool(&["192.0.2.0/24"]);
    spec["serviceAllocation"] = json!({"namespaceSelectors": [{"matchLabels": {"team": "nobody"}}]});
    let config = World::of(&[("pool", "p", spec)]).config(None);
    let labels = config::Labels::from([("team".to_owned(), "shop".to_owned())]);
    assert!(!config.pools["p"].admits("shop", &labels, &config::Labels::new()));
}
