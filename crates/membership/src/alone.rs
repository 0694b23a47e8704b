//! Without a majority: two-node clusters, and those told to go on (`onQuorumLoss: Announce`).
//!
//! Two nodes can have no majority that survives one of them. So the holder goes on, and the other one asks the LAN
//! twice whether anybody answers for the address before it does. When both hear each other again the lower rank yields.

use std::net::IpAddr;

use l2::Instant;

use crate::id::NodeId;
use crate::io::{Cause, Output};
use crate::machine::Machine;
use crate::profile::OnQuorumLoss;

/// For how many intervals there is no majority before a node goes on without.
const PATIENCE: u32 = 3;

impl Machine {
    /// Whether this node may announce without a majority, when it comes to that.
    fn may_be_alone(&self, now: Instant) -> bool {
        let two = self.chain.epochs().iter().all(|epoch| epoch.voters.len() <= 2);
        let told = self.settings.on_quorum_loss == OnQuorumLoss::Announce;
        !self.chain.is_empty() && !self.guarded(now) && !self.draining && (two || told)
    }

    /// Whether there is no majority, for three intervals now, and the node goes on nevertheless.
    pub(crate) fn is_alone(&self, now: Instant) -> bool {
        self.alone_since.is_some_and(|since| now >= since + self.interval() * PATIENCE)
    }

    /// The lease ran out, or there is none.
    pub(crate) fn quorum_lost(&mut self, now: Instant) {
        if self.alone_since.is_some() || !self.may_be_alone(now) {
            return;
        }
        self.alone_since = Some(now);
        // What nobody answers for is to be asked for then.
        let then = now + self.interval() * PATIENCE;
        self.due.extend(self.places.keys().map(|&address| (then, address)));
        // A node that slept cannot know who answers by now.
        if self.leased && now < self.lease + self.interval() {
            self.alone.extend(self.ledger.held());
        }
    }

    /// There is a majority: what is held is held by it.
    pub(crate) fn quorum_found(&mut self, now: Instant) {
        self.alone_since = None;
        self.alone.clear();
        for place in self.places.values_mut() {
            place.probing = false;
        }
        self.look_again(now);
    }

    /// Asks the LAN about an address that is this node's turn.
    pub(crate) fn probe(&mut self, address: IpAddr, rank: u32, out: &mut Vec<Output>) {
        let Some(place) = self.places.get_mut(&address) else { return };
        if rank == 0 && !place.probing {
            place.probing = true;
            out.push(Output::Probe { address });
        }
    }

    /// A frame on the LAN shows that another speaker answers for the address, too. With a majority this node is right:
    /// what it sees was sent before, or by a machine that stood still. Without one both may go on, and the lower rank
    /// yields, though no heartbeat of the other one comes through.
    pub(crate) fn claimed(&mut self, now: Instant, address: IpAddr, by: NodeId, out: &mut Vec<Output>) {
        let Some(place) = self.places.get(&address) else { return };
        let position = |node| place.order.iter().position(|&other| other == node);
        let theirs = position(by);
        let behind = theirs.is_some() && position(self.me()).is_none_or(|mine| theirs < Some(mine));
        if by == self.me() || now < self.lease || !self.alone.contains(&address) || !behind {
            return;
        }
        self.let_go(address);
        self.release(now, address, Cause::Overtaken(by), out);
        self.due.insert((now + self.interval() * PATIENCE, address));
    }

    /// The LAN was asked.
    pub(crate) fn probed(&mut self, now: Instant, address: IpAddr, answered: bool, out: &mut Vec<Output>) {
        let Some(place) = self.places.get_mut(&address) else { return };
        if !std::mem::take(&mut place.probing) || !self.is_alone(now) || self.draining {
            return;
        }
        if answered {
            self.due.insert((now + self.interval() * 3, address));
            return;
        }
        self.ledger.ask(address, now);
        self.establish(address);
        self.alone.insert(address);
        out.push(Output::Take { address, cause: Cause::NoQuorum });
    }
}
