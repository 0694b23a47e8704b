//! From objects to the Config.

use api::{
    IPAddressPool, IPAddressPoolSpec, L2Advertisement, L2AdvertisementSpec, PreferredNodeSelector,
    ServiceAllocation,
};
use config::{Config, Kind, Labels, ObjectRef, Problem, Resources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use proptest::prelude::*;

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn pool(name: &str, addresses: &[&str]) -> IPAddressPool {
    let spec = IPAddressPoolSpec { addresses: strings(addresses), ..IPAddressPoolSpec::default() };
    IPAddressPool { metadata: metadata(name), spec, status: None }
}

fn labelled(name: &str, addresses: &[&str], key: &str) -> IPAddressPool {
    let mut pool = pool(name, addresses);
    pool.metadata.labels = Some(labels(key));
    pool
}

fn labels(key: &str) -> Labels {
    Labels::from([(key.to_owned(), "yes".to_owned())])
}

fn with(key: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(labels(key)), match_expressions: None }
}

fn unreadable() -> LabelSelector {
    let expression =
        LabelSelectorRequirement { key: "a".to_owned(), operator: "Is".to_owned(), values: None };
    LabelSelector { match_labels: None, match_expressions: Some(vec![expression]) }
}

fn l2(name: &str, spec: L2AdvertisementSpec) -> L2Advertisement {
    L2Advertisement { metadata: metadata(name), spec, status: None }
}

fn build(
    pools: &[IPAddressPool],
    l2_advertisements: &[L2Advertisement],
    previous: Option<&Config>,
) -> Config {
    let resources = Resources {
        pools: pools.iter().collect(),
        l2_advertisements: l2_advertisements.iter().collect(),
        ..Resources::default()
    };
    Config::build(&resources, previous)
}

fn only_problem(config: &Config) -> &Problem {
    match config.problems.as_slice() {
        [problem] => problem,
        other => panic!("expected one problem, found {other:?}"),
    }
}

fn pool_names(config: &Config) -> Vec<&str> {
    config.pools.keys().map(String::as_str).collect()
}

#[test]
fn a_pool_that_cannot_be_meant_is_left_out_with_the_reason_and_the_others_stay() {
    let good = pool("good", &["198.51.100.0/24"]);
    let allocation = |rules: ServiceAllocation| {
        let mut pool = pool("bad", &["192.0.2.0/24"]);
        pool.spec.service_allocation = Some(rules);
        pool
    };
    for (bad, message) in [
        (pool("bad", &[]), "pool has no prefixes defined"),
        (
            pool("bad", &["192.0.2.1"]),
            "invalid CIDR \"192.0.2.1\" in pool \"bad\": expected a prefix such as",
        ),
        (
            pool("bad", &["192.0.2.0/24", "x"]),
            "invalid CIDR \"x\" in pool \"bad\": expected a prefix such as",
        ),
        (
            pool("bad", &["192.0.2.9-192.0.2.1"]),
            "in pool \"bad\": invalid IP range \"192.0.2.9-192.0.2.1\": start IP",
        ),
        (pool("bad", &["10.0.0.1-2001:db8::1"]), "are not of the same family"),
        (
            pool("bad", &["192.0.2.0/24", "192.0.2.128-192.0.3.1"]),
            "CIDR \"192.0.2.128-192.0.3.1\" in pool \"bad\" overlaps with already defined CIDR \"192.0.2.0/24\"; that one is of pool \"bad\"",
        ),
        (
            pool("z-bad", &["198.51.0.0/16"]),
            "CIDR \"198.51.0.0/16\" in pool \"z-bad\" overlaps with already defined CIDR \"198.51.100.0/24\"",
        ),
        (
            allocation(ServiceAllocation { namespaces: strings(&["a", "a"]), ..Default::default() }),
            "duplicate definition in namespaces field",
        ),
        (
            allocation(ServiceAllocation {
                service_selectors: vec![with("a"), with("a")],
                ..Default::default()
            }),
            "duplicate definition of serviceSelectors",
        ),
        (
            allocation(ServiceAllocation { namespace_selectors: vec![unreadable()], ..Default::default() }),
            "invalid label selector in namespaceSelectors: \"Is\" is not a valid label selector operator",
        ),
    ] {
        let name = bad.metadata.name.clone().expect("named");
        let config = build(&[bad, good.clone()], &[], None);
        assert_eq!(pool_names(&config), ["good"]);
        assert_eq!(config.pools_left_out.iter().collect::<Vec<_>>(), [&name]);
        let problem = only_problem(&config);
        assert_eq!(problem.object, ObjectRef { kind: Kind::IPAddressPool, name });
        assert!(problem.message().contains(message), "{}", problem.message());
        assert!(
            problem.message().ends_with("; the pool is not in use until this is corrected"),
            "{}",
            problem.message()
        );
        assert!(!problem.transient);
    }
}

#[test]
fn of_two_objects_with_one_name_none_is_good() {
    let config = build(&[pool("p", &["192.0.2.0/24"]), pool("p", &["198.51.100.0/24"])], &[], None);
    assert!(config.pools.is_empty());
    assert!(only_problem(&config).message().starts_with("duplicate definition of pool \"p\""));
}

