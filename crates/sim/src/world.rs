//! The world: nodes with clocks of their own, a network that loses and delays, an API that lags.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use l2::Instant;
use membership::packet::{self, HEADER, Header, LinkId, OLDEST_VERSION, Packet, VERSION};
use membership::{Cause, Electorate, Event, Fault, Input, Machine, NodeId, OnQuorumLoss, Output, Profile};

use crate::rng::Rng;

mod deeds;

/// True time, in microseconds since the beginning.
pub type Micros = u64;

/// A second.
pub const SECOND: Micros = 1_000_000;
/// What sealing adds to a packet, in bytes.
const TAG: usize = 16;
/// A millisecond.
pub const MILLI: Micros = 1_000;

/// How a world begins.
#[derive(Clone, Debug)]
pub struct Scene {
    /// How many speakers there are at first.
    pub nodes: usize,
    /// How many addresses.
    pub addresses: u16,
    /// How fast failures are found.
    pub profile: Profile,
    /// What nodes do without a majority.
    pub on_quorum_loss: OnQuorumLoss,
    /// How many packets of a million are lost.
    pub loss: u64,
    /// How long API views lag at most.
    pub lag: Micros,
    /// Who goes first for every address, where that is not left to hashing.
    pub preferred: Option<usize>,
    /// Whether nodes speak the latest two versions of the protocol, each life of one another than the life before: a
    /// rollout that never ends. Packets are bytes then.
    pub mixed: bool,
    /// The fault that every node has.
    pub fault: Option<Fault>,
    /// Where all chance comes from.
    pub seed: u64,
    /// Whether everything that happens is printed.
    pub trace: bool,
    /// Whether every packet is, too.
    pub packets: bool,
}

impl Scene {
    /// An ordinary cluster.
    pub fn new(seed: u64, nodes: usize, addresses: u16) -> Self {
        Self {
            nodes,
            addresses,
            profile: Profile::Default,
            on_quorum_loss: OnQuorumLoss::Silent,
            loss: 0,
            lag: 5 * SECOND,
            preferred: None,
            mixed: false,
            fault: None,
            seed,
            trace: false,
            packets: false,
        }
    }
}

/// What happens at some time.
#[derive(Clone, Debug)]
enum Happening {
    /// A node's timer, where it is still that one.
    Wake(usize, u64),
    /// Something reaches a node.
    Arrive(usize, Box<Input>),
    /// The LAN was asked for an address by a node.
    Probed(usize, IpAddr),
}

/// Something in the queue: in order of time, and of planning.
#[derive(Clone, Debug)]
struct Planned {
    at: Micros,
    order: u64,
    happening: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A change of what nobody holds or one holds, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// When.
    pub at: Micros,
    /// Who.
    pub node: usize,
    /// What.
    pub address: IpAddr,
    /// Whether it was taken, or released.
    pub taken: bool,
    /// Why.
    pub cause: Cause,
}

/// One speaker.
#[derive(Debug)]
pub struct Node {
    /// Its identifier.
    pub id: NodeId,
    /// The machine; `None` while it is dead.
    pub machine: Option<Machine>,
    /// What its clock adds in a thousand seconds of true time, in milliseconds: within 1%.
    drift: i64,
    offset: Micros,
    /// While it is paused, what arrives waits.
    paused: Option<Vec<Input>>,
    disk: Vec<Electorate>,
    wake: u64,
    lives: u64,
    /// When the latest view of the API reaches it.
    seen: Micros,
    /// How many packets it sent and received.
    pub packets: u64,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// How it began.
    pub scene: Scene,
    /// True time.
    pub now: Micros,
    /// Every speaker that ever was.
    pub nodes: Vec<Node>,
    /// All moves.
    pub moves: Vec<Move>,
    /// What must never be, once it was.
    pub violation: Option<String>,
    /// How often a node lost its majority.
    pub quorum_losses: usize,
    /// Whether two holders are a violation: they are not while two nodes go on without a majority.
    pub exclusive: bool,
    /// The bytes of the largest packet, as it would be sent, where that is measured.
    pub largest: Option<usize>,
    /// The nodes that said that they handed everything over.
    pub drained: BTreeSet<usize>,
    rng: Rng,
    queue: BinaryHeap<Reverse<Planned>>,
    next: u64,
    /// From whom to whom nothing gets through.
    cut: BTreeSet<(usize, usize)>,
    /// The LAN that addresses are announced on, where it is another than the node network.
    lan: Option<LinkId>,
    /// From whom to whom nothing gets through on that LAN.
    lan_cut: BTreeSet<(usize, usize)>,
    /// Those whose views are the last to change, where there are any.
    late_views: BTreeSet<usize>,
    extra_loss: u64,
    extra_delay: Micros,
    /// To whom everything takes so much longer.
    slow: Option<(usize, Micros)>,
    index: BTreeMap<NodeId, usize>,
    /// The speakers by the API.
    speakers: BTreeSet<usize>,
    revision: u64,
    /// Which nodes may hold an address.
    eligible: BTreeMap<IpAddr, Vec<usize>>,
}

