//! A replica and an API server by hand: what a standby does when the Lease becomes its own.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use kube_ext::LeaderConfig;
use kube_ext::testing::{Answers, Asked, Fake};
use metrics::Metrics;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/metallb-system/leases";
const SERVICES: &str = "/api/v1/services";

/// What the API server has. Its watches say nothing, as those that lag behind: a replica learns by lists only.
#[derive(Default)]
struct Store {
    holder: String,
    lease_version: u64,
    services: BTreeMap<String, Value>,
    /// How often the Services were listed.
    lists: usize,
    /// What was written, by name.
    written: Vec<(String, Value)>,
    /// What else was written, but for the Lease.
    others: Vec<(String, Value)>,
    watches: Vec<(String, Asked)>,
}

impl Store {
    fn lease(&self) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "metallb-controller", "namespace": "metallb-system", "resourceVersion": self.lease_version.to_string()},
            "spec": {"holderIdentity": self.holder, "leaseDurationSeconds": 8},
        })
    }

    /// Gives the Lease to somebody, and tells those who watch it.
    fn hand_over(&mut self, holder: &str) {
        self.holder = holder.to_owned();
        self.lease_version += 1;
        let lease = self.lease();
        for (_, asked) in self.watches.extract_if(.., |(path, _)| path == LEASE) {
            asked.tell(&[json!({"type": "MODIFIED", "object": lease})]);
        }
    }

    fn list(items: &[&Value]) -> Value {
        json!({"metadata": {"resourceVersion": "9"}, "items": items})
    }
}

impl Answers for Store {
    fn handle(&mut self, asked: Asked) {
        let (method, path) = asked.what.split_once(' ').expect("a method and a path");
        let (method, path) = (method.to_owned(), path.to_owned());
        if asked.query.contains("watch=true") {
            self.watches.push((path, asked));
            return;
        }
        match (method.as_str(), path.as_str()) {
            ("GET", LEASE) => asked.answer(200, &Self::list(&[&self.lease()])),
            ("GET", path) if path.starts_with(LEASE) => asked.answer(200, &self.lease()),
            ("PUT", path) if path.starts_with(LEASE) => {
                if asked.body["metadata"]["resourceVersion"] != json!(self.lease_version.to_string()) {
                    return asked.refuse(409, "Conflict");
                }
                let holder = asked.body["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
                self.hand_over(&holder);
                asked.answer(200, &self.lease());
            }
            ("GET", SERVICES) => {
                self.lists += 1;
                asked.answer(200, &Self::list(&self.services.values().collect::<Vec<_>>()));
            }
            ("GET", "/api/v1/namespaces") => {
                asked.answer(200, &Self::list(&[&json!({"metadata": {"name": "shop", "uid": "n"}})]));
            }
            ("GET", path) if path.ends_with("/ipaddresspools") => {
                let pool = json!({"metadata": {"name": "p", "namespace": "metallb-system", "uid": "p"},
                    "spec": {"addresses": ["192.0.2.1-192.0.2.9"]}});
                asked.answer(200, &Self::list(&[&pool]));
            }
            ("GET", path) if path.starts_with("/apis/metallb.io") => asked.answer(200, &Self::list(&[])),
            ("GET", path) if path.starts_with("/api/v1/namespaces/shop/services/") => {
                let name = path.rsplit('/').next().unwrap_or_default();
                match self.services.get(name) {
                    Some(service) => asked.answer(200, service),
                    None => asked.refuse(404, "NotFound"),
                }
            }
            ("PUT", path) if path.ends_with("/status") && path.contains("/services/") => {
                let name = path.rsplit('/').nth(1).unwrap_or_default().to_owned();
                let mut service = asked.body.clone();
                service["metadata"]["resourceVersion"] = json!("99");
                self.written.push((name.clone(), service["status"]["loadBalancer"].clone()));
                asked.answer(200, &service);
                self.services.insert(name, service);
            }
            // Events and counters of pools.
            _ => {
                self.others.push((asked.what.clone(), asked.body.clone()));
                asked.answer(200, &json!({"metadata": {"name": "x", "uid": "x"}}));
            }
        }
    }
}

#[derive(Default)]
struct Cluster(Fake<Store>);

impl Cluster {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store()
    }

    async fn until(&self, what: &str, happened: impl Fn(&Store) -> bool) {
        let all = self.0.until(happened);
        timeout(Duration::from_secs(5), all).await.unwrap_or_else(|_| panic!("{what} within five seconds"));
    }

