//! How a session begins, is tried again, and ends.

use std::time::Duration;

use super::config::{Config, Opening};
use super::connection::{Connection, Expired, Phase};
use super::negotiate::{LocalAddresses, capabilities};
use super::retry::{Failure, Retry};
use super::words::{ConnectError, Reason};
use super::{ConnectionId, Offer, Output, Session, State, Stop};
use crate::Instant;
use crate::packet::{ErrorCode, MessageType, Notification, Open, keepalive};

/// How long a session must last for its end to be no failure of those before it.
const GOOD: Duration = Duration::from_secs(30);

/// How long no connection is accepted after several in a row went wrong. Shorter than any wait of ours, so that two
/// speakers who wait for each other do not refuse each other forever.
const REFUSAL: Duration = Duration::from_millis(750);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting<'a> {
    /// It did already.
    Gone,
    /// It is closed without a word.
    Silent,
    /// It is closed after this is said.
    Saying(&'a Notification),
}

impl Session {
    pub(super) fn start(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.enabled {
            self.enabled = true;
            self.retry.forget();
            self.connect(now, Reason::command("the session is wanted"), out);
        }
    }

    pub(super) fn stop(&mut self, now: Instant, stop: Stop, out: &mut Vec<Output>) {
        let (notification, words, kept) = match stop {
            Stop::Shutdown(text) => (
                Notification::with_communication(ErrorCode::ADMINISTRATIVE_SHUTDOWN, &text),
                "the session is switched off",
                false,
            ),
            Stop::Deconfigured => (
                Notification::new(ErrorCode::PEER_DECONFIGURED),
                "the peer is not configured any more",
                false,
            ),
            Stop::Restart => (
                Notification::with_communication(ErrorCode::ADMINISTRATIVE_SHUTDOWN, "speaker restart"),
                "the speaker restarts",
                true,
            ),
        };
        self.enabled = false;
        let reason = Reason::command(words);
        self.close_all(now, &notification, kept, &reason, out);
    }

    pub(super) fn reset(&mut self, now: Instant, text: &str, out: &mut Vec<Output>) {
        if self.enabled {
            let notification = Notification::with_communication(ErrorCode::ADMINISTRATIVE_RESET, text);
            let reason = Reason::command("the session is made anew");
            self.close_all(now, &notification, false, &reason, out);
            self.retry.forget();
            self.connect(now, reason, out);
        }
    }

    pub(super) fn configure(&mut self, now: Instant, config: Config, out: &mut Vec<Output>) {
        let reason = Reason::command("the configuration of the session changed");
        if self.config.makes_the_session_of(&config) {
            self.config = config;
            // Now it may be ours to connect.
            if self.enabled && self.retry_at.is_none() {
                self.connect(now, reason, out);
            }
            return;
        }
        // Ended under the old configuration, which knows what was negotiated.
        self.close_all(now, &Notification::new(ErrorCode::CONFIGURATION_CHANGE), false, &reason, out);
        self.config = config;
        self.offer = Offer::All;
        self.retry.forget();
        if self.enabled {
            self.connect(now, reason, out);
        }
    }

    pub(super) fn bfd_down(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(id) = self.established().map(|connection| connection.id) {
            let notification = self.hard(Notification::new(ErrorCode::BFD_DOWN));
            let reason = Reason::said(&notification, "BFD says that the path to the router is broken");
            self.end(now, id, Parting::Saying(&notification), reason, Some(Failure::Session), out);
        }
    }

    /// Opens a connection, where that is ours to do and none is on its way.
    fn connect(&mut self, now: Instant, reason: Reason, out: &mut Vec<Output>) {
        self.retry_at = None;
        let ours = self.enabled && self.config.opening != Opening::Passive;
        if ours && self.attempt.is_none() && self.connections.is_empty() {
            self.attempt = Some(now + Retry::attempt(self.config.connect_time));
            out.push(Output::Connect(self.config.transport.clone()));
        }
        self.transition(now, reason, out);
    }

    pub(super) fn connected(
        &mut self,
        now: Instant,
        id: ConnectionId,
        local: LocalAddresses,
        out: &mut Vec<Output>,
    ) {
        if self.attempt.take().is_none() {
            out.push(Output::Close { connection: id });
            return;
        }
        self.open(now, id, true, local, out);
    }

    pub(super) fn connect_failed(&mut self, now: Instant, error: &ConnectError, out: &mut Vec<Output>) {
        if self.attempt.take().is_some() {
            let reason = Reason::connect_failed(&self.config, error);
            self.failed(now, Failure::Connect);
            self.transition(now, reason, out);
        }
    }

