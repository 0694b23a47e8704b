//! The error codes and subcodes of NOTIFICATION messages, with their names.

use std::fmt;

/// Why a session ends, as a NOTIFICATION says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode {
    /// The code: what kind of error.
    pub code: u8,
    /// The subcode: which error of that kind; 0 is none in particular.
    pub subcode: u8,
}

/// The code of errors in the header of a message.
pub(crate) const HEADER: u8 = 1;
/// The code of errors in an OPEN.
pub(crate) const OPEN: u8 = 2;
/// The code of errors in an UPDATE.
pub(crate) const UPDATE: u8 = 3;
/// The code of an orderly end.
pub(crate) const CEASE: u8 = 6;

/// Code, subcode and name (RFC 4271 §4.5 where no other RFC is named).
const NAMES: [(ErrorCode, &str); 39] = [
    (ErrorCode::new(HEADER, 0), "message header error"),
    (ErrorCode::NOT_SYNCHRONIZED, "message header error, connection not synchronized"),
    (ErrorCode::BAD_LENGTH, "message header error, bad message length"),
    (ErrorCode::BAD_TYPE, "message header error, bad message type"),
    (ErrorCode::OPEN_UNSPECIFIC, "OPEN error"),
    (ErrorCode::UNSUPPORTED_VERSION, "OPEN error, unsupported version number"),
    (ErrorCode::BAD_PEER_AS, "OPEN error, bad peer AS"),
    (ErrorCode::BAD_BGP_IDENTIFIER, "OPEN error, bad BGP identifier"),
    (ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER, "OPEN error, unsupported optional parameter"),
    (ErrorCode::new(OPEN, 5), "OPEN error, authentication failure"),
    (ErrorCode::UNACCEPTABLE_HOLD_TIME, "OPEN error, unacceptable hold time"),
    (ErrorCode::UNSUPPORTED_CAPABILITY, "OPEN error, unsupported capability"),
    (ErrorCode::new(OPEN, 11), "OPEN error, role mismatch"),
    (ErrorCode::new(UPDATE, 0), "UPDATE error"),
    (ErrorCode::MALFORMED_ATTRIBUTE_LIST, "UPDATE error, malformed attribute list"),
    (ErrorCode::UNRECOGNIZED_WELL_KNOWN, "UPDATE error, unrecognized well-known attribute"),
    (ErrorCode::MISSING_WELL_KNOWN, "UPDATE error, missing well-known attribute"),
    (ErrorCode::ATTRIBUTE_FLAGS, "UPDATE error, attribute flags error"),
    (ErrorCode::ATTRIBUTE_LENGTH, "UPDATE error, attribute length error"),
    (ErrorCode::INVALID_ORIGIN, "UPDATE error, invalid ORIGIN attribute"),
    (ErrorCode::new(UPDATE, 7), "UPDATE error, AS routing loop"),
    (ErrorCode::INVALID_NEXT_HOP, "UPDATE error, invalid NEXT_HOP attribute"),
    (ErrorCode::OPTIONAL_ATTRIBUTE, "UPDATE error, optional attribute error"),
    (ErrorCode::INVALID_NETWORK, "UPDATE error, invalid network field"),
    (ErrorCode::MALFORMED_AS_PATH, "UPDATE error, malformed AS_PATH"),
    (ErrorCode::HOLD_TIMER_EXPIRED, "hold timer expired"),
    (ErrorCode::FSM_OPEN_SENT, "unexpected message in state OpenSent"),
    (ErrorCode::FSM_OPEN_CONFIRM, "unexpected message in state OpenConfirm"),
    (ErrorCode::FSM_ESTABLISHED, "unexpected message in state Established"),
    (ErrorCode::CEASE, "Cease"),
    (ErrorCode::MAXIMUM_PREFIXES, "Cease, maximum number of prefixes reached"),
    (ErrorCode::ADMINISTRATIVE_SHUTDOWN, "Cease, administrative shutdown"),
    (ErrorCode::PEER_DECONFIGURED, "Cease, peer de-configured"),
    (ErrorCode::ADMINISTRATIVE_RESET, "Cease, administrative reset"),
    (ErrorCode::CONNECTION_REJECTED, "Cease, connection rejected"),
    (ErrorCode::CONFIGURATION_CHANGE, "Cease, other configuration change"),
    (ErrorCode::COLLISION_RESOLUTION, "Cease, connection collision resolution"),
    (ErrorCode::OUT_OF_RESOURCES, "Cease, out of resources"),
    (ErrorCode::BFD_DOWN, "Cease, BFD down"),
];

/// Names of codes with whatever subcode.
const KINDS: [(u8, &str); 8] = [
    (HEADER, "message header error"),
    (OPEN, "OPEN error"),
    (UPDATE, "UPDATE error"),
    (4, "hold timer expired"),
    (5, "finite state machine error"),
    (CEASE, "Cease"),
    (7, "ROUTE-REFRESH error"),
    (8, "send hold timer expired"),
];

