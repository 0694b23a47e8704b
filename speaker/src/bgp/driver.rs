//! The task of one peer: carries bytes and deadlines between a session and the network.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use bgp::packet::Families;
use bgp::rib::Change;
use bgp::session::{
    ConnectError, ConnectionId, DEFAULT_RESTART_TIME, Input, LocalAddresses, Output, Session, State, Stop,
    Transport, Ttl,
};
use l2::Instant;
use net::Family;
use sockets::{Hops, TcpOptions, accepted_tcp, boot_time, connect_tcp, nearby_addresses};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::counts::{BgpCounts, SessionCounts};
use super::forwarding::Forwarding;
use super::wire::{LAST_READS, READ, Wire};
use super::{Command, Leaving, Report};
use crate::core::SessionReport;

/// How much is asked of the session at once: more than one message, so that many share a packet.
const BATCH: usize = 65_536;

/// What routers are told where the speaker ends on a node that is being drained (RFC 9003).
const NODE_DRAIN: &str = "node drain";

/// A connection that is being opened.
type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// What the task of a peer begins with.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) peer: String,
    /// Spreads the timers of all sessions of all nodes.
    pub(super) seed: u64,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    /// Connections that the router opened.
    pub(super) incoming: mpsc::Receiver<TcpStream>,
    /// Why the router cannot connect, where that is for a user to mend.
    pub(super) hindered: watch::Receiver<Option<String>>,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) counts: BgpCounts,
    pub(super) forwarding: Forwarding,
    /// Whether routes are about to go.
    pub(super) leaving: watch::Receiver<Leaving>,
}

/// The task once it knows what the session is to be.
struct Running {
    driver: Driver,
    session: Session,
    /// More than one for a moment, where both sides connect: the session decides which stays, and bounds their number.
    wires: Vec<Wire>,
    attempt: Option<Attempt>,
    connections: u64,
    counts: SessionCounts,
    /// The address that `counts` are shown under.
    shown: SocketAddr,
    /// Why the session is not up, in words.
    words: String,
    reported: Option<SessionReport>,
}

/// What the task waits for.
enum Event {
    Command(Option<Command>),
    Attempt(io::Result<TcpStream>),
    Incoming(TcpStream),
    Readable(ConnectionId),
    Writable,
    Timeout,
    Leaving,
    Hindered,
}

fn now() -> Instant {
    Instant::from_origin(boot_time())
}

impl Driver {
    /// Runs until the session is not wanted any more, or the speaker ends.
    pub(super) async fn run(mut self) {
        let mut changes: Vec<Change> = Vec::new();
        let config = loop {
            match self.commands.recv().await {
                Some(Command::Routes(more)) => changes.extend_from_slice(&more),
                Some(Command::Session(config)) => break config,
                Some(Command::End) | None => return,
            }
        };
        let restarted = started_lately();
        let forwarding = match config.graceful_restart {
            Some(restart) if restarted && self.forwarding.went_on(restart.time).await => Families::BOTH,
            _ => Families::default(),
        };
        let shown = config.transport.peer;
        let mut running = Running {
            session: Session::new(*config, self.seed),
            wires: Vec::new(),
            attempt: None,
            connections: 0,
            counts: self.counts.session(&shown.to_string()),
            shown,
            words: String::new(),
            reported: None,
            driver: self,
        };
        running.handle(Input::Restarting { restarted, forwarding });
        running.handle(Input::Routes(&changes));
        drop(changes);
        running.leave();
        running.handle(Input::Start);
        running.run().await;
    }
}

/// Whether this process began so lately that routers may have kept routes of the one before.
fn started_lately() -> bool {
    use std::sync::OnceLock;
    static FIRST: OnceLock<Instant> = OnceLock::new();
    now().saturating_since(*FIRST.get_or_init(now)) < DEFAULT_RESTART_TIME
}

