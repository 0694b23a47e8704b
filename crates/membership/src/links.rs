//! Interfaces: an address that is announced on one needs a node that is heard there.
//!
//! Who holds an address is agreed on the node network alone. On every other interface nodes only find out whether
//! they are heard: a node that is not, by a majority of those who say that they are up there and of itself,
//! lets those take over who are. A dead NIC or VLAN with carrier is found so.

use l2::Instant;

use crate::id::NodeId;
use crate::io::{Event, Output};
use crate::machine::Machine;
use crate::packet::{Beat, Body, LinkId, MAX_LINKS};

impl Machine {
    /// These interfaces are up. One that was and is not any more has lost its lease at once; one that never was
    /// counts for nothing.
    pub(crate) fn links_up(&mut self, now: Instant, links: &[LinkId], out: &mut Vec<Output>) {
        let up: Vec<LinkId> = links.iter().copied().filter(|link| *link != LinkId::default()).collect();
        let mut changed = false;
        for (&link, leased) in &mut self.links {
            if !up.contains(&link) && std::mem::take(leased) {
                out.push(Output::Event(Event::Link(link, false)));
                changed = true;
            }
        }
        for link in up {
            if self.down_links.remove(&link) || self.links.len() < MAX_LINKS {
                // A new one counts as heard until it had the time to be.
                self.links.entry(link).or_insert(true);
            }
        }
        let known = self.links.keys().copied();
        self.down_links = known.filter(|link| !links.contains(link)).collect();
        if changed {
            self.look_again(now);
            // The others are told at once.
            self.next_tick = now;
            self.ticks &= !1;
        }
    }

    /// The interfaces that are up.
    fn live_links(&self) -> Vec<LinkId> {
        self.links.keys().copied().filter(|link| !self.down_links.contains(link)).collect()
    }

    /// Sends heartbeats on every interface to those who say that they are there.
    pub(crate) fn beat_links(&mut self, now: Instant, out: &mut Vec<Output>) {
        let interval = u16::try_from(self.interval().as_millis()).unwrap_or(u16::MAX);
        for link in self.live_links() {
            for node in self.others_on(link) {
                let beat = Beat { interval, span: interval.into(), ..Beat::default() };
                self.send(now, link, node, Body::Beat(beat), out);
            }
        }
    }

    /// Whether a node other than that one answers on the interface.
    pub(crate) fn hears_others(&self, link: LinkId, than: NodeId, now: Instant) -> bool {
        let mut others = self.peers.iter().filter(|(node, _)| **node != than);
        others.any(|(_, peer)| peer.link_valid.iter().any(|(other, at)| *other == link && now < *at))
    }

    /// The peers that are up on the interface by their own account.
    fn others_on(&self, link: LinkId) -> Vec<NodeId> {
        let there = |node: &&NodeId| {
            let peer = self.peers.get(node).filter(|peer| !peer.down && peer.watched);
            peer.is_some_and(|peer| peer.links.iter().any(|(other, _)| *other == link))
        };
        self.targets.iter().filter(there).copied().collect()
    }

    /// Whether a peer that is there has had the time to answer: neither it nor this node has just come (back).
    fn could_answer(&self, node: NodeId, now: Instant) -> bool {
        let risen = self.peers.get(&node).and_then(|peer| peer.risen);
        risen.is_some_and(|risen| now >= risen.max(self.awake) + self.interval() * 3)
    }

    /// Looks which interfaces have their lease.
    pub(crate) fn lease_links(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut changed = false;
        for link in self.live_links() {
            let mut others = self.others_on(link);
            others.retain(|&node| self.could_answer(node, now));
            let answered = |node: &&NodeId| {
                let valid = self.peers.get(node).map(|peer| peer.link_valid.as_slice()).unwrap_or_default();
                valid.iter().any(|(other, at)| *other == link && now < *at)
            };
            let heard = others.iter().filter(answered).count();
            let leased = 2 * (heard + 1) > others.len() + 1;
            // Where there was no time to be heard nothing is lost yet.
            let settled = now >= self.started + crate::profile::GUARD;
            if settled && self.links.insert(link, leased) != Some(leased) {
                out.push(Output::Event(Event::Link(link, leased)));
                changed = true;
            }
        }
        if changed {
            self.look_again(now);
        }
    }
}
