//! A cluster in a few maps: it keeps Services as an API server would, and does what the controller wants done.

#![expect(clippy::needless_pass_by_value, reason = "calls with json! read better without references")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::{IPAddressPool, IPAddressPoolStatus, L2Advertisement};
use controller::action::{Action, Measure, Outcome, Standing, StatusWrite};
use controller::core::Core;
use controller::service::{MISSING_POOL, Service};
use ipam::Labels;
use k8s_openapi::api::core::v1::{self as core, LoadBalancerIngress, LoadBalancerStatus, ServiceStatus};
use kube_ext::{EventKind, ObjectKey};
use serde_json::{Value, json};

#[derive(Default)]
pub(crate) struct World {
    pub(crate) core: Core,
    class: String,
    services: BTreeMap<ObjectKey, core::Service>,
    namespaces: BTreeMap<String, Labels>,
    pools: BTreeMap<String, IPAddressPool>,
    l2_advertisements: BTreeMap<String, L2Advertisement>,
    /// Counts up with every change of any object.
    version: u64,
    /// Events since they were last asked for, as `describe` would show them.
    events: Vec<String>,
    /// Writes to Services and pools since they were last asked for.
    writes: usize,
    /// What is shown of each pool.
    pub(crate) measures: BTreeMap<String, Measure>,
    /// What was told of the configuration.
    pub(crate) standings: Vec<Standing>,
    /// Services whose status nobody can write.
    pub(crate) unwritable: Vec<&'static str>,
    /// Whether writes wait for [`Self::finish_writes`].
    pub(crate) slow: bool,
    under_way: Vec<StatusWrite>,
}

impl World {
    /// A cluster with the namespace `default` and a controller that has started.
    pub(crate) fn new() -> Self {
        let mut world = Self::default();
        world.namespace("default", &[]);
        world.restart();
        world
    }

    /// A cluster with these pools: name and addresses each.
    pub(crate) fn with_pools(pools: &[(&str, &[&str])]) -> Self {
        let mut world = Self::new();
        for (name, addresses) in pools {
            world.pool(name, json!({ "addresses": addresses }));
        }
        world
    }

    /// Ends the controller and starts another one for Services of a class.
    pub(crate) fn restart_for(&mut self, class: &str) {
        class.clone_into(&mut self.class);
        self.restart();
    }

    /// Ends the controller and starts another one, which knows only what the cluster shows.
    pub(crate) fn restart(&mut self) {
        self.stand_by();
        assert_eq!(self.core.decide(), [], "nothing is decided before the start");
        self.core.start();
        self.settle();
    }

    /// Ends the controller. Another one learns what the cluster shows and decides nothing yet.
    pub(crate) fn stand_by(&mut self) {
        self.under_way.clear();
        self.measures.clear();
        self.core = Core::new(Some(self.class.clone()));
        for (name, labels) in &self.namespaces {
            self.core.apply_namespace(name, labels.clone());
        }
        for service in self.services.values() {
            self.core.apply_service(Service::reduce(service.clone()));
        }
        for pool in self.pools.values() {
            self.core.apply_pool(pool.clone());
        }
        for advertisement in self.l2_advertisements.values() {
            self.core.apply_l2_advertisement(advertisement.clone());
        }
    }

    pub(crate) fn namespace(&mut self, name: &str, labels: &[(&str, &str)]) {
        let labels: Labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.namespaces.insert(name.to_owned(), labels.clone());
        self.core.apply_namespace(name, labels);
        self.settle();
    }

    pub(crate) fn pool(&mut self, name: &str, spec: Value) {
        let before = self.pools.get(name).and_then(|pool| pool.status.clone());
        let mut pool: IPAddressPool =
            serde_json::from_value(json!({ "metadata": { "name": name, "uid": name }, "spec": spec }))
                .expect("a pool");
        pool.status = before;
        self.pools.insert(name.to_owned(), pool.clone());
        self.core.apply_pool(pool);
        self.settle();
    }

    pub(crate) fn delete_pool(&mut self, name: &str) {
        self.pools.remove(name);
        self.core.delete_pool(name);
        self.settle();
    }

