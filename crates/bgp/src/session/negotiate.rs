//! What two OPEN messages agree on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use net::Family;
use thiserror::Error;

use super::config::{Config, PeerAsn};
use crate::Instant;
use crate::packet::{
    AS_TRANS, AfiSafi, Capability, Context, ErrorCode, ExtendedNextHop, Families, GracefulRestart, NextHop,
    Notification, Open, PerFamily, RestartFamily,
};
use crate::rib::Outbound;

/// What a session has agreed on.
#[expect(clippy::struct_excessive_bools, reason = "each is negotiated apart from the others")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's AS.
    pub peer_asn: u32,
    /// The peer's BGP identifier.
    pub peer_id: Ipv4Addr,
    /// Whether the peer is of our AS.
    pub internal: bool,
    /// After which silence the session ends; 0 is never.
    pub hold_time: Duration,
    /// The time between our keepalives; 0 is never.
    pub keepalive_time: Duration,
    /// The families that both know.
    pub families: Families,
    /// AS numbers have four bytes.
    pub four_octet_as: bool,
    /// IPv4 routes may have IPv6 next hops.
    pub extended_next_hop: bool,
    /// The peer may ask for routes again.
    pub route_refresh: bool,
    /// Such routes have a begin and an end.
    pub enhanced_refresh: bool,
    /// Messages may have up to 65,535 bytes. We take them; what we send stays within 4,096.
    pub extended_message: bool,
    /// What the peer does about restarts.
    pub peer_restart: Option<GracefulRestart>,
    /// Whether the peer keeps our routes while we restart.
    pub graceful_restart: bool,
    /// Whether it keeps them after a NOTIFICATION other than Hard Reset, too.
    pub notification_restart: bool,
}

/// The addresses of this node that a connection has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddresses {
    /// The local address of the connection.
    pub connection: IpAddr,
    /// An IPv4 address of the interface that leads to the peer, for next hops of IPv4 routes over IPv6.
    pub v4: Option<Ipv4Addr>,
    /// A global IPv6 address of the interface that leads to the peer, for next hops of IPv6 routes over IPv4.
    pub v6: Option<Ipv6Addr>,
    /// The link-local address of that interface, where the peer is on the link.
    pub link_local: Option<Ipv6Addr>,
}

/// Why an OPEN that is valid is refused for this session.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not the AS of the configuration.
    #[error("the router says it is of AS {said}, but {wanted}; check peerASN of the BGPPeer")]
    PeerAsn {
        /// What it says.
        said: u32,
        /// What is configured, in words.
        wanted: String,
    },
    /// Within an AS, the peer has the same identifier.
    #[error("the router has our BGP identifier {0}: give one of the two another (routerID of the BGPPeer)")]
    Identifier(Ipv4Addr),
    /// No family in common.
    #[error("the router takes no routes of {0}: activate that address family for this neighbor there")]
    Families(Families),
}

impl Refusal {
    /// What is told to the peer.
    pub fn notification(&self) -> Notification {
        match self {
            Self::PeerAsn { .. } => Notification::new(ErrorCode::BAD_PEER_AS),
            Self::Identifier(_) => Notification::new(ErrorCode::BAD_BGP_IDENTIFIER),
            // The capabilities that are missed (RFC 5492 §3).
            Self::Families(families) => {
                let missed =
                    families.iter().map(|family| Capability::Multiprotocol(AfiSafi::unicast(family)));
                let data: Vec<u8> = missed.flat_map(|capability| capability.build()).collect();
                Notification::with_data(ErrorCode::UNSUPPORTED_CAPABILITY, &data)
            }
        }
    }
}

/// What we say about restarts (RFC 4724 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restart {
    /// We have just restarted (R).
    pub(crate) restarted: bool,
    /// Forwarding of these families went on over that restart.
    pub(crate) forwarding: Families,
    /// When that was said.
    pub(crate) since: Instant,
}

impl Restart {
    /// The same at `now`: no peer keeps routes for longer than the restart time, so a restart before that is over.
    pub(crate) fn at(self, now: Instant, config: &Config) -> Self {
        let fresh = config.graceful_restart.is_some_and(|ours| now.saturating_since(self.since) < ours.time);
        Self { restarted: self.restarted && fresh, ..self }
    }

