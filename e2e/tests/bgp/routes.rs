//! Which routes go to whom, with which attributes.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::wait_for;
use serde_json::json;

use crate::frr::Frr;
use crate::support::{Room, SOON, World};

/// The communities arrive, by number and by name, and change without a new session.
pub(crate) fn communities_arrive_and_change_within_the_session(world: &World) -> Result<()> {
    let room = Room::bare(world, "communities")?;
    world.apply(&json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "Community",
        "metadata": {"name": "communities", "namespace": "metallb-system"},
        "spec": {"communities": [{"name": "gold", "value": "64512:900"}]},
    }))?;
    room.advertise("communities", &json!({"communities": ["64512:1", "gold", "large:64512:5:6"]}))?;
    let frr = room.frr(&[])?;
    room.peer(&json!({}))?;
    room.service("communities", &[room.address(1)], &json!({}))?;
    let prefix = format!("{}/32", room.address(1));
    frr.wait_path(&prefix, "with all communities", |path| {
        path["community"]["string"] == "64512:1 64512:900" && path["largeCommunity"]["string"] == "64512:5:6"
    })?;
    let before = frr.neighbor("192.0.2.11")?["connectionsEstablished"].clone();
    // A second advertisement of the same route adds to the first.
    room.advertise("communities-more", &json!({"communities": ["64512:2"]}))?;
    frr.wait_path(&prefix, "with one more", |path| {
        path["community"]["string"] == "64512:1 64512:2 64512:900"
    })?;
    room.advertise("communities", &json!({"communities": []}))?;
    frr.wait_path(&prefix, "with the second's only", |path| {
        path["community"]["string"] == "64512:2" && path["largeCommunity"].is_null()
    })?;
    let after = frr.neighbor("192.0.2.11")?["connectionsEstablished"].clone();
    ensure!(before == after, "the session went on: {before} and {after}");
    Ok(())
}

/// An aggregate is there as long as one of its Services is.
pub(crate) fn an_aggregate_goes_with_its_last_service(world: &World) -> Result<()> {
    let room = Room::bare(world, "aggregate")?;
    room.advertise("aggregate", &json!({"aggregationLength": 28, "aggregationLengthV6": 124}))?;
    let frr = room.frr(&[])?;
    room.peer(&json!({"dualStackAddressFamily": true}))?;
    room.service("aggregate-a", &[room.address(1), room.address_v6(1)], &json!({}))?;
    room.service("aggregate-b", &[room.address(2)], &json!({}))?;
    room.service("aggregate-c", &[room.address(17)], &json!({}))?;
    let of = |v4: &[u8], v6: bool| -> BTreeSet<String> {
        let v4 = v4.iter().map(|last| format!("{}/28", room.address(*last)));
        v4.chain(v6.then(|| format!("{}/124", room.address_v6(0).replace("::0", "::")))).collect()
    };
    wait_prefixes(&frr, &of(&[0, 16], true))?;
    world.k("delete service aggregate-a")?;
    wait_prefixes(&frr, &of(&[0, 16], false))?;
    world.k("delete service aggregate-b")?;
    wait_prefixes(&frr, &of(&[16], false))?;
    world.k("delete service aggregate-c")?;
    wait_prefixes(&frr, &BTreeSet::new())
}

fn wait_prefixes(frr: &Frr, wanted: &BTreeSet<String>) -> Result<()> {
    wait_for(&format!("the prefixes {wanted:?}"), SOON, || {
        let prefixes = frr.prefixes()?;
        ensure!(prefixes == *wanted, "{prefixes:?}");
        Ok(())
    })
}

/// Selectors of nodes, peers and Services, in advertisements and in peers.
pub(crate) fn selectors_choose_nodes_peers_and_services(world: &World) -> Result<()> {
    let room = Room::bare(world, "selectors")?;
    let node = |name: &str| json!([{"matchLabels": {"kubernetes.io/hostname": name}}]);
    room.advertise("selectors", &json!({"nodeSelectors": node("node1")}))?;
    room.advertise(
        "selectors-gold",
        &json!({"serviceSelectors": [{"matchLabels": {"tier": "gold"}}], "communities": ["64512:3"]}),
    )?;
    room.advertise("selectors-other", &json!({"peers": ["nobody"], "communities": ["64512:4"]}))?;
    let frr = room.frr(&[])?;
    room.peer(&json!({"nodeSelectors": [node("node1")[0], node("node2")[0]]}))?;
    room.service("selectors-plain", &[room.address(1)], &json!({}))?;
    room.labelled_service("selectors-gold", &[room.address(2)], &json!({"tier": "gold"}), &json!({}))?;
    let (plain, gold) = (format!("{}/32", room.address(1)), format!("{}/32", room.address(2)));
    frr.wait_next_hops(&plain, &["192.0.2.11"])?;
    frr.wait_next_hops(&gold, &["192.0.2.11", "192.0.2.12"])?;
    frr.wait_path(&gold, "with its community", |path| path["community"]["string"] == "64512:3")?;
    let plain_path = frr.paths(&plain)?;
    ensure!(plain_path.iter().all(|path| path["community"].is_null()), "{plain_path:?}");
    ensure!(!frr.established()?.contains("192.0.2.13"), "the peer does not select node3");
    room.advertise("selectors", &json!({"nodeSelectors": node("node2")}))?;
    frr.wait_next_hops(&plain, &["192.0.2.12"])?;
    world.k("label service selectors-gold tier-")?;
    frr.wait_next_hops(&gold, &["192.0.2.12"])?;
    room.peer(&json!({"nodeSelectors": node("node3")}))?;
    wait_for("a session with node3 only", SOON, || {
        let up = frr.established()?;
        ensure!(up == BTreeSet::from(["192.0.2.13".to_owned()]), "{up:?}");
        Ok(())
    })
}

