//! The core on stories: inputs in, effects out, no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use announce::{Node, Place, Service, ServiceKey, Settings, Slice};
use k8s_openapi::api::core::v1::Pod;
use kube_ext::{Change, EventKind, ObjectKey};
use l2::Instant;
use membership::{Cause, NodeId};
use net::MacAddr;
use serde_json::json;
use sockets::{Link, LinkChange};
use speaker::core::{
    Command, Core, Effect, Input, RosterView, ServiceView, SpeakerPod, StatusView, Want, Why,
};
use speaker::exclude::Exclude;
use speaker::front::Front;

/// Elected for this address: iris3, then iris2, then iris1.
const IP: &str = "10.20.30.1";

fn at(seconds: u64) -> Instant {
    Instant::from_origin(Duration::from_secs(seconds))
}

fn address() -> IpAddr {
    IP.parse().expect("an address")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn service_key(name: &str) -> ServiceKey {
    ServiceKey { namespace: "shop".into(), name: name.into() }
}

fn service() -> ServiceView {
    let service = Service { load_balancer: true, addresses: vec![address()], ..Service::default() };
    ServiceView { service, uid: Some("u1".into()) }
}

fn slice(service: &str) -> Slice {
    Slice { service: Some(service_key(service)), serving: BTreeSet::from([Some("iris1".to_owned())]) }
}

fn speaker_of(node: &str, up: bool) -> Input {
    let pod =
        SpeakerPod { node: up.then(|| node.to_owned()), on: Some(node.to_owned()), ..SpeakerPod::default() };
    Input::Speaker(Change::Apply(ObjectKey::new("metallb-system", format!("speaker-{node}")), pod))
}

/// The list of speakers.
fn listed(revision: u64, nodes: &[&str]) -> Input {
    let contact = |node: &&str| ((*node).to_owned(), CONTACT.ip());
    let view = RosterView { revision, speakers: nodes.iter().map(contact).collect() };
    Input::Roster(Change::Apply(ObjectKey::new("metallb-system", "metallb-speakers"), view))
}

fn advertisement(spec: &serde_json::Value) -> Input {
    let object = json!({"metadata": {"name": "all", "namespace": "metallb-system"}, "spec": spec});
    let object = serde_json::from_value(object).expect("a valid advertisement");
    Input::Advertisement(Change::Apply(ObjectKey::new("metallb-system", "all"), object))
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, u8::try_from(index).expect("small")])),
        up: true,
        carrier: true,
        loopback: false,
        broadcast: true,
        no_arp: false,
        port: false,
        link_local: BTreeSet::from(["fe80::1".parse().expect("an address")]),
    }
}

/// Where the others reach the speaker.
const CONTACT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)), 7946);

/// A speaker with what it did in a test. The other speakers agree at once that it holds what it is the first for.
struct Story {
    core: Core,
    front: Front,
    held: BTreeSet<IpAddr>,
    /// The places that were told last.
    places: BTreeMap<IpAddr, Place>,
    orders: Vec<(u32, Command)>,
    done: Vec<Effect>,
    /// What was wrong each time that the configuration was read.
    mistakes: Vec<Option<String>>,
}

impl Story {
    /// The speaker of iris3, which has read everything but the links: a pool, an advertisement, three nodes
    /// with ready speakers, a Service with an endpoint.
    fn prepared(before: Vec<Input>) -> Self {
        let settings = Settings { node: "iris3".into(), ..Settings::default() };
        let exclude = Exclude::new(["^cni", "^docker"]).expect("valid patterns");
        let mut story = Self {
            core: Core::new(settings, exclude, CONTACT),
            front: Front::default(),
            held: BTreeSet::new(),
            places: BTreeMap::new(),
            orders: Vec::new(),
            done: Vec::new(),
            mistakes: Vec::new(),
        };
        let pool = json!({"metadata": {"name": "blue"}, "spec": {"addresses": ["10.20.30.0/24"]}});
        let pool = serde_json::from_value(pool).expect("a valid pool");
        story.tell(Input::Pool(Change::Apply(ObjectKey::new("metallb-system", "blue"), pool)));
        story.tell(advertisement(&json!({})));
        for node in ["iris1", "iris2", "iris3"] {
            story.tell(Input::Node(Change::Apply(ObjectKey::new("", node), Node::default())));
            story.tell(speaker_of(node, true));
        }
        story.tell(listed(1, &["iris1", "iris2", "iris3"]));
        story.tell(Input::Service(Change::Apply(key("web"), service())));
        story.tell(Input::Slice(Change::Apply(key("web-1"), slice("web"))));
        for input in before {
            story.tell(input);
        }
        for synced in Input::lists_read() {
            story.tell(synced);
        }
        story
    }

