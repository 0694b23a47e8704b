//! The rules of allocation, one by one.

use std::collections::BTreeSet;

use ipam::{Error, Families, Labels, Pool, Requirement, Selector, ServiceAllocation, Test, Usage};
use net::Family;

use crate::world::{PREFER, REQUIRE, Service, V4, ask, get, ips, pool, with};

#[test]
fn every_refusal_has_its_text() {
    let busy = Service::sharing("key", 80);
    let mut allocator = with([
        pool("p", &["192.0.2.1-192.0.2.2"]),
        pool("v6", &["2001:db8::/127"]),
        Pool {
            allocation: Some(ServiceAllocation {
                namespaces: BTreeSet::from(["other".to_owned()]),
                ..Default::default()
            }),
            ..pool("theirs", &["203.0.113.0/30"])
        },
    ]);
    for (key, address) in [("a", "192.0.2.1"), ("b", "192.0.2.2")] {
        allocator.adopt(&key.to_owned(), busy.subject(), &ips(&[address])).expect("free");
    }
    let unshared = Service::default();
    for (families, pool, addresses, service, text) in [
        (V4, None, vec!["4.3.2.1"], &unshared, "\"4.3.2.1\" is not allowed in config"),
        (
            REQUIRE,
            None,
            vec!["4.3.2.1", "fc00::1"],
            &unshared,
            "[\"4.3.2.1\" \"fc00::1\"] is not allowed in config",
        ),
        (
            REQUIRE,
            None,
            vec!["192.0.2.1", "2001:db8::"],
            &busy,
            "[\"192.0.2.1\" \"2001:db8::\"] is not allowed in config",
        ),
        (V4, None, vec![], &unshared, "no available IPs"),
        (V4, Some("nowhere"), vec![], &unshared, "unknown pool \"nowhere\""),
        (V4, Some("p"), vec![], &unshared, "no available IPs in pool p"),
        (V4, Some("v6"), vec![], &unshared, "no available IPs in pool v6 for ipv4 IPFamily"),
        (REQUIRE, Some("v6"), vec![], &unshared, "no available IPs in pool v6 for dual IPFamily"),
        (V4, Some("theirs"), vec![], &unshared, "pool theirs not compatible for ip assignment"),
        (V4, None, vec!["203.0.113.1"], &unshared, "pool theirs not compatible for ip assignment"),
        (
            V4,
            None,
            vec!["192.0.2.1"],
            &unshared,
            "can't change sharing key for \"s\", address also in use by a",
        ),
        (V4, None, vec!["192.0.2.1"], &busy, "port TCP/80 is already in use on \"192.0.2.1\""),
        (
            V4,
            None,
            vec!["2001:db8::"],
            &unshared,
            "requested loadBalancer IP(s) [\"2001:db8::\"] does not match the ipFamily of the service",
        ),
        (
            V4,
            Some("v6"),
            vec!["192.0.2.1"],
            &Service::sharing("key", 81),
            "requested loadBalancer IP(s) [\"192.0.2.1\"] is not compatible with requested address pool v6",
        ),
    ] {
        let addresses = ips(&addresses);
        let request = ask(families, pool, &addresses);
        let error = allocator.allocate(&"s".to_owned(), service.subject(), request).expect_err(text);
        assert_eq!(error.to_string(), text);
        assert_eq!(allocator.get(&"s".to_owned()), None, "{text}");
    }
    let error = allocator.adopt(&"s".to_owned(), unshared.subject(), &ips(&["192.0.2.1", "192.0.2.2"]));
    assert!(
        error.is_err_and(|error| error
            .to_string()
            .starts_with("[\"192.0.2.1\" \"192.0.2.2\"] cannot be held"))
    );
}

