//! Who holds which address, agreed on with the other speakers: the thread around [`membership`].
//!
//! ```text
//!  Core ──Order──► thread "failover": UDP socket + membership::Machine ──► Hands: the interfaces take and release
//!  key file ─────►          │                                        └──► Input::Moved, Input::Members ──► Core
//!                           └── may_answer(), asked by the interfaces right before each frame
//! ```
//!
//! It has a thread of its own, so that neither the API nor a thousand Services hold a heartbeat up, and what it
//! decides reaches the interfaces without the core in between.

mod book;
mod driver;
mod key;
mod links;
mod probe;
mod store;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use announce::Place;
use l2::Instant;
use membership::{Machine, NodeId, OnQuorumLoss, Profile};
use net::MacAddr;
use sockets::{MemberSocket, boot_time};
use tokio::sync::{Notify, mpsc};

use crate::core::{Input, RosterView};
use crate::interface::MayAnswer;
use driver::Driver;
pub use key::{KeyError, read_key, watch_key};
pub use links::LinkView;
pub use probe::{Places, ask as probe};
use store::Store;

/// What the protocol needs to begin.
#[derive(Clone, Debug)]
pub struct Start {
    /// The name of this node.
    pub node: String,
    /// Where the other speakers reach this one.
    pub contact: SocketAddr,
    /// The key that all speakers have.
    pub key: Vec<u8>,
    /// Where what must survive a restart is kept.
    pub folder: PathBuf,
    /// How fast failures are found.
    pub profile: Profile,
    /// What may be done without a majority.
    pub on_quorum_loss: OnQuorumLoss,
    /// Which version of the protocol is spoken.
    pub version: u8,
}

/// What the protocol is told.
#[derive(Debug)]
pub enum Order {
    /// These are the speakers.
    Speakers(RosterView),
    /// Who may hold the address.
    Place {
        /// The address.
        address: IpAddr,
        /// Who, and where; `None`: nobody.
        place: Option<Place>,
    },
    /// The interfaces that addresses can be announced on are these.
    Links(Vec<LinkView>),
    /// The LAN was asked for the address.
    Probed {
        /// The address.
        address: IpAddr,
        /// Whether somebody answered.
        answered: bool,
    },
    /// Another speaker's frame on a LAN claims the address.
    Claimed {
        /// The address.
        address: IpAddr,
        /// By which of its hardware addresses.
        mac: MacAddr,
    },
    /// Everything is to be handed over, or not any more.
    Drain(bool),
    /// The key has this value now.
    Key(Vec<u8>),
}

/// What the protocol does beyond talking to the other speakers; called by its thread, so both have to be quick.
pub trait Hands: Send {
    /// The node holds the address from now on, or does not any more.
    fn moved(&mut self, address: IpAddr, held: bool);
    /// These are the hardware addresses of the other speakers, as far as they are known.
    fn members(&mut self, macs: HashSet<MacAddr>);
    /// The LAN is to be asked for the address, and [`Order::Probed`] to say what came of it.
    fn probe(&mut self, address: IpAddr);
}

/// The running protocol. It ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Failover {
    orders: mpsc::UnboundedSender<Order>,
    machine: Arc<Mutex<Machine>>,
    /// Told whenever the electorates are others.
    elected: Arc<Notify>,
    node: NodeId,
}

/// Why the protocol cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its port.
    #[error(
        "cannot open UDP {address} for the speakers' own protocol: {source}; if another program has the port, set METALLB_ML_BIND_PORT to a free one in the speakers of all nodes"
    )]
    Socket {
        /// The address and port.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Its thread, or what that needs.
    #[error("cannot start the thread of the speakers' own protocol: {0}")]
    Thread(#[from] io::Error),
}

impl Failover {
    /// Starts the thread. What happens is told to `reports`, and done by the hands that `hands` makes.
    pub fn start<H: Hands + 'static>(
        start: &Start,
        reports: mpsc::UnboundedSender<Input>,
        hands: impl FnOnce(mpsc::WeakUnboundedSender<Order>) -> H,
    ) -> Result<Self, StartError> {
        let (orders, queue) = mpsc::unbounded_channel();
        let store = Store::new(&start.folder);
        let kept = store.read();
        let life = membership::Incarnation(random()?);
        let mut settings = membership::Settings::new(NodeId::of(&start.node), life, random()?);
        settings.profile = start.profile;
        settings.on_quorum_loss = start.on_quorum_loss;
        settings.remembered.clone_from(&kept.electorates);
        let machine = Arc::new(Mutex::new(Machine::new(settings, now())));
        // A socket belongs to the runtime that it is opened in.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let network = {
            let _entered = runtime.enter();
            MemberSocket::open(start.contact)
                .map_err(|source| StartError::Socket { address: start.contact, source })?
        };
        let hands = hands(orders.downgrade());
        let elected = Arc::new(Notify::new());
        let shared = (Arc::clone(&machine), Arc::clone(&elected));
        let driver = Driver::new(start, shared, network, store, kept, reports, hands);
        thread::Builder::new()
            .name("failover".to_owned())
            .spawn(move || runtime.block_on(driver.run(queue)))?;
        Ok(Self { orders, machine, elected, node: NodeId::of(&start.node) })
    }

    /// Tells the protocol something; orders are carried out in order.
    pub fn tell(&self, order: Order) {
        // Only a panic ends the thread, and `ended` tells of that.
        drop(self.orders.send(order));
    }

    /// Ends when the thread has ended, which only a panic brings about.
    pub async fn ended(&self) {
        self.orders.closed().await;
    }

    /// Ends when this node votes no longer: the others can do without it for good.
    pub async fn retired(&self) {
        loop {
            let votes = {
                let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
                machine.electorates().iter().any(|electorate| electorate.voters.contains(&self.node))
            };
            if !votes {
                return;
            }
            self.elected.notified().await;
        }
    }

    /// What the interfaces ask before each frame.
    pub fn may_answer(&self) -> MayAnswer {
        let machine = Arc::clone(&self.machine);
        Arc::new(move |address| {
            machine.lock().unwrap_or_else(PoisonError::into_inner).may_answer(address, now())
        })
    }
}

fn now() -> Instant {
    Instant::from_origin(boot_time())
}

/// A number that nobody can foresee: it is part of the packets' nonces.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
