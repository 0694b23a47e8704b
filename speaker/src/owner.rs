//! The task that owns the core: what happens goes in, and what is to be done is handed to whoever does it.

use std::sync::Arc;

use kube_ext::EventRecorder;
use l2::Instant;
use sockets::boot_time;
use telemetry::Probes;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::debug;

use crate::bgp::{Peers, Report};
use crate::board::Board;
use crate::core::{BgpEffect, Core, Effect, Input};
use crate::counts::Counts;
use crate::failover::{Failover, Order};
use crate::interface::{Announcing, Conflict, Interface, MayAnswer};
use crate::roster::Entry;
use crate::state::Desired;
use crate::status::StatusInput;

/// The task that owns the core and the interfaces.
pub(crate) struct Owner {
    pub(crate) core: Core,
    pub(crate) board: Board,
    pub(crate) failover: Failover,
    pub(crate) may_answer: MayAnswer,
    pub(crate) announcing: Announcing,
    /// What the failover thread tells.
    pub(crate) moved: mpsc::UnboundedReceiver<Input>,
    /// Whether everything is handed over that is to be.
    pub(crate) drained: watch::Sender<bool>,
    pub(crate) entries: mpsc::UnboundedSender<Entry>,
    pub(crate) events: EventRecorder,
    pub(crate) status: mpsc::UnboundedSender<StatusInput>,
    pub(crate) bgp_status: mpsc::UnboundedSender<StatusInput>,
    pub(crate) peers: Peers,
    pub(crate) sessions: mpsc::UnboundedReceiver<Report>,
    pub(crate) state: watch::Sender<Desired>,
    pub(crate) counts: Counts,
    pub(crate) probes: Probes,
    pub(crate) ready: bool,
    pub(crate) reports: (mpsc::Sender<Conflict>, mpsc::Receiver<Conflict>),
}

fn now() -> Instant {
    Instant::from_origin(boot_time())
}

impl Owner {
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
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
                Some(Conflict { interface, address, mac, member }) = self.reports.1.recv() => {
                    if member {
                        self.failover.tell(Order::Claimed { address, mac });
                        continue;
                    }
                    Input::Conflict { interface, address, mac }
                }
                Some(report) = self.sessions.recv() => Input::Bgp(report.into()),
                () = timeout => Input::Timeout,
            };
            if matches!(input, Input::Members(membership::Event::Drained)) {
                self.drained.send_replace(true);
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
                let (announcing, label) = (self.announcing, name.clone());
                let interface = Interface::open(index, label, link, counts, reports, may_answer, announcing);
                self.board.open(index, name, link.mac, interface);
            }
            Effect::Close { index } => self.board.close(index),
            Effect::Interface { index, command } => self.board.tell(index, command),
            Effect::Moved { held, cause, silence } => self.counts.failover.moved(held, cause, silence),
            Effect::Peer(node, Some(up)) => self.counts.failover.peer(&node, up),
            Effect::Peer(node, None) => self.counts.failover.forget(&node),
            Effect::Quorum(quorum) => self.counts.failover.quorum(quorum),
            Effect::Place { address, place } => {
                self.board.want(address, place.as_ref().into());
                self.failover.tell(Order::Place { address, place });
            }
            Effect::Links(links) => self.failover.tell(Order::Links(links)),
            Effect::Speakers(view) => self.failover.tell(Order::Speakers(view)),
            Effect::Drain(drain) => {
                self.drained.send_replace(false);
                self.failover.tell(Order::Drain(drain));
            }
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
            BgpEffect::Routes { .. }
            | BgpEffect::Session { .. }
            | BgpEffect::End { .. }
            | BgpEffect::Drain(_) => {
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
