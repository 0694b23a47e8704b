//! How sessions are made: kinds of peers, transports, passwords, timers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::wait_for;
use serde_json::json;

use crate::frr::{Frr, Settings};
use crate::support::{NAMESPACE, ROUTER_V6, Room, SOON, World};

/// One eBGP session from each node, everything else as it is by default.
pub(crate) fn every_node_announces_over_ebgp_and_says_so(world: &World) -> Result<()> {
    let room = Room::new(world, "ebgp")?;
    let frr = room.frr(&[])?;
    room.peer(&json!({}))?;
    room.service("ebgp", &[room.address(1)], &json!({}))?;
    let prefix = format!("{}/32", room.address(1));
    room.wait_by_all(&frr, &prefix)?;
    for path in frr.paths(&prefix)? {
        ensure!(path["aspath"]["string"] == "64512", "{path}");
        ensure!(path["origin"] == "IGP", "{path}");
    }
    world.wait_session("node1", "ebgp", "True", "established with AS 64513 (192.0.2.254)")?;
    world.wait_event("BGPPeer", "ebgp", "Normal sessionUp: session with node \"node1\" up")?;
    world.wait_event("Service", "ebgp", "announcing from node \"node2\" with protocol \"bgp\"")?;
    wait_for("a ServiceBGPStatus of each node", SOON, || {
        let lines = world.announcers("ebgp")?;
        ensure!(lines == ["node1: ebgp", "node2: ebgp", "node3: ebgp"], "{lines:?}");
        Ok(())
    })?;
    let events = world.events("Service", "ebgp")?;
    ensure!(!events.iter().any(|event| event.contains("notAnnounced")), "{events:?}");
    world.k("delete service ebgp")?;
    frr.wait_next_hops(&prefix, &[])?;
    wait_for("the status objects to go", SOON, || {
        let lines = world.announcers("ebgp")?;
        ensure!(lines.is_empty(), "{lines:?}");
        Ok(())
    })
}

/// Within an AS: no AS path, the default local preference, and the one that is asked for.
pub(crate) fn within_an_as_routes_have_a_local_preference(world: &World) -> Result<()> {
    let room = Room::new(world, "ibgp")?;
    let frr = Frr::start(world, &Settings { asn: 64_512, ..room.settings() })?;
    room.peer(&json!({"peerASN": 64512}))?;
    room.service("ibgp", &[room.address(1)], &json!({}))?;
    let prefix = format!("{}/32", room.address(1));
    room.wait_by_all(&frr, &prefix)?;
    frr.wait_path(&prefix, "with local preference 100", |path| {
        path["locPrf"] == 100 && path["aspath"]["string"] == "Local"
    })?;
    room.advertise("ibgp", &json!({"localPref": 250}))?;
    frr.wait_path(&prefix, "with local preference 250", |path| path["locPrf"] == 250)?;
    // The router's AS, found out: it has to be the nodes'.
    room.peer(&json!({"peerASN": null, "dynamicASN": "internal", "holdTime": "21s"}))?;
    wait_for("the new session", SOON, || {
        let neighbor = frr.neighbor("192.0.2.11")?;
        ensure!(neighbor["bgpTimerHoldTimeMsecs"] == 21_000, "{neighbor}");
        Ok(())
    })?;
    room.wait_by_all(&frr, &prefix)?;
    world.wait_session("node1", "ibgp", "True", "established with AS 64512")
}

