//! How fast the operator works on a real cluster of one node, and what it takes: `cargo xtask bench operator`.
//!
//! Times are those of a client that asks the API server again and again: they have the way there and back in them.

#[path = "../common/figures.rs"]
#[allow(dead_code, reason = "what only the other benchmark says")]
mod figures;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Options};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use figures::{Figures, median};

const NAMESPACE: &str = "metallb-system";
/// How often each time is taken.
const ROUNDS: usize = 20;
/// Nothing that is measured takes as long.
const LIMIT: Duration = Duration::from_secs(60);

/// What the benchmark speaks with.
struct Bench {
    metallbs: Api<DynamicObject>,
    deployments: Api<Deployment>,
    daemon_sets: Api<DaemonSet>,
}

fn main() -> Result<()> {
    let cluster =
        Cluster::up(&Options { nodes: 1, ..Options::new(&format!("bench-{}", std::process::id())) })?;
    cluster.install()?;
    cluster.kubectl(&[
        "rollout",
        "status",
        "-n",
        NAMESPACE,
        "deployment/metallb-operator-controller-manager",
        "--timeout=60s",
    ])?;
    let mut figures = Figures::of("operator");
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(&cluster, &mut figures))?;
    drop(runtime);
    figures.memory("memory", figures::resident(&cluster, "/operator", "--enable-leader-election")?, 25);
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/images/operator.tar");
    let size = std::fs::metadata(&image).with_context(|| format!("there is no {}", image.display()))?.len();
    figures.memory("image", size, 15);
    cluster.down()?;
    figures.verdict()
}

async fn measure(cluster: &Cluster, figures: &mut Figures) -> Result<()> {
    let bench = Bench::new(cluster).await?;
    let (mut applied, mut repaired, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        applied.push(bench.create().await?);
        repaired.push(bench.repair().await?);
        replaced.push(bench.replace().await?);
        bench.delete().await?;
    }
    for (what, times, bound) in [
        ("from a new resource to Deployment and DaemonSet", applied, Duration::from_millis(500)),
        ("from a changed argument to the right one", repaired, Duration::from_secs(2)),
        ("from a deleted Deployment to another one", replaced, Duration::from_secs(2)),
    ] {
        figures.note(&format!("{what}, median of {ROUNDS}: {:.1?}", median(times.clone())));
        figures.time(&format!("{what}, longest"), times.into_iter().max().unwrap_or_default(), bound);
    }
    Ok(())
}

impl Bench {
    async fn new(cluster: &Cluster) -> Result<Self> {
        // An error means that a provider is installed already, and any will do.
        rustls::crypto::ring::default_provider().install_default().ok();
        let kubeconfig = Kubeconfig::read_from(cluster.instance().kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let metallb = GroupVersionKind::gvk("metallb.io", "v1beta1", "MetalLB");
        let resource = ApiResource::from_gvk_with_plural(&metallb, "metallbs");
        Ok(Self {
            metallbs: Api::namespaced_with(client.clone(), NAMESPACE, &resource),
            deployments: Api::namespaced(client.clone(), NAMESPACE),
            daemon_sets: Api::namespaced(client, NAMESPACE),
        })
    }

    /// Creates the resource.
    async fn create(&self) -> Result<Duration> {
        let metallb = json!({"apiVersion": "metallb.io/v1beta1", "kind": "MetalLB", "metadata": {"name": "metallb"}, "spec": {}});
        self.metallbs.create(&PostParams::default(), &serde_json::from_value(metallb)?).await?;
        until("both workloads", async || {
            let (deployment, daemon_set) = tokio::try_join!(
                self.deployments.get_opt("controller"),
                self.daemon_sets.get_opt("speaker")
            )?;
            Ok(deployment.is_some() && daemon_set.is_some())
        })
        .await
    }

    /// Changes the arguments of the speakers.
    async fn repair(&self) -> Result<Duration> {
        let wrong = json!([{"name": "speaker", "args": ["--log-level=none"]}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": wrong}}}});
        self.daemon_sets.patch("speaker", &PatchParams::default(), &Patch::Strategic(patch)).await?;
        until("the right arguments", async || {
            let speaker = serde_json::to_value(self.daemon_sets.get("speaker").await?)?;
            Ok(speaker["spec"]["template"]["spec"]["containers"][0]["args"]
                .to_string()
                .contains("--log-level=info"))
        })
        .await
    }

    /// Deletes the Deployment.
    async fn replace(&self) -> Result<Duration> {
        let old = self.deployments.get("controller").await?.metadata.uid;
        self.deployments.delete("controller", &DeleteParams::default()).await?;
        until("another Deployment", async || {
            let new = self.deployments.get_opt("controller").await?;
            Ok(new.is_some_and(|new| new.metadata.uid != old))
        })
        .await
    }

    /// Deletes the resource and waits until nothing is left of it.
    async fn delete(&self) -> Result<()> {
        self.metallbs.delete("metallb", &DeleteParams::default()).await?;
        let gone = until("the workloads to go", async || {
            let (deployment, daemon_set) = tokio::try_join!(
                self.deployments.get_opt("controller"),
                self.daemon_sets.get_opt("speaker")
            )?;
            Ok(deployment.is_none() && daemon_set.is_none())
        });
        gone.await.map(drop)
    }
}

/// How long it takes from now until `look` says yes.
async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<bool>) -> Result<Duration> {
    let begun = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    loop {
        if look().await? {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        pause.tick().await;
    }
}
