//! BGP on this node: which Services, with which peers, and what users hear of it.
//!
//! ```text
//! Index ──decide_bgp──► Tables ──changes──► BgpEffect::Routes ┐
//! Config, node, passwords ──► setup ──────► BgpEffect::Session├─► one task for each peer (crate::bgp)
//!                                                             │
//! SessionReport ──► views: conditions, events  ◄──────────────┘
//! ```
//!
//! A session is started when all routes are known that are wanted at that moment: routers that kept routes over a restart of
//! the speaker drop those that are not told again by the end of the first ones (RFC 4724).

mod peer;
mod sessions;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use announce::{BgpDecision, BgpReason, Conflict, ServiceKey};
use bgp::packet::Families;
use bgp::rib::Change as RouteChange;
use bgp::session;
use kube_ext::{Change, ObjectKey};
use l2::Instant;
use tracing::{info, warn};

use super::telling::REPEAT;
use super::{Core, Effect, Kind, Reminders, StatusView, Want};

pub use peer::{NodeFacts, Passphrase, SecretView};
pub use sessions::{SessionReport, SessionView};

use peer::Setup;
use sessions::Sessions;
use tables::{Audience, Tables};

/// How long routers have at least to take other ways before a drained node withdraws its routes: they notice within a
/// second, and what they told others needs a few more.
pub const LEAST_DRAIN_TIME: Duration = Duration::from_secs(10);

/// What happens to BGP.
#[derive(Debug)]
pub enum BgpInput {
    /// A `ServiceBGPStatus` of this node changed.
    Status(Change<StatusView>),
    /// The session with this BGPPeer is in another state, or there is something else to say of it.
    Report {
        /// The BGPPeer, by name.
        peer: String,
        /// How it is.
        report: SessionReport,
    },
}

/// What is to be done in BGP.
#[derive(Clone, Debug)]
pub enum BgpEffect {
    /// The routes that the peer is to be told are others now.
    Routes {
        /// The BGPPeer, by name.
        peer: String,
        /// What changes.
        changes: Arc<[RouteChange]>,
    },
    /// There is to be a session with the peer, and it is to be like this. Its first routes come before.
    Session {
        /// The BGPPeer, by name.
        peer: String,
        /// What the session is to be.
        config: Box<session::Config>,
    },
    /// There is to be no session with the peer any more.
    End {
        /// The BGPPeer, by name.
        peer: String,
    },
    /// What is to become of this node's `ServiceBGPStatus` for a Service.
    Status(ServiceKey, Want),
    /// A `ServiceBGPStatus` of this node changed.
    Actual(Change<StatusView>),
    /// An address of a Service is announced, or not any more.
    Announced {
        /// The Service.
        service: ServiceKey,
        /// The address.
        address: IpAddr,
        /// Whether it is.
        on: bool,
    },
    /// The node is being drained, and routers are to take other ways (RFC 8326), or it is so no longer.
    Drain(bool),
    /// How all sessions are, by BGPPeer, for users to see.
    Sessions(BTreeMap<String, SessionView>),
}

/// The state of BGP on this node.
#[derive(Debug, Default)]
pub(super) struct Bgp {
    node: NodeFacts,
    decisions: BTreeMap<ServiceKey, BgpDecision>,
    tables: Tables,
    /// The sessions that there are to be.
    wanted: BTreeMap<String, session::Config>,
    sessions: Sessions,
    /// The passwords in Secrets, by name.
    passwords: BTreeMap<String, Passphrase>,
    /// Whether peers, or this node, may have changed since they were looked at.
    stale: bool,
    /// Whether routers were told to take other ways, as the node is being drained.
    draining: bool,
    /// When a drained node withdraws what others can announce.
    withdraw_at: Option<Instant>,
    /// The Service that each status object of this node is about.
    statuses: BTreeMap<ObjectKey, ServiceKey>,
    /// Services that this node announced before the speaker was restarted.
    resumable: BTreeSet<ServiceKey>,
    /// When a Warning is to be told again where it still holds.
    reminders: Reminders<Subject>,
}

/// What a Warning is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// A conflict over a Service.
    Service(ServiceKey),
    /// A session, by the BGPPeer's name.
    Peer(String),
}

