//! From the command line to the end: starts the tasks and owns the core.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use announce::Settings;
use anyhow::Context;
use api::names::SPEAKER_COMPONENT;
use api::{ServiceBGPStatus, ServiceL2Status};
use kube::Client;
use kube_ext::EventRecorder;
use metrics::Metrics;
use telemetry::Probes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::args::Args;
use crate::bgp::Peers;
use crate::board::{Board, BoardHands};
use crate::core::{Core, Input, NodeFacts};
use crate::counts::Counts;
use crate::exclude::Exclude;
use crate::failover::{self, Failover, Order, Start, StartError};
use crate::leaving::Farewell;
use crate::owner::Owner;
use crate::roster::RosterWriter;
use crate::state::{Desired, StateWriter};
use crate::status::StatusWriter;
use crate::watches::{self, Viewpoint};

/// Changes waiting for the core. Whoever brings more waits.
const QUEUE: usize = 1024;

/// How long to wait before the metrics are tried to be served again.
const METRICS_AGAIN: Duration = Duration::from_secs(30);

/// Announces until the process is told to end.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let node = args.node()?;
    let namespace = args.resolve_namespace()?;
    let contact = args.contact()?;
    let key_folder = args.key_folder()?.to_owned();
    let key = failover::read_key(&key_folder)?;
    let exclude = Exclude::read(&args.exclude_file)?;
    let settings =
        Settings { node: node.clone(), class: args.class(), ignore_exclude: args.ignore_exclude_lb };
    let client = kube_ext::client().await?;
    info!(node, namespace, version = env!("CARGO_PKG_VERSION"), "speaker starts");

    tell_of_flags(&args);
    let (metrics, probes) = (Metrics::new(), Probes::new());
    let counts = Counts::new(&metrics, &node);
    let probe_address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.health_probe_port);
    let (inputs, queue) = mpsc::channel(QUEUE);
    let instance = args.pod_name.clone().unwrap_or_else(|| node.clone());
    let events = EventRecorder::new(client.clone(), SPEAKER_COMPONENT, instance).on_host(node.as_str());
    let (status, status_inputs) = mpsc::unbounded_channel();
    let writer = StatusWriter::<ServiceL2Status>::new(client.clone(), &namespace, node.clone());
    let (bgp_status, bgp_status_inputs) = mpsc::unbounded_channel();
    let bgp_writer = StatusWriter::<ServiceBGPStatus>::new(client.clone(), &namespace, node.clone());
    let (peers, sessions) = Peers::new(&metrics, &node);
    let peers = match args.bgp_listen_port {
        0 => peers,
        port => peers.listening(port),
    };
    let goodbye = peers.goodbye();
    let (state, desired) = watch::channel(Desired::default());
    let state_writer = StateWriter::new(client.clone(), &namespace, node.clone());
    let view = Viewpoint {
        node: &node,
        namespace: &namespace,
        pod: args.pod_name.as_deref(),
        speakers: &args.ml_labels,
    };
    // Dropped, and so stopped, at the end of this function, as is everything else here.
    let _watches = watches::start(&client, &view, &inputs);
    let board = Board::default();
    let (failover, moved) = start_failover(&args, &node, contact, &key, &board)?;
    let (entries, entered) = mpsc::unbounded_channel();
    let roster = RosterWriter::new(client.clone(), &namespace, node.clone(), contact.ip());
    let (drained, is_drained) = watch::channel(false);
    let owner = Owner {
        core: Core::new(settings, exclude, contact).on_node(facts(&args, &node)),
        board,
        may_answer: failover.may_answer(),
        announcing: args.announcing(),
        failover: failover.clone(),
        moved,
        drained,
        entries,
        events,
        status,
        bgp_status,
        peers,
        sessions,
        state,
        counts,
        probes: probes.clone(),
        ready: false,
        reports: mpsc::channel(QUEUE),
    };
    let farewell = Farewell {
        failover: &failover,
        inputs: &inputs,
        drained: is_drained,
        client: &client,
        namespace: &namespace,
        node: &node,
    };
    let end = async {
        let signal = kube_ext::shutdown_signal().await;
        info!("{signal} received, handing all addresses over");
        let drain_time = Duration::from_secs(args.bgp_drain_time);
        tokio::join!(farewell.hand_over(), goodbye.announced(drain_time));
        info!("no address is answered for any more");
    };
    tokio::select! {
        () = owner.run(queue) => anyhow::bail!("the queue of changes was closed"),
        () = writer.run(status_inputs) => anyhow::bail!("the queue of status objects was closed"),
        () = bgp_writer.run(bgp_status_inputs) => anyhow::bail!("the queue of status objects was closed"),
        () = state_writer.run(desired) => anyhow::bail!("the configuration is not judged any more"),
        () = roster.run(entered) => anyhow::bail!("the list of speakers is not kept any more"),
        () = failover.ended() => anyhow::bail!("the thread of the speakers' own protocol broke down (see above)"),
        () = follow_key(&key_folder, key, &failover) => anyhow::bail!("the speakers' common key is not followed any more"),
        never = serve_metrics(&args, &metrics, &client) => match never {},
        result = watches::links(inputs.clone()) => {
            result.context("the speaker cannot go on without knowing the node's links")?;
            anyhow::bail!("the watch of the node's links ended")
        }
        result = probes.serve(probe_address) => match result? {},
        // Everything else goes on meanwhile.
        () = end => {}
    }
    // The peers' tasks were left alone when the owner was dropped: each ends its session.
    goodbye.said().await;
    Ok(())
}

