//! An index says of a change what building the whole configuration says.

use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};
use config::{Change, Index, Kind, Labels, Object, ObjectRef, Resources, Secret, validate};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What somebody asks for.
#[derive(Clone, Debug)]
enum Asked {
    Pool(IPAddressPool),
    L2(L2Advertisement),
    Bgp(BGPAdvertisement),
    Peer(BGPPeer),
    Profile(BFDProfile),
    Community(Community),
    Delete(ObjectRef),
}

fn read<T: DeserializeOwned>(kind: &str, name: u8, labels: &Value, spec: &Value) -> T {
    let metadata = json!({"name": format!("{kind}{name}"), "namespace": "metallb-system", "labels": labels});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("an object")
}

/// One time out of ten the second.
fn rarely<T: Clone + std::fmt::Debug + 'static>(
    usual: impl Strategy<Value = T> + 'static,
    rare: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![9 => usual, 1 => rare]
}

fn labels() -> impl Strategy<Value = Value> {
    select(vec![json!({}), json!({"zone": "a"}), json!({"zone": "b"}), json!({"zone": "a", "edge": "yes"})])
}

fn selectors() -> impl Strategy<Value = Value> {
    let unreadable = json!({"matchExpressions": [{"key": "zone", "operator": "Is", "values": ["a"]}]});
    let good = select(vec![
        json!([]),
        json!([{"matchLabels": {"zone": "a"}}]),
        json!([{"matchLabels": {"zone": "b"}}]),
        json!([{"matchExpressions": [{"key": "edge", "operator": "Exists"}]}]),
        json!([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}]),
        json!([{"matchLabels": {"zone": "a"}}, {"matchLabels": {"zone": "b"}}]),
    ]);
    rarely(good, select(vec![json!([unreadable]), json!([{}, {}])]))
}