    /// Whether forwarding state of the family has been preserved (F). It has where nothing restarted: a router that loses a
    /// session in between may keep routes (RFC 4724 §4.2).
    fn forwards(self, family: Family) -> bool {
        !self.restarted || self.forwarding.contains(family)
    }
}

/// All capabilities that the configuration calls for.
pub(crate) fn capabilities(config: &Config, restart: Restart) -> Vec<Capability> {
    let families = config.families;
    let mut all: Vec<Capability> =
        families.iter().map(|family| Capability::Multiprotocol(AfiSafi::unicast(family))).collect();
    all.push(Capability::RouteRefresh);
    if families.v4 && config.is_over_v6() {
        all.push(Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4_OVER_IPV6]));
    }
    all.push(Capability::ExtendedMessage);
    if let Some(ours) = config.graceful_restart {
        all.push(Capability::GracefulRestart(GracefulRestart {
            restarted: restart.restarted,
            notification: ours.notification,
            restart_time: u16::try_from(ours.time.as_secs()).unwrap_or(u16::MAX).min(0x0fff),
            families: families
                .iter()
                .map(|family| RestartFamily {
                    family: AfiSafi::unicast(family),
                    forwarding: restart.forwards(family),
                })
                .collect(),
        }));
    }
    all.push(Capability::FourOctetAs(config.local_asn()));
    all.push(Capability::EnhancedRouteRefresh);
    all
}

/// The families of an OPEN; one without the capability is of IPv4 (RFC 4760 §8).
fn families(open: &Open) -> Families {
    let named = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::Multiprotocol(family) => Some(family.family()),
        _ => None,
    });
    let named: Vec<Option<Family>> = named.collect();
    if named.is_empty() { Families::V4 } else { named.into_iter().flatten().collect() }
}

fn restart(open: &Open) -> Option<&GracefulRestart> {
    open.capabilities.iter().find_map(|capability| match capability {
        Capability::GracefulRestart(restart) => Some(restart),
        _ => None,
    })
}

fn takes_v6_next_hops(open: &Open) -> bool {
    open.capabilities.iter().any(|capability| match capability {
        Capability::ExtendedNextHop(entries) => entries.contains(&ExtendedNextHop::IPV4_OVER_IPV6),
        _ => false,
    })
}

impl Negotiated {
    /// What our OPEN and the peer's agree on.
    pub(crate) fn new(config: &Config, ours: &Open, theirs: &Open) -> Result<Self, Refusal> {
        let peer_asn = theirs.asn();
        let trans = theirs.four_octet_as() == Some(u32::from(AS_TRANS));
        if !config.accepts(peer_asn) || trans {
            let wanted = match config.peer_asn {
                PeerAsn::Number(number) => format!("AS {number} is expected"),
                PeerAsn::Internal => format!("our own, {}, is expected", config.local_asn()),
                PeerAsn::External => "any other than our own is expected".to_owned(),
            };
            return Err(Refusal::PeerAsn { said: peer_asn, wanted });
        }
        let internal = config.is_internal(peer_asn);
        if internal && theirs.identifier == ours.identifier {
            return Err(Refusal::Identifier(ours.identifier));
        }
        let common = families(ours).intersection(&families(theirs));
        let common = common.intersection(&config.families);
        if common.is_empty() {
            return Err(Refusal::Families(config.families));
        }
        let hold_time = Duration::from_secs(ours.hold_time.min(theirs.hold_time).into());
        let keepalive_time = match config.keepalive_time {
            Duration::ZERO => hold_time / 3,
            configured => configured.min(hold_time / 3),
        };
        let both = |capability: &Capability| ours.has(capability) && theirs.has(capability);
        let (our_restart, peer_restart) = (restart(ours), restart(theirs));
        let route_refresh = both(&Capability::RouteRefresh);
        Ok(Self {
            peer_asn,
            peer_id: theirs.identifier,
            internal,
            hold_time,
            keepalive_time,
            families: common,
            four_octet_as: ours.four_octet_as().is_some() && theirs.four_octet_as().is_some(),
            extended_next_hop: takes_v6_next_hops(ours) && takes_v6_next_hops(theirs),
            route_refresh,
            enhanced_refresh: route_refresh && both(&Capability::EnhancedRouteRefresh),
            extended_message: both(&Capability::ExtendedMessage),
            graceful_restart: our_restart.is_some() && peer_restart.is_some(),
            notification_restart: our_restart.is_some_and(|restart| restart.notification)
                && peer_restart.is_some_and(|restart| restart.notification),
            peer_restart: peer_restart.cloned(),
        })
    }

