//! BGP in the core, on stories: inputs in, effects out, no cluster and no router.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use announce::{Node, Service, ServiceKey, Settings, Slice};
use kube_ext::{Change, EventKind, ObjectKey};
use l2::Instant;
use serde_json::{Value, json};
use sockets::LinkChange;
use speaker::core::{
    BgpEffect, BgpInput, Core, Effect, Input, LEAST_DRAIN_TIME, NodeFacts, Passphrase, SecretView,
    ServiceView, SessionReport, SpeakerPod, StatusView, Want,
};
use speaker::exclude::Exclude;

const NODE: &str = "iris1";
/// Where the other speakers would reach it.
const CONTACT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11)), 7946);

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("metallb-system", name)
}

fn read<T: serde::de::DeserializeOwned>(name: &str, spec: &Value) -> T {
    let metadata = json!({"name": name, "namespace": "metallb-system", "uid": format!("uid-{name}")});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a valid object")
}

fn advertisement(name: &str, spec: &Value) -> Input {
    Input::BgpAdvertisement(Change::Apply(key(name), read(name, spec)))
}

fn peer(name: &str, fields: &Value) -> Input {
    let mut spec = json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.254"});
    for (field, value) in fields.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    Input::Peer(Change::Apply(key(name), read(name, &spec)))
}

fn service(name: &str, address: &str) -> Input {
    let service = Service {
        load_balancer: true,
        addresses: vec![address.parse().expect("an address")],
        ..Service::default()
    };
    Input::Service(Change::Apply(
        ObjectKey::new("shop", name),
        ServiceView { service, uid: Some("u1".into()) },
    ))
}

fn slice(service: &str, ready: bool) -> Input {
    let key = ServiceKey { namespace: "shop".into(), name: service.into() };
    let serving = ready.then(|| Some(NODE.to_owned())).into_iter().collect();
    let slice = Slice { service: Some(key), serving };
    Input::Slice(Change::Apply(ObjectKey::new("shop", format!("{service}-1")), slice))
}

fn node(labels: &[(&str, &str)]) -> Input {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Input::Node(Change::Apply(ObjectKey::new("", NODE), Node { labels, ..Node::default() }))
}

fn secret(password: &str) -> Input {
    let secret = config::Secret {
        namespace: "metallb-system".into(),
        name: "bgp".into(),
        kind: "kubernetes.io/basic-auth".into(),
        has_password: true,
    };
    let password = Passphrase::new(password.as_bytes().to_vec());
    Input::Secret(Change::Apply(key("bgp"), SecretView { secret, password }))
}

fn report(name: &str, up: bool, words: &str) -> Input {
    let report = SessionReport { up, words: words.to_owned(), warnings: Vec::new() };
    Input::Bgp(BgpInput::Report { peer: name.to_owned(), report })
}

/// A speaker with what it did in a test, as lines in their order.
struct Story {
    core: Core,
    lines: Vec<String>,
    views: BTreeMap<String, String>,
    passwords: Vec<Option<String>>,
}

impl Story {
    /// A speaker that has read a pool, an advertisement, a peer, this node, two Services with endpoints, and these.
    fn begun(before: Vec<Input>) -> Self {
        let settings = Settings { node: NODE.into(), ..Settings::default() };
        let facts = NodeFacts {
            name: NODE.into(),
            address: Some(Ipv4Addr::new(192, 0, 2, 11)),
            ..NodeFacts::default()
        };
        let core = Core::new(settings, Exclude::new(["^none"]).expect("valid"), CONTACT).on_node(facts);
        let mut story = Self { core, lines: Vec::new(), views: BTreeMap::new(), passwords: Vec::new() };
        let pool = read("blue", &json!({"addresses": ["10.20.30.0/24"]}));
        let mut inputs = vec![
            Input::Pool(Change::Apply(key("blue"), pool)),
            advertisement("all", &json!({})),
            peer("tor-a", &json!({})),
            node(&[]),
            service("web", "10.20.30.1"),
            service("dns", "10.20.30.2"),
            slice("web", true),
            slice("dns", true),
        ];
        inputs.extend(before);
        inputs.extend(Input::lists_read());
        for input in inputs {
            story.tell(input);
        }
        assert_eq!(story.take(), [""; 0], "nothing before everything is known");
        story.tell(Input::Link(LinkChange::Synced));
        story
    }

