//! What the tests say often: a pool, peers and Services of one's own, and what users see of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::plan::Host;
use e2e::{Cluster, wait_for};
use serde_json::{Value, json};

use crate::frr::{Frr, Settings, Zebra};

/// The namespace of the operator and of what it runs.
pub(crate) const NAMESPACE: &str = "metallb-system";
/// How long anything may take that happens at once when all is well.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How long a rollout of the controller and all speakers may take.
pub(crate) const ROLLOUT: Duration = Duration::from_secs(120);
/// The address of the routers.
pub(crate) const ROUTER: &str = "192.0.2.254";
/// The same in IPv6.
pub(crate) const ROUTER_V6: &str = "2001:db8::254";
/// The nodes' AS.
pub(crate) const ASN: u32 = 64_512;

/// A file of the crate.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The cluster as the tests use it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) zebra: Zebra,
    /// How many rooms and ports were given away.
    rooms: AtomicU16,
}

/// What belongs to one test: a pool, a port for its router, and a name for everything.
pub(crate) struct Room<'a> {
    pub(crate) world: &'a World,
    pub(crate) name: &'static str,
    number: u16,
}

impl World {
    pub(crate) fn new(cluster: Cluster) -> Result<Self> {
        Ok(Self { zebra: Zebra::start(&cluster)?, cluster, rooms: AtomicU16::new(0) })
    }

