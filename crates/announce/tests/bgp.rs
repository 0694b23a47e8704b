//! What a node announces by BGP, by table: the rules of MetalLB in its order of reasons.

use std::collections::BTreeMap;

use announce::{
    BgpAnnouncement, BgpDecision, BgpReason, Index, Node, Obstacle, Reason, Service, ServiceKey, Settings,
    Slice, SliceKey, Unheard,
};
use bgp::packet::Families;
use config::{Config, Resources};
use net::Family;
use serde_json::{Value, json};

const NODE: &str = "iris1";

fn key() -> ServiceKey {
    ServiceKey { namespace: "shop".into(), name: "web".into() }
}

fn read<T: serde::de::DeserializeOwned>(name: &str, spec: &Value) -> T {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a valid object")
}

/// One state of the cluster. Defaults: a Service with an endpoint on this node and on another one, one advertisement
/// of everything, two peers.
#[derive(Clone)]
struct Cluster {
    service: Service,
    endpoints: Vec<&'static str>,
    node: Node,
    advertisements: Vec<Value>,
    l2_advertisements: Vec<Value>,
    peers: Vec<(&'static str, Value)>,
    ignore_exclude: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let peer = |address: &str| json!({"myASN": 64512, "peerASN": 64513, "peerAddress": address});
        Self {
            service: Service {
                load_balancer: true,
                addresses: vec!["10.20.30.1".parse().expect("an address")],
                labels: labels(&[("app", "web")]),
                ..Service::default()
            },
            endpoints: vec![NODE, "iris2"],
            node: Node { labels: labels(&[("rack", "a")]), network_unavailable: false, ..Node::default() },
            advertisements: vec![json!({})],
            l2_advertisements: Vec::new(),
            peers: vec![("tor-a", peer("192.0.2.254")), ("tor-b", peer("192.0.2.253"))],
            ignore_exclude: false,
        }
    }
}

impl Cluster {
    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut cluster = Self::default();
        change(&mut cluster);
        cluster
    }

    fn config(&self) -> Config {
        let pool: api::IPAddressPool = read("blue", &json!({"addresses": ["10.20.30.0/24", "fc00::/120"]}));
        let names = ["adv0", "adv1", "adv2"];
        let of = |specs: &[Value]| -> Vec<(&'static str, Value)> {
            names.iter().copied().zip(specs.iter().cloned()).collect()
        };
        let bgp: Vec<api::BGPAdvertisement> =
            of(&self.advertisements).iter().map(|(name, spec)| read(name, spec)).collect();
        let l2: Vec<api::L2Advertisement> =
            of(&self.l2_advertisements).iter().map(|(name, spec)| read(name, spec)).collect();
        let peers: Vec<api::BGPPeer> = self.peers.iter().map(|(name, spec)| read(name, spec)).collect();
        let names: api::Community =
            read("names", &json!({"communities": [{"name": "fast", "value": "64512:7"}]}));
        Config::build(
            &Resources {
                pools: vec![&pool],
                bgp_advertisements: bgp.iter().collect(),
                l2_advertisements: l2.iter().collect(),
                bgp_peers: peers.iter().collect(),
                communities: vec![&names],
                ..Resources::default()
            },
            None,
        )
    }

    fn index(&self) -> Index {
        let settings = Settings { node: NODE.into(), class: None, ignore_exclude: self.ignore_exclude };
        let mut index = Index::new(settings);
        let config = self.config();
        let taken = |peer: &config::BgpPeer| match (&peer.endpoint, &peer.vrf) {
            (_, Some(_)) => None,
            _ if peer.dual_stack => Some(Families::BOTH),
            (config::PeerEndpoint::Address(address), None) => Some(Families::only(Family::of(*address))),
            (config::PeerEndpoint::Interface(_), None) => None,
        };
        let peers = config.bgp_peers.values();
        let takers = peers.filter_map(|peer| Some((peer.name.clone(), taken(peer)?))).collect();
        index.set_config(config);
        index.set_takers(takers);
        index.apply_node(NODE.to_owned(), self.node.clone());
        let serving = self.endpoints.iter().map(|node| Some((*node).to_owned())).collect();
        let slice = Slice { service: Some(key()), serving };
        index.apply_slice(SliceKey { namespace: "shop".into(), name: "web-1".into() }, slice);
        index.apply_service(key(), self.service.clone());
        index
    }

    fn decision(&self) -> BgpDecision {
        self.index().decide_bgp(&key())
    }

    /// Each route with its attributes and advertisement as a line, and the peers; or the reason for none.
    fn told(&self) -> Result<(Vec<String>, Vec<String>), String> {
        match self.decision() {
            BgpDecision::Not(reason) => Err(reason.to_string()),
            BgpDecision::Announce(announcement) => {
                let line = |ask: &announce::Ask| {
                    let mut line = format!("{} by {}", ask.prefix, ask.advertisement);
                    if let Some(preference) = ask.route.local_pref {
                        line += &format!(" at {preference}");
                    }
                    for community in &ask.route.communities {
                        line += &format!(" {}:{}", community.0 >> 16, community.0 & 0xffff);
                    }
                    for large in &ask.route.large_communities {
                        line += &format!(" {}:{}:{}", large.global, large.one, large.two);
                    }
                    line
                };
                Ok((announcement.asks.iter().map(line).collect(), announcement.peers.into_iter().collect()))
            }
        }
    }
}

