//! Labels and compiled label selectors.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A compiled label selector: all of its requirements must hold. The one without requirements matches everything.
///
/// Two selectors are equal when they say the same, in whatever order it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    requirements: BTreeSet<Requirement>,
}

/// One thing that a selector asks of the labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The key of the label.
    pub key: String,
    /// What must hold for it.
    pub test: Test,
}

/// What a requirement asks of one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// The label is there and has one of the values.
    In(BTreeSet<String>),
    /// The label is not there, or has none of the values.
    NotIn(BTreeSet<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl Selector {
    /// The selector that asks for all of `requirements`.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        Self { requirements: requirements.into_iter().collect() }
    }

    /// Whether the labels fulfil every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// What the selector asks, sorted by key.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter()
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, test: Test) -> Requirement {
        Requirement { key: key.to_owned(), test }
    }

    fn values(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn each_operator_reads_the_labels_as_kubernetes_does() {
        let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
        for (test, key, matches) in [
            (Test::In(values(&["a", "b"])), "zone", true),
            (Test::In(values(&["b"])), "zone", false),
            (Test::In(values(&["a"])), "rack", false),
            (Test::NotIn(values(&["a"])), "zone", false),
            (Test::NotIn(values(&["b"])), "zone", true),
            (Test::NotIn(values(&["a"])), "rack", true),
            (Test::Exists, "zone", true),
            (Test::Exists, "rack", false),
            (Test::DoesNotExist, "zone", false),
            (Test::DoesNotExist, "rack", true),
        ] {
            let selector = Selector::new([requirement(key, test.clone())]);
            assert_eq!(selector.matches(&labels), matches, "{key} {test:?}");
        }
    }

    #[test]
    fn all_requirements_must_hold_and_none_hold_always() {
        let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
        assert!(Selector::default().matches(&labels));
        assert!(Selector::default().matches(&Labels::new()));
        let both = Selector::new([requirement("zone", Test::Exists), requirement("rack", Test::Exists)]);
        assert!(!both.matches(&labels));
    }

    #[test]
    fn the_order_of_requirements_does_not_make_a_difference() {
        let (a, b) = (requirement("a", Test::Exists), requirement("b", Test::DoesNotExist));
        assert_eq!(Selector::new([a.clone(), b.clone()]), Selector::new([b, a]));
    }
}
