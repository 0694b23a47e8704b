//! Peers that mean no good, or are broken: the session ends as the RFCs say or goes on, in bounded memory.

mod peer;

use std::time::Duration;

use bgp::packet::{
    AsPath, Attributes, Capability, ErrorCode, HEADER_LEN, Notification, Open, Origin, Update, keepalive,
};
use bgp::session::State;
use ipnet::{IpNet, Ipv4Net};
use peer::{PEER_ASN, PEER_ID, Subject, config, open};

/// An UPDATE that announces so many routes from this one on.
fn announcement(first: u32, count: u32) -> Vec<u8> {
    let prefix = |number: u32| IpNet::V4(Ipv4Net::new_assert(number.to_be_bytes().into(), 32));
    let attributes = Attributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::of(PEER_ASN)),
        next_hop: Some(PEER_ID),
        ..Attributes::default()
    };
    let announced = (0..count).map(|number| prefix(0x0b00_0000 + first + number)).collect();
    Update { attributes, announced, ..Update::default() }.build(true)
}

#[test]
fn a_hundred_thousand_routes_are_checked_counted_and_forgotten() {
    let mut subject = Subject::established(config(), &open());
    let before = format!("{:?}", subject.session).len();
    for number in 0..200 {
        subject.receive(1, &announcement(number * 500, 500));
    }
    assert_eq!((subject.session.state(), subject.session.received().update), (State::Established, 200));
    assert!(subject.out.is_empty());
    // Nothing of them is kept: what there is to show of the session did not grow.
    assert!(format!("{:?}", subject.session).len() <= before + 16);
}

#[test]
fn a_peer_that_stalls_within_a_message_is_given_up_after_the_hold_time() {
    let message = announcement(0, 10);
    for cut in [1, HEADER_LEN - 1, HEADER_LEN, message.len() - 1] {
        let mut subject = Subject::established(config(), &Open { hold_time: 9, ..open() });
        subject.receive(1, &message[..cut]);
        // Bytes alone are no sign of life: one now and then would keep a dead session alive.
        subject.pass(Duration::from_millis(8_999));
        assert_eq!(subject.session.state(), State::Established);
        subject.pass(Duration::from_millis(1));
        assert_eq!(subject.last_words(1).error, ErrorCode::HOLD_TIMER_EXPIRED);
    }
}

#[test]
fn a_peer_that_sends_byte_by_byte_is_understood() {
    let mut subject = Subject::new(config());
    subject.connected(1);
    for byte in [open().build(), keepalive(), announcement(0, 3)].concat() {
        subject.receive(1, &[byte]);
    }
    assert_eq!((subject.session.state(), subject.session.received().update), (State::Established, 1));
}

#[test]
fn long_messages_are_taken_from_those_alone_who_were_told_that_they_may() {
    let long = announcement(0, 2_000);
    assert!(long.len() > 4_096);
    let mut subject = Subject::established(config(), &open());
    subject.receive(1, &long);
    assert_eq!(subject.session.state(), State::Established);

    // One who cannot bear capabilities was offered none.
    let mut subject = Subject::new(config());
    subject.connected(1);
    subject.receive(1, &Notification::new(ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER).build());
    subject.pass_to_timer();
    subject.connected(2);
    subject.receive(2, &Open::new(PEER_ASN, 90, PEER_ID, vec![]).build());
    subject.receive(2, &keepalive());
    assert_eq!(subject.session.state(), State::Established);
    subject.receive(2, &long);
    let length = u16::try_from(long.len()).expect("short enough").to_be_bytes();
    assert_eq!(subject.last_words(2), Notification::with_data(ErrorCode::BAD_LENGTH, &length));
}

#[test]
fn capabilities_that_nobody_knows_are_no_reason_to_refuse_and_broken_ones_are() {
    let with = |capability| {
        let mut open = open();
        open.capabilities.push(capability);
        open
    };
    let unknown = Capability::Unknown { code: 200, value: vec![1, 2, 3] };
    assert_eq!(Subject::established(config(), &with(unknown)).session.state(), State::Established);
    let mut subject = Subject::new(config());
    subject.connected(1);
    subject.receive(1, &with(Capability::Unknown { code: 65, value: vec![1] }).build());
    assert_eq!(subject.last_words(1), Notification::new(ErrorCode::OPEN_UNSPECIFIC));
}

#[test]
fn requests_for_all_routes_without_end_cost_no_memory() {
    use bgp::packet::{AfiSafi, RouteRefresh, Subtype};
    let mut subject = Subject::established(config(), &open());
    let request = RouteRefresh { family: AfiSafi::IPV4_UNICAST, subtype: Subtype::Request }.build();
    let before = format!("{:?}", subject.session).len();
    for _ in 0..10_000 {
        subject.receive(1, &request);
    }
    subject.out.clear();
    assert!(format!("{:?}", subject.session).len() <= before + 16);
    assert_eq!(subject.session.next_message(subject.now), None, "there are no routes");
}