    fn tell(&mut self, input: Input) {
        self.tell_at(Instant::default(), input);
    }

    fn tell_at(&mut self, now: Instant, input: Input) {
        let mut out = Vec::new();
        self.core.handle(now, input, &mut out);
        for effect in out {
            match effect {
                Effect::Bgp(effect) => self.bgp(effect),
                Effect::Event { about, kind, reason, message } => {
                    let sign = if kind == EventKind::Warning { "!" } else { "" };
                    let name = about.name.unwrap_or_default();
                    assert!(about.uid.is_some(), "kubectl describe finds events by uid");
                    self.lines.push(format!("{sign}{reason} {name}: {message}"));
                }
                _ => {}
            }
        }
    }

    fn bgp(&mut self, effect: BgpEffect) {
        let line = match effect {
            BgpEffect::Routes { peer, changes } => {
                let sign = |change: &bgp::rib::Change| if change.route.is_some() { '+' } else { '-' };
                let changes: BTreeSet<String> =
                    changes.iter().map(|change| format!("{}{}", sign(change), change.prefix)).collect();
                format!("routes {peer} {}", changes.into_iter().collect::<Vec<_>>().join(" "))
            }
            BgpEffect::Session { peer, config } => {
                self.passwords.push(config.transport.password.clone());
                format!("session {peer} {} AS {}", config.transport.peer, config.my_asn)
            }
            BgpEffect::End { peer } => format!("end {peer}"),
            BgpEffect::Drain(drain) => format!("drain {drain}"),
            BgpEffect::Status(service, Want::Here { names, .. }) => {
                format!("status {} {}", service.name, names.join(","))
            }
            BgpEffect::Status(service, _) => format!("status {} none", service.name),
            BgpEffect::Announced { service, address, on } => {
                format!("{} {} {address}", if on { "shown" } else { "hidden" }, service.name)
            }
            BgpEffect::Sessions(views) => {
                self.views = views
                    .into_iter()
                    .map(|(peer, view)| (peer, format!("{} {}: {}", view.up, view.reason, view.message)))
                    .collect();
                return;
            }
            BgpEffect::Actual(_) => return,
        };
        self.lines.push(line);
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Those lines that begin so.
    fn taken(&mut self, start: &str) -> Vec<String> {
        self.take().into_iter().filter(|line| line.starts_with(start)).collect()
    }
}

#[test]
fn a_session_begins_with_all_routes_and_services_are_told_of() {
    let mut story = Story::begun(Vec::new());
    assert_eq!(
        story.take(),
        [
            "shown dns 10.20.30.2",
            "status dns tor-a",
            "nodeAssigned dns: announcing from node \"iris1\" with protocol \"bgp\"",
            "shown web 10.20.30.1",
            "status web tor-a",
            "nodeAssigned web: announcing from node \"iris1\" with protocol \"bgp\"",
            "routes tor-a +10.20.30.1/32 +10.20.30.2/32",
            "session tor-a 192.0.2.254:179 AS 64512",
        ]
    );
    assert_eq!(story.views["tor-a"], "false Connecting: connecting");
    story.tell(slice("web", false));
    assert_eq!(story.take(), ["hidden web 10.20.30.1", "status web none", "routes tor-a -10.20.30.1/32"]);
    story.tell(Input::Service(Change::Delete(ObjectKey::new("shop", "dns"))));
    assert_eq!(story.take(), ["hidden dns 10.20.30.2", "status dns none", "routes tor-a -10.20.30.2/32"]);
}

#[test]
fn a_restarted_speaker_goes_on_without_telling() {
    let service = ServiceKey { namespace: "shop".into(), name: "web".into() };
    let view = StatusView { service, complete: true, names: vec!["tor-a".into()], why: None };
    let mut story = Story::begun(vec![Input::Bgp(BgpInput::Status(Change::Apply(key("bgp-1"), view)))]);
    let events = story.taken("nodeAssigned");
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with("nodeAssigned dns"));
}