    pub(super) fn accepted(
        &mut self,
        now: Instant,
        id: ConnectionId,
        local: LocalAddresses,
        out: &mut Vec<Output>,
    ) {
        let damped = self.retry.is_damping() && now < self.refuse_until;
        let wanted = self.enabled && self.config.opening != Opening::Active && !damped;
        if !wanted {
            let rejection = Notification::new(ErrorCode::CONNECTION_REJECTED).build();
            self.sent.count(&rejection);
            out.push(Output::Send { connection: id, bytes: rejection });
            out.push(Output::Close { connection: id });
            return;
        }
        // The peer would not open a second one, did it not hold the first for dead.
        let older = self.connections.iter().find(|other| !other.outgoing && other.phase == Phase::OpenSent);
        if let Some(older) = older.map(|connection| connection.id) {
            let reason = Reason::progress("the router opened another connection");
            self.end(now, older, Parting::Silent, reason, None, out);
        }
        self.open(now, id, false, local, out);
    }

    /// A connection is there: our OPEN goes out.
    fn open(
        &mut self,
        now: Instant,
        id: ConnectionId,
        outgoing: bool,
        local: LocalAddresses,
        out: &mut Vec<Output>,
    ) {
        let capabilities = match &self.offer {
            Offer::None => Vec::new(),
            offer => {
                let mut all = capabilities(&self.config, self.restart.at(now, &self.config));
                if let Offer::Without(codes) = offer {
                    all.retain(|capability| !codes.contains(&capability.code()));
                }
                all
            }
        };
        let hold_time = u16::try_from(self.config.hold_time.as_secs()).unwrap_or(u16::MAX);
        let ours = Open::new(self.config.local_asn(), hold_time, self.config.router_id, capabilities);
        self.send(id, ours.build(), out);
        self.connections.push(Connection::new(now, id, outgoing, local, ours));
        let who = if outgoing { "connected to" } else { "a connection came from" };
        self.transition(now, Reason::progress(format!("{who} {}", self.config.transport.peer)), out);
    }

