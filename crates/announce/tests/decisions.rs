//! Who announces, by table: the rules of MetalLB on a cluster of three nodes.

use std::collections::BTreeMap;

use announce::{
    Decision, Election, Index, Interfaces, Node, Reason, Service, ServiceKey, Settings, Shortage, Slice,
    SliceKey,
};
use config::{Config, Resources};
use serde_json::{Value, json};

const NODES: [&str; 3] = ["iris1", "iris2", "iris3"];
/// By hash: iris3, iris2, iris1.
const IP: &str = "10.20.30.1";

fn key() -> ServiceKey {
    ServiceKey { namespace: "shop".into(), name: "web".into() }
}

fn config(advertisements: &[Value]) -> Config {
    let pool = |name: &str, addresses: &[&str]| -> api::IPAddressPool {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"addresses": addresses}}))
            .expect("a valid pool")
    };
    let pools = [pool("blue", &["10.20.30.0/24", "fc00::/120"]), pool("green", &["10.20.31.0/24"])];
    let advertisements: Vec<api::L2Advertisement> = advertisements
        .iter()
        .enumerate()
        .map(|(i, spec)| json!({"metadata": {"name": format!("adv{i}")}, "spec": spec}))
        .map(|object| serde_json::from_value(object).expect("a valid advertisement"))
        .collect();
    let resources = Resources {
        pools: pools.iter().collect(),
        l2_advertisements: advertisements.iter().collect(),
        ..Resources::default()
    };
    Config::build(&resources, None)
}

/// One state of the cluster. Defaults: three ready nodes, one Service with an endpoint on each, one
/// advertisement of everything.
#[derive(Clone)]
struct Cluster {
    service: Service,
    endpoints: Vec<(Option<&'static str>, Value)>,
    nodes: BTreeMap<&'static str, Node>,
    members: Vec<&'static str>,
    advertisements: Vec<Value>,
    class: Option<String>,
    ignore_exclude: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        let node = |name: &str| Node {
            labels: BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.to_owned())]),
            ..Node::default()
        };
        Self {
            service: Service {
                load_balancer: true,
                addresses: vec![IP.parse().expect("an address")],
                labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
                ..Service::default()
            },
            endpoints: NODES.iter().map(|&n| (Some(n), json!({"ready": true}))).collect(),
            nodes: NODES.iter().map(|&n| (n, node(n))).collect(),
            members: NODES.to_vec(),
            advertisements: vec![json!({})],
            class: None,
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

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).expect("one of the three")
    }

    fn slice(&self) -> Slice {
        let endpoints: Vec<Value> = self
            .endpoints
            .iter()
            .map(|(node, conditions)| json!({"addresses": ["10.0.0.1"], "nodeName": node, "conditions": conditions}))
            .collect();
        let object = serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": endpoints,
        }));
        Slice::from(&object.expect("a valid slice"))
    }

    /// The index that the speaker on this node has.
    fn index(&self, node: &str) -> Index {
        let settings =
            Settings { node: node.into(), class: self.class.clone(), ignore_exclude: self.ignore_exclude };
        let mut index = Index::new(settings);
        index.set_config(config(&self.advertisements));
        for (name, node) in &self.nodes {
            index.apply_node((*name).to_owned(), node.clone());
        }
        index.set_speakers(self.members.iter().map(|&name| name.to_owned()).collect());
        index.apply_slice(SliceKey { namespace: "shop".into(), name: "web-1".into() }, self.slice());
        index.apply_service(key(), self.service.clone());
        index
    }

    fn decisions(&self) -> Vec<Decision> {
        NODES.iter().map(|node| self.index(node).decide(&key())).collect()
    }

    /// The nodes that announce.
    fn announcers(&self) -> Vec<&'static str> {
        let decisions = self.decisions().into_iter().zip(NODES);
        decisions.filter(|(d, node)| announces(d, node)).map(|(_, node)| node).collect()
    }

    /// The interfaces on the announcing node.
    fn interfaces(&self) -> Option<Interfaces> {
        let decided = self.decisions().into_iter().zip(NODES).find(|(d, node)| announces(d, node));
        match decided?.0 {
            Decision::Elect(election) => election.here.ok(),
            Decision::Not(_) => None,
        }
    }

    /// Why the first node does not announce.
    fn reason(&self) -> Reason {
        match self.index(NODES[0]).decide(&key()) {
            Decision::Not(reason) | Decision::Elect(Election { here: Err(reason), .. }) => reason,
            Decision::Elect(Election { order, .. }) if order[0] == NODES[0] => panic!("announced: {order:?}"),
            Decision::Elect(Election { order, .. }) => Reason::OtherNode(order[0].clone()),
        }
    }
}