    fn service(&self, name: &str, address: Option<&str>) {
        let ingress: Vec<Value> = address.iter().map(|ip| json!({"ip": ip})).collect();
        let annotations: BTreeMap<_, _> =
            address.iter().map(|_| ("metallb.io/ip-allocated-from-pool", "p")).collect();
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "5", "annotations": annotations},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        self.store().services.insert(name.to_owned(), service);
    }

    /// A replica named `me`; what it reports, what stops it, and how it ends.
    fn replica(&self) -> (channel::Receiver<Option<String>>, channel::Sender<bool>, JoinHandle<End>) {
        self.replica_with(Duration::from_secs(5))
    }

    /// A replica that has lost its Lease when it could not renew it for so long.
    fn replica_with(
        &self,
        renew_deadline: Duration,
    ) -> (channel::Receiver<Option<String>>, channel::Sender<bool>, JoinHandle<End>) {
        let client = self.0.client();
        let (hindrance, ready) = channel::channel(Some("starting".to_owned()));
        let metrics = Metrics::new();
        let reports = Arc::new(Reports {
            recorder: EventRecorder::new(client.clone(), "metallb-controller", "me".to_owned()),
            hindrance,
            standing: channel::channel(None).0,
            counts: ClientMetrics::new(&metrics),
            gauges: PoolGauges::new(&metrics),
        });
        let elector = LeaderElector::new(LeaderConfig {
            client: client.clone(),
            namespace: "metallb-system".to_owned(),
            name: "metallb-controller".to_owned(),
            identity: "me".to_owned(),
            lease_duration: Duration::from_secs(8),
            renew_deadline,
            retry_period: renew_deadline * 2 / 5,
            owner: None,
        });
        let owner = Owner::new(client, "metallb-system".to_owned(), "", reports);
        let (stop, mut stopping) = channel::channel(false);
        let task = tokio::spawn(async move { Box::pin(owner.run(elector, &mut stopping)).await });
        (ready, stop, task)
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), what).await.expect("it happens within five seconds")
}

#[tokio::test]
async fn a_standby_lists_the_services_once_more_before_it_gives_an_address() {
    let cluster = Cluster::default();
    cluster.store().holder = "other".to_owned();
    cluster.service("pending", None);
    let (mut ready, stop, task) = cluster.replica();
    soon(ready.wait_for(Option::is_none)).await.expect("a standby that has listed everything is ready");
    cluster.until("a watch of the lease", |store| store.watches.iter().any(|(path, _)| path == LEASE)).await;
    assert!(cluster.store().written.is_empty(), "another leads");

    // The leader gives an address, of which the standby's watch has said nothing yet, and ends.
    cluster.service("older", Some("192.0.2.1"));
    cluster.store().hand_over("");
    cluster.until("an address is given", |store| !store.written.is_empty()).await;
    {
        let store = cluster.store();
        assert_eq!(store.holder, "me");
        assert_eq!(store.lists, 2);
        let expected = json!({"ingress": [{"ip": "192.0.2.2"}]});
        assert_eq!(store.written, [("pending".to_owned(), expected)], "the first address is another's");
    }

    stop.send_replace(true);
    assert_eq!(soon(task).await.expect("it does not panic"), End::Stopped);
    assert_eq!(cluster.store().holder, "", "the lease is given up");
}

#[tokio::test]
async fn a_replica_that_is_alone_lists_once() {
    let cluster = Cluster::default();
    cluster.service("pending", None);
    let (_ready, stop, task) = cluster.replica();
    cluster.until("an address is given", |store| !store.written.is_empty()).await;
    assert_eq!(cluster.store().lists, 1);
    assert_eq!(cluster.store().holder, "me");
    stop.send_replace(true);
    soon(task).await.expect("it does not panic");
}

#[tokio::test]
async fn a_leader_that_loses_the_lease_writes_nothing_any_more() {
    let cluster = Cluster::default();
    let (mut ready, _stop, task) = cluster.replica();
    soon(ready.wait_for(Option::is_none)).await.expect("it leads");
    // Somebody took it: the next renewal finds out.
    {
        let mut store = cluster.store();
        store.holder = "other".to_owned();
        store.lease_version += 1;
    }
    cluster.service("pending", None);
    let ended = timeout(Duration::from_secs(10), task).await.expect("the next renewal finds out");
    assert_eq!(ended.expect("it does not panic"), End::Lost);
    assert!(cluster.store().written.is_empty());
}

#[tokio::test]
async fn a_leader_that_was_frozen_writes_nothing_of_what_it_finds() {
    let deadline = Duration::from_secs(1);
    let cluster = Cluster::default();
    let (mut ready, _stop, task) = cluster.replica_with(deadline);
    soon(ready.wait_for(Option::is_none)).await.expect("it leads");
    let watches = |store: &Store| store.watches.iter().any(|(path, _)| path == SERVICES);
    cluster.until("a watch of the services", watches).await;
    cluster.until("the counters of the pool", |store| !store.others.is_empty()).await;
    {
        let mut store = cluster.store();
        store.others.clear();
        tell_of_two_services(&mut store);
    }
    // Everything here runs on one thread: this is what a stopped process is like.
    std::thread::sleep(deadline * 3 / 2);
    assert_eq!(soon(task).await.expect("it does not panic"), End::Lost);
    let store = cluster.store();
    assert!(store.written.is_empty(), "{:?}", store.written);
    assert!(store.others.is_empty(), "{:?}", store.others);
}

/// Two Services are created, one of which cannot have what it asks for, and the watches tell of them.
fn tell_of_two_services(store: &mut Store) {
    let created = |name: &str, address: Option<&str>| {
        json!({"type": "ADDED", "object": {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "11"},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}], "loadBalancerIP": address},
        }})
    };
    let events = [created("pending", None), created("refused", Some("203.0.113.9"))];
    for (_, asked) in store.watches.extract_if(.., |(path, _)| path == SERVICES) {
        asked.tell(&events);
    }
}
