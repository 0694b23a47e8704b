//! Services by the thousand, and what the API server counts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Cluster, wait_for};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::share;

/// How long all addresses together may take at the very most.
const PATIENCE: Duration = Duration::from_secs(120);

/// Clients of the cluster, and when each Service was first seen with an address.
pub(crate) struct Bench {
    client: Client,
    seen: Mutex<tokio::sync::mpsc::UnboundedReceiver<(String, Instant)>>,
    given: Mutex<BTreeMap<String, Instant>>,
}

/// Writes that the API server has counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writes {
    /// To the status of Services.
    pub(crate) services: u64,
    /// To the status of pools.
    pub(crate) pools: u64,
}

impl Bench {
    /// Watches the Services of the cluster from now on.
    pub(crate) async fn new(cluster: &Cluster) -> Result<Self> {
        // An error means that one is installed already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let kubeconfig = Kubeconfig::read_from(cluster.instance().kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let (tell, seen) = tokio::sync::mpsc::unbounded_channel();
        let api: Api<Service> = Api::default_namespaced(client.clone());
        tokio::spawn(async move {
            let mut events = watcher(api, watcher::Config::default()).boxed();
            while let Ok(Some(event)) = events.try_next().await {
                if let Event::Apply(service) | Event::InitApply(service) = event
                    && has_address(&service)
                    && tell.send((service.name_any(), Instant::now())).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { client, seen: Mutex::new(seen), given: Mutex::default() })
    }

    /// Creates Services, and when each was created.
    pub(crate) async fn create(
        &self,
        numbers: Range<usize>,
        clients: usize,
    ) -> Result<BTreeMap<String, Instant>> {
        let api: Arc<Api<Service>> = Arc::new(Api::default_namespaced(self.client.clone()));
        let created = share(numbers, clients, |numbers| {
            let api = api.clone();
            async move {
                let mut created = Vec::with_capacity(numbers.len());
                for number in numbers {
                    let service = service(number);
                    api.create(&PostParams::default(), &service).await?;
                    created.push((service.name_any(), Instant::now()));
                }
                Ok(created)
            }
        });
        Ok(created.await?.into_iter().flatten().collect())
    }

    /// Waits until all of them have an address; when each was seen with it first.
    pub(crate) async fn addresses(
        &self,
        created: &BTreeMap<String, Instant>,
    ) -> Result<BTreeMap<String, Instant>> {
        let (mut seen, mut given) = (self.seen.lock().await, self.given.lock().await);
        let all = async {
            while !created.keys().all(|name| given.contains_key(name)) {
                let (name, at) = seen.recv().await.context("the watch has ended")?;
                given.entry(name).or_insert(at);
            }
            anyhow::Ok(())
        };
        match timeout(PATIENCE, all).await {
            Ok(outcome) => outcome?,
            Err(_) => bail!("not all services have an address after {PATIENCE:?}"),
        }
        Ok(created.keys().map(|name| (name.clone(), given[name])).collect())
    }

    /// Deletes Services.
    pub(crate) async fn delete(&self, numbers: Range<usize>, clients: usize) -> Result<()> {
        let api: Arc<Api<Service>> = Arc::new(Api::default_namespaced(self.client.clone()));
        let deleted = share(numbers, clients, |numbers| {
            let api = api.clone();
            async move {
                for number in numbers {
                    api.delete(&name(number), &DeleteParams::default()).await?;
                }
                Ok(())
            }
        });
        deleted.await.map(drop)
    }

    /// What the API server has counted so far. Only the controller writes there.
    pub(crate) async fn writes(&self) -> Result<Writes> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let count = |resource: &str| {
            let mut sum = 0;
            for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
                let written =
                    ["PUT", "PATCH", "APPLY"].iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")));
                let status = line.contains(&format!("resource=\"{resource}\""))
                    && line.contains("subresource=\"status\"");
                if written && status {
                    let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
                    sum += format!("{:.0}", value.unwrap_or_default()).parse::<u64>().unwrap_or_default();
                }
            }
            sum
        };
        Ok(Writes { services: count("services"), pools: count("ipaddresspools") })
    }
}

/// Replaces the controller's Pod; the time from the new program's first line to its being ready, by its own log.
pub(crate) fn restart(cluster: &Cluster) -> Result<Duration> {
    let selector = "component=controller";
    let pods = |line: &str| {
        let all = ["get", "pods", "-n", "metallb-system", "-l", selector, "-o", line];
        cluster.kubectl(&all)
    };
    let old = pods("jsonpath={.items[0].metadata.name}")?;
    cluster.kubectl(&["delete", "pod", "-n", "metallb-system", &old, "--wait=true"])?;
    let ready = wait_for("a new controller", Duration::from_secs(60), || {
        let ready = pods("jsonpath={.items[0].metadata.name} {.items[0].status.containerStatuses[0].ready}")?;
        ensure!(ready.ends_with(" true") && !ready.starts_with(&old), "{ready}");
        Ok(ready)
    })?;
    let name = ready.split(' ').next().unwrap_or_default();
    let log = cluster.kubectl(&["logs", "-n", "metallb-system", name])?;
    let time = |part: &str| {
        let line =
            log.lines().find(|line| line.contains(part)).with_context(|| format!("no {part:?} in\n{log}"))?;
        let line: serde_json::Value = serde_json::from_str(line)?;
        let ts: jiff::Timestamp = line["ts"].as_str().context("a line has a time")?.parse()?;
        anyhow::Ok(ts)
    };
    let (first, last) = (time("controller starts")?, time("everything has been listed")?);
    Ok(Duration::try_from(last.duration_since(first))?)
}

fn name(number: usize) -> String {
    format!("bench-{number}")
}

fn service(number: usize) -> Service {
    serde_json::from_value(json!({
        "metadata": {
            "name": name(number), "namespace": "default",
            "labels": {"service.kubernetes.io/service-proxy-name": "none"},
        },
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "selector": {"app": "none"}, "ports": [{"port": 80}],
        },
    }))
    .expect("a Service")
}

fn has_address(service: &Service) -> bool {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer.and_then(|balancer| balancer.ingress.as_ref()).is_some_and(|ingress| !ingress.is_empty())
}