#[test]
fn pools_that_say_for_whom_they_are_come_first_by_priority_and_name() {
    let pinned = |name: &str, range: &str, priority| Pool {
        allocation: Some(ServiceAllocation { priority, ..Default::default() }),
        ..pool(name, &[range])
    };
    let mut allocator = with([
        pool("a-general", &["192.0.2.0/32"]),
        pinned("b-unset", "192.0.2.1/32", 0),
        pinned("z-second", "192.0.2.2/32", 20),
        pinned("d-second", "192.0.2.3/32", 20),
        pinned("y-first", "192.0.2.4/32", 10),
        Pool { auto_assign: false, ..pinned("manual", "192.0.2.5/32", 1) },
        pool("b-general", &["192.0.2.6/32"]),
    ]);
    for (key, address) in
        ["192.0.2.4", "192.0.2.3", "192.0.2.2", "192.0.2.1", "192.0.2.0", "192.0.2.6"].iter().enumerate()
    {
        assert_eq!(get(&mut allocator, &key.to_string(), V4).expect("an address"), [*address]);
    }
    assert_eq!(get(&mut allocator, "last", V4), Err(Error::Exhausted));
}

#[test]
fn a_pool_is_for_the_namespaces_and_services_that_it_names() {
    let selector = |key: &str| Selector::new([Requirement { key: key.to_owned(), test: Test::Exists }]);
    let labels = |key: &str| Labels::from([(key.to_owned(), String::new())]);
    let by =
        |rules: ServiceAllocation| with([Pool { allocation: Some(rules), ..pool("p", &["192.0.2.0/28"]) }]);
    for (rules, service, fits) in [
        (
            ServiceAllocation { namespace_selectors: vec![selector("prod")], ..Default::default() },
            Service::default(),
            false,
        ),
        (
            ServiceAllocation { namespace_selectors: vec![selector("prod")], ..Default::default() },
            Service { namespace_labels: labels("prod"), ..Service::default() },
            true,
        ),
        (
            ServiceAllocation { service_selectors: vec![selector("web")], ..Default::default() },
            Service { labels: labels("web"), ..Service::default() },
            true,
        ),
        (
            ServiceAllocation {
                namespaces: BTreeSet::from(["default".to_owned()]),
                service_selectors: vec![selector("web")],
                ..Default::default()
            },
            Service::default(),
            false,
        ),
    ] {
        for request in [ask(V4, None, &[]), ask(V4, Some("p"), &[]), ask(V4, None, &ips(&["192.0.2.1"]))] {
            let got = by(rules.clone()).allocate(&"s".to_owned(), service.subject(), request).is_ok();
            assert_eq!(got, fits, "{rules:?} {request:?}");
        }
    }
}

#[test]
fn usable_addresses_are_counted_and_given_without_the_buggy_ones() {
    let buggy = |pool: Pool| Pool { avoid_buggy_ips: true, ..pool };
    for (pool, total_v4, total_v6) in [
        (pool("p", &["192.0.2.0/24"]), 256, 0),
        (pool("p", &["192.0.2.0/24", "198.51.100.0/25"]), 384, 0),
        (buggy(pool("p", &["192.0.2.0/24", "198.51.100.0/25"])), 381, 0),
        (buggy(pool("p", &["192.0.2.0/24", "2001:db8::/64"])), 254, 1 << 64),
        (buggy(pool("p", &["192.0.2.0/31", "2001:db8::/127"])), 1, 2),
    ] {
        let usage = with([pool.clone()]).usage("p").expect("in force");
        assert_eq!(usage, Usage { total_v4, total_v6, used_v4: 0, used_v6: 0 }, "{pool:?}");
    }
    let mut allocator = with([
        pool("a", &["10.0.0.0/31"]),
        pool("b", &["10.0.0.254/31"]),
        buggy(pool("c", &["10.0.1.0/31"])),
        buggy(pool("d", &["10.0.1.254/31"])),
    ]);
    let got: Vec<String> =
        (0..7).filter_map(|key| get(&mut allocator, &key.to_string(), V4).ok()).flatten().collect();
    assert_eq!(got, ["10.0.0.0", "10.0.0.1", "10.0.0.254", "10.0.0.255", "10.0.1.1", "10.0.1.254"]);
    let buggy_one = ips(&["10.0.1.255"]);
    let asked = allocator.allocate(&"s".to_owned(), Service::default().subject(), ask(V4, None, &buggy_one));
    assert_eq!(asked, Err(Error::NotAllowed(buggy_one.clone())));
}

