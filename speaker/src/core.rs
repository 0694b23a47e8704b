//! What the speaker knows, and what follows from each change: no I/O.
//!
//! ```text
//! Input ──► Index ──touched──► decide ──► Outcome ──transition──► Effect: Status, Event
//!   ├─link─► Lan ─────────────────────────────────────────────────► Effect: Open, Close, Interface
//!   ├─roster, Pods ─► Roster ─────────────────────────────────────► Effect: Enlist, Strike, Speakers
//!   └─moved─► Holders           Claims ──changed addresses────────► Effect: Place
//! ```
//!
//! Which addresses this node may hold is decided here; that it holds one comes back as [`Input::Moved`], when
//! `membership` has agreed on it with the other speakers. Frames do not wait for this task (see `front`).

mod bgp;
mod effect;
mod holders;
mod input;
mod lan;
mod members;
mod objects;
mod outcome;
mod reminders;
mod roster;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use announce::{Claims, Index, Obstacle, ServiceKey, Settings, Slice, SliceKey};
use config::Config;
use kube_ext::{Change, Gate, ObjectKey};
use l2::Instant;
use net::MacAddr;
use sockets::LinkChange;
use tracing::{debug, info};

pub use bgp::{
    BgpEffect, BgpInput, LEAST_DRAIN_TIME, NodeFacts, Passphrase, SecretView, SessionReport, SessionView,
};
pub use effect::{Command, Effect, Kind, Notice, ServiceView, SpeakerPod, StatusView, Want, Why};
use holders::Holders;
pub use input::Input;
use lan::{Concerns, Lan};
use members::Members;
use objects::Objects;
use outcome::{Outcome, Upshot};
use reminders::Reminders;
use roster::Roster;
pub use roster::RosterView;
use telling::Conflict;

use crate::exclude::Exclude;

/// The state of a speaker, owned by one task.
#[derive(Debug)]
pub struct Core {
    node: String,
    /// Where the other speakers reach this one.
    contact: SocketAddr,
    gate: Gate<Kind>,
    index: Index,
    claims: Claims,
    holders: Holders,
    lan: Lan,
    members: Members,
    roster: Roster,
    /// Whether this node's addresses are to be handed over.
    draining: bool,
    /// Whether its speaker ends for good.
    leaving: bool,
    /// The revision of the list of speakers that this node was last to be entered into.
    enlisting: Option<u64>,
    /// When to say that the speakers have not agreed for the first time yet.
    founding: Option<Instant>,
    objects: Objects,
    /// The Service that each status object of this node is about.
    statuses: BTreeMap<ObjectKey, ServiceKey>,
    uids: BTreeMap<ServiceKey, Option<String>>,
    outcomes: BTreeMap<ServiceKey, Outcome>,
    /// Services that this node announced before the speaker was restarted, by its status objects: going on
    /// with one is nothing new to its user.
    resumable: BTreeSet<ServiceKey>,
    /// Why nobody in the cluster announces a Service.
    obstacles: BTreeMap<ServiceKey, Obstacle>,
    /// When a Warning about a Service is to be told, or told again where it still holds.
    reminders: Reminders<ServiceKey>,
    /// Nobody is reminded before this.
    quiet_until: Instant,
    /// The conflicts over an address with a host.
    conflicts: BTreeMap<(IpAddr, MacAddr), Conflict>,
    bgp: bgp::Bgp,
}

impl Core {
    /// A speaker that knows nothing yet. The others reach it at `contact`.
    pub fn new(settings: Settings, exclude: Exclude, contact: SocketAddr) -> Self {
        Self {
            node: settings.node.clone(),
            contact,
            gate: Gate::new(Kind::ALL),
            index: Index::new(settings),
            claims: Claims::default(),
            holders: Holders::default(),
            lan: Lan::new(exclude),
            members: Members::default(),
            roster: Roster::default(),
            draining: false,
            leaving: false,
            enlisting: None,
            founding: None,
            objects: Objects::default(),
            statuses: BTreeMap::new(),
            uids: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            resumable: BTreeSet::new(),
            obstacles: BTreeMap::new(),
            reminders: Reminders::default(),
            quiet_until: Instant::default(),
            conflicts: BTreeMap::new(),
            bgp: bgp::Bgp::default(),
        }
    }

    /// The kinds whose first list is still waited for.
    pub fn missing(&self) -> impl Iterator<Item = &Kind> {
        self.gate.missing()
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let reminder = self.reminders.next().into_iter().chain(self.bgp.next_reminder()).min();
        let reminder = reminder.map(|at| at.max(self.quiet_until));
        let own = self.roster.next().into_iter().chain(self.bgp.next()).chain(self.founding);
        reminder.into_iter().chain(own).min()
    }