/// IPv6 transport, and both families over either.
pub(crate) fn both_families_go_over_a_session_of_either(world: &World) -> Result<()> {
    for (name, over_v6, dual) in [("six", true, false), ("dual-six", true, true), ("dual-four", false, true)]
    {
        let room = Room::new(world, name)?;
        let frr = room.frr(&[])?;
        let mut fields = json!({"dualStackAddressFamily": dual});
        if over_v6 {
            fields["peerAddress"] = ROUTER_V6.into();
        }
        room.peer(&fields)?;
        room.service(name, &[room.address(1), room.address_v6(1)], &json!({}))?;
        room.wait_by_all(&frr, &format!("{}/128", room.address_v6(1)))?;
        let v4 = format!("{}/32", room.address(1));
        if dual {
            wait_for(&format!("{v4} by all nodes"), SOON, || {
                let paths = frr.paths(&v4)?;
                ensure!(paths.len() == 3, "{paths:?}");
                Ok(())
            })?;
        } else {
            ensure!(
                frr.paths(&v4)?.is_empty(),
                "IPv4 routes over a session of IPv6 only where both are asked for"
            );
            let text = format!("no router is told of {} of Service default/{name}", room.address(1));
            world.wait_session("node1", name, "True", &text)?;
        }
    }
    Ok(())
}

/// A password in a Secret: right, then rotated on one side, then on both.
pub(crate) fn a_rotated_password_takes_effect_and_a_wrong_one_is_explained(world: &World) -> Result<()> {
    let room = Room::new(world, "md5")?;
    let frr = room.frr(&["neighbor nodes password first"])?;
    let secret = |password: &str| {
        world.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
            "metadata": {"name": "md5", "namespace": NAMESPACE}, "stringData": {"password": password},
        }))
    };
    secret("first")?;
    room.peer(&json!({"passwordSecret": {"name": "md5"}}))?;
    room.service("md5", &[room.address(1)], &json!({}))?;
    let prefix = format!("{}/32", room.address(1));
    room.wait_by_all(&frr, &prefix)?;
    secret("second")?;
    world.wait_session("node1", "md5", "False", "the password is not the one that the router has")?;
    frr.wait_next_hops(&prefix, &[])?;
    frr.configure("neighbor nodes password second")?;
    room.wait_by_all(&frr, &prefix)?;
    // In the resource itself, and wrong from the start.
    room.peer(&json!({"password": "third"}))?;
    world.wait_session("node2", "md5", "False", "password")?;
    room.peer(&json!({"password": "second"}))?;
    room.wait_by_all(&frr, &prefix)
}

/// Timers are agreed on, and a router that falls silent is given up within the hold time.
pub(crate) fn a_silent_router_is_given_up_within_the_hold_time(world: &World) -> Result<()> {
    let room = Room::new(world, "timers")?;
    let frr = room.frr(&[])?;
    room.peer(&json!({"holdTime": "3s", "keepaliveTime": "1s"}))?;
    room.service("timers", &[room.address(1)], &json!({}))?;
    let prefix = format!("{}/32", room.address(1));
    room.wait_by_all(&frr, &prefix)?;
    let neighbor = frr.neighbor("192.0.2.11")?;
    ensure!(neighbor["bgpTimerHoldTimeMsecs"] == 3000, "{neighbor}");
    world.wait_session("node1", "timers", "True", "established")?;
    frr.signal(&world.cluster, "-STOP")?;
    let start = Instant::now();
    let noticed = world.wait_session(
        "node1",
        "timers",
        "False",
        "nothing was heard from the router for the hold time of 3 s",
    );
    let took = start.elapsed();
    frr.signal(&world.cluster, "-CONT")?;
    noticed?;
    ensure!(took < Duration::from_secs(6), "noticed after {took:?}, with the time that its telling takes");
    world.wait_event("BGPPeer", "timers", "Warning sessionDown: session with node")?;
    room.wait_by_all(&frr, &prefix)
}

/// A router two hops away needs `ebgpMultiHop`.
pub(crate) fn a_router_behind_another_one_needs_multi_hop(world: &World) -> Result<()> {
    let room = Room::new(world, "multihop")?;
    for line in [
        "ip netns add far",
        "ip link add tofar type veth peer name uplink netns far",
        "ip address add 10.255.1.1/30 dev tofar",
        "ip link set tofar up",
        "ip -n far address add 10.255.1.2/30 dev uplink",
        "ip -n far link set uplink up",
        "ip -n far link set lo up",
        "ip -n far route add default via 10.255.1.1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        world.cluster.run("router", &words)?;
    }
    let settings = Settings {
        prefix: &["ip", "netns", "exec", "far"],
        lines: &["neighbor nodes ebgp-multihop 255"],
        neighbors: world.nodes_v4(),
        ..room.settings()
    };
    let frr = Frr::start(world, &settings)?;
    room.peer(&json!({"peerAddress": "10.255.1.2"}))?;
    room.service("multihop", &[room.address(1)], &json!({}))?;
    world.wait_session("node1", "multihop", "False", "10.255.1.2")?;
    room.peer(&json!({"peerAddress": "10.255.1.2", "ebgpMultiHop": true}))?;
    room.wait_by_all(&frr, &format!("{}/32", room.address(1)))
}

