//! One interface of this node: which addresses it answers for, and what it says about them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use net::{Family, MacAddr};

use crate::ethernet::{Frame, TYPE_ARP, TYPE_IPV6};
use crate::schedule::{CONFLICT_DELAY, DEFENCE_INTERVAL, PROBE_WAIT, Schedule, frames};
use crate::{Instant, arp, ndp};

/// What the interface is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its hardware address: what is told to those who ask.
    pub mac: MacAddr,
    /// Whether frames can leave it.
    pub carrier: bool,
    /// Whether it speaks ARP.
    pub arp: bool,
    /// Whether it speaks IPv6 neighbor discovery.
    pub ndp: bool,
}

/// What happens to an interface.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The address is to be answered for here. Nothing happens where it already is.
    Take(IpAddr),
    /// The address is not to be answered for any more.
    Release(IpAddr),
    /// The interface is now like this; a change announces every address again.
    Link(Link),
    /// Hardware addresses that may claim our addresses: those of the node's interfaces.
    Allies(HashSet<MacAddr>),
    /// Hardware addresses of the other speakers: with them it is agreed elsewhere who has an address.
    Members(HashSet<MacAddr>),
    /// A frame came in, Ethernet header first.
    Frame(&'a [u8]),
    /// The time of [`Responder::poll_timeout`] has come.
    Timeout,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the frame, Ethernet header first, by this interface.
    Send {
        /// The address that the frame is about.
        address: IpAddr,
        /// Why it is sent.
        cause: Cause,
        /// The bytes.
        frame: Vec<u8>,
    },
    /// Receive the frames of this solicited-node group.
    Join(Ipv6Addr),
    /// The group's frames are not needed any more.
    Leave(Ipv6Addr),
    /// Another speaker claims the address.
    Claimed {
        /// The address.
        address: IpAddr,
        /// By which of its hardware addresses.
        mac: MacAddr,
    },
    /// Another host answers for the address, although we have defended it.
    Conflict {
        /// The address.
        address: IpAddr,
        /// Who claims it.
        mac: MacAddr,
    },
}

/// Why a frame is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It answers a question.
    Reply,
    /// It tells everyone that the address is here now.
    Announcement,
    /// It tells so because another host claimed the address.
    Defence,
    /// It asks whether another host answers for the address.
    Probe,
}

/// The answering and announcing of one interface, without I/O.
#[derive(Debug)]
pub struct Responder {
    link: Link,
    allies: HashSet<MacAddr>,
    members: HashSet<MacAddr>,
    held: HashMap<IpAddr, Held>,
    /// How many held addresses need each solicited-node group.
    groups: HashMap<Ipv6Addr, usize>,
    timers: BTreeSet<(Instant, IpAddr, Timer)>,
    /// The most frames of announcements a second; 0 for as many as there are.
    pace: u32,
    /// How often an address is announced that is held on.
    refresh: Option<Duration>,
    /// From when on the announcements of another address may begin.
    free: Instant,
}

#[derive(Debug)]
struct Held {
    schedule: Option<Schedule>,
    rivalry: Rivalry,
    last_defence: Option<Instant>,
}

/// How far the suspicion is that another host uses an address of ours.
#[derive(Clone, Copy, Debug)]
enum Rivalry {
    None,
    /// Claimed by another speaker; to be announced at this time, where it is held still.
    Contested(Instant),
    /// Claimed once; to be defended and probed at this time.
    Suspected(Instant),
    /// Defended and probed; a claim before this time comes from a host that insists.
    Probed(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Announce,
    Rivalry,
}

impl Responder {
    /// An interface that answers for nothing yet.
    pub fn new(link: Link) -> Self {
        Self {
            link,
            allies: HashSet::new(),
            members: HashSet::new(),
            held: HashMap::new(),
            groups: HashMap::new(),
            timers: BTreeSet::new(),
            pace: 0,
            refresh: None,
            free: Instant::default(),
        }
    }

    /// The same, with at most so many frames of announcements a second; 0 does not limit them. Of many addresses taken
    /// at once some are announced later then; they are answered for at once.
    #[must_use]
    pub fn paced(mut self, frames_per_second: u32) -> Self {
        self.pace = frames_per_second;
        self
    }

