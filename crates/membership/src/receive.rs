//! What packets do.

use std::time::Duration;

use l2::Instant;

use crate::id::{Life, NodeId};
use crate::io::{Event, Output};
use crate::machine::Machine;
use crate::packet::{Ack, Beat, Body, LinkId, Packet};
use crate::peer::Admission;
use crate::profile::lease;
use crate::voter::Effects;

impl Machine {
    /// Takes a packet.
    pub(crate) fn receive(&mut self, now: Instant, link: LinkId, packet: Packet, out: &mut Vec<Output>) {
        let from = packet.from.node;
        if packet.to != self.me() || from == self.me() {
            return;
        }
        match packet.body {
            // Votes stay true for ever and hints are checked by asking: a recording of either does no harm.
            Body::Vote(vote) => return self.voted_down(now, packet.from, &vote, out),
            Body::Holding(held) => return self.told_of(now, packet.from, packet.sequence, &held, out),
            Body::Beat(_) | Body::Ack(_) => {}
        }
        let echoed = packet.echo.filter(|(life, _)| *life == self.settings.incarnation).map(|(_, s)| s);
        let peer = self.peers.entry(from).or_default();
        match peer.admit(packet.from.incarnation, packet.sequence, echoed, now) {
            Admission::Replayed => return,
            Admission::Unproven => {
                if matches!(packet.body, Body::Beat(_)) {
                    self.send(now, link, from, Body::Ack(Ack::default()), out);
                }
                return;
            }
            Admission::NewLife | Admission::Known => {}
        }
        if link == LinkId::default() && !self.follow(now, &packet, out) {
            return;
        }
        match packet.body {
            Body::Beat(beat) => self.beaten(now, link, packet.from, packet.sequence, &beat, out),
            Body::Ack(ack) => {
                // One that answers a former life says nothing of this one.
                if echoed.is_some() {
                    self.acknowledged(now, from, &ack, out);
                }
            }
            Body::Vote(_) | Body::Holding(_) => {}
        }
    }

    /// Takes what every packet says of its sender; whether what else it says counts.
    fn follow(&mut self, now: Instant, packet: &Packet, out: &mut Vec<Output>) -> bool {
        let from = packet.from.node;
        let founding = packet.flags.founding;
        if !founding && self.chain.learn(&packet.chain) {
            self.chain_changed(now, out);
        }
        let covered = founding || self.chain.covers(&packet.chain);
        let Some(peer) = self.peers.get_mut(&from) else { return false };
        peer.heard = Some(now);
        peer.reported = false;
        let latest = packet.chain.last();
        peer.newest = latest.filter(|_| !founding).map_or(0, |epoch| epoch.revision);
        peer.founding = latest.filter(|_| founding).map_or(Vec::new(), |epoch| epoch.voters.clone());
        // Where no heartbeats are expected, anything shows that a node lives that was said to be down.
        let up = !peer.watched && std::mem::take(&mut peer.down);
        if std::mem::replace(&mut peer.flags, packet.flags).draining != packet.flags.draining {
            self.look_again(now);
        }
        if up {
            out.push(Output::Event(Event::Up(from)));
            self.look_again(now);
        }
        covered
    }

