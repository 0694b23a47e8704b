//! Very large pools, very small ones, full ones, and requests that make no sense.

use ipam::{Error, Families, Pool, Usage};
use net::Family;

use crate::world::{PREFER, REQUIRE, Service, V4, ask, get, ips, pool, with};

const V6: Families = Families::One(Family::V6);

#[test]
fn addresses_are_found_and_counted_in_pools_of_any_size() {
    for (ranges, total_v4, total_v6, v4, v6) in [
        (vec!["10.0.0.0/8"], 1 << 24, 0, Some("10.0.0.0"), None),
        (vec!["0.0.0.0/0"], 1 << 32, 0, Some("0.0.0.0"), None),
        (vec!["2001:db8::/64"], 0, 1 << 64, None, Some("2001:db8::")),
        (vec!["::/0"], 0, u128::MAX, None, Some("::")),
        (vec!["::/1", "8000::/1"], 0, u128::MAX, None, Some("::")),
        (vec!["8000::/1", "::/1", "0.0.0.0/0"], 1 << 32, u128::MAX, Some("0.0.0.0"), Some("8000::")),
        (
            vec!["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
            0,
            1,
            None,
            Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ),
        (vec!["255.255.255.255/32"], 1, 0, Some("255.255.255.255"), None),
    ] {
        let mut allocator = with([pool("p", &ranges)]);
        let usage = Usage { total_v4, total_v6, used_v4: 0, used_v6: 0 };
        assert_eq!(allocator.usage("p"), Some(usage), "{ranges:?}");
        for (key, families, address) in [("4", V4, v4), ("6", V6, v6)] {
            let expected = address.map(|address| vec![address.to_owned()]).ok_or(Error::Exhausted);
            assert_eq!(get(&mut allocator, key, families), expected, "{ranges:?}");
        }
        let used_v4 = v4.map_or(0, |_| 1);
        let used_v6 = v6.map_or(0, |_| 1);
        assert_eq!(allocator.usage("p"), Some(Usage { used_v4, used_v6, ..usage }), "{ranges:?}");
    }
}

#[test]
fn the_last_address_of_the_largest_pool_can_be_asked_for() {
    let mut allocator = with([pool("p", &["::/0", "0.0.0.0/0"])]);
    for address in ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "255.255.255.255"] {
        let asked = ips(&[address]);
        let families = Families::One(Family::of(asked[0]));
        let key = address.to_owned();
        let request = ask(families, None, &asked);
        allocator.allocate(&key, Service::default().subject(), request).expect("free");
        let taken = allocator.allocate(&"late".to_owned(), Service::default().subject(), request);
        assert!(matches!(taken, Err(Error::SharingKey { .. })), "{taken:?}");
        allocator.release(&key);
        allocator.allocate(&"late".to_owned(), Service::default().subject(), request).expect("freed");
    }
}

#[test]
fn fifty_pools_of_one_address_are_used_up_by_name() {
    let pools =
        (0..50).map(|number| pool(&format!("p{number:02}"), &[&format!("192.0.2.{}/32", 49 - number)]));
    let mut allocator = with(pools);
    for number in 0..50 {
        let address = format!("192.0.2.{}", 49 - number);
        assert_eq!(get(&mut allocator, &number.to_string(), V4), Ok(vec![address]));
    }
    assert_eq!(get(&mut allocator, "late", V4), Err(Error::Exhausted));
    allocator.release(&"37".to_owned());
    assert_eq!(get(&mut allocator, "late", V4), Ok(vec!["192.0.2.12".to_owned()]));
}

#[test]
fn pools_without_a_usable_address_are_as_good_as_full() {
    let unusable = Pool { avoid_buggy_ips: true, ..pool("p", &["192.0.2.0/32", "192.0.2.255-192.0.3.0"]) };
    let mut allocator = with([unusable, pool("none", &[])]);
    assert_eq!(get(&mut allocator, "s", V4), Err(Error::Exhausted));
    assert!(!allocator.has_free("p", Family::V4));
    for (name, error) in
        [("p", Error::PoolExhausted("p".to_owned())), ("none", Error::PoolLacksFamily("none".to_owned(), V4))]
    {
        let asked =
            allocator.allocate(&"s".to_owned(), Service::default().subject(), ask(V4, Some(name), &[]));
        assert_eq!(asked, Err(error));
    }
}

#[test]
fn what_one_service_cannot_have_is_refused_and_changes_nothing() {
    let mut allocator = with([pool("p", &["192.0.2.0/24", "2001:db8::/64"])]);
    let (key, service) = ("s".to_owned(), Service::default());
    for addresses in [
        vec![],
        vec!["192.0.2.1", "192.0.2.2"],
        vec!["192.0.2.1", "192.0.2.1"],
        vec!["2001:db8::1", "2001:db8::2"],
        vec!["192.0.2.1", "2001:db8::1", "192.0.2.2"],
        vec!["192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.2"],
    ] {
        let addresses = ips(&addresses);
        let adopted = allocator.adopt(&key, service.subject(), &addresses);
        assert_eq!(adopted, Err(Error::NotASet(addresses.clone())));
        if addresses.is_empty() {
            continue;
        }
        for families in [V4, V6, PREFER, REQUIRE] {
            let asked = allocator.allocate(&key, service.subject(), ask(families, None, &addresses));
            assert_eq!(asked, Err(Error::FamilyMismatch(addresses.clone())));
        }
    }
    for (families, address) in [(V6, "192.0.2.1"), (V4, "2001:db8::1"), (REQUIRE, "192.0.2.1")] {
        let addresses = ips(&[address]);
        let asked = allocator.allocate(&key, service.subject(), ask(families, None, &addresses));
        assert_eq!(asked, Err(Error::FamilyMismatch(addresses.clone())));
    }
    let usage = allocator.usage("p").expect("in force");
    assert_eq!((usage.used_v4, usage.used_v6), (0, 0));
}

#[test]
fn no_address_is_given_twice_where_ranges_overlap_against_the_rules() {
    let mut allocator = with([
        pool("a", &["192.0.2.0/31", "192.0.2.1-192.0.2.9"]),
        pool("b", &["192.0.2.0/24"]),
        pool("c", &["192.0.2.2/31"]),
    ]);
    let got: Vec<String> =
        (0..5).filter_map(|key| get(&mut allocator, &key.to_string(), V4).ok()).flatten().collect();
    assert_eq!(got, ["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3"]);
}

#[test]
fn a_refused_adoption_leaves_what_the_service_has() {
    let mut allocator = with([pool("p", &["192.0.2.0/30"])]);
    let (key, service) = ("s".to_owned(), Service::default());
    get(&mut allocator, "other", V4).expect("an address");
    get(&mut allocator, "s", V4).expect("an address");
    for address in ["192.0.2.0", "198.51.100.1"] {
        assert!(allocator.adopt(&key, service.subject(), &ips(&[address])).is_err());
        assert_eq!(allocator.get(&key).expect("kept").addresses, ips(&["192.0.2.1"]));
    }
}