/// Whether the node comes first and may announce.
fn announces(decision: &Decision, node: &str) -> bool {
    let Decision::Elect(election) = decision else { return false };
    election.order[0] == node && election.here.is_ok()
}

fn host(name: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/hostname": name}})
}

fn hosts(names: &[&str]) -> Value {
    names.iter().map(|name| host(name)).collect()
}

#[test]
fn exactly_the_elected_node_of_those_that_may_announces() {
    let exclude = |node: &mut Node| node.labels.insert(api::names::EXCLUDE_LABEL.into(), String::new());
    for (case, cluster, announcer) in [
        ("plain", Cluster::default(), "iris3"),
        ("the first one's speaker is gone", Cluster::with(|c| c.members.retain(|n| *n != "iris3")), "iris2"),
        ("no network", Cluster::with(|c| c.node("iris3").network_unavailable = true), "iris2"),
        ("excluded by label", Cluster::with(|c| drop(exclude(c.node("iris3")))), "iris2"),
        (
            "excluded by label, which is ignored",
            Cluster::with(|c| {
                exclude(c.node("iris3"));
                c.ignore_exclude = true;
            }),
            "iris3",
        ),
        ("its node is gone", Cluster::with(|c| drop(c.nodes.remove("iris3"))), "iris2"),
        (
            "one node selected",
            Cluster::with(|c| c.advertisements = vec![json!({"nodeSelectors": [host("iris1")]})]),
            "iris1",
        ),
        (
            "two nodes selected",
            Cluster::with(|c| c.advertisements = vec![json!({"nodeSelectors": hosts(&["iris1", "iris2"])})]),
            "iris2",
        ),
        (
            "two advertisements that select one node each",
            Cluster::with(|c| {
                c.advertisements = vec![
                    json!({"nodeSelectors": [host("iris1")]}),
                    json!({"nodeSelectors": [host("iris2")]}),
                ];
            }),
            "iris2",
        ),
        (
            "another advertisement is of another pool",
            Cluster::with(|c| {
                c.advertisements = vec![
                    json!({"ipAddressPools": ["blue"], "nodeSelectors": [host("iris1")]}),
                    json!({"ipAddressPools": ["green"]}),
                ];
            }),
            "iris1",
        ),
        (
            "another advertisement is for other Services",
            Cluster::with(|c| {
                c.advertisements = vec![
                    json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}], "nodeSelectors": [host("iris1")]}),
                    json!({"serviceSelectors": [{"matchLabels": {"app": "db"}}]}),
                ];
            }),
            "iris1",
        ),
        (
            "one of several Service selectors matches",
            Cluster::with(|c| {
                c.advertisements = vec![
                    json!({"serviceSelectors": [{"matchLabels": {"app": "db"}}, {"matchLabels": {"app": "web"}}]}),
                ];
            }),
            "iris3",
        ),
    ] {
        assert_eq!(cluster.announcers(), [announcer], "{case}: {:?}", cluster.decisions());
    }
}

#[test]
fn endpoints_addresses_and_classes_take_part_in_the_election() {
    for (case, cluster, announcer) in [
        (
            "policy Local, endpoints on two nodes",
            Cluster::with(|c| {
                c.service.local = true;
                c.endpoints.retain(|(node, _)| *node != Some("iris3"));
            }),
            "iris2",
        ),
        (
            "policy Cluster, endpoints elsewhere",
            Cluster::with(|c| c.endpoints.retain(|(node, _)| *node == Some("iris1"))),
            "iris3",
        ),
        (
            "policy Local, only one endpoint still serves",
            Cluster::with(|c| {
                c.service.local = true;
                c.endpoints = vec![
                    (Some("iris1"), json!({"ready": false, "serving": true, "terminating": true})),
                    (Some("iris2"), json!({"ready": false, "serving": false, "terminating": true})),
                    (Some("iris3"), json!({"ready": false})),
                ];
            }),
            "iris1",
        ),
        (
            "readiness not stated",
            Cluster::with(|c| {
                c.service.local = true;
                c.endpoints = vec![(Some("iris1"), json!({}))];
            }),
            "iris1",
        ),
        (
            "an endpoint on no node is enough for policy Cluster",
            Cluster::with(|c| c.endpoints = vec![(None, json!({"ready": true}))]),
            "iris3",
        ),
        (
            "dual stack: the first address decides",
            Cluster::with(|c| {
                c.service.addresses = ["10.20.30.2", "fc00::1"].map(|a| a.parse().expect("ip")).into();
            }),
            "iris1",
        ),
        (
            "dual stack the other way round",
            Cluster::with(|c| {
                c.service.addresses = ["fc00::1", "10.20.30.2"].map(|a| a.parse().expect("ip")).into();
            }),
            "iris3",
        ),
        (
            "a class of ours",
            Cluster::with(|c| {
                c.class = Some("metallb".into());
                c.service.class = Some("metallb".into());
            }),
            "iris3",
        ),
        (
            "a shared address and advertisements for all Services",
            Cluster::with(|c| c.service.shares = true),
            "iris3",
        ),
    ] {
        assert_eq!(cluster.announcers(), [announcer], "{case}: {:?}", cluster.decisions());
    }
}