impl World {
    /// A world whose nodes have all just started.
    pub fn new(scene: Scene) -> Self {
        let rng = Rng::new(scene.seed);
        let mut world = Self {
            now: 0,
            nodes: Vec::new(),
            moves: Vec::new(),
            violation: None,
            quorum_losses: 0,
            exclusive: true,
            largest: None,
            lan: None,
            lan_cut: BTreeSet::new(),
            drained: BTreeSet::new(),
            rng,
            queue: BinaryHeap::new(),
            next: 0,
            cut: BTreeSet::new(),
            late_views: BTreeSet::new(),
            extra_loss: 0,
            extra_delay: 0,
            slow: None,
            index: BTreeMap::new(),
            speakers: BTreeSet::new(),
            revision: 100,
            eligible: BTreeMap::new(),
            scene,
        };
        for _ in 0..world.scene.nodes {
            world.add_node();
        }
        world.speakers = (0..world.scene.nodes).collect();
        let all: Vec<usize> = (0..world.scene.nodes).collect();
        for number in 0..world.scene.addresses {
            let [high, low] = number.to_be_bytes();
            world.eligible.insert(IpAddr::V4(Ipv4Addr::new(192, 0, high, low)), all.clone());
        }
        for node in 0..world.scene.nodes {
            world.start(node, false);
        }
        world
    }

    fn add_node(&mut self) -> usize {
        let number = self.nodes.len();
        let id = NodeId::of(&format!("node{number}"));
        let drift = i64::try_from(self.rng.range(0, 20_000)).expect("small") - 10_000;
        self.nodes.push(Node {
            id,
            machine: None,
            drift,
            offset: self.rng.range(SECOND, 1_000 * SECOND),
            paused: None,
            disk: Vec::new(),
            wake: 0,
            lives: 0,
            seen: 0,
            packets: 0,
        });
        self.index.insert(id, number);
        number
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.eligible.keys().copied().collect()
    }

