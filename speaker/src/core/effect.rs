//! What the core takes in and gives out.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use announce::{Obstacle, Place, ServiceKey};
use k8s_openapi::api::core::v1::{self, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube_ext::{Change, EventKind};
use net::MacAddr;

use super::BgpEffect;
use super::roster::RosterView;
use crate::failover::LinkView;

/// The kinds that must be listed before anything is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Services of all namespaces.
    Services,
    /// `EndpointSlices` of all namespaces.
    EndpointSlices,
    /// Nodes.
    Nodes,
    /// The speakers' Pods.
    Speakers,
    /// The list of speakers.
    Roster,
    /// IPAddressPools.
    Pools,
    /// L2Advertisements.
    Advertisements,
    /// BGPAdvertisements.
    BgpAdvertisements,
    /// BGPPeers.
    Peers,
    /// BFDProfiles.
    BfdProfiles,
    /// Communities.
    Communities,
    /// Secrets of MetalLB's namespace.
    Secrets,
    /// This node's `ServiceL2Status` objects.
    Statuses,
    /// This node's `ServiceBGPStatus` objects.
    BgpStatuses,
    /// This node's links.
    Links,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Services,
        Self::EndpointSlices,
        Self::Nodes,
        Self::Speakers,
        Self::Roster,
        Self::Pools,
        Self::Advertisements,
        Self::BgpAdvertisements,
        Self::Peers,
        Self::BfdProfiles,
        Self::Communities,
        Self::Secrets,
        Self::Statuses,
        Self::BgpStatuses,
        Self::Links,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Services => "Services",
            Self::EndpointSlices => "EndpointSlices",
            Self::Nodes => "Nodes",
            Self::Speakers => "speaker Pods",
            Self::Roster => "the list of speakers (ConfigMap metallb-speakers)",
            Self::Pools => "IPAddressPools",
            Self::Advertisements => "L2Advertisements",
            Self::BgpAdvertisements => "BGPAdvertisements",
            Self::Peers => "BGPPeers",
            Self::BfdProfiles => "BFDProfiles",
            Self::Communities => "Communities",
            Self::Secrets => "Secrets",
            Self::Statuses => "ServiceL2Statuses",
            Self::BgpStatuses => "ServiceBGPStatuses",
            Self::Links => "network links",
        })
    }
}

/// A Service with what events about it need.
#[derive(Clone, Debug, Default)]
pub struct ServiceView {
    /// What decides.
    pub service: announce::Service,
    /// Its `metadata.uid`.
    pub uid: Option<String>,
}

impl From<&v1::Service> for ServiceView {
    fn from(service: &v1::Service) -> Self {
        Self { service: service.into(), uid: service.metadata.uid.clone() }
    }
}

/// A speaker's Pod.
#[derive(Clone, Debug, Default)]
pub struct SpeakerPod {
    /// Its node, while it is ready.
    pub node: Option<String>,
    /// Its node, ready or not.
    pub on: Option<String>,
    /// Whether it is being ended.
    pub ends: bool,
    /// The `DaemonSet` that owns it, where the Pod is this speaker's own.
    pub owner: Option<OwnerReference>,
}

impl SpeakerPod {
    /// Reduces a Pod; `own` is the name of this speaker's Pod.
    pub fn reduce(pod: &Pod, own: Option<&str>) -> Self {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let is_own = own.is_some() && pod.metadata.name.as_deref() == own;
        let owner = owners.iter().find(|o| is_own && o.kind == "DaemonSet").map(|o| OwnerReference {
            api_version: o.api_version.clone(),
            kind: o.kind.clone(),
            name: o.name.clone(),
            uid: o.uid.clone(),
            ..OwnerReference::default()
        });
        let on = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let ends = pod.metadata.deletion_timestamp.is_some();
        Self { node: announce::member_node(pod), on, ends, owner }
    }
}

/// A status object of this node: a `ServiceL2Status` or a `ServiceBGPStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusView {
    /// The Service it is about.
    pub service: ServiceKey,
    /// Whether its status says what its labels say, and not nothing yet.
    pub complete: bool,
    /// The interfaces that it names, where none stands for all, or the peers.
    pub names: Vec<String>,
    /// Why the node announces the Service, where that is said.
    pub why: Option<Why>,
}

