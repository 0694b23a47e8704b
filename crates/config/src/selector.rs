//! Label selectors of the Kubernetes API, compiled.

use std::collections::BTreeSet;

use ipam::{Requirement, Selector, Test};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use thiserror::Error;

use crate::error::ConfigError;

/// Why a label selector cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum SelectorError {
    /// An operator that does not exist.
    #[error("{operator:?} is not a valid label selector operator")]
    Operator {
        /// The label it is about.
        key: String,
        /// The operator as it was written.
        operator: String,
    },
    /// `In` and `NotIn` compare with something.
    #[error("operator {operator} for key {key:?} needs at least one value")]
    NoValues {
        /// The label it is about.
        key: String,
        /// In or `NotIn`.
        operator: &'static str,
    },
    /// `Exists` and `DoesNotExist` do not compare.
    #[error("operator {operator} for key {key:?} takes no values: remove them, or use In or NotIn")]
    Values {
        /// The label it is about.
        key: String,
        /// Exists or `DoesNotExist`.
        operator: &'static str,
    },
    /// A value stands twice in one expression.
    #[error("duplicate definition of match expression value in label selector")]
    DuplicateValue {
        /// The label it is about.
        key: String,
        /// The value.
        value: String,
    },
    /// An expression stands twice in one selector.
    #[error("duplicate definition of match expressions")]
    DuplicateExpression(String),
}

impl SelectorError {
    /// What to do about it, where the text does not say it all.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::Operator { key, .. } => {
                Some(format!("for key {key:?} use In, NotIn, Exists or DoesNotExist"))
            }
            Self::DuplicateValue { key, value } => Some(format!("remove one {value:?} for key {key:?}")),
            Self::DuplicateExpression(key) => Some(format!("remove one of the expressions for key {key:?}")),
            Self::NoValues { .. } | Self::Values { .. } => None,
        }
    }
}

/// Compiles a label selector; the empty one matches everything.
pub fn compile_selector(selector: &LabelSelector) -> Result<Selector, SelectorError> {
    let mut expressions = BTreeSet::new();
    for expression in selector.match_expressions.iter().flatten() {
        let requirement = compile_requirement(expression)?;
        if !expressions.insert(requirement) {
            return Err(SelectorError::DuplicateExpression(expression.key.clone()));
        }
    }
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| Requirement {
        key: key.clone(),
        test: Test::In(BTreeSet::from([value.clone()])),
    });
    Ok(Selector::new(labels.chain(expressions)))
}

fn compile_requirement(expression: &LabelSelectorRequirement) -> Result<Requirement, SelectorError> {
    let key = &expression.key;
    let values = expression.values.as_deref().unwrap_or_default();
    let some_values = |operator| {
        if values.is_empty() {
            return Err(SelectorError::NoValues { key: key.clone(), operator });
        }
        let mut set = BTreeSet::new();
        for value in values {
            if !set.insert(value.clone()) {
                return Err(SelectorError::DuplicateValue { key: key.clone(), value: value.clone() });
            }
        }
        Ok(set)
    };
    let no_values = |operator, test| {
        if values.is_empty() { Ok(test) } else { Err(SelectorError::Values { key: key.clone(), operator }) }
    };
    let test = match expression.operator.as_str() {
        "In" => Test::In(some_values("In")?),
        "NotIn" => Test::NotIn(some_values("NotIn")?),
        "Exists" => no_values("Exists", Test::Exists)?,
        "DoesNotExist" => no_values("DoesNotExist", Test::DoesNotExist)?,
        other => return Err(SelectorError::Operator { key: key.clone(), operator: other.to_owned() }),
    };
    Ok(Requirement { key: key.clone(), test })
}

/// Compiles a list of selectors of which no two say the same.
pub(crate) fn compile_list(
    field: &'static str,
    selectors: &[LabelSelector],
) -> Result<Vec<Selector>, ConfigError> {
    let mut compiled: Vec<Selector> = Vec::with_capacity(selectors.len());
    let mut seen = BTreeSet::new();
    for (place, selector) in selectors.iter().enumerate() {
        let selector = compile_selector(selector).map_err(|source| match source {
            SelectorError::DuplicateValue { .. } | SelectorError::DuplicateExpression(_) => {
                ConfigError::Repetition { field, source }
            }
            source => ConfigError::Selector { field, source },
        })?;
        if !seen.insert(selector.clone()) {
            return Err(ConfigError::DuplicateSelector { field, place: place + 1 });
        }
        compiled.push(selector);
    }
    Ok(compiled)
}

/// The names as a set, refused where one stands twice.
pub(crate) fn distinct(field: &'static str, names: &[String]) -> Result<BTreeSet<String>, ConfigError> {
    let mut set = BTreeSet::new();
    for name in names {
        if !set.insert(name.clone()) {
            return Err(ConfigError::DuplicateName { field, name: name.clone() });
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelectorRequirement {
        LabelSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: Some(values.iter().map(|&value| value.to_owned()).collect()),
        }
    }

    fn selector(labels: &[(&str, &str)], expressions: Vec<LabelSelectorRequirement>) -> LabelSelector {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        LabelSelector { match_labels: Some(labels), match_expressions: Some(expressions) }
    }

    #[test]
    fn labels_and_expressions_must_all_match() {
        let compiled = compile_selector(&selector(
            &[("app", "web")],
            vec![
                expression("zone", "In", &["a", "b"]),
                expression("tier", "NotIn", &["test"]),
                expression("team", "Exists", &[]),
                expression("old", "DoesNotExist", &[]),
            ],
        ))
        .expect("a valid selector");
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        for (pairs, matches) in [
            (&[("app", "web"), ("zone", "b"), ("team", "x")][..], true),
            (&[("app", "db"), ("zone", "b"), ("team", "x")], false),
            (&[("app", "web"), ("zone", "c"), ("team", "x")], false),
            (&[("app", "web"), ("zone", "b")], false),
            (&[("app", "web"), ("zone", "b"), ("team", "x"), ("tier", "test")], false),
            (&[("app", "web"), ("zone", "b"), ("team", "x"), ("old", "")], false),
        ] {
            assert_eq!(compiled.matches(&labels(pairs)), matches, "{pairs:?}");
        }
        let everything = compile_selector(&LabelSelector::default()).expect("the empty selector");
        assert!(everything.matches(&labels(&[])));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (expressions, reason) in [
            (vec![expression("a", "Is", &["b"])], "\"Is\" is not a valid label selector operator"),
            (vec![expression("a", "In", &[])], "operator In for key \"a\" needs at least one value"),
            (vec![expression("a", "Exists", &["b"])], "operator Exists for key \"a\" takes no values"),
            (
                vec![expression("a", "In", &["b", "b"])],
                "duplicate definition of match expression value in label selector",
            ),
            (
                vec![expression("a", "In", &["b", "c"]), expression("a", "In", &["c", "b"])],
                "duplicate definition of match expressions",
            ),
        ] {
            let error = compile_selector(&selector(&[], expressions)).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn two_selectors_that_say_the_same_are_refused() {
        let by_label = selector(&[("a", "b")], vec![]);
        let by_expression = selector(&[], vec![expression("a", "In", &["b"])]);
        let error = compile_list("nodeSelectors", &[by_label, by_expression]).expect_err("a duplicate");
        assert!(error.to_string().starts_with("duplicate definition of nodeSelectors"), "{error}");
    }
}
