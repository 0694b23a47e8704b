//! What is counted of sessions, under MetalLB's names and labels.

use bgp::rib;
use bgp::session::{Counters as Messages, Session, State};
use metrics::{Counter, Counters, Gauge, Gauges, Metrics};

/// The metrics of all sessions.
#[derive(Clone, Debug)]
pub(super) struct BgpCounts {
    up: Gauges<2>,
    announced: Gauges<2>,
    pending: Gauges<2>,
    counters: [Counters<2>; COUNTERS.len()],
}

/// The value of a counter by what a session sent and received.
type Value = fn(&Messages, &Messages) -> u64;

/// Name, meaning and value of each counter.
const COUNTERS: [(&str, &str, Value); 10] = [
    ("metallb_bgp_opens_sent", "OPEN messages sent", |sent, _| sent.open),
    ("metallb_bgp_opens_received", "OPEN messages received", |_, received| received.open),
    ("metallb_bgp_notifications_sent", "NOTIFICATION messages sent", |sent, _| sent.notification),
    ("metallb_bgp_updates_total", "UPDATE messages sent", |sent, _| sent.update),
    ("metallb_bgp_updates_total_received", "UPDATE messages received", |_, received| received.update),
    ("metallb_bgp_keepalives_sent", "KEEPALIVE messages sent", |sent, _| sent.keepalive),
    ("metallb_bgp_keepalives_received", "KEEPALIVE messages received", |_, received| received.keepalive),
    ("metallb_bgp_route_refresh_sent", "ROUTE-REFRESH messages sent", |sent, _| sent.route_refresh),
    ("metallb_bgp_total_sent", "Messages sent", |sent, _| sent.total()),
    ("metallb_bgp_total_received", "Messages received", |_, received| received.total()),
];

/// The metrics of one session; shown until it is dropped.
#[derive(Debug)]
pub(super) struct SessionCounts {
    all: BgpCounts,
    peer: String,
    up: Gauge,
    announced: Gauge,
    pending: Gauge,
    counters: [Counter; COUNTERS.len()],
}

impl BgpCounts {
    /// Registers everything.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let labels = ["peer", "vrf"];
        Self {
            up: metrics.gauges(
                "metallb_bgp_session_up",
                "Whether the session is established: 1, or 0",
                labels,
            ),
            announced: metrics.gauges(
                "metallb_bgp_announced_prefixes_total",
                "Prefixes that the router was told of",
                labels,
            ),
            pending: metrics.gauges(
                "metallb_bgp_pending_prefixes_total",
                "Prefixes of which the router is still to be told something",
                labels,
            ),
            counters: COUNTERS.map(|(name, help, _)| metrics.counters(name, help, labels)),
        }
    }

    /// The metrics of the session with the router at this address and port, shown from now on.
    pub(super) fn session(&self, peer: &str) -> SessionCounts {
        let labels = [peer, ""];
        SessionCounts {
            all: self.clone(),
            peer: peer.to_owned(),
            up: self.up.with(labels),
            announced: self.announced.with(labels),
            pending: self.pending.with(labels),
            counters: self.counters.each_ref().map(|counters| counters.with(labels)),
        }
    }
}

impl SessionCounts {
    /// Shows the figures of this moment.
    pub(super) fn show(&self, session: &Session) {
        let rib::Counts { told, pending, .. } = session.rib().counts();
        self.up.set((session.state() == State::Established).into());
        self.announced.set(i64::try_from(told).unwrap_or(i64::MAX));
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        for (counter, (_, _, value)) in self.counters.iter().zip(COUNTERS) {
            counter.inc_by(value(session.sent(), session.received()).saturating_sub(counter.get()));
        }
    }
}

impl Drop for SessionCounts {
    fn drop(&mut self) {
        let labels = [self.peer.as_str(), ""];
        for gauges in [&self.all.up, &self.all.announced, &self.all.pending] {
            gauges.remove(labels);
        }
        for counters in &self.all.counters {
            counters.remove(labels);
        }
    }
}
