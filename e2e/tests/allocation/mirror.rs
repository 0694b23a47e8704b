//! What the API server says of Services, pools, Pods and events, as it says it.
//!
//! ```text
//! kubectl get KIND -A --watch ──a thread each──▶ State ──▶ wait()
//! ```
//!
//! A test that waits is woken by the change it waits for and starts no program to look. And what was shown only for a
//! moment is seen too: every state of a Service is in the log.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::Cluster;
use serde_json::Value;

/// The kinds that are watched.
const KINDS: [&str; 4] = ["services", "ipaddresspools", "pods", "events"];

/// Namespace and name.
pub(crate) type Key = (String, String);

/// A copy of what the API server has that follows its changes.
pub(crate) struct Mirror {
    shared: Arc<Shared>,
    watches: Vec<Child>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What there is.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) services: BTreeMap<Key, Value>,
    pub(crate) pools: BTreeMap<Key, Value>,
    pub(crate) pods: BTreeMap<Key, Value>,
    events: BTreeMap<Key, Value>,
    /// Every state that a Service was in, in the order of the API server.
    pub(crate) log: Vec<Shown>,
    /// The watch that has ended, which none may.
    ended: Option<String>,
}

/// What a Service showed, and when that became known here.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) service: Key,
    pub(crate) uid: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) deleted: bool,
    pub(crate) at: Instant,
}

/// An event about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `Normal` or `Warning`.
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// How often it was told.
    pub(crate) count: u64,
    /// The Pod that told it.
    pub(crate) teller: String,
}

impl Mirror {
    /// Starts to follow a cluster that has the resources of metallb.io.
    pub(crate) fn follow(cluster: &Cluster) -> Result<Self> {
        let shared: Arc<Shared> = Arc::default();
        let mut watches = Vec::new();
        for kind in KINDS {
            let words = ["get", kind, "-A", "--watch", "--output-watch-events", "-o", "json"];
            let mut child = cluster
                .kubectl_command(&words)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("watching {kind}"))?;
            let output = child.stdout.take().expect("stdout is piped");
            watches.push(child);
            let shared = shared.clone();
            thread::spawn(move || shared.read(kind, output));
        }
        Ok(Self { shared, watches })
    }

    /// Looks at what there is now. It does not change meanwhile, so `look` must not wait for anything.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Waits until `look` returns a value; it fails, saying what it saw instead, until then.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&State) -> Result<T>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            let seen = match look(&state) {
                Ok(value) => return Ok(value),
                Err(seen) => seen,
            };
            if let Some(kind) = &state.ended {
                bail!("the watch of {kind} has ended");
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                bail!("{what} did not happen within {limit:?}; last seen: {seen:#}");
            };
            let woken = self.shared.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        for watch in &mut self.watches {
            // Both fail only where it has ended already.
            watch.kill().ok();
            watch.wait().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that fails while it looks leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, kind: &str, output: ChildStdout) {
        let changes = serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
        for change in changes.map_while(Result::ok) {
            self.lock().change(kind, change);
            self.changed.notify_all();
        }
        self.lock().ended = Some(kind.to_owned());
        self.changed.notify_all();
    }
}

impl State {
    fn change(&mut self, kind: &str, mut change: Value) {
        let object = change["object"].take();
        let key = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        let deleted = change["type"] == "DELETED";
        let objects = match kind {
            "services" => {
                self.log.push(Shown {
                    service: key.clone(),
                    uid: text(&object["metadata"]["uid"]),
                    addresses: addresses(&object),
                    deleted,
                    at: Instant::now(),
                });
                &mut self.services
            }
            "ipaddresspools" => &mut self.pools,
            "pods" => &mut self.pods,
            _ => &mut self.events,
        };
        if deleted {
            objects.remove(&key);
        } else {
            objects.insert(key, object);
        }
    }

    /// A Service.
    pub(crate) fn service(&self, key: &Key) -> Result<&Value> {
        self.services.get(key).with_context(|| format!("there is no service {}/{}", key.0, key.1))
    }

    /// The events of the controller about a Service, in no order.
    pub(crate) fn events(&self, service: &Key) -> Vec<Event> {
        let about = |event: &&Value| {
            let object = &event["involvedObject"];
            object["kind"] == "Service"
                && object["namespace"] == *service.0
                && object["name"] == *service.1
                && event["source"]["component"] == "metallb-controller"
        };
        let events = self.events.values().filter(about).map(|event| Event {
            kind: text(&event["type"]),
            reason: text(&event["reason"]),
            message: text(&event["message"]),
            count: event["count"].as_u64().unwrap_or(1),
            teller: text(&event["reportingInstance"]),
        });
        events.collect()
    }
}

/// The addresses in the status of a Service.
pub(crate) fn addresses(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    ingress.filter_map(|entry| entry["ip"].as_str().map(str::to_owned)).collect()
}

/// A text; empty where there is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
