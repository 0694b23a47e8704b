//! One connection of a session: how far it is, and its timers.

use std::time::Duration;

use super::negotiate::{LocalAddresses, Negotiated};
use super::retry::Retry;
use super::{ConnectionId, Counters};
use crate::Instant;
use crate::packet::{MAX_EXTENDED_MESSAGE, MessageType, Open, Stream};

/// How long the peer's OPEN is waited for (RFC 4271 §8.2.2).
pub const OPEN_HOLD_TIME: Duration = Duration::from_secs(240);

/// After what time a session ends whose peer takes no bytes; twice the hold time where that is longer (RFC 9687 §3.1).
pub const MIN_SEND_HOLD_TIME: Duration = Duration::from_secs(480);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    OpenSent,
    OpenConfirm,
    Established,
}

/// One connection. Our OPEN is the first thing on it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// Whether we opened it.
    pub(super) outgoing: bool,
    pub(super) local: LocalAddresses,
    pub(super) phase: Phase,
    /// Since when.
    pub(super) since: Instant,
    pub(super) stream: Stream,
    /// Our OPEN.
    pub(super) ours: Open,
    /// What the peer's OPEN and ours agree on.
    pub(super) negotiated: Option<Negotiated>,
    /// When the session ends unless something is heard.
    hold: Option<Instant>,
    /// When the next KEEPALIVE is due.
    keepalive: Option<Instant>,
    /// When the session ends unless the socket takes bytes.
    send_hold: Option<Instant>,
}

/// A timer of a connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Hold,
    SendHold,
    Keepalive,
}

impl Connection {
    pub(super) fn new(
        now: Instant,
        id: ConnectionId,
        outgoing: bool,
        local: LocalAddresses,
        ours: Open,
    ) -> Self {
        Self {
            id,
            outgoing,
            local,
            phase: Phase::OpenSent,
            since: now,
            stream: Stream::new(),
            ours,
            negotiated: None,
            hold: Some(now + OPEN_HOLD_TIME),
            keepalive: None,
            send_hold: None,
        }
    }

    pub(super) fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// The peer's OPEN was accepted.
    pub(super) fn confirm(&mut self, now: Instant, negotiated: Negotiated, retry: &mut Retry) {
        self.phase = Phase::OpenConfirm;
        self.since = now;
        if self.ours.has(&crate::packet::Capability::ExtendedMessage) {
            self.stream.set_limit(MAX_EXTENDED_MESSAGE);
        }
        self.negotiated = Some(negotiated);
        self.restart_hold(now);
        self.restart_keepalive(now, retry);
    }

    /// The peer accepted our OPEN.
    pub(super) fn establish(&mut self, now: Instant) {
        self.phase = Phase::Established;
        self.since = now;
        self.restart_hold(now);
        self.restart_send_hold(now);
    }

    /// Something was heard.
    pub(super) fn restart_hold(&mut self, now: Instant) {
        let time = self.hold_time();
        self.hold = (!time.is_zero()).then(|| now + time);
    }

    /// Something was said.
    pub(super) fn restart_keepalive(&mut self, now: Instant, retry: &mut Retry) {
        let time = self.negotiated.as_ref().map_or(Duration::ZERO, |negotiated| negotiated.keepalive_time);
        self.keepalive = (!time.is_zero()).then(|| now + retry.jittered(time));
    }

    /// The socket took something. Without a hold time silence means nothing, and no KEEPALIVE would show that the peer
    /// takes bytes.
    pub(super) fn restart_send_hold(&mut self, now: Instant) {
        let time = self.hold_time();
        let watched = self.is_established() && !time.is_zero();
        self.send_hold = watched.then(|| now + MIN_SEND_HOLD_TIME.max(time * 2));
    }

    /// The hold time that was agreed on.
    pub(super) fn hold_time(&self) -> Duration {
        self.negotiated.as_ref().map_or(OPEN_HOLD_TIME, |negotiated| negotiated.hold_time)
    }

    /// When the first of its timers is over.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        [self.hold, self.keepalive, self.send_hold].into_iter().flatten().min()
    }

    /// A timer that is over, those that end the session first.
    pub(super) fn expired(&self, now: Instant) -> Option<Expired> {
        [
            (self.hold, Expired::Hold),
            (self.send_hold, Expired::SendHold),
            (self.keepalive, Expired::Keepalive),
        ]
        .into_iter()
        .find_map(|(at, timer)| at.is_some_and(|at| at <= now).then_some(timer))
    }
}

impl Counters {
    /// Counts a whole message.
    pub(super) fn count(&mut self, message: &[u8]) {
        const TYPE: usize = 18;
        if let Some(kind) = message.get(TYPE).copied().and_then(MessageType::of) {
            self.count_kind(kind);
        }
    }

    /// Counts a message of this kind.
    pub(super) fn count_kind(&mut self, kind: MessageType) {
        let counter = match kind {
            MessageType::Open => &mut self.open,
            MessageType::Update => &mut self.update,
            MessageType::Notification => &mut self.notification,
            MessageType::Keepalive => &mut self.keepalive,
            MessageType::RouteRefresh => &mut self.route_refresh,
        };
        *counter += 1;
    }
}
