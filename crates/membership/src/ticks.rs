//! What time does: heartbeats, silence, lateness.

use l2::Instant;

use crate::id::{Life, NodeId};
use crate::io::{Event, Output};
use crate::machine::Machine;
use crate::packet::{Beat, Body, LinkId, Sync};
use crate::voter::Effects;

/// After how long a speaker that the API has and nobody hears is reported.
const UNHEARD: std::time::Duration = std::time::Duration::from_secs(10);
/// After how many late timers, each within this time of the one before, a node uses a slower profile.
const LATE: u32 = 3;
const LATE_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
/// After how long without a late timer it returns.
const PUNCTUAL: std::time::Duration = std::time::Duration::from_secs(60);
/// After how long it is not believed any more that a node is down that this one never hears anyway.
const HEARSAY: std::time::Duration = std::time::Duration::from_secs(60);

impl Machine {
    /// Does everything whose time has come.
    pub(crate) fn run_timers(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut effects = Effects::default();
        self.voter.lapse(now, &mut effects);
        let silent: Vec<NodeId> = self
            .contacts
            .iter()
            .copied()
            .filter(|node| self.peers.get(node).and_then(Self::silence).is_some_and(|at| at <= now))
            .collect();
        for &node in &silent {
            let token = self.restart_token();
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.fall(now);
                peer.unanswered = None;
                let since = peer.last_number();
                peer.view.restart(token, since);
            }
            self.contacts.remove(&node);
            out.push(Output::Event(Event::Down(node)));
        }
        if !silent.is_empty() {
            self.look_again(now);
        }
        // Only now: what follows from a lapse depends on who is down.
        self.apply(now, effects, out);
        for node in silent {
            self.vote_down(now, node, out);
        }
        if now >= self.next_tick {
            self.tick(now, out);
        }
    }

    /// Every half interval: a heartbeat to everybody, then another to those who have not answered.
    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let half = self.interval() / 2;
        self.punctuality(now, out);
        if now.saturating_since(self.next_tick) > self.interval() {
            self.awake = now;
        }
        self.next_tick = now + half;
        self.ticks += 1;
        #[cfg(feature = "faults")]
        self.lingering.clear();
        let full = self.ticks % 2 == 1;
        self.settle_chain(now, out);
        self.lease_links(now, out);
        if full {
            self.repeat_votes(now, out);
            self.report_unheard(now, out);
            self.doubt_hearsay(now, out);
            self.beat_links(now, out);
            let slowest =
                self.peers.values().filter(|p| p.view.valid.is_some()).map(|p| p.view.version).min();
            self.ledger.prune(slowest.unwrap_or(u64::MAX));
        }
        for node in self.targets.clone() {
            let Some(peer) = self.peers.get(&node) else { continue };
            // Nobody is waited for who has not been heard for a while; a heartbeat per interval finds it again.
            let missed = !full && peer.unanswered.is_some() && !peer.down && peer.heard.is_some();
            let due = full && self.is_due(now, node);
            if missed || due {
                self.beat(now, node, out);
            }
        }
    }

    /// Whether a peer is to get a heartbeat in this interval.
    fn is_due(&self, now: Instant, node: NodeId) -> bool {
        let Some(peer) = self.peers.get(&node) else { return false };
        let watches = |life: &Life| life.node == node;
        if !self.large() || self.watches.iter().any(|(_, lives)| lives.iter().any(watches)) {
            return true;
        }
        // It votes only, or it is to watch and does not know yet.
        let behind = peer.view.version != self.ledger.version()
            || peer.view.generation == 0
            || peer.newest < self.chain.newest()
            || peer.watch_known < self.watches.last().map_or(0, |(epoch, _)| *epoch)
            || !peer.view.refused.is_empty();
        let voter = self.chain.votes(node) || self.asked.contains(&node);
        behind && (voter || peer.watch_valid.is_none()) || peer.renew_at.is_none_or(|at| now >= at)
    }

    /// Sends a heartbeat.
    pub(crate) fn beat(&mut self, now: Instant, node: NodeId, out: &mut Vec<Output>) {
        let interval = u16::try_from(self.interval().as_millis()).unwrap_or(u16::MAX);
        let large = self.large();
        let votes = !large || self.chain.votes(node) || self.asked.contains(&node);
        let span = if votes { self.renewal() } else { self.interval() };
        let (watch, watchers) = self.watches.last().cloned().unwrap_or_default();
        let links = self.links.iter().map(|(link, leased)| (*link, *leased)).collect();
        // What makes one node renew at once makes many: the next time they do so spread over the whole span, and
        // stay so whatever is sent in between.
        let whole = self.renewal();
        let spread = self.draw(u64::try_from(whole.as_micros()).unwrap_or(u64::MAX));
        let ledger = &self.ledger;
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let sync: Option<Sync> = votes.then(|| ledger.sync(&peer.view));
        peer.unanswered.get_or_insert(now);
        peer.renew_at = Some(match peer.renew_at {
            None => now + std::time::Duration::from_micros(spread),
            Some(at) if now < at => at.min(now + whole),
            Some(_) => now + whole,
        });
        let span = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        let beat = Beat { interval, span, watch, watchers, links, sync, macs: self.macs.clone() };
        self.send(now, LinkId::default(), node, Body::Beat(beat), out);
    }

    /// Sends what voters do not know yet to those who have answered so far.
    pub(crate) fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        let version = self.ledger.version();
        let large = self.large();
        let voters: Vec<NodeId> = self
            .targets
            .iter()
            .copied()
            .filter(|node| {
                let Some(peer) = self.peers.get(node) else { return false };
                let behind = peer.view.version != version || (peer.view.generation == 0 && !peer.down);
                let votes = !large || self.chain.votes(*node) || self.asked.contains(node);
                behind && votes && peer.unanswered.is_none() && peer.heard.is_some()
            })
            .collect();
        for node in voters {
            self.beat(now, node, out);
        }
        if !self.newly_held.is_empty() {
            self.tell_holding(now, out);
        }
    }

    /// Counts timers that come late, and uses a slower profile where they do again and again.
    fn punctuality(&mut self, now: Instant, out: &mut Vec<Output>) {
        let before = self.profile;
        let late = now.saturating_since(self.next_tick) > self.interval() / 2;
        if late && self.ticks > 0 && self.next_tick > Instant::default() {
            let again = self.late_at.is_some_and(|at| now < at + LATE_WITHIN);
            self.late = if again { self.late + 1 } else { 1 };
            self.late_at = Some(now);
            if self.late >= LATE {
                self.late = 0;
                self.profile = self.profile.slower();
            }
        } else if self.late_at.is_some_and(|at| now >= at + PUNCTUAL) {
            self.late_at = None;
            self.late = 0;
            self.profile = self.settings.profile;
        }
        if self.profile != before {
            out.push(Output::Event(Event::Profile(self.profile)));
        }
    }

    /// Names the speakers that the API has and that are not heard.
    fn report_unheard(&mut self, now: Instant, out: &mut Vec<Output>) {
        for node in self.targets.intersection(&self.speakers) {
            let Some(peer) = self.peers.get_mut(node) else { continue };
            let since = peer.heard.unwrap_or_default().max(peer.expected).max(self.started);
            if !peer.reported && now >= since + UNHEARD {
                peer.reported = true;
                out.push(Output::Event(Event::Unheard(*node)));
            }
        }
    }

    /// A node that is only said to be down is not any more after a while: it may have come back unnoticed.
    fn doubt_hearsay(&mut self, now: Instant, out: &mut Vec<Output>) {
        let contacts = &self.contacts;
        let stale = |(node, peer): &(&NodeId, &mut crate::peer::Peer)| {
            peer.down && peer.voted == 0 && !contacts.contains(*node) && now >= peer.fell + HEARSAY
        };
        if !self.large() {
            return;
        }
        for (node, peer) in self.peers.iter_mut().filter(stale) {
            peer.down = false;
            out.push(Output::Event(Event::Up(*node)));
        }
    }

    /// Wishes are counted anew: what a majority is has changed, or who is there.
    pub(crate) fn look_at_wishes(&mut self, now: Instant) {
        for address in self.ledger.asking() {
            self.due.insert((now, address));
        }
    }
}