/// The pool of this name has a block of its own, of which it mostly stays within.
fn pool() -> impl Strategy<Value = Asked> {
    let strange = select(vec!["x", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.0/13", "10.0.0.250-10.1.0.3"]);
    let good = select(vec![
        "10.N.0.0/24",
        "10.N.1.0-10.N.1.9",
        "10.N.2.0/30",
        "2001:db8:N::/64",
        "2001:db8:N:1::1/128",
    ]);
    let address = prop_oneof![40 => good, 1 => strange];
    (0_u8..5, labels(), prop::collection::vec(address, 1..4)).prop_map(|(name, labels, addresses)| {
        let addresses: Vec<String> =
            addresses.iter().map(|text| text.replace('N', &name.to_string())).collect();
        let mut distinct: Vec<String> = Vec::new();
        for text in addresses {
            if !distinct.contains(&text) || text.ends_with("/30") {
                distinct.push(text);
            }
        }
        Asked::Pool(read("pool", name, &labels, &json!({"addresses": distinct})))
    })
}

fn names(kind: &'static str, count: u8) -> impl Strategy<Value = Vec<String>> {
    let all: Vec<String> = (0..count).map(|name| format!("{kind}{name}")).collect();
    prop_oneof![Just(Vec::new()), subsequence(all, 0..3)]
}

fn l2() -> impl Strategy<Value = Asked> {
    (0_u8..2, names("pool", 6), selectors(), selectors()).prop_map(|(name, pools, by_label, nodes)| {
        let spec =
            json!({"ipAddressPools": pools, "ipAddressPoolSelectors": by_label, "nodeSelectors": nodes});
        Asked::L2(read("l2-", name, &json!({}), &spec))
    })
}

fn bgp() -> impl Strategy<Value = Asked> {
    let communities = rarely(
        subsequence(vec!["65000:1", "large:1:2:3", "alias0", "alias1", "alias2"], 0..3),
        select(vec![
            vec!["1:2:3"],
            vec!["alias0", "alias0"],
            vec!["unheard", "unheard"],
            vec!["65000:70000"],
        ]),
    );
    let lengths = prop_oneof![
        8 => Just((None, None)),
        1 => select(vec![(Some(24), None), (Some(30), None), (None, Some(64)), (Some(0), None), (Some(8), Some(8))]),
    ];
    let local_pref = prop_oneof![6 => Just(100), 1 => Just(200), 1 => Just(0)];
    let services = prop_oneof![6 => Just(json!([])), 1 => selectors()];
    let what = (names("pool", 6), selectors(), names("peer", 3), selectors(), services);
    (0_u8..6, what, communities, lengths, local_pref).prop_map(|(name, what, communities, lengths, local_pref)| {
        let (pools, by_label, peers, nodes, services) = what;
        let spec = json!({
            "ipAddressPools": pools, "ipAddressPoolSelectors": by_label, "peers": peers, "nodeSelectors": nodes,
            "serviceSelectors": services, "communities": communities, "localPref": local_pref,
            "aggregationLength": lengths.0, "aggregationLengthV6": lengths.1,
        });
        Asked::Bgp(read("bgp", name, &json!({}), &spec))
    })
}

fn peer() -> impl Strategy<Value = Asked> {
    let profile = select(vec![json!(null), json!(null), json!("bfd0"), json!("bfd1"), json!("")]);
    let secret =
        select(vec![json!(null), json!(null), json!({"name": "secret"}), json!({"name": "nowhere"})]);
    let asn = rarely(Just(64_500), Just(0));
    let password = rarely(Just(json!(null)), Just(json!("text")));
    (0_u8..3, profile, secret, asn, password, selectors()).prop_map(
        |(name, profile, secret, asn, password, nodes)| {
            let spec = json!({
                "myASN": asn, "peerASN": 64_501, "peerAddress": format!("192.0.2.{name}"), "bfdProfile": profile,
                "passwordSecret": secret, "password": password, "nodeSelectors": nodes,
            });
            Asked::Peer(read("peer", name, &json!({}), &spec))
        },
    )
}

fn profile() -> impl Strategy<Value = Asked> {
    (0_u8..3, rarely(Just(3), Just(1)), prop::bool::weighted(0.3)).prop_map(|(name, multiplier, echo)| {
        Asked::Profile(read(
            "bfd",
            name,
            &json!({}),
            &json!({"detectMultiplier": multiplier, "echoMode": echo}),
        ))
    })
}

fn community() -> impl Strategy<Value = Asked> {
    let aliases = rarely(
        subsequence(vec!["alias0", "alias1", "alias2", "65000:1"], 0..3),
        select(vec![vec!["alias0", "alias0"], vec!["1:2:3"]]),
    );
    let value = rarely(select(vec!["65000:7", "large:1:2:9", "65000:8"]), Just("65000"));
    (0_u8..3, aliases, value).prop_map(|(name, aliases, value)| {
        let aliases: Vec<Value> =
            aliases.iter().map(|alias| json!({"name": alias, "value": value})).collect();
        Asked::Community(read("community", name, &json!({}), &json!({"communities": aliases})))
    })
}

fn deletion() -> impl Strategy<Value = Asked> {
    let some = select(vec![
        (Kind::BFDProfile, "bfd0"),
        (Kind::BFDProfile, "bfd1"),
        (Kind::BFDProfile, "bfd9"),
        (Kind::BGPPeer, "peer0"),
        (Kind::IPAddressPool, "pool0"),
    ]);
    some.prop_map(|(kind, name)| Asked::Delete(ObjectRef { kind, name: name.to_owned() }))
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        8 => pool(), 2 => l2(), 8 => bgp(), 4 => peer(), 2 => profile(), 2 => community(), 2 => deletion(),
    ]
}

/// The objects of a cluster, one of a kind and name.
#[derive(Default)]
struct World {
    pools: Vec<IPAddressPool>,
    l2: Vec<L2Advertisement>,
    bgp: Vec<BGPAdvertisement>,
    peers: Vec<BGPPeer>,
    profiles: Vec<BFDProfile>,
    communities: Vec<Community>,
    nodes: Vec<Labels>,
    secrets: Vec<Secret>,
}

macro_rules! put {
    ($objects:expr, $object:expr) => {{
        $objects.retain(|other| other.metadata.name != $object.metadata.name);
        $objects.push($object);
    }};
}

impl World {
    fn take(&mut self, asked: Asked) {
        match asked {
            Asked::Pool(object) => put!(self.pools, object),
            Asked::L2(object) => put!(self.l2, object),
            Asked::Bgp(object) => put!(self.bgp, object),
            Asked::Peer(object) => put!(self.peers, object),
            Asked::Profile(object) => put!(self.profiles, object),
            Asked::Community(object) => put!(self.communities, object),
            Asked::Delete(object) => {
                let stays = |name: &Option<String>| name.as_ref() != Some(&object.name);
                self.pools.retain(|pool| stays(&pool.metadata.name));
                self.peers.retain(|peer| stays(&peer.metadata.name));
                self.profiles.retain(|profile| stays(&profile.metadata.name));
            }
        }
    }

    fn resources(&self) -> Resources<'_> {
        Resources {
            pools: self.pools.iter().collect(),
            l2_advertisements: self.l2.iter().collect(),
            bgp_advertisements: self.bgp.iter().collect(),
            bgp_peers: self.peers.iter().collect(),
            bfd_profiles: self.profiles.iter().collect(),
            communities: self.communities.iter().collect(),
            secrets: self.secrets.iter().collect(),
            nodes: self.nodes.iter().collect(),
        }
    }
}

impl Asked {
    fn change(&self) -> Change<'_> {
        Change::Apply(match self {
            Self::Delete(object) => return Change::Delete(object),
            Self::Pool(object) => Object::IpAddressPool(object),
            Self::L2(object) => Object::L2Advertisement(object),
            Self::Bgp(object) => Object::BgpAdvertisement(object),
            Self::Peer(object) => Object::BgpPeer(object),
            Self::Profile(object) => Object::BfdProfile(object),
            Self::Community(object) => Object::Community(object),
        })
    }
}

proptest! {
    /// Objects are taken in only where the whole allows it, as an API server does, or now and then all the same, as
    /// while no webhook was called.
    #[test]
    fn a_change_is_judged_alike_by_the_index_and_by_building_the_whole(
        history in prop::collection::vec((asked(), prop::bool::weighted(0.01)), 1..40),
        nodes in prop::collection::vec(labels(), 0..3),
        has_secret in any::<bool>(),
    ) {
        let nodes = nodes.into_iter().map(|labels| serde_json::from_value(labels).expect("labels"));
        let mut world = World { nodes: nodes.collect(), ..World::default() };
        world.secrets.extend(has_secret.then(|| Secret {
            namespace: "metallb-system".to_owned(),
            name: "secret".to_owned(),
            kind: "kubernetes.io/basic-auth".to_owned(),
            has_password: true,
        }));
        for (asked, forced) in history {
            let resources = world.resources();
            let whole = validate(&resources, asked.change());
            let index = Index::new(&resources);
            prop_assert_eq!(&index.admits(&resources, asked.change()), &whole, "{:?}", asked);
            if whole.is_ok() || forced {
                world.take(asked);
            }
        }
    }
}
