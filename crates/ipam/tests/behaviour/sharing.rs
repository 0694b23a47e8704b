//! Who shares an address with whom.

use std::collections::BTreeSet;

use ipam::{Allocation, Allocator, Error, Port, Protocol, Sharing};

use crate::world::{PREFER, REQUIRE, Service, V4, ask, ips, pool, with};

fn share(allocator: &mut Allocator<String>, key: &str, service: &Service) -> Result<String, Error> {
    let allocation = allocator.allocate(&key.to_owned(), service.subject(), ask(V4, None, &[]))?;
    Ok(allocation.addresses[0].to_string())
}

#[test]
fn two_services_share_when_keys_and_backends_are_equal_and_no_port_is_in_both() {
    let service = |key: Option<&str>, backend: &str, ports: &[(Protocol, u16)]| Service {
        sharing: Sharing { key: key.map(str::to_owned), backend: backend.to_owned() },
        ports: ports.iter().map(|&(protocol, number)| Port { protocol, number }).collect(),
        ..Service::default()
    };
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let first = service(Some("dns"), "app=dns", &[(tcp, 53), (tcp, 853)]);
    for (second, shares) in [
        (service(Some("dns"), "app=dns", &[(udp, 53)]), true),
        (service(Some("dns"), "app=dns", &[]), true),
        (service(Some("dns"), "app=dns", &[(udp, 53), (tcp, 853)]), false),
        (service(Some("dns"), "app=web", &[(udp, 53)]), false),
        (service(Some("dns"), "", &[(udp, 53)]), false),
        (service(Some("web"), "app=dns", &[(udp, 53)]), false),
        (service(None, "app=dns", &[(udp, 53)]), false),
    ] {
        let mut allocator = with([pool("p", &["192.0.2.0/31"])]);
        assert_eq!(share(&mut allocator, "first", &first).as_deref(), Ok("192.0.2.0"));
        let expected = if shares { "192.0.2.0" } else { "192.0.2.1" };
        assert_eq!(share(&mut allocator, "second", &second).as_deref(), Ok(expected), "{:?}", second.sharing);
        let used = allocator.usage("p").expect("in force").used_v4;
        assert_eq!(used, if shares { 1 } else { 2 }, "an address that is shared counts once");
    }
}

#[test]
fn a_key_leads_to_a_full_pool_when_an_address_there_can_be_shared() {
    let mut allocator = with([pool("a", &["192.0.2.0/32"]), pool("b", &["198.51.100.0/24"])]);
    for (key, port, address) in [
        ("one", 80, "192.0.2.0"),
        ("two", 80, "198.51.100.0"),
        ("three", 81, "192.0.2.0"),
        ("four", 81, "198.51.100.0"),
        ("five", 80, "198.51.100.1"),
    ] {
        assert_eq!(
            share(&mut allocator, key, &Service::sharing("key", port)).as_deref(),
            Ok(address),
            "{key}"
        );
    }
}

#[test]
fn a_second_family_is_shared_where_none_is_free() {
    let mut allocator = with([pool("p", &["192.0.2.0/30", "2001:db8::/128"])]);
    let mut both = |key: &str, port, families| {
        let service = Service::sharing("key", port);
        let allocation = allocator.allocate(&key.to_owned(), service.subject(), ask(families, None, &[]));
        allocation.map(|allocation| allocation.addresses.clone())
    };
    assert_eq!(both("one", 80, REQUIRE), Ok(ips(&["192.0.2.0", "2001:db8::"])));
    assert_eq!(both("two", 81, REQUIRE), Ok(ips(&["192.0.2.0", "2001:db8::"])));
    assert_eq!(both("three", 80, REQUIRE), Err(Error::Exhausted));
    assert_eq!(both("four", 80, PREFER), Ok(ips(&["192.0.2.1"])));
    assert_eq!(both("five", 82, REQUIRE), Ok(ips(&["192.0.2.0", "2001:db8::"])));
}

#[test]
fn ports_and_address_become_free_as_sharers_leave() {
    let mut allocator = with([pool("p", &["192.0.2.0/32"])]);
    for port in 1..=3 {
        share(&mut allocator, &port.to_string(), &Service::sharing("key", port)).expect("a port of its own");
    }
    let refused = share(&mut allocator, "late", &Service::sharing("key", 2));
    assert_eq!(refused, Err(Error::Exhausted));
    let left = allocator.release(&"2".to_owned());
    assert_eq!(left, Some(Allocation { pool: "p".into(), addresses: ips(&["192.0.2.0"]) }));
    share(&mut allocator, "late", &Service::sharing("key", 2)).expect("the port is free");
    for key in ["1", "3", "late"] {
        assert!(allocator.in_use(ips(&["192.0.2.0"])[0]));
        allocator.release(&key.to_owned());
    }
    share(&mut allocator, "other", &Service::sharing("other", 2)).expect("the address is free");
}

#[test]
fn ports_count_from_when_they_change() {
    let mut allocator = with([pool("p", &["192.0.2.0/32"])]);
    let address = ips(&["192.0.2.0"]);
    for port in [80, 81] {
        let service = Service::sharing("key", port);
        allocator.adopt(&"changes".to_owned(), service.subject(), &address).expect("nobody else is there");
    }
    assert_eq!(share(&mut allocator, "late", &Service::sharing("key", 81)), Err(Error::Exhausted));
    share(&mut allocator, "late", &Service::sharing("key", 80)).expect("the port is free again");
}

#[test]
fn ports_given_twice_count_once() {
    let mut service = Service::sharing("key", 80);
    service.ports = [80, 80, 81, 80].map(|number| Port { protocol: Protocol::Tcp, number }).into();
    assert_eq!(service.ports.len(), 2);
    let mut allocator = with([pool("p", &["192.0.2.0/32"])]);
    share(&mut allocator, "twice", &service).expect("an address");
    service.ports = BTreeSet::from([Port { protocol: Protocol::Tcp, number: 82 }]);
    share(&mut allocator, "beside", &service).expect("a port of its own");
    allocator.release(&"twice".to_owned());
    share(&mut allocator, "after", &Service::sharing("key", 80)).expect("the port is free");
}

#[test]
fn thousands_with_one_key_and_one_port_get_an_address_each() {
    let mut allocator = with([pool("p", &["10.0.0.0/16"])]);
    let keys: Vec<String> = (0..4_000).map(|number| number.to_string()).collect();
    for (number, key) in keys.iter().enumerate() {
        let address = format!("10.0.{}.{}", number / 256, number % 256);
        assert_eq!(share(&mut allocator, key, &Service::sharing("key", 80)), Ok(address));
    }
    assert_eq!(share(&mut allocator, "beside", &Service::sharing("key", 81)).as_deref(), Ok("10.0.0.0"));
    allocator.release(&keys[3_000]);
    assert_eq!(share(&mut allocator, "again", &Service::sharing("key", 80)).as_deref(), Ok("10.0.11.184"));
}