#[test]
fn routes_change_without_a_new_session_and_peers_come_and_go_alone() {
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(advertisement("all", &json!({"communities": ["64512:1"]})));
    assert_eq!(story.take(), ["routes tor-a +10.20.30.1/32 +10.20.30.2/32"]);
    story.tell(advertisement("all", &json!({"aggregationLength": 28})));
    assert_eq!(story.taken("routes"), ["routes tor-a +10.20.30.0/28 -10.20.30.1/32 -10.20.30.2/32"]);
    story.tell(peer("tor-b", &json!({"peerAddress": "192.0.2.253"})));
    let lines = story.take();
    assert_eq!(
        lines,
        [
            "status dns tor-a,tor-b",
            "status web tor-a,tor-b",
            "routes tor-b +10.20.30.0/28",
            "session tor-b 192.0.2.253:179 AS 64512"
        ]
    );
    story.tell(peer("tor-a", &json!({"myASN": 64999})));
    assert_eq!(story.take(), ["session tor-a 192.0.2.254:179 AS 64999"], "the other one goes on");
    story.tell(Input::Peer(Change::Delete(key("tor-b"))));
    assert_eq!(story.take(), ["status dns tor-a", "status web tor-a", "end tor-b"]);
    assert_eq!(story.views.len(), 1);
}

#[test]
fn peers_follow_the_labels_of_the_node() {
    let picky = peer("tor-b", &json!({"nodeSelectors": [{"matchLabels": {"rack": "b"}}]}));
    let mut story = Story::begun(vec![picky]);
    assert_eq!(story.taken("session"), ["session tor-a 192.0.2.254:179 AS 64512"]);
    story.tell(node(&[("rack", "b")]));
    assert_eq!(story.take().last().map(String::as_str), Some("session tor-b 192.0.2.254:179 AS 64512"));
    story.tell(node(&[]));
    assert_eq!(story.take().last().map(String::as_str), Some("end tor-b"));
}

#[test]
fn a_rotated_password_makes_a_new_session_and_a_deleted_one_stays_in_force() {
    let mut story =
        Story::begun(vec![secret("old"), peer("tor-a", &json!({"passwordSecret": {"name": "bgp"}}))]);
    story.take();
    story.tell(secret("old"));
    assert_eq!(story.take(), [""; 0]);
    story.tell(secret("new"));
    assert_eq!(story.take(), ["session tor-a 192.0.2.254:179 AS 64512"]);
    story.tell(Input::Secret(Change::Delete(key("bgp"))));
    assert_eq!(story.take(), [""; 0]);
    assert_eq!(story.passwords, [Some("old".to_owned()), Some("new".to_owned())]);
}

#[test]
fn what_is_not_supported_is_a_condition_and_an_event_and_hurts_nobody() {
    let mut story = Story::begun(vec![peer("red", &json!({"vrf": "red"}))]);
    let lines = story.take();
    assert!(
        !lines.iter().any(|line| line.starts_with("session red") || line.starts_with("routes red")),
        "{lines:?}"
    );
    let event = "!sessionDown red: session with node \"iris1\" down: sessions in a VRF (vrf \"red\") are not supported yet";
    assert!(lines.iter().any(|line| line == event), "{lines:?}");
    assert_eq!(
        story.views["red"],
        "false NotSupported: sessions in a VRF (vrf \"red\") are not supported yet"
    );
    assert!(!lines.iter().any(|line| line.starts_with("status") && line.contains("red")), "{lines:?}");
    story.tell(peer("red", &json!({})));
    let lines = story.take();
    assert!(lines.contains(&"session red 192.0.2.254:179 AS 64512".to_owned()), "{lines:?}");
    assert!(lines.contains(&"status web red,tor-a".to_owned()), "{lines:?}");
}

#[test]
fn a_service_that_no_session_can_carry_is_not_said_to_be_announced() {
    let mut story = Story::begun(vec![peer("tor-a", &json!({"vrf": "red"}))]);
    let lines = story.take();
    let event = "!sessionDown tor-a: session with node \"iris1\" down: sessions in a VRF (vrf \"red\") are not supported yet";
    let statuses = ["status dns none", "status web none"];
    assert_eq!(lines, [statuses[0], statuses[1], event]);
    story.tell(peer("tor-a", &json!({"passwordSecret": {"name": "bgp"}})));
    story.tell(secret(&"x".repeat(81)));
    assert!(!story.take().iter().any(|line| line.contains("nodeAssigned") || line.starts_with("shown")));
    // A password that can be used is all that was missing.
    story.tell(secret("s3cret"));
    assert!(story.take().contains(&"status web tor-a".to_owned()));
}

