//! What users do with Services. The tests run at the same time on one cluster: each has Services of its own and
//! asks for addresses that no other asks for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::plan::{Host, Lan};
use e2e::wait_for;

use crate::support::{NAMESPACE, SOON, World, file};
use crate::webhook::pool;

/// D1.1, D1.8: an address of the pool that is asked for is assigned, and `describe` tells the story.
pub(crate) fn a_requested_address_is_assigned_announced_and_described(world: &World) -> Result<()> {
    world.mission("service-specific-ip.yaml")?;
    ensure!(world.wait_addresses("specific-ip")? == ["172.31.249.9"]);
    let node = world.wait_announcer("specific-ip")?;
    world.wait_event("Service", "specific-ip", "nodeAssigned")?;
    let description = world.k("describe service specific-ip")?;
    for expected in [
        r#"Assigned IP ["172.31.249.9"]"#.to_owned(),
        format!(r#"announcing from node "{node}" with protocol "layer2""#),
        "metallb-controller".to_owned(),
        "metallb-speaker".to_owned(),
    ] {
        ensure!(description.contains(&expected), "{expected:?} is not in\n{description}");
    }
    let ingress = description.lines().find(|l| l.starts_with("LoadBalancer Ingress:")).unwrap_or_default();
    ensure!(ingress.contains("172.31.249.9"), "{description}");
    world.wait_fetch("172.31.249.9", 8080)?;
    world.delete_mission("service-specific-ip.yaml")
}

/// D1.2: an address outside every pool is refused with the documented text, and the Service stays pending.
pub(crate) fn an_address_outside_every_pool_is_refused_with_a_warning(world: &World) -> Result<()> {
    world.mission("service-invalid-request.yaml")?;
    let text = r#"Failed to allocate IP for "default/invalid-request": "4.3.2.1" is not allowed in config"#;
    world.wait_event("Service", "invalid-request", text)?;
    let description = world.k("describe service invalid-request")?;
    let line = description.lines().find(|l| l.contains("AllocationFailed")).context("no AllocationFailed")?;
    ensure!(
        line.trim_start().starts_with("Warning")
            && line.contains("metallb-controller")
            && line.contains(text),
        "{line}"
    );
    let row = world.k("get service invalid-request --no-headers")?;
    ensure!(row.contains("<pending>"), "{row}");
    world.delete_mission("service-invalid-request.yaml")
}

/// D1.3: the annotation picks the pool.
pub(crate) fn the_pool_annotation_picks_the_pool(world: &World) -> Result<()> {
    world.mission("service-specific-pool.yaml")?;
    let addresses = world.wait_addresses("specific-pool")?;
    ensure!(addresses[0].starts_with("172.31.249."), "{addresses:?}");
    let annotations = world.get("service specific-pool")?["metadata"]["annotations"].take();
    ensure!(annotations["metallb.io/ip-allocated-from-pool"] == "doc-example", "{annotations}");
    world.delete_mission("service-specific-pool.yaml")
}

/// D1.4: a pool that does not exist is warned about, and the address comes from another.
pub(crate) fn an_unknown_pool_falls_back_to_any_with_a_warning(world: &World) -> Result<()> {
    world.mission("service-unknown-pool.yaml")?;
    world.wait_addresses("unknown-pool")?;
    let event = world.wait_event("Service", "unknown-pool", "no-such-pool")?;
    ensure!(event.starts_with("Warning"), "{event}");
    world.delete_mission("service-unknown-pool.yaml")
}

/// D1.5: without an annotation any pool with automatic assignment gives an address.
pub(crate) fn a_service_that_asks_for_nothing_gets_an_address(world: &World) -> Result<()> {
    world.mission("service-any.yaml")?;
    let addresses = world.wait_addresses("any")?;
    world.wait_event("Service", "any", &format!("Assigned IP [\"{}\"]", addresses[0]))?;
    world.wait_fetch(&addresses[0], 8080)?;
    world.delete_mission("service-any.yaml")
}

/// D1.6: two Services share one address by key, on different ports, from one node.
pub(crate) fn services_with_one_key_share_an_address(world: &World) -> Result<()> {
    world.mission("service-shared.yaml")?;
    for service in ["service-http", "service-https"] {
        ensure!(world.wait_addresses(service)? == ["172.31.249.7"], "{service}");
    }
    let nodes = [world.wait_announcer("service-http")?, world.wait_announcer("service-https")?];
    ensure!(nodes[0] == nodes[1], "one address, two announcers: {nodes:?}");
    world.wait_fetch("172.31.249.7", 80)?;
    world.wait_fetch("172.31.249.7", 443)?;
    world.delete_mission("service-shared.yaml")
}

/// D1.7: TCP and UDP on one address.
pub(crate) fn tcp_and_udp_services_share_an_address(world: &World) -> Result<()> {
    world.mission("service-dns.yaml")?;
    for service in ["dns-tcp", "dns-udp"] {
        ensure!(world.wait_addresses(service)? == ["172.31.249.8"], "{service}");
    }
    world.wait_fetch("172.31.249.8", 53)?;
    wait_for("an answer over UDP", SOON, || {
        let command = "echo hello | socat -t 2 - UDP4:172.31.249.8:53";
        let output = world.cluster.exec("client", &["sh", "-c", command])?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(answer.contains("pod=dns-"), "{answer:?}");
        Ok(())
    })?;
    world.delete_mission("service-dns.yaml")
}

/// D2.9: an address of a range, found by ARP at one node, leads to the Pod, and `get service` shows it.
pub(crate) fn the_client_reaches_the_pod_by_an_address_found_by_arp(world: &World) -> Result<()> {
    world.mission("tutorial.yaml")?;
    let address = world.wait_addresses("hostname-svc-lb")?[0].clone();
    let last = address.strip_prefix("10.101.0.").and_then(|l| l.parse::<u8>().ok());
    ensure!(last.is_some_and(|l| (50..=60).contains(&l)), "{address} is not of the range");
    let row = world.k("get service hostname-svc-lb --no-headers")?;
    ensure!(row.split_whitespace().nth(3) == Some(address.as_str()), "{row}");
    let node = world.wait_announcer("hostname-svc-lb")?;
    let holder = wait_for("an answer by ARP", SOON, || world.holder(&address))?;
    ensure!(holder == node, "the status names {node}, ARP leads to {holder}");
    let answer = world.wait_fetch(&address, 8080)?;
    ensure!(answer.pod.starts_with("webserver-"), "{answer:?}");
    world.k("delete service hostname-svc-lb")?;
    wait_for("silence after the Service is gone", SOON, || match world.arp(&address) {
        Err(_) => Ok(()),
        Ok(mac) => bail!("{mac} still answers for {address}"),
    })?;
    world.delete_mission("tutorial.yaml")
}

/// D2.9 for IPv6: found by NDP.
pub(crate) fn an_ipv6_service_is_found_by_ndp(world: &World) -> Result<()> {
    world.service("six", "labels: {}", "ipFamilies: [IPv6], ipFamilyPolicy: SingleStack")?;
    let address = world.wait_addresses("six")?[0].clone();
    ensure!(address.starts_with("2001:db8::"), "{address}");
    let node = world.wait_announcer("six")?;
    let holder = wait_for("an answer by NDP", SOON, || world.holder(&address))?;
    ensure!(holder == node, "the status names {node}, NDP leads to {holder}");
    world.wait_fetch(&address, 80)?;
    world.delete_services(&["six"])
}

/// A dual-stack Service has an address of each family, both from one pool and at one node.
pub(crate) fn a_dual_stack_service_has_two_addresses(world: &World) -> Result<()> {
    let annotation = "annotations: {metallb.io/address-pool: dual}";
    world.service("dual", annotation, "ipFamilyPolicy: RequireDualStack")?;
    let addresses = world.wait_addresses("dual")?;
    ensure!(addresses.len() == 2, "{addresses:?}");
    let node = world.wait_announcer("dual")?;
    for address in &addresses {
        let holder = wait_for("an answer on the LAN", SOON, || world.holder(address))?;
        ensure!(holder == node, "{address} is at {holder}, not {node}");
        world.wait_fetch(address, 80)?;
    }
    world.delete_services(&["dual"])
}

/// D4.20: gratuitous ARP tells the gateway, which never asked.
pub(crate) fn gratuitous_arp_tells_the_gateway(world: &World) -> Result<()> {
    let address = "172.31.249.15";
    let filter = format!("arp and src host {address} and dst host {address}");
    let heard = world.cluster.instance().logs().join("gratuitous.txt");
    let listener =
        world.cluster.spawn("router", &["tcpdump", "-l", "-n", "-e", "-i", "eth0", &filter], &heard)?;
    let read = || anyhow::Ok(std::fs::read_to_string(&heard)?);
    wait_for("tcpdump to listen", SOON, || {
        let said = read()?;
        ensure!(said.contains("listening on eth0"), "{said}");
        Ok(())
    })?;
    world.service("gateway", "labels: {}", &format!("loadBalancerIP: {address}"))?;
    let node = world.wait_announcer("gateway")?;
    let mac = Host::by_name(&node)?.mac(Lan::First);
    wait_for("gratuitous ARP, a request and a reply", SOON, || {
        let said = read()?;
        let from = |kind: &str| {
            said.lines().any(|l| l.contains(&mac) && l.contains("ff:ff:ff:ff:ff:ff") && l.contains(kind))
        };
        ensure!(from("Request") && from("Reply"), "{said}");
        Ok(())
    })?;
    listener.interrupt()?;
    world.delete_services(&["gateway"])
}

/// D4.21: each Service has its own announcing node, so Services spread over the nodes.
pub(crate) fn services_spread_over_the_nodes(world: &World) -> Result<()> {
    let names: Vec<String> = (1..=9).map(|n| format!("spread-{n}")).collect();
    for name in &names {
        world.service(name, "annotations: {metallb.io/address-pool: spread}", "sessionAffinity: None")?;
    }
    let mut nodes = BTreeSet::new();
    for name in &names {
        nodes.insert(world.wait_announcer(name)?);
    }
    ensure!(nodes.len() >= 2, "9 Services, all at {nodes:?}");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.delete_services(&names)
}

/// D4.22: an advertisement's node selector limits who announces, also when labels change.
pub(crate) fn only_selected_nodes_announce(world: &World) -> Result<()> {
    // The mission's advertisement is of all pools from all nodes, so it would select every node here too.
    world.k(&format!("delete l2advertisement doc-example -n {NAMESPACE}"))?;
    let result = announcements_follow_the_labels(world);
    // Whatever came of it, the tests after this one find what was there before.
    for node in ["node2", "node3"] {
        world.k(&format!("label node {node} example.com/balancer-"))?;
    }
    world.delete_services(&["chosen"])?;
    world.mission("pool-doc-example.yaml")?;
    result
}

fn announcements_follow_the_labels(world: &World) -> Result<()> {
    world.k("label node node2 example.com/balancer=yes --overwrite")?;
    world.service("chosen", "annotations: {metallb.io/address-pool: chosen}", "sessionAffinity: None")?;
    world.wait_announcer_that("chosen", "node2", |node| node == "node2")?;
    let address = world.wait_addresses("chosen")?[0].clone();
    wait_for("node2 to answer", SOON, || {
        let holder = world.holder(&address)?;
        ensure!(holder == "node2", "{holder} answers");
        Ok(())
    })?;
    world.k("label node node3 example.com/balancer=yes --overwrite")?;
    world.k("label node node2 example.com/balancer-")?;
    world.wait_announcer_that("chosen", "node3", |node| node == "node3")?;
    world.k("label node node3 example.com/balancer-")?;
    wait_for("nobody to announce", SOON, || {
        let announcers = world.announcers("chosen")?;
        ensure!(announcers.is_empty(), "announced from {announcers:?}");
        Ok(())
    })
}

/// D4.23: externalTrafficPolicy Local keeps the client's address, and the announcement is where a Pod is.
pub(crate) fn a_local_service_sees_the_clients_address(world: &World) -> Result<()> {
    world.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: local, namespace: default}, spec: {type: LoadBalancer, \
         externalTrafficPolicy: Local, selector: {app: webserver}, ports: [{port: 80, targetPort: 8080}]}}",
    )?;
    let address = world.wait_addresses("local")?[0].clone();
    let node = world.wait_announcer("local")?;
    let answer = world.wait_fetch(&address, 80)?;
    ensure!(answer.node == node, "announced from {node}, answered by {answer:?}");
    is_the_clients(world, &answer.client)?;
    world.delete_services(&["local"])
}

