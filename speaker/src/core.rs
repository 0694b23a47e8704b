//! What the speaker knows, and what follows from each change: no I/O.
//!
//! ```text
//! Input ──► Index ──touched──► decide ──► Outcome ──transition──► Effect: Status, Event
//!   └─link─► Lan ◄──changed addresses── Holdings                  Effect: Open, Close, Interface
//! ```

mod effect;
mod lan;
mod members;
mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use announce::{Decision, Holdings, Index, Interfaces, ServiceKey, Settings, Slice, SliceKey};
use api::{IPAddressPool, L2Advertisement};
use config::{Config, Resources};
use kube_ext::{Change, Gate, ObjectKey};
use l2::Instant;
use net::MacAddr;
use sockets::LinkChange;
use tracing::{debug, info, warn};

pub use effect::{Command, Effect, Kind, Notice, ServiceView, SpeakerPod, StatusView, Want};
use lan::{Concerns, Lan};
use members::Members;
use outcome::Outcome;

use crate::exclude::Exclude;

/// A Warning that still holds is told again after this long: events expire after an hour.
const REPEAT: Duration = Duration::from_secs(50 * 60);

/// A conflict is told when it is seen again within this time. An interface sees one at most every ten seconds, so
/// what is over by then (two speakers whose views differ for a moment) is not told.
const SEEN_AGAIN: Duration = Duration::from_secs(60);

/// What happens to a speaker.
#[derive(Debug)]
pub enum Input {
    /// A Service changed.
    Service(Change<ServiceView>),
    /// An `EndpointSlice` changed.
    Slice(Change<Slice>),
    /// A Node changed.
    Node(Change<announce::Node>),
    /// A speaker's Pod changed.
    Speaker(Change<SpeakerPod>),
    /// A pool changed.
    Pool(Change<IPAddressPool>),
    /// An advertisement changed.
    Advertisement(Change<L2Advertisement>),
    /// A status object of this node changed.
    Status(Change<StatusView>),
    /// A link of this node changed.
    Link(LinkChange),
    /// Another host on an interface's LAN insists on an address of ours.
    Conflict {
        /// The name of the interface.
        interface: String,
        /// The address.
        address: IpAddr,
        /// The other host's hardware address.
        mac: MacAddr,
    },
    /// The time of [`Core::poll_timeout`] has come.
    Timeout,
}

/// The state of a speaker, owned by one task.
#[derive(Debug)]
pub struct Core {
    node: String,
    gate: Gate<Kind>,
    index: Index,
    holdings: Holdings,
    lan: Lan,
    members: Members,
    pools: BTreeMap<String, IPAddressPool>,
    advertisements: BTreeMap<String, L2Advertisement>,
    /// The Service that each status object of this node is about.
    statuses: BTreeMap<ObjectKey, ServiceKey>,
    uids: BTreeMap<ServiceKey, Option<String>>,
    outcomes: BTreeMap<ServiceKey, Outcome>,
    /// Services that this node announced before the speaker was restarted, by its status objects: going on
    /// with one is nothing new to its user.
    resumable: BTreeSet<ServiceKey>,
    /// Warnings told, with the time to tell each again where it still holds.
    warnings: BTreeMap<ServiceKey, Instant>,
    /// The conflicts over an address with a host.
    conflicts: BTreeMap<(IpAddr, MacAddr), Conflict>,
}

/// What was done about a conflict, and when.
#[derive(Clone, Copy, Debug)]
enum Conflict {
    Seen(Instant),
    Told(Instant),
}

impl Core {
    /// A speaker that knows nothing yet.
    pub fn new(settings: Settings, exclude: Exclude) -> Self {
        Self {
            node: settings.node.clone(),
            gate: Gate::new(Kind::ALL),
            index: Index::new(settings),
            holdings: Holdings::default(),
            lan: Lan::new(exclude),
            members: Members::default(),
            pools: BTreeMap::new(),
            advertisements: BTreeMap::new(),
            statuses: BTreeMap::new(),
            uids: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            resumable: BTreeSet::new(),
            warnings: BTreeMap::new(),
            conflicts: BTreeMap::new(),
        }
    }

