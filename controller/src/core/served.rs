//! Which pool serves whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_ext::ObjectKey;

/// Services by the pool that their addresses are from, and how many each pool has.
#[derive(Debug, Default)]
pub(super) struct Served {
    pools: BTreeMap<ObjectKey, Arc<str>>,
    counts: BTreeMap<Arc<str>, u64>,
}

impl Served {
    /// Notes the pool of a Service. Gives the pools that have one more or one fewer now.
    pub(super) fn set(&mut self, key: &ObjectKey, pool: Option<Arc<str>>) -> [Option<Arc<str>>; 2] {
        if self.pools.get(key) == pool.as_ref() {
            return [None, None];
        }
        let before = match &pool {
            Some(pool) => self.pools.insert(key.clone(), pool.clone()),
            None => self.pools.remove(key),
        };
        if let Some(before) = &before
            && let Some(count) = self.counts.get_mut(before)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(before);
            }
        }
        if let Some(pool) = &pool {
            *self.counts.entry(pool.clone()).or_default() += 1;
        }
        [before, pool]
    }

    /// How many Services a pool serves.
    pub(super) fn of(&self, pool: &str) -> u64 {
        self.counts.get(pool).copied().unwrap_or_default()
    }
}