#[test]
fn the_first_reason_in_the_order_of_metallb_is_given() {
    type Step = (&'static str, fn(&mut Cluster), &'static str);
    // Each step adds an obstacle that comes before those of the steps above it.
    let steps: [Step; 9] = [
        ("no peer", |c| c.peers.clear(), "this node has no session with a BGPPeer"),
        (
            "local, and no endpoint here",
            |c| {
                c.service.local = true;
                c.endpoints = vec!["iris2"];
            },
            "no endpoint of it on this node is ready",
        ),
        ("no endpoint", |c| c.endpoints.clear(), "no endpoint of it is ready"),
        (
            "excluded",
            |c| {
                c.node.labels.insert(api::names::EXCLUDE_LABEL.to_owned(), String::new());
            },
            "this node has the label node.kubernetes.io/exclude",
        ),
        (
            "unavailable",
            |c| c.node.network_unavailable = true,
            "this node has the condition NetworkUnavailable",
        ),
        (
            "left out",
            |c| {
                c.advertisements = vec![json!({"serviceSelectors": [{"matchLabels": {"app": "dns"}}]})];
            },
            "no BGPAdvertisement of IPAddressPool \"blue\" that selects this node selects the Service",
        ),
        (
            "elsewhere",
            |c| {
                c.advertisements = vec![json!({"nodeSelectors": [{"matchLabels": {"rack": "b"}}]})];
            },
            "no BGPAdvertisement of IPAddressPool \"blue\" selects this node",
        ),
        ("not by BGP", |c| c.advertisements.clear(), "no BGPAdvertisement announces IPAddressPool \"blue\""),
        (
            "in no pool",
            |c| {
                c.service.addresses = vec!["192.0.2.9".parse().expect("an address")];
            },
            "no valid IPAddressPool contains its address 192.0.2.9",
        ),
    ];
    let mut cluster = Cluster::default();
    assert!(cluster.told().is_ok());
    for (step, change, expected) in steps {
        change(&mut cluster);
        let reason = cluster.told().expect_err(step);
        assert!(reason.starts_with(expected), "{step}: {reason}");
    }
}

#[test]
fn excluded_nodes_announce_where_that_is_ignored() {
    let cluster = Cluster::with(|c| {
        c.node.labels.insert(api::names::EXCLUDE_LABEL.to_owned(), "anything".to_owned());
        c.ignore_exclude = true;
    });
    assert!(cluster.told().is_ok());
}

