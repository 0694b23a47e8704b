//! Every history of three nodes with a crash, a pause and a partition, to a depth, on the shipped machine.
//!
//! Time goes in steps of 50 ms, half an interval. At the beginning of each step any of these may happen, each once in
//! a history: a node crashes (and later starts again, with its memory gone), a node pauses (and later resumes), the
//! network is cut (and later healed) in one of six ways: a node is isolated, or only not heard any more. All packets
//! of a step arrive in it, on even steps in the order of sending and on odd ones in the reverse of it. The
//! clocks run 1% slow, right and 1% fast. After every single input it is checked that no two nodes may answer.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use l2::Instant;
use membership::packet::Packet;
use membership::{Electorate, Fault, Incarnation, Input, Machine, NodeId, Output, Settings};

const STEP: u64 = 50;
const NODES: usize = 3;
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// What each clock shows after a thousand milliseconds.
const RATES: [u64; NODES] = [990, 1_000, 1_010];

/// One of the things that go wrong: which, and whether it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trouble {
    Possible,
    Present(usize),
    Past,
    /// It does not occur in this exploration.
    Never,
}

impl Trouble {
    /// What may be next: as it is, begun in each way, or ended.
    fn next(self, ways: usize) -> Vec<Self> {
        match self {
            Self::Possible => [Self::Possible].into_iter().chain((0..ways).map(Self::Present)).collect(),
            Self::Present(way) => vec![Self::Present(way), Self::Past],
            Self::Past | Self::Never => vec![self],
        }
    }
}

#[derive(Clone, Hash)]
struct State {
    step: u64,
    machines: [Option<Machine>; NODES],
    disks: [Vec<Electorate>; NODES],
    lives: u64,
    packets: VecDeque<Packet>,
    waiting: Vec<Packet>,
    crash: Trouble,
    pause: Trouble,
    cut: Trouble,
}

struct Explorer {
    fault: Option<Fault>,
    depth: u64,
    seen: BTreeSet<u64>,
    states: u64,
    failure: Option<String>,
}

fn id(node: usize) -> NodeId {
    NodeId(u64::try_from(node).expect("small") + 1)
}

fn clock(node: usize, step: u64) -> Instant {
    Instant::from_origin(Duration::from_micros(1_000_000 + step * STEP * RATES[node]))
}

/// Who prefers whom: the third node has another view of it.
fn order(node: usize) -> Vec<NodeId> {
    let order = if node == 2 { [2, 1, 0] } else { [0, 1, 2] };
    order.map(id).to_vec()
}

impl Explorer {
    fn new(depth: u64, fault: Option<Fault>) -> Self {
        Self { fault, depth, seen: BTreeSet::new(), states: 0, failure: None }
    }

    /// Three nodes, the cluster founded, the address held.
    fn beginning(&mut self, troubles: [Trouble; 3]) -> State {
        let [crash, pause, cut] = troubles;
        let mut state = State {
            step: 0,
            machines: [None, None, None],
            disks: Default::default(),
            lives: 0,
            packets: VecDeque::new(),
            waiting: Vec::new(),
            crash: Trouble::Never,
            pause: Trouble::Never,
            cut: Trouble::Never,
        };
        for node in 0..NODES {
            self.start(&mut state, node);
        }
        while state.step < 9_000 / STEP {
            self.advance(&mut state);
        }
        assert!(self.fault.is_some() || holders(&state).len() == 1, "{:?}", holders(&state));
        State { crash, pause, cut, ..state }
    }

    fn start(&mut self, state: &mut State, node: usize) {
        state.lives += 1;
        let settings = Settings {
            node: id(node),
            incarnation: Incarnation(state.lives),
            seed: state.lives,
            remembered: state.disks[node].clone(),
            fault: self.fault,
            ..Settings::default()
        };
        state.machines[node] = Some(Machine::new(settings, clock(node, state.step)));
        let nodes = (0..NODES).map(id).collect();
        self.give(state, node, Input::Speakers { revision: 1, nodes });
        self.give(state, node, Input::Address { address: ADDRESS, order: order(node), links: Vec::new() });
    }