    /// The same, with its links known and a majority of the speakers, and so at work.
    fn begun(before: Vec<Input>) -> Self {
        let mut story = Self::alone(before);
        story.tell(Input::Members(membership::Event::Quorum(true)));
        story
    }

    /// The same before the speakers have agreed.
    fn alone(before: Vec<Input>) -> Self {
        let mut story = Self::prepared(before);
        for link in [link(2, "eth0"), link(3, "eth1"), link(4, "cni0")] {
            story.tell(Input::Link(LinkChange::Apply(link)));
        }
        story.tell(Input::Link(LinkChange::Synced));
        story
    }

    fn tell(&mut self, input: Input) {
        self.tell_at(at(0), input);
    }

    fn tell_at(&mut self, now: Instant, input: Input) {
        let mut out = Vec::new();
        self.core.handle(now, input, &mut out);
        let mut moves = Vec::new();
        for effect in &out {
            match effect {
                Effect::Open { index, name, .. } => self.front.open(*index, name.clone(), &mut self.orders),
                Effect::Close { index } => self.front.close(*index),
                Effect::Place { address, place } => {
                    self.front.want(*address, place.as_ref().into(), &mut self.orders);
                    let first =
                        place.as_ref().is_some_and(|p| p.order[0] == "iris3" && p.interfaces.is_some());
                    moves.push((*address, first));
                    match place {
                        Some(place) => self.places.insert(*address, place.clone()),
                        None => self.places.remove(address),
                    };
                }
                _ => {}
            }
        }
        self.done.extend(out);
        for (address, held) in moves {
            if held != self.held.contains(&address) {
                let (cause, to) = if held { (Cause::Unheld, None) } else { (Cause::Ineligible, None) };
                self.moved(now, address, held, cause, to);
            }
        }
    }

    /// The speakers agree that an address is this one's, or is not any more.
    fn moved(&mut self, now: Instant, address: IpAddr, held: bool, cause: Cause, to: Option<NodeId>) {
        if held {
            self.held.insert(address);
        } else {
            self.held.remove(&address);
        }
        self.front.hold(address, held, &mut self.orders);
        self.tell_at(now, Input::Moved { address, held, cause, to, silence: None });
    }

    /// What was done since the last call: takes and releases by interface.
    fn take(&mut self) -> Did {
        let mut did = Did::default();
        for (index, command) in self.orders.drain(..) {
            did.moves.push((index, matches!(command, Command::Take(_))));
        }
        for effect in self.done.drain(..) {
            match effect {
                // Those about BGPPeers are the business of the tests of BGP.
                Effect::Event { about, .. } if about.kind.as_deref() == Some("BGPPeer") => {}
                Effect::Event { kind, reason, message, about } => {
                    assert_eq!(about.uid.as_deref(), Some("u1"));
                    did.events.push((kind, reason, message));
                }
                Effect::Status(service, want) => did.wants.push((service.name, want)),
                Effect::Open { name, .. } => did.opened.push(name),
                Effect::Close { index } => did.closed.push(index),
                Effect::Ready => did.ready = true,
                Effect::Announced { service, address, on } => {
                    assert_eq!(
                        (service.namespace.as_str(), address),
                        ("shop", IP.parse().expect("an address"))
                    );
                    did.shown.push((service.name, on));
                }
                Effect::LetGo(_) => did.let_go += 1,
                Effect::Configured(mistake) => self.mistakes.push(mistake),
                Effect::Drain(drain) => did.drains.push(drain),
                Effect::Enlist => did.enlists += 1,
                Effect::Strike { node, .. } => did.struck.push(node),
                Effect::Interface { .. }
                | Effect::Place { .. }
                | Effect::Speakers(_)
                | Effect::Links(_)
                | Effect::Moved { .. }
                | Effect::Peer(..)
                | Effect::Quorum(_)
                | Effect::Leave
                | Effect::Actual(_)
                | Effect::Bgp(_)
                | Effect::Owner(_) => {}
            }
        }
        did
    }
}

