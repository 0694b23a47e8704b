//! The connections of a session: when they are tried, and which of several stays.

mod peer;

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::packet::{Capability, ErrorCode, GracefulRestart, Notification, Open, keepalive};
use bgp::session::{Cause, Config, ConnectError, Input, Opening, Output, PeerAsn, State};
use peer::{OUR_ASN, PEER_ASN, Subject, config, open};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with(capability: Capability) -> Open {
    let mut open = open();
    open.capabilities.push(capability);
    open
}

fn restart(restarted: bool) -> Capability {
    Capability::GracefulRestart(GracefulRestart {
        restarted,
        restart_time: 120,
        ..GracefulRestart::default()
    })
}

#[test]
fn a_peer_that_is_silent_before_its_open_is_given_up_after_four_minutes() {
    let mut subject = Subject::new(config());
    subject.connected(1);
    subject.pass(secs(239));
    assert_eq!(subject.session.state(), State::OpenSent);
    subject.pass(secs(1));
    assert_eq!(subject.last_words(1).error, ErrorCode::HOLD_TIMER_EXPIRED);
}

#[test]
fn attempts_to_connect_come_less_and_less_often_until_a_session_lasted() {
    let mut subject = Subject::new(Config { connect_time: secs(8), ..config() });
    for longest in [1, 2, 4, 8, 8] {
        subject.input(Input::ConnectFailed(ConnectError::Refused));
        assert_eq!(subject.session.state(), State::Active);
        let wait = subject.pass_to_timer();
        assert!(wait <= secs(longest) && wait >= secs(longest) * 3 / 4, "{wait:?}");
        assert_eq!(subject.session.state(), State::Connect);
    }
    // No answer at all: the attempt is called off.
    let wait = subject.pass_to_timer();
    assert_eq!(wait, secs(8));
    assert!(subject.out.contains(&Output::CancelConnect));
    subject.pass_to_timer();
    // A peer that ends each session at once is not hammered.
    let mut waits = Vec::new();
    for id in 10..20 {
        subject.connected(id);
        subject.receive(id, &open().build());
        subject.receive(id, &keepalive());
        subject.receive(id, &Notification::new(ErrorCode::ADMINISTRATIVE_SHUTDOWN).build());
        assert_eq!(subject.session.state(), State::Idle);
        waits.push(subject.pass_to_timer());
    }
    assert!(waits.last().is_some_and(|wait| *wait >= secs(45) && *wait <= secs(60)), "{waits:?}");
    // After one that lasted, the next comes soon.
    subject.connected(20);
    subject.receive(20, &Open { hold_time: 0, ..open() }.build());
    subject.receive(20, &keepalive());
    subject.pass(secs(30));
    subject.input(Input::Closed { connection: bgp::session::ConnectionId(20), error: None });
    assert!(subject.pass_to_timer() <= secs(1));
}

#[test]
fn a_peer_that_cannot_bear_capabilities_gets_fewer() {
    let codes = |subject: &mut Subject, id| -> Vec<u8> {
        subject.connected(id);
        let ours = Open::parse(&subject.sent(id)[0].body).expect("valid");
        ours.capabilities.iter().map(Capability::code).collect()
    };
    let all = vec![1, 1, 2, 6, 65, 70];
    for (answer, reduced) in [
        (Notification::new(ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER), vec![]),
        (Notification::new(ErrorCode::UNSUPPORTED_CAPABILITY), vec![]),
        (Notification::with_data(ErrorCode::UNSUPPORTED_CAPABILITY, &[70, 0, 6, 0]), vec![1, 1, 2, 65]),
        // What it names is not ours to leave out.
        (Notification::with_data(ErrorCode::UNSUPPORTED_CAPABILITY, &[1, 4, 0, 25, 0, 65]), all.clone()),
        (Notification::with_data(ErrorCode::UNSUPPORTED_CAPABILITY, &[9, 1, 0]), all.clone()),
        (Notification::new(ErrorCode::BAD_PEER_AS), all.clone()),
    ] {
        let mut subject = Subject::new(config());
        assert_eq!(codes(&mut subject, 1), all);
        subject.receive(1, &answer.build());
        subject.pass_to_timer();
        assert_eq!(codes(&mut subject, 2), reduced, "{answer}");
        // The end of a connection for another reason changes nothing.
        subject.receive(2, &Notification::new(ErrorCode::ADMINISTRATIVE_RESET).build());
        subject.pass_to_timer();
        assert_eq!(codes(&mut subject, 3), reduced, "{answer}");
        // It was not the capabilities: all are offered again.
        subject.receive(3, &Notification::new(ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER).build());
        subject.pass_to_timer();
        let expected = if reduced == all { vec![] } else { all.clone() };
        assert_eq!(codes(&mut subject, 4), expected, "{answer}");
    }
}