impl Running {
    async fn run(mut self) {
        let mut buffer = vec![0; READ];
        loop {
            self.pull();
            self.show();
            match self.event().await {
                Event::Command(Some(Command::End)) => {
                    self.handle(Input::Stop(Stop::Deconfigured));
                    return;
                }
                Event::Command(None) => {
                    // Where the node itself goes, nobody would forward what routers go on sending.
                    let node = *self.driver.leaving.borrow() == Leaving::Node;
                    let stop = if node { Stop::Shutdown(NODE_DRAIN.to_owned()) } else { Stop::Restart };
                    self.handle(Input::Stop(stop));
                    return;
                }
                Event::Command(Some(command)) => {
                    // Said before it, so that its routes leave as they are to be.
                    if self.driver.leaving.has_changed().unwrap_or(false) {
                        self.leave();
                    }
                    self.command(command);
                    // All that is known goes before anything is told.
                    while let Ok(command) = self.driver.commands.try_recv() {
                        if matches!(command, Command::End) {
                            self.handle(Input::Stop(Stop::Deconfigured));
                            return;
                        }
                        self.command(command);
                    }
                }
                Event::Attempt(result) => self.attempted(result),
                Event::Incoming(stream) => self.came_in(stream),
                Event::Readable(connection) => self.read(connection, &mut buffer),
                Event::Writable | Event::Timeout | Event::Hindered => {}
                Event::Leaving => self.leave(),
            }
            // Also where a router sends so much that it never is silence that the task waits for.
            if self.is_due() {
                self.timeout();
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Routes(changes) => self.handle(Input::Routes(&changes)),
            Command::Session(config) => {
                let peer = config.transport.peer;
                self.handle(Input::Configure(config));
                if peer != self.shown {
                    let counts = self.driver.counts.session(&peer.to_string());
                    self.counts = counts.beginning_now(&self.session);
                    self.shown = peer;
                }
            }
            Command::End => {}
        }
    }

    /// Waits for what comes first. Bytes come before a deadline: a task that was held up would else take a living router
    /// for dead.
    async fn event(&mut self) -> Event {
        let Self { driver, session, wires, attempt, .. } = self;
        let wait = session.poll_timeout().map(|at| at.saturating_since(now()));
        let deadline = async {
            match wait {
                Some(time) => sleep(time).await,
                None => pending().await,
            }
        };
        let attempt = async {
            match attempt {
                Some(attempt) => attempt.await,
                None => pending().await,
            }
        };
        // An error shows when the socket is read.
        let ready = poll_fn(|context| {
            for wire in wires.iter() {
                if wire.stream.poll_read_ready(context).is_ready() {
                    return Poll::Ready(Event::Readable(wire.id));
                }
                if !wire.is_drained() && wire.stream.poll_write_ready(context).is_ready() {
                    return Poll::Ready(Event::Writable);
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            command = driver.commands.recv() => Event::Command(command),
            // Without a sender the commands end, too.
            Ok(()) = driver.leaving.changed() => Event::Leaving,
            event = ready => event,
            // Where nobody listens there is no sender.
            Some(stream) = driver.incoming.recv() => Event::Incoming(stream),
            Ok(()) = driver.hindered.changed() => Event::Hindered,
            result = attempt => Event::Attempt(result),
            () = deadline => Event::Timeout,
        }
    }

    /// Hands something to the session and does what comes of it, in order.
    fn handle(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.session.handle(now(), input, &mut outputs);
        for output in outputs {
            match output {
                Output::Connect(transport) => self.attempt = Some(Box::pin(connect(transport))),
                Output::CancelConnect => self.attempt = None,
                Output::Send { connection, bytes } => {
                    if let Some(wire) = self.wire(connection) {
                        wire.push(&bytes);
                    }
                }
                Output::Close { connection } => {
                    if let Some(place) = self.wires.iter().position(|wire| wire.id == connection) {
                        self.wires.remove(place).close();
                    }
                }
                Output::StateChanged { from, to, reason } => {
                    debug!(peer = self.driver.peer, "{from} to {to}: {reason}");
                    if from == State::Established || reason.cause.is_error() {
                        self.words.clone_from(&reason.words);
                    }
                }
                Output::Established(terms) => debug!(peer = self.driver.peer, ?terms, "established"),
                Output::RefreshWanted(family) => {
                    info!(peer = self.driver.peer, "the router asks for all {family} routes again");
                }
                Output::EndOfRib(family) => {
                    debug!(peer = self.driver.peer, "the router has told all its {family} routes");
                }
                Output::Malformed(error) => {
                    warn!(peer = self.driver.peer, "the router sent an UPDATE with a fault: {error}");
                }
            }
        }
    }

    fn wire(&mut self, connection: ConnectionId) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|wire| wire.id == connection)
    }

    /// Takes a connection in; its number.
    fn add(&mut self, stream: TcpStream) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.wires.push(Wire::new(connection, stream));
        connection
    }

    /// The router connected to us.
    fn came_in(&mut self, stream: TcpStream) {
        let hops = hops(self.session.config().transport.ttl);
        match accepted_tcp(&stream, hops).and_then(|()| local_addresses(&stream)) {
            Ok(local) => {
                let connection = self.add(stream);
                self.handle(Input::Accepted { connection, local });
            }
            // It is over already.
            Err(error) => debug!(peer = self.driver.peer, "a connection of the router broke: {error}"),
        }
    }

    fn attempted(&mut self, result: io::Result<TcpStream>) {
        self.attempt = None;
        match result.and_then(|stream| Ok((local_addresses(&stream)?, stream))) {
            Ok((local, stream)) => {
                let connection = self.add(stream);
                self.handle(Input::Connected { connection, local });
            }
            Err(error) => self.handle(Input::ConnectFailed(connect_error(&error))),
        }
    }

    /// Routes are about to go, or not.
    fn leave(&mut self) {
        let leaving = match *self.driver.leaving.borrow_and_update() {
            Leaving::No => false,
            Leaving::Speaker => !self.session.negotiated().is_some_and(|terms| terms.graceful_restart),
            Leaving::Node => true,
        };
        self.handle(Input::Leaving(leaving));
    }

    /// Hands on what came.
    fn read(&mut self, connection: ConnectionId, buffer: &mut [u8]) {
        let Some(wire) = self.wire(connection) else { return };
        match wire.stream.try_read(buffer) {
            Ok(0) => self.closed(connection, None),
            Ok(count) => {
                if let Some(bytes) = buffer.get(..count) {
                    self.handle(Input::Received { connection, bytes });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.closed(connection, Some(&error.to_string())),
        }
    }

    fn closed(&mut self, connection: ConnectionId, error: Option<&str>) {
        self.wires.retain(|wire| wire.id != connection);
        self.handle(Input::Closed { connection, error });
    }

    /// A deadline has come; what came before it counts first.
    fn timeout(&mut self) {
        for connection in self.wires.iter().map(|wire| wire.id).collect::<Vec<_>>() {
            for _ in 0..LAST_READS {
                if !self.is_due() {
                    return;
                }
                let Some(bytes) = self.wire(connection).map(|wire| wire.arrived()) else { break };
                if bytes.is_empty() {
                    break;
                }
                self.handle(Input::Received { connection, bytes: &bytes });
            }
        }
        if self.is_due() {
            self.handle(Input::Timeout);
        }
    }

    fn is_due(&self) -> bool {
        self.session.poll_timeout().is_some_and(|at| at <= now())
    }

    /// Writes, and asks for more routes as long as the socket takes them.
    fn pull(&mut self) {
        for connection in self.wires.iter().map(|wire| wire.id).collect::<Vec<_>>() {
            self.pull_to(connection);
        }
    }

    fn pull_to(&mut self, connection: ConnectionId) {
        while let Some(wire) = self.wire(connection) {
            match wire.flush() {
                Ok(wrote) => {
                    let drained = wire.is_drained();
                    if wrote {
                        self.handle(Input::Written { connection });
                    }
                    if !drained || self.session.connection() != Some(connection) || !self.fill(connection) {
                        return;
                    }
                }
                Err(error) => self.closed(connection, Some(&error.to_string())),
            }
        }
    }

    /// Takes messages about routes from the session; whether there were any.
    fn fill(&mut self, connection: ConnectionId) -> bool {
        let mut filled = 0;
        while filled < BATCH
            && let Some(message) = self.session.next_message(now())
            && let Some(wire) = self.wire(connection)
        {
            filled += message.bytes.len();
            wire.push(&message.bytes);
        }
        filled > 0
    }

    /// Shows how the session is, where that is news.
    fn show(&mut self) {
        self.counts.show(&self.session);
        let up = self.session.state() == State::Established;
        let report = SessionReport { up, words: self.report_words(up), warnings: self.warnings(up) };
        if self.reported.as_ref() != Some(&report) {
            self.reported = Some(report.clone());
            // Nobody listens only at the end.
            self.driver.reports.send((self.driver.peer.clone(), report)).ok();
        }
    }

    fn report_words(&self, up: bool) -> String {
        match self.session.negotiated() {
            Some(terms) if up => format!("established with AS {} ({})", terms.peer_asn, terms.peer_id),
            _ => match self.driver.hindered.borrow().as_ref() {
                Some(hindrance) if self.words.is_empty() => hindrance.clone(),
                Some(hindrance) => format!("{}; {hindrance}", self.words),
                None => self.words.clone(),
            },
        }
    }

    fn warnings(&self, up: bool) -> Vec<String> {
        if !up {
            return Vec::new();
        }
        let mut warnings: Vec<String> =
            [Family::V4, Family::V6].into_iter().filter_map(|family| self.session.untold(family)).collect();
        warnings.extend(self.driver.hindered.borrow().clone());
        let refused = self.session.rib().counts().refused;
        if refused > 0 {
            warnings.push(format!(
                "{refused} prefixes are not told: they have more communities than a message has room for"
            ));
        }
        warnings
    }
}

/// Opens a connection as the session wants it.
async fn connect(transport: Transport) -> io::Result<TcpStream> {
    let options = TcpOptions {
        peer: transport.peer,
        source: transport.source,
        key: transport.password.map(String::into_bytes),
        hops: hops(transport.ttl),
        device: transport.device,
    };
    connect_tcp(&options).await
}

fn hops(ttl: Ttl) -> Hops {
    match ttl {
        Ttl::System => Hops::System,
        Ttl::Hops(hops) => Hops::Limit(hops),
        Ttl::Security(hops) => Hops::Security(hops),
    }
}

fn local_addresses(stream: &TcpStream) -> io::Result<LocalAddresses> {
    let (connection, peer) = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
    let nearby = nearby_addresses(connection, peer)?;
    Ok(LocalAddresses { connection, v4: nearby.v4, v6: nearby.v6, link_local: nearby.link_local })
}

fn connect_error(error: &io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused,
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ConnectError::Unreachable,
        io::ErrorKind::AddrNotAvailable => ConnectError::NoSource,
        _ => ConnectError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
