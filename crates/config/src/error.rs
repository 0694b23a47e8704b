//! Why an object is not valid, in MetalLB's words where it has some.

use thiserror::Error;

use crate::selector::SelectorError;

/// Why an object is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// An IPAddressPool without a name.
    #[error("missing pool name")]
    MissingPoolName,
    /// Two objects of one kind and name.
    #[error("duplicate definition of {what} {name:?}")]
    DuplicateObject {
        /// The kind, in a word.
        what: &'static str,
        /// The name that both have.
        name: String,
    },
    /// Nothing in `spec.addresses`.
    #[error("pool has no prefixes defined: list at least one CIDR or range in spec.addresses")]
    NoPrefixes,
    /// An entry of `spec.addresses` is no range.
    #[error("invalid CIDR {entry:?} in pool {pool:?}: {reason}")]
    Range {
        /// The entry as it was written.
        entry: String,
        /// The pool that has it.
        pool: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two ranges have addresses in common.
    #[error(
        "CIDR {range:?} in pool {pool:?} overlaps with already defined CIDR {other:?} of pool {other_pool:?}"
    )]
    Overlap {
        /// The range that is refused.
        range: String,
        /// Its pool.
        pool: String,
        /// The range that was there first.
        other: String,
        /// The pool of that range.
        other_pool: String,
    },
    /// A namespace is named twice.
    #[error("duplicate definition in namespaces field: {0:?}; remove one of them")]
    DuplicateNamespace(String),
    /// A name or a selector stands twice in a list.
    #[error("duplicate definition of {field} {value}; remove one of them")]
    Duplicate {
        /// The field of the spec that holds the list.
        field: &'static str,
        /// The name, or the place of the selector in the list.
        value: String,
    },
    /// A label selector cannot be read.
    #[error("invalid label selector in {field}: {source}")]
    Selector {
        /// The field of the spec that holds it.
        field: &'static str,
        /// What is wrong with it.
        source: SelectorError,
    },
    /// A preference outside the range that the API allows.
    #[error("invalid weight {0} in preferredNodeSelectors: must be in 1-100 range")]
    Weight(i32),
}
