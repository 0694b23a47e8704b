//! Capabilities: what a speaker is able to do (RFC 5492).
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |     code      |    length     |   value (variable)            |
//! +---------------+---------------+-------------------------------+
//!
//!  1 multiprotocol (RFC 4760):          AFI (2)  0 (1)  SAFI (1)
//!  2 route refresh (RFC 2918):          nothing
//!  5 extended next hop (RFC 8950):      { AFI (2)  SAFI (2)  AFI of next hop (2) } …
//!  6 extended message (RFC 8654):       nothing
//! 64 graceful restart (RFC 4724, 8538): R N . . seconds (12 bits)  { AFI (2)  SAFI (1)  F . . . . . . . } …
//! 65 four-octet AS (RFC 6793):          AS (4)
//! 70 enhanced refresh (RFC 7313):       nothing
//! ```

use super::family::AfiSafi;
use super::reader::Reader;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ENHANCED_REFRESH: u8 = 70;

const FLAG_RESTART: u16 = 0x8000;
const FLAG_NOTIFICATION: u16 = 0x4000;
const RESTART_TIME: u16 = 0x0fff;
const FLAG_FORWARDING: u8 = 0x80;

/// What a speaker is able to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Routes of this family.
    Multiprotocol(AfiSafi),
    /// Sends its routes again when asked.
    RouteRefresh,
    /// Takes next hops of another family.
    ExtendedNextHop(Vec<ExtendedNextHop>),
    /// Takes messages of up to 65,535 bytes.
    ExtendedMessage,
    /// Keeps forwarding over a restart, or helps others to.
    GracefulRestart(GracefulRestart),
    /// Knows AS numbers of four bytes; its own is this.
    FourOctetAs(u32),
    /// Says where routes that were asked for begin and end.
    EnhancedRouteRefresh,
    /// Something else, or one of the above in a form that has no meaning.
    Unknown {
        /// Its code.
        code: u8,
        /// Its value, at most 255 bytes.
        value: Vec<u8>,
    },
}

/// Routes of a family may have next hops of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedNextHop {
    /// The family of the routes; the subsequent one has 16 bits here.
    pub afi: u16,
    /// The subsequent family of the routes.
    pub safi: u16,
    /// The family of the next hops.
    pub next_hop_afi: u16,
}

impl ExtendedNextHop {
    /// IPv4 unicast routes with IPv6 next hops.
    pub const IPV4_OVER_IPV6: Self = Self { afi: 1, safi: 1, next_hop_afi: 2 };
}

/// What a speaker does about restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// Whether it has just restarted (R).
    pub restarted: bool,
    /// Whether routes outlive a NOTIFICATION, too (N, RFC 8538).
    pub notification: bool,
    /// How long a restart takes at most, in seconds: 0 to 4095.
    pub restart_time: u16,
    /// The families for which it goes on forwarding.
    pub families: Vec<RestartFamily>,
}

/// A family whose routes outlive a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RestartFamily {
    /// The family.
    pub family: AfiSafi,
    /// Whether forwarding went on during the last restart (F).
    pub forwarding: bool,
}

/// A capability without which a session would go wrong has a wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) code: u8,
}

impl Capability {
    /// The code on the wire.
    pub fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => MULTIPROTOCOL,
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::GracefulRestart(_) => GRACEFUL_RESTART,
            Self::FourOctetAs(_) => FOUR_OCTET_AS,
            Self::EnhancedRouteRefresh => ENHANCED_REFRESH,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Reads the value of one capability.
    pub(crate) fn parse(code: u8, value: &[u8]) -> Result<Self, Malformed> {
        let known = match code {
            // Which families and which AS there are must not be guessed.
            MULTIPROTOCOL => {
                return parse_multiprotocol(value).ok_or(Malformed { code });
            }
            FOUR_OCTET_AS => {
                let asn = value.try_into().map(u32::from_be_bytes);
                return asn.map(Self::FourOctetAs).map_err(|_| Malformed { code });
            }
            ROUTE_REFRESH if value.is_empty() => Some(Self::RouteRefresh),
            EXTENDED_MESSAGE if value.is_empty() => Some(Self::ExtendedMessage),
            ENHANCED_REFRESH if value.is_empty() => Some(Self::EnhancedRouteRefresh),
            EXTENDED_NEXT_HOP => parse_next_hops(value),
            GRACEFUL_RESTART => parse_restart(value),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Self::Unknown { code, value: value.to_vec() }))
    }

    /// Appends code, length and value; values stay below 256 bytes by cutting whole entries off.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([self.code(), 0]);
        match self {
            Self::Multiprotocol(AfiSafi { afi, safi }) => {
                out.extend(afi.to_be_bytes());
                out.extend([0, *safi]);
            }
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::ExtendedNextHop(entries) => {
                for entry in entries.iter().take(usize::from(u8::MAX) / 6) {
                    for field in [entry.afi, entry.safi, entry.next_hop_afi] {
                        out.extend(field.to_be_bytes());
                    }
                }
            }
            Self::GracefulRestart(restart) => {
                let mut word = restart.restart_time & RESTART_TIME;
                word |= if restart.restarted { FLAG_RESTART } else { 0 };
                word |= if restart.notification { FLAG_NOTIFICATION } else { 0 };
                out.extend(word.to_be_bytes());
                for entry in restart.families.iter().take(usize::from(u8::MAX) / 4) {
                    out.extend(entry.family.afi.to_be_bytes());
                    out.extend([entry.family.safi, if entry.forwarding { FLAG_FORWARDING } else { 0 }]);
                }
            }
            Self::FourOctetAs(asn) => out.extend(asn.to_be_bytes()),
            Self::Unknown { value, .. } => out.extend(value.iter().take(usize::from(u8::MAX))),
        }
        let length = u8::try_from(out.len() - start - 2).expect("values were cut to 255 bytes");
        if let Some(place) = out.get_mut(start + 1) {
            *place = length;
        }
    }

    /// Code, length and value.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        bytes
    }
}

fn parse_multiprotocol(value: &[u8]) -> Option<Capability> {
    let &[high, low, _reserved, safi] = value else { return None };
    Some(Capability::Multiprotocol(AfiSafi { afi: u16::from_be_bytes([high, low]), safi }))
}

fn parse_next_hops(value: &[u8]) -> Option<Capability> {
    let (mut reader, mut entries) = (Reader::new(value), Vec::new());
    while !reader.is_empty() {
        let (afi, safi, next_hop_afi) = (reader.u16()?, reader.u16()?, reader.u16()?);
        entries.push(ExtendedNextHop { afi, safi, next_hop_afi });
    }
    Some(Capability::ExtendedNextHop(entries))
}

fn parse_restart(value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let word = reader.u16()?;
    let mut families = Vec::new();
    while !reader.is_empty() {
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        families.push(RestartFamily { family, forwarding: reader.u8()? & FLAG_FORWARDING != 0 });
    }
    Some(Capability::GracefulRestart(GracefulRestart {
        restarted: word & FLAG_RESTART != 0,
        notification: word & FLAG_NOTIFICATION != 0,
        restart_time: word & RESTART_TIME,
        families,
    }))
}
