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
    /// The addresses, in the order of the Service's status.
    pub addresses: Vec<IpAddr>,
    /// The routes that the Service asks for: one for each address and advertisement.
    pub asks: Vec<Ask>,
    /// The BGPPeers, by name, to which at least one route goes.
    pub peers: BTreeSet<String>,
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
    /// The advertisements go to no BGPPeer that this node has a session with.
    NoPeer,
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
        }
    }
}