/// D4.23 for an ingress: behind a Service with externalTrafficPolicy Local it sees the client's address, and
/// hands it on to a Pod that sees the ingress.
pub(crate) fn an_ingress_hands_the_clients_address_on(world: &World) -> Result<()> {
    let web = file("fixtures/ingress.yaml").display().to_string();
    world.kubectl(&["apply", "-f", &web])?;
    let address = world.wait_addresses("ingress")?[0].clone();
    let answer = world.wait_fetch(&address, 80)?;
    ensure!(answer.pod.starts_with("web-"), "{answer:?}");
    let told = answer.forwarded_for.clone().with_context(|| format!("no forwarded-for in {answer:?}"))?;
    is_the_clients(world, &told)?;
    ensure!(answer.client != told, "the request did not come by the ingress: {answer:?}");
    world.kubectl(&["delete", "--ignore-not-found", "-f", &web]).map(drop)
}

/// Fails unless the address is one that the client has on the LAN.
fn is_the_clients(world: &World, address: &str) -> Result<()> {
    let client = world.cluster.exec("client", &["ip", "-o", "address", "show", "dev", "eth0"])?;
    let own = String::from_utf8_lossy(&client.stdout).into_owned();
    ensure!(own.contains(&format!(" {address}/")), "{address} is no address of the client:\n{own}");
    Ok(())
}

