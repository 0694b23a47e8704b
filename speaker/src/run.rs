//! From the command line to the end: starts the tasks and owns the core.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use announce::Settings;
use anyhow::Context;
use api::names::SPEAKER_COMPONENT;
use api::{ServiceBGPStatus, ServiceL2Status};
use kube::Client;
use kube_ext::EventRecorder;
use l2::Instant;
use metrics::Metrics;
use sockets::boot_time;
use telemetry::Probes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use crate::args::Args;
use crate::bgp::{Peers, Report};
use crate::board::{Board, BoardHands};
use crate::core::{BgpEffect, Core, Effect, Input, NodeFacts};
use crate::counts::Counts;
use crate::exclude::Exclude;
use crate::failover::{self, Failover, Order, Start};
use crate::interface::{Conflict, Interface, MayAnswer};
use crate::leaving;
use crate::roster::{Entry, RosterWriter};
use crate::state::{Desired, StateWriter};
use crate::status::{StatusInput, StatusWriter};
use crate::watches::{self, Viewpoint};

/// Changes waiting for the core. Whoever brings more waits.
const QUEUE: usize = 1024;

/// How long a speaker that is told to end hands its addresses over: a second less than its Pod's grace period allows
/// beside all else.
const HAND_OVER: Duration = Duration::from_secs(10);

