//! The machine: one node's part of the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use l2::Instant;
use net::MacAddr;

use crate::electorate::{Chain, Electorate};
use crate::id::{Life, NodeId, mix};
use crate::io::{Cause, Event, Input, Output, Settings};
use crate::ledger::{Ledger, View};
use crate::packet::{Body, Flags, LinkId, MAX_MACS, Packet};
use crate::peer::{Peer, Sent};
use crate::places::Place;
use crate::profile::{GUARD, Profile};
use crate::voter::Voter;

/// One node's part of the protocol. See [`crate`] for the whole.
#[derive(Clone, Debug, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts, not a state in disguise")]
pub struct Machine {
    pub(crate) settings: Settings,
    pub(crate) started: Instant,
    pub(crate) profile: Profile,
    random: u64,
    // Who there is.
    pub(crate) speakers: BTreeSet<NodeId>,
    pub(crate) view: Option<Electorate>,
    /// Whom heartbeats go to.
    pub(crate) targets: BTreeSet<NodeId>,
    /// Whose heartbeats come in.
    pub(crate) contacts: BTreeSet<NodeId>,
    /// Who should watch this node, in a large cluster.
    pub(crate) watchers: Vec<NodeId>,
    /// Holders that this node asks to yield, beyond those that are targets anyway.
    pub(crate) asked: BTreeSet<NodeId>,
    pub(crate) chain: Chain,
    pub(crate) agreed_since: Option<Instant>,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    // Who may hold what.
    pub(crate) voter: Voter,
    pub(crate) ledger: Ledger,
    /// This node's voice as one of its own voters.
    pub(crate) own: View,
    pub(crate) places: BTreeMap<IpAddr, Place>,
    pub(crate) due: BTreeSet<(Instant, IpAddr)>,
    /// Held addresses that may be answered for without a majority.
    pub(crate) alone: BTreeSet<IpAddr>,
    pub(crate) alone_since: Option<Instant>,
    pub(crate) lease: Instant,
    pub(crate) leased: bool,
    pub(crate) ready: bool,
    pub(crate) draining: bool,
    pub(crate) last_release: Option<Instant>,
    pub(crate) drained: bool,
    /// What has been taken since the last heartbeat, to be told to those who get none.
    pub(crate) newly_held: Vec<IpAddr>,
    // Who watches this node, in a large cluster: the latest last, and those that a voter may still go by.
    pub(crate) watches: Vec<(u32, Vec<Life>)>,
    pub(crate) tallies: BTreeMap<(Life, u32), BTreeSet<Life>>,
    // Interfaces.
    pub(crate) links: BTreeMap<LinkId, bool>,
    /// Those of them that are not up any more.
    pub(crate) down_links: BTreeSet<LinkId>,
    /// The hardware addresses of this node's interfaces.
    pub(crate) macs: Vec<MacAddr>,
    // Time.
    pub(crate) next_tick: Instant,
    pub(crate) ticks: u64,
    pub(crate) late: u32,
    pub(crate) late_at: Option<Instant>,
    /// Since when this node has run without standing still for an interval.
    pub(crate) awake: Instant,
    restarts: u64,
    #[cfg(feature = "faults")]
    pub(crate) lingering: BTreeSet<IpAddr>,
}

/// The lease that a node has of itself: it never runs out.
pub(crate) fn always() -> Instant {
    Instant::from_origin(Duration::MAX)
}

