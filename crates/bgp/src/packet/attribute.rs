//! The attributes of routes: their numbers, their flags, and those with small values.

use std::fmt;

pub(crate) const ORIGIN: u8 = 1;
pub(crate) const AS_PATH: u8 = 2;
pub(crate) const NEXT_HOP: u8 = 3;
pub(crate) const MULTI_EXIT_DISC: u8 = 4;
pub(crate) const LOCAL_PREF: u8 = 5;
pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
pub(crate) const AGGREGATOR: u8 = 7;
pub(crate) const COMMUNITIES: u8 = 8;
pub(crate) const ORIGINATOR_ID: u8 = 9;
pub(crate) const CLUSTER_LIST: u8 = 10;
pub(crate) const MP_REACH_NLRI: u8 = 14;
pub(crate) const MP_UNREACH_NLRI: u8 = 15;
pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
pub(crate) const AS4_PATH: u8 = 17;
pub(crate) const AS4_AGGREGATOR: u8 = 18;
pub(crate) const LARGE_COMMUNITIES: u8 = 32;

/// Not everyone needs to know it.
pub(crate) const FLAG_OPTIONAL: u8 = 0x80;
/// Who does not know it passes it on.
pub(crate) const FLAG_TRANSITIVE: u8 = 0x40;
/// Someone on the way did not know it.
pub(crate) const FLAG_PARTIAL: u8 = 0x20;
/// Its length has two bytes.
pub(crate) const FLAG_EXTENDED: u8 = 0x10;

const WELL_KNOWN: u8 = FLAG_TRANSITIVE;
const NON_TRANSITIVE: u8 = FLAG_OPTIONAL;
const TRANSITIVE: u8 = FLAG_OPTIONAL | FLAG_TRANSITIVE;

/// The flags of a known attribute, of those that say whether it is optional and transitive.
pub(crate) fn flags_of(code: u8) -> Option<u8> {
    match code {
        ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE => Some(WELL_KNOWN),
        MULTI_EXIT_DISC | ORIGINATOR_ID | CLUSTER_LIST | MP_REACH_NLRI | MP_UNREACH_NLRI => {
            Some(NON_TRANSITIVE)
        }
        AGGREGATOR | COMMUNITIES | EXTENDED_COMMUNITIES | AS4_PATH | AS4_AGGREGATOR | LARGE_COMMUNITIES => {
            Some(TRANSITIVE)
        }
        _ => None,
    }
}

/// The name of an attribute.
pub(crate) struct Name(pub(crate) u8);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ORIGIN => "ORIGIN",
            AS_PATH => "AS_PATH",
            NEXT_HOP => "NEXT_HOP",
            MULTI_EXIT_DISC => "MULTI_EXIT_DISC",
            LOCAL_PREF => "LOCAL_PREF",
            ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
            AGGREGATOR => "AGGREGATOR",
            COMMUNITIES => "COMMUNITIES",
            ORIGINATOR_ID => "ORIGINATOR_ID",
            CLUSTER_LIST => "CLUSTER_LIST",
            MP_REACH_NLRI => "MP_REACH_NLRI",
            MP_UNREACH_NLRI => "MP_UNREACH_NLRI",
            EXTENDED_COMMUNITIES => "EXTENDED_COMMUNITIES",
            AS4_PATH => "AS4_PATH",
            AS4_AGGREGATOR => "AS4_AGGREGATOR",
            LARGE_COMMUNITIES => "LARGE_COMMUNITY",
            code => return write!(f, "attribute {code}"),
        })
    }
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// From within the AS.
    Igp,
    /// From EGP.
    Egp,
    /// From elsewhere.
    Incomplete,
}

impl Origin {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Igp => 0,
            Self::Egp => 1,
            Self::Incomplete => 2,
        }
    }

    pub(crate) fn of(number: u8) -> Option<Self> {
        [Self::Igp, Self::Egp, Self::Incomplete].into_iter().find(|origin| origin.number() == number)
    }
}

/// A community (RFC 1997): by convention an AS number in the upper 16 bits and a value of its choice in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// "The route is about to be withdrawn: prefer others" (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self::new(0xffff, 0);

    /// The community of two halves.
    pub const fn new(high: u16, low: u16) -> Self {
        Self((high as u32) << 16 | low as u32)
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A large community (RFC 8092).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// The AS that gives it a meaning.
    pub global: u32,
    /// The first value of its choice.
    pub one: u32,
    /// The second.
    pub two: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.one, self.two)
    }
}

/// Who made an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier.
    pub identifier: std::net::Ipv4Addr,
}

/// An attribute that is not known here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownAttribute {
    /// Its flags, that of the extended length apart.
    pub flags: u8,
    /// Its number.
    pub code: u8,
    /// Its value.
    pub value: Vec<u8>,
}
