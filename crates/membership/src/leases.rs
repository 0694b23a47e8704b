//! This node's lease, and its own voice in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use l2::Instant;

use crate::id::NodeId;
use crate::io::{Event, Output};
use crate::ledger::{State, View};
use crate::machine::{Machine, always};
use crate::packet::{Ack, Body};
use crate::voter::Effects;

/// The most addresses that one message says are granted.
const GRANTS: usize = 24;

impl Machine {
    /// Until when a voter stands by all that this node holds.
    fn word_of(&self, node: NodeId, now: Instant) -> Instant {
        if node == self.me() {
            let stands = self.own.stands_by(self.ledger.held_version());
            return if stands && !self.guarded(now) { always() } else { Instant::default() };
        }
        #[cfg(feature = "faults")]
        if self.faulty(crate::Fault::HearingIsEnough) {
            let peer = self.peers.get(&node);
            return peer
                .and_then(|p| p.heard)
                .map_or(Instant::default(), |at| at + crate::profile::lease(self.interval()));
        }
        self.counted(node)
            .filter(|view| view.stands_by(self.ledger.held_version()))
            .and_then(|view| view.valid)
            .unwrap_or_default()
    }

    /// What a voter says, where it counts: a council member counts only with an acknowledgement of a watch epoch that
    /// this node's lease still depends on. It lets go on the votes of the epoch that it knows; of one that is not
    /// kept any more the node itself would not notice.
    fn counted(&self, node: NodeId) -> Option<&View> {
        let oldest = self.watches.first().map_or(0, |(epoch, _)| *epoch);
        #[cfg(feature = "faults")]
        let oldest = if self.faulty(crate::Fault::OldEpochsCount) { 0 } else { oldest };
        self.peers.get(&node).filter(|peer| peer.watch_known >= oldest).map(|peer| &peer.view)
    }

    /// Until when majorities of all electorates, and of those who watch this node, stand by it.
    fn lease_until(&self, now: Instant) -> Instant {
        let epochs = self.chain.epochs();
        #[cfg(feature = "faults")]
        let epochs = if self.faulty(crate::Fault::NewestElectorateOnly) {
            epochs.get(epochs.len().saturating_sub(1)..).unwrap_or_default()
        } else {
            epochs
        };
        let voters =
            epochs.iter().map(|epoch| most(epoch.voters.iter().map(|&n| self.word_of(n, now)).collect()));
        let watchers = self.watches.iter().map(|(epoch, watchers)| {
            let valid = watchers.iter().map(|life| self.watcher_until(*life, *epoch));
            most(valid.chain([always()]).collect())
        });
        #[cfg(feature = "faults")]
        if self.faulty(crate::Fault::HalfIsEnough) {
            let half = |voters: &[NodeId]| {
                at_least(voters.len() / 2, voters.iter().map(|&n| self.word_of(n, now)).collect())
            };
            return epochs.iter().map(|epoch| half(&epoch.voters)).min().unwrap_or_default();
        }
        voters.chain(watchers).min().unwrap_or_default()
    }

    /// Computes the lease anew and acts where it came or went.
    pub(crate) fn renew_lease(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.lease = self.lease_until(now).min(self.chain_lease(now));
        let leased = now < self.lease;
        if leased != self.leased {
            if leased {
                self.quorum_found(now);
                for address in self.ledger.asking() {
                    self.try_take(now, address, out);
                }
            } else {
                self.quorum_lost(now);
                self.reconsider_refused(now, out);
            }
            self.leased = leased;
            out.push(Output::Event(Event::Quorum(leased)));
        } else if !leased {
            self.quorum_lost(now);
        }
        let ready = leased && !self.just_started(now) && !self.draining;
        if ready && !self.ready {
            self.look_again(now);
        }
        self.ready = ready;
        self.look(now, out);
    }