    /// Chance, for those who plan what happens.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn clock(&self, node: usize) -> Instant {
        let node = &self.nodes[node];
        let now = i64::try_from(self.now).expect("a simulation is short");
        let drifted = now + now / 1_000_000 * node.drift + now % 1_000_000 * node.drift / 1_000_000;
        Instant::from_origin(Duration::from_micros(node.offset + u64::try_from(drifted).unwrap_or(0)))
    }

    /// The true time at which a node's clock shows `at`, rounded up.
    fn true_time(&self, node: usize, at: Instant) -> Micros {
        let node = &self.nodes[node];
        let local = at.since_origin().as_micros();
        let local = i128::try_from(local).unwrap_or(i128::MAX / 4).saturating_sub(node.offset.into());
        let truly = local * 1_000_000 / i128::from(1_000_000 + node.drift) + 2;
        Micros::try_from(truly.max(0)).unwrap_or(Micros::MAX)
    }

    fn schedule(&mut self, at: Micros, happening: Happening) {
        self.next += 1;
        self.queue.push(Reverse(Planned { at: at.max(self.now), order: self.next, happening }));
    }

    /// Lets time pass until `end`, or until something happened that must not.
    pub fn run(&mut self, end: Micros) {
        while self.violation.is_none() {
            if self.queue.peek().is_none_or(|Reverse(next)| next.at > end) {
                break;
            }
            let Some(Reverse(planned)) = self.queue.pop() else { break };
            self.now = planned.at;
            match planned.happening {
                Happening::Wake(node, wake) if self.nodes[node].wake == wake => {
                    self.give(node, Input::Timeout);
                }
                Happening::Arrive(node, input) => self.give(node, *input),
                Happening::Probed(node, address) => {
                    let answered = (0..self.nodes.len()).any(|other| {
                        other != node
                            && !self.is_cut(self.lan.unwrap_or_default(), other, node)
                            && self.answers(other, address)
                            && self.runs(other)
                    });
                    self.give(node, Input::Probed { address, answered });
                }
                Happening::Wake(..) => {}
            }
        }
        self.now = self.now.max(end);
    }

    /// Gives a node an input; a paused one gets it later.
    fn give(&mut self, node: usize, input: Input) {
        if let Some(waiting) = &mut self.nodes[node].paused {
            if input != Input::Timeout {
                waiting.push(input);
            }
            return;
        }
        let clock = self.clock(node);
        let mut outputs = Vec::new();
        if matches!(input, Input::Packet { .. }) {
            self.nodes[node].packets += 1;
        }
        let Some(machine) = self.nodes[node].machine.as_mut() else { return };
        machine.handle(clock, input, &mut outputs);
        let timeout = machine.poll_timeout();
        for output in outputs {
            self.perform(node, output);
        }
        if let Some(at) = timeout {
            self.nodes[node].wake += 1;
            let wake = self.nodes[node].wake;
            let at = self.true_time(node, at);
            // A timer is a little late on every machine.
            let late = self.rng.range(0, 500);
            self.schedule(at.max(self.now + 1) + late, Happening::Wake(node, wake));
        }
        self.check(node);
    }

    fn perform(&mut self, node: usize, output: Output) {
        if self.scene.packets
            && let Output::Send { packet, .. } = &output
        {
            let to = self.index.get(&packet.to);
            println!("{:>10} node{node} -> {to:?} seq {} {:?}", self.now, packet.sequence, packet.body);
        }
        if self.scene.trace && !matches!(output, Output::Send { .. }) {
            println!("{:>10} node{node} {output:?}", self.now);
        }
        match output {
            Output::Send { link, packet } => self.transmit(node, link, packet),
            Output::Take { address, cause } => {
                self.moves.push(Move { at: self.now, node, address, taken: true, cause });
            }
            Output::Release { address, cause, .. } => {
                self.moves.push(Move { at: self.now, node, address, taken: false, cause });
            }
            Output::Probe { address } => {
                self.schedule(self.now + 100 * MILLI, Happening::Probed(node, address));
            }
            Output::Remember(chain) => self.nodes[node].disk = chain,
            Output::Event(Event::Drained) => {
                self.drained.insert(node);
            }
            Output::Event(Event::Quorum(false)) => self.quorum_losses += 1,
            Output::Macs { .. } | Output::Event(_) => {}
        }
    }

    fn transmit(&mut self, node: usize, link: LinkId, packet: Packet) {
        self.nodes[node].packets += 1;
        let Some(&to) = self.index.get(&packet.to) else { return };
        if let Some(largest) = &mut self.largest {
            let mut body = Vec::new();
            packet::write_body(VERSION, &packet, &mut body);
            *largest = (*largest).max(HEADER + body.len() + TAG);
        }
        let packet = if self.scene.mixed { self.across(node, to, &packet) } else { packet };
        if self.is_cut(link, node, to) || self.rng.chance(self.scene.loss + self.extra_loss) {
            return;
        }
        let mut delay = self.rng.range(100, 1_000);
        if self.rng.chance(10_000) {
            // Now and then a packet is overtaken by many.
            delay += self.rng.range(0, 30 * MILLI);
        }
        delay += self.rng.range(0, self.extra_delay + 1);
        if let Some((slow, time)) = self.slow
            && slow == to
        {
            delay += time;
        }
        if self.rng.chance(1_000) {
            self.schedule(
                self.now + delay + 50,
                Happening::Arrive(to, Box::new(Input::Packet { link, packet: packet.clone() })),
            );
        }
        self.schedule(self.now + delay, Happening::Arrive(to, Box::new(Input::Packet { link, packet })));
    }

    /// The version of the protocol that a node speaks in this life.
    pub fn version(&self, node: usize) -> u8 {
        let older = u64::try_from(node).unwrap_or(0) + self.nodes[node].lives;
        if self.scene.mixed && older.is_multiple_of(2) { OLDEST_VERSION } else { VERSION }
    }

    /// The packet as it is after its way from one node to another: each reads and writes the version that it speaks.
    fn across(&mut self, from: usize, to: usize, packet: &Packet) -> Packet {
        let (writes, reads) = (self.version(from), self.version(to));
        let mut bytes = Vec::new();
        packet::write_header(
            &Header { version: writes, from: packet.from, sequence: packet.sequence },
            &mut bytes,
        );
        packet::write_body(writes, packet, &mut bytes);
        let read =
            packet::parse_header(&bytes, reads).and_then(|(head, body)| packet::parse_body(&head, body));
        read.unwrap_or_else(|error| {
            self.violation = Some(format!("version {reads} does not understand version {writes}: {error}"));
            packet.clone()
        })
    }

    fn is_cut(&self, link: LinkId, from: usize, to: usize) -> bool {
        let cut = if link == LinkId::default() { &self.cut } else { &self.lan_cut };
        cut.contains(&(from, to))
    }

    /// Whether the node answers for the address at this moment.
    pub fn answers(&self, node: usize, address: IpAddr) -> bool {
        let clock = self.clock(node);
        self.nodes[node].machine.as_ref().is_some_and(|machine| machine.may_answer(address, clock))
    }

    /// Whether the node lives and is not paused.
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].machine.is_some() && self.nodes[node].paused.is_none()
    }

    /// Who answers for the address.
    pub fn holders(&self, address: IpAddr) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&node| self.answers(node, address)).collect()
    }

    /// Safety: rights only begin when a node does something, so it is enough to look at that node.
    fn check(&mut self, node: usize) {
        let Some(machine) = self.nodes[node].machine.as_ref().filter(|_| self.exclusive) else { return };
        let clock = self.clock(node);
        let held: Vec<IpAddr> = machine.held().filter(|&a| machine.may_answer(a, clock)).collect();
        for address in held {
            let other = (0..self.nodes.len()).find(|&other| other != node && self.answers(other, address));
            if let Some(other) = other {
                self.violation =
                    Some(format!("at {} us node{node} and node{other} both answer for {address}", self.now));
            }
        }
    }
}