    /// The same, announcing every address that is held on once in this time, too.
    #[must_use]
    pub fn refreshing(mut self, refresh: Option<Duration>) -> Self {
        self.refresh = refresh;
        self
    }

    /// Takes in what happened at `now` and appends what is to be done about it.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Take(address) => self.take(now, address, out),
            Input::Release(address) => self.release(address, out),
            Input::Link(link) => self.change_link(now, link, out),
            Input::Allies(allies) => self.allies = allies,
            Input::Members(members) => self.members = members,
            Input::Frame(bytes) => self.receive(now, bytes, out),
            Input::Timeout => self.run_timers(now, out),
        }
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _, _)| at)
    }

    /// The addresses that are answered for, in no order.
    pub fn held(&self) -> impl Iterator<Item = IpAddr> {
        self.held.keys().copied()
    }

    fn take(&mut self, now: Instant, address: IpAddr, out: &mut Vec<Output>) {
        if self.held.contains_key(&address) {
            return;
        }
        self.held.insert(address, Held { schedule: None, rivalry: Rivalry::None, last_defence: None });
        if let IpAddr::V6(v6) = address {
            let group = ndp::solicited_node(v6);
            let users = self.groups.entry(group).or_insert(0);
            *users += 1;
            if *users == 1 && self.link.ndp {
                out.push(Output::Join(group));
            }
        }
        self.start_announcing(now, address);
        self.run_timers(now, out);
    }

    fn release(&mut self, address: IpAddr, out: &mut Vec<Output>) {
        let Some(held) = self.held.remove(&address) else { return };
        self.clear_timers(address, &held);
        let IpAddr::V6(v6) = address else { return };
        let group = ndp::solicited_node(v6);
        if let Some(users) = self.groups.get_mut(&group) {
            *users -= 1;
            if *users == 0 {
                self.groups.remove(&group);
                if self.link.ndp {
                    out.push(Output::Leave(group));
                }
            }
        }
    }

    fn change_link(&mut self, now: Instant, link: Link, out: &mut Vec<Output>) {
        if link == self.link {
            return;
        }
        let before = std::mem::replace(&mut self.link, link);
        match (before.ndp, link.ndp) {
            (false, true) => out.extend(self.groups.keys().map(|&group| Output::Join(group))),
            (true, false) => out.extend(self.groups.keys().map(|&group| Output::Leave(group))),
            (true, true) | (false, false) => {}
        }
        let addresses: Vec<IpAddr> = self.held.keys().copied().collect();
        for address in addresses {
            self.start_announcing(now, address);
        }
        self.run_timers(now, out);
    }

    /// Whether the interface speaks the protocol of this family and can send.
    fn speaks(&self, family: Family) -> bool {
        self.link.carrier
            && match family {
                Family::V4 => self.link.arp,
                Family::V6 => self.link.ndp,
            }
    }

    /// Begins the announcements of a held address anew, or stops them where the link cannot make them.
    fn start_announcing(&mut self, now: Instant, address: IpAddr) {
        let family = Family::of(address);
        let speaks = self.speaks(family);
        let start = if speaks { self.next_start(family, now) } else { now };
        let Some(held) = self.held.get_mut(&address) else { return };
        for timer in held.timers(address) {
            self.timers.remove(&timer);
        }
        held.rivalry = Rivalry::None;
        held.schedule = speaks.then(|| Schedule::starting(address, start, self.refresh));
        self.timers.extend(held.timers(address));
    }

    /// When the announcements of an address may begin. Every address has the same series of them, so as many begin
    /// in a second as the pace has room for whole series: then no second has more than the pace and one series.
    fn next_start(&mut self, family: Family, now: Instant) -> Instant {
        if self.pace == 0 {
            return now;
        }
        let start = self.free.max(now);
        let series = u32::try_from(frames(family)).unwrap_or(u32::MAX);
        self.free = start + Duration::from_secs(1) * series / self.pace;
        start
    }

    fn clear_timers(&mut self, address: IpAddr, held: &Held) {
        for timer in held.timers(address) {
            self.timers.remove(&timer);
        }
    }

    fn run_timers(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(&(at, address, timer)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            let mac = self.link.mac;
            let Some(held) = self.held.get_mut(&address) else { continue };
            match timer {
                Timer::Announce => {
                    announce(address, mac, Cause::Announcement, out);
                    if let Some(schedule) = &mut held.schedule {
                        schedule.sent(now);
                        self.timers.extend(schedule.due().map(|at| (at, address, Timer::Announce)));
                    }
                }
                Timer::Rivalry => match held.rivalry {
                    Rivalry::Contested(_) => {
                        announce(address, mac, Cause::Defence, out);
                        held.last_defence = Some(now);
                        held.rivalry = Rivalry::None;
                    }
                    Rivalry::Suspected(_) => {
                        announce(address, mac, Cause::Defence, out);
                        probe(address, mac, out);
                        held.last_defence = Some(now);
                        held.rivalry = Rivalry::Probed(now + PROBE_WAIT);
                        self.timers.insert((now + PROBE_WAIT, address, Timer::Rivalry));
                    }
                    Rivalry::Probed(_) | Rivalry::None => held.rivalry = Rivalry::None,
                },
            }
        }
    }

    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut Vec<Output>) {
        let Ok(frame) = Frame::parse(bytes) else { return };
        if frame.source == self.link.mac {
            return;
        }
        match frame.ether_type {
            TYPE_ARP if self.link.arp => self.receive_arp(now, &frame, out),
            TYPE_IPV6 if self.link.ndp => self.receive_ndp(now, &frame, out),
            _ => {}
        }
    }

    fn receive_arp(&mut self, now: Instant, frame: &Frame<'_>, out: &mut Vec<Output>) {
        let Ok(packet) = arp::Packet::parse(frame.payload) else { return };
        if !is_station(packet.sender_mac) {
            return;
        }
        self.claimed(now, packet.sender_ip.into(), packet.sender_mac, out);
        let target = IpAddr::V4(packet.target_ip);
        let for_us = frame.destination == MacAddr::BROADCAST || frame.destination == self.link.mac;
        if packet.operation == arp::Operation::Request && for_us && self.held.contains_key(&target) {
            let reply = packet.reply(self.link.mac).frame(packet.sender_mac);
            out.push(Output::Send { address: target, cause: Cause::Reply, frame: reply });
        }
    }

    fn receive_ndp(&mut self, now: Instant, frame: &Frame<'_>, out: &mut Vec<Output>) {
        let Ok(packet) = ndp::Packet::parse(frame.payload) else { return };
        match packet.message {
            ndp::Message::Solicitation { target, source_link } => {
                let asker = source_link.unwrap_or(frame.source);
                if !is_station(asker) {
                    return;
                }
                self.claimed(now, packet.source.into(), asker, out);
                self.answer_solicitation(frame, &packet, target, asker, out);
            }
            ndp::Message::Advertisement { target, target_link, .. } => {
                self.claimed(now, target.into(), target_link.unwrap_or(frame.source), out);
            }
        }
    }

    /// RFC 4861 §7.2.4: who asks gets a solicited answer, by unicast; who asks whether the address is free,
    /// and therefore has none, makes us tell all nodes that it is not.
    fn answer_solicitation(
        &self,
        frame: &Frame<'_>,
        packet: &ndp::Packet,
        target: Ipv6Addr,
        asker: MacAddr,
        out: &mut Vec<Output>,
    ) {
        let group = ndp::solicited_node(target);
        let to_us = frame.destination == self.link.mac && packet.destination == target;
        let to_group = packet.destination == group
            && (frame.destination == ndp::multicast_mac(group) || frame.destination == self.link.mac);
        if !(to_us || to_group) || !self.held.contains_key(&target.into()) {
            return;
        }
        let mac = self.link.mac;
        let reply = if packet.source.is_unspecified() {
            ndp::Packet::advertisement(target, mac, None).frame(mac, ndp::multicast_mac(ndp::ALL_NODES))
        } else {
            ndp::Packet::advertisement(target, mac, Some(packet.source)).frame(mac, asker)
        };
        out.push(Output::Send { address: target.into(), cause: Cause::Reply, frame: reply });
    }

    /// Notes that `mac` says to have `address`.
    ///
    /// One claim is no conflict yet: while two nodes see the cluster differently for a moment, one claims
    /// rightly what the other still holds. So a claim is answered after [`CONFLICT_DELAY`] by a defence and a
    /// probe, and only a host that claims again after those is reported.
    ///
    /// Another speaker's claim is no conflict: `membership` knows which of the two is right, and the other one is
    /// silent or yields. Whoever holds the address after [`CONFLICT_DELAY`] announces it, for those who believed
    /// the claim.
    fn claimed(&mut self, now: Instant, address: IpAddr, mac: MacAddr, out: &mut Vec<Output>) {
        if mac == self.link.mac || self.allies.contains(&mac) || !self.speaks(Family::of(address)) {
            return;
        }
        let Some(held) = self.held.get_mut(&address) else { return };
        let member = self.members.contains(&mac);
        match held.rivalry {
            Rivalry::None | Rivalry::Contested(_) if !member => {
                if let Rivalry::Contested(at) = held.rivalry {
                    self.timers.remove(&(at, address, Timer::Rivalry));
                }
                let at = next_defence(now, held);
                held.rivalry = Rivalry::Suspected(at);
                self.timers.insert((at, address, Timer::Rivalry));
            }
            Rivalry::None => {
                let at = next_defence(now, held);
                held.rivalry = Rivalry::Contested(at);
                self.timers.insert((at, address, Timer::Rivalry));
                out.push(Output::Claimed { address, mac });
            }
            Rivalry::Contested(_) | Rivalry::Suspected(_) => {}
            // It answers the probe, or was late: the host that was suspected may have gone.
            Rivalry::Probed(_) if member => {}
            Rivalry::Probed(until) => {
                self.timers.remove(&(until, address, Timer::Rivalry));
                held.rivalry = Rivalry::None;
                out.push(Output::Conflict { address, mac });
            }
        }
    }
}

