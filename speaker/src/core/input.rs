//! What the core takes in.

use std::net::IpAddr;
use std::time::Duration;

use announce::Slice;
use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};
use kube_ext::Change;
use membership::NodeId;
use net::MacAddr;
use sockets::LinkChange;

use super::bgp::{BgpInput, SecretView};
use super::effect::{ServiceView, SpeakerPod, StatusView};
use super::roster::RosterView;

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
    /// The list of speakers changed.
    Roster(Change<RosterView>),
    /// A pool changed.
    Pool(Change<IPAddressPool>),
    /// An advertisement changed.
    Advertisement(Change<L2Advertisement>),
    /// A BGP advertisement changed.
    BgpAdvertisement(Change<BGPAdvertisement>),
    /// A BGP peer changed.
    Peer(Change<BGPPeer>),
    /// A BFD profile changed.
    BfdProfile(Change<BFDProfile>),
    /// A Community changed.
    Community(Change<Community>),
    /// A Secret in MetalLB's namespace changed.
    Secret(Change<SecretView>),
    /// A status object of this node changed.
    Status(Change<StatusView>),
    /// Something of BGP.
    Bgp(BgpInput),
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
    /// This node holds an address from now on, or does not hold it any more.
    Moved {
        /// The address.
        address: IpAddr,
        /// Whether it is held.
        held: bool,
        /// Why.
        cause: membership::Cause,
        /// Who has it next, where that is known.
        to: Option<NodeId>,
        /// How long the node that had it, and died, had not been heard.
        silence: Option<Duration>,
    },
    /// Something about the speakers of the cluster that a person may want to know.
    Members(membership::Event),
    /// A majority of the speakers on an interface's network hears this one there, or does not any more.
    Heard {
        /// The name of the interface.
        interface: String,
        /// Whether it does.
        leased: bool,
    },
    /// The speaker ends for good: it enters itself into the list of speakers no more.
    Leaving,
    /// The time of [`Core::poll_timeout`] has come.
    Timeout,
}

impl Input {
    /// That the first list of each kind of object has come to its end: with the first list of links, what a core waits for.
    pub fn lists_read() -> [Self; 14] {
        [
            Self::Service(Change::Synced),
            Self::Slice(Change::Synced),
            Self::Node(Change::Synced),
            Self::Speaker(Change::Synced),
            Self::Roster(Change::Synced),
            Self::Pool(Change::Synced),
            Self::Advertisement(Change::Synced),
            Self::BgpAdvertisement(Change::Synced),
            Self::Peer(Change::Synced),
            Self::BfdProfile(Change::Synced),
            Self::Community(Change::Synced),
            Self::Secret(Change::Synced),
            Self::Status(Change::Synced),
            Self::Bgp(BgpInput::Status(Change::Synced)),
        ]
    }

    /// Whether an object of the cluster changed, or the last of a first list came.
    pub fn is_object(&self) -> bool {
        !matches!(
            self,
            Self::Link(_)
                | Self::Conflict { .. }
                | Self::Moved { .. }
                | Self::Members(_)
                | Self::Heard { .. }
                | Self::Leaving
                | Self::Bgp(BgpInput::Report { .. })
                | Self::Timeout
        )
    }
}
