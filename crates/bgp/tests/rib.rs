//! The Adj-RIB-Out: after any history a peer knows what is wanted, and was told no more than needed.

mod router;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::packet::{Community, Families, HEADER_LEN, LargeCommunity, NextHop, PerFamily, SegmentKind, Update};
use bgp::rib::{AdjRibOut, Change, Outbound, Route};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use net::Family;
use proptest::prelude::*;
use router::Router;

const V4: NextHop = NextHop::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

fn v6() -> NextHop {
    NextHop::Address("2001:db8::1".parse().expect("an address"))
}

fn external() -> Outbound {
    Outbound {
        internal: false,
        local_asn: 64_512,
        four_octet_as: true,
        families: Families::BOTH,
        next_hops: PerFamily { v4: Some(V4), v6: Some(v6()) },
        end_of_rib: true,
        enhanced_refresh: true,
    }
}

fn internal() -> Outbound {
    Outbound { internal: true, ..external() }
}

fn host(family: Family, number: u32) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0a00_0000 + number), 32)),
        Family::V6 => {
            let bits = 0x2001_0db8_u128 << 96 | u128::from(number);
            IpNet::V6(Ipv6Net::new_assert(bits.into(), 128))
        }
    }
}

fn route(community: u16) -> Arc<Route> {
    Arc::new(Route { communities: [Community::new(64_512, community)].into(), ..Route::default() })
}

fn wanted(rib: &mut AdjRibOut, prefix: IpNet, route: &Arc<Route>) {
    rib.change(&Change { prefix, route: Some(Arc::clone(route)) });
}

fn unwanted(rib: &mut AdjRibOut, prefix: IpNet) {
    rib.change(&Change { prefix, route: None });
}

/// All messages until the peer knows everything.
fn drain(rib: &mut AdjRibOut, router: &mut Router) -> usize {
    let mut count = 0;
    while let Some(message) = rib.next_message() {
        router.receive(&message);
        count += 1;
    }
    assert!(rib.is_settled());
    count
}

#[test]
fn ten_thousand_prefixes_of_one_kind_take_few_messages_and_so_does_withdrawing_them() {
    for (family, next_hop, announcements, withdrawals) in
        [(Family::V4, V4, 13, 13), (Family::V6, v6(), 43, 42), (Family::V4, v6(), 13, 13)]
    {
        let mut rib = AdjRibOut::new();
        for number in 0..10_000 {
            wanted(&mut rib, host(family, number), &route(1));
        }
        let next_hops = PerFamily { v4: Some(next_hop), v6: Some(next_hop) };
        rib.up(Outbound { families: Families::only(family), next_hops, end_of_rib: false, ..external() });
        let mut router = Router::new(false);
        assert_eq!(drain(&mut rib, &mut router), announcements, "{family} over {next_hop:?}");
        assert_eq!(router.routes.len(), 10_000);
        for number in 0..10_000 {
            unwanted(&mut rib, host(family, number));
        }
        assert_eq!(drain(&mut rib, &mut router), withdrawals, "{family} over {next_hop:?}");
        assert!(router.routes.is_empty());
        assert_eq!(rib.counts(), bgp::rib::Counts::default());
    }
}

#[test]
fn the_end_of_the_first_routes_is_told_once_for_each_family() {
    let (mut rib, mut router) = (AdjRibOut::new(), Router::new(false));
    wanted(&mut rib, host(Family::V6, 1), &route(1));
    rib.up(external());
    assert_eq!(drain(&mut rib, &mut router), 3);
    assert_eq!(router.ended, [Family::V4, Family::V6]);
    wanted(&mut rib, host(Family::V4, 1), &route(1));
    assert_eq!(drain(&mut rib, &mut router), 1);
    assert_eq!(router.ended.len(), 2);
}

#[test]
fn what_changes_back_before_the_peer_listens_is_never_told() {
    let (mut rib, mut router) = (AdjRibOut::new(), Router::new(false));
    rib.up(external());
    let (one, two) = (host(Family::V4, 1), host(Family::V4, 2));
    wanted(&mut rib, one, &route(1));
    drain(&mut rib, &mut router);
    for _ in 0..1_000 {
        unwanted(&mut rib, one);
        wanted(&mut rib, one, &route(2));
        wanted(&mut rib, one, &route(1));
        wanted(&mut rib, two, &route(3));
        unwanted(&mut rib, two);
    }
    assert_eq!(rib.next_message(), None);
    assert_eq!((rib.counts().pending, rib.counts().attribute_sets), (0, 1));
}