#[test]
fn both_addresses_are_from_one_pool() {
    let v4 = || pool("v4", &["192.0.2.0/28"]);
    let v6 = || pool("v6", &["2001:db8::/124"]);
    let both = || pool("zz", &["198.51.100.0/28", "2001:db8:1::/124"]);
    let v6_first = Families::Both { primary: Family::V6, required: false };
    for (pools, families, addresses) in [
        (vec![v4(), v6(), both()], REQUIRE, vec!["198.51.100.0", "2001:db8:1::"]),
        (vec![v4(), v6(), both()], PREFER, vec!["198.51.100.0", "2001:db8:1::"]),
        (vec![v4(), v6()], PREFER, vec!["192.0.2.0"]),
        (vec![v4(), v6()], v6_first, vec!["2001:db8::"]),
        (vec![v6()], PREFER, vec!["2001:db8::"]),
        (vec![v4(), v6()], REQUIRE, vec![]),
    ] {
        let got = get(&mut with(pools), "s", families).unwrap_or_default();
        assert_eq!(got, addresses, "{families:?}");
    }
}

#[test]
fn an_address_is_added_from_the_same_pool_once() {
    let mut allocator =
        with([pool("p", &["192.0.2.0/28", "2001:db8::/128"]), pool("q", &["2001:db8:1::/124"])]);
    let (service, key) = (Service::default(), "s".to_owned());
    assert_eq!(allocator.extend(&key, service.subject()), Err(Error::NothingToExtend));
    get(&mut allocator, "s", V4).expect("an address");
    assert_eq!(allocator.extend(&key, service.subject()), Ok(ips(&["2001:db8::"])[0]));
    assert_eq!(allocator.extend(&key, service.subject()), Err(Error::NothingToExtend));
    get(&mut allocator, "t", V4).expect("an address");
    let full = allocator.extend(&"t".to_owned(), service.subject());
    assert_eq!(full, Err(Error::PoolExhausted("p".to_owned())));
    assert_eq!(allocator.get(&"t".to_owned()).expect("kept").addresses, ips(&["192.0.2.1"]));
}

#[test]
fn a_sole_user_changes_its_conditions_and_one_of_several_does_not() {
    let mut allocator = with([pool("p", &["192.0.2.0/28"])]);
    let address = ips(&["192.0.2.0"]);
    let mut adopt = |key: &str, service: &Service| {
        allocator
            .adopt(&key.to_owned(), service.subject(), &address)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(adopt("a", &Service::sharing("x", 80)), Ok(()));
    assert_eq!(adopt("a", &Service::sharing("y", 81)), Ok(()));
    assert_eq!(adopt("b", &Service::sharing("y", 80)), Ok(()), "port 80 is free again");
    let refused = "can't change sharing key for \"a\", address also in use by b".to_owned();
    assert_eq!(adopt("a", &Service::sharing("x", 81)), Err(refused));
    assert_eq!(
        adopt("c", &Service::sharing("y", 81)),
        Err("port TCP/81 is already in use on \"192.0.2.0\"".to_owned())
    );
}

#[test]
fn new_pools_keep_what_they_hold_and_say_who_lost_what() {
    let mut allocator = with([pool("p", &["192.0.2.0/28", "2001:db8::/124"])]);
    get(&mut allocator, "one", V4).expect("an address");
    get(&mut allocator, "two", REQUIRE).expect("two addresses");
    let lost = allocator.set_pools([pool("q", &["192.0.2.0/28"])]);
    let lost: Vec<_> = lost.into_iter().map(|(key, had)| (key, had.addresses)).collect();
    assert_eq!(lost, [("two".to_owned(), ips(&["192.0.2.1", "2001:db8::"]))]);
    assert_eq!(&*allocator.get(&"one".to_owned()).expect("kept").pool, "q");
    assert_eq!(get(&mut allocator, "three", V4).expect("an address"), ["192.0.2.1"]);
}

#[test]
fn the_size_of_a_pool_does_not_matter() {
    let mut allocator = with([Pool { avoid_buggy_ips: true, ..pool("p", &["10.0.0.0/8", "2001:db8::/32"]) }]);
    for key in 0..2_000 {
        get(&mut allocator, &key.to_string(), REQUIRE).expect("two addresses");
    }
    allocator.release(&"700".to_owned());
    // 254 usable addresses in each block of 256: number 700 is in the third.
    assert_eq!(get(&mut allocator, "again", REQUIRE).expect("freed"), ["10.0.2.193", "2001:db8::2bc"]);
}