    /// A heartbeat came in.
    fn beaten(
        &mut self,
        now: Instant,
        link: LinkId,
        from: Life,
        sequence: u64,
        beat: &Beat,
        out: &mut Vec<Output>,
    ) {
        let me = self.life();
        let large = self.large();
        let Some(peer) = self.peers.get_mut(&from.node) else { return };
        if link != LinkId::default() {
            return self.send(
                now,
                link,
                from.node,
                Body::Ack(Ack { of: Some(sequence), ..Ack::default() }),
                out,
            );
        }
        if sequence < peer.beat_sequence {
            return;
        }
        self.contacts.insert(from.node);
        peer.beat_sequence = sequence;
        // Whoever returns to a faster profile may still have a lease by the slower one: so long it is waited for.
        let rest =
            peer.beat.map_or(Duration::ZERO, |(at, before)| (at + before * 3).saturating_since(now) / 3);
        if peer.down || peer.beat.is_none() {
            peer.risen = Some(now);
        }
        peer.beat = Some((now, Duration::from_millis(beat.interval.into()).max(rest)));
        peer.watched = !large || beat.watchers.contains(&me);
        let links_changed = peer.links != beat.links;
        peer.links.clone_from(&beat.links);
        if peer.macs != beat.macs {
            peer.macs.clone_from(&beat.macs);
            out.push(Output::Macs { node: from.node, macs: beat.macs.clone() });
        }
        let up = std::mem::take(&mut peer.down);
        if up {
            peer.repeats = 0;
            out.push(Output::Event(Event::Up(from.node)));
        }
        let may_vote = !self.chain.is_empty() && !self.guarded(now);
        let may_watch = !self.chain.is_empty() && !self.just_started(now);
        let Some(peer) = self.peers.get_mut(&from.node) else { return };
        // Whoever was voted down stays so in that epoch of its watch.
        let down = beat.watch > 0 && peer.voted >= beat.watch;
        #[cfg(feature = "faults")]
        let down = down && self.settings.fault != Some(crate::Fault::VoteKeepsAcknowledging);
        if !may_watch || (!may_vote && !large) || down {
            let ack = Ack { voted: peer.voted, ..Ack::default() };
            return self.send(now, link, from.node, Body::Ack(ack), out);
        }
        peer.watch = beat.watch;
        peer.watchers.clone_from(&beat.watchers);
        let mut ack = Ack { of: Some(sequence), voted: peer.voted, ..Ack::default() };
        #[cfg(feature = "faults")]
        if self.settings.fault == Some(crate::Fault::VoteKeepsAcknowledging) {
            ack.voted = 0;
        }
        let mut wanted = Vec::new();
        let mut effects = Effects::default();
        if let Some(sync) = beat.sync.as_ref().filter(|_| may_vote) {
            let span = Duration::from_millis(beat.span.into());
            let verdict = self.voter.hear(from, now, Some(span), sync, &mut effects);
            ack.generation = verdict.generation;
            ack.version = verdict.version;
            ack.refused = verdict.refused.iter().map(|&(address, life)| (address, life.node)).collect();
            ack.granted = verdict.granted;
            wanted
                .extend(verdict.refused.iter().filter(|(_, life)| *life == me).map(|(address, _)| *address));
        }
        self.send(now, link, from.node, Body::Ack(ack), out);
        self.apply(now, effects, out);
        for address in wanted {
            self.asked_for(now, address, from.node, out);
        }
        if links_changed {
            self.look_again(now);
        }
        if up {
            self.look_at_wishes(now);
        }
    }

    /// An acknowledgement came in.
    fn acknowledged(&mut self, now: Instant, from: NodeId, ack: &Ack, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let sent = ack.of.and_then(|sequence| peer.sent(sequence));
        if let Some(sent) = sent {
            if sent.link != LinkId::default() {
                let valid = sent.at + lease(sent.interval);
                peer.link_valid.retain(|(link, _)| *link != sent.link);
                peer.link_valid.push((sent.link, valid));
                return;
            }
            peer.unanswered = None;
            let base = sent.at;
            #[cfg(feature = "faults")]
            let base = if self.settings.fault == Some(crate::Fault::LeaseFromReceipt) { now } else { base };
            peer.watch_valid = peer.watch_valid.max(Some(base + lease(sent.interval)));
        }
        peer.view.voted = peer.view.voted.max(ack.voted);
        if ack.generation == 0 {
            self.watch_again(from);
            return;
        }
        let (before, after) = peer.view.follow(ack, &self.ledger);
        if let Some(sent) = sent
            && peer.view.generation == ack.generation
        {
            let base = sent.at;
            #[cfg(feature = "faults")]
            let base = if self.settings.fault == Some(crate::Fault::LeaseFromReceipt) { now } else { base };
            peer.view.valid = peer.view.valid.max(Some(base + lease(sent.span)));
            peer.watch_known = peer.watch_known.max(sent.watch);
        }
        for address in self.ledger.asked_between(before, after) {
            self.try_take(now, address, out);
        }
        for &address in &ack.granted {
            self.try_take(now, address, out);
        }
        for &(address, holder) in &ack.refused {
            self.refused(now, address, holder, out);
        }
        self.watch_again(from);
    }
}