#[derive(Debug, Default, PartialEq)]
struct Did {
    moves: Vec<(u32, bool)>,
    events: Vec<(EventKind, &'static str, String)>,
    wants: Vec<(String, Want)>,
    opened: Vec<String>,
    closed: Vec<u32>,
    /// The Services that are announced now, or not any more.
    shown: Vec<(String, bool)>,
    let_go: usize,
    ready: bool,
    drains: Vec<bool>,
    enlists: usize,
    struck: Vec<String>,
}

/// That the Service is announced here, and nobody did before.
fn here() -> Want {
    here_because("NoHolder", None)
}

fn here_because(cause: &str, former: Option<&str>) -> Want {
    let why = Why { cause: cause.to_owned(), former: former.map(str::to_owned) };
    Want::Here { names: Vec::new(), why: Some(why) }
}

fn assigned() -> (EventKind, &'static str, String) {
    (EventKind::Normal, "nodeAssigned", "announcing from node \"iris3\" with protocol \"layer2\"".to_owned())
}

#[test]
fn nothing_is_announced_before_everything_is_known() {
    let mut story = Story::prepared(Vec::new());
    assert_eq!(story.take(), Did::default());
    assert_eq!(story.core.missing().map(ToString::to_string).collect::<Vec<_>>(), ["network links"]);
    for link in [link(2, "eth0"), link(4, "cni0")] {
        story.tell(Input::Link(LinkChange::Apply(link)));
    }
    assert_eq!(story.take(), Did { opened: vec!["eth0".into()], ..Did::default() });
    story.tell(Input::Link(LinkChange::Synced));
    let did = story.take();
    assert_eq!(did.moves, [(2, true)]);
    assert_eq!(did.events, [assigned()]);
    let web = |want| ("web".to_owned(), want);
    assert_eq!(
        did.wants,
        [web(Want::Elsewhere), web(here())],
        "first as the others have it, then by agreement"
    );
    assert!(did.ready);
}

#[test]
fn a_repeated_object_does_nothing() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(Input::Service(Change::Apply(key("web"), service())));
    story.tell(Input::Slice(Change::Apply(key("web-1"), slice("web"))));
    story.tell(Input::Node(Change::Apply(ObjectKey::new("", "iris1"), Node::default())));
    story.tell(speaker_of("iris1", true));
    story.tell(advertisement(&json!({})));
    story.tell(Input::Link(LinkChange::Apply(link(2, "eth0"))));
    assert_eq!(story.take(), Did::default());
}

#[test]
fn going_on_after_a_restart_is_no_news_to_the_user() {
    let own = || {
        let view = StatusView { service: service_key("web"), complete: true, ..StatusView::default() };
        Input::Status(Change::Apply(ObjectKey::new("metallb-system", "l2-own"), view))
    };
    let nobody = advertisement(&json!({"nodeSelectors": [{"matchLabels": {"no": "node"}}]}));
    let mut story = Story::begun(vec![own()]);
    let did = story.take();
    assert_eq!((did.moves.len(), did.events), (2, vec![]), "it was announced from here before");
    // Another node had it in between: that it comes back is news.
    let mut story = Story::begun(vec![own(), nobody]);
    story.tell(Input::Status(Change::Delete(ObjectKey::new("metallb-system", "l2-own"))));
    story.tell(advertisement(&json!({})));
    assert_eq!(story.take().events, [assigned()]);
}

#[test]
fn losing_and_regaining_an_address_is_told_each_time() {
    let mut story = Story::begun(Vec::new());
    story.take();
    let taker = NodeId::of("iris2");
    story.moved(at(1), address(), false, Cause::Asked(taker), Some(taker));
    let did = story.take();
    assert_eq!(did.moves, [(2, false), (3, false)]);
    assert_eq!(did.wants, [("web".to_owned(), Want::Elsewhere)]);
    assert_eq!(did.events, []);
    assert_eq!(did.shown, [("web".to_owned(), false)]);
    story.moved(at(2), address(), true, Cause::HolderDown(taker), None);
    let did = story.take();
    assert_eq!((did.moves, did.events), (vec![(2, true), (3, true)], vec![assigned()]));
    assert_eq!(did.wants, [("web".to_owned(), here_because("HolderDown", Some("iris2")))]);
}

