//! What an interface answers, announces and defends.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use l2::{Cause, Input, Instant, Link, Output, Responder, arp, ethernet, ndp};
use net::MacAddr;
use proptest::prelude::*;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const LINK: Link = Link { mac: OWN, carrier: true, arp: true, ndp: true };
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const PEER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn handle(responder: &mut Responder, millis: u64, input: Input<'_>) -> Vec<Output> {
    let mut out = Vec::new();
    responder.handle(at(millis), input, &mut out);
    out
}

/// An interface that holds both addresses and has made all its announcements.
fn settled() -> Responder {
    let mut responder = Responder::new(LINK);
    handle(&mut responder, 0, Input::Take(V4.into()));
    handle(&mut responder, 0, Input::Take(V6.into()));
    run_until(&mut responder, 10_000);
    responder
}

/// Fires the timers up to a time and returns what was done, with the times in milliseconds.
fn run_until(responder: &mut Responder, end: u64) -> Vec<(u64, Output)> {
    let mut done = Vec::new();
    while let Some(due) = responder.poll_timeout().filter(|&due| due <= at(end)) {
        let mut out = Vec::new();
        responder.handle(due, Input::Timeout, &mut out);
        let millis = u64::try_from(due.since_origin().as_millis()).expect("small");
        done.extend(out.into_iter().map(|output| (millis, output)));
    }
    done
}

fn arp_request(target: Ipv4Addr) -> arp::Packet {
    arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: PEER,
        sender_ip: PEER_V4,
        target_mac: MacAddr::ZERO,
        target_ip: target,
    }
}

fn solicitation(source: Ipv6Addr, destination: Ipv6Addr, source_link: Option<MacAddr>) -> ndp::Packet {
    ndp::Packet { source, destination, message: ndp::Message::Solicitation { target: V6, source_link } }
}

/// The only frame that was sent, and why.
fn sent(out: &[Output]) -> (Cause, &[u8]) {
    match out {
        [Output::Send { cause, frame, .. }] => (*cause, frame),
        other => panic!("expected one frame: {other:?}"),
    }
}

fn arp_of(frame: &[u8]) -> (ethernet::Frame<'_>, arp::Packet) {
    let frame = ethernet::Frame::parse(frame).expect("a whole frame");
    (frame, arp::Packet::parse(frame.payload).expect("an ARP packet"))
}

fn ndp_of(frame: &[u8]) -> (ethernet::Frame<'_>, ndp::Packet) {
    let frame = ethernet::Frame::parse(frame).expect("a whole frame");
    (frame, ndp::Packet::parse(frame.payload).expect("a neighbor message"))
}

#[test]
fn a_request_for_a_held_address_is_answered_to_the_asker_alone() {
    for destination in [MacAddr::BROADCAST, OWN] {
        let out = handle(&mut settled(), 20_000, Input::Frame(&arp_request(V4).frame(destination)));
        let (cause, frame) = sent(&out);
        assert_eq!(cause, Cause::Reply);
        let (frame, packet) = arp_of(frame);
        assert_eq!((frame.source, frame.destination), (OWN, PEER));
        assert_eq!(packet, arp_request(V4).reply(OWN));
    }
}