    fn give(&mut self, state: &mut State, node: usize, input: Input) {
        let now = clock(node, state.step);
        let mut outputs = Vec::new();
        let Some(machine) = &mut state.machines[node] else { return };
        machine.handle(now, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Send { packet, .. } => state.packets.push_back(packet),
                Output::Remember(chain) => state.disks[node] = chain,
                _ => {}
            }
        }
        let holders = holders(state);
        if holders.len() > 1 && self.failure.is_none() {
            self.failure = Some(format!("nodes {holders:?} answer in step {}", state.step));
        }
    }

    fn advance(&mut self, state: &mut State) {
        state.step += 1;
        let paused = |state: &State, node: usize| state.pause == Trouble::Present(node);
        for node in 0..NODES {
            if !paused(state, node) {
                self.give(state, node, Input::Timeout);
            }
        }
        let mut rounds = 0;
        while let Some(packet) =
            if state.step.is_multiple_of(2) { state.packets.pop_front() } else { state.packets.pop_back() }
        {
            let from = (0..NODES).find(|&n| id(n) == packet.from.node).expect("three nodes");
            let to = (0..NODES).find(|&n| id(n) == packet.to).expect("three nodes");
            if is_cut(state.cut, from, to) {
                continue;
            }
            if paused(state, to) {
                state.waiting.push(packet);
                continue;
            }
            rounds += 1;
            assert!(rounds < 1_000, "packets answer packets without end");
            let link = packet.link;
            self.give(state, to, Input::Packet { link, packet });
        }
    }

    /// Everything that can follow from here.
    fn explore(&mut self, state: &State) {
        if self.failure.is_some() || state.step >= 9_000 / STEP + self.depth {
            return;
        }
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        for crash in state.crash.next(NODES) {
            for pause in state.pause.next(NODES) {
                for cut in state.cut.next(2 * NODES) {
                    let mut next = state.clone();
                    self.states += 1;
                    self.happen(&mut next, crash, pause, cut);
                    self.advance(&mut next);
                    self.explore(&next);
                }
            }
        }
    }

    fn happen(&mut self, state: &mut State, crash: Trouble, pause: Trouble, cut: Trouble) {
        let before = (state.crash, state.pause);
        (state.crash, state.pause, state.cut) = (crash, pause, cut);
        match (before.0, crash) {
            (Trouble::Possible, Trouble::Present(node)) => state.machines[node] = None,
            (Trouble::Present(node), Trouble::Past) => self.start(state, node),
            _ => {}
        }
        if before.1 != pause && pause == Trouble::Past {
            // What came meanwhile comes before the timers.
            let waiting = std::mem::take(&mut state.waiting);
            for packet in waiting {
                let to = (0..NODES).find(|&n| id(n) == packet.to).expect("three nodes");
                self.give(state, to, Input::Packet { link: packet.link, packet });
            }
        }
    }
}

fn holders(state: &State) -> Vec<usize> {
    let answers = |node: &usize| {
        let machine = state.machines[*node].as_ref();
        machine.is_some_and(|machine| machine.may_answer(ADDRESS, clock(*node, state.step)))
    };
    (0..NODES).filter(answers).collect()
}

fn is_cut(cut: Trouble, from: usize, to: usize) -> bool {
    match cut {
        Trouble::Present(way) if way < NODES => from == way || to == way,
        Trouble::Present(way) => from == way - NODES,
        _ => false,
    }
}

/// Explores with those troubles and returns how many states there were, and what was wrong.
fn explore(depth: u64, troubles: [bool; 3], fault: Option<Fault>) -> (u64, Option<String>) {
    let mut explorer = Explorer::new(depth, fault);
    let troubles = troubles.map(|with| if with { Trouble::Possible } else { Trouble::Never });
    let beginning = explorer.beginning(troubles);
    explorer.explore(&beginning);
    (explorer.states, explorer.failure)
}

#[test]
fn no_history_of_a_crash_a_pause_and_a_partition_has_two_holders() {
    let deeper = std::env::var("EXPLORE_DEEPER").map_or(0, |text| text.parse().expect("a number of steps"));
    let cases = [
        (5, [true, true, true]),
        (12, [true, true, false]),
        (12, [true, false, true]),
        (12, [false, true, true]),
    ];
    for (depth, troubles) in cases {
        let (states, failure) = explore(depth + deeper, troubles, None);
        println!("depth {}, {troubles:?}: {states} states", depth + deeper);
        assert_eq!(failure, None, "{troubles:?}");
    }
}

#[test]
fn planted_faults_are_found_by_the_explorer() {
    for fault in [Fault::HearingIsEnough, Fault::RestartForgets, Fault::SupportTooShort, Fault::GrantsTwice] {
        let cases = [(12, [false, true, true]), (12, [true, false, true]), (12, [true, true, false])];
        let found = cases.into_iter().find_map(|(depth, troubles)| explore(depth, troubles, Some(fault)).1);
        println!("{fault:?}: {found:?}");
        assert!(found.is_some(), "{fault:?} is not found");
    }
}
