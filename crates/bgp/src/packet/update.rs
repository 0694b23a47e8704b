//! UPDATE: routes that are announced or withdrawn (RFC 4271 §4.3).
//!
//! ```text
//! +-------------------------------+-------------------------------+
//! |  length of withdrawn routes   |  withdrawn IPv4 prefixes …
//! +-------------------------------+-------------------------------+
//! |  length of attributes         |  attributes …
//! +-------------------------------+-------------------------------+
//! |  announced IPv4 prefixes, up to the end of the message …
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv4Addr;

use ipnet::IpNet;
use net::Family;
use thiserror::Error;

use super::attribute::Name;
use super::attributes::{Attributes, MpUnreach, put_prefixes};
use super::code::ErrorCode;
use super::family::{AfiSafi, Families};
use super::notification::Notification;
use super::reader::Reader;
use super::{MessageType, fill_length, finish, header, nlri, receive};

/// What has been negotiated that decides how an UPDATE is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// AS numbers have four bytes (RFC 6793).
    pub four_octet_as: bool,
    /// The peer is of our AS.
    pub internal: bool,
    /// Which families may come in multiprotocol attributes (RFC 4760).
    pub families: Families,
    /// IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
}

/// An UPDATE message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Update {
    /// IPv4 prefixes that are withdrawn outside of multiprotocol attributes.
    pub withdrawn: Vec<IpNet>,
    /// The attributes of what is announced.
    pub attributes: Attributes,
    /// IPv4 prefixes that are announced outside of multiprotocol attributes.
    pub announced: Vec<IpNet>,
}

/// What is to be done about an error in an UPDATE, the mildest first (RFC 7606 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute is ignored.
    AttributeDiscard,
    /// The routes of the message are taken as withdrawn.
    TreatAsWithdraw,
    /// All routes of this family are ignored from now on.
    DisableFamily(AfiSafi),
    /// The session ends with a NOTIFICATION.
    SessionReset,
}

/// What is wrong with an UPDATE (RFC 4271 §6.3, as revised by RFC 7606).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// The lengths of the three parts exceed the message.
    #[error("the lengths in an UPDATE exceed the message")]
    Lengths,
    /// IPv4 prefixes cannot be read.
    #[error("prefixes in an UPDATE cannot be read")]
    Network,
    /// More than one of this multiprotocol attribute, so that nobody knows which counts.
    #[error("{} occurs twice in an UPDATE", Name(*.0))]
    DuplicateMultiprotocol(u8),
    /// A multiprotocol attribute that is too short to say what family it is about.
    #[error("{} in an UPDATE is too short", Name(*.code))]
    Multiprotocol {
        /// Its number.
        code: u8,
        /// The whole attribute.
        attribute: Vec<u8>,
    },
    /// An attribute that everyone has to know, but we do not.
    #[error("an UPDATE has the well-known {}, which is not known", Name(*.code))]
    UnknownWellKnown {
        /// Its number.
        code: u8,
        /// The whole attribute.
        attribute: Vec<u8>,
    },
    /// A next hop of no length that this family has.
    #[error("the next hop of {0} routes has a wrong length")]
    MultiprotocolNextHop(AfiSafi),
    /// Prefixes in a multiprotocol attribute cannot be read.
    #[error("{0} prefixes in an UPDATE cannot be read")]
    MultiprotocolNetwork(AfiSafi),
    /// An attribute is longer than what is left of the attributes.
    #[error("{} exceeds the attributes of its UPDATE", Name(*.0))]
    Overrun(u8),
    /// It is marked as optional or transitive and must not be, or the other way round.
    #[error("{} has wrong flags", Name(*.0))]
    Flags(u8),
    /// A length that this attribute does not have.
    #[error("{} has a wrong length", Name(*.code))]
    Length {
        /// Its number.
        code: u8,
        /// What is to be done.
        disposition: Disposition,
    },
    /// No such origin.
    #[error("there is no ORIGIN {0}")]
    Origin(u8),
    /// A path that cannot be read, or with AS 0 in it.
    #[error("an AS_PATH cannot be read, or has AS 0 in it")]
    AsPath,
    /// A path or aggregator for old speakers that cannot be read, or comes from a new one (RFC 6793 §6).
    #[error("{} cannot be read, or should not be there", Name(*.0))]
    As4(u8),
    /// An aggregator of AS 0 (RFC 7607).
    #[error("{} is of AS 0, which nobody has", Name(*.0))]
    AsZero(u8),
    /// A next hop that no traffic can be sent to.
    #[error("{0} is no next hop")]
    NextHop(Ipv4Addr),
    /// An attribute that every route has is not there.
    #[error("{} is missing", Name(*.0))]
    Missing(u8),
    /// An attribute occurs again.
    #[error("{} occurs twice", Name(*.0))]
    Duplicate(u8),
    /// An attribute that has a meaning only within an AS comes from another.
    #[error("{} comes from another AS", Name(*.0))]
    FromExternal(u8),
    /// Routes of a family that was not negotiated.
    #[error("{0} routes come, which were not negotiated")]
    NotNegotiated(AfiSafi),
}

