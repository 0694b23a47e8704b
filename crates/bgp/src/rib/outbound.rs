//! How routes look to one peer.

use std::net::IpAddr;

use ipnet::IpNet;
use net::Family;

use super::route::Route;
use crate::packet::{
    AsPath, Attributes, Community, Families, MAX_MESSAGE, MpReach, MpUnreach, NextHop, Origin, PerFamily,
    Update,
};

/// What of an established session decides how routes look to the peer.
#[expect(clippy::struct_excessive_bools, reason = "each is negotiated apart from the others")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Whether the peer is of our AS.
    pub internal: bool,
    /// Our AS as the peer knows it.
    pub local_asn: u32,
    /// Whether AS numbers have four bytes (RFC 6793).
    pub four_octet_as: bool,
    /// The families that the peer takes.
    pub families: Families,
    /// Where the traffic for the prefixes of a family goes: to this node. Without one nothing of that family is
    /// announced.
    pub next_hops: PerFamily<Option<NextHop>>,
    /// Whether the peer wants to know where the first routes end (RFC 4724 §2).
    pub end_of_rib: bool,
    /// Whether the peer wants to know where routes begin and end that it asked for (RFC 7313).
    pub enhanced_refresh: bool,
}

impl Outbound {
    /// Whether prefixes of a family can be announced.
    pub(super) fn announces(&self, family: Family) -> bool {
        self.families.contains(family) && self.next_hops.get(family).is_some()
    }

    /// Whether the peer knows the prefixes of a family from multiprotocol attributes: always those of IPv6, those
    /// of IPv4 with a next hop of IPv6 (RFC 8950).
    fn is_multiprotocol(&self, family: Family) -> bool {
        family == Family::V6
            || !matches!(self.next_hops.get(family), Some(NextHop::Address(IpAddr::V4(_))) | None)
    }

    /// A message that withdraws the prefixes that `next` gives, as many as fit.
    pub(super) fn withdraw(&self, family: Family, next: impl FnMut(usize) -> Option<IpNet>) -> Vec<u8> {
        let mut update = Update::default();
        if self.is_multiprotocol(family) {
            update.attributes.mp_unreach = Some(MpUnreach { family, prefixes: Vec::new() });
        }
        let prefixes = self.fill(&update, next);
        match &mut update.attributes.mp_unreach {
            Some(unreach) => unreach.prefixes = prefixes,
            None => update.withdrawn = prefixes,
        }
        update.build(self.four_octet_as)
    }

    /// A message that announces the prefixes that `next` gives, as many as fit. Where the family has no next hop,
    /// there is none.
    pub(super) fn announce(
        &self,
        family: Family,
        route: &Route,
        leaving: bool,
        next: impl FnMut(usize) -> Option<IpNet>,
    ) -> Option<Vec<u8>> {
        let mut update = Update { attributes: self.attributes(route, leaving), ..Update::default() };
        match *self.next_hops.get(family).as_ref()? {
            NextHop::Address(IpAddr::V4(address)) if family == Family::V4 => {
                update.attributes.next_hop = Some(address);
            }
            next_hop => {
                update.attributes.mp_reach = Some(MpReach { next_hop, family, prefixes: Vec::new() });
            }
        }
        let prefixes = self.fill(&update, next);
        match &mut update.attributes.mp_reach {
            Some(reach) => reach.prefixes = prefixes,
            None => update.announced = prefixes,
        }
        Some(update.build(self.four_octet_as))
    }

    /// As many prefixes as fit beside what is in a message already. `next` gives the next one that takes at most so
    /// many bytes.
    fn fill(&self, update: &Update, mut next: impl FnMut(usize) -> Option<IpNet>) -> Vec<IpNet> {
        // The length of a multiprotocol attribute may come to need a second byte.
        let mut room = MAX_MESSAGE - 1 - update.build(self.four_octet_as).len();
        let mut prefixes = Vec::new();
        while let Some(prefix) = next(room) {
            room -= encoded_len(&prefix);
            prefixes.push(prefix);
        }
        prefixes
    }

    /// The attributes of a route, next hop apart. `leaving` says that it will be withdrawn soon (RFC 8326).
    fn attributes(&self, route: &Route, leaving: bool) -> Attributes {
        let mut communities = route.communities.clone();
        if leaving {
            communities.insert(Community::GRACEFUL_SHUTDOWN);
        }
        let preference = if leaving { 0 } else { route.preference() };
        let as_path = if self.internal { AsPath::default() } else { AsPath::of(self.local_asn) };
        // Old speakers hand the true number on to new ones (RFC 6793 §4.2.2).
        let hidden = !self.four_octet_as && !self.internal && u16::try_from(self.local_asn).is_err();
        Attributes {
            origin: Some(Origin::Igp),
            as4_path: hidden.then(|| as_path.clone()),
            as_path: Some(as_path),
            local_pref: self.internal.then_some(preference),
            communities: communities.into_iter().collect(),
            large_communities: route.large_communities.iter().copied().collect(),
            ..Attributes::default()
        }
    }
}

/// How many bytes a prefix takes in a list.
pub(super) fn encoded_len(prefix: &IpNet) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}