    /// Runs kubectl; its standard output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(arguments)
    }

    /// Runs a kubectl command given as one line without quotes.
    pub(crate) fn k(&self, line: &str) -> Result<String> {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.kubectl(&arguments)
    }

    /// An object, or a list of objects, as JSON.
    pub(crate) fn get(&self, line: &str) -> Result<Value> {
        let text = self.k(&format!("get {line} -o json"))?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {line} printed no JSON"))
    }

    /// Applies an object.
    pub(crate) fn apply(&self, object: &Value) -> Result<()> {
        self.cluster.kubectl_with_stdin(&["apply", "-f", "-"], &object.to_string()).map(drop)
    }

    /// A resource of metallb.io.
    pub(crate) fn resource(&self, version: &str, kind: &str, name: &str, spec: &Value) -> Result<()> {
        self.apply(&json!({
            "apiVersion": format!("metallb.io/{version}"),
            "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        }))
    }

    /// The IPv4 addresses of the nodes, sorted.
    pub(crate) fn nodes_v4(&self) -> Vec<String> {
        self.hosts().iter().map(|host| host.v4().to_string()).collect()
    }

    /// The IPv6 addresses of the nodes, sorted.
    pub(crate) fn nodes_v6(&self) -> Vec<String> {
        self.hosts().iter().map(|host| host.v6().to_string()).collect()
    }

    fn hosts(&self) -> Vec<Host> {
        self.cluster.hosts().into_iter().filter(|host| host.number().is_some()).collect()
    }

    /// The events about an object, as `type reason: message`.
    pub(crate) fn events(&self, kind: &str, name: &str) -> Result<Vec<String>> {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let list = self.get(&format!("events -A --field-selector {selector}"))?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let line =
            |e: &Value| format!("{} {}: {}", text(&e["type"]), text(&e["reason"]), text(&e["message"]));
        Ok(list["items"].as_array().into_iter().flatten().map(line).collect())
    }

    /// Waits for an event about an object.
    pub(crate) fn wait_event(&self, kind: &str, name: &str, part: &str) -> Result<()> {
        wait_for(&format!("an event {part:?} about {kind} {name}"), SOON, || {
            let events = self.events(kind, name)?;
            ensure!(events.iter().any(|event| event.contains(part)), "events: {events:#?}");
            Ok(())
        })
    }

    /// The condition of a peer's session on a node: status and message.
    pub(crate) fn session(&self, node: &str, peer: &str) -> Result<(String, String)> {
        let state = self.get(&format!("configurationstate speaker-{node} -n {NAMESPACE}"))?;
        let conditions = state["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let kind = format!("bgp.metallb.io/{peer}");
        let found = conditions.iter().find(|c| c["type"] == kind.as_str());
        let found = found.with_context(|| format!("no condition {kind} among {conditions:?}"))?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("message")))
    }

    /// Waits until the session of a peer is so on a node, and its message has this part.
    pub(crate) fn wait_session(&self, node: &str, peer: &str, status: &str, part: &str) -> Result<()> {
        wait_for(&format!("session of {peer} on {node}: {status} {part:?}"), SOON, || {
            let (now, message) = self.session(node, peer)?;
            ensure!(now == status && message.contains(part), "{now}: {message}");
            Ok(())
        })
    }

    /// The peers that ServiceBGPStatus objects name for a Service of the default namespace, as `node: peer,peer`.
    pub(crate) fn announcers(&self, service: &str) -> Result<Vec<String>> {
        let labels = format!("metallb.io/service-name={service},metallb.io/service-namespace=default");
        let list = self.get(&format!("servicebgpstatuses -n {NAMESPACE} -l {labels}"))?;
        let mut lines: Vec<String> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|object| {
                let peers = object["status"]["peers"].as_array().cloned().unwrap_or_default();
                let peers: Vec<&str> = peers.iter().filter_map(Value::as_str).collect();
                format!("{}: {}", object["status"]["node"].as_str().unwrap_or_default(), peers.join(","))
            })
            .collect();
        lines.sort();
        Ok(lines)
    }

    /// What the client gets from an address: one answer of the web server.
    pub(crate) fn fetch(&self, address: &str) -> Result<String> {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let url = format!("http://{host}/");
        let output = self.cluster.exec("client", &["curl", "-sS", "-m", "2", &url])?;
        ensure!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The name of the speaker's Pod on a node.
    pub(crate) fn speaker(&self, node: &str) -> Result<String> {
        let list = self.get(&format!(
            "pods -n {NAMESPACE} -l app=metallb,component=speaker --field-selector spec.nodeName={node}"
        ))?;
        let live = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let pod = pods.iter().find(live).with_context(|| format!("no speaker on {node}"))?;
        Ok(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }
}

impl<'a> Room<'a> {
    /// A room with a pool of its own, and an advertisement of that pool to the peers of this name.
    pub(crate) fn new(world: &'a World, name: &'static str) -> Result<Self> {
        let room = Self::bare(world, name)?;
        room.advertise(name, &json!({}))?;
        Ok(room)
    }

    /// A room without an advertisement.
    pub(crate) fn bare(world: &'a World, name: &'static str) -> Result<Self> {
        let number = world.rooms.fetch_add(1, Ordering::Relaxed) + 1;
        let room = Self { world, name, number };
        let addresses = [format!("198.18.{number}.0/24"), format!("2001:db8:b:{number}::/120")];
        world.resource(
            "v1beta1",
            "IPAddressPool",
            name,
            &json!({"addresses": addresses, "autoAssign": false}),
        )?;
        Ok(room)
    }

    /// The port of the room's router.
    pub(crate) fn port(&self) -> u16 {
        1_700 + self.number
    }

    /// The IPv4 address of the room with this last part, and the same in IPv6.
    pub(crate) fn address(&self, last: u8) -> String {
        format!("198.18.{}.{last}", self.number)
    }

    pub(crate) fn address_v6(&self, last: u8) -> String {
        format!("2001:db8:b:{}::{last:x}", self.number)
    }

    /// A BGPAdvertisement of the room's pool to the room's peer, with further fields.
    pub(crate) fn advertise(&self, name: &str, fields: &Value) -> Result<()> {
        let mut spec = json!({"ipAddressPools": [self.name], "peers": [self.name]});
        extend(&mut spec, fields);
        self.world.resource("v1beta1", "BGPAdvertisement", name, &spec)
    }

    /// The room's BGPPeer: its router over IPv4, unless the fields say otherwise.
    pub(crate) fn peer(&self, fields: &Value) -> Result<()> {
        self.peer_named(self.name, fields)
    }

    pub(crate) fn peer_named(&self, name: &str, fields: &Value) -> Result<()> {
        let mut spec = json!({
            "myASN": ASN, "peerASN": crate::frr::ASN, "peerAddress": ROUTER, "peerPort": self.port(),
            "holdTime": "30s", "connectTime": "1s",
        });
        extend(&mut spec, fields);
        self.world.resource("v1beta2", "BGPPeer", name, &spec)
    }

    /// The room's router.
    pub(crate) fn frr(&self, lines: &[&str]) -> Result<Frr> {
        Frr::start(self.world, &Settings { lines, ..self.settings() })
    }

    pub(crate) fn settings(&self) -> Settings<'static> {
        Settings::new(self.name, self.port())
    }

    /// A Service of the Pods of app=web with the room's addresses of these last parts, with further fields of its spec.
    pub(crate) fn service(&self, name: &str, addresses: &[String], fields: &Value) -> Result<()> {
        self.labelled_service(name, addresses, &json!({}), fields)
    }

    pub(crate) fn labelled_service(
        &self,
        name: &str,
        addresses: &[String],
        labels: &Value,
        fields: &Value,
    ) -> Result<()> {
        let mut spec = json!({
            "type": "LoadBalancer",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080}],
            "ipFamilyPolicy": if addresses.len() == 2 { "RequireDualStack" } else { "SingleStack" },
            "ipFamilies": addresses.iter().map(|a| if a.contains(':') { "IPv6" } else { "IPv4" }).collect::<Vec<_>>(),
        });
        extend(&mut spec, fields);
        self.world.apply(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name, "namespace": "default", "labels": labels,
                "annotations": {"metallb.io/loadBalancerIPs": addresses.join(",")},
            },
            "spec": spec,
        }))
    }

    /// Waits until the router has a session with every node, and the route to the room's first address by all of them.
    pub(crate) fn wait_by_all(&self, frr: &Frr, prefix: &str) -> Result<()> {
        let nodes = if prefix.contains(':') { self.world.nodes_v6() } else { self.world.nodes_v4() };
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        frr.wait_next_hops(prefix, &nodes)
    }
}

/// Takes over fields, of which those that are null are removed.
fn extend(spec: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        match (value, spec.as_object_mut()) {
            (Value::Null, Some(spec)) => drop(spec.remove(key)),
            _ => spec[key] = value.clone(),
        }
    }
}