impl Bgp {
    /// Peers may have changed.
    pub(super) fn touch(&mut self) {
        self.stale = true;
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.withdraw_at
    }

    /// The BGPPeers with which sessions are possible, and the families of which each takes routes.
    pub(super) fn takers(&self, config: &config::Config) -> BTreeMap<String, Families> {
        let families = |peer| match peer::setup(peer, &self.passwords, &self.node) {
            Setup::Session { config, .. } => Some(config.families),
            Setup::Refused(_) => None,
        };
        let peers = config.bgp_peers.values();
        peers.filter_map(|peer| Some((peer.name.clone(), families(peer)?))).collect()
    }

    /// When a Warning is to be told again.
    pub(super) fn next_reminder(&self) -> Option<Instant> {
        self.reminders.next()
    }

    /// Notes the password in a Secret; true where it is another one.
    pub(super) fn set_password(&mut self, secret: &str, password: Option<Passphrase>) -> bool {
        match password {
            Some(password) => {
                let before = self.passwords.insert(secret.to_owned(), password);
                before.as_ref() != self.passwords.get(secret)
            }
            None => self.passwords.remove(secret).is_some(),
        }
    }
}

impl Core {
    /// The same speaker, knowing this of its node.
    #[must_use]
    pub fn on_node(mut self, facts: NodeFacts) -> Self {
        self.bgp.node = facts;
        self
    }

    /// Takes in what happened to BGP.
    pub(super) fn bgp_input(
        &mut self,
        now: Instant,
        input: BgpInput,
        out: &mut Vec<Effect>,
    ) -> Vec<ServiceKey> {
        match input {
            BgpInput::Status(Change::Synced) => return self.synced(now, Kind::BgpStatuses, out),
            BgpInput::Status(change) => self.bgp_status(change, out),
            BgpInput::Report { peer, report } => self.session_report(now, &peer, &report, out),
        }
        Vec::new()
    }

    /// The node is being drained, or not any more. Routes go once routers have had time to take other ways (RFC 8326 §4).
    pub(super) fn drain_bgp(&mut self, now: Instant, draining: bool) -> Vec<ServiceKey> {
        let time = self.bgp.node.drain_time.max(LEAST_DRAIN_TIME);
        self.bgp.withdraw_at = (draining && self.gate.open()).then(|| now + time);
        if draining { Vec::new() } else { self.index.set_withdraws(false) }
    }

    /// Withdraws the routes of a drained node where that is due.
    pub(super) fn withdraw(&mut self, now: Instant) -> Vec<ServiceKey> {
        if self.bgp.withdraw_at.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        info!("routers have had time to take other ways: what other nodes announce, too, is withdrawn");
        self.index.set_withdraws(true)
    }

    /// Notes which Services were announced before the speaker was restarted; returns them.
    pub(super) fn resume_bgp(&mut self) -> BTreeSet<ServiceKey> {
        self.bgp.resumable = self.bgp.statuses.values().cloned().collect();
        self.bgp.resumable.clone()
    }

    /// Decides about a Service anew and appends what that changes.
    pub(super) fn evaluate_bgp(&mut self, now: Instant, service: &ServiceKey, out: &mut Vec<Effect>) {
        let decision = self.index.decide_bgp(service);
        let before = self.bgp.decisions.get(service).cloned();
        if before.as_ref() == Some(&decision) {
            return;
        }
        let announcement = announced(&decision);
        self.bgp.tables.set(service, announcement.map(|a| a.asks.as_slice()).unwrap_or_default());
        let addresses = |decision: Option<&BgpDecision>| -> BTreeSet<IpAddr> {
            decision.and_then(announced).into_iter().flat_map(|a| a.addresses.iter().copied()).collect()
        };
        let (old, new) = (addresses(before.as_ref()), addresses(Some(&decision)));
        let shown = |address: &IpAddr, on| {
            Effect::Bgp(BgpEffect::Announced { service: service.clone(), address: *address, on })
        };
        out.extend(old.difference(&new).map(|address| shown(address, false)));
        out.extend(new.difference(&old).map(|address| shown(address, true)));
        let want = bgp_want(&decision);
        if before.is_none() || before.as_ref().map(bgp_want).as_ref() != Some(&want) {
            out.push(Effect::Bgp(BgpEffect::Status(service.clone(), want)));
        }
        let unheard = before.as_ref().map(BgpDecision::unheard).unwrap_or_default();
        self.bgp.sessions.set_unheard(service, unheard, decision.unheard());
        self.tell_bgp(now, service, &decision, before.as_ref(), out);
        log(service, &decision, before.as_ref());
        if self.uids.contains_key(service) {
            self.bgp.decisions.insert(service.clone(), decision);
        } else {
            self.bgp.decisions.remove(service);
        }
    }

