//! What the controller does with thousands of Services on a real cluster of three nodes: `cargo xtask bench controller`.
//!
//! The Services have no Pods and are none of kube-proxy's business (a label says so), so that what is measured is
//! API server and controller, on a machine that both share with this program and the rest of the cluster.

#[path = "../common/figures.rs"]
mod figures;
mod services;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Options, wait_for};
use futures::future::try_join_all;

use figures::{Figures, median};
use services::Bench;

/// Clients that create and delete at once.
const CLIENTS: usize = 16;
/// Services of the first figures.
const SERVICES: usize = 1_000;
/// Single Services at that fill.
const SINGLES: usize = 50;
/// Services at the restart.
const MANY: usize = 5_000;

const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bench, namespace: metallb-system}
spec: {addresses: [10.200.0.0/16]}
";

fn main() -> Result<()> {
    let cluster = Cluster::up(&Options::new(&format!("bench-{}", std::process::id())))?;
    cluster.install()?;
    cluster.apply_file("e2e/mission/metallb.yaml")?;
    cluster.kubectl_with_stdin(&["apply", "-f", "-"], POOL)?;
    wait_for("the controller", Duration::from_secs(60), || {
        cluster.kubectl(&[
            "rollout",
            "status",
            "-n",
            "metallb-system",
            "deployment/controller",
            "--timeout=50s",
        ])
    })?;
    let mut figures = Figures::of("controller");
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(&cluster, &mut figures))?;
    drop(runtime);
    cluster.down()?;
    figures.verdict()
}

async fn measure(cluster: &Cluster, figures: &mut Figures) -> Result<()> {
    let bench = Bench::new(cluster).await?;

    // A thousand at once.
    let begun = Instant::now();
    let created = bench.create(0..SERVICES, CLIENTS).await?;
    let creating = begun.elapsed();
    let given = bench.addresses(&created).await?;
    let waits: Vec<Duration> =
        created.iter().map(|(name, at)| given[name].saturating_duration_since(*at)).collect();
    let last = waits.iter().max().copied().context("there are Services")?;
    let rate = SERVICES as u128 * 1_000 / creating.as_millis().max(1);
    figures.note(&format!("{SERVICES} services created by {CLIENTS} clients in {creating:.2?} ({rate}/s)"));
    figures.time("the longest wait for an address", last, Duration::from_secs(2));
    figures.note(&format!("the median wait: {:.1?}", median(waits)));

    // One more, again and again.
    let mut waits = Vec::with_capacity(SINGLES);
    for number in 0..SINGLES {
        let created = bench.create(MANY + number..MANY + number + 1, 1).await?;
        let given = bench.addresses(&created).await?;
        waits.extend(created.iter().map(|(name, at)| given[name].saturating_duration_since(*at)));
    }
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    figures.time("one more at that fill, p50", median(waits), Duration::from_millis(15));
    figures.note(&format!("one more at that fill, p99 (n = {SINGLES}): {p99:.1?}"));

    // Deletion.
    let before = bench.writes().await?;
    let begun = Instant::now();
    bench.delete(0..SERVICES, CLIENTS).await?;
    let deleting = begun.elapsed();
    wait_for("the pool's counters", Duration::from_secs(30), || in_use(cluster, SINGLES))?;
    let after = bench.writes().await?;
    figures.note(&format!("{SERVICES} services deleted in {deleting:.2?}"));
    figures.count("writes to services for it", after.services - before.services, 0);
    figures.count("writes to pools for it", after.pools - before.pools, SERVICES as u64);

    // A restart.
    bench.create(0..MANY - SINGLES, CLIENTS).await?;
    wait_for("all addresses", Duration::from_secs(120), || in_use(cluster, MANY))?;
    figures.memory(
        "memory with 5,000 services",
        figures::resident(cluster, "/controller", "--webhook-mode=disabled")?,
        40,
    );
    let before = bench.writes().await?;
    let ready = services::restart(cluster)?;
    let after = bench.writes().await?;
    figures.time(
        "a new controller: from its first line to ready, 5,000 services",
        ready,
        Duration::from_secs(3),
    );
    figures.count("writes to services after the restart", after.services - before.services, 0);
    figures.count("writes to pools after the restart", after.pools - before.pools, 0);
    figures.memory(
        "memory after the restart",
        figures::resident(cluster, "/controller", "--webhook-mode=disabled")?,
        40,
    );
    Ok(())
}

/// Whether the pool says that so many addresses are in use.
fn in_use(cluster: &Cluster, expected: usize) -> Result<()> {
    let path = "jsonpath={.status.assignedIPv4}";
    let says = cluster.kubectl(&["get", "ipaddresspool", "-n", "metallb-system", "bench", "-o", path])?;
    ensure!(says == expected.to_string(), "{says:?} in use, not {expected}");
    Ok(())
}

/// Runs so many at once, each with its share of the numbers.
async fn share<T, F: Future<Output = Result<T>>>(
    numbers: std::ops::Range<usize>,
    clients: usize,
    run: impl Fn(Vec<usize>) -> F,
) -> Result<Vec<T>> {
    let all: Vec<usize> = numbers.collect();
    let shares = (0..clients).map(|client| all.iter().skip(client).step_by(clients).copied().collect());
    try_join_all(shares.map(run)).await
}
