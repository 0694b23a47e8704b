//! One session: how it begins, what it agrees on, how it ends.

mod peer;

use std::sync::Arc;
use std::time::Duration;

use bgp::packet::{
    AfiSafi, Capability, ErrorCode, Families, GracefulRestart, MessageType, Notification, Open, RouteRefresh,
    Subtype, Update, keepalive,
};
use bgp::rib::{Change, Route};
use bgp::session::{Cause, Config, Input, Negotiated, Opening, Output, PeerAsn, RestartConfig, State, Stop};
use net::Family;
use peer::{OUR_ASN, PEER_ASN, PEER_ID, Subject, config, open};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with(capability: Capability) -> Open {
    let mut open = open();
    open.capabilities.push(capability);
    open
}

fn restart(restarted: bool, notification: bool) -> Capability {
    Capability::GracefulRestart(GracefulRestart {
        restarted,
        notification,
        restart_time: 120,
        families: vec![],
    })
}

fn gracefully(notification: bool) -> Config {
    Config { graceful_restart: Some(RestartConfig { time: secs(120), notification }), ..config() }
}

#[test]
fn a_session_goes_through_the_states_of_the_rfc_and_tells_its_routes() {
    let mut subject = Subject::new(config());
    assert!(matches!(subject.out.as_slice(), [Output::Connect(_), Output::StateChanged { .. }]));
    let route = Some(Arc::new(Route::default()));
    let prefix = "192.0.2.100/32".parse().expect("a prefix");
    subject.input(Input::Routes(&[Change { prefix, route }]));
    subject.connected(1);
    let sent = subject.sent(1);
    let ours = Open::parse(&sent[0].body).expect("valid");
    assert_eq!((ours.asn(), ours.hold_time, ours.identifier), (OUR_ASN, 180, peer::OUR_ID));
    subject.receive(1, &open().build());
    assert_eq!(subject.sent(1)[0].kind, MessageType::Keepalive);
    assert_eq!(subject.session.next_message(subject.now), None);
    subject.receive(1, &keepalive());
    let terms = subject.session.negotiated().expect("established").clone();
    assert_eq!((terms.peer_asn, terms.peer_id, terms.families), (PEER_ASN, PEER_ID, Families::BOTH));
    assert_eq!((terms.hold_time, terms.keepalive_time), (secs(90), secs(30)));
    let message = subject.session.next_message(subject.now).expect("a route is wanted");
    let update = Update::parse(
        peer::body(&message.bytes),
        bgp::packet::Context {
            four_octet_as: true,
            internal: false,
            families: Families::BOTH,
            extended_next_hop: false,
        },
    );
    assert_eq!(update.expect("valid").update.announced, [prefix]);
    assert_eq!(subject.session.next_message(subject.now), None, "the peer does not ask where routes end");
    let (states, reason) = subject.states();
    assert_eq!(states, [State::Connect, State::OpenSent, State::OpenConfirm, State::Established]);
    assert_eq!(reason.expect("changed").words, "established with AS 64513 (192.0.2.254)");
    assert_eq!((subject.session.sent().total(), subject.session.received().total()), (3, 2));
}

