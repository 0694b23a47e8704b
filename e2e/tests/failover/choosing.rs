//! Who announces, and where: each rule of MetalLB, for IPv4, for IPv6 and for both at once.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use e2e::plan::{Host, Lan};
use e2e::wait_for;
use serde_json::Value;

use crate::support::{NAMESPACE, SOON, World};

/// The pool of these tests, on the first LAN.
const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: chosen, namespace: metallb-system}
spec: {addresses: [192.0.2.150-192.0.2.179, '2001:db8::200-2001:db8::2ff'], autoAssign: false}
";
/// The families of three Services, by the suffix of their names.
const FAMILIES: [(&str, &str); 3] = [
    ("v4", "ipFamilies: [IPv4], ipFamilyPolicy: SingleStack"),
    ("v6", "ipFamilies: [IPv6], ipFamilyPolicy: SingleStack"),
    ("dual", "ipFamilyPolicy: RequireDualStack"),
];
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Three Services of one pool that differ in their families, and the advertisements of that pool.
struct Chosen<'a> {
    world: &'a World,
    name: &'static str,
    advertisements: Vec<String>,
    services: Vec<(String, Vec<String>)>,
}

impl<'a> Chosen<'a> {
    /// Creates them for the Pods of an app, with this label and this traffic policy.
    fn create(world: &'a World, name: &'static str, app: &str, tier: &str, policy: &str) -> Result<Self> {
        // What a test before this one broke and did not live to mend is not this one's subject.
        world.cluster.heal()?;
        world.apply(POOL)?;
        let mut services = Vec::new();
        for (suffix, families) in FAMILIES {
            let service = format!("{name}-{suffix}");
            world.apply(&format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: {service}, namespace: default, labels: {{tier: {tier}}}, \
                 annotations: {{metallb.io/address-pool: chosen}}}}, spec: {{type: LoadBalancer, selector: {{app: {app}}}, \
                 externalTrafficPolicy: {policy}, {families}, ports: [{{port: 80, targetPort: 8080}}]}}}}"
            ))?;
            services.push((service, Vec::new()));
        }
        for (service, addresses) in &mut services {
            *addresses = world.wait_addresses(service)?;
        }
        Ok(Self { world, name, advertisements: Vec::new(), services })
    }

    /// Creates or replaces an advertisement of the pool with this further spec.
    fn advertise(&mut self, number: u8, spec: &str) -> Result<()> {
        let name = format!("{}-{number}", self.name);
        self.world.apply(&format!(
            "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: {name}, namespace: {NAMESPACE}}}, \
             spec: {{ipAddressPools: [chosen], {spec}}}}}"
        ))?;
        if !self.advertisements.contains(&name) {
            self.advertisements.push(name);
        }
        Ok(())
    }

    fn addresses(&self) -> Vec<String> {
        self.services.iter().flat_map(|(_, addresses)| addresses.clone()).collect()
    }

    /// The nodes that answer for any of the addresses. Fails where nobody does for one.
    fn holders(&self) -> Result<BTreeSet<String>> {
        self.addresses().iter().map(|address| self.world.holder(address)).collect()
    }

    /// Waits until that node answers for all addresses, and the status of each Service says so.
    fn wait_at(&self, node: &str) -> Result<()> {
        for (service, _) in &self.services {
            self.world.wait_announcer_that(service, node, |announcer| announcer == node)?;
        }
        wait_for(&format!("{node} to answer"), SOON, || {
            let holders = self.holders()?;
            ensure!(holders.iter().eq([node]), "{holders:?} answer");
            Ok(())
        })
    }

    /// Waits until nobody answers for any address, and no status says that somebody does.
    fn wait_nowhere(&self) -> Result<()> {
        for (service, addresses) in &self.services {
            wait_for(&format!("silence for {service}"), SOON, || {
                let announcers = self.world.announcers(service)?;
                ensure!(announcers.is_empty(), "announced from {announcers:?}");
                match addresses.iter().find_map(|address| self.world.holder(address).ok()) {
                    None => Ok(()),
                    Some(holder) => bail!("{holder} answers"),
                }
            })?;
        }
        Ok(())
    }

    /// Waits for an event about each of the Services.
    fn wait_events(&self, part: &str) -> Result<()> {
        self.services
            .iter()
            .try_for_each(|(service, _)| self.world.wait_event("Service", service, part).map(drop))
    }

    /// The status objects of all Services.
    fn statuses(&self) -> Result<Vec<Value>> {
        let status = |(service, _): &(String, Vec<String>)| status(self.world, service);
        self.services.iter().map(status).collect()
    }

    /// Waits until the status of each Service names that cause, and the node that announced it before.
    fn wait_cause(&self, cause: &str, former: &str) -> Result<()> {
        wait_for(&format!("the status to name {cause}"), SOON, || {
            for status in self.statuses()? {
                ensure!(status["cause"] == cause && status["formerNode"] == former, "{status}");
            }
            Ok(())
        })
    }

    fn delete(self) -> Result<()> {
        for (service, _) in &self.services {
            self.world.delete_services(&[service])?;
        }
        for advertisement in &self.advertisements {
            self.world.k(&format!("delete l2advertisement -n {NAMESPACE} {advertisement}"))?;
        }
        self.world.k(&format!("delete ipaddresspool -n {NAMESPACE} chosen")).map(drop)
    }
}