#[test]
fn addresses_of_a_family_that_no_session_takes_are_named() {
    let dual = |name: &str, more: &[&str]| {
        let Input::Service(Change::Apply(key, mut view)) = service(name, "10.20.30.1") else {
            unreachable!()
        };
        view.service.addresses.extend(more.iter().map(|text| text.parse::<IpAddr>().expect("an address")));
        Input::Service(Change::Apply(key, view))
    };
    let pool = read("blue", &json!({"addresses": ["10.20.30.0/24", "fc00::/120"]}));
    let mut story =
        Story::begun(vec![Input::Pool(Change::Apply(key("blue"), pool)), dual("web", &["fc00::1"])]);
    let lines = story.take();
    assert!(lines.contains(&"status web tor-a".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("fc00::1")), "{lines:?}");
    let warning = "no router is told of fc00::1 of Service shop/web: no session takes IPv6 routes, so set dualStackAddressFamily, or create a BGPPeer with an IPv6 peerAddress";
    assert_eq!(story.views["tor-a"], format!("false Connecting: connecting; {warning}"));
    story.tell(report("tor-a", true, "established"));
    assert_eq!(story.views["tor-a"], format!("true Established: established; {warning}"));
    // Another session takes them.
    story.tell(peer("tor-6", &json!({"peerAddress": "2001:db8::254"})));
    let lines = story.take();
    assert!(lines.contains(&"shown web fc00::1".to_owned()), "{lines:?}");
    assert!(lines.contains(&"status web tor-6,tor-a".to_owned()), "{lines:?}");
    assert_eq!(story.views["tor-a"], "true Established: established");
}

#[test]
fn sessions_are_told_of_on_transitions_and_shown_as_they_are() {
    let mut story = Story::begun(Vec::new());
    story.take();
    for (input, event, view) in [
        (report("tor-a", false, ""), "", "false Connecting: connecting"),
        (
            report("tor-a", false, "nobody answers"),
            "!sessionDown tor-a: session with node \"iris1\" down: nobody answers",
            "false Down: nobody answers",
        ),
        (report("tor-a", false, "nobody answers"), "", "false Down: nobody answers"),
        (
            report("tor-a", true, "established"),
            "sessionUp tor-a: session with node \"iris1\" up: established",
            "true Established: established",
        ),
        (report("tor-a", true, "established"), "", "true Established: established"),
        (
            report("tor-a", false, "silence"),
            "!sessionDown tor-a: session with node \"iris1\" down: silence",
            "false Down: silence",
        ),
        (report("gone", true, "established"), "", "false Down: silence"),
    ] {
        story.tell(input);
        assert_eq!(story.take().join("\n"), event);
        assert_eq!(story.views["tor-a"], view);
    }
}

