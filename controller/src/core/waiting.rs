//! Who waits for what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use kube_ext::ObjectKey;

use crate::judge::Want;

/// Services that lack something, by what would help them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_want: BTreeMap<Want, BTreeSet<Waiter>>,
    by_service: BTreeMap<ObjectKey, (i64, Vec<Want>)>,
}

/// When a Service was created, and which it is.
pub(super) type Waiter = (i64, ObjectKey);

impl Waiting {
    /// Notes what a Service waits for, in place of what it waited for before.
    pub(super) fn set(&mut self, waiter: Waiter, wants: Vec<Want>) {
        self.remove(&waiter.1);
        if wants.is_empty() {
            return;
        }
        for want in &wants {
            self.by_want.entry(want.clone()).or_default().insert(waiter.clone());
        }
        self.by_service.insert(waiter.1, (waiter.0, wants));
    }

    /// A Service waits no longer.
    pub(super) fn remove(&mut self, key: &ObjectKey) {
        let Some((created, wants)) = self.by_service.remove(key) else { return };
        let waiter = (created, key.clone());
        for want in wants {
            if let Some(waiters) = self.by_want.get_mut(&want) {
                waiters.remove(&waiter);
                if waiters.is_empty() {
                    self.by_want.remove(&want);
                }
            }
        }
    }

    /// The oldest Service after `last` that any of these would help.
    pub(super) fn next(&self, wants: &[Want], last: Option<&Waiter>) -> Option<Waiter> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let first = |want| self.by_want.get(want)?.range((after, Bound::Unbounded)).next();
        wants.iter().filter_map(first).min().cloned()
    }
}