#[test]
fn the_peer_must_be_of_the_as_that_is_wanted() {
    let external = PEER_ASN;
    for (peer_asn, local_asn, said, accepted) in [
        (PeerAsn::Number(external), None, external, true),
        (PeerAsn::Number(external), None, OUR_ASN, false),
        (PeerAsn::Internal, None, OUR_ASN, true),
        (PeerAsn::Internal, None, external, false),
        (PeerAsn::External, None, external, true),
        (PeerAsn::External, None, OUR_ASN, false),
        // With another AS number for this peer, that one decides.
        (PeerAsn::External, Some(65_000), OUR_ASN, true),
        (PeerAsn::External, Some(65_000), 65_000, false),
        (PeerAsn::Internal, Some(65_000), 65_000, true),
        (PeerAsn::Number(4_200_000_000), None, 4_200_000_000, true),
        // Nobody has the number that stands for longer ones.
        (PeerAsn::External, None, 23_456, false),
    ] {
        let mut subject = Subject::new(Config { peer_asn, local_asn, ..config() });
        subject.connected(1);
        let ours = Open::parse(&subject.sent(1)[0].body).expect("valid");
        assert_eq!(ours.asn(), local_asn.unwrap_or(OUR_ASN));
        let capabilities = vec![Capability::FourOctetAs(said)];
        subject.receive(1, &Open::new(said, 90, PEER_ID, capabilities).build());
        if accepted {
            assert_eq!(subject.session.state(), State::OpenConfirm, "{peer_asn:?} {said}");
        } else {
            assert_eq!(subject.last_words(1).error, ErrorCode::BAD_PEER_AS, "{peer_asn:?} {said}");
            let words = &subject.session.last_error().expect("refused").words;
            assert!(words.contains("check peerASN of the BGPPeer"), "{words}");
        }
    }
}

#[test]
fn opens_that_do_not_suit_are_refused_with_the_right_notification() {
    let internal = Config { peer_asn: PeerAsn::Internal, ..config() };
    let twin = Open::new(OUR_ASN, 90, peer::OUR_ID, vec![Capability::FourOctetAs(OUR_ASN)]);
    let v6 = Config { families: Families::V6, ..config() };
    let v4_only = Open::new(PEER_ASN, 90, PEER_ID, vec![]);
    for (config, open, notification) in [
        (internal, twin, Notification::new(ErrorCode::BAD_BGP_IDENTIFIER)),
        (v6, v4_only, Notification::with_data(ErrorCode::UNSUPPORTED_CAPABILITY, &[1, 4, 0, 2, 0, 1])),
        (config(), Open { hold_time: 2, ..open() }, Notification::new(ErrorCode::UNACCEPTABLE_HOLD_TIME)),
    ] {
        let mut subject = Subject::new(config);
        subject.connected(1);
        subject.receive(1, &open.build());
        assert_eq!(subject.last_words(1), notification);
        assert_eq!(subject.session.state(), State::Idle);
    }
}

#[test]
fn terms_are_what_both_sides_are_capable_of() {
    let terms = |config: Config, open: &Open| -> Negotiated {
        Subject::established(config, open).session.negotiated().expect("established").clone()
    };
    // A router that knows nothing but RFC 4271.
    let old = terms(config(), &Open::new(PEER_ASN, 0, PEER_ID, vec![]));
    assert_eq!((old.families, old.four_octet_as, old.route_refresh), (Families::V4, false, false));
    assert_eq!((old.hold_time, old.keepalive_time), (Duration::ZERO, Duration::ZERO));
    let all = terms(gracefully(true), &with(restart(false, true)));
    assert!(all.graceful_restart && all.notification_restart && !all.extended_message);
    let half = terms(gracefully(true), &with(restart(false, false)));
    assert!(half.graceful_restart && !half.notification_restart);
    assert!(!terms(config(), &with(restart(false, true))).graceful_restart);
    assert!(terms(config(), &with(Capability::ExtendedMessage)).extended_message);
    for (hold, keepalive, theirs, agreed) in
        [(9, 3, 180, (9, 3)), (180, 60, 30, (30, 10)), (180, 5, 30, (30, 5)), (180, 0, 30, (30, 10))]
    {
        let config = Config { hold_time: secs(hold), keepalive_time: secs(keepalive), ..config() };
        let terms = terms(config, &Open { hold_time: theirs, ..open() });
        assert_eq!((terms.hold_time, terms.keepalive_time), (secs(agreed.0), secs(agreed.1)));
    }
}

