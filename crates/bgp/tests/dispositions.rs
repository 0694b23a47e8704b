//! What is done about each error that an UPDATE may have (RFC 7606 §7), and what the peer is told where the session ends.

use bgp::packet::{
    AfiSafi, Context, Disposition, ErrorCode, Families, Notification, Received, Update, UpdateError,
};

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
const LOCAL_PREF: &[u8] = &[0x40, 5, 4, 0, 0, 0, 100];
const ROUTE: &[u8] = &[32, 192, 0, 2, 100];
/// One IPv6 route by way of 2001:db8::1.
const REACH: &[u8] = &[
    0x80, 14, 38, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 128, 0x20, 1, 0xd,
    0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
];

fn context(internal: bool) -> Context {
    Context { four_octet_as: true, internal, families: Families::BOTH, extended_next_hop: false }
}

/// The body of an UPDATE with these attributes and routes.
fn body(attributes: &[&[u8]], routes: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = u16::try_from(attributes.len()).expect("short").to_be_bytes();
    [&[0, 0][..], &length, &attributes, routes].concat()
}

fn length(code: u8, disposition: Disposition) -> UpdateError {
    UpdateError::Length { code, disposition }
}

#[test]
fn errors_that_can_be_helped_are_helped_as_mildly_as_the_rfc_allows() {
    const WITHDRAW: Disposition = Disposition::TreatAsWithdraw;
    const DISCARD: Disposition = Disposition::AttributeDiscard;
    let usual: [&[u8]; 4] = [ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF];
    let v6 = AfiSafi::IPV6_UNICAST;
    // (instead of the usual attribute of this place, or beside all of them; what is found; what is done)
    let cases: [(Option<usize>, &[u8], UpdateError, Disposition); 36] = [
        (Some(0), &[], UpdateError::Missing(1), WITHDRAW),
        (Some(1), &[], UpdateError::Missing(2), WITHDRAW),
        (Some(2), &[], UpdateError::Missing(3), WITHDRAW),
        (Some(3), &[], UpdateError::Missing(5), WITHDRAW),
        (Some(0), &[0x40, 1, 1, 3], UpdateError::Origin(3), WITHDRAW),
        (Some(0), &[0x40, 1, 2, 0, 0], length(1, WITHDRAW), WITHDRAW),
        (Some(0), &[0xc0, 1, 1, 0], UpdateError::Flags(1), WITHDRAW),
        (Some(0), &[0x60, 1, 1, 0], UpdateError::Flags(1), WITHDRAW),
        (Some(1), &[0x40, 2, 5, 2, 1, 0, 0, 0xfc], UpdateError::AsPath, WITHDRAW),
        (Some(1), &[0x40, 2, 2, 2, 0], UpdateError::AsPath, WITHDRAW),
        (Some(1), &[0x40, 2, 6, 9, 1, 0, 0, 0xfc, 0], UpdateError::AsPath, WITHDRAW),
        (Some(1), &[0x40, 2, 6, 2, 1, 0, 0, 0, 0], UpdateError::AsPath, WITHDRAW),
        (Some(2), &[0x40, 3, 3, 192, 0, 2], length(3, WITHDRAW), WITHDRAW),
        (Some(2), &[0x40, 3, 4, 0, 0, 0, 0], UpdateError::NextHop([0, 0, 0, 0].into()), WITHDRAW),
        (Some(2), &[0x40, 3, 4, 224, 0, 0, 1], UpdateError::NextHop([224, 0, 0, 1].into()), WITHDRAW),
        (Some(3), &[0x40, 5, 1, 1], length(5, WITHDRAW), WITHDRAW),
        (None, &[0x80, 4, 3, 0, 0, 0], length(4, WITHDRAW), WITHDRAW),
        (None, &[0x40, 6, 1, 0], length(6, DISCARD), DISCARD),
        (None, &[0xc0, 7, 6, 0xfc, 0, 1, 2, 3, 4], length(7, DISCARD), DISCARD),
        (None, &[0xc0, 7, 8, 0, 0, 0, 0, 1, 2, 3, 4], UpdateError::AsZero(7), DISCARD),
        (None, &[0xc0, 8, 0], length(8, WITHDRAW), WITHDRAW),
        (None, &[0xc0, 8, 5, 1, 2, 3, 4, 5], length(8, WITHDRAW), WITHDRAW),
        (None, &[0x80, 9, 2, 1, 2], length(9, WITHDRAW), WITHDRAW),
        (None, &[0x80, 10, 0], length(10, WITHDRAW), WITHDRAW),
        (None, &[0xc0, 16, 4, 1, 2, 3, 4], length(16, WITHDRAW), WITHDRAW),
        (None, &[0xc0, 32, 4, 1, 2, 3, 4], length(32, WITHDRAW), WITHDRAW),
        (None, &[0xc0, 17, 6, 2, 1, 0, 0, 0xfc, 0], UpdateError::As4(17), DISCARD),
        (None, ORIGIN, UpdateError::Duplicate(1), DISCARD),
        (None, &[0xc0, 8, 200, 1], UpdateError::Overrun(8), WITHDRAW),
        (None, &[0xc0], UpdateError::Overrun(0), WITHDRAW),
        (
            None,
            &[0x80, 14, 4, 0, 25, 70, 0],
            UpdateError::NotNegotiated(AfiSafi { afi: 25, safi: 70 }),
            DISCARD,
        ),
        (None, &[0x80, 15, 3, 0, 1, 128], UpdateError::NotNegotiated(AfiSafi { afi: 1, safi: 128 }), DISCARD),
        (
            None,
            &[0x80, 14, 9, 0, 2, 1, 4, 1, 2, 3, 4, 0],
            UpdateError::MultiprotocolNextHop(v6),
            Disposition::DisableFamily(v6),
        ),
        (
            None,
            &[0x80, 14, 6, 0, 2, 1, 16, 1, 2],
            UpdateError::MultiprotocolNextHop(v6),
            Disposition::DisableFamily(v6),
        ),
        (
            None,
            &[0x80, 15, 4, 0, 2, 1, 129],
            UpdateError::MultiprotocolNetwork(v6),
            Disposition::DisableFamily(v6),
        ),
        (None, &[0xc0, 15, 3, 0, 2, 1], UpdateError::Flags(15), WITHDRAW),
    ];
    for (place, wrong, error, disposition) in cases {
        let mut attributes = usual.to_vec();
        match place {
            Some(place) => attributes[place] = wrong,
            None => attributes.push(wrong),
        }
        let received = Update::parse(&body(&attributes, ROUTE), context(true));
        let Received { update, faults } = received.unwrap_or_else(|error| panic!("{wrong:?}: {error}"));
        assert_eq!(faults, std::slice::from_ref(&error), "{wrong:?}");
        assert_eq!(error.disposition(), disposition, "{error}");
        let counts = (update.announced.len(), update.withdrawn.len());
        let expected = if disposition == DISCARD { (1, 0) } else { (0, 1) };
        assert_eq!(counts, expected, "{error}");
    }
}