#[test]
fn the_last_good_version_of_a_pool_stays_in_force() {
    let before = build(&[pool("p", &["192.0.2.0/24"])], &[], None);
    let broken = build(&[pool("p", &["192.0.2.0/33"])], &[], Some(&before));
    assert_eq!(broken.pools, before.pools);
    assert!(broken.pools_left_out.is_empty());
    assert!(only_problem(&broken).message().contains("its last valid version stays in force"));
    let still = build(&[pool("p", &["192.0.2.0/33"]), pool("q", &["198.51.100.0/24"])], &[], Some(&broken));
    assert_eq!(pool_names(&still), ["p", "q"]);
    let mended = build(&[pool("p", &["192.0.2.0/25"])], &[], Some(&still));
    assert!(mended.problems.is_empty());
    let gone = build(&[], &[], Some(&still));
    assert!(gone.pools.is_empty() && gone.problems.is_empty());
}

#[test]
fn of_two_pools_that_overlap_the_one_that_was_there_stays_else_the_first_by_name() {
    let (a, b) = (pool("a", &["192.0.2.0/25"]), pool("b", &["192.0.2.128/25"]));
    let grown = pool("a", &["192.0.2.0/24"]);
    let before = build(&[a.clone(), b.clone()], &[], None);
    let config = build(&[grown.clone(), b.clone()], &[], Some(&before));
    assert_eq!(config.pools, before.pools);
    assert_eq!(only_problem(&config).object.name, "a");
    let afresh = build(&[b.clone(), grown.clone()], &[], None);
    assert_eq!(pool_names(&afresh), ["a"]);
    assert_eq!(only_problem(&afresh).object.name, "b");
    // Two pools may change places in one step.
    let swapped = build(&[pool("a", &["192.0.2.128/25"]), pool("b", &["192.0.2.0/25"])], &[], Some(&before));
    assert!(swapped.problems.is_empty());
}

#[test]
fn an_address_belongs_to_the_pool_that_has_it() {
    let mut careful = pool("careful", &["203.0.113.0/24", "2001:db8::/64"]);
    careful.spec.avoid_buggy_ips = Some(true);
    let config = build(&[careful, pool("p", &["192.0.2.10-192.0.2.20", "198.51.100.0/31"])], &[], None);
    for (address, owner) in [
        ("192.0.2.9", None),
        ("192.0.2.10", Some("p")),
        ("192.0.2.20", Some("p")),
        ("192.0.2.21", None),
        ("198.51.100.1", Some("p")),
        ("203.0.113.0", None),
        ("203.0.113.255", None),
        ("203.0.113.1", Some("careful")),
        ("2001:db8::", Some("careful")),
        ("2001:db8:0:1::", None),
        ("0.0.0.0", None),
        ("ffff::", None),
    ] {
        let found = config.pool_of(address.parse().expect("an address"));
        assert_eq!(found.map(|pool| pool.name.as_str()), owner, "{address}");
    }
}

#[test]
fn an_advertisement_announces_the_pools_it_names_or_selects_or_else_all() {
    let pools = [
        labelled("a", &["192.0.2.0/26"], "x"),
        labelled("b", &["192.0.2.64/26"], "y"),
        pool("c", &["192.0.2.128/26"]),
    ];
    for (names, selectors, announced) in [
        (&[][..], vec![], &["a", "b", "c"][..]),
        (&["c"], vec![], &["c"]),
        (&[], vec![with("x")], &["a"]),
        (&["c"], vec![with("x"), with("y")], &["a", "b", "c"]),
        (&[], vec![with("z")], &[]),
    ] {
        let spec = L2AdvertisementSpec {
            ip_address_pools: strings(names),
            ip_address_pool_selectors: selectors,
            ..L2AdvertisementSpec::default()
        };
        let config = build(&pools, &[l2("l2", spec)], None);
        let found: Vec<&String> = config.l2_advertisements["l2"].pools.iter().collect();
        assert_eq!(found, announced);
        for pool in ["a", "b", "c"] {
            let names: Vec<&str> = config.l2_advertisements_of(pool).map(|adv| adv.name.as_str()).collect();
            assert_eq!(!names.is_empty(), announced.contains(&pool));
        }
    }
}

#[test]
fn an_advertisement_of_a_pool_that_is_not_there_stays_in_force_for_the_others() {
    let naming = |names: &[&str]| {
        l2("l2", L2AdvertisementSpec { ip_address_pools: strings(names), ..L2AdvertisementSpec::default() })
    };
    let good = pool("p", &["192.0.2.0/24"]);
    let config = build(std::slice::from_ref(&good), &[naming(&["p", "nowhere"])], None);
    assert_eq!(config.l2_advertisements["l2"].pools.len(), 1);
    let problem = only_problem(&config);
    assert!(problem.transient);
    for part in ["L2Advertisement \"l2\"", "IPAddressPool \"nowhere\"", "does not exist; create it"] {
        assert!(problem.message().contains(part), "{}", problem.message());
    }
    let only_unknown = build(std::slice::from_ref(&good), &[naming(&["nowhere"])], None);
    assert!(
        only_unknown.l2_advertisements["l2"].pools.is_empty(),
        "an unknown pool is not the same as none named"
    );
    let invalid = build(&[good, pool("bad", &["x"])], &[naming(&["bad"])], None);
    let message = invalid.problems.last().expect("two problems").message();
    assert!(message.contains("\"bad\", which is not valid; correct that pool"), "{message}");
}