#[test]
fn preferences_go_before_the_hash_among_those_that_may() {
    let prefers = |name: &str, weight: i32| json!({"weight": weight, "preference": host(name)});
    for (case, advertisements, announcer) in [
        ("one preferred", vec![json!({"preferredNodeSelectors": [prefers("iris1", 1)]})], "iris1"),
        (
            "the heavier of two",
            vec![json!({"preferredNodeSelectors": [prefers("iris1", 10), prefers("iris2", 20)]})],
            "iris2",
        ),
        (
            "weights add up over advertisements",
            vec![
                json!({"preferredNodeSelectors": [prefers("iris1", 15), prefers("iris2", 20)]}),
                json!({"preferredNodeSelectors": [prefers("iris1", 15)], "interfaces": ["eth0"]}),
            ],
            "iris1",
        ),
        (
            "only those for this Service count",
            vec![
                json!({"preferredNodeSelectors": [prefers("iris2", 1)]}),
                json!({
                    "preferredNodeSelectors": [prefers("iris1", 100)],
                    "serviceSelectors": [{"matchLabels": {"app": "db"}}],
                }),
            ],
            "iris2",
        ),
        ("no node matches", vec![json!({"preferredNodeSelectors": [prefers("iris9", 100)]})], "iris3"),
        (
            "disjoint from the selected nodes",
            vec![json!({
                "preferredNodeSelectors": [prefers("iris3", 100)],
                "nodeSelectors": hosts(&["iris1", "iris2"]),
            })],
            "iris2",
        ),
    ] {
        let cluster = Cluster::with(|c| c.advertisements = advertisements);
        assert_eq!(cluster.announcers(), [announcer], "{case}");
    }
}

#[test]
fn a_preferred_node_is_left_and_taken_again_as_it_may_or_may_not() {
    let mut cluster = Cluster::with(|c| {
        c.advertisements =
            vec![json!({"preferredNodeSelectors": [{"weight": 1, "preference": host("iris1")}]})];
    });
    assert_eq!(cluster.announcers(), ["iris1"]);
    cluster.node("iris1").labels.insert(api::names::EXCLUDE_LABEL.into(), "false".into());
    assert_eq!(cluster.announcers(), ["iris3"], "the label counts whatever its value");
    cluster.node("iris1").labels.remove(api::names::EXCLUDE_LABEL);
    assert_eq!(cluster.announcers(), ["iris1"]);
}