impl ErrorCode {
    /// The marker is not all ones.
    pub const NOT_SYNCHRONIZED: Self = Self::new(HEADER, 1);
    /// No message of this type has this length.
    pub const BAD_LENGTH: Self = Self::new(HEADER, 2);
    /// No such message.
    pub const BAD_TYPE: Self = Self::new(HEADER, 3);
    /// An OPEN that cannot be read.
    pub const OPEN_UNSPECIFIC: Self = Self::new(OPEN, 0);
    /// Not BGP-4.
    pub const UNSUPPORTED_VERSION: Self = Self::new(OPEN, 1);
    /// Not the AS that was expected.
    pub const BAD_PEER_AS: Self = Self::new(OPEN, 2);
    /// An identifier that is 0 or, within an AS, our own (RFC 6286).
    pub const BAD_BGP_IDENTIFIER: Self = Self::new(OPEN, 3);
    /// An optional parameter other than capabilities.
    pub const UNSUPPORTED_OPTIONAL_PARAMETER: Self = Self::new(OPEN, 4);
    /// A hold time of 1 or 2 s, or one that is not accepted.
    pub const UNACCEPTABLE_HOLD_TIME: Self = Self::new(OPEN, 6);
    /// A capability is missing, or not wanted (RFC 5492).
    pub const UNSUPPORTED_CAPABILITY: Self = Self::new(OPEN, 7);
    /// The attributes of an UPDATE cannot be told apart.
    pub const MALFORMED_ATTRIBUTE_LIST: Self = Self::new(UPDATE, 1);
    /// A well-known attribute that is not known.
    pub const UNRECOGNIZED_WELL_KNOWN: Self = Self::new(UPDATE, 2);
    /// An attribute that every route has is missing.
    pub const MISSING_WELL_KNOWN: Self = Self::new(UPDATE, 3);
    /// Flags that this attribute does not have.
    pub const ATTRIBUTE_FLAGS: Self = Self::new(UPDATE, 4);
    /// A length that this attribute does not have.
    pub const ATTRIBUTE_LENGTH: Self = Self::new(UPDATE, 5);
    /// No such origin.
    pub const INVALID_ORIGIN: Self = Self::new(UPDATE, 6);
    /// A next hop that is no unicast address.
    pub const INVALID_NEXT_HOP: Self = Self::new(UPDATE, 8);
    /// An optional attribute with a bad value.
    pub const OPTIONAL_ATTRIBUTE: Self = Self::new(UPDATE, 9);
    /// Prefixes that cannot be read.
    pub const INVALID_NETWORK: Self = Self::new(UPDATE, 10);
    /// An AS path that cannot be read.
    pub const MALFORMED_AS_PATH: Self = Self::new(UPDATE, 11);
    /// Nothing was heard for the hold time.
    pub const HOLD_TIMER_EXPIRED: Self = Self::new(4, 0);
    /// A message that does not belong into OpenSent (RFC 6608, like the next two).
    pub const FSM_OPEN_SENT: Self = Self::new(5, 1);
    /// A message that does not belong into OpenConfirm.
    pub const FSM_OPEN_CONFIRM: Self = Self::new(5, 2);
    /// A message that does not belong into Established.
    pub const FSM_ESTABLISHED: Self = Self::new(5, 3);
    /// The session ends, for no reason that is told (RFC 4486, like the next eight).
    pub const CEASE: Self = Self::new(CEASE, 0);
    /// Too many routes.
    pub const MAXIMUM_PREFIXES: Self = Self::new(CEASE, 1);
    /// The session is switched off.
    pub const ADMINISTRATIVE_SHUTDOWN: Self = Self::new(CEASE, 2);
    /// The peer is not configured any more.
    pub const PEER_DECONFIGURED: Self = Self::new(CEASE, 3);
    /// The session is started anew.
    pub const ADMINISTRATIVE_RESET: Self = Self::new(CEASE, 4);
    /// A connection is not wanted.
    pub const CONNECTION_REJECTED: Self = Self::new(CEASE, 5);
    /// The configuration of the session changed.
    pub const CONFIGURATION_CHANGE: Self = Self::new(CEASE, 6);
    /// Another connection is the session.
    pub const COLLISION_RESOLUTION: Self = Self::new(CEASE, 7);
    /// Memory or the like is exhausted.
    pub const OUT_OF_RESOURCES: Self = Self::new(CEASE, 8);
    /// A reset after which no routes are to be kept; its data is the NOTIFICATION proper (RFC 8538).
    pub const HARD_RESET: Self = Self::new(CEASE, 9);
    /// The path to the peer is broken (RFC 9384).
    pub const BFD_DOWN: Self = Self::new(CEASE, 10);
    /// A ROUTE-REFRESH of a wrong length (RFC 7313).
    pub const INVALID_REFRESH_LENGTH: Self = Self::new(7, 1);
    /// The peer took nothing for too long (RFC 9687).
    pub const SEND_HOLD_TIMER_EXPIRED: Self = Self::new(8, 0);

    /// The error with these numbers, known or not.
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode }
    }

    /// Whether it is about an OPEN.
    pub fn is_of_open(self) -> bool {
        self.code == OPEN
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((_, name)) = NAMES.iter().find(|(code, _)| code == self) {
            return f.write_str(name);
        }
        match (KINDS.iter().find(|(code, _)| *code == self.code), self.subcode) {
            (Some((_, kind)), 0) => f.write_str(kind),
            (Some((_, kind)), subcode) => write!(f, "{kind}, subcode {subcode}"),
            (None, subcode) => write!(f, "error code {} subcode {subcode}", self.code),
        }
    }
}
