//! What a session is to be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::packet::Families;

/// The hold time that is proposed where the user gives none, as FRR has it.
pub const DEFAULT_HOLD_TIME: Duration = Duration::from_secs(180);
/// The time between keepalives where the user gives none, as FRR has it.
pub const DEFAULT_KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// The longest time between attempts to connect where the user gives none, as FRR has it.
pub const DEFAULT_CONNECT_TIME: Duration = Duration::from_secs(30);
/// How long routes outlive our restart where the user gives no time, as FRR has it.
pub const DEFAULT_RESTART_TIME: Duration = Duration::from_secs(120);

/// What a session is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our AS number, not 0.
    pub my_asn: u32,
    /// An AS number that the peer is shown instead. The peer never sees `my_asn` then, neither in OPEN nor in AS_PATH.
    pub local_asn: Option<u32>,
    /// Which AS the peer may be of.
    pub peer_asn: PeerAsn,
    /// Our BGP identifier, not 0. See [`router_id`].
    pub router_id: Ipv4Addr,
    /// The families whose routes are to be announced.
    pub families: Families,
    /// The hold time to propose, in whole seconds: 0 for none, or 3 to 65,535.
    pub hold_time: Duration,
    /// The time between keepalives; a third of the negotiated hold time where that is less, or where this is 0.
    pub keepalive_time: Duration,
    /// The longest time between attempts to connect.
    pub connect_time: Duration,
    /// Who connects.
    pub opening: Opening,
    /// Whether the peer is to keep routes while we restart.
    pub graceful_restart: Option<RestartConfig>,
    /// How the peer is reached.
    pub transport: Transport,
}

/// Which AS a peer may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAsn {
    /// This one.
    Number(u32),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
}

/// Who connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// We do; connections that come in are closed.
    #[default]
    Active,
    /// The peer does.
    Passive,
    /// Whoever comes first.
    Both,
}

/// How routes outlive our restart (RFC 4724).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartConfig {
    /// How long the peer keeps routes while we are gone: at most 4,095 s.
    pub time: Duration,
    /// Whether routes outlive NOTIFICATIONs, too (RFC 8538).
    pub notification: bool,
}

/// How the peer is reached: for the driver; a session only looks at the family of the address.
#[derive(Clone, PartialEq, Eq)]
pub struct Transport {
    /// The address and port of the peer.
    pub peer: SocketAddr,
    /// The address to connect from.
    pub source: Option<IpAddr>,
    /// The key of TCP MD5 signatures (RFC 2385).
    pub password: Option<String>,
    /// How far away the peer may be.
    pub ttl: Ttl,
    /// The interface or VRF to connect through.
    pub device: Option<String>,
}

/// How far away a peer may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// What the system does by default.
    #[default]
    System,
    /// Packets leave with this time to live: 1 for a peer on the link.
    Hops(u8),
    /// Packets leave with 255, and those that came over more than so many hops are dropped (RFC 5082).
    Security(u8),
}

impl Config {
    /// Our AS number as the peer knows it.
    pub fn local_asn(&self) -> u32 {
        self.local_asn.unwrap_or(self.my_asn)
    }

    /// Whether a peer of this AS is one of ours.
    pub fn is_internal(&self, asn: u32) -> bool {
        asn == self.local_asn()
    }

    /// Whether the peer may be of this AS.
    pub fn accepts(&self, asn: u32) -> bool {
        match self.peer_asn {
            PeerAsn::Number(number) => asn == number,
            PeerAsn::Internal => self.is_internal(asn),
            PeerAsn::External => !self.is_internal(asn),
        }
    }

    /// Whether the peer is reached by IPv6.
    pub(crate) fn is_over_v6(&self) -> bool {
        self.transport.peer.ip().to_canonical().is_ipv6()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("peer", &self.peer)
            .field("source", &self.source)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("ttl", &self.ttl)
            .field("device", &self.device)
            .finish()
    }
}

/// The BGP identifier of a node: the one that is given, else the node's IPv4 address, else one made of the node's name
/// (the CRC-32 that MetalLB takes, so that it stays the same over a migration). Never 0.
pub fn router_id(given: Option<IpAddr>, address: Option<Ipv4Addr>, name: &str) -> Ipv4Addr {
    let given = match given {
        Some(IpAddr::V4(id)) => Some(id),
        // What an IPv6 address would mean as an identifier of 32 bits nobody knows.
        _ => None,
    };
    given.or(address).filter(|id| !id.is_unspecified()).unwrap_or_else(|| {
        let crc = name.bytes().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        Ipv4Addr::from_bits((!crc).max(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_given_or_of_the_node_or_made_of_its_name() {
        let (id, node) = (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(router_id(Some(id.into()), Some(node), "n"), id);
        assert_eq!(router_id(None, Some(node), "n"), node);
        assert_eq!(
            router_id(Some(Ipv4Addr::UNSPECIFIED.into()), Some(node), "n"),
            router_id(None, None, "n")
        );
        // The check value of CRC-32.
        assert_eq!(router_id(None, None, "123456789").to_bits(), 0xcbf4_3926);
        assert_eq!(router_id(None, None, "").to_bits(), 1);
    }
}