/// What of this node decides how its sessions are.
fn facts(args: &Args, node: &str) -> NodeFacts {
    NodeFacts {
        name: node.to_owned(),
        address: args.host_v4(),
        notification_restart: args.bgp_notification_restart,
        listens: args.bgp_listen_port != 0,
        drain_time: Duration::from_secs(args.bgp_drain_time),
    }
}

fn tell_of_flags(args: &Args) {
    if !args.pprof_bind_address.is_empty() {
        warn!("--pprof-bind-address has no effect: there is no profiler");
    }
    if args.protocol_version_max < membership::packet::VERSION {
        info!(version = args.protocol_version_max, "the speakers' own protocol is held at an older version");
    }
}

/// Starts the speakers' own protocol, which tells the board what this node holds, and the core by the queue.
fn start_failover(
    args: &Args,
    node: &str,
    contact: SocketAddr,
    key: &[u8],
    board: &Board,
) -> Result<(Failover, mpsc::UnboundedReceiver<Input>), StartError> {
    let start = Start {
        node: node.to_owned(),
        contact,
        key: key.to_owned(),
        folder: args.state_dir.clone(),
        profile: args.profile(),
        on_quorum_loss: args.on_quorum_loss,
        version: args.protocol_version_max,
    };
    let (reports, moved) = mpsc::unbounded_channel();
    let (board, runtime) = (board.clone(), Handle::current());
    let failover = Failover::start(&start, reports, |orders| BoardHands::new(board, &runtime, orders))?;
    Ok((failover, moved))
}

/// Hands on each new value of the speakers' common key.
async fn follow_key(folder: &Path, known: Vec<u8>, failover: &Failover) {
    let (changes, mut keys) = mpsc::unbounded_channel();
    let hand_on = async {
        while let Some(key) = keys.recv().await {
            failover.tell(Order::Key(key));
        }
    };
    tokio::join!(failover::watch_key(folder, known, changes), hand_on);
}

/// Serves the metrics, whatever hinders: addresses do not depend on who counts them.
async fn serve_metrics(args: &Args, metrics: &Metrics, client: &Client) -> Infallible {
    let mut told = String::new();
    loop {
        let ended = metrics::serve(&args.metrics, &args.tls, metrics.clone(), client.clone()).await;
        let text = match ended {
            Ok(never) => return never,
            Err(error) => error.to_string(),
        };
        if text != told {
            error!("no metrics are served, trying again every 30 seconds; addresses stay announced: {text}");
            told = text;
        }
        sleep(METRICS_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use clap::Parser;
    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn metrics_that_cannot_be_served_do_not_end_the_speaker() {
        let taken = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let (mock, _server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(mock, "metallb-system");
        for flag in [format!("--port={port}"), "--metrics-cert-dir=/no/such/folder".to_owned()] {
            let args = Args::try_parse_from(["speaker", &flag]).expect("accepted");
            let metrics = Metrics::new();
            let serving = serve_metrics(&args, &metrics, &client);
            assert!(timeout(Duration::from_millis(100), serving).await.is_err(), "{flag}: it goes on trying");
        }
    }
}
