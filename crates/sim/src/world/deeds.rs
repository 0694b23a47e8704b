//! What may be done to the world.

use std::net::IpAddr;
use std::time::Duration;

use membership::packet::LinkId;
use membership::{Incarnation, Input, Machine, NodeId, Settings};
use net::MacAddr;

use super::{Happening, Micros, World};
use crate::rng::Rng;

impl World {
    /// Starts a dead node; with its disk, or without what it remembered.
    pub fn start(&mut self, node: usize, disk: bool) {
        if self.nodes[node].machine.is_some() {
            return;
        }
        let seed = self.rng.draw();
        let state = &mut self.nodes[node];
        if !disk {
            state.disk.clear();
        }
        state.lives += 1;
        state.paused = None;
        let settings = Settings {
            node: state.id,
            incarnation: Incarnation(seed),
            seed,
            profile: self.scene.profile,
            on_quorum_loss: self.scene.on_quorum_loss,
            remembered: state.disk.clone(),
            fault: self.scene.fault,
        };
        let clock = self.clock(node);
        self.nodes[node].machine = Some(Machine::new(settings, clock));
        // A watch begins with a list, which may be as old as a view can be.
        self.tell_view(node);
        self.tell_addresses(node);
        self.give(node, Input::Links(self.lan.into_iter().collect()));
        if self.scene.mixed {
            // Only here, so that the seeds of other scenes go on meaning what they meant.
            let [.., last] = node.to_be_bytes();
            self.give(node, Input::Macs(vec![MacAddr([2, 0, 0, 0, 1, last])]));
        }
        self.give(node, Input::Timeout);
    }

    /// Announces everything on another LAN than the node network, where all nodes are up.
    pub fn announce_on(&mut self, lan: LinkId) {
        self.lan = Some(lan);
        for node in 0..self.nodes.len() {
            self.give(node, Input::Links(vec![lan]));
        }
        self.tell_everybody(true);
    }

    /// Cuts the cable between two nodes on that LAN.
    pub fn cut_cable(&mut self, one: usize, two: usize) {
        self.note(format_args!("cut the cable between node{one} and node{two}"));
        self.lan_cut.extend([(one, two), (two, one)]);
    }

