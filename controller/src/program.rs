//! The running program: what is started in which mode, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use api::names;
use kube::Client;
use kube_ext::{EventRecorder, LeaderConfig, LeaderElector};
use metrics::{ClientMetrics, Metrics};
use telemetry::Probes;
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::admission;
use crate::args::{Args, WebhookMode};
use crate::gauges::PoolGauges;
use crate::runtime::{End, Owner, Reports};
use crate::{secret, state};

/// The Lease of the replica that gives addresses.
const LEASE: &str = "metallb-controller";
/// After a crash a standby takes over no sooner than this after the last renewal. An API server that is away for
/// longer than the deadline makes the leader stand by, and does no other harm.
const LEASE_DURATION: Duration = Duration::from_secs(8);
const RENEW_DEADLINE: Duration = Duration::from_secs(5);
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Runs until a signal ends it or something that cannot be mended breaks.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let namespace = args.namespace()?;
    let client = kube_ext::client().await?;
    let probes = Probes::new();
    info!(
        namespace,
        class = args.lb_class,
        webhooks = ?args.webhook.webhook_mode,
        version = env!("CARGO_PKG_VERSION"),
        "controller starts"
    );
    let metrics = Metrics::new();
    serve_metrics(&args, metrics.clone(), client.clone());
    let mut hindrances = Vec::new();
    let (stop, stopping) = channel::channel(false);
    let mut giving = None;
    if args.webhook.webhook_mode != WebhookMode::OnlyWebhook {
        let (hindrance, task) = give_addresses(&args, &metrics, &client, &namespace, stopping);
        hindrances.push(hindrance);
        giving = Some(task);
    }
    let mut webhooks = None;
    if args.webhook.webhook_mode != WebhookMode::Disabled {
        let mut served = admission::serve(&args, &client, &namespace).await?;
        hindrances.append(&mut served.hindrances);
        webhooks = Some(served);
    }
    let outcome = tokio::select! {
        failed = probes.serve(args.probes()) => match failed {
            Ok(never) => match never {},
            Err(error) => Err(error.into()),
        },
        () = follow(&probes, hindrances) => bail!("a part of the program has ended"),
        signal = kube_ext::shutdown_signal() => {
            info!(signal, "controller ends");
            Ok(())
        }
    };
    // Both end at the same time: a program that is told to stop has only seconds.
    stop.send_replace(true);
    let webhooks = webhooks.map(|served| {
        served.stop.send_replace(true);
        served.task
    });
    for task in giving.into_iter().chain(webhooks) {
        // An error would be a panic that the log has told of.
        task.await.ok();
    }
    outcome
}

/// Serves the metrics. Where that fails the log says so, and the work goes on: addresses matter more.
fn serve_metrics(args: &Args, metrics: Metrics, client: Client) {
    let (options, tls) = (args.metrics.clone(), args.tls.clone());
    tokio::spawn(async move {
        match metrics::serve(&options, &tls, metrics, client).await {
            Ok(never) => match never {},
            Err(error) => error!(%error, "no metrics are served until the next start; the work goes on"),
        }
    });
}

/// Starts giving addresses, and what goes with it, until `stop` says true. Gives what hinders it, and what ends when
/// it has ended.
fn give_addresses(
    args: &Args,
    metrics: &Metrics,
    client: &Client,
    namespace: &str,
    mut stop: channel::Receiver<bool>,
) -> (channel::Receiver<Option<String>>, JoinHandle<()>) {
    if !args.ml_secret_name.is_empty() {
        let (client, namespace, args) = (client.clone(), namespace.to_owned(), args.clone());
        tokio::spawn(async move {
            secret::keep(client, &namespace, &args.ml_secret_name, &args.deployment).await;
        });
    }
    let (standing, standings) = channel::channel(None);
    tokio::spawn(state::keep(client.clone(), namespace.to_owned(), args.deployment.clone(), standings));
    let (hindrance, hindrances) = channel::channel(Some("starting".to_owned()));
    let reports = Arc::new(Reports {
        recorder: EventRecorder::new(client.clone(), names::CONTROLLER_COMPONENT, args.pod_name.clone()),
        hindrance,
        standing,
        counts: ClientMetrics::new(metrics),
        gauges: PoolGauges::new(metrics),
    });
    let election = LeaderConfig {
        client: client.clone(),
        namespace: namespace.to_owned(),
        name: LEASE.to_owned(),
        identity: identity(&args.pod_name),
        lease_duration: LEASE_DURATION,
        renew_deadline: RENEW_DEADLINE,
        retry_period: RETRY_PERIOD,
        owner: None,
    };
    let deployment = args.deployment.clone();
    let (client, namespace, class) = (client.clone(), namespace.to_owned(), args.lb_class.clone());
    let task = tokio::spawn(async move {
        let owner = tokio::select! {
            owner = secret::home(&client, &namespace, &deployment) => owner,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let election = LeaderConfig { owner, ..election };
        loop {
            let owner = Owner::new(client.clone(), namespace.clone(), &class, reports.clone());
            match Box::pin(owner.run(LeaderElector::new(election.clone()), &mut stop)).await {
                End::Lost => warn!("the lease is lost: this replica stands by"),
                End::Stopped => return,
            }
        }
    });
    (hindrances, task)
}

/// What tells this replica from the others: the name of its Pod. The same Pod takes its lease up again after a crash.
fn identity(pod: &str) -> String {
    if !pod.is_empty() {
        return pod.to_owned();
    }
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    format!("controller-{host}-{}", std::process::id())
}

/// Answers the readiness probe: ready once nothing hinders any part of the program. Ends when a part ends.
async fn follow(probes: &Probes, mut parts: Vec<channel::Receiver<Option<String>>>) {
    let mut was_ready = false;
    loop {
        let hindrances: Vec<String> =
            parts.iter_mut().filter_map(|part| part.borrow_and_update().clone()).collect();
        let is_ready = hindrances.is_empty();
        if is_ready {
            probes.ready(true);
        } else {
            probes.not_ready(hindrances.join("; "));
        }
        match (was_ready, is_ready) {
            (false, true) => info!("ready"),
            (true, false) => warn!(why = hindrances.join("; "), "not ready any more"),
            _ => {}
        }
        was_ready = is_ready;
        let changes = parts.iter_mut().map(|part| Box::pin(part.changed()));
        if futures::future::select_all(changes).await.0.is_err() {
            return;
        }
    }
}
