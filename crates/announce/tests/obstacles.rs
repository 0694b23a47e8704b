//! Why nobody announces a Service, and which of the speakers says so.

use std::collections::{BTreeMap, BTreeSet};

use announce::{Index, Node, Obstacle, Service, ServiceKey, Settings, Slice, SliceKey};
use config::{Config, Resources};
use serde_json::{Value, json};

const NODES: [&str; 3] = ["iris1", "iris2", "iris3"];
/// By hash: iris3, iris2, iris1.
const IP: &str = "10.20.30.1";

fn key() -> ServiceKey {
    ServiceKey { namespace: "shop".into(), name: "web".into() }
}

fn host(name: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/hostname": name}})
}

fn service() -> Service {
    Service {
        load_balancer: true,
        addresses: vec![IP.parse().expect("an address")],
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ..Service::default()
    }
}

/// The index of the speaker on `node`: a Service with an endpoint on iris1, and speakers on `members`.
fn index(node: &str, service: Service, members: &[&str], advertisements: &[Value]) -> Index {
    let pool = json!({"metadata": {"name": "blue"}, "spec": {"addresses": ["10.20.30.0/24"]}});
    let pool: api::IPAddressPool = serde_json::from_value(pool).expect("a valid pool");
    let advertisements: Vec<api::L2Advertisement> = advertisements
        .iter()
        .enumerate()
        .map(|(i, spec)| json!({"metadata": {"name": format!("adv{i}")}, "spec": spec}))
        .map(|object| serde_json::from_value(object).expect("a valid advertisement"))
        .collect();
    let mut resources = Resources::default();
    resources.pools.push(&pool);
    resources.l2_advertisements.extend(&advertisements);
    let mut index = Index::new(Settings { node: node.into(), ..Settings::default() });
    index.set_config(Config::build(&resources, None));
    for name in NODES {
        let labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.to_owned())]);
        index.apply_node(name.to_owned(), Node { labels, ..Node::default() });
    }
    index.set_speakers(members.iter().map(|&name| name.to_owned()).collect());
    for member in members {
        index.set_ready(member, true);
    }
    let slice = Slice { service: Some(key()), serving: BTreeSet::from([Some("iris1".to_owned())]) };
    index.apply_slice(SliceKey { namespace: "shop".into(), name: "web-1".into() }, slice);
    index.apply_service(key(), service);
    index
}

fn obstacle(index: &Index) -> Option<Obstacle> {
    index.obstacle(&key(), &index.decide(&key()))
}

#[test]
fn what_keeps_a_service_from_being_announced_is_the_same_on_every_node_and_says_what_to_do() {
    let labelled = |labels: &[(&str, &str)]| Service {
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..service()
    };
    for (case, service, advertisements, text) in [
        ("it is announced", service(), vec![json!({})], None),
        ("it is announced by one node", service(), vec![json!({"nodeSelectors": [host("iris2")]})], None),
        (
            "no advertisement",
            service(),
            vec![],
            Some(
                "no L2Advertisement or BGPAdvertisement announces IPAddressPool \"blue\": create one whose spec.ipAddressPools",
            ),
        ),
        (
            "only of other Services",
            labelled(&[("app", "db")]),
            vec![json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]})],
            Some("the spec.serviceSelectors of every L2Advertisement of IPAddressPool \"blue\" leave it out"),
        ),
        (
            "shared and picked by label",
            Service { shares: true, ..service() },
            vec![json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]})],
            Some("spec.serviceSelectors of L2Advertisement \"adv0\": remove the annotation or the selectors"),
        ),
        (
            "only from nodes that do not exist",
            service(),
            vec![json!({"nodeSelectors": [host("iris9")]})],
            Some(
                "no node can announce it: of 3 ready speakers 3 are on a node that no matching L2Advertisement selects: let the spec.nodeSelectors of an L2Advertisement select a node",
            ),
        ),
        (
            "only from nodes without an endpoint",
            Service { local: true, ..service() },
            vec![json!({"nodeSelectors": [host("iris2")]})],
            Some(
                "of 3 ready speakers 2 are on a node that no matching L2Advertisement selects, 1 is on a node without a serving endpoint (externalTrafficPolicy is Local): let the spec.nodeSelectors of an L2Advertisement select a node, or let an endpoint run on such a node or set externalTrafficPolicy to Cluster",
            ),
        ),
        ("it has no address yet", Service { addresses: Vec::new(), ..service() }, vec![], None),
        (
            "its address is in no pool, as the controller explains",
            Service { addresses: vec!["192.0.2.1".parse().expect("an address")], ..service() },
            vec![],
            None,
        ),
    ] {
        for node in NODES {
            let obstacle = obstacle(&index(node, service.clone(), &NODES, &advertisements));
            let found = obstacle.as_ref().map(ToString::to_string);
            match (&found, text) {
                (Some(found), Some(text)) => assert!(found.contains(text), "{case}, {node}: {found}"),
                (None, None) => {}
                _ => panic!("{case}, {node}: {found:?}"),
            }
        }
    }
}

#[test]
fn a_service_without_endpoints_meets_no_obstacle() {
    let mut index = index("iris1", service(), &NODES, &[]);
    index.delete_slice(&SliceKey { namespace: "shop".into(), name: "web-1".into() });
    assert_eq!(obstacle(&index), None);
}

#[test]
fn exactly_one_ready_speaker_is_the_spokesman() {
    for (members, expected) in [
        (vec!["iris1", "iris2", "iris3"], vec!["iris3"]),
        (vec!["iris1", "iris2"], vec!["iris2"]),
        (vec!["iris1"], vec!["iris1"]),
        (vec![], vec![]),
    ] {
        let speaks = |node: &&str| index(node, service(), &members, &[]).is_spokesman(&key());
        assert_eq!(NODES.into_iter().filter(speaks).collect::<Vec<_>>(), expected, "of {members:?}");
    }
}

#[test]
fn counts_of_nodes_make_no_other_obstacle() {
    let shortage = |members: &[&str]| {
        obstacle(&index("iris1", service(), members, &[json!({"nodeSelectors": [host("iris9")]})]))
            .expect("an obstacle")
    };
    let (three, two) = (shortage(&NODES), shortage(&["iris1", "iris2"]));
    assert_ne!(three, two);
    assert!(three.is_like(&two));
    assert!(!three.is_like(&Obstacle::NoAdvertisement("blue".into())));
    assert!(!Obstacle::NoAdvertisement("green".into()).is_like(&Obstacle::NoAdvertisement("blue".into())));
}