    /// Takes in what happened at `now` and appends what is to be done about it.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        let touched = match input {
            Input::Service(change) => self.service(now, change, out),
            Input::Slice(change) => self.slice(now, change, out),
            Input::Node(change) => self.cluster_node(now, change, out),
            Input::Speaker(change) => self.speaker(now, change, out),
            Input::Roster(change) => self.listed(now, change, out),
            Input::Pool(change) => self.object(now, Kind::Pools, |all| &mut all.pools, change, out),
            Input::Advertisement(change) => {
                self.object(now, Kind::Advertisements, |all| &mut all.l2_advertisements, change, out)
            }
            Input::BgpAdvertisement(change) => {
                self.object(now, Kind::BgpAdvertisements, |all| &mut all.bgp_advertisements, change, out)
            }
            Input::Peer(change) => self.object(now, Kind::Peers, |all| &mut all.bgp_peers, change, out),
            Input::BfdProfile(change) => {
                self.object(now, Kind::BfdProfiles, |all| &mut all.bfd_profiles, change, out)
            }
            Input::Community(change) => {
                self.object(now, Kind::Communities, |all| &mut all.communities, change, out)
            }
            Input::Secret(change) => self.secret(now, change, out),
            Input::Status(change) => self.status(now, change, out),
            Input::Bgp(input) => self.bgp_input(now, input, out),
            Input::Link(LinkChange::Synced) => self.synced(now, Kind::Links, out),
            Input::Link(change) => self.link(change, out),
            Input::Conflict { interface, address, mac } => {
                self.conflict(now, &interface, address, mac, out);
                Vec::new()
            }
            Input::Moved { address, held, cause, to, silence } => {
                out.push(Effect::Moved { held, cause, silence });
                self.moved(address, held, cause, to)
            }
            Input::Members(event) => {
                self.heard(&event, out);
                Vec::new()
            }
            Input::Heard { interface, leased } => {
                self.heard_on(&interface, leased, out);
                Vec::new()
            }
            Input::Leaving => {
                self.leaving = true;
                out.push(Effect::Leave);
                Vec::new()
            }
            Input::Timeout => {
                self.remind(now, out);
                self.look_at_roster(now, out);
                self.look_at_founding(now, out);
                self.withdraw(now)
            }
        };
        if self.gate.open() {
            for service in touched {
                self.evaluate(now, &service, out);
            }
            self.settle_bgp(now, out);
        }
    }

    fn service(
        &mut self,
        now: Instant,
        change: Change<ServiceView>,
        out: &mut Vec<Effect>,
    ) -> Vec<ServiceKey> {
        match change {
            Change::Apply(key, view) => {
                let key = service_key(key);
                self.uids.insert(key.clone(), view.uid);
                self.index.apply_service(key, view.service)
            }
            Change::Delete(key) => {
                let key = service_key(key);
                self.uids.remove(&key);
                self.resumable.remove(&key);
                self.index.delete_service(&key)
            }
            Change::Synced => self.synced(now, Kind::Services, out),
        }
    }

    fn slice(&mut self, now: Instant, change: Change<Slice>, out: &mut Vec<Effect>) -> Vec<ServiceKey> {
        let slice_key = |key: ObjectKey| SliceKey { namespace: key.namespace, name: key.name };
        match change {
            Change::Apply(key, slice) => self.index.apply_slice(slice_key(key), slice),
            Change::Delete(key) => self.index.delete_slice(&slice_key(key)),
            Change::Synced => self.synced(now, Kind::EndpointSlices, out),
        }
    }

    fn speaker(
        &mut self,
        now: Instant,
        change: Change<SpeakerPod>,
        out: &mut Vec<Effect>,
    ) -> Vec<ServiceKey> {
        let changed = match change {
            Change::Apply(key, pod) => {
                if let Some(owner) = pod.owner {
                    out.push(Effect::Owner(owner));
                }
                self.roster.pod(key.clone(), pod.on, pod.ends);
                self.members.set(key, pod.node)
            }
            Change::Delete(key) => {
                self.roster.pod(key.clone(), None, true);
                self.members.set(key, None)
            }
            Change::Synced => return self.synced(now, Kind::Speakers, out),
        };
        let mut touched = Vec::new();
        for (node, ready) in changed {
            debug!(node, ready, "speaker {}", if ready { "is ready" } else { "is not ready" });
            touched.extend(self.index.set_ready(&node, ready));
        }
        touched.extend(self.relist(now, out));
        self.look_at_roster(now, out);
        touched
    }

    fn status(&mut self, now: Instant, change: Change<StatusView>, out: &mut Vec<Effect>) -> Vec<ServiceKey> {
        match change {
            Change::Apply(key, view) => {
                let service = view.service.clone();
                self.statuses.insert(key.clone(), service.clone());
                out.push(Effect::Actual(Change::Apply(key, view)));
                // Found after the start, so nobody may have said yet whether it is to stay.
                if self.gate.open() {
                    let want = self.want(&service, &self.outcomes.get(&service).cloned().unwrap_or_default());
                    out.push(Effect::Status(service, want));
                }
                Vec::new()
            }
            Change::Delete(key) => {
                if let Some(service) = self.statuses.remove(&key) {
                    self.resumable.remove(&service);
                }
                out.push(Effect::Actual(Change::Delete(key)));
                Vec::new()
            }
            Change::Synced => self.synced(now, Kind::Statuses, out),
        }
    }

    fn link(&mut self, change: LinkChange, out: &mut Vec<Effect>) -> Vec<ServiceKey> {
        let concerns = self.lan.apply(change, out);
        match concerns {
            Concerns::Nobody => Vec::new(),
            Concerns::Everybody => self.outcomes.keys().cloned().collect(),
            Concerns::Choosers => {
                let choosers = self.outcomes.keys().filter(|service| self.index.chooses_interfaces(service));
                choosers.cloned().collect()
            }
        }
    }

    /// Notes that all objects of a kind are known. With the last kind everything is decided for the first time.
    fn synced(&mut self, now: Instant, kind: Kind, out: &mut Vec<Effect>) -> Vec<ServiceKey> {
        if !self.gate.arrived(kind) {
            return Vec::new();
        }
        info!("all resources are known, announcing begins");
        self.configure(out);
        self.resumable = self.statuses.values().cloned().collect();
        if self.draining {
            // Routers have taken other ways already, or were never to take this one.
            self.index.set_withdraws(true);
        }
        let resumed = self.resume_bgp();
        let services: BTreeSet<ServiceKey> =
            self.uids.keys().chain(self.statuses.values()).cloned().chain(resumed).collect();
        for service in services {
            self.evaluate(now, &service, out);
        }
        self.look_at_roster(now, out);
        out.push(Effect::Ready);
        Vec::new()
    }

    /// Decides about a Service anew and appends what that changes.
    fn evaluate(&mut self, now: Instant, service: &ServiceKey, out: &mut Vec<Effect>) {
        self.evaluate_bgp(now, service, out);
        let decision = self.index.decide(service);
        let obstacle = self.index.obstacle(service, &decision);
        self.obstructed(now, service, obstacle);
        let holders = &self.holders;
        let Upshot { claim, outcome } = Upshot::of(
            decision,
            &self.lan,
            &self.node,
            |address| holders.holds(address),
            |address| holders.other(address).map(str::to_owned),
        );
        for address in self.claims.set(service, claim) {
            let place = self.claims.place(address);
            if place.is_none() {
                out.push(Effect::LetGo(address));
            }
            out.push(Effect::Place { address, place });
        }
        let before = self.outcomes.get(service).cloned();
        if before.as_ref() == Some(&outcome) {
            return;
        }
        show(service, before.as_ref().map_or(&[], Outcome::addresses), outcome.addresses(), out);
        outcome.log(service, before.as_ref());
        out.push(Effect::Status(service.clone(), self.want(service, &outcome)));
        self.tell(now, service, &outcome, before.as_ref(), out);
        if self.uids.contains_key(service) {
            self.outcomes.insert(service.clone(), outcome);
        } else {
            self.outcomes.remove(service);
        }
    }

    /// What is to become of this node's status object for the Service.
    fn want(&self, service: &ServiceKey, outcome: &Outcome) -> Want {
        match outcome {
            Outcome::Announced { interfaces, addresses } => {
                let why = addresses.first().and_then(|&address| self.holders.why(address));
                Want::Here { names: interfaces.clone(), why: why.cloned() }
            }
            Outcome::Standby(_) => Want::Elsewhere,
            Outcome::Not(_) if self.claims.has(service) => Want::Elsewhere,
            Outcome::Hindered { .. } | Outcome::Not(_) => Want::Nowhere,
        }
    }
}

fn service_key(key: ObjectKey) -> ServiceKey {
    ServiceKey { namespace: key.namespace, name: key.name }
}

/// Says which addresses of the Service are announced now and were not, or the other way round.
fn show(service: &ServiceKey, before: &[IpAddr], now: &[IpAddr], out: &mut Vec<Effect>) {
    let change = |address: &IpAddr, on| Effect::Announced { service: service.clone(), address: *address, on };
    out.extend(before.iter().filter(|address| !now.contains(address)).map(|address| change(address, false)));
    out.extend(now.iter().filter(|address| !before.contains(address)).map(|address| change(address, true)));
}
