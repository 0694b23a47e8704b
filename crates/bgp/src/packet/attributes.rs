//! The attributes of one UPDATE, and how they are written.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! | O T P E . . . |     code      | length of 1 byte, 2 with E    |  value …
//! +---------------+---------------+-------------------------------+
//!
//! MP_REACH_NLRI (RFC 4760 §3):
//! +-------------------------------+---------------+---------------+
//! |             AFI               |     SAFI      | length of hop |  next hop …  0 (1)  prefixes …
//! +-------------------------------+---------------+---------------+
//!
//! MP_UNREACH_NLRI (RFC 4760 §4):
//! +-------------------------------+---------------+
//! |             AFI               |     SAFI      |  prefixes …
//! +-------------------------------+---------------+
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use net::Family;

use super::attribute::{
    AGGREGATOR, AS_PATH, AS4_AGGREGATOR, AS4_PATH, ATOMIC_AGGREGATE, Aggregator, CLUSTER_LIST, COMMUNITIES,
    Community, EXTENDED_COMMUNITIES, FLAG_EXTENDED, LARGE_COMMUNITIES, LOCAL_PREF, LargeCommunity,
    MP_REACH_NLRI, MP_UNREACH_NLRI, MULTI_EXIT_DISC, NEXT_HOP, ORIGIN, ORIGINATOR_ID, Origin,
    UnknownAttribute, flags_of,
};
use super::family::AfiSafi;
use super::path::AsPath;
use super::{AS_TRANS, nlri};

/// The attributes of the routes of one UPDATE. A list is empty where the attribute is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Option<Origin>,
    /// AS_PATH.
    pub as_path: Option<AsPath>,
    /// NEXT_HOP: of the IPv4 routes outside of `mp_reach`.
    pub next_hop: Option<Ipv4Addr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF: only within an AS.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456).
    pub cluster_list: Vec<Ipv4Addr>,
    /// MP_REACH_NLRI (RFC 4760).
    pub mp_reach: Option<MpReach>,
    /// MP_UNREACH_NLRI (RFC 4760).
    pub mp_unreach: Option<MpUnreach>,
    /// EXTENDED_COMMUNITIES (RFC 4360), uninterpreted.
    pub extended_communities: Vec<[u8; 8]>,
    /// AS4_PATH (RFC 6793).
    pub as4_path: Option<AsPath>,
    /// AS4_AGGREGATOR (RFC 6793).
    pub as4_aggregator: Option<Aggregator>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// Others, in the order of the message.
    pub unknown: Vec<UnknownAttribute>,
}

/// Routes of any family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MpReach {
    /// Where their traffic goes.
    pub next_hop: NextHop,
    /// The family of the prefixes.
    pub family: Family,
    /// The prefixes.
    pub prefixes: Vec<IpNet>,
}

/// Withdrawn routes of any family; without any, the end of that family's routes (RFC 4724 §2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MpUnreach {
    /// The family of the prefixes.
    pub family: Family,
    /// The prefixes.
    pub prefixes: Vec<IpNet>,
}

/// Where the traffic of routes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// To an address.
    Address(IpAddr),
    /// To a host on the same link, which has both addresses (RFC 2545 §3).
    WithLinkLocal(Ipv6Addr, Ipv6Addr),
}

impl NextHop {
    /// Reads a next hop of 4, 16 or 32 bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let v6 = |bytes: &[u8]| bytes.try_into().ok().map(|octets: [u8; 16]| Ipv6Addr::from(octets));
        match bytes.len() {
            4 => bytes.try_into().ok().map(|octets: [u8; 4]| Self::Address(Ipv4Addr::from(octets).into())),
            16 => v6(bytes).map(|address| Self::Address(address.into())),
            32 => {
                let (global, link_local) = bytes.split_at_checked(16)?;
                Some(Self::WithLinkLocal(v6(global)?, v6(link_local)?))
            }
            _ => None,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Address(IpAddr::V4(address)) => out.extend(address.octets()),
            Self::Address(IpAddr::V6(address)) => out.extend(address.octets()),
            Self::WithLinkLocal(global, link_local) => {
                out.extend(global.octets());
                out.extend(link_local.octets());
            }
        }
    }
}

impl Attributes {
    /// Whether no attribute but those of multiprotocol routes is there.
    pub(crate) fn is_bare(&self) -> bool {
        let rest = Self { mp_reach: None, mp_unreach: None, ..self.clone() };
        rest == Self::default()
    }

