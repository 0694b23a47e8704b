//! What a session does about the messages of the peer.

use std::time::Duration;

use super::connection::Phase;
use super::negotiate::Negotiated;
use super::retry::Failure;
use super::run::{Parting, unexpected};
use super::words::{Cause, Reason};
use super::{ConnectionId, Offer, Output, Session};
use crate::Instant;
use crate::packet::{
    Capability, Disposition, ErrorCode, Frame, MessageType, Notification, Open, RouteRefresh, Subtype, Update,
};

/// Longer than two speakers who connect to each other at the same time may take: a further connection then means that
/// the peer forgot the session.
const RACE: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn receive(&mut self, now: Instant, id: ConnectionId, bytes: &[u8], out: &mut Vec<Output>) {
        if let Some(connection) = self.connection_mut(id) {
            connection.stream.push(bytes);
        }
        // A message may end the connection, and with it the rest.
        while let Some(connection) = self.connection_mut(id) {
            match connection.stream.next() {
                Ok(None) => return,
                Ok(Some(frame)) => self.message(now, id, &frame, out),
                Err(error) => self.refuse(now, id, &error.notification(), &error.to_string(), out),
            }
        }
    }

    fn message(&mut self, now: Instant, id: ConnectionId, frame: &Frame, out: &mut Vec<Output>) {
        self.received.count_kind(frame.kind);
        let Some(connection) = self.connection_mut(id) else { return };
        let phase = connection.phase;
        if phase == Phase::Established && matches!(frame.kind, MessageType::Keepalive | MessageType::Update) {
            connection.restart_hold(now);
        }
        match (phase, frame.kind) {
            (_, MessageType::Notification) => self.told(now, id, phase, &frame.body, out),
            (Phase::OpenSent, MessageType::Open) => self.opened(now, id, &frame.body, out),
            (Phase::OpenConfirm, MessageType::Keepalive) => self.establish(now, id, out),
            (Phase::Established, MessageType::Keepalive) => {}
            (Phase::Established, MessageType::Update) => self.updated(now, id, &frame.body, out),
            (Phase::Established, MessageType::RouteRefresh) => self.asked(now, id, &frame.body, out),
            (_, kind) => {
                let notification = unexpected(phase, kind);
                let words = format!("the router sent a message that does not belong there ({kind:?})");
                self.refuse(now, id, &notification, &words, out);
            }
        }
    }

    /// The connection ends because of what the peer sent.
    fn refuse(
        &mut self,
        now: Instant,
        id: ConnectionId,
        notification: &Notification,
        words: &str,
        out: &mut Vec<Output>,
    ) {
        let reason = Reason::said(notification, words);
        self.end(now, id, Parting::Saying(notification), reason, Some(Failure::Session), out);
    }

    /// An OPEN came.
    fn opened(&mut self, now: Instant, id: ConnectionId, body: &[u8], out: &mut Vec<Output>) {
        let open = match Open::parse(body) {
            Ok(open) => open,
            Err(error) => return self.refuse(now, id, &error.notification(), &error.to_string(), out),
        };
        let Some(ours) = self.connection_mut(id).map(|connection| connection.ours.clone()) else { return };
        let negotiated = match Negotiated::new(&self.config, &ours, &open) {
            Ok(negotiated) => negotiated,
            Err(refusal) => return self.refuse(now, id, &refusal.notification(), &refusal.to_string(), out),
        };
        if !self.survives_collision(now, id, &negotiated, out) {
            return;
        }
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) {
            connection.confirm(now, negotiated, &mut self.retry);
        }
        self.send_keepalive(now, id, out);
        self.transition(now, Reason::progress("the router's OPEN is accepted"), out);
    }

    /// Decides between this connection, whose OPEN came just now, and others (RFC 4271 §6.8); whether it stays.
    fn survives_collision(
        &mut self,
        now: Instant,
        id: ConnectionId,
        negotiated: &Negotiated,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(outgoing) = self.connection_mut(id).map(|connection| connection.outgoing) else {
            return false;
        };
        let rival = self.connections.iter().filter(|other| other.id != id && other.phase > Phase::OpenSent);
        let Some(rival) = rival.max_by_key(|other| other.phase) else { return true };
        let rival_id = rival.id;
        let collision = Notification::new(ErrorCode::COLLISION_RESOLUTION);
        if rival.is_established() {
            let says_so = negotiated.peer_restart.as_ref().is_some_and(|restart| restart.restarted);
            let late = now.saturating_since(rival.since) >= RACE;
            let keeps = rival.negotiated.as_ref().is_some_and(|rival| rival.peer_restart.is_some());
            if keeps && (says_so || late) {
                // RFC 4724 §4.2: the peer restarted before its old connection was seen to break.
                let words = "the router restarted: its new connection replaces the old one".to_owned();
                let reason = Reason { cause: Cause::PeerRestarted, words };
                self.end(now, rival_id, Parting::Silent, reason, None, out);
                return true;
            }
            let reason = Reason::progress("one connection is enough");
            self.end(now, id, Parting::Saying(&collision), reason, None, out);
            return false;
        }
        // The connection stays that was opened by the one with the greater identifier, or AS number (RFC 6286); of two
        // by the same one the newer.
        let ours = (self.config.router_id, self.config.local_asn());
        let greater = ours > (negotiated.peer_id, negotiated.peer_asn);
        let stays = rival.outgoing == outgoing || outgoing == greater;
        let loser = if stays { rival_id } else { id };
        let reason = Reason::progress("of two connections one is enough");
        self.end(now, loser, Parting::Saying(&collision), reason, None, out);
        stays
    }

    /// A NOTIFICATION came.
    fn told(&mut self, now: Instant, id: ConnectionId, phase: Phase, body: &[u8], out: &mut Vec<Output>) {
        let Some(notification) = Notification::parse(body) else { return };
        let reason = Reason::told(&notification, &self.config);
        if phase < Phase::Established {
            self.adapt_offer(id, &notification);
        }
        // The loser of a collision is told so; the other connection is no worse for it.
        let loses = notification.error == ErrorCode::COLLISION_RESOLUTION && self.connections.len() > 1;
        let reason = if loses { Reason::progress(reason.words) } else { reason };
        self.end(now, id, Parting::Silent, reason, (!loses).then_some(Failure::Session), out);
    }

    /// Offers less to a peer that cannot bear what was offered; where that was to no avail, everything again.
    fn adapt_offer(&mut self, id: ConnectionId, notification: &Notification) {
        let Some(ours) = self.connection_mut(id).map(|connection| connection.ours.clone()) else { return };
        let in_vain = self.offer != Offer::All && notification.error.is_of_open();
        self.offer = match notification.error {
            _ if in_vain => Offer::All,
            ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER => Offer::None,
            ErrorCode::UNSUPPORTED_CAPABILITY => {
                let named = named_capabilities(&notification.data);
                let offered = |code: &u8| ours.capabilities.iter().any(|ours| ours.code() == *code);
                let codes: Vec<u8> = named.into_iter().filter(offered).collect();
                if notification.data.is_empty() {
                    Offer::None
                } else if codes.is_empty() {
                    // It misses something that we do not have.
                    Offer::All
                } else {
                    Offer::Without(codes)
                }
            }
            _ => return,
        };
    }

    /// An UPDATE came: it is checked and counted.
    fn updated(&mut self, now: Instant, id: ConnectionId, body: &[u8], out: &mut Vec<Output>) {
        let Some(context) = self.negotiated().map(Negotiated::context) else { return };
        match Update::parse(body, context) {
            Err(error) => self.refuse(now, id, &error.notification(), &error.to_string(), out),
            Ok(received) => {
                if received.faults.is_empty()
                    && let Some(family) = received.update.ends_rib_of()
                {
                    out.push(Output::EndOfRib(family));
                }
                for fault in received.faults {
                    let bit = match fault.disposition() {
                        Disposition::AttributeDiscard => 1,
                        Disposition::TreatAsWithdraw => 2,
                        Disposition::DisableFamily(_) | Disposition::SessionReset => 4,
                    };
                    if self.faults & bit == 0 {
                        self.faults |= bit;
                        out.push(Output::Malformed(fault));
                    }
                }
            }
        }
    }

    /// A ROUTE-REFRESH came. Where it has no meaning it is ignored (RFC 2918 §4).
    fn asked(&mut self, now: Instant, id: ConnectionId, body: &[u8], out: &mut Vec<Output>) {
        match RouteRefresh::parse(body) {
            Err(error) => self.refuse(now, id, &error.notification(), &error.to_string(), out),
            Ok(RouteRefresh { family, subtype: Subtype::Request }) => {
                let families = self.negotiated().map(|negotiated| negotiated.families);
                let known =
                    family.family().filter(|f| families.is_some_and(|families| families.contains(*f)));
                if let Some(family) = known {
                    self.rib.refresh(family);
                    out.push(Output::RefreshWanted(family));
                }
            }
            Ok(_) => {}
        }
    }
}

/// The codes of the capabilities that a peer names (RFC 5492 §5), those apart without which there is no session.
fn named_capabilities(data: &[u8]) -> Vec<u8> {
    let mut rest = data;
    let mut codes = Vec::new();
    while let [code, length, after @ ..] = rest {
        codes.push(*code);
        rest = after.get(usize::from(*length)..).unwrap_or_default();
    }
    let needed = [Capability::FourOctetAs(0).code(), 1];
    codes.retain(|code| !needed.contains(code));
    codes
}