#[test]
fn the_status_names_the_cause_of_each_move_and_who_had_the_address() {
    let other = NodeId::of("iris2");
    for (cause, word, former) in [
        (Cause::Unheld, "NoHolder", None),
        (Cause::HolderDown(other), "HolderDown", Some("iris2")),
        (Cause::Drained(other), "HolderDrained", Some("iris2")),
        (Cause::Unfit(other), "HolderUnfit", Some("iris2")),
        (Cause::Yielded(other), "Preferred", Some("iris2")),
        (Cause::NoQuorum, "NoQuorum", None),
    ] {
        let mut story = Story::begun(Vec::new());
        story.moved(at(1), address(), false, Cause::Asked(other), Some(other));
        story.take();
        story.moved(at(2), address(), true, cause, None);
        assert_eq!(story.take().wants, [("web".to_owned(), here_because(word, former))], "{cause:?}");
    }
}

#[test]
fn a_node_that_is_not_the_first_waits_until_the_speakers_give_it_the_address() {
    let mut story = Story::begun(Vec::new());
    story.take();
    // For this address iris2 goes before iris1, and neither is this node.
    story.tell(advertisement(&json!({"nodeSelectors": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["iris3"]}]}]})));
    let place = story.places.get(&address()).expect("the others may hold it");
    assert_eq!((place.order.len(), place.interfaces.is_some()), (3, true), "the nodes here have no labels");
    let labelled = Node { labels: [("lb".to_owned(), "no".to_owned())].into(), ..Node::default() };
    story.tell(Input::Node(Change::Apply(ObjectKey::new("", "iris3"), labelled)));
    story.tell(advertisement(&json!({"nodeSelectors": [{"matchExpressions": [
        {"key": "lb", "operator": "DoesNotExist"}]}]})));
    let place = story.places.get(&address()).expect("the others may hold it");
    assert_eq!(place.order, ["iris2", "iris1"]);
    assert_eq!(place.interfaces, None, "this node may not");
    let did = story.take();
    assert_eq!(did.moves, [(2, false), (3, false)]);
    assert_eq!(did.wants, [("web".to_owned(), Want::Elsewhere)]);
}

#[test]
fn a_node_enters_itself_into_the_list_until_it_stands_there_with_its_address() {
    let mut story = Story::begun(Vec::new());
    assert_eq!(story.take().enlists, 0, "it is in it");
    story.tell(listed(2, &["iris1", "iris2"]));
    assert_eq!(story.take().enlists, 1);
    story.tell(listed(3, &["iris1", "iris2", "iris3"]));
    assert_eq!(story.take().enlists, 0);
    story.tell(Input::Leaving);
    story.tell(listed(4, &["iris1", "iris2"]));
    assert_eq!(story.take().enlists, 0, "it ends for good");
}

#[test]
fn the_first_ready_speaker_strikes_off_whoever_has_been_gone_for_a_minute() {
    let mut story = Story::begun(Vec::new());
    for node in ["iris1", "iris2"] {
        story.tell(speaker_of(node, false));
    }
    story.tell_at(at(10), Input::Speaker(Change::Delete(ObjectKey::new("metallb-system", "speaker-iris1"))));
    assert_eq!(story.core.poll_timeout(), Some(at(70)));
    story.tell_at(at(70), Input::Timeout);
    assert_eq!(story.take().struck, ["iris1"]);
}

#[test]
fn a_node_that_is_drained_hands_over_until_it_is_not_any_more() {
    let mut story = Story::begun(Vec::new());
    story.take();
    for draining in [true, false] {
        let node = Node { draining, ..Node::default() };
        story.tell(Input::Node(Change::Apply(ObjectKey::new("", "iris2"), node.clone())));
        story.tell(Input::Node(Change::Apply(ObjectKey::new("", "iris3"), node)));
        assert_eq!(story.take().drains, [draining], "the own node, and no other");
    }
}

#[test]
fn what_happens_to_the_speakers_is_told_where_a_person_can_mend_it() {
    let mut story = Story::begun(Vec::new());
    story.take();
    let iris1 = NodeId::of("iris1");
    for (event, reason) in [
        (membership::Event::Up(iris1), None),
        (membership::Event::Down(iris1), None),
        (membership::Event::Quorum(true), None),
        (membership::Event::Unheard(iris1), Some("speakerUnheard")),
        (membership::Event::Quorum(false), Some("noQuorum")),
        (membership::Event::Profile(membership::Profile::Relaxed), Some("failoverProfile")),
    ] {
        story.tell(Input::Members(event));
        let told = story.done.drain(..).find_map(|effect| match effect {
            Effect::Event { about, reason, message, .. } => Some((about, reason, message)),
            _ => None,
        });
        assert_eq!(told.as_ref().map(|told| told.1), reason);
        if let Some((about, "speakerUnheard", message)) = told {
            assert_eq!((about.kind.as_deref(), about.name.as_deref()), (Some("Node"), Some("iris3")));
            assert!(message.contains("\"iris1\" (192.0.2.3)") && message.contains("7946"), "{message}");
            assert!(message.contains("firewall"), "{message}");
        }
    }
}