    /// The kinds whose first list is still waited for.
    pub fn missing(&self) -> impl Iterator<Item = &Kind> {
        self.gate.missing()
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.warnings.values().min().copied()
    }

    /// Takes in what happened at `now` and appends what is to be done about it.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        let touched = match input {
            Input::Service(change) => self.service(now, change, out),
            Input::Slice(change) => self.slice(now, change, out),
            Input::Node(Change::Apply(key, node)) => self.index.apply_node(key.name, node),
            Input::Node(Change::Delete(key)) => self.index.delete_node(&key.name),
            Input::Node(Change::Synced) => self.synced(now, Kind::Nodes, out),
            Input::Speaker(change) => self.speaker(now, change, out),
            Input::Pool(Change::Apply(key, pool)) => {
                self.pools.insert(key.name, pool);
                self.configure()
            }
            Input::Pool(Change::Delete(key)) => {
                self.pools.remove(&key.name);
                self.configure()
            }
            Input::Pool(Change::Synced) => self.synced(now, Kind::Pools, out),
            Input::Advertisement(Change::Apply(key, advertisement)) => {
                self.advertisements.insert(key.name, advertisement);
                self.configure()
            }
            Input::Advertisement(Change::Delete(key)) => {
                self.advertisements.remove(&key.name);
                self.configure()
            }
            Input::Advertisement(Change::Synced) => self.synced(now, Kind::Advertisements, out),
            Input::Status(change) => self.status(now, change, out),
            Input::Link(LinkChange::Synced) => self.synced(now, Kind::Links, out),
            Input::Link(change) => self.link(change, out),
            Input::Conflict { interface, address, mac } => {
                self.conflict(now, &interface, address, mac, out);
                Vec::new()
            }
            Input::Timeout => {
                self.repeat_warnings(now, out);
                Vec::new()
            }
        };
        if self.gate.open() {
            for service in touched {
                self.evaluate(now, &service, out);
            }
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
                self.members.set(key, pod.node)
            }
            Change::Delete(key) => self.members.set(key, None),
            Change::Synced => return self.synced(now, Kind::Speakers, out),
        };
        let mut touched = BTreeSet::new();
        for (node, up) in changed {
            debug!(node, up, "speaker {}", if up { "is ready" } else { "is not ready" });
            touched.extend(self.index.set_member(&node, up));
        }
        touched.into_iter().collect()
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
        let concerns = self.lan.apply(change, &self.holdings, out);
        let concerned = |key: &&ServiceKey| match (concerns, self.index.decide(key)) {
            (Concerns::Nobody, _) | (_, Decision::Not(_)) => false,
            (Concerns::Choosers, Decision::Announce(announcement)) => {
                announcement.interfaces != Interfaces::All
            }
            (Concerns::Everybody, Decision::Announce(_)) => true,
        };
        if concerns == Concerns::Nobody {
            return Vec::new();
        }
        self.outcomes.keys().filter(concerned).cloned().collect()
    }

    /// The configuration that the objects make now, put in force; nothing before all of them are known.
    fn configure(&mut self) -> Vec<ServiceKey> {
        if !self.gate.open() {
            return Vec::new();
        }
        let resources = Resources {
            pools: self.pools.values().collect(),
            l2_advertisements: self.advertisements.values().collect(),
        };
        let config = Config::build(&resources, Some(self.index.config()));
        for problem in &config.problems {
            if !self.index.config().problems.contains(problem) {
                warn!(object = %problem.object, "{}", problem.message);
            }
        }
        self.index.set_config(config)
    }

    /// Notes that all objects of a kind are known. With the last kind everything is decided for the first time.
    fn synced(&mut self, now: Instant, kind: Kind, out: &mut Vec<Effect>) -> Vec<ServiceKey> {
        if !self.gate.arrived(kind) {
            return Vec::new();
        }
        info!("all resources are known, announcing begins");
        self.configure();
        self.resumable = self.statuses.values().cloned().collect();
        let services: BTreeSet<ServiceKey> =
            self.uids.keys().chain(self.statuses.values()).cloned().collect();
        for service in services {
            self.evaluate(now, &service, out);
        }
        out.push(Effect::Ready);
        Vec::new()
    }

    /// Decides about a Service anew and appends what that changes.
    fn evaluate(&mut self, now: Instant, service: &ServiceKey, out: &mut Vec<Effect>) {
        let outcome = Outcome::of(self.index.decide(service), &self.lan, &self.node);
        let before = self.outcomes.get(service).cloned();
        if before.as_ref() == Some(&outcome) {
            return;
        }
        let announcement = match &outcome {
            Outcome::Announced { announcement, .. } => Some(announcement.clone()),
            Outcome::Hindered { .. } | Outcome::Not(_) => None,
        };
        for address in self.holdings.set(service, announcement) {
            self.lan.hold(address, self.holdings.interfaces(address).as_ref(), out);
        }
        outcome.log(service, before.as_ref());
        out.push(Effect::Status(service.clone(), self.want(service, &outcome)));
        self.tell(now, service, &outcome, before.as_ref(), out);
        if self.uids.contains_key(service) {
            self.outcomes.insert(service.clone(), outcome);
        } else {
            self.outcomes.remove(service);
        }
    }

    /// Tells the user of the Service what this transition means, where it means something.
    fn tell(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        outcome: &Outcome,
        before: Option<&Outcome>,
        out: &mut Vec<Effect>,
    ) {
        self.warnings.remove(service);
        match outcome {
            Outcome::Announced { .. } => {
                let resumed = self.resumable.remove(service);
                if !resumed && !matches!(before, Some(Outcome::Announced { .. })) {
                    out.extend(self.notice(service).map(|about| about.assigned(&self.node)));
                }
            }
            Outcome::Hindered { messages } => {
                self.warnings.insert(service.clone(), now + REPEAT);
                out.extend(self.notice(service).into_iter().flat_map(|about| about.failed(messages)));
            }
            Outcome::Not(_) => {}
        }
    }

    fn repeat_warnings(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due: Vec<ServiceKey> =
            self.warnings.iter().filter(|(_, at)| **at <= now).map(|(service, _)| service.clone()).collect();
        for service in due {
            if let Some(Outcome::Hindered { messages }) = self.outcomes.get(&service) {
                out.extend(self.notice(&service).into_iter().flat_map(|about| about.failed(messages)));
                self.warnings.insert(service, now + REPEAT);
            } else {
                self.warnings.remove(&service);
            }
        }
    }

    fn conflict(
        &mut self,
        now: Instant,
        interface: &str,
        address: IpAddr,
        mac: MacAddr,
        out: &mut Vec<Effect>,
    ) {
        self.conflicts.retain(|_, conflict| match *conflict {
            Conflict::Seen(at) => at + SEEN_AGAIN > now,
            Conflict::Told(at) => at + REPEAT > now,
        });
        if self.holdings.interfaces(address).is_none() {
            return;
        }
        match self.conflicts.get(&(address, mac)) {
            Some(Conflict::Told(_)) => return,
            None => {
                info!(%address, %mac, interface, "another host answers for an address that this node announces, watching whether it goes on");
                self.conflicts.insert((address, mac), Conflict::Seen(now));
                return;
            }
            Some(Conflict::Seen(_)) => self.conflicts.insert((address, mac), Conflict::Told(now)),
        };
        warn!(%address, %mac, interface, "another host goes on answering for an address that this node announces");
        for service in self.holdings.services(address) {
            out.extend(self.notice(service).map(|about| about.conflict(interface, address, mac)));
        }
    }

    /// What is to become of this node's status object for the Service.
    fn want(&self, service: &ServiceKey, outcome: &Outcome) -> Want {
        match outcome {
            Outcome::Announced { interfaces, .. } => Want::Here { interfaces: interfaces.clone() },
            Outcome::Not(announce::Reason::OtherNode(_)) if self.uids.contains_key(service) => {
                Want::Elsewhere
            }
            Outcome::Hindered { .. } | Outcome::Not(_) => Want::Nowhere,
        }
    }

    fn notice(&self, service: &ServiceKey) -> Option<Notice> {
        self.uids.get(service).map(|uid| Notice { service: service.clone(), uid: uid.clone() })
    }
}

fn service_key(key: ObjectKey) -> ServiceKey {
    ServiceKey { namespace: key.namespace, name: key.name }
}
