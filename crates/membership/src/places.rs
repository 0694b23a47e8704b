//! Which addresses this node should ask for, keep, or hand over.

use std::net::IpAddr;
use std::time::Duration;

use l2::Instant;

use crate::id::NodeId;
use crate::io::{Cause, Output};
use crate::ledger::State;
use crate::machine::Machine;
use crate::packet::LinkId;
use crate::profile::GUARD;

/// How much later each node after the first asks for an address that nobody holds: the first may see things
/// differently and never ask.
const DEFERENCE: Duration = Duration::from_secs(1);
/// After how long the second in order asks whether what it was told of a holder is still so, where not everybody is
/// told of everything; the third waits eight times as long, and so on.
const DOUBT: Duration = Duration::from_secs(60);
/// How long a node that may not hold an address any more waits to be asked for it: longer than the others' views lag.
const GRACE: Duration = Duration::from_secs(6);
/// The same for a node that is being drained, which the others hear from itself.
const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// In how many intervals a wish that is not granted is withdrawn, and one that was withdrawn looked at again.
const PATIENCE: u32 = 4;

/// An address as this node sees it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Place {
    pub(crate) order: Vec<NodeId>,
    pub(crate) links: Vec<LinkId>,
    /// Who holds it, where others said so. In a small cluster this node's own promises tell.
    pub(crate) told: Option<NodeId>,
    /// Who held it last.
    pub(crate) former: Option<NodeId>,
    /// How often a wish was withdrawn in vain.
    pub(crate) withdrawn: u32,
    /// When it is let go of although nobody asked.
    pub(crate) leave: Option<Instant>,
    /// Until when those who go before this node may ask first.
    pub(crate) deference: Option<Instant>,
    /// When what was told of a holder is not believed any more.
    pub(crate) doubt: Option<Instant>,
    pub(crate) probing: bool,
}

impl Place {
    /// When this node lets go of it although nobody asked: where it hands everything over, or may not hold it.
    fn leaves(&self, me: NodeId, draining: bool, now: Instant) -> Option<Instant> {
        match (draining, self.order.contains(&me)) {
            (false, true) => None,
            (true, _) => Some(self.leave.map_or(now + DRAIN_GRACE, |at| at.min(now + DRAIN_GRACE))),
            (false, false) => self.leave.or(Some(now + GRACE)),
        }
    }
}

/// Where a node stands for an address: least is best; the second is the place in the order.
type Standing = (bool, usize);

impl Machine {
    /// The order for an address changed.
    pub(crate) fn place(
        &mut self,
        now: Instant,
        address: IpAddr,
        order: Vec<NodeId>,
        links: Vec<LinkId>,
        out: &mut Vec<Output>,
    ) {
        if order.is_empty() {
            self.places.remove(&address);
            if self.let_go(address) {
                self.release(now, address, Cause::Ineligible, out);
            }
            return;
        }
        let (me, draining) = (self.me(), self.draining);
        let place = self.places.entry(address).or_default();
        place.order = order;
        place.links = links;
        place.leave = place.leaves(me, draining, now);
        if let Some(leave) = place.leave {
            self.due.insert((leave, address));
        }
        self.due.insert((now, address));
    }

    /// This node is to hand everything over, or not any more.
    pub(crate) fn drain(&mut self, now: Instant, drain: bool, _out: &mut Vec<Output>) {
        if self.draining == drain {
            return;
        }
        self.draining = drain;
        self.drained = false;
        let me = self.me();
        for (&address, place) in &mut self.places {
            place.leave = place.leaves(me, drain, now);
            self.due.insert((place.leave.unwrap_or(now), address));
        }
        // What is wished for is not wished for any more.
        for address in self.ledger.asking() {
            if drain {
                self.let_go(address);
            }
        }
        // The others are told at once.
        self.next_tick = now;
        self.ticks &= !1;
    }

    /// Takes an address out of the list, and out of what voters say about it; whether it was held.
    pub(crate) fn let_go(&mut self, address: IpAddr) -> bool {
        for view in self.peers.values_mut().map(|peer| &mut peer.view).chain([&mut self.own]) {
            view.forget(address);
        }
        self.ledger.remove(address)
    }

    /// Every address is to be looked at again.
    pub(crate) fn look_again(&mut self, now: Instant) {
        self.due.extend(self.places.keys().map(|&address| (now, address)));
    }

