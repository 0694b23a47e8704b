//! The allocator against one so slow and plain that it is obviously right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipam::{
    Allocator, Families, Labels, Pool, Port, Protocol, Request, ServiceAllocation, Sharing, Subject, is_buggy,
};
use net::{Family, IpRange};
use proptest::prelude::*;

/// What one Service has.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    pool: String,
    addresses: Vec<IpAddr>,
    sharing: Sharing,
    ports: BTreeSet<Port>,
}

/// Lists every address of every pool whenever it looks for one.
#[derive(Default)]
struct Model {
    pools: Vec<Pool>,
    held: BTreeMap<u8, Held>,
}

impl Model {
    /// All usable addresses of a pool in the order in which they are tried.
    fn addresses(pool: &Pool) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for range in &pool.ranges {
            let mut next = Some(range.first());
            while let Some(address) = next.filter(|address| *address <= range.last()) {
                if !(pool.avoid_buggy_ips && is_buggy(address)) {
                    all.push(address);
                }
                next = match address {
                    IpAddr::V4(v4) => {
                        v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into())
                    }
                    IpAddr::V6(v6) => {
                        v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into())
                    }
                };
            }
        }
        all
    }

    fn may_use(&self, key: u8, ask: &Ask, address: IpAddr) -> bool {
        self.held.iter().filter(|(other, held)| **other != key && held.addresses.contains(&address)).all(
            |(_, held)| {
                ask.sharing.key.is_some() && held.sharing == ask.sharing && held.ports.is_disjoint(&ask.ports)
            },
        )
    }

    fn first(&self, key: u8, ask: &Ask, pool: &Pool, family: Family) -> Option<IpAddr> {
        let mut all = Self::addresses(pool).into_iter();
        all.find(|address| Family::of(*address) == family && self.may_use(key, ask, *address))
    }

    fn adopt(&mut self, key: u8, ask: &Ask, addresses: &[IpAddr]) -> bool {
        let mut sorted = addresses.to_vec();
        sorted.sort_unstable();
        let is_set =
            sorted.len() == 1 || (sorted.len() == 2 && Family::of(sorted[0]) != Family::of(sorted[1]));
        let pool = self.pools.iter().find(|pool| {
            let all = Self::addresses(pool);
            sorted.iter().all(|address| all.contains(address))
        });
        let Some(pool) =
            pool.filter(|pool| is_set && pool.admits(ask.namespace(), &Labels::new(), &Labels::new()))
        else {
            return false;
        };
        if !sorted.iter().all(|address| self.may_use(key, ask, *address)) {
            return false;
        }
        let held = Held {
            pool: pool.name.clone(),
            addresses: sorted,
            sharing: ask.sharing.clone(),
            ports: ask.ports.clone(),
        };
        self.held.insert(key, held);
        true
    }

    fn allocate(&mut self, key: u8, ask: &Ask) {
        self.held.remove(&key);
        if !ask.addresses.is_empty() {
            if ask.families.are_all_of(&ask.addresses) && self.adopt(key, ask, &ask.addresses) {
                let found = &self.held[&key].pool;
                if ask.pool.as_ref().is_some_and(|pool| pool != found) {
                    self.held.remove(&key);
                }
            }
            return;
        }
        let fits = |pool: &&Pool| pool.admits(ask.namespace(), &Labels::new(), &Labels::new());
        let groups: Vec<Vec<&Pool>> = if let Some(name) = &ask.pool {
            vec![self.pools.iter().filter(|pool| pool.name == *name).filter(fits).collect()]
        } else {
            let auto = || self.pools.iter().filter(|pool| pool.auto_assign).filter(fits);
            let mut pinned: Vec<&Pool> = auto().filter(|pool| pool.allocation.is_some()).collect();
            pinned.sort_by_key(|pool| {
                let priority = pool.allocation.as_ref().map_or(0, |rules| rules.priority);
                (priority <= 0, priority.max(0), pool.name.clone())
            });
            vec![pinned, auto().filter(|pool| pool.allocation.is_none()).collect()]
        };
        for group in groups {
            if let Some((pool, addresses)) = self.best(key, ask, &group) {
                let held = Held { pool, addresses, sharing: ask.sharing.clone(), ports: ask.ports.clone() };
                self.held.insert(key, held);
                return;
            }
        }
    }

    fn best(&self, key: u8, ask: &Ask, pools: &[&Pool]) -> Option<(String, Vec<IpAddr>)> {
        let of = |pool: &&Pool, families: &[Family]| {
            let found: Option<Vec<IpAddr>> =
                families.iter().map(|family| self.first(key, ask, pool, *family)).collect();
            found.map(|found| (pool.name.clone(), found))
        };
        let attempts: Vec<Vec<Family>> = match ask.families {
            Families::One(family) => vec![vec![family]],
            Families::Both { required: true, .. } => vec![vec![Family::V4, Family::V6]],
            Families::Both { primary, .. } => {
                vec![vec![Family::V4, Family::V6], vec![primary], vec![primary.other()]]
            }
        };
        attempts.iter().find_map(|families| pools.iter().find_map(|pool| of(pool, families)))
    }

    fn extend(&mut self, key: u8, ask: &Ask) {
        let Some(held) = self.held.get(&key).filter(|held| held.addresses.len() == 1) else { return };
        let family = Family::of(held.addresses[0]).other();
        let pool = self.pools.iter().find(|pool| pool.name == held.pool).expect("in force");
        if let Some(added) = self.first(key, ask, pool, family) {
            let both = [held.addresses[0], added];
            self.adopt(key, ask, &both);
        }
    }

    fn set_pools(&mut self, pools: Vec<Pool>) {
        self.pools = pools;
        self.held.retain(|_, held| {
            let pool = self.pools.iter().find(|pool| {
                let all = Self::addresses(pool);
                held.addresses.iter().all(|address| all.contains(address))
            });
            held.pool = pool.map(|pool| pool.name.clone()).unwrap_or_default();
            pool.is_some()
        });
    }
}

