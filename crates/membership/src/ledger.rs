//! What this node wants to hold and holds, and how far each voter has followed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use l2::Instant;

use crate::id::NodeId;
use crate::packet::{Ack, Change, MAX_LIST, Sync};

/// The most changes that one heartbeat carries: with IPv6 addresses and a long chain it stays below 1,400 bytes.
const CHUNK: usize = MAX_LIST;
/// The most refused addresses that one heartbeat asks about again.
const AGAIN: usize = 8;
/// How many released addresses are remembered for voters that have fallen behind.
const MAX_TOMBSTONES: usize = 1_024;

/// From here on a generation is no voter's: it makes the voter start again from nothing.
const RESTART: u64 = 1 << 63;

/// How far this node's wish for an address has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// Voters are asked since then.
    Asking(Instant),
    /// Majorities agreed.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// The version of the list at which it was added.
    pub(crate) version: u64,
    pub(crate) state: State,
}

/// The list of wishes: every change has a number, and a voter has followed up to one of them.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Ledger {
    version: u64,
    entries: BTreeMap<IpAddr, Entry>,
    /// The latest change of each address.
    log: BTreeMap<u64, Change>,
    tombstones: BTreeMap<IpAddr, u64>,
    /// The version up to which a voter must have followed for its word to count: that of the newest held address.
    held_version: u64,
    held: usize,
}

impl Ledger {
    pub(crate) fn get(&self, address: IpAddr) -> Option<Entry> {
        self.entries.get(&address).copied()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn held_version(&self) -> u64 {
        self.held_version
    }

    pub(crate) fn held_count(&self) -> usize {
        self.held
    }

    pub(crate) fn is_held(&self, address: IpAddr) -> bool {
        self.get(address).is_some_and(|entry| entry.state == State::Held)
    }

    pub(crate) fn held(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.entries.iter().filter(|(_, e)| e.state == State::Held).map(|(a, _)| *a)
    }

    pub(crate) fn asking(&self) -> Vec<IpAddr> {
        self.entries.iter().filter(|(_, e)| e.state != State::Held).map(|(a, _)| *a).collect()
    }

    fn append(&mut self, change: Change) {
        self.version += 1;
        self.log.insert(self.version, change);
    }

    /// Starts asking for an address that is not in the list.
    pub(crate) fn ask(&mut self, address: IpAddr, now: Instant) {
        if self.entries.contains_key(&address) {
            return;
        }
        if let Some(old) = self.tombstones.remove(&address) {
            self.log.remove(&old);
        }
        self.append(Change { address, wanted: true });
        self.entries.insert(address, Entry { version: self.version, state: State::Asking(now) });
    }

    /// The majorities agreed on the address.
    pub(crate) fn establish(&mut self, address: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&address)
            && entry.state != State::Held
        {
            entry.state = State::Held;
            self.held += 1;
            self.held_version = self.held_version.max(entry.version);
        }
    }

    /// Takes the address out of the list; whether it was held.
    pub(crate) fn remove(&mut self, address: IpAddr) -> bool {
        let Some(entry) = self.entries.remove(&address) else { return false };
        self.log.remove(&entry.version);
        self.append(Change { address, wanted: false });
        self.tombstones.insert(address, self.version);
        let held = entry.state == State::Held;
        self.held -= usize::from(held);
        if self.held == 0 {
            self.held_version = 0;
        }
        held
    }

    /// What a voter that has followed as `view` says is to be told next.
    pub(crate) fn sync(&self, view: &View) -> Sync {
        let mut changes = Vec::new();
        let mut upto = self.version;
        for (&version, &change) in self.log.range(view.version + 1..) {
            if changes.len() == CHUNK {
                upto = version - 1;
                break;
            }
            changes.push(change);
        }
        let again = if view.version == self.version {
            view.refused.keys().take(AGAIN).copied().collect()
        } else {
            Vec::new()
        };
        Sync { generation: view.generation, base: view.version, upto, changes, again }
    }

    /// The changes after `from` up to `to`, of addresses still asked for.
    pub(crate) fn asked_between(&self, from: u64, to: u64) -> Vec<IpAddr> {
        let range = self.log.range(from + 1..=to.max(from + 1));
        range.filter(|(v, c)| c.wanted && **v <= to).map(|(_, c)| c.address).collect()
    }

    /// Forgets releases that every voter in `versions` has followed, once there are many.
    pub(crate) fn prune(&mut self, slowest: u64) {
        if self.tombstones.len() <= MAX_TOMBSTONES {
            return;
        }
        let old: Vec<IpAddr> =
            self.tombstones.iter().filter(|&(_, v)| *v <= slowest).map(|(a, _)| *a).collect();
        for address in old {
            if let Some(version) = self.tombstones.remove(&address) {
                self.log.remove(&version);
            }
        }
    }
}

/// What is known of a voter's memory of this node's list.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct View {
    pub(crate) generation: u64,
    pub(crate) version: u64,
    /// The packets up to this one were sent before this memory was known, or begun anew: what answers them is
    /// about another.
    pub(crate) since: u64,
    /// What it refuses, with who has it.
    pub(crate) refused: BTreeMap<IpAddr, NodeId>,
    /// Those of the refused that this node holds: while there are any, its word does not count.
    pub(crate) against: BTreeSet<IpAddr>,
    /// Until when its latest acknowledgement is a lease.
    pub(crate) valid: Option<Instant>,
    /// The latest epoch of this node's watch in which it voted this node down.
    pub(crate) voted: u32,
}

impl View {
    /// Takes what the voter says, except for the lease; the changes that it has newly followed.
    pub(crate) fn follow(&mut self, ack: &Ack, ledger: &Ledger) -> (u64, u64) {
        if ack.generation < self.generation && self.generation < RESTART {
            return (0, 0);
        }
        let outdated = ack.of.is_some_and(|sequence| sequence <= self.since);
        let other = ack.generation != self.generation;
        if outdated || (other && ack.of.is_none()) {
            return (0, 0);
        }
        if other {
            let (since, voted) = (self.since, self.voted);
            *self = Self { generation: ack.generation, since, voted, ..Self::default() };
        }
        let before = self.version;
        // What is told unasked says nothing about the changes in between.
        if ack.of.is_some() {
            self.version = self.version.max(ack.version);
        }
        // An answer that is older than the wish is about another wish for the same address.
        let current = |address: &IpAddr| ledger.get(*address).is_some_and(|e| e.version <= ack.version);
        for &(address, node) in ack.refused.iter().filter(|(address, _)| current(address)) {
            self.refused.insert(address, node);
            if ledger.is_held(address) {
                self.against.insert(address);
            }
        }
        for address in ack.granted.iter().filter(|address| current(address)) {
            self.forget(*address);
        }
        (before, self.version)
    }

    /// The voter is to be told everything again; `token` is another number each time.
    pub(crate) fn restart(&mut self, token: u64, since: u64) {
        *self = Self { generation: RESTART | token, since, voted: self.voted, ..Self::default() };
    }

    /// The address is not refused, or not asked for any more.
    pub(crate) fn forget(&mut self, address: IpAddr) {
        self.refused.remove(&address);
        self.against.remove(&address);
    }

    /// Whether this voter stands by everything that the node holds, as far as it had been heard.
    pub(crate) fn stands_by(&self, held_version: u64) -> bool {
        self.version >= held_version && self.against.is_empty()
    }

    /// Whether it has granted a wish.
    pub(crate) fn grants(&self, address: IpAddr, version: u64) -> bool {
        self.version >= version && !self.refused.contains_key(&address)
    }
}