    /// Where a node stands for an address, as far as this node knows; `None` where it is out of the question.
    fn standing(&self, node: NodeId, place: &Place, now: Instant) -> Option<Standing> {
        let position = place.order.iter().position(|&other| other == node)?;
        if node == self.me() {
            let sick = place.links.iter().any(|link| self.links.get(link) == Some(&false));
            return (!self.draining).then_some((sick, position));
        }
        let Some(peer) = self.peers.get(&node) else {
            // Never heard: it may be one of those that others watch.
            return (self.large() || now < self.started + GUARD).then_some((false, position));
        };
        let silent = peer.beat.is_none() && !self.large() && now >= peer.expected.max(self.started) + GUARD;
        if peer.down || peer.flags.draining || silent {
            return None;
        }
        // Of two on a LAN that do not hear each other nobody knows whose fault it is: only a third can tell.
        let sick =
            |link: &&LinkId| peer.links.contains(&(**link, false)) && self.hears_others(**link, node, now);
        Some((place.links.iter().any(|link| sick(&link)), position))
    }

    /// Whether `node` goes before this one for the address.
    pub(crate) fn precedes(&self, node: NodeId, address: IpAddr, now: Instant) -> bool {
        let Some(place) = self.places.get(&address) else { return true };
        let Some(theirs) = self.standing(node, place, now) else { return false };
        self.standing(self.me(), place, now).is_none_or(|mine| theirs < mine)
    }

    /// How many go before this node; `None` where it is out of the question itself.
    fn rank(&self, place: &Place, now: Instant) -> Option<u32> {
        let mine = self.standing(self.me(), place, now)?;
        let before = place.order.iter().filter(|&&node| node != self.me());
        let count = before.filter(|&&node| self.standing(node, place, now).is_some_and(|s| s < mine)).count();
        u32::try_from(count).ok()
    }

    /// Who else holds the address, as far as this node knows.
    pub(crate) fn other_holder(&self, address: IpAddr) -> Option<NodeId> {
        let supported = self.voter.supported(address).map(|life| life.node).filter(|&node| node != self.me());
        supported.or_else(|| {
            let told = self.places.get(&address).and_then(|place| place.told);
            told.filter(|node| self.large() && !self.peers.get(node).is_some_and(|peer| peer.down))
        })
    }

    /// Looks at the addresses whose time has come.
    pub(crate) fn look(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(&(at, address)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.look_at(now, address, out);
        }
    }

    fn look_at(&mut self, now: Instant, address: IpAddr, out: &mut Vec<Output>) {
        let Some(place) = self.places.get(&address) else { return };
        let patience = self.interval() * PATIENCE;
        let rank = self.rank(place, now);
        match self.ledger.get(address).map(|entry| entry.state) {
            Some(State::Held) => {
                let leave = place.leave.is_some_and(|at| at <= now);
                if leave && self.let_go(address) {
                    self.release(now, address, Cause::Ineligible, out);
                }
            }
            Some(State::Asking(since)) => {
                if rank.is_none() {
                    self.let_go(address);
                } else if now.saturating_since(since) >= patience {
                    self.withdraw(now, address);
                } else {
                    self.due.insert((since + patience, address));
                }
            }
            None => {
                let Some(rank) = rank else { return };
                if self.is_alone(now) {
                    self.probe(address, rank, out);
                } else if self.ready {
                    self.consider(now, address, rank);
                }
            }
        }
    }

    /// Asks for an address, or decides when to.
    fn consider(&mut self, now: Instant, address: IpAddr, rank: u32) {
        let holder = self.other_holder(address);
        let large = self.large();
        let Some(place) = self.places.get_mut(&address) else { return };
        match holder {
            // Somebody better should see to it. Where this node is not told of every change, it looks again.
            Some(_) if rank > 0 => {
                place.deference = None;
                match place.doubt {
                    Some(doubt) if now >= doubt => {
                        place.doubt = None;
                        place.told = None;
                        self.due.insert((now, address));
                    }
                    None if large => {
                        let spread = Duration::from_millis(self.draw(60_000));
                        let doubt = now + DOUBT * (1 << (3 * rank.min(4))) / 8 + spread;
                        self.due.insert((doubt, address));
                        if let Some(place) = self.places.get_mut(&address) {
                            place.doubt = Some(doubt);
                        }
                    }
                    _ => {}
                }
            }
            None if rank > 0 => {
                let until = *place.deference.get_or_insert(now + DEFERENCE * rank);
                if until > now {
                    self.due.insert((until, address));
                } else {
                    self.ask(now, address);
                }
            }
            _ => {
                place.former = holder.or(place.former);
                self.ask(now, address);
            }
        }
    }

