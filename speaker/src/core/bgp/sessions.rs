//! What users hear of sessions: conditions, and events on BGPPeers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use announce::{ServiceKey, Unheard};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ObjectReference;
use kube_ext::EventKind;
use l2::Instant;
use net::Family;
use tracing::{info, warn};

use super::peer::Setup;
use super::{REPEAT, Subject};
use crate::core::{Core, Effect};

/// How many prefixes or addresses are named where many have the same fault.
const NAMED: usize = 3;

/// How a session is, as its task tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionReport {
    /// Whether it is established.
    pub up: bool,
    /// Its terms where it is, else what went wrong last; empty where nothing did.
    pub words: String,
    /// What is wrong although it is established, in words.
    pub warnings: Vec<String>,
}

/// How a session is, as a user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Whether it is established.
    pub up: bool,
    /// One word for why.
    pub reason: &'static str,
    /// The same in words, with what to look at next.
    pub message: String,
}

/// All that is known of a peer's session.
#[derive(Debug, Default)]
struct Session {
    /// Why there is none to be.
    refused: Option<String>,
    /// What of the BGPPeer has no effect.
    hints: Vec<String>,
    conflicts: Option<String>,
    report: SessionReport,
    /// What its user was told last of its being down; `None` where nothing, or that it is up since.
    told: Option<String>,
}

/// What is said of a session that is down although nothing went wrong.
const ENDED_HERE: &str = "the session was ended here";

/// The sessions of all peers of this node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<String, Session>,
    /// By peer, the addresses that neither it nor another one is told of, as of their family they take no routes.
    unheard: BTreeMap<String, BTreeSet<(IpAddr, ServiceKey)>>,
    /// Whether any may have changed since they were shown.
    dirty: bool,
    shown: BTreeMap<String, SessionView>,
}

impl Sessions {
    /// These are the peers now. Returns those that came to be refused, with the reason.
    pub(super) fn set_peers(&mut self, setups: BTreeMap<String, Setup>) -> Vec<(String, String)> {
        self.dirty = true;
        self.all.retain(|peer, _| setups.contains_key(peer));
        let mut refused = Vec::new();
        for (peer, setup) in setups {
            let session = self.all.entry(peer.clone()).or_default();
            match setup {
                Setup::Refused(reason) => {
                    if session.refused.as_ref() != Some(&reason) {
                        refused.push((peer, reason.clone()));
                    }
                    *session = Session { refused: Some(reason), ..Session::default() };
                }
                Setup::Session { hints, .. } => {
                    session.refused = None;
                    session.hints = hints;
                }
            }
        }
        refused
    }

    /// Notes the routes of each peer for which different local preferences are asked.
    pub(super) fn set_conflicts(&mut self, prefixes: &BTreeMap<&str, Rc<BTreeSet<IpNet>>>) {
        self.dirty = true;
        for (peer, session) in &mut self.all {
            let prefixes = prefixes.get(peer.as_str()).filter(|prefixes| !prefixes.is_empty());
            session.conflicts = prefixes.map(|prefixes| {
                format!("Services ask for different localPref of {}: the highest is told", listed(prefixes))
            });
        }
    }

    /// What its user was told of the peer's session, where that still holds: that it is down, or refused.
    pub(super) fn warning(&self, peer: &str) -> Option<&str> {
        let session = self.all.get(peer)?;
        session.refused.as_deref().or(session.told.as_deref())
    }

    /// Notes which addresses of a Service no peer is told of.
    pub(super) fn set_unheard(&mut self, service: &ServiceKey, before: &[Unheard], now: &[Unheard]) {
        if before == now {
            return;
        }
        self.dirty = true;
        let each = |all: &[Unheard]| -> Vec<(String, (IpAddr, ServiceKey))> {
            let of = |unheard: &Unheard| {
                let entry = (unheard.address, service.clone());
                unheard.peers.iter().map(move |peer| (peer.clone(), entry.clone())).collect::<Vec<_>>()
            };
            all.iter().flat_map(of).collect()
        };
        for (peer, entry) in each(before) {
            if let Some(addresses) = self.unheard.get_mut(&peer) {
                addresses.remove(&entry);
                if addresses.is_empty() {
                    self.unheard.remove(&peer);
                }
            }
        }
        for (peer, entry) in each(now) {
            self.unheard.entry(peer).or_default().insert(entry);
        }
    }

