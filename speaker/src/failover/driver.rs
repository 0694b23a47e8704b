//! The loop of the thread: packets, orders and time into the machine, and what it says carried out.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use announce::{Interfaces, Place};
use l2::Instant;
use membership::packet::{LinkId, MAX_PACKET};
use membership::{Cause, Event, Keyring, Machine, NodeId, Output, Rejected};
use net::MacAddr;
use sockets::MemberSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::book::Book;
use super::links::Links;
use super::store::{Kept, Store};
use super::{Hands, Order, Start, now};
use crate::core::{Input, RosterView};

/// How many packets are taken in before time and orders are looked at again.
const BATCH: usize = 64;

/// After so long without reading packets an order comes after them: the thread stood still, perhaps.
const PAUSE: Duration = Duration::from_millis(50);

/// After how long every node has a changed Secret: the kubelets bring it within about two minutes. As long after that the
/// last one uses it.
const ROTATION: Duration = Duration::from_secs(180);

/// How long after a packet that no key opens the next is told of.
const COMPLAINT: Duration = Duration::from_secs(60);

pub(super) struct Driver<H> {
    machine: Arc<Mutex<Machine>>,
    elected: Arc<Notify>,
    keys: Keyring,
    /// When the next step of a change of the key is due.
    rotation: Option<(Instant, Rotation)>,
    network: MemberSocket,
    store: Store,
    kept: Kept,
    book: Book,
    /// When each speaker was heard last.
    heard: HashMap<NodeId, Instant>,
    /// By which hardware addresses the frames of each speaker are known.
    macs: HashMap<NodeId, Vec<MacAddr>>,
    contact: SocketAddr,
    links: Links,
    /// Who may hold which address, and where it is announced here.
    places: HashMap<IpAddr, (Vec<NodeId>, Option<Interfaces>)>,
    reports: mpsc::UnboundedSender<Input>,
    hands: H,
    complained: Option<Instant>,
    /// When packets were read last.
    read_at: Instant,
    out: Vec<Output>,
}

/// A step of a change of the key.
#[derive(Clone, Copy)]
enum Rotation {
    /// The new key is used.
    Switch,
    /// The former one is not accepted any more.
    Forget,
}

/// What the loop waits for.
enum Wake {
    Order(Option<Order>),
    Readable,
    ReadableOn(LinkId),
    Due,
}

impl<H: Hands> Driver<H> {
    pub(super) fn new(
        start: &Start,
        (machine, elected): (Arc<Mutex<Machine>>, Arc<Notify>),
        network: MemberSocket,
        store: Store,
        kept: Kept,
        reports: mpsc::UnboundedSender<Input>,
        hands: H,
    ) -> Self {
        Self {
            machine,
            elected,
            keys: Keyring::new(NodeId::of(&start.node), &start.key).speaking(start.version),
            rotation: None,
            network,
            store,
            book: Book::new(&kept.speakers, kept.former.clone()),
            heard: HashMap::new(),
            macs: HashMap::new(),
            contact: start.contact,
            links: Links::default(),
            places: HashMap::new(),
            kept,
            reports,
            hands,
            complained: None,
            read_at: now(),
            out: Vec::new(),
        }
    }