#[test]
fn speakers_that_cannot_agree_for_the_first_time_are_told_of() {
    for agreed in [false, true] {
        let mut story = Story::alone(Vec::new());
        story.take();
        story.tell(Input::Members(membership::Event::Up(NodeId::of("iris2"))));
        if agreed {
            story.tell(Input::Members(membership::Event::Quorum(true)));
        }
        for (after, due) in [(29, false), (30, true), (60, false), (30 + 3_000, true)] {
            story.tell_at(at(after), Input::Timeout);
            let told = story.done.drain(..).find_map(|effect| match effect {
                Effect::Event { about, reason: "noQuorum", message, .. } => Some((about, message)),
                _ => None,
            });
            assert_eq!(told.is_some(), due && !agreed, "{after} s");
            if let Some((about, message)) = told {
                assert_eq!((about.kind.as_deref(), about.name.as_deref()), (Some("Node"), Some("iris3")));
                assert!(message.contains("of the nodes: iris1; see that they run"), "{message}");
            }
        }
        assert_eq!(story.core.poll_timeout().is_some(), !agreed);
    }
}

#[test]
fn a_service_without_endpoints_loses_address_and_status() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(Input::Slice(Change::Delete(key("web-1"))));
    let did = story.take();
    assert_eq!(did.moves, [(2, false), (3, false)]);
    assert_eq!(did.wants, [("web".to_owned(), Want::Nowhere)]);
    story.tell(Input::Service(Change::Delete(key("web"))));
    assert_eq!(story.take().moves, []);
}

#[test]
fn the_status_of_a_service_that_is_gone_goes_too() {
    let view = StatusView { service: service_key("old"), complete: true, ..StatusView::default() };
    let status = Input::Status(Change::Apply(ObjectKey::new("metallb-system", "l2-old"), view));
    let mut story = Story::begun(vec![status]);
    assert!(story.take().wants.contains(&("old".to_owned(), Want::Nowhere)));
}

#[test]
fn a_shared_address_stays_while_one_service_needs_it() {
    let mut story = Story::begun(Vec::new());
    story.tell(Input::Service(Change::Apply(key("dns"), service())));
    story.tell(Input::Slice(Change::Apply(key("dns-1"), slice("dns"))));
    story.take();
    story.tell(Input::Service(Change::Delete(key("web"))));
    assert_eq!(story.take().moves, []);
    story.tell(Input::Service(Change::Delete(key("dns"))));
    assert_eq!(story.take().moves, [(2, false), (3, false)]);
}

#[test]
fn interfaces_are_followed_as_they_come_and_go() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(Input::Link(LinkChange::Apply(link(7, "eth7"))));
    let did = story.take();
    assert_eq!((did.opened, did.moves), (vec!["eth7".to_owned()], vec![(7, true)]));
    story.tell(Input::Link(LinkChange::Apply(Link { up: false, ..link(7, "eth7") })));
    assert_eq!(story.take().closed, [7]);
    story.tell(Input::Link(LinkChange::Apply(link(2, "lan0"))));
    let did = story.take();
    assert_eq!((did.closed, did.opened), (vec![2], vec!["lan0".to_owned()]), "renamed");
    story.tell(Input::Link(LinkChange::Gone { index: 3, name: "eth1".into() }));
    assert_eq!(story.take().closed, [3]);
}

#[test]
fn only_named_interfaces_are_used_and_named_in_the_status() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(advertisement(&json!({"interfaces": ["eth1", "absent"]})));
    let did = story.take();
    assert_eq!(did.moves, [(2, false)]);
    let why = Why { cause: "NoHolder".into(), former: None };
    assert_eq!(did.wants, [("web".to_owned(), Want::Here { names: vec!["eth1".into()], why: Some(why) })]);
    assert_eq!(did.events, [], "still announced from here");
    story.tell(advertisement(&json!({"interfaces": ["eth0"]})));
    assert_eq!(story.take().moves, [(2, true), (3, false)]);
}