    /// Appends what peers and their routes come to, after everything was decided.
    pub(super) fn settle_bgp(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut changed: BTreeSet<String> = BTreeSet::new();
        let stale = std::mem::take(&mut self.bgp.stale);
        // Before routes that come back: they are not to carry the community any more.
        let draining = self.index.own_node().is_some_and(|node| node.draining);
        if std::mem::replace(&mut self.bgp.draining, draining) != draining {
            out.push(Effect::Bgp(BgpEffect::Drain(draining)));
        }
        for (peer, changes) in self.bgp.tables.take_changes() {
            changed.insert(peer.clone());
            out.push(Effect::Bgp(BgpEffect::Routes { peer, changes }));
        }
        if stale {
            self.set_peers(now, out);
        }
        if stale || !changed.is_empty() && self.index.has_different_preferences() {
            self.bgp.sessions.set_conflicts(&self.bgp.tables.conflicts());
        }
        if let Some(views) = self.bgp.sessions.take_changed() {
            out.push(Effect::Bgp(BgpEffect::Sessions(views)));
        }
    }

    /// Makes the sessions those that the configuration asks for on this node.
    fn set_peers(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let config = self.index.config();
        let node = self.index.own_node();
        let here =
            config.bgp_peers.values().filter(|peer| node.is_some_and(|node| peer.matches_node(&node.labels)));
        let mut wanted = BTreeMap::new();
        let mut audiences: BTreeMap<String, Audience> = BTreeMap::new();
        let mut setups = BTreeMap::new();
        for peer in here {
            let setup = peer::setup(peer, &self.bgp.passwords, &self.bgp.node);
            if let Setup::Session { config, .. } = &setup {
                wanted.insert(peer.name.clone(), (**config).clone());
                audiences.insert(peer.name.clone(), self.index.bgp_advertisements_to(&peer.name));
            }
            setups.insert(peer.name.clone(), setup);
        }
        if self.bgp.node.listens {
            peer::note_ambiguous(&mut setups);
        }
        let services = self
            .bgp
            .decisions
            .iter()
            .filter_map(|(service, decision)| Some((service, announced(decision)?.asks.as_slice())));
        let gone: Vec<String> =
            self.bgp.wanted.keys().filter(|peer| !wanted.contains_key(*peer)).cloned().collect();
        for peer in gone {
            info!(peer, "the session is not wanted any more");
            out.push(Effect::Bgp(BgpEffect::End { peer }));
        }
        for (peer, changes) in self.bgp.tables.set_audiences(audiences, services) {
            out.push(Effect::Bgp(BgpEffect::Routes { peer, changes }));
        }
        for (peer, config) in &wanted {
            if self.bgp.wanted.get(peer) != Some(config) {
                let config = Box::new(config.clone());
                out.push(Effect::Bgp(BgpEffect::Session { peer: peer.clone(), config }));
            }
        }
        self.bgp.wanted = wanted;
        let refused = self.bgp.sessions.set_peers(setups);
        for (peer, reason) in refused {
            warn!(peer, "no session: {reason}");
            self.peer_event(&peer, false, &reason, out);
            self.bgp.reminders.set(&Subject::Peer(peer), now + REPEAT);
        }
    }