    /// How the peer's UPDATEs are to be read.
    pub(crate) fn context(&self) -> Context {
        Context {
            four_octet_as: self.four_octet_as,
            internal: self.internal,
            families: self.families,
            extended_next_hop: self.extended_next_hop,
        }
    }

    /// How our routes look to the peer.
    pub(crate) fn outbound(&self, config: &Config, local: &LocalAddresses) -> Outbound {
        Outbound {
            internal: self.internal,
            local_asn: config.local_asn(),
            four_octet_as: self.four_octet_as,
            families: self.families,
            next_hops: local.next_hops(self.extended_next_hop),
            end_of_rib: self.peer_restart.is_some(),
            enhanced_refresh: self.enhanced_refresh,
        }
    }
}

impl LocalAddresses {
    /// The next hop of the routes of each family: this node.
    pub(crate) fn next_hops(&self, extended_next_hop: bool) -> PerFamily<Option<NextHop>> {
        let over_v4 = |address: Ipv4Addr| NextHop::Address(address.into());
        let with_link_local = |global: Ipv6Addr| match self.link_local {
            Some(link_local) => NextHop::WithLinkLocal(global, link_local),
            None => NextHop::Address(global.into()),
        };
        match self.connection.to_canonical() {
            IpAddr::V4(address) => {
                PerFamily { v4: Some(over_v4(address)), v6: self.v6.map(|v6| NextHop::Address(v6.into())) }
            }
            IpAddr::V6(address) => {
                // Without any global address, that of the link is all there is.
                let v6 = if !address.is_unicast_link_local() {
                    with_link_local(address)
                } else if let Some(global) = self.v6 {
                    NextHop::WithLinkLocal(global, address)
                } else {
                    NextHop::Address(address.into())
                };
                let v4 = if extended_next_hop { Some(v6) } else { self.v4.map(over_v4) };
                PerFamily { v4, v6: Some(v6) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_addresses_of_this_node_that_the_peer_can_use() {
        let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let v6 = |text: &str| -> Ipv6Addr { text.parse().expect("an address") };
        let one = |text: &str| Some(NextHop::Address(ip(text)));
        let both = Some(NextHop::WithLinkLocal(v6("2001:db8::1"), v6("fe80::1")));
        let (v4, global, link) =
            (Some(Ipv4Addr::new(192, 0, 2, 1)), Some(v6("2001:db8::1")), Some(v6("fe80::1")));
        // (connection, IPv4, IPv6 and link-local address of the interface, RFC 8950) -> next hops
        for (connection, v4, v6, link_local, extended, expected_v4, expected_v6) in [
            ("192.0.2.1", v4, None, None, false, one("192.0.2.1"), None),
            ("192.0.2.1", v4, global, link, false, one("192.0.2.1"), one("2001:db8::1")),
            ("::ffff:192.0.2.1", None, global, None, true, one("192.0.2.1"), one("2001:db8::1")),
            ("2001:db8::1", None, None, None, false, None, one("2001:db8::1")),
            ("2001:db8::1", v4, None, link, false, one("192.0.2.1"), both),
            ("2001:db8::1", v4, None, None, true, one("2001:db8::1"), one("2001:db8::1")),
            ("fe80::1", None, global, None, true, both, both),
            ("fe80::1", None, None, link, true, one("fe80::1"), one("fe80::1")),
        ] {
            let local = LocalAddresses { connection: ip(connection), v4, v6, link_local };
            let next_hops = local.next_hops(extended);
            assert_eq!((next_hops.v4, next_hops.v6), (expected_v4, expected_v6), "{local:?}");
        }
    }
}
