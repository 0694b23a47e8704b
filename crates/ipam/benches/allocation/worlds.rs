//! Pools and Services to measure with.

use std::collections::BTreeSet;
use std::fmt;

use ipam::{
    Families, Labels, Pool, Port, Protocol, Request, Requirement, Selector, ServiceAllocation, Sharing,
    Subject, Test,
};
use net::Family;

/// How many pools of mixed selectors there are.
const POOLS: usize = 1_000;

/// The name of a Service as the controller has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    namespace: String,
    name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service that owns what a [`Subject`] borrows.
pub(crate) struct Service {
    pub(crate) name: Name,
    namespace_labels: Labels,
    labels: Labels,
    sharing: Sharing,
    ports: BTreeSet<Port>,
}

impl Service {
    pub(crate) const REQUEST: Request<'static> =
        Request { families: Families::One(Family::V4), pool: None, addresses: &[] };

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            namespace: &self.name.namespace,
            namespace_labels: &self.namespace_labels,
            labels: &self.labels,
            sharing: &self.sharing,
            ports: &self.ports,
        }
    }
}

/// Services in a thousand namespaces, with labels such as Kubernetes and Helm give.
pub(crate) fn services(count: usize) -> Vec<Service> {
    let labels = |pairs: &[(&str, String)]| -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    let service = |number: usize| {
        let group = number % POOLS;
        let namespace = format!("namespace-{group}");
        Service {
            namespace_labels: labels(&[
                ("kubernetes.io/metadata.name", namespace.clone()),
                ("pod-security.kubernetes.io/enforce", "baseline".to_owned()),
                ("team", format!("team-{group}")),
            ]),
            labels: labels(&[
                ("app.kubernetes.io/instance", format!("instance-{number}")),
                ("app.kubernetes.io/managed-by", "Helm".to_owned()),
                ("app.kubernetes.io/name", format!("app-{}", number * 7 % POOLS)),
                ("tier", if (number / POOLS).is_multiple_of(2) { "web" } else { "db" }.to_owned()),
            ]),
            name: Name { namespace, name: format!("service-{number}") },
            sharing: Sharing::default(),
            ports: [80, 443].map(|number| Port { protocol: Protocol::Tcp, number }).into(),
        }
    };
    (0..count).map(service).collect()
}

/// One pool of 2^20 addresses.
pub(crate) fn one_pool() -> Vec<Pool> {
    vec![pool("all".to_owned(), "10.16.0.0/12")]
}

/// A thousand pools of 512 addresses: for namespaces by name and by label, for Services by label, for both at once,
/// for all that lack a label, and for everybody. Those that a Service may use are among them in no order.
pub(crate) fn mixed_pools() -> Vec<Pool> {
    let by = |key: &str, value: String| {
        Selector::new([Requirement { key: key.to_owned(), test: Test::In(BTreeSet::from([value])) }])
    };
    let rules = |number: usize| {
        let namespaces = BTreeSet::from([format!("namespace-{number}")]);
        let team = vec![by("team", format!("team-{number}"))];
        let app = vec![by("app.kubernetes.io/name", format!("app-{number}"))];
        let priority = i64::try_from(number % 10).expect("a small number");
        let none = ServiceAllocation { priority, ..ServiceAllocation::default() };
        match number % 6 {
            0 => Some(ServiceAllocation { namespaces, ..none }),
            1 => Some(ServiceAllocation { namespace_selectors: team, ..none }),
            2 => Some(ServiceAllocation { service_selectors: app, ..none }),
            3 => Some(ServiceAllocation {
                namespaces,
                service_selectors: vec![by("tier", "web".to_owned())],
                ..none
            }),
            4 => {
                let lacks = Requirement { key: "tier".to_owned(), test: Test::DoesNotExist };
                Some(ServiceAllocation { service_selectors: vec![Selector::new([lacks])], ..none })
            }
            _ => None,
        }
    };
    (0..POOLS)
        .map(|number| {
            let range = format!("10.{}.{}.0/23", number / 125, number % 125 * 2);
            Pool { allocation: rules(number), ..pool(format!("pool-{number}"), &range) }
        })
        .collect()
}

fn pool(name: String, range: &str) -> Pool {
    let ranges = vec![range.parse().expect("a prefix")];
    Pool { name, ranges, auto_assign: true, ..Pool::default() }
}