#[test]
fn keepalives_go_out_within_a_third_of_the_hold_time_and_silence_ends_the_session() {
    let mut subject = Subject::established(config(), &Open { hold_time: 9, ..open() });
    for _ in 0..20 {
        subject.receive(1, &keepalive());
        let wait = subject.pass_to_timer();
        assert!((secs(9) / 4..=secs(3)).contains(&wait), "{wait:?}");
        assert_eq!(subject.sent(1)[0].kind, MessageType::Keepalive);
    }
    subject.receive(1, &keepalive());
    subject.pass(Duration::from_millis(8_999));
    assert_eq!(subject.session.state(), State::Established);
    subject.pass(Duration::from_millis(1));
    assert_eq!(subject.last_words(1).error, ErrorCode::HOLD_TIMER_EXPIRED);
    let error = subject.session.last_error().expect("ended");
    assert!(error.words.contains("hold time of 9 s"), "{error}");
}

#[test]
fn without_a_hold_time_neither_silence_nor_stuck_bytes_end_a_session() {
    let mut subject = Subject::established(config(), &Open { hold_time: 0, ..open() });
    assert_eq!(subject.session.poll_timeout(), None);
    subject.pass(secs(100_000));
    assert_eq!((subject.session.state(), subject.sent(1)), (State::Established, vec![]));
}

#[test]
fn a_peer_that_takes_no_bytes_is_given_up_although_it_is_alive() {
    let mut subject = Subject::established(config(), &Open { hold_time: 9, ..open() });
    let alive = |subject: &mut Subject, time: u64| {
        for _ in 0..time / 5 {
            subject.receive(1, &keepalive());
            subject.pass(secs(5));
        }
    };
    alive(&mut subject, 475);
    subject.input(Input::Written { connection: bgp::session::ConnectionId(1) });
    alive(&mut subject, 475);
    assert_eq!(subject.session.state(), State::Established);
    alive(&mut subject, 5);
    assert_eq!(subject.last_words(1).error, ErrorCode::SEND_HOLD_TIMER_EXPIRED);
}

#[test]
fn the_end_of_a_session_says_what_is_to_become_of_the_routes() {
    let drain = || Stop::Shutdown("node drain".to_owned());
    let said = Notification::with_communication(ErrorCode::ADMINISTRATIVE_SHUTDOWN, "node drain");
    let gone = Notification::new(ErrorCode::PEER_DECONFIGURED);
    let restarts = Notification::with_communication(ErrorCode::ADMINISTRATIVE_SHUTDOWN, "speaker restart");
    let cases: [(Config, Open, Stop, Option<Notification>); 7] = [
        (config(), open(), drain(), Some(said.clone())),
        (config(), open(), Stop::Deconfigured, Some(gone.clone())),
        (config(), open(), Stop::Restart, Some(restarts)),
        (gracefully(false), with(restart(false, false)), Stop::Restart, None),
        (gracefully(false), with(restart(false, true)), drain(), Some(said.clone())),
        (gracefully(true), with(restart(false, true)), drain(), Some(said.into_hard_reset())),
        (gracefully(true), with(restart(false, true)), Stop::Deconfigured, Some(gone.into_hard_reset())),
    ];
    for (config, open, stop, words) in cases {
        let mut subject = Subject::established(config, &open);
        subject.input(Input::Stop(stop.clone()));
        match words {
            Some(words) => assert_eq!(subject.last_words(1), words, "{stop:?}"),
            None => assert!(subject.closes(1) && subject.sent(1).is_empty(), "{stop:?}"),
        }
        assert_eq!((subject.session.state(), subject.session.poll_timeout()), (State::Idle, None));
        assert_eq!(subject.session.rib().counts().told, 0);
        subject.input(Input::Start);
        assert_eq!(subject.session.state(), State::Connect);
    }
}