/// What a Service brings.
#[derive(Clone, Debug)]
struct Ask {
    families: Families,
    pool: Option<String>,
    addresses: Vec<IpAddr>,
    sharing: Sharing,
    ports: BTreeSet<Port>,
    other_namespace: bool,
}

impl Ask {
    fn namespace(&self) -> &'static str {
        if self.other_namespace { "other" } else { "default" }
    }

    fn subject<'a>(&'a self, empty: &'a Labels) -> Subject<'a> {
        Subject {
            namespace: self.namespace(),
            namespace_labels: empty,
            labels: empty,
            sharing: &self.sharing,
            ports: &self.ports,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pools(Vec<Pool>),
    Allocate(u8, Ask),
    Adopt(u8, Ask),
    Extend(u8, Ask),
    Release(u8),
}

fn address() -> impl Strategy<Value = IpAddr> {
    // Around a border of 256, so that .255 and .0 are met.
    prop_oneof![
        (250_u32..280).prop_map(|low| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + low))),
        (0_u128..6).prop_map(|low| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + low))),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
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
    (families, pool, addresses, sharing, ports, prop::bool::weighted(0.3)).prop_map(
        |(families, pool, addresses, sharing, ports, other_namespace)| Ask {
            families,
            pool: pool.map(str::to_owned),
            addresses,
            sharing,
            ports,
            other_namespace,
        },
    )
}

/// Up to three pools that do not overlap, each with an IPv4 range, an IPv6 range, or both.
fn pools() -> impl Strategy<Value = Vec<Pool>> {
    let pool = (
        (250_u32..280, 0_u32..4),
        (0_u128..6, 0_u128..3),
        0_u8..3,
        any::<(bool, bool)>(),
        prop::option::of((-1_i64..3, any::<bool>())),
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
            let allocation = rules.map(|(priority, limited)| ServiceAllocation {
                priority,
                namespaces: limited.then(|| "default".to_owned()).into_iter().collect(),
                ..ServiceAllocation::default()
            });
            pools.push(Pool { name: format!("p{place}"), ranges, auto_assign, avoid_buggy_ips, allocation });
        }
        pools
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => pools().prop_map(Step::Pools),
        6 => (0_u8..6, ask()).prop_map(|(key, ask)| Step::Allocate(key, ask)),
        3 => (0_u8..6, ask()).prop_map(|(key, ask)| Step::Adopt(key, ask)),
        2 => (0_u8..6, ask()).prop_map(|(key, ask)| Step::Extend(key, ask)),
        2 => (0_u8..6).prop_map(Step::Release),
    ]
}

fn take(allocator: &mut Allocator<u8>, model: &mut Model, step: Step) {
    let empty = Labels::new();
    match step {
        Step::Pools(pools) => {
            allocator.set_pools(pools.clone());
            model.set_pools(pools);
        }
        Step::Release(key) => {
            allocator.release(&key);
            model.held.remove(&key);
        }
        Step::Allocate(key, ask) => {
            let request =
                Request { families: ask.families, pool: ask.pool.as_deref(), addresses: &ask.addresses };
            allocator.allocate(&key, ask.subject(&empty), request).ok();
            model.allocate(key, &ask);
        }
        Step::Adopt(key, ask) => {
            allocator.adopt(&key, ask.subject(&empty), &ask.addresses).ok();
            model.adopt(key, &ask, &ask.addresses);
        }
        Step::Extend(key, ask) => {
            allocator.extend(&key, ask.subject(&empty)).ok();
            model.extend(key, &ask);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_every_step_both_know_the_same(start in pools(), steps in prop::collection::vec(step(), 1..60)) {
        let (mut allocator, mut model) = (Allocator::new(), Model::default());
        take(&mut allocator, &mut model, Step::Pools(start));
        for step in steps {
            let text = format!("{step:?}");
            take(&mut allocator, &mut model, step);
            let held: BTreeMap<u8, (String, Vec<IpAddr>)> = allocator
                .services()
                .map(|(key, has)| (*key, (has.pool.to_string(), has.addresses.clone())))
                .collect();
            let expected: BTreeMap<u8, (String, Vec<IpAddr>)> =
                model.held.iter().map(|(key, has)| (*key, (has.pool.clone(), has.addresses.clone()))).collect();
            prop_assert_eq!(held, expected, "{}", text);
            for pool in &model.pools {
                let used: BTreeSet<IpAddr> = model
                    .held
                    .values()
                    .filter(|held| held.pool == pool.name)
                    .flat_map(|held| held.addresses.iter().copied())
                    .collect();
                let usage = allocator.usage(&pool.name).expect("in force");
                prop_assert_eq!(usage.used_v4 + usage.used_v6, used.len() as u64, "{}", text);
                let all = Model::addresses(pool).len() as u128;
                prop_assert_eq!(usage.total_v4 + usage.total_v6, all);
            }
        }
    }
}