    pub(crate) fn l2_advertisement(&mut self, name: &str, spec: Value) {
        let object: L2Advertisement =
            serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec }))
                .expect("an advertisement");
        self.l2_advertisements.insert(name.to_owned(), object.clone());
        self.core.apply_l2_advertisement(object);
        self.settle();
    }

    pub(crate) fn community(&mut self, name: &str, spec: Value) {
        let object = json!({ "metadata": { "name": name }, "spec": spec });
        self.core.apply_community(serde_json::from_value(object).expect("a Community"));
        self.settle();
    }

    /// Creates or edits a Service in `default`: a single-stack IPv4 LoadBalancer on port 80, except for what `metadata`
    /// and `spec` say. Services that are created one after the other age in this order.
    pub(crate) fn service(&mut self, name: &str, metadata: Value, spec: Value) {
        self.service_in("default", name, metadata, spec);
    }

    pub(crate) fn service_in(&mut self, namespace: &str, name: &str, metadata: Value, spec: Value) {
        let key = ObjectKey::new(namespace, name);
        let before = self.services.get(&key).cloned();
        let mut object = json!({
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("{name}-{}", self.version),
                "creationTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", self.version / 60 % 60, self.version % 60),
            },
            "spec": {
                "type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "externalTrafficPolicy": "Cluster",
                "ports": [{ "port": 80, "protocol": "TCP" }], "selector": { "app": name },
            },
        });
        merge(&mut object["metadata"], metadata);
        merge(&mut object["spec"], spec);
        let mut service: core::Service = serde_json::from_value(object).expect("a Service");
        if let Some(before) = before {
            service.metadata.uid = before.metadata.uid;
            service.metadata.creation_timestamp = before.metadata.creation_timestamp;
            service.status = before.status;
            for key in [api::names::ALLOCATED_FROM_POOL, MISSING_POOL] {
                if let Some(value) = before.metadata.annotations.as_ref().and_then(|all| all.get(key)) {
                    service
                        .metadata
                        .annotations
                        .get_or_insert_default()
                        .insert(key.to_owned(), value.clone());
                }
            }
        }
        self.put(service);
        self.settle();
    }

    /// Changes a Service by hand.
    pub(crate) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut core::Service)) {
        let mut service = self.services[&ObjectKey::new("default", name)].clone();
        edit(&mut service);
        self.put(service);
        self.settle();
    }

    pub(crate) fn delete(&mut self, name: &str) {
        let key = ObjectKey::new("default", name);
        self.services.remove(&key);
        self.core.delete_service(&key);
        self.settle();
    }

    fn put(&mut self, mut service: core::Service) {
        self.version += 1;
        service.metadata.resource_version = Some(self.version.to_string());
        let reduced = Service::reduce(service.clone());
        self.services.insert(reduced.key.clone(), service);
        self.core.apply_service(reduced);
    }

    /// Lets the controller do what it wants to do until it wants nothing more.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            let actions = self.core.decide();
            if actions.is_empty() {
                return;
            }
            self.perform(actions);
        }
        panic!("the controller does not come to rest: {:?}", self.core.decide());
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::WriteService(write) if self.slow => self.under_way.push(write),
                Action::WriteService(write) => self.write(&write),
                Action::WritePool { name, status } => {
                    self.writes += 1;
                    let pool = self.pools.get_mut(&name).expect("a pool that exists");
                    assert_ne!(pool.status.as_ref(), Some(&status), "a write without a change");
                    pool.status = Some(status);
                    self.core.apply_pool(pool.clone());
                    self.core.pool_written(&name, true);
                }
                Action::Measure { name, measure } => {
                    match measure {
                        Some(measure) => self.measures.insert(name, measure),
                        None => self.measures.remove(&name),
                    };
                }
                Action::Stand(standing) => self.standings.push(standing),
                Action::Event { about, note } => {
                    let kind = if note.kind == EventKind::Normal { "Normal" } else { "Warning" };
                    let mut line = String::new();
                    let name = about.name.unwrap_or_default();
                    write!(line, "{name}: {kind} {}: {}", note.reason, note.message).expect("text");
                    self.events.push(line);
                }
            }
        }
    }

    /// Lets the writes that are under way reach the API server.
    pub(crate) fn finish_writes(&mut self) {
        for write in std::mem::take(&mut self.under_way) {
            self.write(&write);
        }
        self.settle();
    }

    fn write(&mut self, write: &StatusWrite) {
        let outcome = self.store(write);
        let actions = self.core.written(&write.key, &write.uid, outcome);
        self.perform(actions);
    }

    fn store(&mut self, write: &StatusWrite) -> Outcome {
        if self.unwritable.contains(&write.key.name.as_str()) {
            return Outcome::Failed("a policy forbids it".to_owned());
        }
        let Some(service) = self.services.get_mut(&write.key) else { return Outcome::Gone };
        if service.metadata.resource_version.as_deref() != Some(&write.resource_version) {
            return Outcome::Conflict;
        }
        self.writes += 1;
        self.version += 1;
        service.metadata.resource_version = Some(self.version.to_string());
        let annotations = service.metadata.annotations.get_or_insert_default();
        let desired = &write.desired;
        for (key, value) in
            [(api::names::ALLOCATED_FROM_POOL, &desired.pool), (MISSING_POOL, &desired.missing_pool)]
        {
            match value {
                Some(value) => annotations.insert(key.to_owned(), value.clone()),
                None => annotations.remove(key),
            };
        }
        if write.ingress {
            // The API server adds ipMode.
            let entry = |address: &std::net::IpAddr| LoadBalancerIngress {
                ip: Some(address.to_string()),
                ip_mode: Some("VIP".to_owned()),
                ..LoadBalancerIngress::default()
            };
            let ingress = Some(desired.addresses.iter().map(entry).collect());
            let load_balancer = Some(LoadBalancerStatus { ingress });
            service.status = Some(ServiceStatus { load_balancer, ..ServiceStatus::default() });
        }
        let reduced = Service::reduce(service.clone());
        assert!(desired.is_shown_by(&reduced));
        Outcome::Done(Box::new(reduced))
    }

    /// The addresses that `kubectl get service` shows.
    pub(crate) fn ips(&self, name: &str) -> Vec<String> {
        self.ips_of(&ObjectKey::new("default", name))
    }

    fn ips_of(&self, key: &ObjectKey) -> Vec<String> {
        Service::reduce(self.services[key].clone()).status.ingress.into_iter().flatten().collect()
    }

    /// The addresses of every Service.
    pub(crate) fn all_ips(&self) -> BTreeMap<ObjectKey, Vec<String>> {
        self.services.keys().map(|key| (key.clone(), self.ips_of(key))).collect()
    }

    pub(crate) fn object(&self, name: &str) -> &core::Service {
        &self.services[&ObjectKey::new("default", name)]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Service> {
        self.services.values().cloned().map(Service::reduce)
    }

    pub(crate) fn annotation(&self, name: &str, key: &str) -> Option<&str> {
        self.object(name).metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn counters(&self, pool: &str) -> IPAddressPoolStatus {
        self.pools[pool].status.clone().expect("counted")
    }

    /// Another replica writes the counters of a pool.
    pub(crate) fn count_elsewhere(&mut self, pool: &str, counters: IPAddressPoolStatus) {
        let pool = self.pools.get_mut(pool).expect("a pool that exists");
        pool.status = Some(counters);
        self.core.apply_pool(pool.clone());
    }

    /// Whether some object of the configuration is not valid.
    pub(crate) fn is_misconfigured(&self) -> bool {
        let invalid = |action: &Action| matches!(action, Action::Event { note, .. } if note.reason == "InvalidConfiguration");
        self.core.standing_warnings().iter().any(invalid)
    }

    /// The events since the last time.
    pub(crate) fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    /// How many writes to Services and pools there were since the last time.
    pub(crate) fn writes(&mut self) -> usize {
        std::mem::take(&mut self.writes)
    }
}

/// Puts the fields of `more` over those of `object`.
fn merge(object: &mut Value, more: Value) {
    if let Value::Object(more) = more {
        for (key, value) in more {
            object[key] = value;
        }
    }
}
