//! Why no node of the whole cluster announces a Service, where that is for its user to mend.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::bgp::{FAMILY_CURE, listed};
use crate::decision::Shortage;

/// Why nobody announces a Service that could be announced: the same on every node.
///
/// Not among these: a Service without endpoints that can serve, which is ordinary, and an address that is in no pool,
/// which the controller explains. The text says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Neither an L2Advertisement nor a BGPAdvertisement announces the pool named here.
    NoAdvertisement(String),
    /// The serviceSelectors of all L2Advertisements of the pool named here leave the Service out.
    NotSelected(String),
    /// No L2Advertisement announces it, and the serviceSelectors of all BGPAdvertisements of the pool named here leave it
    /// out.
    NotSelectedByBgp(String),
    /// Only BGPAdvertisements announce it, of the pool named here, and there is no BGPPeer that they go to.
    NoPeer(String),
    /// Only BGPAdvertisements announce it, to these BGPPeers alone, with which no session is possible.
    PeersRefused(BTreeSet<String>),
    /// Only BGPAdvertisements announce it, to BGPPeers that take no routes of the family of any address.
    NoFamily {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// The peers with which sessions are possible, by name.
        peers: BTreeSet<String>,
    },
    /// The Service may share its address, and the L2Advertisement named here picks Services by label.
    SharedWithServiceSelector(String),
    /// No ready speaker's node may announce it.
    NoCandidate(Shortage),
}

impl Obstacle {
    /// Whether the cause is the same, the counts of nodes aside.
    pub fn is_like(&self, other: &Self) -> bool {
        matches!((self, other), (Self::NoCandidate(_), Self::NoCandidate(_))) || self == other
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAdvertisement(pool) => write!(
                f,
                "no L2Advertisement or BGPAdvertisement announces IPAddressPool {pool:?}: create one whose spec.ipAddressPools names it or \
                 whose spec.ipAddressPoolSelectors match its labels"
            ),
            Self::NotSelected(pool) => write!(
                f,
                "the spec.serviceSelectors of every L2Advertisement of IPAddressPool {pool:?} leave it out: give the \
                 Service a label that one of them selects, or change the selectors"
            ),
            Self::NotSelectedByBgp(pool) => write!(
                f,
                "the spec.serviceSelectors of every BGPAdvertisement of IPAddressPool {pool:?} leave it out: give the \
                 Service a label that one of them selects, or change the selectors"
            ),
            Self::NoPeer(pool) => write!(
                f,
                "the BGPAdvertisements of IPAddressPool {pool:?} go to no router: create a BGPPeer, or correct spec.peers"
            ),
            Self::PeersRefused(peers) => write!(
                f,
                "no session is possible with the only BGPPeers that its BGPAdvertisements go to, {}: the conditions \
                 bgp.metallb.io/… of a speaker's ConfigurationState say why",
                listed(peers)
            ),
            Self::NoFamily { addresses, peers } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let (peers, addresses) = (listed(peers), addresses.join(", "));
                write!(f, "BGPPeers {peers} take no routes of the family of {addresses}: {FAMILY_CURE}")
            }
            Self::SharedWithServiceSelector(advertisement) => write!(
                f,
                "it may share its address (annotation {}), which cannot be combined with the spec.serviceSelectors of \
                 L2Advertisement {advertisement:?}: remove the annotation or the selectors",
                api::names::ALLOW_SHARED_IP.key
            ),
            Self::NoCandidate(shortage) => {
                write!(f, "{shortage}")?;
                let cures = [
                    (shortage.network_unavailable, "mend the network of a node"),
                    (shortage.excluded, "remove that label from a node"),
                    (shortage.not_selected, "let the spec.nodeSelectors of an L2Advertisement select a node"),
                    (
                        shortage.no_endpoint,
                        "let an endpoint run on such a node or set externalTrafficPolicy to Cluster",
                    ),
                ];
                let cures: Vec<&str> =
                    cures.iter().filter(|(count, _)| *count > 0).map(|(_, cure)| *cure).collect();
                if cures.is_empty() { Ok(()) } else { write!(f, ": {}", cures.join(", or ")) }
            }
        }
    }
}