#[test]
fn errors_that_leave_it_open_which_routes_are_meant_end_the_session() {
    let unknown: &[u8] = &[0x40, 99, 2, 1, 2];
    let short: &[u8] = &[0x80, 14, 2, 0, 2];
    let cases: [(Vec<u8>, Notification); 10] = [
        (vec![], Notification::new(ErrorCode::MALFORMED_ATTRIBUTE_LIST)),
        (vec![0, 9, 0, 0], Notification::new(ErrorCode::MALFORMED_ATTRIBUTE_LIST)),
        (vec![0, 0, 0, 9], Notification::new(ErrorCode::MALFORMED_ATTRIBUTE_LIST)),
        (vec![0, 1, 33, 0, 0], Notification::new(ErrorCode::INVALID_NETWORK)),
        (body(&[ORIGIN, AS_PATH, NEXT_HOP], &[32, 1]), Notification::new(ErrorCode::INVALID_NETWORK)),
        (body(&[ORIGIN, REACH, REACH], &[]), Notification::new(ErrorCode::MALFORMED_ATTRIBUTE_LIST)),
        (body(&[short], &[]), Notification::with_data(ErrorCode::OPTIONAL_ATTRIBUTE, short)),
        (body(&[&[0x80, 15, 200, 0]], &[]), Notification::new(ErrorCode::OPTIONAL_ATTRIBUTE)),
        (body(&[unknown], &[]), Notification::with_data(ErrorCode::UNRECOGNIZED_WELL_KNOWN, unknown)),
        (body(&[&[0, 77, 0]], &[]), Notification::with_data(ErrorCode::UNRECOGNIZED_WELL_KNOWN, &[0, 77, 0])),
    ];
    for (body, notification) in cases {
        let error = Update::parse(&body, context(true)).expect_err("it cannot be helped");
        assert_eq!(error.disposition(), Disposition::SessionReset, "{error}");
        assert_eq!(error.notification(), notification, "{error}");
    }
}

