//! The operator: one MetalLB resource in, a running MetalLB out, and in the resource's status how it fares.
//!
//! ```text
//!             dereference ──▶ validate ──▶ build ──▶ apply ──▶ status
//!  MetalLB,   what exists     can it be    objects   only what    conditions that name
//!  its                        done?                  is not so    what is missing
//!  objects,      I/O            pure        pure       I/O        pure, then I/O
//!  Pods,
//!  Warnings ──▶ any change starts it again
//! ```
//!
//! Nothing is polled: whatever a decision depends on is watched. Nothing is written that says nothing new, so a
//! MetalLB that rests leaves every resource version as it is.

mod apply;
pub mod build;
mod dereference;
mod failure;
pub mod health;
mod nodes;
pub mod pods;
mod reconcile;
pub mod settings;
pub mod status;
mod upgrades;
mod watches;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube_ext::{LeaderConfig, LeaderElector, Leadership};
use telemetry::Probes;

use crate::settings::{Environment, Flags};
use crate::upgrades::Upgrades;

/// The owner of what the operator applies. The existing operator's name: a cluster is taken over in place.
const FIELD_MANAGER: &str = "metallb-operator";
/// The Lease that the active replica holds; the existing operator's, so that the two never work at once.
const LEASE: &str = "metallb.io.metallboperator";

/// The API group by which the existing operator knows OpenShift, too.
const OPENSHIFT: &str = "route.openshift.io";

/// Runs until the process is told to stop.
pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let environment = Environment::read(|name| std::env::var(name).ok())?;
    let client = kube_ext::client().await?;
    let environment = Environment { openshift: is_openshift(&client).await, ..environment };
    let probes = Probes::new();
    let serving = serve(&probes, flags.port);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = environment.namespace,
        controller = environment.controller_image,
        speaker = environment.speaker_image,
        openshift = environment.openshift,
        "operator starts"
    );
    // A replica that stands by is as ready as it can be: an update of the operator waits for this.
    probes.ready(true);
    let working = work(client, environment, flags.enable_leader_election);
    tokio::select! {
        error = serving => error.map(|never| match never {}),
        done = working => done,
    }
}

/// Whether the API server is OpenShift's, by a group of resources that only that has; however long it takes to say so.
async fn is_openshift(client: &kube::Client) -> bool {
    let mut backoff = kube_ext::Backoff::default();
    loop {
        match client.list_api_groups().await {
            Ok(groups) => return groups.groups.iter().any(|group| group.name == OPENSHIFT),
            Err(error) => {
                tracing::warn!(%error, "the API server does not say which API groups it has, trying again");
                tokio::time::sleep(backoff.next_pause()).await;
            }
        }
    }
}

/// Answers the probes, forever.
async fn serve(probes: &Probes, port: u16) -> anyhow::Result<std::convert::Infallible> {
    if port == 0 {
        std::future::pending::<()>().await;
    }
    // A kernel may be without IPv6; with it, the socket takes both families.
    let dual = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let any = if dual { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
    let address = SocketAddr::from((any, port));
    probes.serve(address).await.context("the probes cannot be answered")
}

/// Reconciles while this replica is the one to do so.
async fn work(client: kube::Client, environment: Environment, elect: bool) -> anyhow::Result<()> {
    let mut stop = Box::pin(kube_ext::shutdown_signal());
    if !elect {
        let upgrades = start_upgrades(&client, &environment);
        reconcile::run(client, environment, upgrades, async move { log_stop(stop.await) }).await;
        return Ok(());
    }
    let elector = LeaderElector::new(LeaderConfig {
        client: client.clone(),
        namespace: environment.namespace.clone(),
        name: LEASE.to_owned(),
        identity: identity(),
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
        // It goes with the namespace.
        owner: None,
    });
    let leadership = tokio::select! {
        leadership = elector.acquire() => leadership,
        signal = &mut stop => {
            log_stop(signal);
            return Ok(());
        }
    };
    lead(client, environment, leadership, async move { log_stop(stop.await) }).await
}

async fn lead(
    client: kube::Client,
    environment: Environment,
    leadership: Leadership,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let upgrades = start_upgrades(&client, &environment);
    tokio::select! {
        () = reconcile::run(client, environment, upgrades, stop) => {}
        () = leadership.lost() => bail!("the lease {LEASE} is lost: this replica stops, another may work already"),
    }
    leadership.release().await;
    Ok(())
}

/// Begins to tell OLM when not to upgrade, where OLM runs the operator.
fn start_upgrades(client: &kube::Client, environment: &Environment) -> Upgrades {
    Upgrades::start(client, &environment.namespace, std::env::var(upgrades::VARIABLE).ok())
}

/// What tells this replica from the others: the name of its Pod.
fn identity() -> String {
    let name = ["POD_NAME", "HOSTNAME"].into_iter().find_map(|variable| std::env::var(variable).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("operator-{}", std::process::id()))
}

fn log_stop(signal: &str) {
    tracing::info!(signal, "operator stops; MetalLB goes on as it is");
}