#[test]
fn every_other_arp_frame_is_ignored() {
    let request = arp_request(V4);
    let reply = arp::Packet { operation: arp::Operation::Reply, ..request };
    let nobody = arp::Packet { sender_mac: MacAddr::ZERO, ..request };
    let everyone = arp::Packet { sender_mac: MacAddr::BROADCAST, ..request };
    for (name, frame) in [
        ("a reply", reply.frame(OWN)),
        ("another target", arp_request(Ipv4Addr::new(192, 0, 2, 51)).frame(MacAddr::BROADCAST)),
        ("a frame for another station", request.frame(MacAddr([2, 0, 0, 0, 0, 7]))),
        ("a frame for a group", request.frame(MacAddr([1, 0, 0x5e, 0, 0, 1]))),
        ("a sender of zeros", nobody.frame(OWN)),
        ("a sender that is everyone", everyone.frame(OWN)),
        ("an own frame", arp::Packet { sender_mac: OWN, ..request }.frame(MacAddr::BROADCAST)),
        ("a truncated frame", request.frame(OWN).get(..41).expect("long enough").to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(handle(&mut settled(), 20_000, Input::Frame(&frame)), [], "{name}");
    }
}

#[test]
fn an_arp_probe_for_a_held_address_is_answered_so_that_the_prober_stays_away() {
    let probe = arp::Packet { sender_ip: Ipv4Addr::UNSPECIFIED, ..arp_request(V4) };
    let out = handle(&mut settled(), 20_000, Input::Frame(&probe.frame(MacAddr::BROADCAST)));
    assert_eq!(arp_of(sent(&out).1).1.sender_ip, V4);
}

#[test]
fn a_solicitation_is_answered_with_solicited_and_override_and_the_link_layer_address() {
    let group = ndp::solicited_node(V6);
    for (name, packet, destination) in [
        ("to the group", solicitation(PEER_V6, group, Some(PEER)), ndp::multicast_mac(group)),
        ("a unicast probe", solicitation(PEER_V6, V6, Some(PEER)), OWN),
        ("a unicast probe without a link-layer address", solicitation(PEER_V6, V6, None), OWN),
        (
            "to the group without a link-layer address",
            solicitation(PEER_V6, group, None),
            ndp::multicast_mac(group),
        ),
    ] {
        let out = handle(&mut settled(), 20_000, Input::Frame(&packet.frame(PEER, destination)));
        let (cause, frame) = sent(&out);
        assert_eq!(cause, Cause::Reply, "{name}");
        let (frame, answer) = ndp_of(frame);
        assert_eq!((frame.source, frame.destination), (OWN, PEER), "{name}");
        assert_eq!(answer, ndp::Packet::advertisement(V6, OWN, Some(PEER_V6)), "{name}");
    }
}

#[test]
fn duplicate_address_detection_by_another_host_is_answered_to_all_nodes() {
    let group = ndp::solicited_node(V6);
    let question = solicitation(Ipv6Addr::UNSPECIFIED, group, None).frame(PEER, ndp::multicast_mac(group));
    let out = handle(&mut settled(), 20_000, Input::Frame(&question));
    let (frame, answer) = ndp_of(sent(&out).1);
    assert_eq!(frame.destination.to_string(), "33:33:00:00:00:01");
    assert_eq!(answer, ndp::Packet::advertisement(V6, OWN, None));
    let ndp::Message::Advertisement { solicited, overrides, .. } = answer.message else {
        panic!("{answer:?}")
    };
    assert!(!solicited && overrides);
}

#[test]
fn every_other_solicitation_is_ignored() {
    let group = ndp::solicited_node(V6);
    let other: Ipv6Addr = "2001:db8::51".parse().expect("an address");
    let for_other = ndp::Packet {
        source: PEER_V6,
        destination: ndp::solicited_node(other),
        message: ndp::Message::Solicitation { target: other, source_link: Some(PEER) },
    };
    let mut routed = solicitation(PEER_V6, V6, Some(PEER)).frame(PEER, OWN);
    *routed.get_mut(14 + 7).expect("the hop limit") = 64;
    let to_all = solicitation(PEER_V6, ndp::ALL_NODES, Some(PEER));
    for (name, frame) in [
        ("another target", for_other.frame(PEER, ndp::multicast_mac(ndp::solicited_node(other)))),
        ("another station", solicitation(PEER_V6, V6, Some(PEER)).frame(PEER, MacAddr([2, 0, 0, 0, 0, 7]))),
        ("all nodes", to_all.frame(PEER, ndp::multicast_mac(ndp::ALL_NODES))),
        ("from beyond a router", routed),
        ("a group as asker", solicitation(PEER_V6, group, Some(MacAddr::BROADCAST)).frame(PEER, OWN)),
    ] {
        assert_eq!(handle(&mut settled(), 20_000, Input::Frame(&frame)), [], "{name}");
    }
}

#[test]
fn a_family_that_the_link_does_not_speak_is_neither_answered_nor_announced() {
    let mut responder = Responder::new(Link { arp: false, ndp: false, ..LINK });
    assert_eq!(handle(&mut responder, 0, Input::Take(V4.into())), []);
    assert_eq!(handle(&mut responder, 0, Input::Take(V6.into())), []);
    assert_eq!(responder.poll_timeout(), None);
    let frame = arp_request(V4).frame(MacAddr::BROADCAST);
    assert_eq!(handle(&mut responder, 0, Input::Frame(&frame)), []);
    let frame = solicitation(PEER_V6, V6, Some(PEER)).frame(PEER, OWN);
    assert_eq!(handle(&mut responder, 0, Input::Frame(&frame)), []);
}

#[test]
fn taking_an_address_announces_it_by_request_and_reply_on_schedule() {
    let mut responder = Responder::new(LINK);
    let mut all: Vec<_> =
        handle(&mut responder, 0, Input::Take(V4.into())).into_iter().map(|o| (0, o)).collect();
    assert_eq!(handle(&mut responder, 50, Input::Take(V4.into())), [], "a second take says nothing");
    all.extend(run_until(&mut responder, 60_000));
    let times: Vec<u64> = all.iter().map(|&(millis, _)| millis).collect();
    assert_eq!(times, [0, 0, 100, 100, 1_100, 1_100, 2_200, 2_200, 5_000, 5_000]);
    for (i, (_, output)) in all.iter().enumerate() {
        let (cause, frame) = sent(std::slice::from_ref(output));
        let (frame, packet) = arp_of(frame);
        assert_eq!((cause, frame.destination), (Cause::Announcement, MacAddr::BROADCAST));
        assert_eq!((packet.sender_mac, packet.sender_ip, packet.target_ip), (OWN, V4, V4));
        assert_eq!(packet.operation == arp::Operation::Request, i % 2 == 0);
    }
}

#[test]
fn a_paced_interface_announces_many_addresses_one_after_the_other_and_answers_for_all_at_once() {
    let address = |number: u16| Ipv4Addr::from_bits(0x0a00_0000 + u32::from(number));
    let mut responder = Responder::new(LINK).paced(200);
    let mut times: Vec<u64> = Vec::new();
    let requests = |out: &[Output]| {
        let is_request = |output: &&Output| matches!(output, Output::Send { frame, .. } if arp_of(frame).1.operation == arp::Operation::Request);
        out.iter().filter(is_request).count()
    };
    for number in 0..200 {
        let out = handle(&mut responder, 0, Input::Take(address(number).into()));
        times.extend(vec![0; requests(&out)]);
    }
    assert_eq!(times.len(), 1, "the first is announced at once");
    let frame = arp_request(address(199)).frame(MacAddr::BROADCAST);
    assert_eq!(handle(&mut responder, 0, Input::Frame(&frame)).len(), 1, "the last is answered for already");
    for (time, output) in run_until(&mut responder, 60_000) {
        times.extend(vec![time; requests(&[output])]);
    }
    assert_eq!(times.len(), 200 * 5, "each is announced five times");
    for (first, &time) in times.iter().enumerate() {
        let within = times.iter().skip(first).take_while(|&&other| other < time + 1_000).count();
        assert!(within <= 105, "{within} announcements in the second from {time} ms on");
    }
    assert!(times.last().is_some_and(|last| *last < 16_000), "{:?}", times.last());
}

#[test]
fn what_is_held_on_is_announced_again_where_that_is_asked_for() {
    let refresh = Duration::from_secs(30);
    for (refresh, expected) in [(None, 0), (Some(refresh), 20)] {
        let mut responder = Responder::new(LINK).refreshing(refresh);
        handle(&mut responder, 0, Input::Take(V4.into()));
        handle(&mut responder, 0, Input::Take(V6.into()));
        run_until(&mut responder, 60_000);
        let sent = run_until(&mut responder, 360_000);
        let of = |address: IpAddr| {
            let is = |output: &Output| matches!(output, Output::Send { address: other, cause: Cause::Announcement, .. } if *other == address);
            sent.iter().filter(|(_, output)| is(output)).count()
        };
        assert_eq!(
            (of(V4.into()), of(V6.into())),
            (expected, expected / 2),
            "request and reply; one advertisement"
        );
        handle(&mut responder, 360_000, Input::Release(V4.into()));
        handle(&mut responder, 360_000, Input::Release(V6.into()));
        assert_eq!(responder.poll_timeout(), None);
    }
}

#[test]
fn the_group_is_joined_before_the_first_advertisement() {
    let mut responder = Responder::new(LINK);
    let out = handle(&mut responder, 0, Input::Take(V6.into()));
    let [Output::Join(group), Output::Send { frame, cause: Cause::Announcement, .. }] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!(*group, ndp::solicited_node(V6));
    assert_eq!(ndp_of(frame).1, ndp::Packet::advertisement(V6, OWN, None));
    let times: Vec<u64> = run_until(&mut responder, 60_000).iter().map(|&(millis, _)| millis).collect();
    assert_eq!(times, [1_100, 2_200]);
}

#[test]
fn a_group_that_two_addresses_share_is_left_with_the_last() {
    let sibling: Ipv6Addr = "2001:db8:1::50".parse().expect("an address");
    let mut responder = settled();
    let joins =
        |out: Vec<Output>| out.iter().filter(|o| matches!(o, Output::Join(_) | Output::Leave(_))).count();
    assert_eq!(joins(handle(&mut responder, 20_000, Input::Take(sibling.into()))), 0);
    assert_eq!(handle(&mut responder, 20_000, Input::Release(V6.into())), []);
    let out = handle(&mut responder, 20_000, Input::Release(sibling.into()));
    assert_eq!(out, [Output::Leave(ndp::solicited_node(V6))]);
    assert_eq!(handle(&mut responder, 20_000, Input::Release(sibling.into())), []);
}

#[test]
fn a_released_address_is_neither_answered_nor_announced_any_more() {
    let mut responder = Responder::new(LINK);
    handle(&mut responder, 0, Input::Take(V4.into()));
    assert_eq!(handle(&mut responder, 50, Input::Release(V4.into())), []);
    assert_eq!(responder.poll_timeout(), None);
    let frame = arp_request(V4).frame(MacAddr::BROADCAST);
    assert_eq!(handle(&mut responder, 60, Input::Frame(&frame)), []);
}

#[test]
fn a_new_hardware_address_or_carrier_announces_everything_again() {
    let other = MacAddr([2, 0, 0, 0, 0, 2]);
    for (name, changes) in [
        ("hardware address", vec![Link { mac: other, ..LINK }]),
        ("carrier", vec![Link { carrier: false, ..LINK }, LINK]),
    ] {
        let mut responder = settled();
        assert_eq!(handle(&mut responder, 20_000, Input::Link(LINK)), [], "no change says nothing");
        let last = changes.last().expect("one change").mac;
        let out =
            changes.into_iter().fold(Vec::new(), |_, link| handle(&mut responder, 20_000, Input::Link(link)));
        assert_eq!(out.len(), 3, "{name}: two ARP frames and one advertisement");
        for output in &out {
            let (_, frame) = sent(std::slice::from_ref(output));
            assert_eq!(ethernet::Frame::parse(frame).expect("a frame").source, last, "{name}");
        }
        assert_eq!(run_until(&mut responder, 60_000).len(), 8 + 2, "{name}");
    }
}

#[test]
fn nothing_is_sent_without_a_carrier() {
    let mut responder = Responder::new(LINK);
    handle(&mut responder, 0, Input::Take(V4.into()));
    assert_eq!(handle(&mut responder, 50, Input::Link(Link { carrier: false, ..LINK })), []);
    assert_eq!(responder.poll_timeout(), None);
}

#[test]
fn groups_follow_the_link_when_it_begins_or_ceases_to_speak_neighbor_discovery() {
    let mut responder = settled();
    let group = ndp::solicited_node(V6);
    let out = handle(&mut responder, 20_000, Input::Link(Link { ndp: false, ..LINK }));
    assert!(out.contains(&Output::Leave(group)), "{out:?}");
    let out = handle(&mut responder, 30_000, Input::Link(LINK));
    assert!(out.contains(&Output::Join(group)), "{out:?}");
}

/// A packet by which another host claims the address.
fn claims() -> Vec<(&'static str, IpAddr, Vec<u8>)> {
    let request = arp::Packet { sender_ip: V4, ..arp_request(PEER_V4) };
    let gratuitous = arp::Packet::gratuitous(arp::Operation::Reply, V4, PEER);
    let everyone = ndp::multicast_mac(ndp::ALL_NODES);
    let source = ndp::Packet {
        source: V6,
        destination: ndp::solicited_node(PEER_V6),
        message: ndp::Message::Solicitation { target: PEER_V6, source_link: Some(PEER) },
    };
    vec![
        ("a request from the address", V4.into(), request.frame(MacAddr::BROADCAST)),
        ("a gratuitous reply", V4.into(), gratuitous.frame(MacAddr::BROADCAST)),
        ("an advertisement", V6.into(), ndp::Packet::advertisement(V6, PEER, None).frame(PEER, everyone)),
        ("a solicitation from the address", V6.into(), source.frame(PEER, everyone)),
    ]
}

#[test]
fn a_host_that_insists_on_our_address_is_reported_after_a_defence() {
    for (name, address, claim) in claims() {
        let mut responder = settled();
        assert_eq!(
            handle(&mut responder, 20_000, Input::Frame(&claim)),
            [],
            "{name}: the first claim may be a handover"
        );
        let done = run_until(&mut responder, 21_000);
        assert!(done.iter().all(|&(millis, _)| millis == 21_000), "{name}: {done:?}");
        let causes: Vec<Cause> =
            done.iter().map(|(_, output)| sent(std::slice::from_ref(output)).0).collect();
        assert_eq!(causes.iter().filter(|&&c| c == Cause::Probe).count(), 1, "{name}");
        assert!(causes.contains(&Cause::Defence), "{name}");
        let out = handle(&mut responder, 21_010, Input::Frame(&claim));
        assert_eq!(out, [Output::Conflict { address, mac: PEER }], "{name}");
    }
}

#[test]
fn a_claim_that_is_not_repeated_is_defended_once_and_forgotten() {
    let (_, _, claim) = claims().remove(1);
    let mut responder = settled();
    handle(&mut responder, 20_000, Input::Frame(&claim));
    assert_eq!(run_until(&mut responder, 60_000).len(), 3, "request, reply and probe");
    assert_eq!(responder.poll_timeout(), None);
}

#[test]
fn defence_comes_at_most_once_in_ten_seconds() {
    let (_, _, claim) = claims().remove(1);
    let mut responder = settled();
    let mut defences = Vec::new();
    for millis in (20_000..60_000).step_by(100) {
        for (at, output) in run_until(&mut responder, millis) {
            if matches!(output, Output::Send { cause: Cause::Defence, .. }) {
                defences.push(at);
            }
        }
        handle(&mut responder, millis, Input::Frame(&claim));
    }
    defences.dedup();
    assert_eq!(defences, [21_000, 31_000, 41_000, 51_000]);
}

#[test]
fn the_nodes_other_interfaces_are_no_rivals() {
    let (_, _, claim) = claims().remove(1);
    let mut responder = settled();
    handle(&mut responder, 20_000, Input::Allies(HashSet::from([PEER])));
    handle(&mut responder, 20_000, Input::Frame(&claim));
    assert_eq!(responder.poll_timeout(), None);
}

#[test]
fn another_speaker_s_claim_is_no_conflict_and_is_told_once_until_the_holder_has_announced_again() {
    for (name, address, claim) in claims() {
        let mut responder = settled();
        handle(&mut responder, 20_000, Input::Members(HashSet::from([PEER])));
        let mut told = Vec::new();
        let mut sent = Vec::new();
        for millis in (20_000..60_000).step_by(100) {
            sent.extend(run_until(&mut responder, millis));
            let out = handle(&mut responder, millis, Input::Frame(&claim));
            let is_claim = |output: &Output| *output == Output::Claimed { address, mac: PEER };
            if out.iter().any(is_claim) {
                told.push(millis);
            }
            assert!(out.iter().all(is_claim), "{name}: {out:?}");
        }
        assert_eq!(told, [20_000, 21_000, 31_000, 41_000, 51_000], "{name}");
        let defence = |output: &Output| matches!(output, Output::Send { cause: Cause::Defence, .. });
        assert!(
            sent.iter().all(|(_, output)| defence(output)),
            "{name}: neither probes nor conflicts: {sent:?}"
        );
        let mut times: Vec<u64> = sent.iter().map(|(millis, _)| *millis).collect();
        times.dedup();
        assert_eq!(times, [21_000, 31_000, 41_000, 51_000], "{name}");
    }
}

#[test]
fn an_address_that_was_yielded_to_another_speaker_is_not_defended() {
    let (_, address, claim) = claims().remove(1);
    let mut responder = settled();
    handle(&mut responder, 20_000, Input::Members(HashSet::from([PEER])));
    assert_eq!(
        handle(&mut responder, 20_000, Input::Frame(&claim)),
        [Output::Claimed { address, mac: PEER }]
    );
    handle(&mut responder, 20_001, Input::Release(address));
    assert_eq!(run_until(&mut responder, 60_000), []);
}

#[test]
fn a_stranger_is_found_although_another_speaker_claims_the_address_too() {
    let (_, address, claim) = claims().remove(1);
    let member = MacAddr([2, 0, 0, 0, 1, 77]);
    let of_member = arp::Packet::gratuitous(arp::Operation::Reply, V4, member).frame(MacAddr::BROADCAST);
    let mut responder = settled();
    handle(&mut responder, 20_000, Input::Members(HashSet::from([member])));
    handle(&mut responder, 20_000, Input::Frame(&of_member));
    handle(&mut responder, 20_500, Input::Frame(&claim));
    let defended = run_until(&mut responder, 21_500);
    assert!(defended.iter().all(|&(millis, _)| millis == 21_500), "{defended:?}");
    assert_eq!(handle(&mut responder, 21_510, Input::Frame(&of_member)), []);
    let out = handle(&mut responder, 21_520, Input::Frame(&claim));
    assert_eq!(out, [Output::Conflict { address, mac: PEER }]);
}

#[test]
fn an_address_given_up_in_time_is_not_defended() {
    let (_, address, claim) = claims().remove(1);
    let mut responder = settled();
    handle(&mut responder, 20_000, Input::Frame(&claim));
    handle(&mut responder, 20_500, Input::Release(address));
    assert_eq!(run_until(&mut responder, 60_000), []);
}

proptest! {
    #[test]
    fn no_frame_makes_the_responder_panic_or_answer_for_what_it_does_not_hold(
        bytes in proptest::collection::vec(any::<u8>(), 0..120), is_arp: bool, millis in 0_u64..100_000
    ) {
        let mut responder = settled();
        let mut frame = bytes;
        if let Some(kind) = frame.get_mut(12..14) {
            kind.copy_from_slice(&if is_arp { ethernet::TYPE_ARP } else { ethernet::TYPE_IPV6 }.to_be_bytes());
        }
        for output in handle(&mut responder, millis, Input::Frame(&frame)) {
            let Output::Send { address, .. } = output else { continue };
            prop_assert!(address == IpAddr::from(V4) || address == IpAddr::from(V6));
        }
    }
}