#[test]
fn what_has_a_meaning_only_within_an_as_is_ignored_from_without() {
    let attributes: [&[u8]; 6] =
        [ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF, &[0x80, 9, 4, 1, 2, 3, 4], &[0x80, 10, 4, 1, 2, 3, 4]];
    let received = Update::parse(&body(&attributes, ROUTE), context(false)).expect("valid");
    assert_eq!(received.faults, [5, 9, 10].map(UpdateError::FromExternal));
    assert_eq!((received.update.announced.len(), received.update.attributes.local_pref), (1, None));
    let received = Update::parse(&body(&attributes, ROUTE), context(true)).expect("valid");
    assert_eq!((received.faults, received.update.attributes.local_pref), (vec![], Some(100)));
}

#[test]
fn the_strongest_of_several_errors_decides_and_routes_of_all_families_are_withdrawn() {
    let attributes: [&[u8]; 5] = [REACH, ORIGIN, AS_PATH, LOCAL_PREF, &[0x40, 6, 1, 0]];
    let received = Update::parse(&body(&attributes, ROUTE), context(true)).expect("it can be helped");
    assert_eq!(received.faults.len(), 2);
    let update = received.update;
    assert_eq!((update.announced.len(), update.withdrawn.len()), (0, 1));
    let unreach = update.attributes.mp_unreach.expect("the other family");
    assert_eq!(unreach.prefixes, ["2001:db8::2/128".parse().expect("a prefix")]);
    assert_eq!(update.attributes.origin, None);
}

#[test]
fn attributes_that_are_optional_and_unknown_are_kept_and_no_fault() {
    let attributes: [&[u8]; 5] = [ORIGIN, AS_PATH, NEXT_HOP, &[0xe0, 99, 1, 7], &[0x90, 98, 0, 0]];
    let received = Update::parse(&body(&attributes, ROUTE), context(false)).expect("valid");
    assert_eq!(received.faults, []);
    let unknown: Vec<(u8, u8)> = received
        .update
        .attributes
        .unknown
        .iter()
        .map(|attribute| (attribute.flags, attribute.code))
        .collect();
    assert_eq!(unknown, [(0xe0, 99), (0x80, 98)]);
}

#[test]
fn old_speakers_have_as_numbers_of_two_bytes_and_the_true_ones_beside() {
    let attributes: [&[u8]; 5] = [
        ORIGIN,
        &[0x40, 2, 6, 2, 2, 0x5b, 0xa0, 0xfc, 0],
        NEXT_HOP,
        &[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70],
        &[0xc0, 7, 6, 0x5b, 0xa0, 1, 2, 3, 4],
    ];
    let old = Context { four_octet_as: false, ..context(false) };
    let received = Update::parse(&body(&attributes, ROUTE), old).expect("valid");
    assert_eq!(received.faults, []);
    let attributes = received.update.attributes;
    assert_eq!(attributes.as_path.expect("there").asns().collect::<Vec<_>>(), [23_456, 64_512]);
    assert_eq!(attributes.as4_path.expect("there").asns().collect::<Vec<_>>(), [70_000]);
    assert_eq!(attributes.aggregator.expect("there").asn, 23_456);
}
