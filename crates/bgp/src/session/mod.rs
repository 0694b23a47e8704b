//! A session with one peer: the state machine of RFC 4271 §8, without I/O.
//!
//! ```text
//!            Start                     Connected            OPEN             KEEPALIVE
//!   Idle ─────────────► Connect ─────────────► OpenSent ──────────► OpenConfirm ──────────► Established
//!    ▲                     │ ConnectFailed        │ NOTIFICATION, error, silence, Closed         │
//!    │  session went wrong │                      ▼                                              ▼
//!    ├─────────────────────┼─────────────────  wait, longer each time  ◄─────────────────────────┘
//!    │                     ▼
//!    └── wait over ──── Active   no connection: wait, or for the peer to connect
//! ```
//!
//! Several connections may exist for a moment: one that we opened, one that came in, and an established one that
//! the peer, having restarted, knows nothing of. RFC 4271 §6.8 and RFC 6286 say which of them stays. The driver numbers
//! them, and tells of each what happens to it; after [`Output::Close`] or [`Input::Closed`] there is nothing to be told
//! or done about that one any more.
//!
//! What arrives is to be handed in before a [`Input::Timeout`] that is due at the same time: a driver that was held up
//! would else take a living peer for dead.

mod config;
mod connection;
mod negotiate;
mod receive;
mod retry;
mod run;
mod words;

use std::fmt;

use net::Family;

use crate::Instant;
use crate::packet::{Families, UpdateError};
use crate::rib::{AdjRibOut, Change};

pub use config::{
    Config, DEFAULT_CONNECT_TIME, DEFAULT_HOLD_TIME, DEFAULT_KEEPALIVE_TIME, DEFAULT_RESTART_TIME, Opening,
    PeerAsn, RestartConfig, Transport, Ttl, router_id,
};
pub use connection::{MIN_SEND_HOLD_TIME, OPEN_HOLD_TIME};
pub use negotiate::{LocalAddresses, Negotiated, Refusal};
pub use words::{Cause, ConnectError, Reason};

use connection::Connection;
use negotiate::Restart;
use retry::{Failure, Retry};

/// A connection, as the driver numbers them: no two of a session have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// The states of a session (RFC 4271 §8.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stopped, or waiting after a session that went wrong.
    #[default]
    Idle,
    /// A connection is being opened.
    Connect,
    /// Waiting to open one again, or for the peer to do so.
    Active,
    /// The peer's OPEN is awaited.
    OpenSent,
    /// The peer's answer to our OPEN is awaited.
    OpenConfirm,
    /// Routes are told.
    Established,
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The session is wanted. To be said only once all routes are known that are wanted now: at the end of what is told
    /// first, a peer that kept routes over our restart drops those that were not told again (RFC 4724).
    Start,
    /// The session is not wanted any more, until the next start.
    Stop(Stop),
    /// The session is to be ended and made anew; the text is told to the peer (RFC 9003).
    Reset(&'a str),
    /// The session is to be like this. It is made anew only where it must be.
    Configure(Box<Config>),
    /// What was asked for by [`Output::Connect`] is there.
    Connected {
        /// The number of the new connection.
        connection: ConnectionId,
        /// Addresses of this node.
        local: LocalAddresses,
    },
    /// What was asked for by [`Output::Connect`] cannot be had.
    ConnectFailed(ConnectError),
    /// The peer opened a connection.
    Accepted {
        /// The number of the new connection.
        connection: ConnectionId,
        /// Addresses of this node.
        local: LocalAddresses,
    },
    /// Bytes came.
    Received {
        /// On this connection.
        connection: ConnectionId,
        /// In this order, cut anywhere.
        bytes: &'a [u8],
    },
    /// The socket took bytes.
    Written {
        /// Of this connection.
        connection: ConnectionId,
    },
    /// The peer closed a connection, or it broke.
    Closed {
        /// This one.
        connection: ConnectionId,
        /// The system's words where it broke.
        error: Option<&'a str>,
    },
    /// Other routes are wanted.
    Routes(&'a [Change]),
    /// Whether all routes are about to be withdrawn (RFC 8326).
    Leaving(bool),
    /// What to say about restarts in the next OPEN (RFC 4724).
    Restarting {
        /// The speaker has just restarted. Holds until a session is established, and for the restart time at most.
        restarted: bool,
        /// The families for which this node forwards now, and did while the speaker was away. Of no account where it was
        /// not.
        forwarding: Families,
    },
    /// The path to the peer is broken, says BFD (RFC 9384).
    BfdDown,
    /// The time of [`Session::poll_timeout`] has come.
    Timeout,
}

/// How a session ends that is not wanted any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The peer is to drop all routes; the text is told to it (RFC 9003).
    Shutdown(String),
    /// As [`Shutdown`](Self::Shutdown): the peer was deleted from the configuration.
    Deconfigured,
    /// The speaker restarts: without a word where the peer then keeps routes (RFC 4724), else as a shutdown.
    Restart,
}

/// What is to be done or told, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, and answer with [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect(Transport),
    /// The connection that was asked for is not wanted any more; answer nothing.
    CancelConnect,
    /// Write these bytes: whole messages.
    Send {
        /// To this connection.
        connection: ConnectionId,
        /// After what was written before.
        bytes: Vec<u8>,
    },
    /// Write what the socket takes at once, and close the connection.
    Close {
        /// This one.
        connection: ConnectionId,
    },
    /// The session is in another state.
    StateChanged {
        /// The state it was in.
        from: State,
        /// The state it is in.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// The session is established, and these are its terms. [`Session::next_message`] has routes now.
    Established(Box<Negotiated>),
    /// The peer asked for all routes of a family; they follow.
    RefreshWanted(Family),
    /// The peer has told all its first routes of a family.
    EndOfRib(Family),
    /// The peer's UPDATE has this fault, which does not end the session (RFC 7606). Told once in a session for each
    /// disposition.
    Malformed(UpdateError),
}