/// How long a speaker that ends for good takes part in the vote on the speakers without it: most of its Pod's grace
/// period.
const RETIRE: Duration = Duration::from_secs(20);

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
    let facts = NodeFacts {
        name: node.clone(),
        address: args.host_v4(),
        notification_restart: args.bgp_notification_restart,
    };
    let client = kube_ext::client().await?;
    info!(node, namespace, version = env!("CARGO_PKG_VERSION"), "speaker starts");

    if !args.pprof_bind_address.is_empty() {
        warn!("--pprof-bind-address has no effect: there is no profiler");
    }
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
    let start = Start {
        node: node.clone(),
        contact,
        key: key.clone(),
        folder: args.state_dir.clone(),
        profile: args.profile(),
        on_quorum_loss: args.on_quorum_loss,
    };
    let (reports, moved) = mpsc::unbounded_channel();
    let (shared, runtime) = (board.clone(), Handle::current());
    let failover = Failover::start(&start, reports, |orders| BoardHands { board: shared, runtime, orders })?;
    let (entries, entered) = mpsc::unbounded_channel();
    let roster = RosterWriter::new(client.clone(), &namespace, node.clone(), contact.ip());
    let drained = Arc::new(Notify::new());
    let owner = Owner {
        core: Core::new(settings, exclude, contact).on_node(facts),
        board,
        may_answer: failover.may_answer(),
        failover: failover.clone(),
        moved,
        drained: Arc::clone(&drained),
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
    let end = async {
        let signal = kube_ext::shutdown_signal().await;
        info!("{signal} received, handing all addresses over");
        failover.tell(Order::Drain(true));
        if leaving::leaves_for_good(&client, &namespace, &node).await {
            retire(&failover, &inputs).await;
        }
        let drain_time = Duration::from_secs(args.bgp_drain_time);
        tokio::join!(hand_over(&drained), goodbye.announced(drain_time));
        info!("no address is answered for any more");
    };
    tokio::select! {
        () = owner.run(queue) => anyhow::bail!("the queue of changes was closed"),
        () = writer.run(status_inputs) => anyhow::bail!("the queue of status objects was closed"),
        () = bgp_writer.run(bgp_status_inputs) => anyhow::bail!("the queue of status objects was closed"),
        () = state_writer.run(desired) => anyhow::bail!("the configuration is not judged any more"),
        () = roster.run(entered) => anyhow::bail!("the list of speakers is not kept any more"),
        () = failover.ended() => anyhow::bail!("the thread of the speakers' own protocol broke down (see above)"),
        result = follow_key(&key_folder, key, &failover) => {
            result.context("the speakers' common key cannot be watched")?;
            anyhow::bail!("the watch of the speakers' common key ended")
        }
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

/// Hands on each new value of the speakers' common key.
async fn follow_key(folder: &Path, known: Vec<u8>, failover: &Failover) -> std::io::Result<()> {
    let (changes, mut keys) = mpsc::unbounded_channel();
    let hand_on = async {
        while let Some(key) = keys.recv().await {
            failover.tell(Order::Key(key));
        }
    };
    tokio::join!(failover::watch_key(folder, known, changes), hand_on).0
}

/// Waits until the others can do without this speaker's vote, or as long as a stopping Pod may.
async fn retire(failover: &Failover, inputs: &mpsc::Sender<Input>) {
    let struck_off = inputs.send(Input::Leaving).await.is_ok();
    if !struck_off || timeout(RETIRE, failover.retired()).await.is_err() {
        warn!("the other speakers still count this one: they do without it in a minute or two");
    }
}

/// Waits until other speakers have all addresses of this one, or as long as a stopping Pod may.
async fn hand_over(drained: &Notify) {
    if timeout(HAND_OVER, drained.notified()).await.is_err() {
        warn!("the other speakers have not taken all addresses over in time");
    }
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

/// The task that owns the core and the interfaces.
struct Owner {
    core: Core,
    board: Board,
    failover: Failover,
    may_answer: MayAnswer,
    /// What the failover thread tells.
    moved: mpsc::UnboundedReceiver<Input>,
    /// Told once everything is handed over.
    drained: Arc<Notify>,
    entries: mpsc::UnboundedSender<Entry>,
    events: EventRecorder,
    status: mpsc::UnboundedSender<StatusInput>,
    bgp_status: mpsc::UnboundedSender<StatusInput>,
    peers: Peers,
    sessions: mpsc::UnboundedReceiver<Report>,
    state: watch::Sender<Desired>,
    counts: Counts,
    probes: Probes,
    ready: bool,
    reports: (mpsc::Sender<Conflict>, mpsc::Receiver<Conflict>),
}

fn now() -> Instant {
    Instant::from_origin(boot_time())
}

impl Owner {
    async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
        let mut effects = Vec::new();
        self.tell_missing();
        loop {
            let wait = self.core.poll_timeout().map(|at| at.saturating_since(now()));
            let timeout = async {
                match wait {
                    Some(time) => sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                Some(input) = self.moved.recv() => input,
                input = queue.recv() => match input {
                    Some(input) => input,
                    None => return,
                },
                Some(Conflict { interface, address, mac }) = self.reports.1.recv() => {
                    Input::Conflict { interface, address, mac }
                }
                Some(report) = self.sessions.recv() => Input::Bgp(report.into()),
                () = timeout => Input::Timeout,
            };
            if matches!(input, Input::Members(membership::Event::Drained)) {
                self.drained.notify_one();
            }
            let object = input.is_object();
            self.core.handle(now(), input, &mut effects);
            if object {
                let refused = |effect: &Effect| matches!(effect, Effect::Configured(Some(_)));
                self.counts.handled(effects.iter().any(refused));
            }
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            if !self.ready {
                self.tell_missing();
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Open { index, name, link } => {
                let (counts, reports) = (self.counts.clone(), self.reports.0.clone());
                let may_answer = Arc::clone(&self.may_answer);
                let interface = Interface::open(index, name.clone(), link, counts, reports, may_answer);
                self.board.open(index, name, link.mac, interface);
            }
            Effect::Close { index } => self.board.close(index),
            Effect::Interface { index, command } => self.board.tell(index, command),
            Effect::Moved { held, cause, silence } => self.counts.failover.moved(held, cause, silence),
            Effect::Peer(node, Some(up)) => self.counts.failover.peer(&node, up),
            Effect::Peer(node, None) => self.counts.failover.forget(&node),
            Effect::Quorum(quorum) => self.counts.failover.quorum(quorum),
            Effect::Place { address, place } => {
                self.board.want(address, place.as_ref().and_then(|place| place.interfaces.clone()));
                self.failover.tell(Order::Place { address, place });
            }
            Effect::Links(links) => self.failover.tell(Order::Links(links)),
            Effect::Speakers(view) => self.failover.tell(Order::Speakers(view)),
            Effect::Drain(drain) => self.failover.tell(Order::Drain(drain)),
            Effect::Enlist => self.enter(Entry::Enlist),
            Effect::Leave => self.enter(Entry::Leave),
            Effect::Strike { node, revision } => self.enter(Entry::Strike { node, revision }),
            Effect::Event { about, kind, reason, message } => {
                self.events.record(about, kind, reason, message);
            }
            Effect::Status(service, want) => self.tell_status(StatusInput::Want(service, want)),
            Effect::Actual(change) => self.tell_status(StatusInput::Actual(change)),
            Effect::Owner(owner) => {
                self.state.send_modify(|desired| desired.owner = Some(owner.clone()));
                self.tell_bgp_status(StatusInput::Owner(owner.clone()));
                self.tell_status(StatusInput::Owner(owner));
            }
            Effect::Bgp(effect) => self.carry_out_bgp(effect),
            Effect::Announced { service, address, on } => {
                self.counts.announced(&service, "layer2", address, on);
            }
            Effect::LetGo(address) => self.counts.let_go(address),
            Effect::Configured(mistake) => {
                self.counts.configured(mistake.is_none());
                self.state.send_modify(|desired| desired.verdict = Some(mistake.into()));
            }
            Effect::Ready => {
                self.ready = true;
                self.probes.ready(true);
            }
        }
    }

    fn carry_out_bgp(&mut self, effect: BgpEffect) {
        match effect {
            BgpEffect::Routes { .. } | BgpEffect::Session { .. } | BgpEffect::End { .. } => {
                self.peers.carry_out(effect);
            }
            BgpEffect::Status(service, want) => self.tell_bgp_status(StatusInput::Want(service, want)),
            BgpEffect::Actual(change) => self.tell_bgp_status(StatusInput::Actual(change)),
            BgpEffect::Announced { service, address, on } => {
                self.counts.announced(&service, "bgp", address, on);
            }
            BgpEffect::Sessions(sessions) => self.state.send_modify(|desired| desired.sessions = sessions),
        }
    }

    fn tell_bgp_status(&self, input: StatusInput) {
        // As below.
        if self.bgp_status.send(input).is_err() {
            debug!("the task of status objects has ended");
        }
    }

    fn tell_status(&self, input: StatusInput) {
        // The writer ends only together with this task.
        if self.status.send(input).is_err() {
            debug!("the task of status objects has ended");
        }
    }

    fn enter(&self, entry: Entry) {
        // The writer ends only together with this task.
        if self.entries.send(entry).is_err() {
            debug!("the task of the list of speakers has ended");
        }
    }

    /// Says by the readiness probe what is still waited for.
    fn tell_missing(&self) {
        let missing: Vec<String> = self.core.missing().map(ToString::to_string).collect();
        self.probes.not_ready(format!("waiting for the first list of {}", missing.join(", ")));
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
