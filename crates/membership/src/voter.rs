//! What this node has promised to others: for each address it stands by one holder at most.
//!
//! This is the half of the protocol that makes a lease exclusive. A voter supports a life's wish for an address from
//! when it grants it until that life releases it, or has not been acknowledged for three of its intervals.
//! Two holders would need two majorities; the voter in both would have had to support both.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use l2::Instant;

use crate::id::{Life, NodeId};
#[cfg(feature = "faults")]
use crate::machine::always;
use crate::packet::Sync;
use crate::profile::support;

/// What a voter answers to a part of somebody's list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) generation: u64,
    pub(crate) version: u64,
    /// Addresses that others are supported for.
    pub(crate) refused: Vec<(IpAddr, Life)>,
    pub(crate) granted: Vec<IpAddr>,
}

/// What has changed for somebody else: to be told, and acted on.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Waiting claims that are granted now: the address, for whom.
    pub(crate) granted: Vec<(IpAddr, Life)>,
    /// Addresses that nobody is supported for any more.
    pub(crate) freed: Vec<IpAddr>,
    /// Addresses that those were supported for who are not heard any more.
    pub(crate) orphaned: Vec<(IpAddr, NodeId)>,
}

#[derive(Clone, Debug, Hash)]
struct Claimant {
    generation: u64,
    /// The generation that its sender went by when this one began: such heartbeats are still on their way.
    replaced: u64,
    version: u64,
    /// What it wants, with the generation in which it said so.
    wants: BTreeMap<IpAddr, u64>,
    /// Until when it is supported; `None` for this node itself, which forgets its wishes with its life.
    until: Option<Instant>,
    /// Wishes of earlier generations end then.
    stale: Option<Instant>,
}

/// The promises.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Voter {
    claimants: BTreeMap<Life, Claimant>,
    supported: BTreeMap<IpAddr, Life>,
    /// Who else wants an address, in order of arrival.
    waiting: BTreeMap<IpAddr, Vec<Life>>,
    generations: u64,
    #[cfg(feature = "faults")]
    fault: Option<crate::Fault>,
}

impl Voter {
    #[cfg(feature = "faults")]
    pub(crate) fn plant(&mut self, fault: Option<crate::Fault>) {
        self.fault = fault;
    }

    /// Who is supported for the address.
    pub(crate) fn supported(&self, address: IpAddr) -> Option<Life> {
        self.supported.get(&address).copied()
    }

    /// When a promise runs out next.
    pub(crate) fn next_lapse(&self) -> Option<Instant> {
        self.claimants.values().flat_map(|c| [c.until, c.stale]).flatten().min()
    }

    /// Takes a heartbeat with a part of its sender's list and renews the support for it. `span` is the time
    /// between its heartbeats; `None`: the list is this node's own.
    pub(crate) fn hear(
        &mut self,
        life: Life,
        now: Instant,
        span: Option<Duration>,
        sync: &Sync,
        effects: &mut Effects,
    ) -> Verdict {
        let until = span.map(|span| now + support(span));
        #[cfg(feature = "faults")]
        let until = if self.fault == Some(crate::Fault::SupportTooShort) {
            span.map(|span| now + span)
        } else {
            until
        };
        let claimant = self.claimants.entry(life).or_insert_with(|| Claimant {
            generation: 0,
            replaced: 0,
            version: 0,
            wants: BTreeMap::new(),
            until,
            stale: None,
        });
        let fresh = claimant.generation == 0;
        // An earlier generation of this memory is still on its way, and so may be what this one replaced.
        let elsewhere = sync.generation > claimant.generation && sync.generation != claimant.replaced;
        if fresh || elsewhere || sync.base > claimant.version {
            // What the sender knows of this memory is not so: it is to start again from nothing. What is supported of
            // it stays so until the leases that it may have on the strength of that are over.
            self.generations += 1;
            claimant.generation = self.generations;
            claimant.replaced = sync.generation;
            claimant.version = 0;
            if !claimant.wants.is_empty() {
                claimant.stale = claimant.until.max(claimant.stale);
            }
        }
        claimant.until = until.max(claimant.until);
        let generation = claimant.generation;
        if sync.base > claimant.version || ![0, generation].contains(&sync.generation) {
            return Verdict { generation, ..Verdict::default() };
        }
        // Heartbeats are taken in the order in which they were sent, so that these changes are at least as new as
        // all before them, also where they are told a second time because an answer was lost.
        claimant.version = claimant.version.max(sync.upto);
        let mut verdict = Verdict { generation, version: sync.upto, ..Verdict::default() };
        for change in &sync.changes {
            if change.wanted {
                self.want(life, change.address, &mut verdict);
            } else {
                self.release(life, change.address, effects);
            }
        }
        for &address in &sync.again {
            if self.claimants.get(&life).is_some_and(|c| c.wants.contains_key(&address)) {
                self.want(life, address, &mut verdict);
                if !verdict.refused.iter().any(|&(refused, _)| refused == address) {
                    verdict.granted.push(address);
                }
            }
        }
        verdict
    }