/// Freed on deletion: an exhausted pool serves a waiting Service at once.
pub(crate) fn a_freed_address_goes_to_a_waiting_service(world: &World) -> Result<()> {
    let metadata = "annotations: {metallb.io/address-pool: single}";
    world.service("first", metadata, "sessionAffinity: None")?;
    let address = world.wait_addresses("first")?;
    world.service("second", metadata, "sessionAffinity: None")?;
    let event = world.wait_event("Service", "second", "AllocationFailed")?;
    ensure!(event.contains("no available IPs in pool"), "{event}");
    world.delete_services(&["first"])?;
    ensure!(world.wait_addresses("second")? == address);
    world.delete_services(&["second"])
}

/// Bad input: an address of another family than the Service's.
pub(crate) fn an_address_of_another_family_is_refused(world: &World) -> Result<()> {
    world.service("family", "labels: {}", "ipFamilies: [IPv4], loadBalancerIP: \"2001:db8::1005\"")?;
    let event = world.wait_event("Service", "family", "AllocationFailed")?;
    ensure!(
        event.starts_with("Warning") && event.contains("does not match the ipFamily of the service"),
        "{event}"
    );
    ensure!(world.addresses("family")?.is_empty());
    world.delete_services(&["family"])
}

/// Bad input: a pool with a malformed CIDR is refused with the reason when it is applied.
pub(crate) fn a_malformed_cidr_is_refused(world: &World) -> Result<()> {
    let error = match world.apply(&pool("malformed", "10.300.0.0/24")) {
        Ok(_) => bail!("the pool was accepted"),
        Err(error) => error.to_string(),
    };
    ensure!(error.contains(r#"IPAddressPool "malformed" is invalid: spec.addresses[0]"#), "{error}");
    ensure!(error.contains("10.300.0.0/24") && error.contains("invalid CIDR"), "{error}");
    Ok(())
}

/// Bad input: an L2Advertisement that names no existing pool.
pub(crate) fn an_advertisement_of_no_pool_is_reported(world: &World) -> Result<()> {
    world.apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: lost, namespace: {NAMESPACE}}}, \
         spec: {{ipAddressPools: [nowhere]}}}}"
    ))?;
    let event = world.wait_event("L2Advertisement", "lost", "nowhere")?;
    ensure!(event.starts_with("Warning"), "{event}");
    world.k(&format!("delete l2advertisement lost -n {NAMESPACE}")).map(drop)
}

