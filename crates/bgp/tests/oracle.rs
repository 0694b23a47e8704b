//! Our messages against rustbgpd's: what one writes the other must read as the same.

mod strategies;

use std::net::IpAddr;

use bgp::packet::{
    AsPath, Attributes, Capability, Context, Families, HEADER_LEN, MpReach, MpUnreach, NextHop, Notification,
    Open, RouteRefresh, SegmentKind, Subtype, Update, UpdateError,
};
use bytes::Bytes;
use ipnet::IpNet;
use proptest::prelude::*;
use rustbgpd_wire as wire;
use wire::PathAttribute as Theirs;

/// A whole message, as they read it.
fn read(message: &[u8]) -> wire::Message {
    let mut bytes = Bytes::copy_from_slice(message);
    wire::decode_message(&mut bytes, wire::MAX_MESSAGE_LEN).expect("valid")
}

fn afi(number: u16) -> wire::Afi {
    wire::Afi::from_u16(number).expect("known")
}

fn capability(ours: &Capability) -> wire::Capability {
    match ours {
        Capability::Multiprotocol(family) => wire::Capability::MultiProtocol {
            afi: afi(family.afi),
            safi: wire::Safi::from_u8(family.safi).expect("known"),
        },
        Capability::RouteRefresh => wire::Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh => wire::Capability::EnhancedRouteRefresh,
        Capability::ExtendedMessage => wire::Capability::ExtendedMessage,
        Capability::FourOctetAs(asn) => wire::Capability::FourOctetAs { asn: *asn },
        Capability::ExtendedNextHop(entries) => wire::Capability::ExtendedNextHop(
            entries
                .iter()
                .map(|entry| wire::ExtendedNextHopFamily {
                    nlri_afi: afi(entry.afi),
                    nlri_safi: wire::Safi::Unicast,
                    next_hop_afi: afi(entry.next_hop_afi),
                })
                .collect(),
        ),
        Capability::GracefulRestart(restart) => wire::Capability::GracefulRestart {
            restart_state: restart.restarted,
            notification: restart.notification,
            restart_time: restart.restart_time,
            families: restart
                .families
                .iter()
                .map(|entry| wire::GracefulRestartFamily {
                    afi: afi(entry.family.afi),
                    safi: wire::Safi::Unicast,
                    forwarding_preserved: entry.forwarding,
                })
                .collect(),
        },
        Capability::Unknown { code, value } => {
            wire::Capability::Unknown { code: *code, data: Bytes::copy_from_slice(value) }
        }
    }
}

fn path(ours: &AsPath) -> wire::AsPath {
    let segments = ours.segments.iter().map(|segment| match segment.kind {
        SegmentKind::Set => wire::AsPathSegment::AsSet(segment.asns.clone()),
        _ => wire::AsPathSegment::AsSequence(segment.asns.clone()),
    });
    wire::AsPath { segments: segments.collect() }
}

fn prefix(ours: &IpNet) -> (IpAddr, u8) {
    (ours.addr(), ours.prefix_len())
}

fn their_prefix(theirs: &wire::Prefix) -> (IpAddr, u8) {
    match theirs {
        wire::Prefix::V4(net) => (net.addr.into(), net.len),
        wire::Prefix::V6(net) => (net.addr.into(), net.len),
    }
}

fn their_v4(entries: &[wire::Ipv4NlriEntry]) -> Vec<(IpAddr, u8)> {
    entries.iter().map(|entry| (entry.prefix.addr.into(), entry.prefix.len)).collect()
}