    /// Nothing gets through to a node on that LAN, or from it, though it has carrier.
    pub fn cut_lan(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|&other| other != node) {
            self.cut_cable(node, other);
        }
    }

    /// The cables of that LAN are whole again.
    pub fn mend_lan(&mut self) {
        self.note(format_args!("mend the LAN"));
        self.lan_cut.clear();
    }

    /// A node announces the addresses that it holds once more, and whoever is on the LAN sees it.
    pub fn announce_again(&mut self, node: usize) {
        let (lan, by) = (self.lan.unwrap_or_default(), self.nodes[node].id);
        let held: Vec<IpAddr> = self.addresses().into_iter().filter(|a| self.answers(node, *a)).collect();
        self.note(format_args!("node{node} announces {held:?}"));
        for other in (0..self.nodes.len()).filter(|&other| other != node) {
            if !self.is_cut(lan, node, other) {
                for &address in &held {
                    self.give(other, Input::Claimed { address, by });
                }
            }
        }
    }

    /// A node sees a frame of another one that claims the address, sent while that held it, or by mistake.
    pub fn claim(&mut self, by: usize, seen_by: usize, address: IpAddr) {
        let by = self.nodes[by].id;
        self.give(seen_by, Input::Claimed { address, by });
    }

    fn tell_view(&mut self, node: usize) {
        let nodes: Vec<NodeId> = self.speakers.iter().map(|&n| self.nodes[n].id).collect();
        let at = self.view_time(node);
        let revision = self.revision;
        self.schedule(at, Happening::Arrive(node, Box::new(Input::Speakers { revision, nodes })));
    }

    fn tell_addresses(&mut self, node: usize) {
        let at = self.view_time(node);
        let links: Vec<LinkId> = self.lan.into_iter().collect();
        for (address, order) in self.orders() {
            self.schedule(
                at,
                Happening::Arrive(node, Box::new(Input::Address { address, order, links: links.clone() })),
            );
        }
    }

    /// When a change reaches a node: late, but not before those that came earlier.
    fn view_time(&mut self, node: usize) -> Micros {
        let most = self.scene.lag;
        let (low, high) = match (self.late_views.is_empty(), self.late_views.contains(&node)) {
            (true, _) => (0, most),
            (false, true) => (most * 9 / 10, most),
            (false, false) => (0, most / 10),
        };
        let at = self.now + self.rng.range(low, high + 1);
        let seen = self.nodes[node].seen.max(at);
        self.nodes[node].seen = seen;
        seen
    }

    /// The order of every address, the same for everybody who has the same view.
    fn orders(&self) -> Vec<(IpAddr, Vec<NodeId>)> {
        let order = |address: &IpAddr, nodes: &Vec<usize>| {
            let IpAddr::V4(v4) = address else { return Vec::new() };
            let first = self.scene.preferred.map(|node| self.nodes[node].id);
            let key = |id: &NodeId| (first != Some(*id), Rng::new(id.0 ^ u64::from(v4.to_bits())).draw());
            let mut order: Vec<NodeId> =
                nodes.iter().filter(|n| self.speakers.contains(n)).map(|&n| self.nodes[n].id).collect();
            order.sort_by_key(key);
            order
        };
        self.eligible.iter().map(|(address, nodes)| (*address, order(address, nodes))).collect()
    }

    fn tell_everybody(&mut self, addresses_only: bool) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].machine.is_some() {
                if !addresses_only {
                    self.tell_view(node);
                }
                self.tell_addresses(node);
            }
        }
    }

    /// Kills a node.
    pub fn crash(&mut self, node: usize) {
        self.note(format_args!("crash node{node}"));
        self.nodes[node].machine = None;
        self.nodes[node].paused = None;
    }

    /// Stops a node; what arrives waits.
    pub fn pause(&mut self, node: usize) {
        self.note(format_args!("pause node{node}"));
        if self.nodes[node].machine.is_some() && self.nodes[node].paused.is_none() {
            self.nodes[node].paused = Some(Vec::new());
        }
    }

    /// Lets a paused node go on: its timers come first, or what has arrived.
    pub fn resume(&mut self, node: usize) {
        let Some(waiting) = self.nodes[node].paused.take() else { return };
        self.note(format_args!("resume node{node}"));
        if self.rng.chance(500_000) {
            self.give(node, Input::Timeout);
        }
        for input in waiting {
            self.give(node, input);
        }
        self.give(node, Input::Timeout);
    }

    /// Cuts the way from one node to another.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.note(format_args!("cut node{from} -> node{to}"));
        self.cut.insert((from, to));
    }

    /// Separates some from the others, both ways.
    pub fn partition(&mut self, some: &[usize]) {
        for node in 0..self.nodes.len() {
            for &one in some {
                if !some.contains(&node) {
                    self.cut(one, node);
                    self.cut(node, one);
                }
            }
        }
    }

    /// Makes the network whole.
    pub fn heal(&mut self) {
        self.note(format_args!("heal"));
        self.cut.clear();
        self.lan_cut.clear();
        self.extra_loss = 0;
        self.extra_delay = 0;
        self.slow = None;
    }

    /// Whatever is sent to that node takes so much longer.
    pub fn slow_down(&mut self, node: usize, delay: Micros) {
        self.note(format_args!("slow to node{node}: {delay}"));
        self.slow = Some((node, delay));
    }

    /// Loses so many packets of a million more, and delays them up to so much more.
    pub fn disturb(&mut self, loss: u64, delay: Micros) {
        self.note(format_args!("loss {loss} delay {delay}"));
        self.extra_loss = loss;
        self.extra_delay = delay;
    }

    /// The views of all others come early, those of these late.
    pub fn favour(&mut self, late: &[usize]) {
        self.late_views = late.iter().copied().collect();
    }

    /// A new node comes into the cluster.
    pub fn join(&mut self) -> usize {
        let node = self.add_node();
        self.note(format_args!("join node{node}"));
        self.speakers.insert(node);
        self.revision += 1;
        for nodes in self.eligible.values_mut() {
            nodes.push(node);
        }
        self.start(node, false);
        self.tell_everybody(false);
        node
    }

    /// A node leaves the cluster, as the API has it; it may still run.
    pub fn leave(&mut self, node: usize) {
        if self.speakers.len() > 3 && self.speakers.remove(&node) {
            self.note(format_args!("leave node{node}"));
            self.revision += 1;
            self.tell_everybody(false);
        }
    }

    /// A node that left comes back.
    pub fn rejoin(&mut self, node: usize) {
        if self.speakers.insert(node) {
            self.note(format_args!("rejoin node{node}"));
            self.revision += 1;
            self.tell_everybody(false);
        }
    }

    /// A node may hold an address from now on, or not any more.
    pub fn toggle(&mut self, address: IpAddr, node: usize) {
        self.note(format_args!("toggle {address} node{node}"));
        let nodes = self.eligible.entry(address).or_default();
        if nodes.contains(&node) && nodes.len() > 1 {
            nodes.retain(|&other| other != node);
        } else if !nodes.contains(&node) {
            nodes.push(node);
        }
        self.tell_everybody(true);
    }

    /// Drains a node, or ends that.
    pub fn drain(&mut self, node: usize, drain: bool) {
        self.note(format_args!("drain node{node} {drain}"));
        self.give(node, Input::Drain(drain));
    }

    /// The nodes that are speakers by the API.
    pub fn speakers(&self) -> Vec<usize> {
        self.speakers.iter().copied().collect()
    }

    /// The longest interval that a running node uses.
    pub fn slowest(&self) -> Duration {
        let machines = self.nodes.iter().filter_map(|node| node.machine.as_ref());
        machines.map(|machine| machine.profile().interval()).max().unwrap_or_default()
    }

    /// The nodes that may hold the address and run.
    pub fn candidates(&self, address: IpAddr) -> Vec<usize> {
        let nodes = self.eligible.get(&address).map(Vec::as_slice).unwrap_or_default();
        nodes.iter().copied().filter(|n| self.speakers.contains(n) && self.runs(*n)).collect()
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        if self.scene.trace {
            println!("{:>10} {what}", self.now);
        }
    }
}