#[test]
fn an_interface_that_does_not_exist_is_told_and_told_again_while_it_lasts() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(advertisement(&json!({"interfaces": ["absent"]})));
    let did = story.take();
    let text = "the interfaces specified by LB IP \"10.20.30.1\" doesn't exist in assigned node \"iris3\" with protocol \"layer2\"";
    assert_eq!(did.events, [(EventKind::Warning, "announceFailed", text.to_owned())]);
    assert_eq!(did.wants, [("web".to_owned(), Want::Nowhere)]);
    assert_eq!(story.core.poll_timeout(), Some(at(3_000)));
    story.tell_at(at(3_000), Input::Timeout);
    assert_eq!(story.take().events.len(), 1);
    // The interface appears: the warning is over.
    story.tell(Input::Link(LinkChange::Apply(link(7, "absent"))));
    let did = story.take();
    assert_eq!((did.moves, did.events), (vec![(7, true)], vec![assigned()]));
    assert_eq!(story.core.poll_timeout(), None);
}

#[test]
fn an_interface_that_exists_but_cannot_announce_is_told_with_the_cause() {
    for (name, cause) in
        [("cni0", "cni0: it is excluded by announcedInterfacesToExclude"), ("eth9", "eth9: it is down")]
    {
        let mut story = Story::begun(Vec::new());
        story.tell(Input::Link(LinkChange::Apply(Link { up: false, ..link(9, "eth9") })));
        story.take();
        story.tell(advertisement(&json!({"interfaces": [name]})));
        let did = story.take();
        let [(EventKind::Warning, "announceFailed", text)] = did.events.as_slice() else { panic!("{did:?}") };
        assert!(text.ends_with(cause), "{text}");
    }
}

#[test]
fn a_node_without_any_usable_interface_says_so_and_announces_once_it_has_one() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(Input::Link(LinkChange::Gone { index: 3, name: "eth1".into() }));
    assert_eq!(story.take().events, [], "eth0 is left");
    story.tell(Input::Link(LinkChange::Apply(Link { up: false, ..link(2, "eth0") })));
    let did = story.take();
    let [(EventKind::Warning, "announceFailed", text)] = did.events.as_slice() else { panic!("{did:?}") };
    assert!(text.starts_with("no interface of assigned node \"iris3\" can announce"), "{text}");
    assert!(text.contains("eth0: it is down") && text.contains("cni0: it is excluded"), "{text}");
    assert_eq!(did.wants, [("web".to_owned(), Want::Nowhere)]);
    story.tell(Input::Link(LinkChange::Apply(link(2, "eth0"))));
    let did = story.take();
    assert_eq!(did.wants.last(), Some(&("web".to_owned(), here())));
    assert_eq!(did.events, [assigned()]);
}

#[test]
fn a_conflict_that_lasts_is_told_once_in_fifty_minutes() {
    let mut story = Story::begun(Vec::new());
    story.take();
    let conflict = |address: IpAddr| {
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        Input::Conflict { interface: "eth0".into(), address, mac }
    };
    for (seconds, told) in
        [(0, 0), (11, 1), (22, 0), (3_000, 0), (3_020, 0), (3_031, 1), (9_000, 0), (9_100, 0)]
    {
        story.tell_at(at(seconds), conflict(address()));
        let did = story.take();
        assert_eq!(did.events.len(), told, "at {seconds} s");
        for (kind, reason, text) in did.events {
            assert_eq!((kind, reason), (EventKind::Warning, "addressConflict"));
            assert!(
                text.contains("02:00:00:00:00:09") && text.contains(IP) && text.contains("eth0"),
                "{text}"
            );
        }
    }
    story.tell(conflict("10.20.30.99".parse().expect("an address")));
    assert_eq!(story.take().events, [], "not an address of ours");
}

#[test]
fn a_pool_that_becomes_invalid_keeps_its_addresses_announced() {
    let mut story = Story::begun(Vec::new());
    story.take();
    let pool = json!({"metadata": {"name": "blue"}, "spec": {"addresses": ["10.20.30.0/99"]}});
    let pool = serde_json::from_value(pool).expect("an object");
    story.tell(Input::Pool(Change::Apply(ObjectKey::new("metallb-system", "blue"), pool)));
    assert_eq!(story.take(), Did::default());
    story.tell(Input::Pool(Change::Delete(ObjectKey::new("metallb-system", "blue"))));
    assert_eq!(story.take().moves, [(2, false), (3, false)]);
}

