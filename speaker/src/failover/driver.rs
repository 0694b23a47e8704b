//! The loop of the thread: packets, orders and time into the machine, and what it says carried out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use announce::Interfaces;
use l2::Instant;
use membership::packet::{LinkId, MAX_PACKET};
use membership::{Keyring, Machine, NodeId, Output, Rejected};
use sockets::MemberSocket;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::store::{Kept, Store};
use super::{Hands, Order, now};
use crate::core::{Input, RosterView};

/// How many packets are taken in before time and orders are looked at again.
const BATCH: usize = 64;

/// How long a former key counts: the kubelets bring a changed Secret to the nodes within about two minutes.
const ROTATION: Duration = Duration::from_secs(300);

/// How long after a packet that no key opens the next is told of.
const COMPLAINT: Duration = Duration::from_secs(60);

pub(super) struct Driver<H> {
    machine: Arc<Mutex<Machine>>,
    keys: Keyring,
    /// When the former key is forgotten.
    rotated: Option<Instant>,
    network: MemberSocket,
    store: Store,
    kept: Kept,
    addresses: HashMap<NodeId, IpAddr>,
    reports: mpsc::UnboundedSender<Input>,
    hands: H,
    complained: Option<Instant>,
    out: Vec<Output>,
}

/// What the loop waits for.
enum Event {
    Order(Option<Order>),
    Readable,
    Due,
}

impl<H: Hands> Driver<H> {
    #[expect(clippy::too_many_arguments, reason = "all that one thread owns, from one place")]
    pub(super) fn new(
        node: &str,
        key: &[u8],
        machine: Arc<Mutex<Machine>>,
        network: MemberSocket,
        store: Store,
        kept: Kept,
        reports: mpsc::UnboundedSender<Input>,
        hands: H,
    ) -> Self {
        Self {
            machine,
            keys: Keyring::new(NodeId::of(node), key),
            rotated: None,
            network,
            store,
            addresses: addresses(&kept.speakers),
            kept,
            reports,
            hands,
            complained: None,
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
            let next = self.machine().poll_timeout().into_iter().chain(self.rotated).min();
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
                order = orders.recv() => Event::Order(order),
                _ = self.network.readable() => Event::Readable,
                () = due => Event::Due,
            };
            match event {
                Event::Order(None) => return,
                Event::Order(Some(order)) => self.order(order),
                Event::Readable => {
                    for _ in 0..BATCH {
                        let Some(bytes) = self.network.receive(&mut buffer) else { break };
                        match self.keys.open(bytes) {
                            Ok(packet) => {
                                let link = LinkId::default();
                                self.handle(membership::Input::Packet { link, packet });
                            }
                            Err(rejected) => self.complain(rejected),
                        }
                    }
                }
                Event::Due => {
                    if self.rotated.is_some_and(|at| at <= now()) {
                        self.rotated = None;
                        self.keys.forget();
                    }
                    self.handle(membership::Input::Timeout);
                }
            }
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // A thread that panicked while it asked has changed nothing.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Speakers(view) => {
                self.addresses = addresses(&view);
                let nodes = view.speakers.keys().map(|node| NodeId::of(node)).collect();
                let revision = view.revision;
                if self.kept.speakers != view {
                    self.kept.speakers = view;
                    self.store.write(&self.kept);
                }
                self.handle(membership::Input::Speakers { revision, nodes });
            }
            Order::Place { address, place } => {
                let order =
                    place.iter().flat_map(|place| &place.order).map(|node| NodeId::of(node)).collect();
                let _interfaces: Option<Interfaces> = place.and_then(|place| place.interfaces);
                self.handle(membership::Input::Address { address, order, links: Vec::new() });
            }
            Order::Probed { address, answered } => {
                self.handle(membership::Input::Probed { address, answered });
            }
            Order::Drain(drain) => self.handle(membership::Input::Drain(drain)),
            Order::Key(key) => {
                self.keys.rotate(&key);
                self.rotated = Some(now() + ROTATION);
            }
        }
    }

    fn handle(&mut self, input: membership::Input) {
        let mut out = std::mem::take(&mut self.out);
        self.machine().handle(now(), input, &mut out);
        for output in out.drain(..) {
            self.carry_out(output);
        }
        self.out = out;
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { link: _, packet } => {
                let Some(&address) = self.addresses.get(&packet.to) else {
                    debug!(to = packet.to.0, "no address is known of a speaker");
                    return;
                };
                if let Err(error) = self.network.send(&self.keys.seal(&packet), address) {
                    debug!(%address, %error, "not sent to a speaker");
                }
            }
            Output::Take { address, cause } => {
                self.hands.moved(address, true);
                self.report(Input::Moved { address, held: true, cause, to: None });
            }
            Output::Release { address, cause, to } => {
                self.hands.moved(address, false);
                self.report(Input::Moved { address, held: false, cause, to });
            }
            Output::Probe { address } => self.hands.probe(address),
            Output::Remember(electorates) => {
                self.kept.electorates = electorates;
                self.store.write(&self.kept);
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

fn addresses(view: &RosterView) -> HashMap<NodeId, IpAddr> {
    view.speakers.iter().map(|(node, address)| (NodeId::of(node), *address)).collect()
}