/// Which AS the router may be of, and which one it is shown.
pub(crate) fn as_numbers_may_be_found_out_and_hidden(world: &World) -> Result<()> {
    let room = Room::new(world, "asns")?;
    let frr = Frr::start(world, &Settings { remote: "64600", ..room.settings() })?;
    room.peer(&json!({"peerASN": null, "dynamicASN": "internal", "localASN": 64600}))?;
    room.service("asns", &[room.address(1)], &json!({}))?;
    world.wait_session("node1", "asns", "False", "says it is of AS 64513")?;
    room.peer(&json!({"peerASN": null, "dynamicASN": "external", "localASN": 64600}))?;
    let prefix = format!("{}/32", room.address(1));
    room.wait_by_all(&frr, &prefix)?;
    frr.wait_path(&prefix, "from AS 64600 alone", |path| path["aspath"]["string"] == "64600")?;
    // Its own number is not what the router expects.
    room.peer(&json!({}))?;
    world.wait_session("node1", "asns", "False", "it expects another AS than 64512")
}

/// Source address, router id and a restart of the router.
pub(crate) fn a_session_comes_from_the_source_address_with_the_router_id(world: &World) -> Result<()> {
    let room = Room::new(world, "source")?;
    let one = json!([{"matchLabels": {"kubernetes.io/hostname": "node1"}}]);
    let settings = Settings { neighbors: vec!["172.31.249.211".to_owned()], ..room.settings() };
    let frr = Frr::start(world, &settings)?;
    let fields = json!({
        "peerAddress": "172.31.249.254", "sourceAddress": "172.31.249.211", "routerID": "10.1.2.3", "nodeSelectors": one,
    });
    room.peer(&fields)?;
    room.service("source", &[room.address(1)], &json!({}))?;
    let prefix = format!("{}/32", room.address(1));
    frr.wait_next_hops(&prefix, &["172.31.249.211"])?;
    let neighbor = frr.neighbor("172.31.249.211")?;
    ensure!(neighbor["remoteRouterId"] == "10.1.2.3", "{neighbor}");
    drop(frr);
    world.wait_session("node1", "source", "False", "")?;
    let frr = Frr::start(world, &settings)?;
    frr.wait_next_hops(&prefix, &["172.31.249.211"])?;
    room.peer(&json!({"sourceAddress": "192.0.2.99", "nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "node1"}}]}))?;
    world.wait_session("node1", "source", "False", "192.0.2.99 is no address of this node")
}

/// What is not there yet is refused in words, and BFD goes without.
pub(crate) fn what_is_not_supported_yet_is_said(world: &World) -> Result<()> {
    let room = Room::new(world, "vrf")?;
    room.peer(&json!({"vrf": "red"}))?;
    world.wait_session("node1", "vrf", "False", "sessions in a VRF (vrf \"red\") are not supported yet")?;
    world.wait_event("BGPPeer", "vrf", "are not supported yet")?;
    room.service("vrf", &[room.address(1)], &json!({}))?;
    world.wait_event("Service", "vrf", "Warning notAnnounced: Service \"default/vrf\" is not announced: no session is possible with the only BGPPeers that its BGPAdvertisements go to, vrf")?;
    world.k("delete bgppeer vrf -n metallb-system")?;
    wait_for("the condition to go", SOON, || {
        let found = world.session("node1", "vrf");
        ensure!(found.is_err(), "{found:?}");
        Ok(())
    })
    .context("a peer that is gone")
}