#[test]
fn of_two_connections_that_of_the_greater_identifier_stays() {
    let (low, high) = (Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(223, 1, 1, 1));
    for (peer_id, peer_asn, outgoing_stays) in [
        (low, PEER_ASN, true),
        (high, PEER_ASN, false),
        // The same identifier: the greater AS number decides.
        (peer::OUR_ID, OUR_ASN - 1, true),
        (peer::OUR_ID, OUR_ASN + 1, false),
    ] {
        for outgoing_first in [true, false] {
            let both = Config { opening: Opening::Both, peer_asn: PeerAsn::Number(peer_asn), ..config() };
            let mut subject = Subject::new(both);
            let theirs = Open::new(peer_asn, 90, peer_id, vec![Capability::FourOctetAs(peer_asn)]);
            subject.accepted(2);
            subject.connected(1);
            let (first, second) = if outgoing_first { (1, 2) } else { (2, 1) };
            subject.receive(first, &theirs.build());
            subject.receive(second, &theirs.build());
            let (stays, goes) = if outgoing_stays { (1, 2) } else { (2, 1) };
            assert_eq!(subject.last_words(goes).error, ErrorCode::COLLISION_RESOLUTION);
            assert!(!subject.closes(stays));
            subject.receive(stays, &keepalive());
            assert_eq!(subject.session.state(), State::Established);
            assert_eq!(subject.session.last_error(), None, "a collision is no error");
        }
    }
}

#[test]
fn an_established_session_stays_unless_the_peer_lost_it_in_a_restart() {
    let both = || Config { opening: Opening::Both, ..config() };
    for (established, again, waited, replaced) in [
        (open(), open(), 100, false),
        (with(restart(false)), with(restart(true)), 0, true),
        (with(restart(false)), with(restart(false)), 0, false),
        (with(restart(false)), with(restart(false)), 10, true),
    ] {
        let mut subject = Subject::established(both(), &Open { hold_time: 0, ..established });
        subject.pass(secs(waited));
        subject.accepted(2);
        assert_eq!(subject.session.state(), State::Established);
        subject.receive(2, &again.build());
        if replaced {
            assert!(subject.closes(1) && subject.sent(1).is_empty(), "closed without a word");
            assert_eq!(subject.session.state(), State::OpenConfirm);
            assert_eq!(subject.states().1.map(|reason| reason.cause), Some(Cause::Progress));
            assert_eq!(subject.session.last_error().map(|error| error.cause), Some(Cause::PeerRestarted));
        } else {
            assert_eq!(subject.last_words(2).error, ErrorCode::COLLISION_RESOLUTION);
            assert_eq!(subject.session.state(), State::Established);
        }
    }
}

#[test]
fn connections_come_in_only_where_they_are_wanted() {
    let mut subject = Subject::new(config());
    subject.accepted(7);
    assert_eq!(subject.last_words(7).error, ErrorCode::CONNECTION_REJECTED);
    let mut subject = Subject::new(Config { opening: Opening::Passive, ..config() });
    assert_eq!((subject.session.state(), subject.session.poll_timeout()), (State::Active, None));
    subject.accepted(1);
    // The peer gave up and comes again.
    subject.accepted(2);
    assert!(subject.closes(1));
    subject.receive(2, &open().build());
    subject.receive(2, &keepalive());
    assert_eq!(subject.session.state(), State::Established);
    subject.input(Input::Closed { connection: bgp::session::ConnectionId(2), error: Some("reset") });
    subject.accepted(3);
    assert_eq!(subject.session.state(), State::OpenSent);
}

#[test]
fn a_peer_that_comes_again_and_again_in_vain_is_refused_for_a_moment() {
    let mut subject = Subject::new(Config { opening: Opening::Passive, ..config() });
    for id in 1..=3 {
        subject.accepted(id);
        subject.receive(id, &[0; 19]);
        assert_eq!(subject.last_words(id).error, ErrorCode::NOT_SYNCHRONIZED);
    }
    subject.accepted(4);
    assert_eq!(subject.last_words(4).error, ErrorCode::CONNECTION_REJECTED);
    subject.pass(Duration::from_millis(750));
    subject.accepted(5);
    assert!(!subject.closes(5));
}