    /// Whoever refused a held address while there was a majority without it may have been right after all.
    fn reconsider_refused(&mut self, now: Instant, out: &mut Vec<Output>) {
        let views = self.peers.values().map(|peer| &peer.view);
        let against: Vec<(IpAddr, NodeId)> = views
            .flat_map(|view| view.against.iter().filter_map(|a| Some((*a, *view.refused.get(a)?))))
            .collect();
        for (address, holder) in against {
            self.refused(now, address, holder, out);
        }
    }

    /// Takes an address that is asked for, where majorities have granted it.
    pub(crate) fn try_take(&mut self, now: Instant, address: IpAddr, out: &mut Vec<Output>) {
        let Some(entry) = self.ledger.get(address) else { return };
        if entry.state == State::Held || now >= self.lease_until(now).min(self.chain_lease(now)) {
            return;
        }
        #[cfg(feature = "faults")]
        let deaf = self.faulty(crate::Fault::IgnoresRefusals);
        #[cfg(not(feature = "faults"))]
        let deaf = false;
        let granted = self.chain.agreed(|node| {
            if node == self.me() {
                return deaf || self.own.grants(address, entry.version);
            }
            self.counted(node).is_some_and(|view| {
                (deaf || view.grants(address, entry.version)) && view.valid.is_some_and(|at| now < at)
            })
        });
        if granted {
            self.take(now, address, out);
        }
    }

    /// Lets this node's own voter follow its list, until nothing is new.
    pub(crate) fn self_vote(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.own.generation == 0 || self.own.version != self.ledger.version() {
            let sync = self.ledger.sync(&self.own);
            let mut effects = Effects::default();
            let verdict = self.voter.hear(self.life(), now, None, &sync, &mut effects);
            let refused: Vec<(IpAddr, NodeId)> =
                verdict.refused.iter().map(|&(address, life)| (address, life.node)).collect();
            let ack = Ack {
                of: Some(u64::MAX),
                generation: verdict.generation,
                version: verdict.version,
                voted: 0,
                refused,
                granted: verdict.granted,
            };
            let (before, after) = self.own.follow(&ack, &self.ledger);
            self.apply(now, effects, out);
            for address in self.ledger.asked_between(before, after) {
                self.try_take(now, address, out);
            }
        }
    }

    /// Tells and does what follows from a change of this node's promises.
    pub(crate) fn apply(&mut self, now: Instant, effects: Effects, out: &mut Vec<Output>) {
        for (address, holder) in effects.orphaned {
            if holder != self.me()
                && let Some(place) = self.places.get_mut(&address)
            {
                place.former = Some(holder);
            }
        }
        let mut tell: BTreeMap<NodeId, Vec<IpAddr>> = BTreeMap::new();
        for (address, life) in effects.granted {
            if life == self.life() {
                self.own.forget(address);
                self.try_take(now, address, out);
                continue;
            }
            if self.ledger.get(address).is_some() {
                self.own.refused.insert(address, life.node);
            }
            let known = self.peers.get(&life.node).and_then(crate::peer::Peer::incarnation);
            if known == Some(life.incarnation) {
                tell.entry(life.node).or_default().push(address);
            }
        }
        for (node, addresses) in tell {
            let incarnation =
                self.peers.get(&node).and_then(crate::peer::Peer::incarnation).unwrap_or_default();
            let (generation, version) = self.voter.position(crate::id::Life { node, incarnation });
            for granted in addresses.chunks(GRANTS) {
                let ack = Ack { generation, version, granted: granted.to_vec(), ..Ack::default() };
                self.send(now, crate::packet::LinkId::default(), node, Body::Ack(ack), out);
            }
        }
        for address in effects.freed {
            if self.places.contains_key(&address) {
                self.due.insert((now, address));
            }
        }
    }
}

/// Until when more than half of the leases last.
fn most(leases: Vec<Instant>) -> Instant {
    at_least(leases.len() / 2 + 1, leases)
}

/// Until when so many of the leases last.
fn at_least(count: usize, mut leases: Vec<Instant>) -> Instant {
    leases.sort_unstable_by(|a, b| b.cmp(a));
    leases.get(count.saturating_sub(1)).copied().unwrap_or_default()
}
