//! Who holds which address, as far as this node knows, and what became of the other speakers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use announce::ServiceKey;
use api::causes::{CAUSE_DOWN, CAUSE_DRAINED, CAUSE_NO_QUORUM, CAUSE_UNFIT, CAUSE_UNHELD, CAUSE_YIELDED};
use k8s_openapi::api::core::v1::ObjectReference;
use kube_ext::{Change, EventKind};
use l2::Instant;
use membership::{Cause, Event, NodeId};
use tracing::{info, warn};

use super::Core;
use super::effect::{Effect, Kind, Why};
use super::roster::RosterView;

/// How long speakers take to agree at first, at most: 6 s, and a Pod that starts.
const FOUNDING: Duration = Duration::from_secs(30);
/// A warning that still holds is repeated, before the API server forgets it.
const FOUNDING_AGAIN: Duration = Duration::from_secs(50 * 60);

/// The addresses that this node holds, and whom it knows to hold others.
#[derive(Debug, Default)]
pub(super) struct Holders {
    mine: BTreeMap<IpAddr, Why>,
    /// Whom an address went to that was this node's.
    others: BTreeMap<IpAddr, String>,
    names: BTreeMap<NodeId, String>,
    /// The speakers that have been heard at some time.
    met: BTreeSet<NodeId>,
}

impl Holders {
    /// Whether this node holds the address.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.mine.contains_key(&address)
    }

    /// Why this node holds the address, as a status object says it.
    pub(super) fn why(&self, address: IpAddr) -> Option<&Why> {
        self.mine.get(&address)
    }

    /// Which other node has the address, where this node handed it over.
    pub(super) fn other(&self, address: IpAddr) -> Option<&str> {
        self.others.get(&address).map(String::as_str)
    }

    /// The name of a speaker's node.
    fn name(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| format!("with the identifier {:016x}", node.0))
    }

    /// Why an address came, as a status object says it.
    fn cause(&self, cause: Cause) -> Why {
        let (word, former) = match cause {
            Cause::HolderDown(node) => (CAUSE_DOWN, Some(node)),
            Cause::Yielded(node) => (CAUSE_YIELDED, Some(node)),
            Cause::Drained(node) => (CAUSE_DRAINED, Some(node)),
            Cause::Unfit(node) => (CAUSE_UNFIT, Some(node)),
            Cause::NoQuorum => (CAUSE_NO_QUORUM, None),
            Cause::Unheld | Cause::Asked(_) | Cause::Ineligible | Cause::Overtaken(_) => (CAUSE_UNHELD, None),
        };
        Why { cause: word.to_owned(), former: former.map(|node| self.name(node)) }
    }

    /// Why an address came or went, in words.
    fn reason(&self, cause: Cause) -> String {
        match cause {
            Cause::Unheld => "no node held it".to_owned(),
            Cause::HolderDown(node) => {
                format!("the speaker of node {} is not heard any more", self.name(node))
            }
            Cause::Yielded(node) => format!("node {} yielded it", self.name(node)),
            Cause::Drained(node) => format!("node {} hands everything over", self.name(node)),
            Cause::Unfit(node) => format!(
                "node {} may not hold it any more, or is not heard on an interface that it is announced on",
                self.name(node)
            ),
            Cause::Asked(node) => format!("node {} is to have it", self.name(node)),
            Cause::Ineligible => "this node may not hold it any more".to_owned(),
            Cause::Overtaken(node) => {
                format!("this node was cut off, and node {} took it over", self.name(node))
            }
            Cause::NoQuorum => {
                "there is no majority of speakers, and no host on the network answers for it".to_owned()
            }
        }
    }
}

impl Core {
    /// An address came or went; returns the Services that have it.
    pub(super) fn moved(
        &mut self,
        address: IpAddr,
        held: bool,
        cause: Cause,
        to: Option<NodeId>,
    ) -> Vec<ServiceKey> {
        let reason = self.holders.reason(cause);
        if held {
            info!(%address, "the address is this node's: {reason}");
            let why = self.holders.cause(cause);
            self.holders.mine.insert(address, why);
            self.holders.others.remove(&address);
        } else {
            info!(%address, "the address is not this node's any more: {reason}");
            self.holders.mine.remove(&address);
            match to {
                Some(node) => self.holders.others.insert(address, self.holders.name(node)),
                None => self.holders.others.remove(&address),
            };
        }
        let services: Vec<ServiceKey> = self.claims.services(address).cloned().collect();
        if services.is_empty() {
            self.holders.others.remove(&address);
        }
        services
    }

