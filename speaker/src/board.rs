//! The interfaces of this node with what they are told, shared by the core, which knows where an address is to be
//! announced, and the failover thread, which knows whether this node holds it.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use net::MacAddr;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, WeakUnboundedSender};
use tracing::debug;

use crate::core::Command;
use crate::failover::{self, Hands, Order};
use crate::front::{Front, Where};
use crate::interface::Interface;

/// The open interfaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    front: Front,
    interfaces: BTreeMap<u32, Open>,
    /// The hardware addresses of the other speakers.
    members: HashSet<MacAddr>,
}

#[derive(Debug)]
struct Open {
    interface: Interface,
    mac: MacAddr,
}

impl State {
    fn carry_out(&self, orders: Vec<(u32, Command)>) {
        for (index, command) in orders {
            if let Some(open) = self.interfaces.get(&index) {
                open.interface.tell(command);
            }
        }
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interface is there and answers for what is held and wanted there.
    pub(crate) fn open(&self, index: u32, name: String, mac: MacAddr, interface: Interface) {
        let mut state = self.state();
        interface.tell(Command::Members(state.members.clone()));
        state.interfaces.insert(index, Open { interface, mac });
        let mut orders = Vec::new();
        state.front.open(index, name, &mut orders);
        state.carry_out(orders);
    }

    /// The interface is gone; it stops answering at once.
    pub(crate) fn close(&self, index: u32) {
        let mut state = self.state();
        state.front.close(index);
        state.interfaces.remove(&index);
    }

    /// The interface is told something that is not about an address.
    pub(crate) fn tell(&self, index: u32, command: Command) {
        let mut state = self.state();
        if let (Command::Link(link), Some(open)) = (&command, state.interfaces.get_mut(&index)) {
            open.mac = link.mac;
        }
        state.carry_out(vec![(index, command)]);
    }

    /// Where the address is announced while it is held: see [`Front::want`].
    pub(crate) fn want(&self, address: IpAddr, place: Where) {
        let mut state = self.state();
        let mut orders = Vec::new();
        state.front.want(address, place, &mut orders);
        state.carry_out(orders);
    }

    /// The address is held, or not any more.
    fn hold(&self, address: IpAddr, held: bool) {
        let mut state = self.state();
        let mut orders = Vec::new();
        state.front.hold(address, held, &mut orders);
        state.carry_out(orders);
    }

    /// The other speakers have these hardware addresses.
    fn members(&self, macs: HashSet<MacAddr>) {
        let mut state = self.state();
        if state.members == macs {
            return;
        }
        for open in state.interfaces.values() {
            open.interface.tell(Command::Members(macs.clone()));
        }
        state.members = macs;
    }

    /// The interfaces on which the address would be announced, with this node's hardware address on each.
    fn places(&self, address: IpAddr) -> failover::Places {
        let state = self.state();
        let indices = state.front.places(address);
        indices.filter_map(|index| Some((index, state.interfaces.get(&index)?.mac))).collect()
    }
}

/// How many addresses the LAN is asked for at once.
const BATCH: usize = 1_024;

/// What the failover thread moves.
#[derive(Debug)]
pub(crate) struct BoardHands {
    board: Board,
    /// What the LAN is to be asked for.
    questions: mpsc::UnboundedSender<IpAddr>,
}

impl BoardHands {
    /// The hands for that board. The LAN, which takes its time, is asked on the runtime that this is called in; `orders` are told
    /// what comes of it.
    pub(crate) fn new(board: Board, runtime: &Handle, orders: WeakUnboundedSender<Order>) -> Self {
        let (questions, asked) = mpsc::unbounded_channel();
        runtime.spawn(probe_all(board.clone(), asked, orders));
        Self { board, questions }
    }
}

/// Asks for all addresses that wait at once, until nobody asks any more.
async fn probe_all(
    board: Board,
    mut asked: mpsc::UnboundedReceiver<IpAddr>,
    orders: WeakUnboundedSender<Order>,
) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, BATCH).await > 0 {
        let (addresses, orders) = (std::mem::take(&mut batch), orders.clone());
        let places = addresses.iter().map(|&address| (address, board.places(address))).collect();
        // Those that come next do not wait for these.
        tokio::spawn(async move {
            let answered = failover::probe(places).await;
            // Where nobody takes orders any more the speaker ends.
            let Some(orders) = orders.upgrade() else { return };
            for address in addresses {
                drop(orders.send(Order::Probed { address, answered: answered.contains(&address) }));
            }
        });
    }
}

impl Hands for BoardHands {
    fn moved(&mut self, address: IpAddr, held: bool) {
        self.board.hold(address, held);
    }

    fn members(&mut self, macs: HashSet<MacAddr>) {
        self.board.members(macs);
    }

    fn probe(&mut self, address: IpAddr) {
        if self.questions.send(address).is_err() {
            // As the runtime ends, and the speaker with it.
            debug!(%address, "nobody asks the LAN any more");
        }
    }
}