    fn ask(&mut self, now: Instant, address: IpAddr) {
        if let Some(place) = self.places.get_mut(&address) {
            place.deference = None;
        }
        self.ledger.ask(address, now);
        #[cfg(feature = "faults")]
        if self.faulty(crate::Fault::ClaimsUnasked) {
            self.ledger.establish(address);
        }
        self.due.insert((now + self.interval() * PATIENCE, address));
    }

    /// Gives up a wish for now.
    fn withdraw(&mut self, now: Instant, address: IpAddr) {
        self.let_go(address);
        let Some(place) = self.places.get_mut(&address) else { return };
        place.withdrawn = (place.withdrawn + 1).min(6);
        place.told = None;
        let spread = 1 << place.withdrawn;
        let pause = 1 + u32::try_from(self.draw(spread)).unwrap_or(0);
        self.due.insert((now + self.interval() * pause, address));
    }

    /// A voter supports somebody else for an address that this node wants.
    pub(crate) fn refused(&mut self, now: Instant, address: IpAddr, holder: NodeId, out: &mut Vec<Output>) {
        if holder == self.me() {
            // A former life of this node: its lease has to run out.
            return;
        }
        let Some(entry) = self.ledger.get(address) else { return };
        if let Some(place) = self.places.get_mut(&address) {
            place.told = Some(holder);
            place.former = Some(holder);
        }
        let behind = self.precedes(holder, address, now);
        match entry.state {
            State::Held if now < self.lease => {}
            State::Held if self.alone.contains(&address) && !behind => {}
            State::Held => {
                if behind {
                    self.let_go(address);
                } else {
                    // A new wish: what was granted to the former one counts no more.
                    self.let_go(address);
                    self.ledger.ask(address, now);
                    self.due.insert((now + self.interval() * PATIENCE, address));
                }
                self.release(now, address, Cause::Overtaken(holder), out);
            }
            State::Asking(_) if behind => {
                self.let_go(address);
                self.due.insert((now + self.interval() * PATIENCE, address));
            }
            State::Asking(_) => {
                if self.large() && !self.chain.votes(holder) && self.asked.insert(holder) {
                    self.retarget();
                }
            }
        }
    }

    /// Another node wants what this one holds: yields, where that one goes before this one.
    pub(crate) fn asked_for(&mut self, now: Instant, address: IpAddr, by: NodeId, out: &mut Vec<Output>) {
        if by == self.me() || !self.ledger.is_held(address) || !self.precedes(by, address, now) {
            return;
        }
        self.let_go(address);
        if let Some(place) = self.places.get_mut(&address) {
            place.told = Some(by);
        }
        #[cfg(feature = "faults")]
        if self.faulty(crate::Fault::YieldsLate) {
            self.lingering.insert(address);
        }
        self.release(now, address, Cause::Asked(by), out);
    }

    /// Counts an address as held: voters that refuse it do not count any more.
    pub(crate) fn establish(&mut self, address: IpAddr) {
        self.ledger.establish(address);
        for view in self.peers.values_mut().map(|peer| &mut peer.view).chain([&mut self.own]) {
            if view.refused.contains_key(&address) {
                view.against.insert(address);
            }
        }
    }

    /// Why this node comes to hold the address.
    fn cause(&self, now: Instant, address: IpAddr) -> Cause {
        let place = self.places.get(&address);
        let Some((place, former)) = place.and_then(|place| Some((place, place.former?))) else {
            return Cause::Unheld;
        };
        let peer = self.peers.get(&former);
        if peer.is_some_and(|peer| peer.down) {
            return Cause::HolderDown(former);
        }
        if peer.is_some_and(|peer| peer.flags.draining) {
            return Cause::Drained(former);
        }
        match self.standing(former, place, now) {
            None | Some((true, _)) => Cause::Unfit(former),
            Some((false, _)) => Cause::Yielded(former),
        }
    }

    /// The majorities agreed: the address is this node's.
    pub(crate) fn take(&mut self, now: Instant, address: IpAddr, out: &mut Vec<Output>) {
        self.establish(address);
        self.newly_held.push(address);
        let cause = self.cause(now, address);
        if let Some(place) = self.places.get_mut(&address) {
            place.withdrawn = 0;
            place.told = None;
            place.former = None;
        }
        out.push(Output::Take { address, cause });
        // It may have become another's business meanwhile.
        self.due.insert((now, address));
    }
}