impl UpdateError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Lengths
            | Self::Network
            | Self::DuplicateMultiprotocol(_)
            | Self::Multiprotocol { .. }
            | Self::UnknownWellKnown { .. } => Disposition::SessionReset,
            Self::MultiprotocolNextHop(family) | Self::MultiprotocolNetwork(family) => {
                Disposition::DisableFamily(*family)
            }
            Self::Overrun(_)
            | Self::Flags(_)
            | Self::Origin(_)
            | Self::AsPath
            | Self::NextHop(_)
            | Self::Missing(_) => Disposition::TreatAsWithdraw,
            Self::Length { disposition, .. } => *disposition,
            Self::As4(_)
            | Self::AsZero(_)
            | Self::Duplicate(_)
            | Self::FromExternal(_)
            | Self::NotNegotiated(_) => Disposition::AttributeDiscard,
        }
    }

    /// What is told to the sender where the session ends for it.
    pub fn notification(&self) -> Notification {
        let (error, data): (_, &[u8]) = match self {
            Self::Lengths | Self::DuplicateMultiprotocol(_) | Self::Overrun(_) | Self::Duplicate(_) => {
                (ErrorCode::MALFORMED_ATTRIBUTE_LIST, &[])
            }
            Self::Network | Self::MultiprotocolNetwork(_) => (ErrorCode::INVALID_NETWORK, &[]),
            Self::Multiprotocol { attribute, .. } => (ErrorCode::OPTIONAL_ATTRIBUTE, attribute),
            Self::UnknownWellKnown { attribute, .. } => (ErrorCode::UNRECOGNIZED_WELL_KNOWN, attribute),
            Self::MultiprotocolNextHop(_)
            | Self::As4(_)
            | Self::AsZero(_)
            | Self::FromExternal(_)
            | Self::NotNegotiated(_) => (ErrorCode::OPTIONAL_ATTRIBUTE, &[]),
            Self::Flags(_) => (ErrorCode::ATTRIBUTE_FLAGS, &[]),
            Self::Length { .. } => (ErrorCode::ATTRIBUTE_LENGTH, &[]),
            Self::Origin(_) => (ErrorCode::INVALID_ORIGIN, &[]),
            Self::AsPath => (ErrorCode::MALFORMED_AS_PATH, &[]),
            Self::NextHop(_) => (ErrorCode::INVALID_NEXT_HOP, &[]),
            Self::Missing(code) => (ErrorCode::MISSING_WELL_KNOWN, std::slice::from_ref(code)),
        };
        Notification::with_data(error, data)
    }
}

/// An UPDATE that was read, with what was wrong but could be helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message as it counts: where routes are to be taken as withdrawn, they stand among the withdrawn ones.
    pub update: Update,
    /// What was wrong; none has the disposition [`Disposition::SessionReset`].
    pub faults: Vec<UpdateError>,
}

impl Update {
    /// Reads the body of a message: all that follows the header. An error is one for which the session ends.
    pub fn parse(body: &[u8], context: Context) -> Result<Received, UpdateError> {
        let mut reader = Reader::new(body);
        let mut part = || {
            let length = reader.u16()?;
            reader.take(usize::from(length))
        };
        let (withdrawn, attributes) = part().zip(part()).ok_or(UpdateError::Lengths)?;
        let withdrawn = nlri::parse(Family::V4, withdrawn).map_err(|_| UpdateError::Network)?;
        let announced = nlri::parse(Family::V4, reader.rest()).map_err(|_| UpdateError::Network)?;
        let mut faults = Vec::new();
        let attributes = receive::attributes(attributes, context, !announced.is_empty(), &mut faults)?;
        let mut update = Self { withdrawn, attributes, announced };
        let worst = faults.iter().map(UpdateError::disposition).max();
        if worst.is_some_and(|disposition| disposition >= Disposition::TreatAsWithdraw) {
            update.withdraw_all();
        }
        Ok(Received { update, faults })
    }

    /// Turns what is announced into what is withdrawn (RFC 7606 §2).
    fn withdraw_all(&mut self) {
        self.withdrawn.append(&mut self.announced);
        let attributes = std::mem::take(&mut self.attributes);
        let mut unreach = attributes.mp_unreach;
        if let Some(reach) = attributes.mp_reach {
            match &mut unreach {
                Some(unreach) if unreach.family == reach.family => unreach.prefixes.extend(reach.prefixes),
                Some(_) if reach.family == Family::V4 => self.withdrawn.extend(reach.prefixes),
                // Two families in one message, which nobody sends: the peer's withdrawals come first, as they
                // are certain; what was announced is not installed anyway.
                Some(_) => {}
                None => unreach = Some(MpUnreach { family: reach.family, prefixes: reach.prefixes }),
            }
        }
        self.attributes.mp_unreach = unreach;
    }

    /// The whole message, header included. The caller sees to it that it fits: see the Adj-RIB-Out.
    pub fn build(&self, four_octet_as: bool) -> Vec<u8> {
        let mut message = header(MessageType::Update);
        for part in [0, 1] {
            let from = message.len() + 2;
            message.extend([0, 0]);
            if part == 0 {
                put_prefixes(&mut message, &self.withdrawn);
            } else {
                self.attributes.put(&mut message, four_octet_as);
            }
            fill_length(&mut message, from - 2, from);
        }
        put_prefixes(&mut message, &self.announced);
        finish(message)
    }

    /// The message that ends the first transfer of a family's routes (RFC 4724 §2).
    pub fn end_of_rib(family: Family) -> Self {
        let unreach = match family {
            Family::V4 => None,
            Family::V6 => Some(MpUnreach { family, prefixes: Vec::new() }),
        };
        Self { attributes: Attributes { mp_unreach: unreach, ..Attributes::default() }, ..Self::default() }
    }

    /// The family of which this message ends the first transfer.
    pub fn ends_rib_of(&self) -> Option<Family> {
        if !self.withdrawn.is_empty() || !self.announced.is_empty() || !self.attributes.is_bare() {
            return None;
        }
        match (&self.attributes.mp_reach, &self.attributes.mp_unreach) {
            (None, None) => Some(Family::V4),
            (None, Some(MpUnreach { family, prefixes })) if prefixes.is_empty() => Some(*family),
            _ => None,
        }
    }
}
