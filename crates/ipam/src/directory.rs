//! Which pools a Service may use, found by its labels instead of by asking every pool.

use std::collections::BTreeMap;

use crate::labels::{Labels, Selector, Test};
use crate::pool::ServiceAllocation;
use crate::request::Subject;

/// Pools by one thing that each of their rules asks for: first of the namespace, then of the Service.
///
/// Every pool that admits a Service is in one of the lists that [`lists`](Self::lists) gives for it. Few others are,
/// since only one requirement of each selector is looked at: the caller asks those that it finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory(Terms<Terms<Vec<usize>>>);

/// Values by what has to hold for them to matter.
#[derive(Clone, Debug, Default)]
struct Terms<T> {
    always: T,
    by_name: BTreeMap<String, T>,
    by_label: BTreeMap<String, ByLabel<T>>,
    without_label: BTreeMap<String, T>,
}

/// Values that matter where a label is there.
#[derive(Clone, Debug, Default)]
struct ByLabel<T> {
    whatever_value: T,
    by_value: BTreeMap<String, T>,
}

/// Something that has to hold for a rule to admit a Service.
#[derive(Clone, Copy, Debug)]
enum Term<'a> {
    Always,
    Name(&'a str),
    Value(&'a str, &'a str),
    Present(&'a str),
    Absent(&'a str),
}

/// A pool is entered under so many pairs of terms at most; one with more is found by its namespaces alone.
const PAIRS: usize = 4_096;

impl Directory {
    /// Enters a pool. Pools are entered in the order of their numbers.
    pub(crate) fn enter(&mut self, pool: usize, rules: Option<&ServiceAllocation>) {
        let (mut namespaces, mut services) = (vec![Term::Always], vec![Term::Always]);
        if let Some(rules) = rules {
            if !(rules.namespaces.is_empty() && rules.namespace_selectors.is_empty()) {
                namespaces = rules.namespaces.iter().map(|name| Term::Name(name)).collect();
                namespaces.extend(rules.namespace_selectors.iter().flat_map(terms));
            }
            if !rules.service_selectors.is_empty() {
                services = rules.service_selectors.iter().flat_map(terms).collect();
            }
        }
        if namespaces.len().saturating_mul(services.len()) > PAIRS {
            services = vec![Term::Always];
        }
        for namespace in namespaces {
            let by_service = self.0.at(namespace);
            for service in &services {
                let list = by_service.at(*service);
                if list.last() != Some(&pool) {
                    list.push(pool);
                }
            }
        }
    }

    /// The lists, each ascending, in which the pools are that may admit the Service.
    pub(crate) fn lists(&self, subject: Subject<'_>) -> Vec<&[usize]> {
        let mut lists = Vec::with_capacity(8);
        self.0.visit(Some(subject.namespace), subject.namespace_labels, &mut |by_service| {
            by_service.visit(None, subject.labels, &mut |list| {
                if !list.is_empty() {
                    lists.push(list.as_slice());
                }
            });
        });
        lists
    }
}

/// Terms of which one holds wherever the selector matches.
fn terms(selector: &Selector) -> Vec<Term<'_>> {
    let requirements = || selector.requirements();
    let listed = requirements().find_map(|asked| match &asked.test {
        Test::In(values) => Some(values.iter().map(|value| Term::Value(&asked.key, value)).collect()),
        _ => None,
    });
    let there =
        || requirements().find(|asked| asked.test == Test::Exists).map(|asked| Term::Present(&asked.key));
    let absent = || {
        requirements().find(|asked| asked.test == Test::DoesNotExist).map(|asked| Term::Absent(&asked.key))
    };
    // What only excludes values holds nearly always.
    listed.unwrap_or_else(|| vec![there().or_else(absent).unwrap_or(Term::Always)])
}

impl<T: Default> Terms<T> {
    fn at(&mut self, term: Term<'_>) -> &mut T {
        match term {
            Term::Always => &mut self.always,
            Term::Name(name) => self.by_name.entry(name.to_owned()).or_default(),
            Term::Value(key, value) => {
                let label = self.by_label.entry(key.to_owned()).or_default();
                label.by_value.entry(value.to_owned()).or_default()
            }
            Term::Present(key) => &mut self.by_label.entry(key.to_owned()).or_default().whatever_value,
            Term::Absent(key) => self.without_label.entry(key.to_owned()).or_default(),
        }
    }

    /// Shows what matters for something with this name and these labels.
    fn visit<'a>(&'a self, name: Option<&str>, labels: &Labels, show: &mut impl FnMut(&'a T)) {
        show(&self.always);
        if let Some(value) = name.and_then(|name| self.by_name.get(name)) {
            show(value);
        }
        if !self.by_label.is_empty() {
            for (key, value) in labels {
                let Some(label) = self.by_label.get(key) else { continue };
                show(&label.whatever_value);
                if let Some(value) = label.by_value.get(value) {
                    show(value);
                }
            }
        }
        for (key, value) in &self.without_label {
            if !labels.contains_key(key) {
                show(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::labels::Requirement;
    use crate::request::Sharing;

    fn labels() -> impl Strategy<Value = Labels> {
        prop::collection::btree_map("[ab]", "[xy]", 0..3)
    }

    fn selectors() -> impl Strategy<Value = Vec<Selector>> {
        let values = || prop::collection::btree_set("[xyz]", 0..3);
        let test = prop_oneof![
            values().prop_map(Test::In),
            values().prop_map(Test::NotIn),
            Just(Test::Exists),
            Just(Test::DoesNotExist),
        ];
        let requirement = ("[abc]", test).prop_map(|(key, test)| Requirement { key, test });
        prop::collection::vec(prop::collection::vec(requirement, 0..3).prop_map(Selector::new), 0..3)
    }

    fn rules() -> impl Strategy<Value = ServiceAllocation> {
        (prop::collection::btree_set("n[12]", 0..2), selectors(), selectors()).prop_map(
            |(namespaces, namespace_selectors, service_selectors)| ServiceAllocation {
                priority: 0,
                namespaces,
                namespace_selectors,
                service_selectors,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_pool_that_admits_a_service_is_found(
            pools in prop::collection::vec(prop::option::of(rules()), 0..12),
            namespace in "n[123]", namespace_labels in labels(), labels in labels(),
        ) {
            let mut directory = Directory::default();
            for (number, rules) in pools.iter().enumerate() {
                directory.enter(number, rules.as_ref());
            }
            let (sharing, ports) = (Sharing::default(), BTreeSet::new());
            let subject = Subject {
                namespace: &namespace, namespace_labels: &namespace_labels, labels: &labels,
                sharing: &sharing, ports: &ports,
            };
            let lists = directory.lists(subject);
            prop_assert!(lists.iter().all(|list| list.is_sorted()));
            let found: BTreeSet<usize> = lists.into_iter().flatten().copied().collect();
            for (number, rules) in pools.iter().enumerate() {
                let admits =
                    rules.as_ref().is_none_or(|rules| rules.admits(&namespace, &namespace_labels, &labels));
                prop_assert!(!admits || found.contains(&number), "{:?}", rules);
            }
        }
    }

    #[test]
    fn a_pool_with_very_many_pairs_of_rules_is_found_by_its_namespaces() {
        let value =
            |value: String| Requirement { key: "a".to_owned(), test: Test::In(BTreeSet::from([value])) };
        let rules = ServiceAllocation {
            namespaces: (0..100).map(|number| format!("n{number}")).collect(),
            service_selectors: (0..100).map(|number| Selector::new([value(number.to_string())])).collect(),
            ..ServiceAllocation::default()
        };
        let mut directory = Directory::default();
        directory.enter(0, Some(&rules));
        let (none, sharing, ports) = (Labels::new(), Sharing::default(), BTreeSet::new());
        for (namespace, found) in [("n7", 1), ("other", 0)] {
            let subject = Subject {
                namespace,
                namespace_labels: &none,
                labels: &none,
                sharing: &sharing,
                ports: &ports,
            };
            assert_eq!(directory.lists(subject).len(), found, "{namespace}");
        }
    }
}