    /// Tells one Warning again whose time has come, where it still holds; false where there is none.
    pub(super) fn remind_bgp(&mut self, now: Instant, out: &mut Vec<Effect>) -> bool {
        let Some(subject) = self.bgp.reminders.take(now) else { return false };
        let told = out.len();
        match &subject {
            Subject::Service(service) => {
                if let Some(BgpDecision::Not(BgpReason::Conflict(conflict))) = self.bgp.decisions.get(service)
                {
                    self.conflict_event(service, conflict, out);
                }
            }
            Subject::Peer(peer) => {
                if let Some(words) = self.bgp.sessions.warning(peer) {
                    self.peer_event(peer, false, words, out);
                }
            }
        }
        if out.len() > told {
            self.bgp.reminders.set(&subject, now + REPEAT);
        }
        true
    }

    fn bgp_status(&mut self, change: Change<StatusView>, out: &mut Vec<Effect>) {
        match change {
            Change::Apply(key, view) => {
                let service = view.service.clone();
                self.bgp.statuses.insert(key.clone(), service.clone());
                out.push(Effect::Bgp(BgpEffect::Actual(Change::Apply(key, view))));
                // Found after the start, so nobody may have said yet whether it is to stay.
                if self.gate.open() {
                    let want = self.bgp.decisions.get(&service).map_or(Want::Nowhere, bgp_want);
                    out.push(Effect::Bgp(BgpEffect::Status(service, want)));
                }
            }
            Change::Delete(key) => {
                if let Some(service) = self.bgp.statuses.remove(&key) {
                    self.bgp.resumable.remove(&service);
                }
                out.push(Effect::Bgp(BgpEffect::Actual(Change::Delete(key))));
            }
            Change::Synced => {}
        }
    }

    /// Tells the user of the Service what this transition means, where it means something.
    fn tell_bgp(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        decision: &BgpDecision,
        before: Option<&BgpDecision>,
        out: &mut Vec<Effect>,
    ) {
        self.bgp.reminders.cancel(&Subject::Service(service.clone()));
        match decision {
            BgpDecision::Announce(_) => {
                let resumed = self.bgp.resumable.remove(service);
                if !resumed && before.and_then(announced).is_none() {
                    out.extend(self.notice(service).map(|about| about.assigned(&self.node, "bgp")));
                }
            }
            BgpDecision::Not(BgpReason::Conflict(conflict)) => {
                self.conflict_event(service, conflict, out);
                self.bgp.reminders.set(&Subject::Service(service.clone()), now + REPEAT);
            }
            BgpDecision::Not(_) => {}
        }
    }

    /// The event of a Service that is not announced, as its advertisements contradict each other.
    fn conflict_event(&self, service: &ServiceKey, conflict: &Conflict, out: &mut Vec<Effect>) {
        let text = format!("not announced from node {:?} with protocol \"bgp\": {conflict}", self.node);
        let about = self.notice(service);
        out.extend(about.into_iter().flat_map(|about| about.failed(std::slice::from_ref(&text))));
    }
}

fn announced(decision: &BgpDecision) -> Option<&announce::BgpAnnouncement> {
    match decision {
        BgpDecision::Announce(announcement) => Some(announcement),
        BgpDecision::Not(_) => None,
    }
}

/// What is to become of this node's status object.
fn bgp_want(decision: &BgpDecision) -> Want {
    match announced(decision) {
        Some(announcement) => Want::Here { names: announcement.peers.iter().cloned().collect(), why: None },
        None => Want::Nowhere,
    }
}

/// Says in the log what changed.
fn log(service: &ServiceKey, decision: &BgpDecision, before: Option<&BgpDecision>) {
    match decision {
        BgpDecision::Announce(announcement) => {
            let peers: Vec<&str> = announcement.peers.iter().map(String::as_str).collect();
            let prefixes: BTreeSet<String> =
                announcement.asks.iter().map(|ask| ask.prefix.to_string()).collect();
            let prefixes: Vec<String> = prefixes.into_iter().collect();
            info!(%service, prefixes = prefixes.join(","), peers = peers.join(","), "announcing by BGP");
        }
        BgpDecision::Not(reason) if before.and_then(announced).is_some() => {
            info!(%service, "not announcing by BGP any more: {reason}");
        }
        BgpDecision::Not(BgpReason::Service(_) | BgpReason::NoAdvertisement(_)) => {}
        BgpDecision::Not(reason) => info!(%service, "not announcing by BGP: {reason}"),
    }
}