#[test]
fn attributes_are_those_of_the_kind_of_session() {
    let asked = Arc::new(Route {
        local_pref: Some(300),
        communities: [Community::new(64_512, 2), Community::new(64_512, 1)].into(),
        large_communities: [LargeCommunity { global: 64_512, one: 1, two: 2 }].into(),
    });
    let old = Outbound { local_asn: 70_000, four_octet_as: false, ..external() };
    for (outbound, asked, path, preference) in [
        (external(), asked.clone(), vec![64_512], None),
        (internal(), asked.clone(), vec![], Some(300)),
        (internal(), route(1), vec![], Some(100)),
        // An AS number of four bytes, to one who does not know them.
        (old.clone(), asked.clone(), vec![23_456], None),
    ] {
        let mut rib = AdjRibOut::new();
        wanted(&mut rib, host(Family::V4, 1), &asked);
        rib.up(outbound.clone());
        let message = rib.next_message().expect("pending");
        let context = router::context(outbound.internal, outbound.four_octet_as);
        let received = Update::parse(&message[HEADER_LEN..], context).expect("valid");
        assert_eq!(received.faults, []);
        let attributes = received.update.attributes;
        let segments = attributes.as_path.expect("always").segments;
        assert!(segments.iter().all(|segment| segment.kind == SegmentKind::Sequence));
        assert_eq!(segments.into_iter().flat_map(|segment| segment.asns).collect::<Vec<_>>(), path);
        assert_eq!(attributes.local_pref, preference);
        assert_eq!(attributes.next_hop.map(IpAddr::from), Some("192.0.2.1".parse().expect("an address")));
        assert_eq!(attributes.communities, asked.communities.iter().copied().collect::<Vec<_>>());
        assert_eq!(attributes.large_communities, asked.large_communities.iter().copied().collect::<Vec<_>>());
        let hidden = attributes.as4_path.map(|path| path.asns().collect::<Vec<_>>());
        assert_eq!(hidden, (!outbound.four_octet_as).then(|| vec![70_000]));
    }
}

#[test]
fn a_family_without_next_hop_or_that_the_peer_does_not_take_is_not_announced() {
    for outbound in [
        Outbound { families: Families::V6, ..external() },
        Outbound { next_hops: PerFamily { v4: None, v6: Some(v6()) }, ..external() },
    ] {
        let (mut rib, mut router) = (AdjRibOut::new(), Router::new(false));
        wanted(&mut rib, host(Family::V4, 1), &route(1));
        wanted(&mut rib, host(Family::V6, 1), &route(1));
        rib.up(outbound);
        drain(&mut rib, &mut router);
        assert_eq!(router.routes.keys().copied().collect::<Vec<_>>(), [host(Family::V6, 1)]);
        unwanted(&mut rib, host(Family::V4, 1));
        assert_eq!(rib.next_message(), None);
    }
}

#[test]
fn before_a_node_leaves_all_routes_say_so() {
    let (mut rib, mut router) = (AdjRibOut::new(), Router::new(true));
    rib.up(internal());
    wanted(&mut rib, host(Family::V4, 1), &route(1));
    wanted(&mut rib, host(Family::V4, 2), &route(1));
    drain(&mut rib, &mut router);
    rib.set_leaving(true);
    assert_eq!(drain(&mut rib, &mut router), 1);
    let told = &router.routes[&host(Family::V4, 2)];
    assert!(told.communities.contains(&Community::GRACEFUL_SHUTDOWN));
    assert_eq!(told.local_pref, Some(0));
    rib.set_leaving(false);
    drain(&mut rib, &mut router);
    assert_eq!(router.routes[&host(Family::V4, 2)].local_pref, Some(100));
}

#[test]
fn a_prefix_with_more_communities_than_fit_is_refused_and_withdrawn() {
    let (mut rib, mut router) = (AdjRibOut::new(), Router::new(false));
    rib.up(external());
    let largest = |count| {
        let communities = (0..count).map(Community).collect();
        Arc::new(Route { communities, ..Route::default() })
    };
    wanted(&mut rib, host(Family::V6, 1), &largest(960));
    drain(&mut rib, &mut router);
    assert_eq!((router.routes.len(), rib.counts().refused), (1, 0));
    wanted(&mut rib, host(Family::V6, 1), &largest(961));
    drain(&mut rib, &mut router);
    assert_eq!((router.routes.len(), rib.refused().count()), (0, 1));
    wanted(&mut rib, host(Family::V6, 1), &route(1));
    drain(&mut rib, &mut router);
    assert_eq!((router.routes.len(), rib.counts().refused), (1, 0));
}

#[test]
fn routes_that_are_asked_for_come_again_between_their_begin_and_end() {
    for (enhanced, messages) in [(true, 3), (false, 1)] {
        let (mut rib, mut router) = (AdjRibOut::new(), Router::new(false));
        wanted(&mut rib, host(Family::V4, 1), &route(1));
        wanted(&mut rib, host(Family::V6, 1), &route(1));
        rib.up(Outbound { enhanced_refresh: enhanced, ..external() });
        drain(&mut rib, &mut router);
        rib.refresh(Family::V4);
        rib.refresh(Family::V4);
        assert_eq!(drain(&mut rib, &mut router), messages);
        assert_eq!(router.refreshed, if enhanced { vec![Family::V4] } else { vec![] });
    }
}

