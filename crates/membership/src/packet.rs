//! What speakers say to each other, and its bytes.
//!
//! ```text
//! header, in the clear and authenticated        body, sealed (see `seal`)
//!  0  magic "ML"            2                   to            8     who it is for: nobody else takes it
//!  2  version               1                   link          4     the interface that it was sent on
//!  3  reserved, zero        1                   echo          1 or 17
//!  4  sender                8                   flags         1
//! 12  incarnation           8                   chain         1 + n * (11 + voters * 8)
//! 20  sequence              8                   kind          1, then as the kind says
//! 28  body and tag
//! ```
//!
//! All numbers are big-endian. A parser of version N skips what follows the fields that it knows, and takes packets
//! of version N-1; so a version adds fields at the end of a body, and a rollout may mix two neighbours.
//!
//! | version | adds |
//! | --- | --- |
//! | 1 | all of the above |
//! | 2 | at the end of a heartbeat the sender's hardware addresses, by which the others know its frames |

use std::net::IpAddr;

use net::MacAddr;

use crate::electorate::{Electorate, MAX_EPOCHS, MAX_VOTERS};
use crate::id::{Incarnation, Life, NodeId};

mod codec;
pub use codec::{Malformed, parse_body, parse_header, write_body, write_header};

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 2;
/// The oldest version that it understands.
pub const OLDEST_VERSION: u8 = 1;
/// The length of the header in bytes.
pub const HEADER: usize = 28;
/// The most bytes of a sealed packet, so that no path of 1,500 bytes fragments it.
pub const MAX_PACKET: usize = 1_400;
/// The most addresses that a packet names in one list.
pub const MAX_LIST: usize = 32;
/// The most interfaces with a lease of their own.
pub const MAX_LINKS: usize = 8;
/// The most hardware addresses of a node that a packet names: what the largest one has room for.
pub const MAX_MACS: usize = 5;
/// The most watchers of a node.
pub const MAX_WATCHERS: usize = 6;

/// An interface's LAN: the driver gives equal numbers on all nodes to what is the same LAN. 0 is the node network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// What precedes the sealed part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of the protocol that the sender speaks.
    pub version: u8,
    /// Who sent it.
    pub from: Life,
    /// The number of the packet among those from this life to this receiver, from 1.
    pub sequence: u64,
}

/// A packet, opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Who sent it.
    pub from: Life,
    /// The number of the packet among those from this life to this receiver, from 1.
    pub sequence: u64,
    /// Who it is for.
    pub to: NodeId,
    /// The LAN that it was sent on.
    pub link: LinkId,
    /// The latest packet that the sender had from the receiver: the proof that this is no recording.
    pub echo: Option<(Incarnation, u64)>,
    /// How the sender is.
    pub flags: Flags,
    /// The electorates that the sender goes by; one that it would found, where `flags.founding`.
    pub chain: Vec<Electorate>,
    /// What it says.
    pub body: Body,
}

/// How a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// It hands its addresses over and takes none.
    pub draining: bool,
    /// It knows of no electorate in force and would found the one in `chain`.
    pub founding: bool,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// I live; acknowledge it. And this is what I want to hold.
    Beat(Beat),
    /// I heard you; and this is what I grant.
    Ack(Ack),
    /// I do not hear that node and acknowledge nothing of it in this epoch of its watch.
    Vote(Vote),
    /// I hold these addresses.
    Holding(Vec<IpAddr>),
}

/// A heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Beat {
    /// The time between heartbeats to those who watch, in milliseconds.
    pub interval: u16,
    /// The time between those to this receiver, in milliseconds: its acknowledgement is a lease of 2.5 of it.
    pub span: u32,
    /// The epoch of the sender's watch; 0 in a small cluster, where the voters watch.
    pub watch: u32,
    /// Who watches the sender in that epoch; empty in a small cluster.
    pub watchers: Vec<Life>,
    /// The sender's interfaces other than the node network, and whether each has its lease.
    pub links: Vec<(LinkId, bool)>,
    /// Changes of what the sender wants to hold; `None` where the receiver does not vote.
    pub sync: Option<Sync>,
    /// The hardware addresses of the sender's interfaces; none from a sender of version 1.
    pub macs: Vec<MacAddr>,
}

/// A part of the list of the addresses that a node wants to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sync {
    /// The receiver's memory that this goes on from, as it named it; 0 for a fresh one.
    pub generation: u64,
    /// The version of the list that the receiver has.
    pub base: u64,
    /// The version that it has after these changes.
    pub upto: u64,
    /// The changes in between, in order.
    pub changes: Vec<Change>,
    /// Addresses wanted since earlier that the receiver refused: has that changed?
    pub again: Vec<IpAddr>,
}

/// One change of what a node wants to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The address.
    pub address: IpAddr,
    /// Whether it is wanted from now on, or released.
    pub wanted: bool,
}

/// An acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ack {
    /// The sequence of the heartbeat; `None` where something is told unasked, or the sender must not vote.
    pub of: Option<u64>,
    /// The memory that the rest is about; 0 where the sender does not vote.
    pub generation: u64,
    /// The version of the receiver's list that the sender has.
    pub version: u64,
    /// The latest epoch of the receiver's watch in which the sender voted it down.
    pub voted: u32,
    /// What the receiver wants and does not get, with who has it.
    pub refused: Vec<(IpAddr, NodeId)>,
    /// What had been refused and is granted now.
    pub granted: Vec<IpAddr>,
}

/// A vote that a node is down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// Who is down.
    pub down: Life,
    /// In which epoch of its watch.
    pub watch: u32,
    /// Who watches it in that epoch: a majority of these and itself decides.
    pub watchers: Vec<Life>,
}