#[test]
fn nothing_is_announced_without_a_reason_that_says_why() {
    let address = |text: &str| text.parse().expect("an address");
    for (case, cluster, reason) in [
        ("another type", Cluster::with(|c| c.service.load_balancer = false), Reason::NotLoadBalancer),
        ("another class", Cluster::with(|c| c.service.class = Some("cloud".into())), Reason::OtherClass),
        (
            "no class where one is ours",
            Cluster::with(|c| c.class = Some("metallb".into())),
            Reason::OtherClass,
        ),
        ("no address", Cluster::with(|c| c.service.addresses.clear()), Reason::NoAddress),
        (
            "a host name",
            Cluster::with(|c| c.service.unreadable = Some("lb.example".into())),
            Reason::Unreadable("lb.example".into()),
        ),
        (
            "an address of no pool",
            Cluster::with(|c| c.service.addresses = vec![address("192.0.2.1")]),
            Reason::NotInPool(address("192.0.2.1")),
        ),
        (
            "addresses of two pools",
            Cluster::with(|c| c.service.addresses.push(address("10.20.31.1"))),
            Reason::NotInPool(address("10.20.31.1")),
        ),
        ("no endpoints", Cluster::with(|c| c.endpoints.clear()), Reason::NoEndpoint),
        (
            "no endpoint ready",
            Cluster::with(|c| c.endpoints = vec![(Some("iris1"), json!({"ready": false}))]),
            Reason::NoEndpoint,
        ),
        (
            "shared, and a matching advertisement picks Services",
            Cluster::with(|c| {
                c.service.shares = true;
                c.advertisements =
                    vec![json!({}), json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]})];
            }),
            Reason::SharedWithServiceSelector("adv1".into()),
        ),
        (
            "no advertisement",
            Cluster::with(|c| c.advertisements.clear()),
            Reason::NoAdvertisement("blue".into()),
        ),
        (
            "no advertisement of the pool",
            Cluster::with(|c| c.advertisements = vec![json!({"ipAddressPools": ["green"]})]),
            Reason::NoAdvertisement("blue".into()),
        ),
        (
            "an advertisement naming no existing pool",
            Cluster::with(|c| c.advertisements = vec![json!({"ipAddressPools": ["absent"]})]),
            Reason::NoAdvertisement("blue".into()),
        ),
        (
            "none on this node",
            Cluster::with(|c| c.advertisements = vec![json!({"nodeSelectors": [host("iris2")]})]),
            Reason::NoAdvertisement("blue".into()),
        ),
        ("no speaker", Cluster::with(|c| c.members.clear()), Reason::NoCandidate(Shortage::default())),
        (
            "policy Local and an endpoint on no node",
            Cluster::with(|c| {
                c.service.local = true;
                c.endpoints = vec![(None, json!({"ready": true}))];
            }),
            Reason::NoCandidate(Shortage { no_endpoint: 3, ..Shortage::default() }),
        ),
        ("another was elected", Cluster::default(), Reason::OtherNode("iris3".into())),
    ] {
        assert_eq!(cluster.reason(), reason, "{case}");
    }
    assert_eq!(Index::new(Settings::default()).decide(&key()), Decision::Not(Reason::NoService));
}

#[test]
fn a_shortage_says_which_rule_sorted_out_how_many() {
    let cluster = Cluster::with(|c| {
        c.node("iris1").network_unavailable = true;
        c.node("iris2").labels.insert(api::names::EXCLUDE_LABEL.into(), String::new());
        c.nodes.remove("iris3");
    });
    assert_eq!(
        cluster.reason().to_string(),
        "no node can announce it: of 3 ready speakers 1 is on a node that does not exist any more, \
         1 is on a node with condition NetworkUnavailable, \
         1 is on a node with the label node.kubernetes.io/exclude-from-external-load-balancers"
    );
}

#[test]
fn interfaces_are_the_union_over_advertisements_for_this_service_and_node() {
    let only = |names: &[&str]| Some(Interfaces::Only(names.iter().map(|&n| n.to_owned()).collect()));
    for (case, advertisements, interfaces) in [
        ("all", vec![json!({})], Some(Interfaces::All)),
        ("named", vec![json!({"interfaces": ["eth0"]})], only(&["eth0"])),
        (
            "two advertisements",
            vec![json!({"interfaces": ["eth0"]}), json!({"interfaces": ["eth1"]})],
            only(&["eth0", "eth1"]),
        ),
        (
            "one without a name means all",
            vec![json!({"interfaces": ["eth0"]}), json!({})],
            Some(Interfaces::All),
        ),
        (
            "one for another node does not count",
            vec![
                json!({"interfaces": ["eth0"]}),
                json!({"interfaces": ["eth1"], "nodeSelectors": [host("iris1")]}),
            ],
            only(&["eth0"]),
        ),
        (
            "one for other Services does not count",
            vec![
                json!({"interfaces": ["eth0"]}),
                json!({"interfaces": ["eth1"], "serviceSelectors": [{"matchLabels": {"app": "db"}}]}),
            ],
            only(&["eth0"]),
        ),
    ] {
        let cluster = Cluster::with(|c| c.advertisements = advertisements);
        assert_eq!(cluster.interfaces(), interfaces, "{case}");
    }
}

#[test]
fn services_of_one_address_are_announced_by_the_same_node() {
    let cluster = Cluster::with(|c| c.service.shares = true);
    for node in NODES {
        let mut index = cluster.index(node);
        let other = ServiceKey { namespace: "shop".into(), name: "dns".into() };
        let mut slice = cluster.slice();
        slice.service = Some(other.clone());
        index.apply_slice(SliceKey { namespace: "shop".into(), name: "dns-1".into() }, slice);
        index.apply_service(other.clone(), cluster.service.clone());
        assert_eq!(index.decide(&key()), index.decide(&other), "{node}");
    }
}

