//! What happens, drawn at random.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipam::{
    Families, Labels, Pool, Port, Protocol, Request, Requirement, Selector, ServiceAllocation, Sharing,
    Subject, Test,
};
use net::{Family, IpRange};
use proptest::prelude::*;

/// What a Service brings.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) families: Families,
    pub(crate) pool: Option<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) sharing: Sharing,
    pub(crate) ports: BTreeSet<Port>,
    other_namespace: bool,
    namespace_labels: Labels,
    labels: Labels,
}

impl Ask {
    fn namespace(&self) -> &'static str {
        if self.other_namespace { "other" } else { "default" }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            namespace: self.namespace(),
            namespace_labels: &self.namespace_labels,
            labels: &self.labels,
            sharing: &self.sharing,
            ports: &self.ports,
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request { families: self.families, pool: self.pool.as_deref(), addresses: &self.addresses }
    }

    /// Whether the pool's rules allow it.
    pub(crate) fn fits(&self, pool: &Pool) -> bool {
        pool.admits(self.namespace(), &self.namespace_labels, &self.labels)
    }
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Pools(Vec<Pool>),
    Allocate(u8, Ask),
    Adopt(u8, Ask),
    Extend(u8, Ask),
    Release(u8),
    /// It comes again, changed, with the addresses that it has.
    Change(u8, Ask),
    Wait(u8, i64, Ask),
    Restart(Vec<u8>),
}

pub(crate) fn address() -> impl Strategy<Value = IpAddr> {
    // Around a border of 256, so that .255 and .0 are met.
    prop_oneof![
        (250_u32..280).prop_map(|low| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + low))),
        (0_u128..6).prop_map(|low| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + low))),
    ]
}

pub(crate) fn ask() -> impl Strategy<Value = Ask> {
    let families = prop_oneof![
        Just(Families::One(Family::V4)),
        Just(Families::One(Family::V6)),
        (any::<bool>(), any::<bool>()).prop_map(|(v6, required)| Families::Both {
            primary: if v6 { Family::V6 } else { Family::V4 },
            required
        }),
    ];
    let pool = prop::option::weighted(0.3, prop::sample::select(vec!["p0", "p1", "p2", "none"]));
    let addresses = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(address(), 1..3)];
    let sharing = (prop::option::of(0_u8..2), 0_u8..2).prop_map(|(key, backend)| Sharing {
        key: key.map(|key| key.to_string()),
        backend: backend.to_string(),
    });
    let ports = prop::collection::btree_set(
        (80_u16..83).prop_map(|number| Port { protocol: Protocol::Tcp, number }),
        0..3,
    );
    (families, pool, addresses, sharing, ports, prop::bool::weighted(0.3), labels(), labels()).prop_map(
        |(families, pool, addresses, sharing, ports, other_namespace, namespace_labels, labels)| Ask {
            families,
            pool: pool.map(str::to_owned),
            addresses,
            sharing,
            ports,
            other_namespace,
            namespace_labels,
            labels,
        },
    )
}

fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map("[ab]", "[xy]", 0..2)
}

fn selectors() -> impl Strategy<Value = Vec<Selector>> {
    let values = || prop::collection::btree_set("[xy]", 1..2);
    let test = prop_oneof![
        values().prop_map(Test::In),
        values().prop_map(Test::NotIn),
        Just(Test::Exists),
        Just(Test::DoesNotExist),
    ];
    let requirement = ("[ab]", test).prop_map(|(key, test)| Requirement { key, test });
    let selector = prop::collection::vec(requirement, 1..3).prop_map(Selector::new);
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(selector, 1..3)]
}

/// Up to three pools that do not overlap, each with an IPv4 range, an IPv6 range, or both.
pub(crate) fn pools() -> impl Strategy<Value = Vec<Pool>> {
    let pool = (
        (250_u32..280, 0_u32..4),
        (0_u128..6, 0_u128..3),
        0_u8..3,
        any::<(bool, bool)>(),
        prop::option::of((-1_i64..3, prop::bool::weighted(0.3), selectors(), selectors())),
    );
    prop::collection::vec(pool, 0..4).prop_map(|drawn| {
        let mut taken: Vec<IpRange> = Vec::new();
        let mut pools = Vec::new();
        for (place, (v4, v6, kinds, (auto_assign, avoid_buggy_ips), rules)) in drawn.into_iter().enumerate() {
            let v4 = IpRange::new(
                Ipv4Addr::from_bits(0x0a00_0000 + v4.0).into(),
                Ipv4Addr::from_bits(0x0a00_0000 + v4.0 + v4.1).into(),
            );
            let base = 0x2001_0db8 << 96;
            let v6 = IpRange::new(
                Ipv6Addr::from_bits(base + v6.0).into(),
                Ipv6Addr::from_bits(base + v6.0 + v6.1).into(),
            );
            let ranges = match kinds {
                0 => vec![v4],
                1 => vec![v6, v4],
                _ => vec![v6],
            };
            let ranges: Vec<IpRange> = ranges
                .into_iter()
                .flatten()
                .filter(|range| !taken.iter().any(|other| other.overlaps(range)))
                .collect();
            taken.extend(&ranges);
            let allocation =
                rules.map(|(priority, limited, namespace_selectors, service_selectors)| ServiceAllocation {
                    priority,
                    namespaces: limited.then(|| "default".to_owned()).into_iter().collect(),
                    namespace_selectors,
                    service_selectors,
                });
            pools.push(Pool { name: format!("p{place}"), ranges, auto_assign, avoid_buggy_ips, allocation });
        }
        pools
    })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => pools().prop_map(Step::Pools),
        6 => (0_u8..6, ask()).prop_map(|(key, ask)| Step::Allocate(key, ask)),
        3 => (0_u8..6, ask()).prop_map(|(key, ask)| Step::Adopt(key, ask)),
        2 => (0_u8..6, ask()).prop_map(|(key, ask)| Step::Extend(key, ask)),
        2 => (0_u8..6).prop_map(Step::Release),
        3 => (0_u8..6, ask()).prop_map(|(key, ask)| Step::Change(key, ask)),
        3 => (0_u8..6, 0_i64..3, ask()).prop_map(|(key, since, ask)| Step::Wait(key, since, ask)),
        1 => Just((0..6).collect::<Vec<u8>>()).prop_shuffle().prop_map(Step::Restart),
    ]
}