#[test]
fn the_owner_of_status_objects_is_the_daemon_set_of_the_own_pod() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "speaker-x", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "speaker", "uid": "d1", "controller": true, "blockOwnerDeletion": true},
        ]},
    }))
    .expect("a valid Pod");
    let owner = SpeakerPod::reduce(&pod, Some("speaker-x")).owner.expect("its own Pod");
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("DaemonSet", "d1"));
    assert_eq!((owner.controller, owner.block_owner_deletion), (None, None));
    assert!(SpeakerPod::reduce(&pod, Some("speaker-y")).owner.is_none());
    assert!(SpeakerPod::reduce(&pod, None).owner.is_none());
}

#[test]
fn what_is_announced_is_shown_for_each_service_and_its_address_until_the_last_lets_go() {
    let shown = |name: &str, on| (name.to_owned(), on);
    let mut story = Story::begun(Vec::new());
    let did = story.take();
    assert_eq!((did.shown, did.let_go), (vec![shown("web", true)], 0));
    story.tell(Input::Service(Change::Apply(key("dns"), service())));
    story.tell(Input::Slice(Change::Apply(key("dns-1"), slice("dns"))));
    assert_eq!(story.take().shown, [shown("dns", true)]);
    // Other interfaces are no other announcement.
    story.tell(advertisement(&json!({"interfaces": ["eth1"]})));
    assert_eq!(story.take().shown, []);
    story.tell(Input::Service(Change::Delete(key("web"))));
    let did = story.take();
    assert_eq!((did.shown, did.let_go), (vec![shown("web", false)], 0), "the other needs the address");
    story.tell(Input::Slice(Change::Delete(key("dns-1"))));
    let did = story.take();
    assert_eq!((did.shown, did.let_go), (vec![shown("dns", false)], 1));
}