    /// The views of all sessions, where one of them changed since the last call.
    pub(super) fn take_changed(&mut self) -> Option<BTreeMap<String, SessionView>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let views: BTreeMap<String, SessionView> = self
            .all
            .iter()
            .map(|(peer, session)| (peer.clone(), session.view(self.unheard.get(peer))))
            .collect();
        let changed = self.shown != views;
        self.shown.clone_from(&views);
        changed.then_some(views)
    }
}

/// The first of many prefixes, in words.
fn listed(prefixes: &BTreeSet<IpNet>) -> String {
    first(prefixes.iter().map(ToString::to_string), prefixes.len())
}

/// The first of so many, in words.
fn first(all: impl Iterator<Item = String>, count: usize) -> String {
    let names: Vec<String> = all.take(NAMED).collect();
    let rest = count.saturating_sub(NAMED);
    if rest == 0 { names.join(", ") } else { format!("{} and {rest} more", names.join(", ")) }
}

/// What a session cannot tell, nor any other, in words.
fn in_words(addresses: &BTreeSet<(IpAddr, ServiceKey)>) -> String {
    let names = addresses.iter().map(|(address, service)| format!("{address} of Service {service}"));
    let family = addresses.first().map(|(address, _)| Family::of(*address).to_string()).unwrap_or_default();
    format!(
        "no router is told of {}: no session takes {family} routes, so set dualStackAddressFamily, or create a BGPPeer \
         with an {family} peerAddress",
        first(names, addresses.len())
    )
}

impl Session {
    /// How it looks. `unheard` are addresses that it cannot tell, nor any other.
    fn view(&self, unheard: Option<&BTreeSet<(IpAddr, ServiceKey)>>) -> SessionView {
        if let Some(reason) = &self.refused {
            return SessionView { up: false, reason: "NotSupported", message: reason.clone() };
        }
        let report = &self.report;
        let words = match (&*report.words, report.up) {
            ("", false) => "connecting",
            (words, _) => words,
        };
        let warnings = report.warnings.iter().chain(&self.conflicts).filter(|_| report.up).chain(&self.hints);
        let unheard = unheard.map(in_words);
        let warnings = warnings.chain(&unheard);
        let message =
            std::iter::once(words).chain(warnings.map(String::as_str)).collect::<Vec<_>>().join("; ");
        let reason = match (report.up, report.words.is_empty()) {
            (true, _) => "Established",
            (false, true) => "Connecting",
            (false, false) => "Down",
        };
        SessionView { up: report.up, reason, message }
    }
}

impl Core {
    /// Takes in how a session is, and tells its user of transitions.
    pub(super) fn session_report(
        &mut self,
        now: Instant,
        peer: &str,
        report: &SessionReport,
        out: &mut Vec<Effect>,
    ) {
        self.bgp.sessions.dirty = true;
        let Some(session) = self.bgp.sessions.all.get_mut(peer).filter(|session| session.refused.is_none())
        else {
            return;
        };
        let before = std::mem::replace(&mut session.report, report.clone());
        let words = if report.words.is_empty() { ENDED_HERE } else { &report.words };
        let event = match (before.up, report.up) {
            (false, true) => {
                session.told = None;
                Some(true)
            }
            // What goes on being wrong in the same way is told anew only when the event would expire.
            (was_up, false)
                if was_up || session.told.as_deref() != Some(words) && !report.words.is_empty() =>
            {
                session.told = Some(words.to_owned());
                Some(false)
            }
            (true, true) | (_, false) => None,
        };
        let Some(up) = event else { return };
        let subject = Subject::Peer(peer.to_owned());
        if up {
            info!(peer, "session up: {words}");
            self.bgp.reminders.cancel(&subject);
        } else {
            warn!(peer, "session down: {words}");
            self.bgp.reminders.set(&subject, now + REPEAT);
        }
        self.peer_event(peer, up, words, out);
    }

    /// An event on a BGPPeer about its session with this node.
    pub(super) fn peer_event(&self, peer: &str, up: bool, words: &str, out: &mut Vec<Effect>) {
        let Some(object) = self.objects.bgp_peers.get(peer) else { return };
        let about = ObjectReference { resource_version: None, ..kube_ext::object_reference(object) };
        let (kind, reason, state) = if up {
            (EventKind::Normal, "sessionUp", "up")
        } else {
            (EventKind::Warning, "sessionDown", "down")
        };
        let message = format!("session with node {:?} {state}: {words}", self.node);
        out.push(Effect::Event { about, kind, reason, message });
    }
}