#[test]
fn a_session_is_made_anew_only_for_a_change_that_the_peer_must_know() {
    let change = |config: Config| {
        let mut subject = Subject::established(peer::config(), &open());
        subject.input(Input::Configure(Box::new(config)));
        subject
    };
    for kept in [
        Config { connect_time: secs(5), ..config() },
        Config { opening: Opening::Both, ..config() },
        config(),
    ] {
        let subject = change(kept);
        assert_eq!((subject.session.state(), subject.out.len()), (State::Established, 0));
    }
    let mut password = config();
    password.transport.password = Some("new".to_owned());
    for anew in [
        password,
        Config { hold_time: secs(9), ..config() },
        Config { local_asn: Some(65_000), ..config() },
        Config { families: Families::V4, ..config() },
        gracefully(false),
    ] {
        let mut subject = change(anew);
        assert_eq!(subject.last_words(1).error, ErrorCode::CONFIGURATION_CHANGE);
        assert_eq!(subject.session.state(), State::Connect);
        assert_eq!(subject.session.last_error(), None);
    }
}

#[test]
fn resets_and_broken_paths_are_told_and_the_session_comes_back() {
    let mut subject = Subject::established(config(), &open());
    subject.input(Input::Reset("new key"));
    let words = Notification::with_communication(ErrorCode::ADMINISTRATIVE_RESET, "new key");
    assert_eq!((subject.last_words(1), subject.session.state()), (words, State::Connect));
    let mut subject = Subject::established(gracefully(true), &with(restart(false, true)));
    subject.input(Input::BfdDown);
    assert_eq!(subject.last_words(1), Notification::new(ErrorCode::BFD_DOWN).into_hard_reset());
    assert!(subject.pass_to_timer() <= secs(1));
    assert_eq!(subject.session.state(), State::Connect);
}

#[test]
fn what_a_peer_says_is_put_in_words_with_what_to_look_at() {
    let as_shown = Config { local_asn: Some(65_000), ..config() };
    for (config, error, words) in [
        (
            config(),
            ErrorCode::BAD_PEER_AS,
            "peer says: OPEN error, bad peer AS: it expects another AS than 64512; check myASN of the BGPPeer",
        ),
        (
            as_shown,
            ErrorCode::BAD_PEER_AS,
            "peer says: OPEN error, bad peer AS: it expects another AS than 65000; check localASN of the BGPPeer",
        ),
        (
            config(),
            ErrorCode::MAXIMUM_PREFIXES,
            "peer says: Cease, maximum number of prefixes reached: it takes fewer prefixes than are announced; raise its limit, or use aggregationLength",
        ),
        (config(), ErrorCode::new(6, 77), "peer says: Cease, subcode 77"),
    ] {
        let mut subject = Subject::new(config);
        subject.connected(1);
        subject.receive(1, &Notification::new(error).build());
        let told = subject.session.last_error().expect("told");
        assert_eq!((told.cause, told.words.as_str()), (Cause::Told(error), words));
    }
}

#[test]
fn messages_that_do_not_belong_there_and_bad_ones_end_the_session_as_the_rfcs_say() {
    let update = Update::end_of_rib(Family::V4).build(true);
    let refresh = RouteRefresh { family: AfiSafi::IPV4_UNICAST, subtype: Subtype::Request }.build();
    let mut bad = update.clone();
    bad[20] = 9;
    for (phase, message, error) in [
        (0, keepalive(), ErrorCode::FSM_OPEN_SENT),
        (0, update.clone(), ErrorCode::FSM_OPEN_SENT),
        (1, update, ErrorCode::FSM_OPEN_CONFIRM),
        (1, open().build(), ErrorCode::FSM_OPEN_CONFIRM),
        (2, open().build(), ErrorCode::FSM_ESTABLISHED),
        (2, bad, ErrorCode::MALFORMED_ATTRIBUTE_LIST),
        (2, vec![0; 19], ErrorCode::NOT_SYNCHRONIZED),
        (1, refresh, ErrorCode::FSM_OPEN_CONFIRM),
    ] {
        let mut subject = Subject::new(config());
        subject.connected(1);
        let before = [open().build(), keepalive()];
        before.iter().take(phase).for_each(|message| subject.receive(1, message));
        subject.receive(1, &message);
        assert_eq!(subject.last_words(1).error, error);
        assert_eq!(subject.session.state(), State::Idle);
        assert!(subject.session.poll_timeout().is_some(), "it is tried again");
    }
}