impl Held {
    /// The entries of this address in the set of timers.
    fn timers(&self, address: IpAddr) -> impl Iterator<Item = (Instant, IpAddr, Timer)> + use<> {
        let announce = self.schedule.as_ref().and_then(Schedule::due);
        let rivalry = match self.rivalry {
            Rivalry::None => None,
            Rivalry::Contested(at) | Rivalry::Suspected(at) | Rivalry::Probed(at) => Some(at),
        };
        let announce = announce.map(|at| (at, address, Timer::Announce));
        announce.into_iter().chain(rivalry.map(|at| (at, address, Timer::Rivalry)))
    }
}

/// When a claim of the address that comes now may be answered.
fn next_defence(now: Instant, held: &Held) -> Instant {
    let earliest = held.last_defence.map_or(now, |last| last + DEFENCE_INTERVAL);
    earliest.max(now + CONFLICT_DELAY)
}

/// Whether the address can be that of one station: only such a one can be answered.
fn is_station(mac: MacAddr) -> bool {
    !mac.is_multicast() && mac != MacAddr::ZERO
}

/// Tells everyone on the link that `address` is at `mac`.
fn announce(address: IpAddr, mac: MacAddr, cause: Cause, out: &mut Vec<Output>) {
    let mut send = |frame| out.push(Output::Send { address, cause, frame });
    match address {
        IpAddr::V4(v4) => {
            for operation in [arp::Operation::Request, arp::Operation::Reply] {
                send(arp::Packet::gratuitous(operation, v4, mac).frame(MacAddr::BROADCAST));
            }
        }
        IpAddr::V6(v6) => {
            let everyone = ndp::multicast_mac(ndp::ALL_NODES);
            send(ndp::Packet::advertisement(v6, mac, None).frame(mac, everyone));
        }
    }
}

/// Asks everyone on the link, without claiming the address, who has it.
fn probe(address: IpAddr, mac: MacAddr, out: &mut Vec<Output>) {
    out.push(Output::Send { address, cause: Cause::Probe, frame: crate::probe::question(address, mac) });
}