    /// Appends all attributes: first the multiprotocol ones, as RFC 7606 §5.1 wishes, then by number.
    pub(crate) fn put(&self, out: &mut Vec<u8>, four_octet: bool) {
        if let Some(MpReach { next_hop, family, prefixes }) = &self.mp_reach {
            put_attribute(out, MP_REACH_NLRI, |out| {
                put_family(out, *family);
                let mut hop = Vec::with_capacity(32);
                next_hop.put(&mut hop);
                out.extend(u8::try_from(hop.len()).ok());
                out.extend(hop);
                out.push(0);
                put_prefixes(out, prefixes);
            });
        }
        if let Some(MpUnreach { family, prefixes }) = &self.mp_unreach {
            put_attribute(out, MP_UNREACH_NLRI, |out| {
                put_family(out, *family);
                put_prefixes(out, prefixes);
            });
        }
        if let Some(origin) = self.origin {
            put_attribute(out, ORIGIN, |out| out.push(origin.number()));
        }
        if let Some(path) = &self.as_path {
            put_attribute(out, AS_PATH, |out| path.put(out, four_octet));
        }
        if let Some(address) = self.next_hop {
            put_attribute(out, NEXT_HOP, |out| out.extend(address.octets()));
        }
        if let Some(med) = self.med {
            put_attribute(out, MULTI_EXIT_DISC, |out| out.extend(med.to_be_bytes()));
        }
        if let Some(preference) = self.local_pref {
            put_attribute(out, LOCAL_PREF, |out| out.extend(preference.to_be_bytes()));
        }
        if self.atomic_aggregate {
            put_attribute(out, ATOMIC_AGGREGATE, |_| {});
        }
        if let Some(Aggregator { asn, identifier }) = self.aggregator {
            put_attribute(out, AGGREGATOR, |out| {
                if four_octet {
                    out.extend(asn.to_be_bytes());
                } else {
                    out.extend(u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes());
                }
                out.extend(identifier.octets());
            });
        }
        put_list(out, COMMUNITIES, &self.communities, |community| community.0.to_be_bytes());
        if let Some(originator) = self.originator_id {
            put_attribute(out, ORIGINATOR_ID, |out| out.extend(originator.octets()));
        }
        put_list(out, CLUSTER_LIST, &self.cluster_list, Ipv4Addr::octets);
        put_list(out, EXTENDED_COMMUNITIES, &self.extended_communities, |community| *community);
        if let Some(path) = &self.as4_path {
            put_attribute(out, AS4_PATH, |out| path.put(out, true));
        }
        if let Some(Aggregator { asn, identifier }) = self.as4_aggregator {
            put_attribute(out, AS4_AGGREGATOR, |out| {
                out.extend(asn.to_be_bytes());
                out.extend(identifier.octets());
            });
        }
        put_list(out, LARGE_COMMUNITIES, &self.large_communities, |community| {
            let mut bytes = [0; 12];
            for (place, part) in
                bytes.chunks_exact_mut(4).zip([community.global, community.one, community.two])
            {
                place.copy_from_slice(&part.to_be_bytes());
            }
            bytes
        });
        for unknown in &self.unknown {
            put_with_flags(out, unknown.flags, unknown.code, |out| out.extend_from_slice(&unknown.value));
        }
    }
}

pub(super) fn put_prefixes(out: &mut Vec<u8>, prefixes: &[IpNet]) {
    for prefix in prefixes {
        nlri::put(out, prefix);
    }
}

fn put_family(out: &mut Vec<u8>, family: Family) {
    let AfiSafi { afi, safi } = AfiSafi::unicast(family);
    out.extend(afi.to_be_bytes());
    out.push(safi);
}

fn put_list<T, const N: usize>(out: &mut Vec<u8>, code: u8, list: &[T], bytes: impl Fn(&T) -> [u8; N]) {
    if !list.is_empty() {
        put_attribute(out, code, |out| list.iter().for_each(|item| out.extend(bytes(item))));
    }
}

fn put_attribute(out: &mut Vec<u8>, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
    put_with_flags(out, flags_of(code).expect("the attributes that we write are known"), code, value);
}

/// Appends one attribute. The length takes two bytes only where it must.
fn put_with_flags(out: &mut Vec<u8>, flags: u8, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([flags | FLAG_EXTENDED, code, 0, 0]);
    let from = out.len();
    value(out);
    if let Ok(length) = u8::try_from(out.len() - from) {
        out.splice(start..from, [flags & !FLAG_EXTENDED, code, length]);
    } else {
        super::fill_length(out, from - 2, from);
    }
}