/// Whether one attribute as they read it is what ours are.
fn same(ours: &Attributes, theirs: &Theirs) -> bool {
    match theirs {
        Theirs::Origin(origin) => ours.origin.map(|origin| origin as u8) == Some(*origin as u8),
        Theirs::AsPath(theirs) => ours.as_path.as_ref().map(path).as_ref() == Some(theirs),
        Theirs::NextHop(address) => ours.next_hop == Some(*address),
        Theirs::LocalPref(value) => ours.local_pref == Some(*value),
        Theirs::Med(value) => ours.med == Some(*value),
        Theirs::AtomicAggregate => ours.atomic_aggregate,
        Theirs::Aggregator(theirs) => {
            ours.aggregator.is_some_and(|ours| (ours.asn, ours.identifier) == (theirs.asn, theirs.router_id))
        }
        Theirs::Communities(list) => ours.communities.iter().map(|c| c.0).eq(list.iter().copied()),
        Theirs::ExtendedCommunities(list) => ours.extended_communities.len() == list.len(),
        Theirs::LargeCommunities(list) => ours
            .large_communities
            .iter()
            .map(|c| (c.global, c.one, c.two))
            .eq(list.iter().map(|c| (c.global_admin, c.local_data1, c.local_data2))),
        Theirs::OriginatorId(address) => ours.originator_id == Some(*address),
        Theirs::ClusterList(list) => ours.cluster_list == *list,
        Theirs::MpReachNlri(theirs) => ours.mp_reach.as_ref().is_some_and(|ours| same_reach(ours, theirs)),
        Theirs::MpUnreachNlri(theirs) => {
            ours.mp_unreach.as_ref().is_some_and(|ours| same_unreach(ours, theirs))
        }
        other => panic!("we wrote no {other:?}"),
    }
}

fn same_reach(ours: &MpReach, theirs: &wire::MpReachNlri) -> bool {
    let hop = match ours.next_hop {
        NextHop::Address(address) => (address, None),
        NextHop::WithLinkLocal(global, link_local) => (global.into(), Some(link_local)),
    };
    hop == (theirs.next_hop, theirs.link_local_next_hop)
        && ours.prefixes.iter().map(prefix).eq(theirs.announced.iter().map(|e| their_prefix(&e.prefix)))
}

fn same_unreach(ours: &MpUnreach, theirs: &wire::MpUnreachNlri) -> bool {
    ours.prefixes.iter().map(prefix).eq(theirs.withdrawn.iter().map(|e| their_prefix(&e.prefix)))
}

fn count(ours: &Attributes) -> usize {
    [
        ours.origin.is_some(),
        ours.as_path.is_some(),
        ours.next_hop.is_some(),
        ours.med.is_some(),
        ours.local_pref.is_some(),
        ours.atomic_aggregate,
        ours.aggregator.is_some(),
        !ours.communities.is_empty(),
        ours.originator_id.is_some(),
        !ours.cluster_list.is_empty(),
        ours.mp_reach.is_some(),
        ours.mp_unreach.is_some(),
        !ours.extended_communities.is_empty(),
        !ours.large_communities.is_empty(),
    ]
    .into_iter()
    .filter(|present| *present)
    .count()
}