impl Machine {
    /// The machine of a node that starts now.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let random = mix(settings.seed ^ settings.incarnation.0);
        let chain = Chain::new(settings.remembered.clone());
        let interval = settings.profile.interval();
        // Nodes that start together do not tick together.
        let phase =
            Duration::from_micros(random % 1_000 * u64::try_from(interval.as_millis()).unwrap_or(100));
        let mut machine = Self {
            profile: settings.profile,
            settings,
            started: now,
            random,
            speakers: BTreeSet::new(),
            view: None,
            targets: BTreeSet::new(),
            contacts: BTreeSet::new(),
            watchers: Vec::new(),
            asked: BTreeSet::new(),
            chain,
            agreed_since: None,
            peers: BTreeMap::new(),
            voter: Voter::default(),
            ledger: Ledger::default(),
            own: View::default(),
            places: BTreeMap::new(),
            due: BTreeSet::new(),
            alone: BTreeSet::new(),
            alone_since: None,
            lease: Instant::default(),
            leased: false,
            ready: false,
            draining: false,
            last_release: None,
            drained: false,
            newly_held: Vec::new(),
            watches: Vec::new(),
            tallies: BTreeMap::new(),
            links: BTreeMap::new(),
            down_links: BTreeSet::new(),
            macs: Vec::new(),
            next_tick: now + phase,
            ticks: 0,
            late: 0,
            late_at: None,
            awake: now,
            restarts: 0,
            #[cfg(feature = "faults")]
            lingering: BTreeSet::new(),
        };
        // Those who are remembered are there although the API may not say so yet.
        machine.retarget();
        machine
    }

    /// Whether this node may send an answer or announcement for the address at this very moment. To be asked right
    /// before each frame: O(log n), nothing is changed.
    pub fn may_answer(&self, address: IpAddr, now: Instant) -> bool {
        #[cfg(feature = "faults")]
        if self.lingering.contains(&address) {
            return true;
        }
        self.ledger.is_held(address) && (now < self.lease || self.alone.contains(&address))
    }

    /// The addresses that this node holds, though its lease may have run out.
    pub fn held(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ledger.held()
    }

    /// Who holds the address, as far as this node knows.
    pub fn holder(&self, address: IpAddr) -> Option<NodeId> {
        if self.ledger.is_held(address) { Some(self.settings.node) } else { self.other_holder(address) }
    }

    /// The profile in use: a slower one than configured where this node's timers are late.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The electorates that this node goes by, the one in force first.
    pub fn electorates(&self) -> &[Electorate] {
        self.chain.epochs()
    }

    /// Takes a packet that others wait behind. Timers are not run: after a pause of this node the silence of the others is not
    /// theirs, as long as what they said meanwhile has not been read. The last one goes to [`Self::handle`].
    pub fn handle_next(&mut self, now: Instant, link: LinkId, packet: Packet, out: &mut Vec<Output>) {
        self.receive(now, link, packet, out);
        self.settle(now, out);
    }

    /// Takes an input. Never fails; what is to be done is appended to `out`.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        #[cfg(feature = "faults")]
        self.voter.plant(self.settings.fault);
        match input {
            Input::Packet { link, packet } => self.receive(now, link, packet, out),
            Input::Speakers { revision, nodes } => self.view(now, revision, &nodes, out),
            Input::Address { address, order, links } => self.place(now, address, order, links, out),
            Input::Links(links) => self.links_up(now, &links, out),
            Input::Macs(macs) => {
                self.macs.clear();
                for mac in macs {
                    if self.macs.len() < MAX_MACS && !self.macs.contains(&mac) {
                        self.macs.push(mac);
                    }
                }
            }
            Input::Claimed { address, by } => self.claimed(now, address, by, out),
            Input::Drain(drain) => self.drain(now, drain, out),
            Input::Probed { address, answered } => self.probed(now, address, answered, out),
            Input::Timeout => {}
        }
        self.run_timers(now, out);
        self.settle(now, out);
    }

    /// When to call next with [`Input::Timeout`], at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        let lapse = (self.leased && self.lease < always()).then_some(self.lease);
        let silence = self.contacts.iter().filter_map(|node| self.peers.get(node)).filter_map(Self::silence);
        [Some(self.next_tick), due, lapse, self.voter.next_lapse()].into_iter().flatten().chain(silence).min()
    }

    /// When a peer that is heard counts as down, where nothing more comes.
    pub(crate) fn silence(peer: &Peer) -> Option<Instant> {
        let (at, interval) = peer.beat.filter(|_| peer.watched && !peer.down)?;
        Some(at + interval * 3)
    }

    pub(crate) fn me(&self) -> NodeId {
        self.settings.node
    }

    pub(crate) fn life(&self) -> Life {
        Life { node: self.settings.node, incarnation: self.settings.incarnation }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.profile.interval()
    }

    /// A number below `below`.
    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.random = mix(self.random);
        self.random % below.max(1)
    }

    pub(crate) fn restart_token(&mut self) -> u64 {
        self.restarts += 1;
        self.restarts
    }

    /// Whether this life may not vote yet: something that a former one promised can still be in force.
    pub(crate) fn guarded(&self, now: Instant) -> bool {
        #[cfg(feature = "faults")]
        if self.settings.fault == Some(crate::Fault::RestartForgets) {
            return false;
        }
        now < self.started + self.guard()
    }

    /// Whether this life has not heard the others for long enough to take anything over, or to watch anybody.
    pub(crate) fn just_started(&self, now: Instant) -> bool {
        #[cfg(feature = "faults")]
        if self.settings.fault == Some(crate::Fault::RestartForgets) {
            return false;
        }
        now < self.started + GUARD
    }

    /// How long a lease can last that somebody in this cluster has.
    pub(crate) fn guard(&self) -> Duration {
        GUARD.max(crate::profile::support(self.renewal()))
    }

    #[cfg(feature = "faults")]
    pub(crate) fn faulty(&self, fault: crate::Fault) -> bool {
        self.settings.fault == Some(fault)
    }

    /// Appends a packet to `to`.
    pub(crate) fn send(&mut self, now: Instant, link: LinkId, to: NodeId, body: Body, out: &mut Vec<Output>) {
        let founding = self.chain.is_empty();
        let chain = match (&self.view, founding, link) {
            (_, _, LinkId(1..)) => Vec::new(),
            (Some(view), true, _) => vec![view.clone()],
            (_, _, _) => self.chain.epochs().to_vec(),
        };
        let flags = Flags { draining: self.draining, founding };
        let (from, watch) = (self.life(), self.watches.last().map_or(0, |(epoch, _)| *epoch));
        let interval = self.interval();
        let peer = self.peers.entry(to).or_default();
        let sequence = peer.number();
        let span = match &body {
            Body::Beat(beat) => Duration::from_millis(beat.span.into()),
            _ => Duration::ZERO,
        };
        peer.note(Sent { sequence, at: now, span, interval, watch, link });
        let packet = Packet { from, sequence, to, link, echo: peer.echo(), flags, chain, body };
        out.push(Output::Send { link, packet });
    }

    pub(crate) fn release(&mut self, now: Instant, address: IpAddr, cause: Cause, out: &mut Vec<Output>) {
        let to = match cause {
            Cause::Asked(node) | Cause::Overtaken(node) => Some(node),
            _ => None,
        };
        self.alone.remove(&address);
        self.last_release = Some(now);
        out.push(Output::Release { address, cause, to });
    }

    /// What follows from what has changed, at the end of every input.
    fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.self_vote(now, out);
        self.renew_lease(now, out);
        self.self_vote(now, out);
        if self.draining && !self.drained {
            let quiet = self.last_release.is_none_or(|at| now >= at + LINGER);
            if self.ledger.held_count() == 0 && quiet {
                self.drained = true;
                out.push(Output::Event(Event::Drained));
            }
        }
        self.flush(now, out);
    }
}

/// From a release to the end of the second announcement of the successor: unsolicited neighbour advertisements
/// are 1.1 s apart.
const LINGER: Duration = Duration::from_millis(1_300);