#[test]
fn a_bad_update_that_can_be_helped_is_told_once_and_does_not_end_the_session() {
    let mut subject = Subject::established(config(), &open());
    // An ORIGIN that does not exist, and a route.
    let body = [0, 0, 0, 4, 0x40, 1, 1, 9, 32, 192, 0, 2, 1];
    let mut message = vec![0xff; 16];
    message.extend([0, 32, 2]);
    message.extend(body);
    for _ in 0..100 {
        subject.receive(1, &message);
    }
    assert_eq!(subject.session.state(), State::Established);
    let told = subject.out.iter().filter(|output| matches!(output, Output::Malformed(_))).count();
    assert_eq!((told, subject.session.received().update), (1, 100));
}

#[test]
fn requests_for_routes_and_the_end_of_the_peers_routes_are_told() {
    let mut subject = Subject::established(config(), &open());
    for family in [AfiSafi::IPV6_UNICAST, AfiSafi { afi: 25, safi: 70 }] {
        subject.receive(1, &RouteRefresh { family, subtype: Subtype::Request }.build());
        subject.receive(1, &RouteRefresh { family, subtype: Subtype::Unknown(9) }.build());
    }
    for family in [Family::V4, Family::V6] {
        subject.receive(1, &Update::end_of_rib(family).build(true));
    }
    assert_eq!(
        subject.out,
        [Output::RefreshWanted(Family::V6), Output::EndOfRib(Family::V4), Output::EndOfRib(Family::V6)]
    );
}

#[test]
fn what_is_said_about_restarts_is_what_the_driver_knows() {
    let mut subject = Subject::new(gracefully(true));
    subject.input(Input::Restarting { restarted: true, forwarding: Families::V4 });
    let said = |subject: &mut Subject, id| -> GracefulRestart {
        subject.connected(id);
        let ours = Open::parse(&subject.sent(id)[0].body).expect("valid");
        let restart = ours.capabilities.into_iter().find_map(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        });
        restart.expect("it is configured")
    };
    let first = said(&mut subject, 1);
    assert!(first.restarted && first.notification && first.restart_time == 120);
    assert_eq!(first.families.iter().map(|family| family.forwarding).collect::<Vec<_>>(), [true, false]);
    subject.receive(1, &with(restart(false, false)).build());
    subject.receive(1, &keepalive());
    // Routes end for both families, as the peer knows of restarts.
    let ends = std::iter::from_fn(|| subject.session.next_message(subject.now)).count();
    assert_eq!(ends, 2);
    subject.input(Input::Reset("again"));
    let second = said(&mut subject, 2);
    assert!(!second.restarted, "the restart is over");
    assert!(second.families.iter().all(|family| family.forwarding), "and nothing has stopped since");
    let mut subject = Subject::new(gracefully(false));
    let never = said(&mut subject, 1);
    assert!(!never.restarted && never.families.iter().all(|family| family.forwarding), "nothing restarted");
    let mut subject = Subject::new(gracefully(false));
    subject.input(Input::Restarting { restarted: true, forwarding: Families::NONE });
    subject.pass(secs(120));
    while subject.session.state() != State::Connect {
        subject.pass_to_timer();
    }
    let late = said(&mut subject, 1);
    assert!(!late.restarted && late.families[0].forwarding, "no router keeps routes for so long");
}

#[test]
fn routes_that_cannot_be_told_have_a_reason_in_words() {
    let subject = Subject::established(config(), &Open::new(PEER_ASN, 90, PEER_ID, vec![]));
    assert_eq!(subject.session.untold(Family::V4), None);
    let words = subject.session.untold(Family::V6).expect("not told");
    assert!(words.contains("activate that address family"), "{words}");
}