#[test]
fn a_drained_node_withdraws_what_another_one_announces_and_nothing_else() {
    type Case = (&'static str, fn(&mut Cluster, &mut Node), bool);
    let label = |node: &mut Node| node.labels.insert(api::names::EXCLUDE_LABEL.to_owned(), String::new());
    let cases: [Case; 8] = [
        ("another node can", |_, _| {}, true),
        (
            "the other can have no session",
            |c, _| {
                c.peers[0].1["nodeSelectors"] = json!([{"matchLabels": {"rack": "a"}}]);
                c.peers[1].1["vrf"] = "red".into();
            },
            false,
        ),
        ("the other is drained, too", |_, other| other.draining = true, false),
        ("the other has no network", |_, other| other.network_unavailable = true, false),
        (
            "no advertisement selects the other",
            |c, _| {
                c.advertisements = vec![json!({"nodeSelectors": [{"matchLabels": {"rack": "a"}}]})];
            },
            false,
        ),
        (
            "the other has no peer",
            |c, _| {
                for (_, spec) in &mut c.peers {
                    spec["nodeSelectors"] = json!([{"matchLabels": {"rack": "a"}}]);
                }
            },
            false,
        ),
        ("local, with a Pod there", |c, _| c.service.local = true, true),
        (
            "local, without",
            |c, _| {
                c.service.local = true;
                c.endpoints = vec![NODE];
            },
            false,
        ),
    ];
    for (case, change, withdrawn) in cases {
        let (mut cluster, mut other) = (Cluster::default(), Node::default());
        change(&mut cluster, &mut other);
        let mut index = cluster.index();
        assert_eq!(index.set_withdraws(true), [key()], "{case}");
        index.apply_node("iris2".to_owned(), other.clone());
        let stays = |index: &Index| matches!(index.decide_bgp(&key()), BgpDecision::Announce(_));
        assert!(stays(&index), "{case}: nobody knows whether the other one has a speaker");
        assert_eq!(index.set_ready("iris2", true), [key()], "{case}");
        assert_eq!(stays(&index), !withdrawn, "{case}");
        label(&mut other);
        index.apply_node("iris2".to_owned(), other);
        assert!(stays(&index), "{case}: the other is left out by its label");
        assert_eq!((index.set_withdraws(false), index.set_withdraws(false)), (vec![key()], vec![]));
        assert!(stays(&index), "{case}: not drained any more");
        assert_eq!(index.set_ready("iris2", false), [], "{case}: nothing depends on it then");
    }
}

/// What is special, how the cluster comes to be so, and the routes and peers that follow.
type RouteCase = (&'static str, fn(&mut Cluster), &'static [&'static str], &'static [&'static str]);

#[test]
fn routes_carry_what_the_advertisements_say() {
    let both = vec!["tor-a".to_owned(), "tor-b".to_owned()];
    let dual = |c: &mut Cluster| c.service.addresses.push("fc00::1".parse().expect("an address"));
    let cases: [RouteCase; 7] = [
        ("plain", |_| {}, &["10.20.30.1/32 by adv0"], &["tor-a", "tor-b"]),
        (
            "communities, by name too, and a preference",
            |c| {
                c.advertisements =
                    vec![json!({"localPref": 200, "communities": ["64512:1", "fast", "large:1:2:3"]})];
            },
            &["10.20.30.1/32 by adv0 at 200 64512:1 64512:7 1:2:3"],
            &["tor-a", "tor-b"],
        ),
        (
            "an aggregate beside the address, to other peers",
            |c| {
                c.advertisements =
                    vec![json!({"aggregationLength": 28, "peers": ["tor-a"]}), json!({"peers": ["tor-b"]})];
            },
            &["10.20.30.0/28 by adv0", "10.20.30.1/32 by adv1"],
            &["tor-a", "tor-b"],
        ),
        (
            "only selected peers",
            |c| c.advertisements = vec![json!({"peers": ["tor-b", "gone"]})],
            &["10.20.30.1/32 by adv0"],
            &["tor-b"],
        ),
        (
            "only peers of this node",
            |c| {
                c.peers[0].1["nodeSelectors"] = json!([{"matchLabels": {"rack": "b"}}]);
            },
            &["10.20.30.1/32 by adv0"],
            &["tor-b"],
        ),
        (
            "only advertisements of this node and Service",
            |c| {
                c.advertisements = vec![
                    json!({"communities": ["64512:1"], "nodeSelectors": [{"matchLabels": {"rack": "b"}}]}),
                    json!({"communities": ["64512:2"], "serviceSelectors": [{"matchLabels": {"app": "dns"}}]}),
                    json!({"communities": ["64512:3"], "serviceSelectors": [{"matchLabels": {"app": "web"}}]}),
                ];
            },
            &["10.20.30.1/32 by adv2 64512:3"],
            &["tor-a", "tor-b"],
        ),
        (
            "a larger route than what the pool has is left out",
            |c| c.advertisements = vec![json!({"aggregationLength": 16}), json!({"aggregationLength": 24})],
            &["10.20.30.0/24 by adv1"],
            &["tor-a", "tor-b"],
        ),
    ];
    for (what, change, routes, peers) in cases {
        let told = Cluster::with(change).told().expect(what);
        assert_eq!(
            (told.0, told.1),
            (
                routes.iter().map(|r| (*r).to_owned()).collect(),
                peers.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()
            ),
            "{what}"
        );
    }
    let one = Cluster::with(|c| {
        dual(c);
        c.peers[1].1["dualStackAddressFamily"] = true.into();
    });
    let told = one.told().expect("both families");
    assert_eq!(told, (vec!["10.20.30.1/32 by adv0".to_owned(), "fc00::1/128 by adv0".to_owned()], both));
}

#[test]
fn only_what_a_peer_can_be_told_is_announced() {
    let of_v6 = |c: &mut Cluster| c.service.addresses = vec!["fc00::1".parse().expect("an address")];
    let refuse = |c: &mut Cluster, which: usize| c.peers[which].1["vrf"] = "red".into();
    let dual = |c: &mut Cluster| c.service.addresses.push("fc00::1".parse().expect("an address"));
    let announcement = |cluster: &Cluster| match cluster.decision() {
        BgpDecision::Announce(announcement) => announcement,
        BgpDecision::Not(reason) => panic!("{reason}"),
    };
    // A peer with which no session is possible is none.
    let told = Cluster::with(|c| refuse(c, 0)).told().expect("the other one");
    assert_eq!(told, (vec!["10.20.30.1/32 by adv0".to_owned()], vec!["tor-b".to_owned()]));
    // Nor does one hear of an address whose family its session does not carry.
    let cluster = Cluster::with(dual);
    let BgpAnnouncement { addresses, asks, unheard, .. } = announcement(&cluster);
    assert_eq!(addresses, cluster.service.addresses[..1]);
    assert_eq!(asks.len(), 1);
    let peers = ["tor-a".to_owned(), "tor-b".to_owned()].into();
    assert_eq!(unheard, [Unheard { address: cluster.service.addresses[1], peers }]);
    let apart = Cluster::with(|c| {
        dual(c);
        c.peers[1].1["peerAddress"] = "2001:db8::254".into();
    });
    let BgpAnnouncement { addresses, peers, unheard, .. } = announcement(&apart);
    assert_eq!((addresses.len(), peers.len(), unheard.len()), (2, 2, 0), "each hears of one");
    for (what, cluster, reason, obstacle) in [
        (
            "no session is possible",
            Cluster::with(|c| (refuse(c, 0), refuse(c, 1)).0),
            "no session is possible with the only BGPPeers that it could be announced to, tor-a, tor-b",
            "no session is possible with the only BGPPeers that its BGPAdvertisements go to, tor-a, tor-b",
        ),
        (
            "no session takes the family",
            Cluster::with(of_v6),
            "BGPPeers tor-a, tor-b take no routes of the family of fc00::1: set dualStackAddressFamily",
            "BGPPeers tor-a, tor-b take no routes of the family of fc00::1: set dualStackAddressFamily",
        ),
    ] {
        let index = cluster.index();
        let BgpDecision::Not(found) = index.decide_bgp(&key()) else { panic!("{what}") };
        assert!(found.to_string().starts_with(reason), "{what}: {found}");
        let found = index.obstacle(&key(), &index.decide(&key())).expect(what).to_string();
        assert!(found.starts_with(obstacle), "{what}: {found}");
    }
    // What changes for a peer changes for its Services.
    let mut index = Cluster::with(of_v6).index();
    let both = |name: &str| (name.to_owned(), Families::BOTH);
    assert_eq!(index.set_takers([both("tor-a")].into()), [key()]);
    assert!(matches!(index.decide_bgp(&key()), BgpDecision::Announce(_)));
    assert_eq!(index.set_takers([both("tor-a")].into()), []);
}

#[test]
fn different_preferences_of_one_route_to_one_peer_are_a_conflict() {
    // Service selectors, which the validation of the configuration cannot judge.
    let selected = |pref: Option<u32>, more: Value| {
        let mut spec =
            json!({"serviceSelectors": [{"matchExpressions": [{"key": "app", "operator": "Exists"}]}]});
        if let Some(pref) = pref {
            spec["localPref"] = pref.into();
        }
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        spec
    };
    for (what, one, other, conflicts) in [
        ("the same", selected(Some(5), json!({})), selected(Some(5), json!({})), false),
        ("different", selected(Some(5), json!({})), selected(Some(6), json!({})), true),
        ("one and none", selected(Some(5), json!({})), selected(None, json!({})), true),
        (
            "to different peers",
            selected(Some(5), json!({"peers": ["tor-a"]})),
            selected(Some(6), json!({"peers": ["tor-b"]})),
            false,
        ),
        (
            "of different prefixes",
            json!({"localPref": 5, "aggregationLength": 28}),
            selected(Some(6), json!({})),
            false,
        ),
    ] {
        let decision = Cluster::with(|c| c.advertisements = vec![one, other]).decision();
        let found = matches!(&decision, BgpDecision::Not(BgpReason::Conflict(conflict)) if conflict.to_string().contains("give both the same"));
        assert_eq!(found, conflicts, "{what}: {decision:?}");
    }
}

#[test]
fn the_same_service_may_be_announced_by_both_protocols() {
    let cluster = Cluster::with(|c| c.l2_advertisements = vec![json!({})]);
    let mut index = cluster.index();
    index.set_speakers([NODE.to_owned()].into());
    assert!(matches!(index.decide(&key()), announce::Decision::Elect(_)));
    assert!(matches!(index.decide_bgp(&key()), BgpDecision::Announce(_)));
}

#[test]
fn a_change_of_the_own_node_is_a_change_of_its_routes() {
    let cluster = Cluster::with(|c| {
        c.advertisements = vec![json!({"nodeSelectors": [{"matchLabels": {"rack": "b"}}]})];
    });
    let mut index = cluster.index();
    assert!(matches!(index.decide_bgp(&key()), BgpDecision::Not(BgpReason::NodeNotSelected(_))));
    let mut node = cluster.node.clone();
    node.labels.insert("rack".to_owned(), "b".to_owned());
    assert_eq!(index.apply_node(NODE.to_owned(), node), [key()]);
    assert!(matches!(index.decide_bgp(&key()), BgpDecision::Announce(_)));
    let to: Vec<String> = index.bgp_advertisements_to("tor-a").iter().map(ToString::to_string).collect();
    assert_eq!(to, ["adv0"]);
    assert_eq!(index.delete_node(NODE), [key()]);
    assert!(matches!(index.decide_bgp(&key()), BgpDecision::Not(BgpReason::NodeNotSelected(_))));
}

#[test]
fn a_pool_that_bgp_announces_needs_no_layer_2() {
    type Case = (&'static str, fn(&mut Cluster), Option<&'static str>);
    let cases: [Case; 5] = [
        ("by BGP only", |_| {}, None),
        ("by nobody", |c| c.advertisements.clear(), Some("no L2Advertisement or BGPAdvertisement announces")),
        (
            "to nobody",
            |c| c.peers.clear(),
            Some("the BGPAdvertisements of IPAddressPool \"blue\" go to no router"),
        ),
        (
            "to a peer that does not exist",
            |c| c.advertisements = vec![json!({"peers": ["gone"]})],
            Some("the BGPAdvertisements of IPAddressPool \"blue\" go to no router"),
        ),
        (
            "other Services only",
            |c| c.advertisements = vec![json!({"serviceSelectors": [{"matchLabels": {"app": "dns"}}]})],
            Some("the spec.serviceSelectors of every BGPAdvertisement"),
        ),
    ];
    for (what, change, expected) in cases {
        let index = Cluster::with(change).index();
        let decision = index.decide(&key());
        assert!(matches!(decision, announce::Decision::Not(Reason::NoAdvertisement(_))), "{what}");
        let obstacle = index.obstacle(&key(), &decision);
        let text = obstacle.as_ref().map(Obstacle::to_string);
        match expected {
            None => assert_eq!(text, None, "{what}"),
            Some(start) => {
                assert!(text.as_ref().is_some_and(|text| text.starts_with(start)), "{what}: {text:?}");
            }
        }
    }
}