/// What may happen to an Adj-RIB-Out.
#[derive(Clone, Copy, Debug)]
enum Step {
    Change(Family, u32, Option<u16>),
    Message,
    Refresh(Family),
    Leaving(bool),
    Reset(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let family = || prop_oneof![Just(Family::V4), Just(Family::V6)];
    prop_oneof![
        10 => (family(), 0..6_u32, proptest::option::of(0..3_u16))
            .prop_map(|(family, number, route)| Step::Change(family, number, route)),
        6 => Just(Step::Message),
        1 => family().prop_map(Step::Refresh),
        1 => any::<bool>().prop_map(Step::Leaving),
        1 => any::<bool>().prop_map(Step::Reset),
    ]
}

#[test]
fn a_route_that_comes_back_before_its_withdrawal_is_told_as_it_is_now() {
    let (mut rib, mut router) = (AdjRibOut::new(), Router::new(true));
    let prefix = host(Family::V4, 5);
    let want =
        |rib: &mut AdjRibOut, kind: Option<u16>| rib.change(&Change { prefix, route: kind.map(route) });
    rib.up(internal());
    rib.set_leaving(true);
    want(&mut rib, Some(0));
    drain(&mut rib, &mut router);
    want(&mut rib, None);
    rib.set_leaving(false);
    want(&mut rib, Some(0));
    drain(&mut rib, &mut router);
    assert_eq!(
        router.routes[&prefix].communities,
        [Community::new(64_512, 0)],
        "without the one for leaving"
    );
}

proptest! {
    #[test]
    fn after_any_history_the_peer_knows_what_is_wanted(
        steps in proptest::collection::vec(step(), 0..80), enhanced: bool, over_v6: bool
    ) {
        let next_hops = PerFamily { v4: Some(if over_v6 { v6() } else { V4 }), v6: Some(v6()) };
        let outbound = Outbound { enhanced_refresh: enhanced, next_hops, ..internal() };
        let (mut rib, mut router) = (AdjRibOut::new(), Router::new(true));
        let mut all = std::collections::BTreeMap::new();
        let mut leaving = false;
        rib.up(outbound.clone());
        for step in steps {
            match step {
                Step::Change(family, number, kind) => {
                    let prefix = host(family, number);
                    rib.change(&Change { prefix, route: kind.map(route) });
                    match kind {
                        Some(kind) => drop(all.insert(prefix, kind)),
                        None => drop(all.remove(&prefix)),
                    }
                }
                Step::Message => if let Some(message) = rib.next_message() { router.receive(&message) },
                Step::Refresh(family) => rib.refresh(family),
                Step::Leaving(is) => {
                    leaving = is;
                    rib.set_leaving(is);
                }
                Step::Reset(up) => {
                    rib.down();
                    router = Router::new(true);
                    prop_assert_eq!(rib.next_message(), None);
                    if up {
                        rib.up(outbound.clone());
                    }
                }
            }
        }
        rib.up(outbound.clone());
        router = Router::new(true);
        drain(&mut rib, &mut router);
        let counts = rib.counts();
        prop_assert_eq!((counts.wanted, counts.told, counts.pending), (all.len(), all.len(), 0));
        let kinds: std::collections::BTreeSet<u16> = all.values().copied().collect();
        prop_assert_eq!(counts.attribute_sets, kinds.len());
        let told: Vec<_> = router.routes.into_iter().map(|(prefix, told)| {
            let communities = told.communities.into_iter().filter(|c| *c != Community::GRACEFUL_SHUTDOWN);
            (prefix, communities.collect::<Vec<_>>(), told.local_pref)
        }).collect();
        let preference = Some(if leaving { 0 } else { 100 });
        let expected: Vec<_> =
            all.into_iter().map(|(p, kind)| (p, vec![Community::new(64_512, kind)], preference)).collect();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn a_peer_that_listens_at_any_pace_ends_with_what_is_wanted(
        steps in proptest::collection::vec(step(), 0..80)
    ) {
        let (mut rib, mut router) = (AdjRibOut::new(), Router::new(true));
        let mut all = std::collections::BTreeMap::new();
        let asked = steps.iter().any(|step| matches!(step, Step::Refresh(_) | Step::Leaving(_)));
        rib.up(internal());
        for step in steps {
            match step {
                Step::Change(family, number, kind) => {
                    let prefix = host(family, number);
                    rib.change(&Change { prefix, route: kind.map(route) });
                    match kind {
                        Some(kind) => drop(all.insert(prefix, kind)),
                        None => drop(all.remove(&prefix)),
                    }
                }
                Step::Message | Step::Reset(_) => {
                    if let Some(message) = rib.next_message() { router.receive(&message) }
                }
                Step::Refresh(family) => rib.refresh(family),
                Step::Leaving(is) => rib.set_leaving(is),
            }
        }
        rib.set_leaving(false);
        drain(&mut rib, &mut router);
        let told: Vec<_> = router.routes.iter().map(|(prefix, told)| (*prefix, told.communities.clone())).collect();
        let expected: Vec<_> =
            all.into_iter().map(|(prefix, kind)| (prefix, vec![Community::new(64_512, kind)])).collect();
        prop_assert_eq!(told, expected);
        prop_assert!(asked || router.needless == 0, "{} prefixes were told in vain", router.needless);
    }
}