    /// Something happened to the speakers: logged, and told to whoever looks at this node where it is for a person to
    /// mend.
    pub(super) fn heard(&mut self, event: &Event, out: &mut Vec<Effect>) {
        if let Event::Up(node) = *event {
            self.holders.met.insert(node);
        }
        let holders = &self.holders;
        let name = |node| holders.name(node);
        let (reason, message) = match *event {
            Event::Up(node) => {
                out.push(Effect::Peer(name(node), Some(true)));
                return info!(node = name(node), "the speaker of the node is heard");
            }
            Event::Down(node) => {
                out.push(Effect::Peer(name(node), Some(false)));
                return warn!(node = name(node), "the speaker of the node is not heard any more");
            }
            Event::Quorum(true) => {
                self.founding = None;
                out.push(Effect::Quorum(true));
                return info!("a majority of the speakers hears this one");
            }
            // Told with the interface's name, by `heard_on`.
            Event::Link(..) => return,
            Event::Drained => return info!("all addresses are handed over"),
            Event::Unheard(node) => {
                let name = name(node);
                out.push(Effect::Peer(name.clone(), Some(false)));
                let address = self.roster.view().speakers.get(&name).map(ToString::to_string);
                let message = format!(
                    "the speaker of node {name:?} ({}) has not been heard for 10 seconds: let UDP port {} through every firewall between the nodes",
                    address.unwrap_or_else(|| "no address known".to_owned()),
                    self.contact.port()
                );
                ("speakerUnheard", message)
            }
            Event::Quorum(false) => (
                "noQuorum",
                "no majority of the speakers hears the one of this node: until one does it answers for no address, or, where only two nodes have a speaker or spec.failover.onQuorumLoss of the MetalLB resource is Announce, for those alone that nobody on the network answers for; bring the other nodes back, or delete the Nodes that are gone for good"
                    .to_owned(),
            ),
            Event::Profile(profile) => (
                "failoverProfile",
                format!(
                    "the speaker looks for failures every {} ms now: it got the processor too late for less, or gets it in time again",
                    profile.interval().as_millis()
                ),
            ),
        };
        if let Event::Quorum(quorum) = *event {
            out.push(Effect::Quorum(quorum));
        }
        self.warn_of_node(reason, message, out);
    }

    /// A majority of the speakers on an interface's network hears this one there, or does not any more.
    pub(super) fn heard_on(&self, interface: &str, leased: bool, out: &mut Vec<Effect>) {
        if leased {
            return info!(interface, "the speakers on the interface's network hear this one again");
        }
        let message = format!(
            "no majority of the speakers on the network of interface {interface:?} hears the one of this node there: the addresses announced on it move to nodes that are heard; look at its cable, switch port and VLAN"
        );
        self.warn_of_node("interfaceUnheard", message, out);
    }

    /// Says who keeps the speakers from agreeing for the first time, where that takes long: nobody answers for anything
    /// until then.
    pub(super) fn look_at_founding(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.founding.is_none_or(|due| now < due) {
            return;
        }
        self.founding = Some(now + FOUNDING_AGAIN);
        let own = NodeId::of(&self.node);
        let names = self.holders.names.iter().filter(|(id, _)| **id != own && !self.holders.met.contains(id));
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        let whom = if names.is_empty() {
            "none is missing, they do not agree yet".to_owned()
        } else {
            names.join(", ")
        };
        let message = format!(
            "the speakers have not agreed yet who they are, and none answers for an address before: not heard yet are those of the nodes: {whom}; see that they run and that UDP port {} is open between the nodes, and delete the Nodes that are gone for good",
            self.contact.port()
        );
        self.warn_of_node("noQuorum", message, out);
    }

    fn warn_of_node(&self, reason: &'static str, message: String, out: &mut Vec<Effect>) {
        warn!("{message}");
        let about = node_reference(&self.node);
        out.push(Effect::Event { about, kind: EventKind::Warning, reason, message });
    }

    /// The list of speakers changed.
    pub(super) fn listed(
        &mut self,
        now: Instant,
        change: Change<RosterView>,
        out: &mut Vec<Effect>,
    ) -> Vec<ServiceKey> {
        match change {
            Change::Apply(_, view) => self.roster.apply(view),
            // Whoever deleted it meant no node; every speaker enters itself once it is there again.
            Change::Delete(_) => {
                warn!("the ConfigMap metallb-speakers was deleted: the operator makes a new one");
                return Vec::new();
            }
            Change::Synced => return self.synced(now, Kind::Roster, out),
        }
        let touched = self.relist(now, out);
        self.look_at_roster(now, out);
        touched
    }

    /// Goes by the list as the API has it, where it can be true; returns the Services that this touches.
    pub(super) fn relist(&mut self, now: Instant, out: &mut Vec<Effect>) -> Vec<ServiceKey> {
        let index = &self.index;
        let gone = self.roster.settle(&self.node, self.leaving, |node| index.has_node(node));
        let Some(gone) = gone else { return Vec::new() };
        out.extend(gone.into_iter().map(|node| Effect::Peer(node, None)));
        let view = self.roster.view();
        let nodes: BTreeSet<String> = view.speakers.keys().cloned().collect();
        if self.founding.is_none() && self.holders.names.is_empty() {
            self.founding = Some(now + FOUNDING);
        }
        self.holders.names = nodes.iter().map(|node| (NodeId::of(node), node.clone())).collect();
        out.push(Effect::Speakers(view.clone()));
        self.index.set_speakers(nodes)
    }

    /// Enters this node into the list where it is missing, and sees to those who are gone.
    pub(super) fn look_at_roster(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if !self.gate.open() {
            return;
        }
        let latest = self.roster.latest();
        let is_missing = latest.speakers.get(&self.node) != Some(&self.contact.ip());
        // Once for each list: whoever enters it tries until it is done.
        if is_missing && !self.leaving && self.enlisting.replace(latest.revision) != Some(latest.revision) {
            out.push(Effect::Enlist);
        }
        let index = &self.index;
        let first = self.index.is_first_ready();
        self.roster.look(now, |node| index.has_node(node), first, out);
    }
}

/// What a Node event is about: its events are kept in the namespace `default`.
fn node_reference(node: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(node.to_owned()),
        // As the kubelet's own events have it, by which `kubectl describe node` finds them.
        uid: Some(node.to_owned()),
        ..ObjectReference::default()
    }
}
