//! Who is named when an address becomes free.

use std::collections::BTreeSet;

use ipam::{Allocator, Families, Pool, ServiceAllocation, Waiter};
use net::Family;

use crate::world::{PREFER, REQUIRE, Service, V4, ask, get, ips, pool, with};

const V6: Families = Families::One(Family::V6);

/// All who are named for an address, in order.
fn named(allocator: &Allocator<String>, address: &str) -> Vec<String> {
    let address = ips(&[address])[0];
    let mut found: Vec<Waiter<String>> = Vec::new();
    while let Some(next) = allocator.next_waiter(address, found.last()) {
        found.push(next);
    }
    found.into_iter().map(|waiter| waiter.key).collect()
}

fn wait(
    allocator: &mut Allocator<String>,
    key: &str,
    since: i64,
    families: Families,
    pool: Option<&str>,
    addresses: &[&str],
) {
    let addresses = ips(addresses);
    let request = ask(families, pool, &addresses);
    allocator.wait(&key.to_owned(), since, Service::default().subject(), request);
}

#[test]
fn only_those_who_can_use_an_address_are_named_and_the_oldest_comes_first() {
    let theirs = ServiceAllocation { namespaces: BTreeSet::from(["other".to_owned()]), ..Default::default() };
    let mut allocator = with([
        pool("p", &["192.0.2.0/31", "2001:db8::/127"]),
        pool("q", &["198.51.100.0/31"]),
        Pool { auto_assign: false, ..pool("manual", &["203.0.113.0/31"]) },
        Pool { allocation: Some(theirs), ..pool("theirs", &["203.0.113.128/31"]) },
    ]);
    wait(&mut allocator, "young", 9, V4, None, &[]);
    wait(&mut allocator, "old", 1, V4, None, &[]);
    wait(&mut allocator, "v6", 2, V6, None, &[]);
    wait(&mut allocator, "prefers", 3, PREFER, None, &[]);
    wait(&mut allocator, "in-p", 4, V4, Some("p"), &[]);
    wait(&mut allocator, "in-manual", 5, V4, Some("manual"), &[]);
    wait(&mut allocator, "in-theirs", 6, V4, Some("theirs"), &[]);
    wait(&mut allocator, "this", 7, V4, None, &["192.0.2.1"]);
    wait(&mut allocator, "this-in-q", 7, V4, Some("q"), &["192.0.2.1"]);
    wait(&mut allocator, "wrong-family", 7, V6, None, &["192.0.2.1"]);
    wait(&mut allocator, "nowhere", 8, V4, Some("nowhere"), &[]);
    for (address, keys) in [
        ("192.0.2.0", vec!["old", "prefers", "in-p", "young"]),
        ("192.0.2.1", vec!["old", "prefers", "in-p", "this", "young"]),
        ("2001:db8::", vec!["v6", "prefers"]),
        ("198.51.100.0", vec!["old", "prefers", "young"]),
        ("203.0.113.0", vec!["in-manual"]),
        ("203.0.113.128", vec![]),
        ("10.0.0.1", vec![]),
    ] {
        assert_eq!(named(&allocator, address), keys, "{address}");
    }
}

#[test]
fn an_address_in_use_concerns_only_those_who_can_share_it() {
    let mut allocator = with([pool("p", &["192.0.2.0/32"])]);
    let user = Service::sharing("key", 80);
    allocator.adopt(&"user".to_owned(), user.subject(), &ips(&["192.0.2.0"])).expect("free");
    for (key, service, addresses) in [
        ("other-port", Service::sharing("key", 81), ips(&[])),
        ("same-port", Service::sharing("key", 80), ips(&[])),
        ("other-key", Service::sharing("other", 81), ips(&[])),
        ("no-key", Service::default(), ips(&[])),
        ("asks-with-other-port", Service::sharing("key", 82), ips(&["192.0.2.0"])),
        ("asks-with-same-port", Service::sharing("key", 80), ips(&["192.0.2.0"])),
        ("asks-without-key", Service::default(), ips(&["192.0.2.0"])),
    ] {
        allocator.wait(&key.to_owned(), 0, service.subject(), ask(V4, None, &addresses));
    }
    assert_eq!(named(&allocator, "192.0.2.0"), ["asks-with-other-port", "other-port"]);
    allocator.release(&"user".to_owned());
    assert_eq!(named(&allocator, "192.0.2.0").len(), 7);
    get(&mut allocator, "alone", V4).expect("free");
    assert_eq!(named(&allocator, "192.0.2.0"), [""; 0]);
}

#[test]
fn who_needs_both_families_is_named_when_both_can_be_had() {
    let mut allocator = with([pool("p", &["192.0.2.0/31", "2001:db8::/128"])]);
    wait(&mut allocator, "both", 0, REQUIRE, None, &[]);
    wait(&mut allocator, "these", 1, REQUIRE, None, &["192.0.2.0", "2001:db8::"]);
    let sharer = Service::sharing("key", 80);
    allocator.wait(&"sharer".to_owned(), 2, sharer.subject(), ask(REQUIRE, None, &[]));
    assert_eq!(named(&allocator, "192.0.2.0"), ["both", "these", "sharer"]);
    assert_eq!(named(&allocator, "192.0.2.1"), ["both", "sharer"]);
    let user = Service::sharing("key", 81);
    allocator.adopt(&"user".to_owned(), user.subject(), &ips(&["2001:db8::"])).expect("free");
    assert_eq!(named(&allocator, "192.0.2.0"), ["sharer"]);
    assert_eq!(named(&allocator, "2001:db8::"), ["sharer"]);
}

#[test]
fn a_wait_ends_or_is_replaced_when_that_is_said() {
    let mut allocator = with([pool("p", &["192.0.2.0/31"]), pool("q", &["198.51.100.0/31"])]);
    wait(&mut allocator, "s", 0, V4, Some("p"), &[]);
    wait(&mut allocator, "t", 1, V4, None, &[]);
    wait(&mut allocator, "s", 2, V4, Some("q"), &[]);
    assert_eq!(named(&allocator, "192.0.2.0"), ["t"]);
    assert_eq!(named(&allocator, "198.51.100.0"), ["t", "s"]);
    allocator.stop_waiting(&"t".to_owned());
    allocator.stop_waiting(&"t".to_owned());
    assert_eq!(named(&allocator, "198.51.100.0"), ["s"]);
    allocator.set_pools([pool("q", &["198.51.100.0/31"])]);
    assert_eq!(named(&allocator, "198.51.100.0"), [""; 0], "other pools, other chances");
}
