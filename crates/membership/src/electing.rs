//! How the electorate comes to be and changes.

use l2::Instant;

use crate::electorate::{Electorate, MAX_VOTERS};
use crate::id::NodeId;
use crate::io::Output;
use crate::machine::{Machine, always};
use crate::packet::MAX_WATCHERS;
use crate::profile::{SETTLE, renewal};

impl Machine {
    /// The API has these speakers.
    pub(crate) fn view(&mut self, now: Instant, revision: u64, nodes: &[NodeId], out: &mut Vec<Output>) {
        if nodes.is_empty() || self.view.as_ref().is_some_and(|view| view.revision >= revision) {
            return;
        }
        for node in nodes {
            if *node != self.me() {
                let peer = self.peers.entry(*node).or_default();
                if !self.speakers.contains(node) {
                    peer.expected = now;
                }
            }
        }
        self.speakers = nodes.iter().copied().collect();
        let view = Electorate::of(revision, nodes);
        if self.view.as_ref().is_none_or(|old| old.voters != view.voters) {
            self.agreed_since = None;
        }
        self.view = Some(view);
        self.propose(now, out);
        self.retarget();
    }

    /// Proposes what the API has, where no other change is under way.
    fn propose(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(view) = &self.view else { return };
        let same = |epoch: &Electorate| epoch.voters == view.voters && epoch.speakers == view.speakers;
        if !self.chain.epochs().last().is_some_and(same) && self.chain.propose(view.clone()) {
            self.chain_changed(now, out);
        }
    }

    /// The chain changed: it is remembered before anybody is told, and every wish is counted anew.
    pub(crate) fn chain_changed(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.agreed_since = None;
        out.push(Output::Remember(self.chain.epochs().to_vec()));
        self.retarget();
        self.look_at_wishes(now);
    }

    /// Looks whether a change of the electorate, or the first one, has been agreed on for long enough.
    pub(crate) fn settle_chain(&mut self, now: Instant, out: &mut Vec<Output>) {
        let founding = self.chain.is_empty();
        let agreed = if founding {
            // Everyone who is to vote must want it, for none of them may know of an electorate in force.
            self.view.as_ref().is_some_and(|view| {
                view.voters.iter().all(|node| {
                    let wants = |peer: &crate::peer::Peer| !peer.down && peer.founding == view.voters;
                    *node == self.me() || self.peers.get(node).is_some_and(wants)
                })
            })
        } else {
            let newest = self.chain.newest();
            let knows = |node: NodeId| {
                node == self.me() || self.peers.get(&node).is_some_and(|peer| peer.newest >= newest)
            };
            self.chain.epochs().len() > 1 && self.chain.agreed(knows)
        };
        if !agreed {
            self.agreed_since = None;
            return;
        }
        let since = *self.agreed_since.get_or_insert(now);
        // Nobody has a lease where nobody knows of an electorate.
        let wait = if founding { SETTLE } else { SETTLE.max(self.guard()) };
        #[cfg(feature = "faults")]
        let wait = if self.faulty(crate::Fault::NewestElectorateOnly) { self.interval() } else { wait };
        if now < since + wait {
            return;
        }
        if founding {
            if let Some(view) = self.view.clone() {
                self.chain.learn(&[view]);
            }
        } else {
            self.chain.activate();
        }
        self.chain_changed(now, out);
        self.propose(now, out);
    }

    /// What a node without an electorate may do: nothing.
    pub(crate) fn chain_lease(&self, _now: Instant) -> Instant {
        if self.chain.is_empty() { Instant::default() } else { always() }
    }

    /// How many speakers there are, by the largest view that counts.
    fn population(&self) -> usize {
        self.chain.speakers().max(self.speakers.len())
    }

    /// Whether the cluster has more speakers than voters.
    pub(crate) fn large(&self) -> bool {
        self.population() > MAX_VOTERS
    }

    /// The time between renewals with each voter: by what the voters know and remember, so that a restarted one
    /// knows how long the leases are that its former life gave. The API's view alone would be news to it.
    pub(crate) fn renewal(&self) -> std::time::Duration {
        let known = if self.chain.is_empty() { self.speakers.len() } else { self.chain.speakers() };
        renewal(self.interval(), known)
    }

    /// Whom heartbeats go to: in a small cluster everybody; in a large one those who vote and those who watch.
    pub(crate) fn retarget(&mut self) {
        let me = self.me();
        let voters =
            self.chain.epochs().iter().chain(&self.view).flat_map(|epoch| epoch.voters.iter().copied());
        let mut targets: std::collections::BTreeSet<NodeId> = voters.collect();
        if self.large() {
            self.watchers = self.desired_watchers();
            targets.extend(self.watchers.iter().copied());
            targets.extend(self.watches.iter().flat_map(|(_, lives)| lives.iter().map(|life| life.node)));
            targets.extend(self.asked.iter().copied());
        } else {
            targets.extend(self.speakers.iter().copied());
            self.asked.clear();
        }
        targets.remove(&me);
        for node in &targets {
            self.peers.entry(*node).or_default();
        }
        self.targets = targets;
    }

    /// Who should watch this node: the three before and the three after it in a circle of all speakers, whose order
    /// hashing gives. Each watches exactly six so, and one that comes or goes changes the watch of its neighbours.
    fn desired_watchers(&self) -> Vec<NodeId> {
        let mut circle: Vec<NodeId> = self.speakers.iter().copied().collect();
        circle.sort_unstable_by_key(|&node| (crate::id::weight(NodeId(0), node), node));
        let place = circle.iter().position(|&node| node == self.me()).unwrap_or(0);
        circle.rotate_left(place);
        circle.retain(|&node| node != self.me());
        let beyond = circle.len().saturating_sub(MAX_WATCHERS / 2).max(MAX_WATCHERS / 2);
        let near = circle.iter().enumerate().filter(|(at, _)| *at < MAX_WATCHERS / 2 || *at >= beyond);
        near.map(|(_, node)| *node).collect()
    }
}
