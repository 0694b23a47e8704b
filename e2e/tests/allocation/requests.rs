//! What Services ask for: addresses, pools, and both.

use anyhow::{Result, ensure};

use crate::support::{Room, World};

/// The annotation takes one address or one of each family, under both prefixes; the newer one wins.
pub(crate) fn addresses_are_asked_for_by_annotation_under_both_prefixes(world: &World) -> Result<()> {
    let room = Room::enter(world, "annotated", 11)?;
    room.pools(&[("a", &[room.v4s(1, 9), room.v6s(1, 9)], "")])?;
    let both = "ipFamilyPolicy: RequireDualStack";
    let new = format!("annotations: {{metallb.io/loadBalancerIPs: '{},{}'}}", room.v4(5), room.v6(5));
    let old =
        format!("annotations: {{metallb.universe.tf/loadBalancerIPs: '{} , {}'}}", room.v6(6), room.v4(6));
    let one = format!("annotations: {{metallb.universe.tf/loadBalancerIPs: {}}}", room.v4(7));
    let two = format!(
        "annotations: {{metallb.universe.tf/loadBalancerIPs: {}, metallb.io/loadBalancerIPs: {}}}",
        room.v4(8),
        room.v4(9)
    );
    room.services(&[("new", &new, both), ("old", &old, both), ("one", &one, ""), ("two", &two, "")])?;
    room.wait_from("new", &[room.v4(5), room.v6(5)], "a")?;
    room.wait_from("old", &[room.v4(6), room.v6(6)], "a")?;
    room.wait_from("one", &[room.v4(7)], "a")?;
    room.wait_from("two", &[room.v4(9)], "a")?;
    let assigned = format!("Assigned IP [\"{}\" \"{}\"]", room.v4(6), room.v6(6));
    room.wait_event("old", "Normal", "IPAllocated", &assigned)?;
    let deprecated = "Service uses deprecated annotation metallb.universe.tf/loadBalancerIPs";
    for service in ["old", "one", "two"] {
        room.wait_event(service, "Warning", "deprecatedAnnotation", deprecated)?;
    }
    let told = world.mirror.look(|state| state.events(&room.key("new")));
    ensure!(told.iter().all(|event| event.reason != "deprecatedAnnotation"), "{told:?}");
    Ok(())
}

/// What cannot be asked for is refused in words that name it.
pub(crate) fn requests_that_cannot_be_met_are_refused_with_the_reason(world: &World) -> Result<()> {
    let room = Room::enter(world, "refused", 12)?;
    room.pools(&[
        ("a", &[room.v4s(1, 9), room.v6s(1, 9)], ""),
        ("b", &[room.v4s(11, 19), room.v6s(11, 19)], ""),
        ("four", &[room.v4s(21, 29)], ""),
    ])?;
    let expected = "expected one address, or one of each family";
    let ips = |text: &str| format!("annotations: {{metallb.io/loadBalancerIPs: '{text}'}}");
    let three = format!("{},{},{}", room.v4(1), room.v6(1), room.v4(2));
    let same = format!("{},{}", room.v4(1), room.v4(2));
    let nonsense = format!("{},nonsense", room.v4(1));
    let apart = format!("{},{}", room.v4(1), room.v6(11));
    let in_pool = |pool: &str| format!("annotations: {{metallb.io/address-pool: refused-{pool}}}");
    let spec = |address: String| format!("loadBalancerIP: '{address}'");
    let both = "ipFamilyPolicy: RequireDualStack";
    let list = |addresses: &[String]| format!("[\"{}\"]", addresses.join("\" \""));
    let cases: Vec<(&str, String, String, String)> = vec![
        (
            "three",
            ips(&three),
            both.to_owned(),
            format!("invalid metallb.io/loadBalancerIPs: {three:?}: {expected}"),
        ),
        (
            "same-family",
            ips(&same),
            both.to_owned(),
            format!("invalid metallb.io/loadBalancerIPs: {same:?}: {expected}"),
        ),
        (
            "nonsense",
            ips(&nonsense),
            both.to_owned(),
            format!("invalid metallb.io/loadBalancerIPs: {nonsense:?}"),
        ),
        (
            "in-spec",
            String::new(),
            spec("nonsense".to_owned()),
            "invalid spec.loadBalancerIP: \"nonsense\"".to_owned(),
        ),
        (
            "twice",
            ips(&room.v4(1)),
            spec(room.v4(1)),
            "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP".to_owned(),
        ),
        (
            "other-pool",
            in_pool("b"),
            spec(room.v4(1)),
            format!(
                "requested loadBalancer IP(s) {} is not compatible with requested address pool refused-b",
                list(&[room.v4(1)])
            ),
        ),
        (
            "two-pools",
            ips(&apart),
            both.to_owned(),
            format!("{} is not allowed in config", list(&[room.v4(1), room.v6(11)])),
        ),
        (
            "family",
            String::new(),
            spec(room.v6(1)),
            format!(
                "requested loadBalancer IP(s) {} does not match the ipFamily of the service",
                list(&[room.v6(1)])
            ),
        ),
        (
            "one-of-two",
            ips(&room.v4(1)),
            both.to_owned(),
            format!(
                "requested loadBalancer IP(s) {} does not match the ipFamily of the service",
                list(&[room.v4(1)])
            ),
        ),
        (
            "pool-family",
            in_pool("four"),
            "ipFamilies: [IPv6]".to_owned(),
            "no available IPs in pool refused-four for ipv6 IPFamily".to_owned(),
        ),
        (
            "pool-both",
            in_pool("four"),
            both.to_owned(),
            "no available IPs in pool refused-four for dual IPFamily".to_owned(),
        ),
    ];
    let services: Vec<_> =
        cases.iter().map(|(name, metadata, spec, _)| (*name, &**metadata, &**spec)).collect();
    room.services(&services)?;
    for (service, _, _, why) in &cases {
        room.wait_refused(service, why)?;
    }
    room.wait_counters("a", [0, 0, 9, 9])
}

