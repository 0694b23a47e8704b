//! What the tests say often: a room of one's own, pools and Services in it, and what is to come of them.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::Value;

use crate::mirror::{Event, Key, Mirror, State, addresses, text};

/// The namespace of the operator and of what it runs.
pub(crate) const NAMESPACE: &str = "metallb-system";
/// How long anything may take that happens at once when all is well.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How long a rollout of the controller may take.
pub(crate) const ROLLOUT: Duration = Duration::from_secs(120);
/// The annotation that says where addresses are from.
pub(crate) const FROM: &str = "metallb.io/ip-allocated-from-pool";

/// The cluster as the tests use it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) mirror: Mirror,
    /// What came of the time in which there was no controller.
    pub(crate) absence: OnceLock<Result<(), String>>,
}

impl World {
    /// Runs a kubectl command given as one line without quotes.
    pub(crate) fn k(&self, line: &str) -> Result<String> {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.cluster.kubectl(&arguments)
    }

    /// Applies YAML documents.
    pub(crate) fn apply(&self, documents: &[String]) -> Result<()> {
        let yaml = documents.join("\n---\n");
        self.cluster.kubectl_with_stdin(&["apply", "-f", "-"], &yaml).map(drop)
    }

    /// The Pods of the controller that are not about to end, by name.
    pub(crate) fn controllers(state: &State) -> Vec<(&str, &Value)> {
        let ours = |pod: &Value| {
            pod["metadata"]["namespace"] == NAMESPACE
                && pod["metadata"]["labels"]["component"] == "controller"
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let pods = state.pods.iter().filter(|(_, pod)| ours(pod));
        pods.map(|(key, pod)| (key.1.as_str(), pod)).collect()
    }

    /// Sends a signal to the controller in a container.
    pub(crate) fn signal(&self, container: &str, signal: &str) -> Result<()> {
        let words = ["ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", signal, container];
        self.cluster.run("node1", &words).map(drop)
    }

    /// What was written to the API server, as its audit log has it.
    pub(crate) fn audited(&self) -> Result<Vec<Value>> {
        let path = self.cluster.instance().logs().join("control-plane/audit.log");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

/// The Pod with whose token something was written.
pub(crate) fn writer(audited: &Value) -> String {
    text(&audited["user"]["extra"]["authentication.kubernetes.io/pod-name"][0])
}

/// The one container of a Pod that runs, as containerd calls it.
pub(crate) fn container(pod: &Value) -> Option<String> {
    let status = &pod["status"]["containerStatuses"][0];
    if status["state"]["running"].is_null() {
        return None;
    }
    Some(status["containerID"].as_str()?.strip_prefix("containerd://")?.to_owned())
}

/// Whether a Pod is Ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A namespace with addresses that only one test uses, so that tests can run at the same time on one cluster.
///
/// It is left as it is when the test ends: the cluster ends soon after.
pub(crate) struct Room<'a> {
    pub(crate) world: &'a World,
    pub(crate) name: &'static str,
    number: u8,
}

impl<'a> Room<'a> {
    /// Makes the namespace. The number stands in all addresses of the room.
    pub(crate) fn enter(world: &'a World, name: &'static str, number: u8) -> Result<Self> {
        let room = Self { world, name, number };
        world.apply(&[namespace(name, "{}")])?;
        Ok(room)
    }

    /// A room that is there already.
    pub(crate) fn again(world: &'a World, name: &'static str, number: u8) -> Self {
        Self { world, name, number }
    }

    /// An IPv4 address of the room.
    pub(crate) fn v4(&self, last: u8) -> String {
        format!("10.200.{}.{last}", self.number)
    }

    /// IPv4 addresses of the room, as a pool has them.
    pub(crate) fn v4s(&self, first: u8, last: u8) -> String {
        format!("{}-{}", self.v4(first), self.v4(last))
    }

    /// An IPv6 address of the room.
    pub(crate) fn v6(&self, last: u8) -> String {
        format!("fd00:200:{:x}::{last:x}", self.number)
    }

    /// IPv6 addresses of the room, as a pool has them.
    pub(crate) fn v6s(&self, first: u8, last: u8) -> String {
        format!("\"{}-{}\"", self.v6(first), self.v6(last))
    }

    /// The name of a pool of the room.
    pub(crate) fn pool_name(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// A pool as YAML, with further lines of its specification. It is for the room's namespace only, unless those
    /// lines say for whom it is.
    pub(crate) fn pool(&self, name: &str, addresses: &[String], more: &str) -> String {
        let for_whom = if more.contains("serviceAllocation") {
            String::new()
        } else {
            format!("serviceAllocation: {{namespaces: [{}]}}, ", self.name)
        };
        format!(
            "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: {}, namespace: {NAMESPACE}}}, \
             spec: {{addresses: [{}], {for_whom}{more}}}}}",
            self.pool_name(name),
            addresses.join(", ")
        )
    }

    /// Applies pools and waits until the controller knows them: it has then counted what they have.
    pub(crate) fn pools(&self, pools: &[(&str, &[String], &str)]) -> Result<()> {
        let documents: Vec<String> = pools.iter().map(|(n, a, more)| self.pool(n, a, more)).collect();
        self.world.apply(&documents)?;
        let names: Vec<String> = pools.iter().map(|(name, ..)| self.pool_name(name)).collect();
        self.world.mirror.wait("the controller to know the pools", SOON, |state| {
            for name in &names {
                let pool = state.pools.get(&(NAMESPACE.to_owned(), name.clone()));
                ensure!(pool.is_some_and(|pool| !pool["status"].is_null()), "nothing is counted of {name}");
            }
            Ok(())
        })
    }

    /// Deletes a pool of the room.
    pub(crate) fn delete_pool(&self, name: &str) -> Result<()> {
        self.world.k(&format!("delete ipaddresspool {} -n {NAMESPACE}", self.pool_name(name))).map(drop)
    }

    /// A Service of type LoadBalancer as YAML, with further lines for its metadata and its specification.
    pub(crate) fn service(&self, name: &str, metadata: &str, spec: &str) -> String {
        service(self.name, name, metadata, spec)
    }

    /// Applies Services: name, metadata, specification.
    pub(crate) fn services(&self, services: &[(&str, &str, &str)]) -> Result<()> {
        let documents: Vec<String> = services.iter().map(|(n, m, s)| self.service(n, m, s)).collect();
        self.world.apply(&documents)
    }

    /// Deletes a Service.
    pub(crate) fn delete(&self, service: &str) -> Result<()> {
        self.world.k(&format!("delete service {service} -n {}", self.name)).map(drop)
    }

    /// Merges JSON into a Service.
    pub(crate) fn patch(&self, service: &str, json: &str) -> Result<()> {
        let words = ["patch", "service", service, "-n", self.name, "--type", "merge", "-p", json];
        self.world.cluster.kubectl(&words).map(drop)
    }

    /// Replaces the ingress entries in the status of a Service.
    pub(crate) fn patch_ingress(&self, service: &str, entries: &str) -> Result<()> {
        let json = format!(r#"{{"status": {{"loadBalancer": {{"ingress": {entries}}}}}}}"#);
        let words =
            ["patch", "service", service, "-n", self.name, "--subresource", "status", "--type", "merge"];
        self.world.cluster.kubectl(&[&words[..], &["-p", &json]].concat()).map(drop)
    }

    /// The key of a Service.
    pub(crate) fn key(&self, service: &str) -> Key {
        (self.name.to_owned(), service.to_owned())
    }

    /// The addresses that a Service has now.
    pub(crate) fn has(&self, service: &str) -> Result<Vec<String>> {
        self.world.mirror.look(|state| Ok(addresses(state.service(&self.key(service))?)))
    }

    /// Waits until a Service has an address; all of them.
    pub(crate) fn wait_any(&self, service: &str) -> Result<Vec<String>> {
        self.wait_that(service, "an address", |service| {
            let has = addresses(service);
            ensure!(!has.is_empty(), "none");
            Ok(has)
        })
    }

    /// Waits until a Service has exactly these addresses.
    pub(crate) fn wait_has<T: AsRef<str>>(&self, service: &str, expected: &[T]) -> Result<()> {
        let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
        self.wait_that(service, &format!("the addresses {expected:?}"), |service| {
            let has = addresses(service);
            ensure!(has == expected, "{has:?}");
            Ok(())
        })
    }

    /// Waits until a Service has these addresses from this pool of the room.
    pub(crate) fn wait_from(&self, service: &str, expected: &[String], pool: &str) -> Result<()> {
        let pool = self.pool_name(pool);
        self.wait_that(service, &format!("the addresses {expected:?} from {pool}"), |service| {
            let (has, from) = (addresses(service), text(&service["metadata"]["annotations"][FROM]));
            ensure!(has == expected && from == pool, "{has:?} from {from:?}");
            Ok(())
        })
    }

    /// Waits until a Service has no address, nothing else in its status and no pool.
    pub(crate) fn wait_cleared(&self, service: &str) -> Result<()> {
        self.wait_that(service, "nothing", |service| {
            let (balancer, from) =
                (&service["status"]["loadBalancer"], &service["metadata"]["annotations"][FROM]);
            ensure!(balancer["ingress"].is_null() && from.is_null(), "{balancer} from {from}");
            Ok(())
        })
    }

    /// Waits until a Service is as `look` wants it.
    pub(crate) fn wait_that<T>(
        &self,
        service: &str,
        what: &str,
        mut look: impl FnMut(&Value) -> Result<T>,
    ) -> Result<T> {
        let key = self.key(service);
        let what = format!("service {}/{service} to have {what}", self.name);
        self.world.mirror.wait(&what, SOON, |state| {
            look(state.service(&key)?).with_context(|| format!("events: {:?}", state.events(&key)))
        })
    }

    /// Waits for an event of this type and reason about a Service whose message is, or has in it, this text.
    pub(crate) fn wait_event(&self, service: &str, kind: &str, reason: &str, message: &str) -> Result<Event> {
        let key = self.key(service);
        let what = format!("{kind} {reason} about {}/{service}: {message}", self.name);
        self.world.mirror.wait(&what, SOON, |state| {
            let events = state.events(&key);
            let wanted = |event: &&Event| {
                event.kind == kind && event.reason == reason && event.message.contains(message)
            };
            events.iter().find(wanted).cloned().with_context(|| format!("events: {events:?}"))
        })
    }

    /// Waits until a Service was refused for this reason and has nothing.
    pub(crate) fn wait_refused(&self, service: &str, why: &str) -> Result<()> {
        let message = format!("Failed to allocate IP for \"{}/{service}\": {why}", self.name);
        let event = self.wait_event(service, "Warning", "AllocationFailed", &message)?;
        ensure!(event.message == message, "{:?} is not {message:?}", event.message);
        self.wait_has::<&str>(service, &[])
    }

    /// Waits until a Service was told that it may not keep its address, for this reason.
    pub(crate) fn wait_displaced(&self, service: &str, why: &str) -> Result<()> {
        let message = format!(
            "current IP for \"{}/{service}\" not allowed by config, will attempt for new IP assignment: {why}",
            self.name
        );
        self.wait_event(service, "Normal", "ClearAssignment", &message).map(drop)
    }

    /// Waits until the status of a pool has these counters: assigned IPv4 and IPv6, available IPv4 and IPv6.
    pub(crate) fn wait_counters(&self, pool: &str, expected: [i64; 4]) -> Result<()> {
        let key = (NAMESPACE.to_owned(), self.pool_name(pool));
        self.world.mirror.wait(&format!("counters {expected:?} of {}", key.1), SOON, |state| {
            let status = &state.pools.get(&key).context("there is no such pool")?["status"];
            let counters = ["assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6"]
                .map(|name| status[name].as_i64());
            ensure!(counters == expected.map(Some), "{status}");
            Ok(())
        })
    }
}

/// A namespace as YAML.
pub(crate) fn namespace(name: &str, labels: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {labels}}}}}")
}

/// A Service of type LoadBalancer in any namespace as YAML. What the further lines say of its ports and its selector
/// stands in place of the usual.
pub(crate) fn service(namespace: &str, name: &str, metadata: &str, spec: &str) -> String {
    let usual = [("ports:", "ports: [{port: 80}], "), ("selector:", "selector: {app: web}, ")];
    let usual: String = usual.iter().filter(|(key, _)| !spec.contains(key)).map(|(_, line)| *line).collect();
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}, {metadata}}}, \
         spec: {{type: LoadBalancer, {usual}{spec}}}}}"
    )
}