proptest! {
    #[test]
    fn opens_agree(open in strategies::open()) {
        let theirs = wire::OpenMessage {
            version: 4,
            my_as: open.my_as,
            hold_time: open.hold_time,
            bgp_identifier: open.identifier,
            capabilities: open.capabilities.iter().map(capability).collect(),
        };
        prop_assert_eq!(read(&open.build()), wire::Message::Open(theirs.clone()));
        let built = wire::encode_message(&wire::Message::Open(theirs)).expect("valid");
        prop_assert_eq!(Open::parse(&built[HEADER_LEN..]), Ok(open));
    }

    #[test]
    fn updates_agree(update in strategies::update(true)) {
        let message = update.build(true);
        prop_assume!(message.len() <= 4_096);
        let wire::Message::Update(theirs) = read(&message) else { panic!("no UPDATE") };
        let parsed = theirs.parse(true, false, &[]).expect("valid");
        prop_assert_eq!(update.withdrawn.iter().map(prefix).collect::<Vec<_>>(), their_v4(&parsed.withdrawn));
        prop_assert_eq!(update.announced.iter().map(prefix).collect::<Vec<_>>(), their_v4(&parsed.announced));
        for attribute in &parsed.attributes {
            prop_assert!(same(&update.attributes, attribute), "{:?}", attribute);
        }
        prop_assert_eq!(parsed.attributes.len(), count(&update.attributes));

        // And back: the bytes that they write of it. They write no AS_SET (RFC 9774).
        let sets = update.attributes.as_path.iter().flat_map(|path| &path.segments);
        if sets.into_iter().any(|segment| segment.kind == SegmentKind::Set) {
            return Ok(());
        }
        let built = wire::UpdateMessage::try_build(
            &parsed.announced, &parsed.withdrawn, &parsed.attributes, true, false, wire::Ipv4UnicastMode::Body,
        );
        let built = wire::encode_message(&wire::Message::Update(built.expect("valid"))).expect("valid");
        let context =
            Context { four_octet_as: true, internal: true, families: Families::BOTH, extended_next_hop: true };
        let received = Update::parse(&built[HEADER_LEN..], context).expect("valid");
        prop_assert_eq!(received.faults, []);
        prop_assert_eq!(received.update, update);
    }

    #[test]
    fn one_wrong_byte_in_the_attributes_ends_a_session_for_both_or_for_none(
        update in strategies::update(true), at: proptest::sample::Index, byte: u8
    ) {
        let message = update.build(true);
        prop_assume!(message.len() <= 4_096);
        let mut body = message[HEADER_LEN..].to_vec();
        let withdrawn = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let length = usize::from(u16::from_be_bytes([body[withdrawn + 2], body[withdrawn + 3]]));
        let place = withdrawn + 4 + at.index(length);
        body[place] = byte;
        let context =
            Context { four_octet_as: true, internal: true, families: Families::BOTH, extended_next_hop: true };
        let ours = Update::parse(&body, context);
        let mut bytes = Bytes::copy_from_slice(&body);
        let theirs = wire::UpdateMessage::decode(&mut bytes, body.len()).expect("the lengths are right");
        let theirs = theirs.parse_revised(true, true, false, &[]);
        // They end the session where we ignore a family (RFC 7606 §7.11 allows either), and where only the flags of
        // a multiprotocol attribute are wrong (§3 (c) asks for a withdrawal); they know families that were not
        // negotiated here, and refuse well-known attributes that nobody knows in another place.
        let differs = |faults: &[UpdateError]| {
            faults.iter().any(|fault| matches!(
                fault,
                UpdateError::MultiprotocolNextHop(_) | UpdateError::MultiprotocolNetwork(_)
                    | UpdateError::NotNegotiated(_) | UpdateError::Flags(14 | 15)
            ))
        };
        match (&ours, &theirs) {
            (Ok(received), Ok(revised)) => {
                // AS_SETs are no fault here: what is received is not used.
                let faults = revised
                    .malformed
                    .iter()
                    .filter(|bad| !matches!(bad.error, wire::DecodeError::ProhibitedAsSet { .. }));
                if received.faults.is_empty() && received.update.attributes.unknown.is_empty() {
                    prop_assert_eq!(faults.collect::<Vec<_>>(), Vec::<&wire::MalformedAttribute>::new());
                }
            }
            (Ok(received), Err(error)) => {
                prop_assert!(differs(&received.faults), "only they end the session: {error}");
            }
            (Err(UpdateError::UnknownWellKnown { .. }), _) | (Err(_), Err(_)) => {}
            (Err(error), Ok(_)) => prop_assert!(false, "only we end the session: {}", error),
        }
    }

    #[test]
    fn notifications_agree(notification in strategies::notification()) {
        let wire::Message::Notification(theirs) = read(&notification.build()) else { panic!("no NOTIFICATION") };
        prop_assert_eq!((theirs.code.as_u8(), theirs.subcode), (notification.error.code, notification.error.subcode));
        prop_assert_eq!(&theirs.data[..], &notification.data[..]);
        let built = wire::encode_message(&wire::Message::Notification(theirs)).expect("valid");
        prop_assert_eq!(Notification::parse(&built[HEADER_LEN..]), Some(notification));
    }

    #[test]
    fn requests_for_routes_agree(v6: bool, kind in 0..3_u8) {
        let subtypes = [Subtype::Request, Subtype::Begin, Subtype::End];
        let family = if v6 { bgp::packet::AfiSafi::IPV6_UNICAST } else { bgp::packet::AfiSafi::IPV4_UNICAST };
        let refresh = RouteRefresh { family, subtype: subtypes[usize::from(kind)] };
        let theirs = wire::RouteRefreshMessage::new_with_subtype(
            afi(family.afi), wire::Safi::Unicast, wire::RouteRefreshSubtype::from_u8(kind),
        );
        prop_assert_eq!(read(&refresh.build()), wire::Message::RouteRefresh(theirs));
    }
}