    /// Runs until nobody has orders any more.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let RosterView { revision, speakers } = self.kept.speakers.clone();
        if revision > 0 {
            let nodes = speakers.keys().map(|node| NodeId::of(node)).collect();
            self.handle(membership::Input::Speakers { revision, nodes });
        }
        let mut buffer = [0; MAX_PACKET + 1];
        loop {
            let rotation = self.rotation.map(|(at, _)| at);
            let next = self.machine().poll_timeout().into_iter().chain(rotation).min();
            let due = async {
                match next {
                    Some(at) => sleep(at.saturating_since(now())).await,
                    None => std::future::pending().await,
                }
            };
            // What came in is read before the time is looked at: after a pause of this thread the silence of the
            // others is not theirs.
            let event = tokio::select! {
                biased;
                order = orders.recv() => Wake::Order(order),
                _ = self.network.readable() => Wake::Readable,
                link = self.links.readable() => Wake::ReadableOn(link),
                () = due => Wake::Due,
            };
            match event {
                Wake::Order(None) => return,
                Wake::Order(Some(order)) => {
                    if now() >= self.read_at + PAUSE {
                        self.listen(&mut buffer);
                    }
                    self.order(order);
                }
                Wake::Readable => self.listen(&mut buffer),
                Wake::ReadableOn(link) => {
                    for _ in 0..BATCH {
                        let Some((bytes, from)) = self.links.receive(link, &mut buffer) else { break };
                        // What is sent to all hosts of a LAN is for one of them.
                        let Ok(packet) = self.keys.open(bytes) else { continue };
                        self.links.heard(link, packet.from.node, from);
                        self.handle(membership::Input::Packet { link, packet });
                    }
                }
                Wake::Due => {
                    self.rotate();
                    self.handle(membership::Input::Timeout);
                }
            }
        }
    }

    /// Takes in what the other speakers said, all of it before any timer.
    fn listen(&mut self, buffer: &mut [u8]) {
        let link = LinkId::default();
        self.read_at = now();
        let mut last = None;
        for _ in 0..BATCH {
            let Some((bytes, _)) = self.network.receive(buffer) else { break };
            match self.keys.open(bytes) {
                Ok(packet) => {
                    self.heard.insert(packet.from.node, self.read_at);
                    if let Some(before) = last.replace(packet) {
                        self.drive(|machine, out| machine.handle_next(now(), link, before, out));
                    }
                }
                Err(rejected) => self.complain(rejected),
            }
        }
        if let Some(packet) = last {
            self.handle(membership::Input::Packet { link, packet });
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // A thread that panicked while it asked has changed nothing.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Speakers(view) => {
                let electorates = self.machine().electorates().to_vec();
                self.book.list(&view, &electorates);
                let book = &self.book;
                self.heard.retain(|node, _| book.get(*node).is_some());
                self.macs.retain(|node, _| book.get(*node).is_some());
                self.tell_members();
                let nodes = view.speakers.keys().map(|node| NodeId::of(node)).collect();
                let revision = view.revision;
                if self.kept.speakers != view {
                    self.kept.speakers = view;
                    self.kept.former.clone_from(self.book.former());
                    self.store.write(&self.kept);
                }
                self.handle(membership::Input::Speakers { revision, nodes });
            }
            Order::Place { address, place: Some(Place { order, interfaces }) } => {
                let order = order.iter().map(|node| NodeId::of(node)).collect();
                self.places.insert(address, (order, interfaces));
                self.place(address);
            }
            Order::Place { address, place: None } => {
                self.places.remove(&address);
                self.place(address);
            }
            Order::Links(views) => {
                // Those of interfaces that are up first: not all may find room in a packet.
                let (up, down): (Vec<_>, Vec<_>) = views.iter().partition(|view| view.up);
                let macs = up.into_iter().chain(down).filter_map(|view| view.mac).collect();
                self.handle(membership::Input::Macs(macs));
                let before = self.links.of(&Interfaces::All);
                let up = self.links.set(views, self.contact);
                self.handle(membership::Input::Links(up));
                if self.links.of(&Interfaces::All) != before {
                    for address in self.places.keys().copied().collect::<Vec<_>>() {
                        self.place(address);
                    }
                }
            }
            Order::Probed { address, answered } => {
                self.handle(membership::Input::Probed { address, answered });
            }
            Order::Claimed { address, mac } => {
                let whose = self.macs.iter().find(|(_, macs)| macs.contains(&mac));
                if let Some((&by, _)) = whose {
                    self.handle(membership::Input::Claimed { address, by });
                }
            }
            Order::Drain(drain) => self.handle(membership::Input::Drain(drain)),
            Order::Key(key) => {
                self.keys.rotate(&key);
                self.rotation = Some((now() + ROTATION, Rotation::Switch));
            }
        }
    }

    fn tell_members(&mut self) {
        let macs = self.macs.values().flatten().copied().collect();
        self.hands.members(macs);
    }

    /// Takes the step of a change of the key that is due.
    fn rotate(&mut self) {
        let Some((at, step)) = self.rotation.filter(|(at, _)| *at <= now()) else { return };
        self.rotation = match step {
            Rotation::Switch => {
                self.keys.switch();
                Some((at + ROTATION, Rotation::Forget))
            }
            Rotation::Forget => {
                self.keys.forget();
                None
            }
        };
    }

    /// Says who may hold the address, and on which interfaces it needs to be heard.
    fn place(&mut self, address: IpAddr) {
        let (order, interfaces) = self.places.get(&address).cloned().unwrap_or_default();
        let links = interfaces.map(|interfaces| self.links.of(&interfaces)).unwrap_or_default();
        self.handle(membership::Input::Address { address, order, links });
    }

    fn handle(&mut self, input: membership::Input) {
        self.drive(|machine, out| machine.handle(now(), input, out));
    }

    fn drive(&mut self, step: impl FnOnce(&mut Machine, &mut Vec<Output>)) {
        let mut out = std::mem::take(&mut self.out);
        step(&mut self.machine(), &mut out);
        for output in out.drain(..) {
            self.carry_out(output);
        }
        self.out = out;
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { link, packet } if link != LinkId::default() => {
                if let Err(error) = self.links.send(link, &self.keys.seal(&packet), packet.to) {
                    debug!(link = link.0, %error, "not sent to a speaker on an interface");
                }
            }
            Output::Send { packet, .. } => {
                let Some(address) = self.book.get(packet.to) else {
                    debug!(to = packet.to.0, "no address is known of a speaker");
                    return;
                };
                if let Err(error) = self.network.send(&self.keys.seal(&packet), address) {
                    debug!(%address, %error, "not sent to a speaker");
                }
            }
            Output::Take { address, cause } => {
                self.hands.moved(address, true);
                let silence = match cause {
                    Cause::HolderDown(node) => self.heard.get(&node).map(|&at| now().saturating_since(at)),
                    _ => None,
                };
                self.report(Input::Moved { address, held: true, cause, to: None, silence });
            }
            Output::Release { address, cause, to } => {
                self.hands.moved(address, false);
                self.report(Input::Moved { address, held: false, cause, to, silence: None });
            }
            Output::Macs { node, macs } => {
                self.macs.insert(node, macs);
                self.tell_members();
            }
            Output::Probe { address } => self.hands.probe(address),
            Output::Remember(electorates) => {
                self.book.retain(&electorates);
                self.kept.former.clone_from(self.book.former());
                self.kept.electorates = electorates;
                self.store.write(&self.kept);
                self.elected.notify_one();
            }
            Output::Event(Event::Link(link, leased)) => {
                // Of one that is gone nobody needs to hear that it is not heard.
                if let Some(interface) = self.links.name(link).map(str::to_owned) {
                    self.report(Input::Heard { interface, leased });
                }
            }
            Output::Event(event) => self.report(Input::Members(event)),
        }
    }

    fn report(&self, input: Input) {
        // The core ends only with the program.
        drop(self.reports.send(input));
    }

    /// Says that strange packets come, now and then.
    fn complain(&mut self, rejected: Rejected) {
        let now = now();
        if self.complained.is_some_and(|at| now < at + COMPLAINT) {
            return debug!("a packet was dropped: {rejected}");
        }
        self.complained = Some(now);
        warn!("a packet to the port of the speakers' own protocol was dropped: {rejected}");
    }
}