    fn want(&mut self, life: Life, address: IpAddr, verdict: &mut Verdict) {
        if let Some(claimant) = self.claimants.get_mut(&life) {
            claimant.wants.insert(address, claimant.generation);
        }
        let holder = *self.supported.entry(address).or_insert(life);
        if holder != life {
            let waiting = self.waiting.entry(address).or_default();
            if !waiting.contains(&life) {
                waiting.push(life);
            }
            verdict.refused.push((address, holder));
        }
    }

    fn release(&mut self, life: Life, address: IpAddr, effects: &mut Effects) {
        if let Some(claimant) = self.claimants.get_mut(&life) {
            claimant.wants.remove(&address);
        }
        if let Some(waiting) = self.waiting.get_mut(&address) {
            waiting.retain(|&other| other != life);
        }
        if self.supported.get(&address) == Some(&life) {
            self.supported.remove(&address);
            self.promote(address, effects);
        }
    }

    /// The address is free: whoever waited for it longest has it.
    fn promote(&mut self, address: IpAddr, effects: &mut Effects) {
        let next = self.waiting.get_mut(&address).filter(|w| !w.is_empty()).map(|w| w.remove(0));
        if self.waiting.get(&address).is_some_and(Vec::is_empty) {
            self.waiting.remove(&address);
        }
        match next {
            Some(life) => {
                self.supported.insert(address, life);
                effects.granted.push((address, life));
            }
            None => effects.freed.push(address),
        }
    }

    /// Ends the support whose time is over. Returns the lives that this concerns.
    pub(crate) fn lapse(&mut self, now: Instant, effects: &mut Effects) -> Vec<Life> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut gone = Vec::new();
        // In order of their ends, and all of them leave the queues before any address is passed on.
        let ended: Vec<Life> = self.claimants.iter().filter(|(_, c)| due(c.until)).map(|(l, _)| *l).collect();
        for life in ended {
            gone.push(life);
            #[cfg(feature = "faults")]
            let former = self.claimants.get(&life).cloned();
            self.drop_claimant(life, effects);
            #[cfg(feature = "faults")]
            if self.fault == Some(crate::Fault::GrantsTwice)
                && let Some(former) = former
            {
                self.claimants.insert(life, Claimant { until: Some(always()), ..former });
            }
        }
        let stale: Vec<Life> = self.claimants.iter().filter(|(_, c)| due(c.stale)).map(|(l, _)| *l).collect();
        for life in stale {
            let Some(claimant) = self.claimants.get_mut(&life) else { continue };
            claimant.stale = None;
            let current = claimant.generation;
            let old: Vec<IpAddr> =
                claimant.wants.iter().filter(|&(_, g)| *g != current).map(|(a, _)| *a).collect();
            for address in old {
                self.release(life, address, effects);
            }
        }
        gone
    }

    /// Ends the support for a life at once: its voters' majority proved that it holds nothing.
    pub(crate) fn drop_claimant(&mut self, life: Life, effects: &mut Effects) {
        let Some(claimant) = self.claimants.remove(&life) else { return };
        for &address in claimant.wants.keys() {
            if self.supported.get(&address) == Some(&life) {
                effects.orphaned.push((address, life.node));
            }
            self.release(life, address, effects);
        }
    }

    /// The generation and version that this node has of a life's list.
    pub(crate) fn position(&self, life: Life) -> (u64, u64) {
        self.claimants.get(&life).map_or((0, 0), |c| (c.generation, c.version))
    }
}