/// A message of the established session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The connection to write it to.
    pub connection: ConnectionId,
    /// The whole message.
    pub bytes: Vec<u8>,
}

/// How many messages went and came, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
}

impl Counters {
    /// All messages.
    pub fn total(&self) -> u64 {
        self.open + self.update + self.notification + self.keepalive + self.route_refresh
    }
}

/// The capabilities that are offered: fewer to a peer that could not bear all of them (RFC 5492 §5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Offer {
    #[default]
    All,
    /// Without those of these codes.
    Without(Vec<u8>),
    /// None at all.
    None,
}

/// A session with one peer, without I/O.
#[derive(Clone, Debug)]
pub struct Session {
    config: Config,
    enabled: bool,
    /// Until when the connection that was asked for is waited for.
    attempt: Option<Instant>,
    connections: Vec<Connection>,
    /// When to connect again, and after what.
    retry_at: Option<(Instant, Failure)>,
    /// Until when connections that come in are refused, where several failed.
    refuse_until: Instant,
    retry: Retry,
    offer: Offer,
    restart: Restart,
    rib: AdjRibOut,
    state: State,
    since: Instant,
    last_error: Option<Reason>,
    sent: Counters,
    received: Counters,
    /// The faults of UPDATEs that were told of in this session, by disposition.
    faults: u8,
}

impl Session {
    /// A session that is not started. `seed` spreads its timers: different for each session and node.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            enabled: false,
            attempt: None,
            connections: Vec::new(),
            retry_at: None,
            refuse_until: Instant::default(),
            retry: Retry::new(seed),
            offer: Offer::All,
            restart: Restart::default(),
            rib: AdjRibOut::new(),
            state: State::Idle,
            since: Instant::default(),
            last_error: None,
            sent: Counters::default(),
            received: Counters::default(),
            faults: 0,
        }
    }

    /// Takes in what happened at `now` and appends what is to be done about it.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Start => self.start(now, out),
            Input::Stop(stop) => self.stop(now, stop, out),
            Input::Reset(text) => self.reset(now, text, out),
            Input::Configure(config) => self.configure(now, *config, out),
            Input::Connected { connection, local } => self.connected(now, connection, local, out),
            Input::ConnectFailed(error) => self.connect_failed(now, &error, out),
            Input::Accepted { connection, local } => self.accepted(now, connection, local, out),
            Input::Received { connection, bytes } => self.receive(now, connection, bytes, out),
            Input::Written { connection } => {
                if let Some(connection) = self.connection_mut(connection) {
                    connection.restart_send_hold(now);
                }
            }
            Input::Closed { connection, error } => self.closed(now, connection, error, out),
            Input::Routes(changes) => changes.iter().for_each(|change| self.rib.change(change)),
            Input::Leaving(leaving) => self.rib.set_leaving(leaving),
            Input::Restarting { restarted, forwarding } => {
                self.restart = Restart { restarted, forwarding, since: now };
            }
            Input::BfdDown => self.bfd_down(now, out),
            Input::Timeout => self.run_timers(now, out),
        }
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = self.connections.iter().filter_map(Connection::next_timer);
        timers.chain(self.attempt).chain(self.retry_at.map(|(at, _)| at)).min()
    }

    /// The next message about routes, for when the socket has taken all that came before; `None` when the peer knows
    /// everything. Nothing is queued here: see [`AdjRibOut`].
    pub fn next_message(&mut self, now: Instant) -> Option<Message> {
        let connection = self.connections.iter_mut().find(|connection| connection.is_established())?;
        let bytes = self.rib.next_message()?;
        // An UPDATE is a sign of life as good as a KEEPALIVE (RFC 4271 §8.2.2).
        connection.restart_keepalive(now, &mut self.retry);
        let connection = connection.id;
        self.sent.count(&bytes);
        Some(Message { connection, bytes })
    }

    /// The state of the session.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is in this state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What went wrong last; kept while the next session is up.
    pub fn last_error(&self) -> Option<&Reason> {
        self.last_error.as_ref()
    }

    /// The terms of the session, while it is established.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.established().and_then(|connection| connection.negotiated.as_ref())
    }

    /// The connection of the established session: the one that [`next_message`](Self::next_message) is for.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.established().map(|connection| connection.id)
    }

    /// What it is to be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the peer is told.
    pub fn rib(&self) -> &AdjRibOut {
        &self.rib
    }

    /// How many messages went out.
    pub fn sent(&self) -> &Counters {
        &self.sent
    }

    /// How many messages came in.
    pub fn received(&self) -> &Counters {
        &self.received
    }

    /// Why routes of a family that is wanted are not told although the session is established, in words for a user.
    pub fn untold(&self, family: Family) -> Option<String> {
        let connection = self.established()?;
        let negotiated = connection.negotiated.as_ref()?;
        if !self.config.families.contains(family) {
            return None;
        }
        if !negotiated.families.contains(family) {
            return Some(format!(
                "the router takes no {family} routes: activate that address family for this neighbor there"
            ));
        }
        let next_hops = connection.local.next_hops(negotiated.extended_next_hop);
        match (next_hops.get(family), family) {
            (Some(_), _) => None,
            (None, Family::V6) => Some(
                "the interface to the router has no global IPv6 address that IPv6 routes could lead to".to_owned(),
            ),
            (None, Family::V4) => Some(
                "the router takes no IPv6 next hops for IPv4 routes (RFC 8950), and the interface to it has no IPv4 address"
                    .to_owned(),
            ),
        }
    }

    fn established(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.is_established())
    }

    fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}
