//! Who uses an address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::request::{Port, Sharing};
use crate::spot::Spot;

/// One address in use.
#[derive(Clone, Debug)]
pub(crate) struct Record<K> {
    pub(crate) spot: Spot,
    pub(crate) users: Users<K>,
}

/// Who uses an address.
#[derive(Clone, Debug)]
pub(crate) enum Users<K> {
    /// A Service that shares with nobody.
    One(Arc<K>),
    /// Services that share it, or one that would.
    Sharing(Box<Sharers<K>>),
}

/// Services that share an address.
#[derive(Clone, Debug)]
pub(crate) struct Sharers<K> {
    pub(crate) sharing: Sharing,
    pub(crate) keys: BTreeSet<Arc<K>>,
    /// The ports in use, and who has each.
    pub(crate) ports: BTreeMap<Port, Arc<K>>,
}

impl<K: Ord> Users<K> {
    /// Users of an address that this Service is the first to have: still nobody where it would share it.
    pub(crate) fn first(key: &Arc<K>, sharing: Option<&Sharing>) -> Self {
        let Some(sharing) = sharing.cloned() else { return Self::One(key.clone()) };
        Self::Sharing(Box::new(Sharers { sharing, keys: BTreeSet::new(), ports: BTreeMap::new() }))
    }

    /// Whether somebody else than this one uses the address.
    pub(crate) fn has_others(&self, key: &K) -> bool {
        match self {
            Self::One(user) => **user != *key,
            Self::Sharing(sharers) => sharers.keys.len() > usize::from(sharers.keys.contains(key)),
        }
    }

    /// The users apart from one, in order.
    pub(crate) fn others(&self, key: &K) -> Vec<&K> {
        let keys: Vec<&K> = match self {
            Self::One(user) => vec![user],
            Self::Sharing(sharers) => sharers.keys.iter().map(|user| &**user).collect(),
        };
        keys.into_iter().filter(|user| *user != key).collect()
    }
}

impl<K: Ord> Sharers<K> {
    pub(crate) fn add(&mut self, key: &Arc<K>, ports: &BTreeSet<Port>) {
        self.keys.insert(key.clone());
        self.ports.extend(ports.iter().map(|port| (*port, key.clone())));
    }

    /// Takes a user away. Whether it was the last one.
    pub(crate) fn remove(&mut self, key: &K, ports: &BTreeSet<Port>) -> bool {
        self.keys.remove(key);
        for port in ports {
            self.ports.remove(port);
        }
        self.keys.is_empty()
    }

    /// Whether there is room for a Service with this in mind.
    pub(crate) fn admit(&self, sharing: &Sharing, ports: &BTreeSet<Port>) -> bool {
        self.sharing == *sharing && !ports.iter().any(|port| self.ports.contains_key(port))
    }
}