fn not_announced<'a>(events: &'a [(EventKind, &'static str, String)]) -> &'a str {
    match events {
        [(EventKind::Warning, "notAnnounced", text)] => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_that_nobody_announces_is_told_when_it_stays_so_and_again_while_it_lasts() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(advertisement(&json!({"ipAddressPools": ["other"]})));
    assert_eq!(story.take().events, [], "perhaps it is over in a moment");
    assert_eq!(story.core.poll_timeout(), Some(at(10)));
    story.tell_at(at(10), Input::Timeout);
    let did = story.take();
    let text = not_announced(&did.events);
    let expected = "Service \"shop/web\" is not announced: no L2Advertisement or BGPAdvertisement announces IPAddressPool \"blue\": create one";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(story.core.poll_timeout(), Some(at(3_010)));
    story.tell_at(at(3_010), Input::Timeout);
    not_announced(&story.take().events);
    // Another obstacle is news.
    story.tell_at(at(3_020), advertisement(&json!({"nodeSelectors": [{"matchLabels": {"no": "node"}}]})));
    story.tell_at(at(3_030), Input::Timeout);
    assert!(not_announced(&story.take().events).contains("3 are on a node that no matching L2Advertisement"));
    // Other counts of nodes are not.
    story.tell_at(at(3_040), listed(2, &["iris2", "iris3"]));
    story.tell_at(at(3_060), Input::Timeout);
    assert_eq!(story.take().events, []);
    story.tell_at(at(3_070), advertisement(&json!({})));
    assert_eq!(story.take().events, [assigned()]);
    assert_eq!(story.core.poll_timeout(), None);
}

#[test]
fn what_is_mended_in_time_is_not_told() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(advertisement(&json!({"ipAddressPools": ["other"]})));
    story.tell_at(at(5), advertisement(&json!({})));
    assert_eq!((story.take().events, story.core.poll_timeout()), (vec![assigned()], None));
    // Neither is a Service that ends meanwhile, nor one without endpoints.
    story.tell_at(at(6), advertisement(&json!({"ipAddressPools": ["other"]})));
    story.tell_at(at(7), Input::Slice(Change::Delete(key("web-1"))));
    assert_eq!(story.core.poll_timeout(), None);
    story.tell_at(at(8), Input::Slice(Change::Apply(key("web-1"), slice("web"))));
    assert_eq!(story.core.poll_timeout(), Some(at(18)));
    story.tell_at(at(9), Input::Service(Change::Delete(key("web"))));
    assert_eq!(story.core.poll_timeout(), None);
}

#[test]
fn one_speaker_tells_and_another_takes_over_what_it_told() {
    // For this address iris3 comes first, then iris2, then iris1: that node's own speaker says nothing.
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(advertisement(&json!({"ipAddressPools": ["other"]})));
    story.tell_at(at(1), speaker_of("iris3", false));
    story.tell_at(at(10), Input::Timeout);
    assert_eq!(story.take().events, [], "iris2 tells, because this speaker is not ready");
    story.tell_at(at(20), speaker_of("iris3", true));
    assert_eq!(story.take().events, [], "it has been told");
    story.tell_at(at(3_010), Input::Timeout);
    not_announced(&story.take().events);
}

#[test]
fn many_services_with_one_cause_are_told_about_bit_by_bit() {
    let mut story = Story::begun(Vec::new());
    for number in 0..249 {
        let name = format!("web{number}");
        story.tell(Input::Service(Change::Apply(key(&name), service())));
        story.tell(Input::Slice(Change::Apply(key(&format!("{name}-1")), slice(&name))));
    }
    story.tell(advertisement(&json!({"ipAddressPools": ["other"]})));
    story.take();
    for (seconds, told, next) in [(10, 100, 11), (11, 100, 12), (12, 50, 3_010)] {
        assert_eq!(story.core.poll_timeout(), Some(at(seconds)));
        story.tell_at(at(seconds), Input::Timeout);
        assert_eq!((story.take().events.len(), story.core.poll_timeout()), (told, Some(at(next))));
    }
}

fn object<K: serde::de::DeserializeOwned>(name: &str, spec: &serde_json::Value) -> Change<K> {
    let object = json!({"metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec});
    let object = serde_json::from_value(object).expect("an object of this kind");
    Change::Apply(ObjectKey::new("metallb-system", name), object)
}

#[test]
fn a_mistake_in_the_configuration_is_reported_until_it_is_mended() {
    let mut story = Story::begun(Vec::new());
    story.take();
    assert_eq!(story.mistakes, [None], "read once all of it was known");
    story.tell(Input::Pool(object("red", &json!({"addresses": ["10.0.0.0/99"]}))));
    story.take();
    let mistake = story.mistakes.pop().flatten().expect("a mistake");
    assert!(mistake.starts_with("configuration error: ") && mistake.contains("10.0.0.0/99"), "{mistake}");
    story.tell(Input::Pool(Change::Delete(ObjectKey::new("metallb-system", "red"))));
    story.take();
    assert_eq!(story.mistakes.pop(), Some(None));
}

#[test]
fn a_secret_that_no_peer_names_and_a_label_without_bgp_read_nothing_anew() {
    let secret = |name: &str, has_password| {
        let secret = config::Secret {
            namespace: "metallb-system".into(),
            name: name.into(),
            kind: "kubernetes.io/basic-auth".into(),
            has_password,
        };
        Input::Secret(Change::Apply(ObjectKey::new("metallb-system", name), secret.into()))
    };
    let labelled = |color: &str| {
        let labels = [("color".to_owned(), color.to_owned())].into();
        Input::Node(Change::Apply(ObjectKey::new("", "iris1"), Node { labels, ..Node::default() }))
    };
    let mut story = Story::begun(Vec::new());
    let reads = |story: &mut Story, input| {
        story.tell(input);
        story.take();
        std::mem::take(&mut story.mistakes).len()
    };
    story.take();
    story.mistakes.clear();
    assert_eq!(reads(&mut story, secret("bgp", false)), 0);
    assert_eq!(reads(&mut story, labelled("blue")), 0);
    let peer = json!({"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", "passwordSecret": {"name": "bgp"}});
    assert_eq!(reads(&mut story, Input::Peer(object("router", &peer))), 1);
    assert_eq!(reads(&mut story, Input::BgpAdvertisement(object("all", &json!({})))), 1);
    assert_eq!(reads(&mut story, secret("other", true)), 0, "of nobody");
    assert_eq!(reads(&mut story, secret("bgp", false)), 0, "the same again");
    assert_eq!(reads(&mut story, secret("bgp", true)), 1);
    assert_eq!(reads(&mut story, labelled("blue")), 0, "the same again");
    assert_eq!(reads(&mut story, labelled("green")), 1);
    let gone = Change::Delete(ObjectKey::new("metallb-system", "bgp"));
    assert_eq!(reads(&mut story, Input::Secret(gone)), 1);
}