#[test]
fn an_advertisement_that_cannot_be_meant_is_left_out_or_stays_as_it_was() {
    let weight = |weight| L2AdvertisementSpec {
        preferred_node_selectors: vec![PreferredNodeSelector { weight, preference: with("a") }],
        ..L2AdvertisementSpec::default()
    };
    let pools = [pool("p", &["192.0.2.0/24"])];
    let before = build(&pools, &[l2("l2", weight(7))], None);
    assert_eq!(before.l2_advertisements["l2"].preference(&labels("a")), 7);
    for (bad, message) in [
        (weight(0), "invalid weight 0 in preferredNodeSelectors: must be in 1-100 range"),
        (weight(101), "invalid weight 101"),
        (
            L2AdvertisementSpec { ip_address_pools: strings(&["p", "p"]), ..Default::default() },
            "duplicate definition of ipAddressPools \"p\"",
        ),
        (
            L2AdvertisementSpec { node_selectors: vec![with("a"), with("a")], ..Default::default() },
            "duplicate definition of nodeSelectors",
        ),
        (
            L2AdvertisementSpec { service_selectors: vec![unreadable()], ..Default::default() },
            "invalid label selector in serviceSelectors",
        ),
    ] {
        let afresh = build(&pools, &[l2("l2", bad.clone())], None);
        assert!(afresh.l2_advertisements.is_empty());
        assert!(only_problem(&afresh).message().starts_with(message), "{}", only_problem(&afresh).message());
        let kept = build(&pools, &[l2("l2", bad)], Some(&before));
        assert_eq!(kept.l2_advertisements, before.l2_advertisements);
        assert!(only_problem(&kept).message().contains("stays in force"));
    }
}

#[test]
fn selectors_of_an_advertisement_are_alternatives_and_none_means_all() {
    let spec = L2AdvertisementSpec {
        node_selectors: vec![with("rack"), with("edge")],
        service_selectors: vec![with("public")],
        interfaces: strings(&["eth1", "eth0"]),
        ..L2AdvertisementSpec::default()
    };
    let config = build(&[], &[l2("some", spec), l2("every", L2AdvertisementSpec::default())], None);
    let (some, every) = (&config.l2_advertisements["some"], &config.l2_advertisements["every"]);
    for (key, node, service) in
        [("rack", true, false), ("edge", true, false), ("public", false, true), ("x", false, false)]
    {
        assert_eq!(
            (some.matches_node(&labels(key)), some.matches_service(&labels(key))),
            (node, service),
            "{key}"
        );
        assert!(every.matches_node(&labels(key)) && every.matches_service(&labels(key)));
    }
    assert_eq!(some.interfaces.iter().collect::<Vec<_>>(), ["eth0", "eth1"]);
    assert_eq!(some.preference(&labels("x")), 0);
}

fn any_pool() -> impl Strategy<Value = IPAddressPool> {
    let ranges = prop::collection::vec((0_u8..60, 0_u8..9), 0..3);
    (0_u8..6, ranges).prop_map(|(name, ranges)| {
        let addresses: Vec<String> =
            ranges.iter().map(|(first, size)| format!("192.0.2.{first}-192.0.2.{}", first + size)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        pool(&format!("p{name}"), &addresses)
    })
}

proptest! {
    #[test]
    fn pools_in_force_never_overlap_and_every_object_is_in_force_or_has_a_problem(
        lives in prop::collection::vec(prop::collection::vec(any_pool(), 0..6), 1..5),
    ) {
        let mut config: Option<Config> = None;
        for mut pools in lives {
            let next = build(&pools, &[], config.as_ref());
            pools.reverse();
            prop_assert_eq!(&build(&pools, &[], config.as_ref()), &next, "the order of objects does not matter");
            prop_assert_eq!(&build(&pools, &[], Some(&next)).pools, &next.pools, "nothing changes by itself");
            let ranges: Vec<_> = next.pools.values().flat_map(|pool| &pool.ranges).collect();
            for (place, range) in ranges.iter().enumerate() {
                prop_assert!(!ranges[place + 1..].iter().any(|other| other.overlaps(range)));
            }
            for pool in &pools {
                let name = pool.metadata.name.as_deref().expect("named");
                let has_problem = next.problems.iter().any(|problem| problem.object.name == name);
                prop_assert!(next.pools.contains_key(name) || has_problem);
                prop_assert_eq!(next.pools_left_out.contains(name), !next.pools.contains_key(name));
            }
            config = Some(next);
        }
    }
}