/// The one status object of a Service.
pub(crate) fn status(world: &World, service: &str) -> Result<Value> {
    let labels = format!("metallb.io/service-name={service},metallb.io/service-namespace=default");
    let mut list = world.get(&format!("servicel2statuses -n {NAMESPACE} -l {labels}"))?;
    match list["items"].as_array().map(Vec::len) {
        Some(1) => Ok(list["items"][0]["status"].take()),
        count => bail!("{count:?} status objects"),
    }
}

/// Weights add up over the advertisements; a node that loses eligibility hands over to the next, and gets it back.
pub(crate) fn preferred_nodes_go_first_and_the_status_says_why_it_moves(world: &World) -> Result<()> {
    let mut chosen = Chosen::create(world, "preferred", "web", "front", "Cluster")?;
    let prefer = |weight: u8, node: &str| {
        format!("{{weight: {weight}, preference: {{matchLabels: {{kubernetes.io/hostname: {node}}}}}}}")
    };
    chosen.advertise(
        1,
        &format!("preferredNodeSelectors: [{}, {}]", prefer(60, "node2"), prefer(40, "node3")),
    )?;
    chosen.advertise(2, &format!("preferredNodeSelectors: [{}]", prefer(40, "node3")))?;
    chosen.wait_at("node3")?;
    world.k(&format!("label node node3 {EXCLUDED}="))?;
    chosen.wait_at("node2")?;
    chosen.wait_cause("HolderUnfit", "node3")?;
    world.k(&format!("label node node3 {EXCLUDED}-"))?;
    chosen.wait_at("node3")?;
    chosen.wait_cause("Preferred", "node2")?;
    // A selector of nodes is a filter that no weight overrides.
    let hostname = "matchLabels: {kubernetes.io/hostname: node1}";
    chosen.advertise(
        1,
        &format!("nodeSelectors: [{{{hostname}}}], preferredNodeSelectors: [{}]", prefer(60, "node2")),
    )?;
    chosen.advertise(
        2,
        &format!("nodeSelectors: [{{{hostname}}}], preferredNodeSelectors: [{}]", prefer(40, "node3")),
    )?;
    chosen.wait_at("node1")?;
    chosen.delete()
}

