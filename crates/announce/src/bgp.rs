//! What is decided about one Service in BGP on this node.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bgp::rib::Route;
use ipnet::IpNet;

use crate::decision::Reason;

/// Whether this node announces a Service by BGP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BgpDecision {
    /// It does.
    Announce(BgpAnnouncement),
    /// It does not.
    Not(BgpReason),
}

/// What this node announces for one Service by BGP, whenever the sessions with the peers are up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpAnnouncement {
    /// The addresses that a peer is told of, in the order of the Service's status.
    pub addresses: Vec<IpAddr>,
    /// The routes that the Service asks for: one for each address and advertisement that a peer takes.
    pub asks: Vec<Ask>,
    /// The BGPPeers, by name, to which at least one route goes.
    pub peers: BTreeSet<String>,
    /// The addresses that no peer is told of.
    pub unheard: Vec<Unheard>,
}

/// An address of whose family no peer takes routes that its advertisements go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// The address.
    pub address: IpAddr,
    /// These peers, by name: at least one.
    pub peers: BTreeSet<String>,
}

impl BgpDecision {
    /// The addresses that no peer is told of, as none takes routes of their family.
    pub fn unheard(&self) -> &[Unheard] {
        match self {
            Self::Announce(announcement) => &announcement.unheard,
            Self::Not(BgpReason::NoFamily(unheard)) => unheard,
            Self::Not(_) => &[],
        }
    }
}

/// A route that a Service asks for. It goes to all peers of the advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The address, or the block of `aggregationLength` around it.
    pub prefix: IpNet,
    /// The attributes.
    pub route: Arc<Route>,
    /// The BGPAdvertisement, by name.
    pub advertisement: Arc<str>,
}

/// Why this node does not announce a Service by BGP, in the order in which MetalLB asks. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BgpReason {
    /// No protocol can announce it.
    Service(Reason),
    /// No BGPAdvertisement announces the pool named here.
    NoAdvertisement(String),
    /// No BGPAdvertisement of the pool named here selects this node.
    NodeNotSelected(String),
    /// The `serviceSelectors` of those that select this node leave the Service out.
    NotSelected(String),
    /// Two advertisements ask for different local preferences of one route to one peer.
    Conflict(Box<Conflict>),
    /// The node's network is unavailable.
    NetworkUnavailable,
    /// The node is labelled to be left out by external load balancers.
    Excluded,
    /// The node is drained, and another one can announce it.
    Drained,
    /// No endpoint on this node can serve, where one is needed.
    NoLocalEndpoint,
    /// No endpoint anywhere can serve.
    NoEndpoint,
    /// The advertisements go to no BGPPeer of this node.
    NoPeer,
    /// They go to these BGPPeers alone, with which no session is possible.
    PeersRefused(BTreeSet<String>),
    /// They go to BGPPeers that take no routes of the family of any address.
    NoFamily(Vec<Unheard>),
}

/// Two advertisements that ask for different local preferences of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The route.
    pub prefix: IpNet,
    /// The peer that both name.
    pub peer: String,
    /// One of the advertisements, by name.
    pub one: String,
    /// The other one.
    pub other: String,
}

/// How addresses of a family come to be announced that no peer takes routes of.
pub(crate) const FAMILY_CURE: &str =
    "set dualStackAddressFamily of a BGPPeer, or create one whose peerAddress is of that family";

/// The first of many names, in words.
pub(crate) fn listed(names: &BTreeSet<String>) -> String {
    const NAMED: usize = 3;
    let first: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        rest => format!("{} and {rest} more", first.join(", ")),
    }
}

impl From<Reason> for BgpReason {
    fn from(reason: Reason) -> Self {
        Self::Service(reason)
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BGPAdvertisements {:?} and {:?} ask for different localPref of {} to BGPPeer {:?}: give both the same, or \
             different peers",
            self.one, self.other, self.prefix, self.peer
        )
    }
}

impl fmt::Display for BgpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(reason) => reason.fmt(f),
            Self::NoAdvertisement(pool) => write!(f, "no BGPAdvertisement announces IPAddressPool {pool:?}"),
            Self::NodeNotSelected(pool) => {
                write!(f, "no BGPAdvertisement of IPAddressPool {pool:?} selects this node")
            }
            Self::NotSelected(pool) => write!(
                f,
                "no BGPAdvertisement of IPAddressPool {pool:?} that selects this node selects the Service"
            ),
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::NetworkUnavailable => f.write_str("this node has the condition NetworkUnavailable"),
            Self::Excluded => write!(f, "this node has the label {}", api::names::EXCLUDE_LABEL),
            Self::Drained => f.write_str("this node is drained, and others announce it"),
            Self::NoLocalEndpoint => f.write_str(
                "no endpoint of it on this node is ready to serve, and externalTrafficPolicy is Local",
            ),
            Self::NoEndpoint => f.write_str("no endpoint of it is ready to serve"),
            Self::NoPeer => {
                f.write_str("this node has no session with a BGPPeer that it could be announced to")
            }
            Self::PeersRefused(peers) => write!(
                f,
                "no session is possible with the only BGPPeers that it could be announced to, {}: their conditions say why",
                listed(peers)
            ),
            Self::NoFamily(unheard) => {
                let peers = unheard.iter().flat_map(|unheard| unheard.peers.iter().cloned()).collect();
                let addresses: Vec<String> = unheard.iter().map(|u| u.address.to_string()).collect();
                write!(
                    f,
                    "BGPPeers {} take no routes of the family of {}: {FAMILY_CURE}",
                    listed(&peers),
                    addresses.join(", ")
                )
            }
        }
    }
}
