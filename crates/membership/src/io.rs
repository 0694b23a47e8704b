//! What goes into the machine and what comes out of it.

use std::net::IpAddr;

use net::MacAddr;

use crate::electorate::Electorate;
use crate::id::{Incarnation, NodeId};
use crate::packet::{LinkId, Packet};
use crate::profile::{OnQuorumLoss, Profile};

/// What a node knows when it starts.
#[derive(Clone, Debug, Default, Hash)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// This life of it: drawn at random.
    pub incarnation: Incarnation,
    /// Where its random numbers come from, which only spread repeated attempts.
    pub seed: u64,
    /// How fast failures are found.
    pub profile: Profile,
    /// What it may do without a majority.
    pub on_quorum_loss: OnQuorumLoss,
    /// What [`Output::Remember`] said last, where that could be kept.
    pub remembered: Vec<Electorate>,
    /// A fault that the tests have to find.
    #[cfg(feature = "faults")]
    pub fault: Option<crate::Fault>,
}

impl Settings {
    /// Those of a node in this life, with the usual profile and nothing remembered.
    pub fn new(node: NodeId, incarnation: Incarnation, seed: u64) -> Self {
        Self { node, incarnation, seed, ..Self::default() }
    }
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A packet came in, on that interface, and was opened.
    Packet {
        /// Where.
        link: LinkId,
        /// What.
        packet: Packet,
    },
    /// The API has these speakers, this node included: those whose Pod has become ready and is not deleted.
    Speakers {
        /// The API's revision of this view: equal revisions mean equal speakers, and a later one a later view.
        revision: u64,
        /// The speakers.
        nodes: Vec<NodeId>,
    },
    /// These nodes may hold the address, the first of them preferably, by the view of this node.
    Address {
        /// The address.
        address: IpAddr,
        /// In order of preference; nobody where the address is not announced any more.
        order: Vec<NodeId>,
        /// The interfaces, other than that of the node network, that it is announced on here.
        links: Vec<LinkId>,
    },
    /// These interfaces of this node are up, other than that of the node network. The first [`MAX_LINKS`] count. One
    /// that was among them and is not any more has failed.
    ///
    /// [`MAX_LINKS`]: crate::packet::MAX_LINKS
    Links(Vec<LinkId>),
    /// The hardware addresses of this node's interfaces. The first [`MAX_MACS`] different ones are told to the others.
    ///
    /// [`MAX_MACS`]: crate::packet::MAX_MACS
    Macs(Vec<MacAddr>),
    /// This node hands everything over, because it is drained or its speaker stops; or not any more.
    Drain(bool),
    /// Two probes (RFC 5227 §2.1.1, or RFC 4862 §5.4) asked the LAN for the address.
    Probed {
        /// The address.
        address: IpAddr,
        /// Whether somebody answered.
        answered: bool,
    },
    /// A frame of another speaker on the LAN claims the address.
    Claimed {
        /// The address.
        address: IpAddr,
        /// Whose frame.
        by: NodeId,
    },
    /// The time of [`poll_timeout`] has come.
    ///
    /// [`poll_timeout`]: crate::Machine::poll_timeout
    Timeout,
}

/// What is to be done. In order: what follows an output may rely on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are packets, in a vector that is used again"
)]
pub enum Output {
    /// Send the packet on the interface.
    Send {
        /// Where. On another interface than the node network's the receiver's address is that of its latest packet
        /// there, or broadcast, where there was none.
        link: LinkId,
        /// What, to whom.
        packet: Packet,
    },
    /// The node may answer for the address from now on; announce it.
    Take {
        /// The address.
        address: IpAddr,
        /// Why.
        cause: Cause,
    },
    /// The node has stopped answering for the address.
    Release {
        /// The address.
        address: IpAddr,
        /// Why.
        cause: Cause,
        /// Who has it next, where that is known.
        to: Option<NodeId>,
    },
    /// Ask the LAN for the address twice, and say [`Input::Probed`].
    Probe {
        /// The address.
        address: IpAddr,
    },
    /// Frames from these hardware addresses are that speaker's, and from no other ones.
    Macs {
        /// The speaker.
        node: NodeId,
        /// Its hardware addresses.
        macs: Vec<MacAddr>,
    },
    /// Write these electorates to where the next life of this node finds them, before anything after this is sent.
    Remember(Vec<Electorate>),
    /// Something that a person may want to know.
    Event(Event),
}

/// Why an address moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nobody held it, as far as this node knew.
    Unheld,
    /// Its holder died or was cut off.
    HolderDown(NodeId),
    /// Its holder yielded to this node, which goes before it.
    Yielded(NodeId),
    /// Its holder yielded because it hands everything over.
    Drained(NodeId),
    /// Its holder may not have it any more, or is not heard on an interface that it is announced on.
    Unfit(NodeId),
    /// A better one asked for it.
    Asked(NodeId),
    /// This node is drained, stops, or may not hold the address any more.
    Ineligible,
    /// This node's lease ran out and another one took over.
    Overtaken(NodeId),
    /// There is no majority, and the configuration says to go on.
    NoQuorum,
}

/// Something that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A speaker is heard.
    Up(NodeId),
    /// A speaker is not heard any more.
    Down(NodeId),
    /// A speaker that the API has was not heard for 10 s: a firewall between the nodes?
    Unheard(NodeId),
    /// This node has a majority for its lease, or not any more: then it is silent.
    Quorum(bool),
    /// This node's timers are late, or not any more: it uses that profile now.
    Profile(Profile),
    /// An interface has its lease, or lost it although its link may be up.
    Link(LinkId, bool),
    /// All addresses are handed over, and the successors have announced them twice: the speaker may stop.
    Drained,
}
