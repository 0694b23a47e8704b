//! The sessions with routers: one task for each BGPPeer of this node.
//!
//! ```text
//! BgpEffect ──Command──► Driver ──Input──► bgp::Session ──Output──► socket
//!                          │  ▲                                       │
//!          SessionReport ◄─┘  └──────────── bytes, deadlines ◄────────┘
//!                             ▲
//!                             └── connections of routers (listen), where they may connect
//! ```

mod counts;
mod driver;
mod forwarding;
mod listen;
mod wire;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bgp::rib::Change;
use bgp::session::Config;
use metrics::Metrics;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::core::{BgpEffect, BgpInput, SessionReport};
use counts::BgpCounts;
use driver::Driver;
use forwarding::Forwarding;
use listen::{Guest, Guests, WAITING, listen};

/// How long the end of all sessions may take: a few packets for each.
const GOODBYE: Duration = Duration::from_secs(3);

/// What the task of a peer is told. Without anyone to tell it more, the speaker ends, and so does the session: in the way
/// that lets the router keep routes where that was agreed on, unless the node goes, too.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Other routes are wanted.
    Routes(Arc<[Change]>),
    /// The session is wanted, and to be like this.
    Session(Box<Config>),
    /// The session is not wanted any more, and the task ends.
    End,
}

/// Whether routes are about to go, so that routers take other ways first (RFC 8326).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// They stay.
    #[default]
    No,
    /// The speaker ends; routers that keep routes over a restart are not to take other ways.
    Speaker,
    /// The node is being drained.
    Node,
}

/// How the session with a peer is, by the BGPPeer's name.
pub type Report = (String, SessionReport);

/// The tasks of all peers.
///
/// The queues to them have no bound of their own: a task takes what is in them at once, whatever its router does, and
/// keeps of each prefix only what is wanted last.
#[derive(Debug)]
pub struct Peers {
    node: String,
    tasks: BTreeMap<String, Task>,
    /// The routers that may connect to us; nobody listens where there is no listener.
    guests: watch::Sender<Guests>,
    reports: mpsc::UnboundedSender<Report>,
    counts: BgpCounts,
    forwarding: Forwarding,
    leaving: watch::Sender<Leaving>,
    goodbye: Goodbye,
}

/// How the task of a peer is reached.
#[derive(Debug)]
struct Task {
    commands: mpsc::UnboundedSender<Command>,
    connections: mpsc::Sender<TcpStream>,
    hindrance: watch::Sender<Option<String>>,
}

/// The end of all tasks, to be waited for.
#[derive(Clone, Debug)]
pub struct Goodbye {
    tasks: TaskTracker,
    leaving: watch::Sender<Leaving>,
}

impl Goodbye {
    /// Asks routers to take other ways, and gives them this time for it. Those that keep routes over a restart are left
    /// alone.
    pub async fn announced(&self, time: Duration) {
        if !time.is_zero() && !self.tasks.is_empty() {
            info!(seconds = time.as_secs(), "routers are asked to take other ways (RFC 8326)");
            self.leaving.send_if_modified(|leaving| {
                // What was said of the node holds.
                let unsaid = *leaving == Leaving::No;
                if unsaid {
                    *leaving = Leaving::Speaker;
                }
                unsaid
            });
            sleep(time).await;
        }
    }

    /// Waits until every session has ended, once [`Peers`] is dropped.
    pub async fn said(self) {
        self.tasks.close();
        if timeout(GOODBYE, self.tasks.wait()).await.is_err() {
            warn!(
                sessions = self.tasks.len(),
                "some sessions did not end in time: their routers will notice"
            );
        }
    }
}

impl Peers {
    /// No peers yet. What they have to say comes by the channel.
    pub fn new(metrics: &Metrics, node: &str) -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (reports, receiver) = mpsc::unbounded_channel();
        let (leaving, _) = watch::channel(Leaving::No);
        let (guests, _) = watch::channel(Guests::new());
        let peers = Self {
            node: node.to_owned(),
            tasks: BTreeMap::new(),
            guests,
            reports,
            counts: BgpCounts::new(metrics),
            forwarding: Forwarding::default(),
            goodbye: Goodbye { tasks: TaskTracker::new(), leaving: leaving.clone() },
            leaving,
        };
        (peers, receiver)
    }

    /// The same peers, whose routers may also connect to this port of the addresses from which they are reached. To be called
    /// in a tokio runtime, before there are peers. What hinders is told in the log.
    #[must_use]
    pub fn listening(self, port: u16) -> Self {
        // Ends with `guests`.
        tokio::spawn(listen(port, self.guests.subscribe()));
        self
    }

    /// What to wait for at the end.
    pub fn goodbye(&self) -> Goodbye {
        self.goodbye.clone()
    }

    /// Does what concerns the tasks of peers; everything else is left alone.
    pub fn carry_out(&mut self, effect: BgpEffect) {
        match effect {
            BgpEffect::Routes { peer, changes } => self.tell(&peer, Command::Routes(changes)),
            BgpEffect::Session { peer, config } => self.tell(&peer, Command::Session(config)),
            BgpEffect::End { peer } => self.tell(&peer, Command::End),
            BgpEffect::Drain(drain) => {
                self.leaving.send_replace(if drain { Leaving::Node } else { Leaving::No });
            }
            BgpEffect::Status(..)
            | BgpEffect::Actual(_)
            | BgpEffect::Announced { .. }
            | BgpEffect::Sessions(_) => {}
        }
    }

    /// Tells the task of a peer, which is started where there is none.
    pub(crate) fn tell(&mut self, peer: &str, command: Command) {
        let ends = matches!(command, Command::End);
        if !self.tasks.contains_key(peer) {
            if ends {
                return;
            }
            let task = self.start(peer);
            self.tasks.insert(peer.to_owned(), task);
        }
        let Some(task) = self.tasks.get(peer) else { return };
        if let Command::Session(config) = &command {
            let guest = Guest {
                transport: config.transport.clone(),
                connections: task.connections.clone(),
                hindrance: task.hindrance.clone(),
            };
            self.guests.send_modify(|guests| drop(guests.insert(peer.to_owned(), guest)));
        }
        if task.commands.send(command).is_err() {
            debug!(peer, "the task of the session has ended");
        }
        if ends {
            self.tasks.remove(peer);
            self.guests.send_modify(|guests| drop(guests.remove(peer)));
        }
    }

    fn start(&self, peer: &str) -> Task {
        let (sender, commands) = mpsc::unbounded_channel();
        let (connections, incoming) = mpsc::channel(WAITING);
        let (hindrance, hindered) = watch::channel(None);
        let mut hasher = DefaultHasher::new();
        (&self.node, peer).hash(&mut hasher);
        let driver = Driver {
            peer: peer.to_owned(),
            seed: hasher.finish(),
            commands,
            incoming,
            hindered,
            reports: self.reports.clone(),
            counts: self.counts.clone(),
            forwarding: self.forwarding.clone(),
            leaving: self.leaving.subscribe(),
        };
        self.goodbye.tasks.spawn(driver.run());
        Task { commands: sender, connections, hindrance }
    }
}

impl From<Report> for BgpInput {
    fn from((peer, report): Report) -> Self {
        Self::Report { peer, report }
    }
}
