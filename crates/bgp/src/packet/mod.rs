//! The messages of BGP-4 on the wire (RFC 4271 §4).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |                                                               |
//! +                                                               +
//! |                      marker (16 x 0xff)                       |
//! +                                                               +
//! |                                                               |
//! +                                                               +
//! |                                                               |
//! +-------------------------------+---------------+---------------+
//! |     length, header included   |     type      |   body …
//! +-------------------------------+---------------+
//! ```
//!
//! Parsers are total: whatever bytes come, they return a value or an error, and every error knows the NOTIFICATION
//! that it leads to. Builders make whole messages, header included.

mod attribute;
mod attributes;
mod capability;
mod code;
mod family;
mod nlri;
mod notification;
mod open;
mod path;
mod reader;
mod receive;
mod refresh;
mod stream;
mod update;

pub use attribute::{Aggregator, Community, LargeCommunity, Origin, UnknownAttribute};
pub use attributes::{Attributes, MpReach, MpUnreach, NextHop};
pub use capability::{Capability, ExtendedNextHop, GracefulRestart, RestartFamily};
pub use code::ErrorCode;
pub use family::{AfiSafi, Families, PerFamily};
pub use notification::{MAX_COMMUNICATION, Notification};
pub use open::{Open, OpenError};
pub use path::{AsPath, Segment, SegmentKind};
pub use refresh::{RefreshError, RouteRefresh, Subtype};
pub use stream::{Frame, HeaderError, Stream};
pub use update::{Context, Disposition, Received, Update, UpdateError};

/// The length of a header, in bytes.
pub const HEADER_LEN: usize = 19;

/// Where in a header the length of the message is.
const LENGTH: std::ops::Range<usize> = 16..18;

/// The longest message without RFC 8654, in bytes; also the longest that we send.
pub const MAX_MESSAGE: usize = 4_096;

/// The longest message of a peer that both negotiated RFC 8654 with, in bytes.
pub const MAX_EXTENDED_MESSAGE: usize = 65_535;

/// The AS number that stands for one of four bytes where only two fit (RFC 6793).
pub const AS_TRANS: u16 = 23_456;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageType {
    /// The first message of a connection.
    Open,
    /// Routes that are announced or withdrawn.
    Update,
    /// The last message of a connection.
    Notification,
    /// A sign of life.
    Keepalive,
    /// A request for all routes of a family (RFC 2918).
    RouteRefresh,
}

impl MessageType {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// What has this number.
    pub fn of(number: u8) -> Option<Self> {
        [Self::Open, Self::Update, Self::Notification, Self::Keepalive, Self::RouteRefresh]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// The shortest such message, header included, in bytes (RFC 4271 §6.1).
    fn shortest(self) -> usize {
        match self {
            Self::Open => HEADER_LEN + 10,
            Self::Update => HEADER_LEN + 4,
            Self::Notification => HEADER_LEN + 2,
            Self::Keepalive | Self::RouteRefresh => HEADER_LEN,
        }
    }

    /// The longest such message where `limit` is the longest of any.
    fn longest(self, limit: usize) -> usize {
        match self {
            // Not extended (RFC 8654 §4).
            Self::Open => MAX_MESSAGE.min(limit),
            Self::Keepalive => HEADER_LEN,
            Self::Update | Self::Notification | Self::RouteRefresh => limit,
        }
    }
}

/// A whole KEEPALIVE message (RFC 4271 §4.4).
pub fn keepalive() -> Vec<u8> {
    finish(header(MessageType::Keepalive))
}

/// The header of a message, its length still to be filled in by [`finish`].
pub(crate) fn header(kind: MessageType) -> Vec<u8> {
    let mut message = Vec::with_capacity(64);
    message.extend([0xff; 16]);
    message.extend([0, 0, kind.number()]);
    message
}

/// Fills in the length of a message.
pub(crate) fn finish(mut message: Vec<u8>) -> Vec<u8> {
    fill_length(&mut message, LENGTH.start, 0);
    message
}

/// Writes at `at` how many bytes follow `from`, as 16 bits. Our own messages never exceed them.
pub(crate) fn fill_length(message: &mut [u8], at: usize, from: usize) {
    let length = u16::try_from(message.len() - from).expect("we build no message over 65,535 bytes");
    let place = message.get_mut(at..at + 2).expect("room was left for the length");
    place.copy_from_slice(&length.to_be_bytes());
}