/// Another address in the request moves the Service; what makes no sense leaves it where it is.
pub(crate) fn a_changed_request_moves_the_service(world: &World) -> Result<()> {
    let room = Room::enter(world, "moves", 13)?;
    room.pools(&[("a", &[room.v4s(1, 9)], ""), ("b", &[room.v4s(11, 19)], "")])?;
    room.services(&[("web", "", "")])?;
    room.wait_from("web", &[room.v4(1)], "a")?;
    room.patch("web", &format!(r#"{{"spec": {{"loadBalancerIP": "{}"}}}}"#, room.v4(7)))?;
    room.wait_from("web", &[room.v4(7)], "a")?;
    room.patch("web", r#"{"spec": {"loadBalancerIP": "nonsense"}}"#)?;
    let invalid = r#"invalid requested loadbalancer IPs: invalid spec.loadBalancerIP: "nonsense""#;
    room.wait_event("web", "Warning", "LoadBalancerFailed", invalid)?;
    ensure!(room.has("web")? == [room.v4(7)]);
    let annotated = r#"{"metadata": {"annotations": {"metallb.io/address-pool": "moves-b"}}, "spec": {"loadBalancerIP": null}}"#;
    room.patch("web", annotated)?;
    room.wait_from("web", &[room.v4(11)], "b")?;
    room.wait_counters("a", [0, 0, 9, 0])
}

/// A pool that did not exist when it was asked for moves nobody when it appears; an event says how to move.
pub(crate) fn a_pool_that_appears_later_moves_those_who_say_so(world: &World) -> Result<()> {
    let room = Room::enter(world, "later", 14)?;
    room.pools(&[("a", &[room.v4s(1, 9)], "")])?;
    room.services(&[("web", "annotations: {metallb.universe.tf/address-pool: later-b}", "")])?;
    room.wait_from("web", &[room.v4(1)], "a")?;
    let missing = r#"service asks for pool "later-b", which does not exist: it has an address from pool "later-a" instead"#;
    room.wait_event("web", "Warning", "UnknownAddressPool", missing)?;
    room.pools(&[("b", &[room.v4s(11, 19)], "")])?;
    let exists = r#"pool "later-b" exists now, but the service keeps its address from pool "later-a"; to move it, remove the service's annotation metallb.io/address-pool-missing"#;
    room.wait_event("web", "Warning", "UnknownAddressPool", exists)?;
    ensure!(room.has("web")? == [room.v4(1)]);
    world.k("annotate service web -n later metallb.io/address-pool-missing-")?;
    room.wait_from("web", &[room.v4(11)], "b")
}
