//! Random messages that are valid.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp::packet::{
    AfiSafi, Aggregator, AsPath, Attributes, Capability, Community, ErrorCode, ExtendedNextHop,
    GracefulRestart, LargeCommunity, MpReach, MpUnreach, NextHop, Notification, Open, Origin, RestartFamily,
    Segment, SegmentKind, Update,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use net::Family;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn prefix(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::V4 => (any::<u32>(), 0..=32_u8)
            .prop_map(|(bits, length)| {
                IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), length)).trunc()
            })
            .boxed(),
        Family::V6 => (any::<u128>(), 0..=128_u8)
            .prop_map(|(bits, length)| {
                IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), length)).trunc()
            })
            .boxed(),
    }
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn afi_safi() -> impl Strategy<Value = AfiSafi> {
    prop_oneof![Just(AfiSafi::IPV4_UNICAST), Just(AfiSafi::IPV6_UNICAST)]
}

fn capability() -> impl Strategy<Value = Capability> {
    let restart_family =
        (afi_safi(), any::<bool>()).prop_map(|(family, forwarding)| RestartFamily { family, forwarding });
    let restart = (any::<bool>(), any::<bool>(), 0..4_096_u16, vec(restart_family, 0..4)).prop_map(
        |(restarted, notification, restart_time, families)| GracefulRestart {
            restarted,
            notification,
            restart_time,
            families,
        },
    );
    prop_oneof![
        afi_safi().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::EnhancedRouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4_OVER_IPV6])),
        restart.prop_map(Capability::GracefulRestart),
        (1..=u32::MAX).prop_map(Capability::FourOctetAs),
        // A code that nobody uses.
        vec(any::<u8>(), 0..40).prop_map(|value| Capability::Unknown { code: 250, value }),
    ]
}

pub(crate) fn open() -> impl Strategy<Value = Open> {
    let hold = prop_oneof![Just(0), 3..=u16::MAX];
    (1..=u16::MAX, hold, 1..=u32::MAX, vec(capability(), 0..12)).prop_map(|(asn, hold, id, capabilities)| {
        Open { my_as: asn, hold_time: hold, identifier: Ipv4Addr::from_bits(id), capabilities }
    })
}

pub(crate) fn notification() -> impl Strategy<Value = Notification> {
    (1..=8_u8, 0..=12_u8, vec(any::<u8>(), 0..300))
        .prop_map(|(code, subcode, data)| Notification { error: ErrorCode::new(code, subcode), data })
}

fn path(asn: impl Strategy<Value = u32>) -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![Just(SegmentKind::Set), Just(SegmentKind::Sequence)];
    vec((kind, vec(asn, 1..5)), 0..3).prop_map(|segments| {
        let segments = segments.into_iter().map(|(kind, asns)| Segment { kind, asns }).collect();
        AsPath { segments }
    })
}

fn next_hop(family: Family) -> BoxedStrategy<NextHop> {
    let v6 = |bits: u128| Ipv6Addr::from_bits(bits >> 8 | 0x20 << 120);
    let address = any::<u128>().prop_map(move |bits| NextHop::Address(IpAddr::V6(v6(bits))));
    let both = any::<(u128, u64)>().prop_map(move |(bits, low)| {
        NextHop::WithLinkLocal(v6(bits), Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(low)))
    });
    match family {
        Family::V4 => {
            prop_oneof![address, both, unicast().prop_map(|v4| NextHop::Address(v4.into()))].boxed()
        }
        Family::V6 => prop_oneof![address, both].boxed(),
    }
}

fn unicast() -> impl Strategy<Value = Ipv4Addr> {
    (0x0100_0000..0xe000_0000_u32).prop_map(Ipv4Addr::from_bits)
}

fn reach() -> impl Strategy<Value = MpReach> {
    family().prop_flat_map(|family| {
        (next_hop(family), vec(prefix(family), 1..20)).prop_map(move |(next_hop, prefixes)| MpReach {
            next_hop,
            family,
            prefixes,
        })
    })
}

fn unreach() -> impl Strategy<Value = MpUnreach> {
    family().prop_flat_map(|family| {
        vec(prefix(family), 0..20).prop_map(move |prefixes| MpUnreach { family, prefixes })
    })
}

/// UPDATEs within an AS, or between two, with AS numbers of 4 bytes; all that an attribute can have is in some of them.
pub(crate) fn update(internal: bool) -> impl Strategy<Value = Update> {
    let aggregator = (1..=u32::MAX, any::<u32>())
        .prop_map(|(asn, bits)| Aggregator { asn, identifier: Ipv4Addr::from_bits(bits) });
    let first = (
        prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        path(1..=u32::MAX),
        unicast(),
        option::of(any::<u32>()),
        any::<u32>(),
        any::<bool>(),
        option::of(aggregator),
        vec(any::<u32>().prop_map(Community), 0..80),
    );
    let second = (
        option::of(unicast()),
        vec(unicast(), 0..4),
        vec(any::<[u8; 8]>(), 0..4),
        proptest::collection::btree_set(
            any::<(u32, u32, u32)>().prop_map(|(global, one, two)| LargeCommunity { global, one, two }),
            0..30,
        ),
        option::of(reach()),
        option::of(unreach()),
        vec(prefix(Family::V4), 0..20),
        vec(prefix(Family::V4), 0..20),
    );
    (first, second).prop_map(move |(first, second)| {
        let (origin, as_path, next_hop, med, local_pref, atomic_aggregate, aggregator, communities) = first;
        let (originator, clusters, extended, large, mp_reach, mp_unreach, withdrawn, announced) = second;
        let attributes = Attributes {
            origin: Some(origin),
            as_path: Some(as_path),
            next_hop: Some(next_hop),
            med,
            local_pref: internal.then_some(local_pref),
            atomic_aggregate,
            aggregator,
            communities,
            originator_id: originator.filter(|_| internal),
            cluster_list: if internal { clusters } else { Vec::new() },
            mp_reach,
            mp_unreach,
            extended_communities: extended,
            large_communities: large.into_iter().collect(),
            ..Attributes::default()
        };
        Update { withdrawn, attributes, announced }
    })
}