/// With `externalTrafficPolicy: Local` the route follows the Pod.
pub(crate) fn a_local_service_is_announced_where_its_pods_are(world: &World) -> Result<()> {
    let room = Room::new(world, "local")?;
    let frr = room.frr(&[])?;
    room.peer(&json!({}))?;
    let workload = |node: &str| {
        world.apply(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "local", "namespace": "default"},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"app": "local"}},
                "template": {
                    "metadata": {"labels": {"app": "local"}},
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "nodeSelector": {"kubernetes.io/hostname": node},
                        "containers": [{"name": "pause", "image": "metallb-rs.test/pause:dev", "imagePullPolicy": "IfNotPresent"}],
                    },
                },
            },
        }))
    };
    workload("node2")?;
    room.service(
        "local",
        &[room.address(1)],
        &json!({"externalTrafficPolicy": "Local", "selector": {"app": "local"}}),
    )?;
    let prefix = format!("{}/32", room.address(1));
    frr.wait_next_hops(&prefix, &["192.0.2.12"])?;
    workload("node3")?;
    frr.wait_next_hops(&prefix, &["192.0.2.13"])?;
    world.k("scale deployment local --replicas=0")?;
    frr.wait_next_hops(&prefix, &[])?;
    world.k("delete deployment local")?;
    Ok(())
}

/// Routers have the route by all nodes, and hosts on the LAN find the address on one of them.
pub(crate) fn a_service_may_be_announced_by_both_protocols(world: &World) -> Result<()> {
    let room = Room::new(world, "both")?;
    let pools = json!({"ipAddressPools": ["both"]});
    world.resource("v1beta1", "L2Advertisement", "both", &pools)?;
    let frr = room.frr(&[])?;
    room.peer(&json!({}))?;
    room.service("both", &[room.address(1)], &json!({}))?;
    let (address, prefix) = (room.address(1), format!("{}/32", room.address(1)));
    room.wait_by_all(&frr, &prefix)?;
    let arp = || -> Result<bool> {
        let words = ["arping", "-c", "1", "-w", "1", "-r", "-i", "eth0", &address];
        Ok(!world.cluster.exec("client", &words)?.stdout.is_empty())
    };
    wait_for("an answer to ARP", SOON, || {
        ensure!(arp()?, "nobody has {address}; events: {:?}", world.events("Service", "both")?);
        Ok(())
    })?;
    wait_for("the status of both protocols", SOON, || {
        let lines = world.announcers("both")?;
        ensure!(lines == ["node1: both", "node2: both", "node3: both"], "{lines:?}");
        let labels = "metallb.io/service-name=both,metallb.io/service-namespace=default";
        let list = world.get(&format!("servicel2statuses -A -l {labels}"))?;
        ensure!(list["items"].as_array().map(Vec::len) == Some(1), "{list}");
        Ok(())
    })?;
    for protocol in ["layer2", "bgp"] {
        world.wait_event("Service", "both", &format!("with protocol \"{protocol}\""))?;
    }
    // As a host on the LAN, without the router in between.
    world.cluster.run("client", &["ip", "route", "add", &address, "dev", "eth0"])?;
    wait_for(&format!("an answer from {address}"), SOON, || world.fetch(&address))?;
    world.cluster.run("client", &["ip", "route", "del", &address, "dev", "eth0"])?;
    // Each goes without the other.
    world.k("delete l2advertisement both -n metallb-system")?;
    wait_for("silence", SOON, || {
        ensure!(!arp()?, "{address} is answered for");
        Ok(())
    })?;
    room.wait_by_all(&frr, &prefix)?;
    world.resource("v1beta1", "L2Advertisement", "both", &pools)?;
    wait_for("an answer to ARP", SOON, || {
        ensure!(arp()?, "nobody has {address}");
        Ok(())
    })?;
    world.k("delete bgpadvertisement both -n metallb-system")?;
    frr.wait_next_hops(&prefix, &[])?;
    ensure!(arp()?, "Layer 2 goes on");
    let events = world.events("Service", "both")?;
    ensure!(!events.iter().any(|event| event.contains("notAnnounced")), "{events:?}");
    Ok(())
}

/// A Service whose pool has an advertisement, but to no peer, is told so.
pub(crate) fn a_service_that_goes_to_no_router_is_told_so(world: &World) -> Result<()> {
    let room = Room::new(world, "nobody-listens")?;
    room.service("nobody-listens", &[room.address(1)], &json!({}))?;
    world.wait_event("Service", "nobody-listens", "Warning notAnnounced: Service \"default/nobody-listens\" is not announced: the BGPAdvertisements of IPAddressPool \"nobody-listens\" go to no router")
}
