//! The first-sync gate.

use std::collections::BTreeSet;

/// Keeps decisions back until every watched kind has been listed once.
///
/// A program that decided earlier would, after its own restart, take addresses for free that are in use by
/// Services it has not read yet.
#[derive(Debug, Clone)]
pub struct Gate<Kind: Ord> {
    missing: BTreeSet<Kind>,
}

impl<Kind: Ord> Gate<Kind> {
    /// A gate that waits for each of `kinds`; with none it is open from the start.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self { missing: kinds.into_iter().collect() }
    }

    /// Notes that the first list of `kind` is in. True exactly once: when that was the last one missing.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "kinds are small Copy enums, and callers read better so"
    )]
    pub fn arrived(&mut self, kind: Kind) -> bool {
        self.missing.remove(&kind) && self.missing.is_empty()
    }

    /// Whether every kind has arrived.
    pub fn open(&self) -> bool {
        self.missing.is_empty()
    }

    /// The kinds still waited for, in order: what a readiness probe or a log line names.
    pub fn missing(&self) -> impl Iterator<Item = &Kind> {
        self.missing.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once_when_the_last_kind_arrives() {
        let mut gate = Gate::new(["nodes", "pools", "services"]);
        assert!(!gate.arrived("services"));
        assert!(!gate.arrived("services"), "the same kind twice does not count twice");
        assert!(!gate.arrived("nodes"));
        assert!(!gate.open());
        assert_eq!(gate.missing().collect::<Vec<_>>(), [&"pools"]);
        assert!(gate.arrived("pools"));
        assert!(gate.open());
        assert!(!gate.arrived("pools"), "opening is said once");
    }

    #[test]
    fn a_kind_nobody_waits_for_changes_nothing() {
        let mut gate = Gate::new(["nodes"]);
        assert!(!gate.arrived("secrets"));
        assert!(!gate.open());
    }

    #[test]
    fn a_gate_without_kinds_is_open() {
        assert!(Gate::<u8>::new([]).open());
    }
}