/// The network plugin says that a node has no network, and that it has one again.
pub(crate) fn a_node_without_network_announces_nothing(world: &World) -> Result<()> {
    let mut chosen = Chosen::create(world, "unreachable", "web", "front", "Cluster")?;
    chosen.advertise(
        1,
        "preferredNodeSelectors: [{weight: 9, preference: {matchLabels: {kubernetes.io/hostname: node2}}}]",
    )?;
    chosen.wait_at("node2")?;
    let say = |node: &str, status: &str| {
        let condition = format!(
            r#"{{"type": "NetworkUnavailable", "status": "{status}", "reason": "Test", "message": "said by a test"}}"#
        );
        let patch = format!(r#"{{"status": {{"conditions": [{condition}]}}}}"#);
        world.kubectl(&["patch", "node", node, "--subresource=status", "--type=strategic", "-p", &patch])
    };
    say("node2", "True")?;
    wait_for("other nodes to answer", SOON, || {
        let holders = chosen.holders()?;
        ensure!(!holders.contains("node2"), "{holders:?} answer");
        Ok(())
    })?;
    for node in ["node1", "node3"] {
        say(node, "True")?;
    }
    let silent = chosen.wait_nowhere();
    let told = chosen.wait_events(
        "of 3 ready speakers 3 are on a node with condition NetworkUnavailable: mend the network of a node",
    );
    for node in world.cluster.node_names() {
        say(&node, "False")?;
    }
    silent.and(told)?;
    chosen.wait_at("node2")?;
    chosen.delete()
}

/// Services are selected by any of the selectors; who is left out is told; those that may share an address cannot be
/// selected.
pub(crate) fn service_selectors_choose_and_those_left_out_are_told(world: &World) -> Result<()> {
    let mut chosen = Chosen::create(world, "selected", "web", "front", "Cluster")?;
    chosen.advertise(1, "serviceSelectors: [{matchLabels: {tier: back}}, {matchLabels: {tier: middle}}]")?;
    chosen.wait_nowhere()?;
    chosen.wait_events(
        "the spec.serviceSelectors of every L2Advertisement of IPAddressPool \"chosen\" leave it out",
    )?;
    chosen.advertise(1, "serviceSelectors: [{matchLabels: {tier: back}}, {matchLabels: {tier: front}}]")?;
    let node = world.wait_announcer("selected-dual")?;
    wait_for("answers", SOON, || chosen.holders())?;
    ensure!(status(world, "selected-dual")?["node"] == *node, "two nodes");
    for (suffix, _) in FAMILIES {
        world.k(&format!("annotate service selected-{suffix} metallb.io/allow-shared-ip=key-{suffix}"))?;
    }
    chosen.wait_nowhere()?;
    chosen.wait_events(
        "which cannot be combined with the spec.serviceSelectors of L2Advertisement \"selected-1\"",
    )?;
    chosen.delete()
}

/// Where the traffic policy is Local the node with the Pod announces; without Pods nobody does.
pub(crate) fn a_local_service_is_where_its_pod_is_in_every_family(world: &World) -> Result<()> {
    let mut chosen = Chosen::create(world, "near", "webserver", "front", "Local")?;
    chosen.advertise(1, "nodeSelectors: []")?;
    let node = world.wait_announcer("near-dual")?;
    chosen.wait_at(&node)?;
    for (_, addresses) in &chosen.services {
        for address in addresses {
            let answer = world.wait_fetch(address, 80)?;
            ensure!(answer.node == node, "announced from {node}, answered by {answer:?}");
        }
    }
    // Nodes that have no Pod of it are of no use.
    chosen.advertise(1, &format!("nodeSelectors: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: NotIn, values: [{node}]}}]}}]"))?;
    chosen.wait_nowhere()?;
    chosen.wait_events("2 are on a node without a serving endpoint (externalTrafficPolicy is Local)")?;
    chosen.advertise(1, "nodeSelectors: []")?;
    chosen.wait_at(&node)?;
    world.k("scale deployment webserver --replicas=0")?;
    chosen.wait_nowhere()?;
    world.k("scale deployment webserver --replicas=1")?;
    wait_for("answers", SOON, || chosen.holders())?;
    chosen.delete()
}

/// The interfaces that advertisements name add up, and stand in the status; without any of them nobody answers and the
/// user is told.
pub(crate) fn only_the_named_interfaces_answer_and_one_that_is_missing_is_told(world: &World) -> Result<()> {
    let mut chosen = Chosen::create(world, "interfaces", "web", "front", "Cluster")?;
    for (interfaces, first, second) in
        [("eth1, missing", false, true), ("eth0, eth1", true, true), ("eth0", true, false)]
    {
        chosen.advertise(1, &format!("interfaces: [{interfaces}]"))?;
        for (lan, expected) in [(Lan::First, first), (Lan::Second, second)] {
            for address in chosen.addresses() {
                wait_for(&format!("{interfaces} to announce {address}"), SOON, || {
                    match (holder_on(world, lan, &address), expected) {
                        (Ok(_), true) | (Err(_), false) => Ok(()),
                        (Ok(holder), false) => bail!("{holder} answers on {lan:?}"),
                        (Err(error), true) => Err(error),
                    }
                })?;
            }
        }
        let expected: Vec<&str> = interfaces.split(", ").filter(|name| *name != "missing").collect();
        wait_for("the status to name them", SOON, || {
            for status in chosen.statuses()? {
                let listed = status["interfaces"].as_array().context("interfaces")?;
                let names: Vec<&str> = listed.iter().filter_map(|i| i["name"].as_str()).collect();
                ensure!(names == expected, "{status}");
            }
            Ok(())
        })?;
    }
    chosen.advertise(1, "interfaces: [missing]")?;
    chosen.wait_nowhere()?;
    for (service, addresses) in &chosen.services {
        for address in addresses {
            let event = format!(
                "announceFailed metallb-speaker: the interfaces specified by LB IP \"{address}\" doesn't exist in assigned node"
            );
            world.wait_event("Service", service, &event)?;
        }
    }
    // One advertisement more, and it is announced on the interfaces of both.
    chosen.advertise(2, "interfaces: [eth0]")?;
    wait_for("answers", SOON, || chosen.holders())?;
    chosen.delete()
}

/// The node that answers for the address on one of the client's LANs.
fn holder_on(world: &World, lan: Lan, address: &str) -> Result<String> {
    let interface = lan.interface();
    let ask: Vec<&str> = if address.contains(':') {
        vec!["ndisc6", "-1", "-q", "-r", "1", "-w", "1000", address, interface]
    } else {
        vec!["arping", "-c", "1", "-w", "1", "-r", "-i", interface, address]
    };
    let output = world.cluster.exec("client", &ask)?;
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let mac = text.split_whitespace().next().with_context(|| format!("nobody answers for {address}"))?;
    let nodes = world.cluster.node_names();
    let of = |node: &String| Host::by_name(node).is_ok_and(|host| host.mac(lan) == mac);
    nodes.into_iter().find(of).with_context(|| format!("{address} is at {mac}"))
}