#[test]
fn conflicts_over_a_local_preference_are_told() {
    // Of one Service: it is not announced.
    let everything = json!([{"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}]);
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(advertisement("other", &json!({"localPref": 7, "serviceSelectors": everything})));
    let lines = story.take();
    assert!(
        lines.iter().any(|line| line.starts_with("!announceFailed web: not announced from node \"iris1\" with protocol \"bgp\": BGPAdvertisements \"all\" and \"other\"")),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line == "routes tor-a -10.20.30.1/32 -10.20.30.2/32"), "{lines:?}");
}

#[test]
fn warnings_that_still_hold_are_told_again_before_their_events_expire() {
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    let everything = json!([{"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}]);
    let other = advertisement("other", &json!({"localPref": 7, "serviceSelectors": everything}));
    let mut story = Story::begun(vec![peer("red", &json!({"vrf": "red"})), other]);
    story.tell_at(Instant::default() + minute, report("tor-a", false, "nobody answers"));
    let mut told: Vec<String> = story.take().into_iter().filter(|line| line.starts_with('!')).collect();
    told.sort();
    let starts = ["!announceFailed dns", "!announceFailed web", "!sessionDown red", "!sessionDown tor-a"];
    assert!(
        told.len() == 4 && told.iter().zip(starts).all(|(line, start)| line.starts_with(start)),
        "{told:?}"
    );
    // All of them again within the hour, and once.
    let mut now = Instant::default() + minute;
    let mut again = Vec::new();
    while let Some(at) = story.core.poll_timeout().filter(|at| *at < Instant::default() + hour) {
        now = at;
        story.tell_at(now, Input::Timeout);
        again.extend(story.take());
    }
    again.sort();
    assert_eq!(again, told);
    // What does not hold any more is not told.
    story.tell_at(now, report("tor-a", true, "established"));
    story.tell_at(now, Input::BgpAdvertisement(Change::Delete(key("other"))));
    story.tell_at(now, Input::Peer(Change::Delete(key("red"))));
    story.take();
    while let Some(at) = story.core.poll_timeout().filter(|at| *at < now + hour) {
        story.tell_at(at, Input::Timeout);
    }
    assert_eq!(story.take(), [""; 0]);
}

/// A node that is being drained, or is not.
fn own_node(draining: bool) -> Input {
    Input::Node(Change::Apply(ObjectKey::new("", NODE), Node { draining, ..Node::default() }))
}

/// Another node, whose speaker is ready.
fn another_node() -> [Input; 2] {
    let pod = SpeakerPod { node: Some("iris2".into()), on: Some("iris2".into()), ..SpeakerPod::default() };
    [
        Input::Node(Change::Apply(ObjectKey::new("", "iris2"), Node::default())),
        Input::Speaker(Change::Apply(key("speaker-iris2"), pod)),
    ]
}

#[test]
fn while_the_node_is_drained_routers_take_other_ways_and_then_the_routes_go() {
    let mut story = Story::begun(another_node().into());
    story.take();
    story.tell(own_node(true));
    assert_eq!(story.take(), ["drain true"], "the routes stay for a while");
    let due = story.core.poll_timeout().expect("they are to go");
    assert_eq!(due, Instant::default() + LEAST_DRAIN_TIME);
    story.tell_at(due, Input::Timeout);
    let lines = story.take();
    assert!(lines.contains(&"routes tor-a -10.20.30.1/32 -10.20.30.2/32".to_owned()), "{lines:?}");
    assert!(lines.contains(&"status web none".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("end")), "the session stays: {lines:?}");
    story.tell_at(due, own_node(false));
    let lines = story.take();
    assert!(lines.contains(&"routes tor-a +10.20.30.1/32 +10.20.30.2/32".to_owned()), "{lines:?}");
    assert!(lines.contains(&"drain false".to_owned()), "{lines:?}");
    assert_ne!(story.core.poll_timeout(), Some(due), "nothing is due any more");
}

#[test]
fn a_drain_that_is_called_off_moves_nothing_and_the_only_node_goes_on() {
    let mut story = Story::begun(another_node().into());
    story.take();
    story.tell(own_node(true));
    story.tell(own_node(false));
    story.tell_at(Instant::default() + LEAST_DRAIN_TIME, Input::Timeout);
    assert_eq!(story.take(), ["drain true", "drain false"]);
    // Nobody else could announce anything.
    let mut story = Story::begun(Vec::new());
    story.take();
    story.tell(own_node(true));
    story.tell_at(Instant::default() + LEAST_DRAIN_TIME, Input::Timeout);
    assert_eq!(story.take(), ["drain true"]);
    // Another node comes: now it can be spared.
    for input in another_node() {
        story.tell(input);
    }
    let lines = story.take();
    assert!(lines.contains(&"routes tor-a -10.20.30.1/32 -10.20.30.2/32".to_owned()), "{lines:?}");
}

#[test]
fn a_speaker_that_starts_on_a_drained_node_announces_nothing_that_others_do() {
    let mut before: Vec<Input> = another_node().into();
    before.push(own_node(true));
    let mut story = Story::begun(before);
    let lines = story.take();
    assert!(!lines.iter().any(|line| line.starts_with("routes")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("session tor-a")), "{lines:?}");
}