#[test]
fn a_pool_that_became_invalid_is_announced_alike_by_speakers_with_and_without_its_last_version() {
    let pool = |addresses: &str| -> api::IPAddressPool {
        serde_json::from_value(json!({"metadata": {"name": "blue"}, "spec": {"addresses": [addresses]}}))
            .expect("readable")
    };
    let (valid, invalid) = (pool("10.20.30.0/24"), pool("10.20.30.9-10.20.30.1"));
    let everything: api::L2Advertisement =
        serde_json::from_value(json!({"metadata": {"name": "all"}})).expect("a valid advertisement");
    let build = |pool, previous: Option<&Config>| {
        Config::build(
            &Resources { pools: vec![pool], l2_advertisements: vec![&everything], ..Resources::default() },
            previous,
        )
    };
    let known = build(&valid, None);
    let histories = [("went on", build(&invalid, Some(&known))), ("was restarted", build(&invalid, None))];

    let mut cluster = Cluster::default();
    cluster.service.pool = Some("blue".to_owned());
    for (what, config) in &histories {
        for node in NODES {
            let mut index = cluster.index(node);
            index.set_config(config.clone());
            let announces = announces(&index.decide(&key()), node);
            assert_eq!(announces, node == "iris3", "{node}, whose speaker {what}");
        }
    }
    // An address of no pool that exists stays nobody's.
    let (_, restarted) = &histories[1];
    cluster.service.pool = Some("green".to_owned());
    let mut index = cluster.index("iris3");
    index.set_config(restarted.clone());
    assert!(matches!(index.decide(&key()), Decision::Not(Reason::NotInPool(_))));
}

#[test]
fn a_change_touches_the_services_that_it_can_alter_and_no_others() {
    let cluster = Cluster::default();
    let mut index = cluster.index("iris1");
    let without = ServiceKey { namespace: "shop".into(), name: "pending".into() };
    let slice = SliceKey { namespace: "shop".into(), name: "web-1".into() };
    assert_eq!(index.apply_service(without.clone(), Service::default()), std::slice::from_ref(&without));
    let none: [ServiceKey; 0] = [];
    assert_eq!(index.apply_service(key(), cluster.service.clone()), none, "the same Service again");
    assert_eq!(index.apply_slice(slice.clone(), cluster.slice()), none, "the same slice again");
    assert_eq!(index.apply_node("iris1".into(), cluster.nodes["iris1"].clone()), none, "the same node again");
    let speakers = |nodes: &[&str]| nodes.iter().map(|&node| node.to_owned()).collect();
    assert_eq!(index.set_speakers(speakers(&NODES)), none, "the same speakers again");
    assert_eq!(index.set_config(config(&[json!({})])), none, "the same configuration again");
    assert_eq!(index.set_speakers(speakers(&NODES[..2])), [key()]);
    assert_eq!(index.apply_node("iris2".into(), Node::default()), [key()]);
    assert_eq!(index.delete_node("iris2"), [key()]);
    assert_eq!(index.delete_node("iris2"), none);
    assert_eq!(index.set_config(config(&[])), [key()]);
    let moved = Slice { service: Some(without.clone()), ..cluster.slice() };
    assert_eq!(index.apply_slice(slice.clone(), moved), [key(), without.clone()]);
    assert_eq!(index.delete_slice(&slice), std::slice::from_ref(&without));
    assert_eq!(index.delete_slice(&slice), none);
    assert_eq!(index.delete_service(&without), std::slice::from_ref(&without));
    assert_eq!(index.delete_service(&without), none);
}

#[test]
fn a_node_that_is_labelled_later_joins_the_selection() {
    let cluster = Cluster::with(|c| {
        c.advertisements = vec![json!({"nodeSelectors": [{"matchLabels": {"lb": "yes"}}]})];
    });
    let mut index = cluster.index("iris1");
    let unselected = Shortage { not_selected: 3, ..Shortage::default() };
    assert_eq!(index.decide(&key()), Decision::Not(Reason::NoCandidate(unselected)));
    let mut node = cluster.nodes["iris1"].clone();
    node.labels.insert("lb".into(), "yes".into());
    assert_eq!(index.apply_node("iris1".into(), node.clone()), [key()]);
    assert!(announces(&index.decide(&key()), "iris1"));
    node.labels.remove("lb");
    index.apply_node("iris1".into(), node);
    assert!(matches!(index.decide(&key()), Decision::Not(_)));
}