/// Why a node has come to announce a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// The cause, one of [`api::causes`].
    pub cause: String,
    /// The node that announced it before, where that is known.
    pub former: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Begin to answer on an interface.
    Open {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
        /// What it is like.
        link: l2::Link,
    },
    /// Stop everything on an interface.
    Close {
        /// Its number.
        index: u32,
    },
    /// Tell an interface something.
    Interface {
        /// Its number.
        index: u32,
        /// What.
        command: Command,
    },
    /// Tell the user of a Service something.
    Event {
        /// The Service.
        about: ObjectReference,
        /// How serious it is.
        kind: EventKind,
        /// The event's reason.
        reason: &'static str,
        /// The event's text.
        message: String,
    },
    /// What is to become of this node's status object for a Service.
    Status(ServiceKey, Want),
    /// A status object of this node changed.
    Actual(Change<StatusView>),
    /// The owner of status objects.
    Owner(OwnerReference),
    /// An address of a Service is announced, or not any more.
    Announced {
        /// The Service.
        service: ServiceKey,
        /// The address.
        address: IpAddr,
        /// Whether it is.
        on: bool,
    },
    /// The address is held for no Service any more.
    LetGo(IpAddr),
    /// This node has come to hold an address, or does not hold it any more.
    Moved {
        /// Whether it holds it.
        held: bool,
        /// Why.
        cause: membership::Cause,
        /// How long its holder had not been heard.
        silence: Option<Duration>,
    },
    /// The speaker of another node is heard, or not; `None`: it has none.
    Peer(String, Option<bool>),
    /// Whether a majority of the speakers hears this one.
    Quorum(bool),
    /// Who may hold an address, and where this node announces it then; `None`: nobody.
    Place {
        /// The address.
        address: IpAddr,
        /// Its place.
        place: Option<Place>,
    },
    /// The interfaces that addresses can be announced on are these.
    Links(Vec<LinkView>),
    /// These nodes have a speaker.
    Speakers(RosterView),
    /// This node is to be entered into the list of speakers.
    Enlist,
    /// This node is to be struck off the list of speakers.
    Leave,
    /// A node is to be struck off the list of speakers, where that still has this revision.
    Strike {
        /// The node.
        node: String,
        /// The list's `metadata.resourceVersion`.
        revision: u64,
    },
    /// This node hands its addresses over and takes none, or does so no longer.
    Drain(bool),
    /// Something to be done in BGP.
    Bgp(BgpEffect),
    /// The configuration was read: what is wrong with it, if anything is.
    Configured(Option<String>),
    /// Everything is known and decided: the Pod is ready.
    Ready,
}

/// What an interface is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer for the address.
    Take(IpAddr),
    /// Do not answer for it any more.
    Release(IpAddr),
    /// The interface is like this now.
    Link(l2::Link),
    /// The hardware addresses of the node's interfaces, which are no rivals.
    Allies(std::collections::HashSet<MacAddr>),
    /// The hardware addresses of the other speakers: with them it is agreed who has an address.
    Members(std::collections::HashSet<MacAddr>),
}

/// What is to become of this node's status object for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// This node announces the Service: there is one, and no other node's.
    Here {
        /// The interfaces, where none stands for all, or the peers.
        names: Vec<String>,
        /// Why the node announces it, where that is to be said.
        why: Option<Why>,
    },
    /// Another node announces it and deletes this node's object once it has its own.
    Elsewhere,
    /// Nobody announces it: the object goes.
    Nowhere,
}

/// A Service to tell its user something about.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The Service.
    pub service: ServiceKey,
    /// Its uid.
    pub uid: Option<String>,
}

impl Notice {
    fn event(&self, kind: EventKind, reason: &'static str, message: String) -> Effect {
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(self.service.namespace.clone()),
            name: Some(self.service.name.clone()),
            uid: self.uid.clone(),
            ..ObjectReference::default()
        };
        Effect::Event { about, kind, reason, message }
    }

    /// The event of becoming the announcer.
    pub(crate) fn assigned(&self, node: &str, protocol: &str) -> Effect {
        let message = format!("announcing from node {node:?} with protocol {protocol:?}");
        self.event(EventKind::Normal, "nodeAssigned", message)
    }

    /// The events of being elected without an interface to announce on.
    pub(crate) fn failed(&self, messages: &[String]) -> Vec<Effect> {
        messages.iter().map(|m| self.event(EventKind::Warning, "announceFailed", m.clone())).collect()
    }

    /// The event of nobody's announcing it.
    pub(crate) fn unannounced(&self, obstacle: &Obstacle) -> Effect {
        let message = format!("Service \"{}\" is not announced: {obstacle}", self.service);
        self.event(EventKind::Warning, "notAnnounced", message)
    }

    /// The event of another host's having the address.
    pub(crate) fn conflict(&self, interface: &str, address: IpAddr, mac: MacAddr) -> Effect {
        let message = format!(
            "another host on the network of interface {interface:?}, with MAC address {mac}, answers for {address}: \
             take the address away from that host, or leave it out of the IPAddressPool"
        );
        self.event(EventKind::Warning, "addressConflict", message)
    }
}
