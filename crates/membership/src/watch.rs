//! Deaths in a large cluster: six watchers hear each node in every interval, the council only now and then.
//!
//! A node may answer while a majority of {itself + its watchers} acknowledges it. A watcher that votes it down
//! acknowledges nothing more in that epoch of its watch, and votes only after the lease that it gave is over. So a
//! majority of votes proves that the node holds nothing, and the council members let go of it.

use std::net::IpAddr;

use l2::Instant;

use crate::id::{Life, NodeId};
use crate::io::{Event, Output};
use crate::machine::Machine;
use crate::packet::{Body, LinkId, MAX_LIST, Vote};
use crate::voter::Effects;

/// How often a vote is sent to each node: in a burst to all, and two more for what was lost.
const REPEATS: u8 = 3;

impl Machine {
    /// Until when a watcher's word counts in an epoch of this node's watch.
    pub(crate) fn watcher_until(&self, watcher: Life, epoch: u32) -> Instant {
        let peer =
            self.peers.get(&watcher.node).filter(|peer| peer.incarnation() == Some(watcher.incarnation));
        peer.filter(|peer| peer.view.voted < epoch).and_then(|peer| peer.watch_valid).unwrap_or_default()
    }

    /// Begins a new epoch of this node's watch where the watchers are to be others, or one of them voted it down;
    /// ends older ones that no voter can go by any more.
    pub(crate) fn watch_again(&mut self, from: NodeId) {
        if !self.large() && self.watches.is_empty() {
            return;
        }
        let lives: Vec<Life> = if self.large() {
            let known = |node: NodeId| {
                let peer = self.peers.get(&node).filter(|peer| peer.watch_valid.is_some())?;
                Some(Life { node, incarnation: peer.incarnation()? })
            };
            self.watchers.iter().copied().filter_map(known).collect()
        } else {
            Vec::new()
        };
        let latest = self.watches.last().map_or(0, |(epoch, _)| *epoch);
        let voted =
            self.peers.get(&from).is_some_and(|peer| peer.view.voted >= latest && peer.view.voted > 0);
        let changed = self.watches.last().is_none_or(|(_, current)| *current != lives);
        // One change at a time: until the voters know of the latest epoch nothing new begins.
        let settled = self.chain.agreed(|node| {
            node == self.me() || self.peers.get(&node).is_some_and(|peer| peer.watch_known >= latest)
        });
        if settled && self.watches.len() > 1 {
            self.watches.drain(..self.watches.len() - 1);
        }
        if (changed && settled) || voted {
            let next = self.peers.values().map(|peer| peer.view.voted).max().unwrap_or(0).max(latest) + 1;
            self.watches.push((next, lives));
            // The voters hear of it at once.
            for peer in self.peers.values_mut() {
                peer.renew_at = None;
            }
            self.retarget();
            self.next_tick = Instant::default();
        }
    }

    /// A peer that this node watches is silent: votes it down, where this is a large cluster.
    pub(crate) fn vote_down(&mut self, now: Instant, node: NodeId, out: &mut Vec<Output>) {
        let me = self.life();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(incarnation) = peer.incarnation() else { return };
        if peer.watch == 0 || !peer.watchers.contains(&me) {
            return;
        }
        peer.voted = peer.voted.max(peer.watch);
        peer.repeats = REPEATS;
        let vote =
            Vote { down: Life { node, incarnation }, watch: peer.watch, watchers: peer.watchers.clone() };
        self.voted_down(now, me, &vote, out);
        self.repeat_votes(now, out);
    }

    /// Sends the votes that are to be repeated, to everybody.
    pub(crate) fn repeat_votes(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut votes = Vec::new();
        for (&node, peer) in &mut self.peers {
            if peer.repeats > 0
                && let Some(incarnation) = peer.incarnation()
            {
                peer.repeats -= 1;
                let down = Life { node, incarnation };
                votes.push(Vote { down, watch: peer.voted, watchers: peer.watchers.clone() });
            }
        }
        for vote in votes {
            self.tell_all(now, &Body::Vote(vote), out);
        }
    }

    /// Sends to every speaker but this one.
    fn tell_all(&mut self, now: Instant, body: &Body, out: &mut Vec<Output>) {
        let mut all = self.speakers.clone();
        all.extend(self.targets.iter().copied());
        all.remove(&self.me());
        for node in all {
            self.send(now, LinkId::default(), node, body.clone(), out);
        }
    }

    /// A vote: counts it, and acts once it is one of a majority.
    pub(crate) fn voted_down(&mut self, now: Instant, by: Life, vote: &Vote, out: &mut Vec<Output>) {
        if vote.down == self.life() || !vote.watchers.contains(&by) {
            return;
        }
        let key = (vote.down, vote.watch);
        let tally = self.tallies.entry(key).or_default();
        tally.insert(by);
        let votes = tally.len();
        if self.tallies.len() > MAX_TALLIES {
            self.tallies.pop_first();
        }
        if 2 * votes <= vote.watchers.len() + 1 {
            return;
        }
        let forgotten = self.guard();
        let Some(peer) = self.peers.get_mut(&vote.down.node) else { return };
        let life = peer.incarnation().is_none_or(|life| life == vote.down.incarnation);
        let heard =
            peer.beat.is_some_and(|(at, interval)| now < at + interval * 2 && peer.watch > vote.watch);
        // Who has not heard the node for long may know a former life of it.
        let unknown = peer.heard.is_none_or(|at| now >= at + forgotten);
        if (life || unknown) && !heard && peer.fall(now) {
            out.push(Output::Event(Event::Down(vote.down.node)));
            self.look_again(now);
        }
        // Votes of an epoch that is over prove nothing of the one that this voter acknowledged since.
        let known = self.peers.get(&vote.down.node).map_or(0, |peer| peer.watch);
        if life && vote.watch >= known && known > 0 {
            let mut effects = Effects::default();
            self.voter.drop_claimant(vote.down, &mut effects);
            self.apply(now, effects, out);
        }
    }

    /// Tells those who get no heartbeats what has been taken.
    pub(crate) fn tell_holding(&mut self, now: Instant, out: &mut Vec<Output>) {
        let held: Vec<IpAddr> = std::mem::take(&mut self.newly_held);
        if self.large() {
            for part in held.chunks(MAX_LIST) {
                self.tell_all(now, &Body::Holding(part.to_vec()), out);
            }
        }
    }

    /// Another node says what it holds.
    pub(crate) fn told_of(
        &mut self,
        now: Instant,
        from: Life,
        sequence: u64,
        held: &[IpAddr],
        out: &mut Vec<Output>,
    ) {
        let from_life = from.incarnation;
        let from = from.node;
        if self.peers.get_mut(&from).is_some_and(|peer| peer.rises(from_life, sequence, now)) {
            out.push(Output::Event(Event::Up(from)));
            self.look_again(now);
        }
        for address in held {
            let Some(place) = self.places.get_mut(address) else { continue };
            place.told = Some(from);
            place.deference = None;
            self.due.insert((now, *address));
        }
    }
}

/// How many deaths are counted at once.
const MAX_TALLIES: usize = 1_024;
