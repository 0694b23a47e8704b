//! What the tests say often: apply this, wait for that, what does the client see.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::plan::{Host, Lan};
use e2e::{Cluster, wait_for};
use serde_json::Value;

/// The namespace of the operator and of what it runs.
pub(crate) const NAMESPACE: &str = "metallb-system";
/// How long anything may take that happens at once when all is well.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How long a rollout of the controller and all speakers may take.
pub(crate) const ROLLOUT: Duration = Duration::from_secs(120);

/// A file of the crate.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The cluster as the tests use it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
}

impl World {
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

    /// Applies YAML.
    pub(crate) fn apply(&self, yaml: &str) -> Result<String> {
        self.cluster.kubectl_with_stdin(&["apply", "-f", "-"], yaml)
    }

    /// Applies a file of the mission as it is.
    pub(crate) fn mission(&self, name: &str) -> Result<String> {
        let path = file("mission").join(name);
        self.kubectl(&["apply", "-f", &path.display().to_string()])
    }

    /// Deletes what a file of the mission has.
    pub(crate) fn delete_mission(&self, name: &str) -> Result<()> {
        let path = file("mission").join(name);
        self.kubectl(&["delete", "--ignore-not-found", "-f", &path.display().to_string()]).map(drop)
    }

    /// Applies a Service of type LoadBalancer to the Pods of app=web, with further lines of YAML for its
    /// metadata and its spec.
    pub(crate) fn service(&self, name: &str, metadata: &str, spec: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default, {metadata}}}, \
             spec: {{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}], {spec}}}}}"
        ))
        .map(drop)
    }

    /// Deletes Services of the default namespace.
    pub(crate) fn delete_services(&self, names: &[&str]) -> Result<()> {
        for name in names {
            self.kubectl(&["delete", "service", name, "--ignore-not-found"])?;
        }
        Ok(())
    }

    /// The addresses in a Service's status.
    pub(crate) fn addresses(&self, service: &str) -> Result<Vec<String>> {
        let object = self.get(&format!("service {service}"))?;
        let ingress = object["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
        Ok(ingress.iter().filter_map(|i| i["ip"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until the Service has an address; all of them.
    pub(crate) fn wait_addresses(&self, service: &str) -> Result<Vec<String>> {
        wait_for(&format!("an address for service {service}"), SOON, || {
            let addresses = self.addresses(service)?;
            ensure!(
                !addresses.is_empty(),
                "EXTERNAL-IP is <pending>; events: {:?}",
                self.events("Service", service)?
            );
            Ok(addresses)
        })
    }

    /// The events about an object of the default namespace, or of the operator's: `type reason: message`.
    pub(crate) fn events(&self, kind: &str, name: &str) -> Result<Vec<String>> {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let list = self.get(&format!("events -A --field-selector {selector}"))?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        Ok(list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| {
                let component = text(&e["source"]["component"]);
                format!("{} {} {}: {}", text(&e["type"]), text(&e["reason"]), component, text(&e["message"]))
            })
            .collect())
    }

    /// Waits for an event about an object; the whole line of it.
    pub(crate) fn wait_event(&self, kind: &str, name: &str, part: &str) -> Result<String> {
        wait_for(&format!("an event {part:?} about {kind} {name}"), SOON, || {
            let events = self.events(kind, name)?;
            events.iter().find(|e| e.contains(part)).cloned().with_context(|| format!("events: {events:?}"))
        })
    }

    /// The nodes that ServiceL2Status objects name as announcing a Service, sorted.
    pub(crate) fn announcers(&self, service: &str) -> Result<Vec<String>> {
        let labels = format!("metallb.io/service-name={service},metallb.io/service-namespace=default");
        let list = self.get(&format!("servicel2statuses -n {NAMESPACE} -l {labels}"))?;
        let mut nodes: Vec<String> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s["status"]["node"].as_str().map(str::to_owned))
            .collect();
        nodes.sort();
        Ok(nodes)
    }

    /// Waits until exactly one node announces a Service; that node.
    pub(crate) fn wait_announcer(&self, service: &str) -> Result<String> {
        self.wait_announcer_that(service, "any", |_| true)
    }

    /// Waits until exactly one node announces a Service and the node is as wanted; that node.
    pub(crate) fn wait_announcer_that(
        &self,
        service: &str,
        wanted: &str,
        accept: impl Fn(&str) -> bool,
    ) -> Result<String> {
        wait_for(&format!("one announcer of service {service} ({wanted})"), SOON, || {
            match self.announcers(service)?.as_slice() {
                [one] if accept(one) => Ok(one.clone()),
                others => bail!("announced from {others:?}; events: {:?}", self.events("Service", service)?),
            }
        })
    }

    /// The MAC address that answers for an IPv4 address on the LAN, as the client finds it by ARP.
    pub(crate) fn arp(&self, address: &str) -> Result<String> {
        let output =
            self.cluster.exec("client", &["arping", "-c", "1", "-w", "1", "-r", "-i", "eth0", address])?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace()
            .next()
            .map(str::to_owned)
            .with_context(|| format!("nobody answers ARP for {address}"))
    }

    /// The MAC address that answers for an IPv6 address on the LAN, as the client finds it by NDP.
    pub(crate) fn ndp(&self, address: &str) -> Result<String> {
        let output =
            self.cluster.exec("client", &["ndisc6", "-1", "-q", "-r", "1", "-w", "1000", address, "eth0"])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mac =
            text.split_whitespace().next().with_context(|| format!("nobody answers NDP for {address}"))?;
        Ok(mac.to_lowercase())
    }

    /// The node on whose MAC address, on the LAN, the address is found.
    pub(crate) fn holder(&self, address: &str) -> Result<String> {
        let mac = if address.contains(':') { self.ndp(address)? } else { self.arp(address)? };
        let nodes = self.cluster.node_names();
        let of = |node: &String| Host::by_name(node).is_ok_and(|h| h.mac(Lan::First) == mac);
        nodes.into_iter().find(of).with_context(|| format!("{address} is at {mac}, which is no node's"))
    }

    /// What the client gets from a Service's address: one answer of the web server.
    pub(crate) fn fetch(&self, address: &str, port: u16) -> Result<Answer> {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let url = format!("http://{host}:{port}/");
        let output = self.cluster.exec("client", &["curl", "-sS", "-m", "2", &url])?;
        ensure!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Answer::read(&String::from_utf8_lossy(&output.stdout))
    }

    /// Waits until the client gets an answer.
    pub(crate) fn wait_fetch(&self, address: &str, port: u16) -> Result<Answer> {
        wait_for(&format!("an answer from {address}"), SOON, || self.fetch(address, port))
    }

    /// A condition of the MetalLB resource: status, reason, message.
    pub(crate) fn condition(&self, metallb: &str, kind: &str) -> Result<(String, String, String)> {
        let object = self.get(&format!("metallb {metallb} -n {NAMESPACE}"))?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found =
            conditions.iter().find(|c| c["type"] == kind).with_context(|| format!("no condition {kind}"))?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("reason"), text("message")))
    }

    /// Waits until the MetalLB resource is Available in its present generation.
    pub(crate) fn wait_available(&self) -> Result<()> {
        wait_for("MetalLB to be Available", ROLLOUT, || {
            let object = self.get(&format!("metallb metallb -n {NAMESPACE}"))?;
            let generation = &object["metadata"]["generation"];
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let available = conditions.iter().any(|c| {
                c["type"] == "Available" && c["status"] == "True" && &c["observedGeneration"] == generation
            });
            ensure!(available, "conditions: {}", Value::Array(conditions));
            Ok(())
        })
    }

    /// Replaces the MetalLB resource by that of the mission's plain file and waits until it is Available.
    pub(crate) fn plain_metallb(&self) -> Result<()> {
        let path = file("mission/metallb.yaml");
        let text = std::fs::read_to_string(&path)?;
        // `replace` takes back every field that an earlier test set, whoever manages it.
        self.cluster.kubectl_with_stdin(&["replace", "-f", "-"], &text).or_else(|_| self.apply(&text))?;
        self.wait_available()
    }

    /// The template of the Deployment `controller` or the DaemonSet `speaker`.
    pub(crate) fn template(&self, workload: &str) -> Result<Value> {
        Ok(self.get(&format!("{workload} -n {NAMESPACE}"))?["spec"]["template"].take())
    }
}

/// An answer of the tests' web server.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The Pod that answered.
    pub(crate) pod: String,
    /// The node that the Pod runs on.
    pub(crate) node: String,
    /// The address from which the Pod saw the request come.
    pub(crate) client: String,
    /// The client that a reverse proxy named.
    pub(crate) forwarded_for: Option<String>,
}

impl Answer {
    fn read(text: &str) -> Result<Self> {
        let field = |key: &str| {
            let found = text.split_whitespace().find_map(|word| word.strip_prefix(&format!("{key}=")));
            found.map(str::to_owned).with_context(|| format!("no {key} in the answer {text:?}"))
        };
        let client = field("client")?;
        let address = client.rsplit_once(':').map_or(client.as_str(), |(address, _)| address);
        Ok(Self {
            pod: field("pod")?,
            node: field("node")?,
            forwarded_for: field("forwarded-for").ok(),
            client: address.trim_matches(['[', ']']).to_owned(),
        })
    }
}

/// Fails where something takes longer than it may.
pub(crate) fn within<T>(limit: Duration, what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let value = run()?;
    ensure!(start.elapsed() <= limit, "{what} took {:.1?}, more than {limit:?}", start.elapsed());
    Ok(value)
}