/// A Service of a class that is not ours is left alone.
pub(crate) fn a_foreign_class_gets_nothing(world: &World) -> Result<()> {
    world.service("foreign", "labels: {}", "loadBalancerClass: example.com/other")?;
    // A Service made after it has been served; so this one was seen and left.
    world.service("after-foreign", "labels: {}", "sessionAffinity: None")?;
    world.wait_addresses("after-foreign")?;
    ensure!(world.addresses("foreign")?.is_empty());
    ensure!(world.events("Service", "foreign")?.is_empty());
    world.delete_services(&["foreign", "after-foreign"])
}

/// Nothing is written while nothing changes: no event is repeated, no object touched.
pub(crate) fn a_settled_service_is_left_alone(world: &World) -> Result<()> {
    world.service("settled", "labels: {}", "sessionAffinity: None")?;
    let address = world.wait_addresses("settled")?[0].clone();
    world.wait_announcer("settled")?;
    world.wait_event("Service", "settled", "nodeAssigned")?;
    let version =
        |w: &World| anyhow::Ok(w.get("service settled")?["metadata"]["resourceVersion"].to_string());
    let (before, events) = (version(world)?, world.events("Service", "settled")?);
    // A change that concerns it in no way runs through controller and speakers meanwhile.
    world.k("label service settled touched=yes --overwrite")?;
    let touched = version(world)?;
    ensure!(before != touched);
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while std::time::Instant::now() < end {
        ensure!(version(world)? == touched, "the Service was written again");
        world.fetch(&address, 80)?;
    }
    ensure!(world.events("Service", "settled")? == events, "{:?}", world.events("Service", "settled")?);
    world.delete_services(&["settled"])
}
