//! From the command line to the end: starts the tasks and owns the core.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use announce::Settings;
use anyhow::Context;
use api::names::SPEAKER_COMPONENT;
use kube_ext::EventRecorder;
use l2::Instant;
use sockets::boot_time;
use telemetry::Probes;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::args::Args;
use crate::core::{Core, Effect, Input};
use crate::exclude::Exclude;
use crate::interface::{Conflict, Interface};
use crate::status::{StatusInput, StatusWriter};
use crate::watches::{self, Viewpoint};

/// Changes waiting for the core. Whoever brings more waits.
const QUEUE: usize = 1024;

/// Announces until the process is told to end.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let node = args.node()?;
    let namespace = args.resolve_namespace()?;
    let exclude = Exclude::read(&args.exclude_file)?;
    let settings =
        Settings { node: node.clone(), class: args.class(), ignore_exclude: args.ignore_exclude_lb };
    let client = kube_ext::client().await?;
    info!(node, namespace, version = env!("CARGO_PKG_VERSION"), "speaker starts");

    let probes = Probes::new();
    let probe_address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.health_probe_port);
    let (inputs, queue) = mpsc::channel(QUEUE);
    let instance = args.pod_name.clone().unwrap_or_else(|| node.clone());
    let events = EventRecorder::new(client.clone(), SPEAKER_COMPONENT, instance).on_host(node.as_str());
    let (status, status_inputs) = mpsc::unbounded_channel();
    let writer = StatusWriter::new(client.clone(), &namespace, node.clone());
    let view = Viewpoint {
        node: &node,
        namespace: &namespace,
        pod: args.pod_name.as_deref(),
        speakers: &args.ml_labels,
    };
    // Dropped, and so stopped, at the end of this function, as is everything else here.
    let _watches = watches::start(&client, &view, &inputs);
    let owner = Owner::new(Core::new(settings, exclude), events, status, probes.clone());
    tokio::select! {
        () = owner.run(queue) => anyhow::bail!("the queue of changes was closed"),
        () = writer.run(status_inputs) => anyhow::bail!("the queue of status objects was closed"),
        result = watches::links(inputs.clone()) => {
            result.context("the speaker cannot go on without knowing the node's links")?;
            anyhow::bail!("the watch of the node's links ended")
        }
        result = probes.serve(probe_address) => match result? {},
        signal = kube_ext::shutdown_signal() => {
            info!("{signal} received, the addresses are not answered for any more");
            Ok(())
        }
    }
}

/// The task that owns the core and the interfaces.
struct Owner {
    core: Core,
    interfaces: BTreeMap<u32, Interface>,
    events: EventRecorder,
    status: mpsc::UnboundedSender<StatusInput>,
    probes: Probes,
    ready: bool,
    reports: (mpsc::Sender<Conflict>, mpsc::Receiver<Conflict>),
}

fn now() -> Instant {
    Instant::from_origin(boot_time())
}

impl Owner {
    fn new(
        core: Core,
        events: EventRecorder,
        status: mpsc::UnboundedSender<StatusInput>,
        probes: Probes,
    ) -> Self {
        Self {
            core,
            interfaces: BTreeMap::new(),
            events,
            status,
            probes,
            ready: false,
            reports: mpsc::channel(QUEUE),
        }
    }

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
                input = queue.recv() => match input {
                    Some(input) => input,
                    None => return,
                },
                Some(Conflict { interface, address, mac }) = self.reports.1.recv() => {
                    Input::Conflict { interface, address, mac }
                }
                () = timeout => Input::Timeout,
            };
            self.core.handle(now(), input, &mut effects);
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
                let interface = Interface::open(index, name, link, self.reports.0.clone());
                self.interfaces.insert(index, interface);
            }
            Effect::Close { index } => drop(self.interfaces.remove(&index)),
            Effect::Interface { index, command } => {
                if let Some(interface) = self.interfaces.get(&index) {
                    interface.tell(command);
                }
            }
            Effect::Event { about, kind, reason, message } => {
                self.events.record(about, kind, reason, message);
            }
            Effect::Status(service, want) => self.tell_status(StatusInput::Want(service, want)),
            Effect::Actual(change) => self.tell_status(StatusInput::Actual(change)),
            Effect::Owner(owner) => self.tell_status(StatusInput::Owner(owner)),
            Effect::Ready => {
                self.ready = true;
                self.probes.ready(true);
            }
        }
    }

    fn tell_status(&self, input: StatusInput) {
        // The writer ends only together with this task.
        if self.status.send(input).is_err() {
            debug!("the task of status objects has ended");
        }
    }

    /// Says by the readiness probe what is still waited for.
    fn tell_missing(&self) {
        let missing: Vec<String> = self.core.missing().map(ToString::to_string).collect();
        self.probes.not_ready(format!("waiting for the first list of {}", missing.join(", ")));
    }
}