    pub(super) fn closed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connection_mut(id) else { return };
        let opened = connection.negotiated.is_some();
        let reason = Reason::closed(self.config.transport.peer, opened, error);
        self.end(now, id, Parting::Gone, reason, Some(Failure::Session), out);
    }

    pub(super) fn run_timers(&mut self, now: Instant, out: &mut Vec<Output>) {
        let ids: Vec<ConnectionId> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            self.run_timers_of(now, id, out);
        }
        if self.attempt.is_some_and(|until| until <= now) {
            out.push(Output::CancelConnect);
            self.connect_failed(now, &ConnectError::TimedOut, out);
        }
        if self.retry_at.is_some_and(|(at, _)| at <= now) {
            self.connect(now, Reason::progress("trying again"), out);
        }
    }

    fn run_timers_of(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(connection) = self.connection_mut(id) else { return };
        let (expired, time) = (connection.expired(now), connection.hold_time());
        let notification = match expired {
            None => return,
            Some(Expired::Keepalive) => {
                self.send_keepalive(now, id, out);
                return;
            }
            Some(Expired::Hold) => Notification::new(ErrorCode::HOLD_TIMER_EXPIRED),
            Some(Expired::SendHold) => Notification::new(ErrorCode::SEND_HOLD_TIMER_EXPIRED),
        };
        let words = if expired == Some(Expired::Hold) {
            Reason::silent(time)
        } else {
            "the router takes no more bytes although it is alive: it is stuck".to_owned()
        };
        let reason = Reason::said(&notification, words);
        self.end(now, id, Parting::Saying(&notification), reason, Some(Failure::Session), out);
    }

    pub(super) fn send_keepalive(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        self.send(id, keepalive(), out);
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) {
            connection.restart_keepalive(now, &mut self.retry);
        }
    }

    fn send(&mut self, connection: ConnectionId, bytes: Vec<u8>, out: &mut Vec<Output>) {
        self.sent.count(&bytes);
        out.push(Output::Send { connection, bytes });
    }

    /// A connection is the session: all others go.
    pub(super) fn establish(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.establish(now);
        let (local, Some(negotiated)) = (connection.local, connection.negotiated.clone()) else { return };
        self.retry_at = None;
        self.restart.restarted = false;
        self.faults = 0;
        self.rib.up(negotiated.outbound(&self.config, &local));
        let words = format!("established with AS {} ({})", negotiated.peer_asn, negotiated.peer_id);
        self.transition(now, Reason::progress(words), out);
        out.push(Output::Established(Box::new(negotiated)));
        if self.attempt.take().is_some() {
            out.push(Output::CancelConnect);
        }
        let others = self.connections.iter().map(|other| other.id).filter(|other| *other != id);
        for other in others.collect::<Vec<_>>() {
            let notification = Notification::new(ErrorCode::COLLISION_RESOLUTION);
            let reason = Reason::progress("one connection is enough");
            self.end(now, other, Parting::Saying(&notification), reason, None, out);
        }
    }

    /// Ends all connections and attempts by command. `kept`: the peer is to keep routes.
    fn close_all(
        &mut self,
        now: Instant,
        notification: &Notification,
        kept: bool,
        reason: &Reason,
        out: &mut Vec<Output>,
    ) {
        if self.attempt.take().is_some() {
            out.push(Output::CancelConnect);
        }
        self.retry_at = None;
        let drops_routes = [ErrorCode::ADMINISTRATIVE_SHUTDOWN, ErrorCode::PEER_DECONFIGURED];
        let drops_routes = drops_routes.contains(&notification.error);
        for id in self.connections.iter().map(|connection| connection.id).collect::<Vec<_>>() {
            let kept = kept && self.negotiated().is_some_and(|negotiated| negotiated.graceful_restart);
            let notification =
                if drops_routes { self.hard(notification.clone()) } else { notification.clone() };
            let parting = if kept { Parting::Silent } else { Parting::Saying(&notification) };
            self.end(now, id, parting, reason.clone(), None, out);
        }
        self.transition(now, reason.clone(), out);
    }

    /// As a Hard Reset, where the peer would else keep routes (RFC 8538 §5).
    fn hard(&self, notification: Notification) -> Notification {
        let keeps = self.negotiated().is_some_and(|negotiated| negotiated.notification_restart);
        if keeps { notification.into_hard_reset() } else { notification }
    }

    /// Ends one connection. Without another one or an attempt under way, `failure` says what to wait for until the next
    /// attempt.
    pub(super) fn end(
        &mut self,
        now: Instant,
        id: ConnectionId,
        parting: Parting<'_>,
        reason: Reason,
        failure: Option<Failure>,
        out: &mut Vec<Output>,
    ) {
        let Some(place) = self.connections.iter().position(|connection| connection.id == id) else { return };
        if let Parting::Saying(notification) = parting {
            self.send(id, notification.build(), out);
        }
        let connection = self.connections.remove(place);
        if parting != Parting::Gone {
            out.push(Output::Close { connection: id });
        }
        if connection.is_established() {
            self.rib.down();
            if now.saturating_since(connection.since) >= GOOD {
                self.retry.forget();
            }
        }
        if let Some(failure) = failure {
            self.refuse_until = now + REFUSAL;
            self.failed(now, failure);
        }
        self.transition(now, reason, out);
    }

    /// Plans the next attempt, where nothing else is under way.
    fn failed(&mut self, now: Instant, failure: Failure) {
        if self.enabled && self.connections.is_empty() && self.attempt.is_none() {
            let wait = self.retry.after(failure, self.config.connect_time);
            self.retry_at = Some((now + wait, failure));
        }
    }

    /// Tells of the state, where it is another.
    pub(super) fn transition(&mut self, now: Instant, reason: Reason, out: &mut Vec<Output>) {
        let to = match self.connections.iter().map(|connection| connection.phase).max() {
            Some(Phase::Established) => State::Established,
            Some(Phase::OpenConfirm) => State::OpenConfirm,
            Some(Phase::OpenSent) => State::OpenSent,
            None if self.attempt.is_some() => State::Connect,
            None => match self.retry_at {
                Some((_, Failure::Connect)) => State::Active,
                None if self.enabled && self.config.opening == Opening::Passive => State::Active,
                Some((_, Failure::Session)) | None => State::Idle,
            },
        };
        if reason.cause.is_error() {
            self.last_error = Some(reason.clone());
        }
        let from = std::mem::replace(&mut self.state, to);
        if from != to {
            self.since = now;
            out.push(Output::StateChanged { from, to, reason });
        }
    }
}

impl Config {
    /// Whether a session made by this configuration serves for another one, too.
    fn makes_the_session_of(&self, other: &Self) -> bool {
        let timing = Self { connect_time: other.connect_time, opening: other.opening, ..self.clone() };
        timing == *other
    }
}

/// What an unexpected message is told, by the phase of its connection (RFC 6608).
pub(super) fn unexpected(phase: Phase, kind: MessageType) -> Notification {
    let code = match phase {
        Phase::OpenSent => ErrorCode::FSM_OPEN_SENT,
        Phase::OpenConfirm => ErrorCode::FSM_OPEN_CONFIRM,
        Phase::Established => ErrorCode::FSM_ESTABLISHED,
    };
    Notification::with_data(code, &[kind.number()])
}
