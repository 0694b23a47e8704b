//! What is counted of sessions, under MetalLB's names and labels.
//!
//! The label is the router's address, so for a moment two tasks may count for one: a BGPPeer that was renamed, or two that
//! swapped addresses. Series go with the last of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// How many count for each router.
    users: Arc<Mutex<BTreeMap<String, usize>>>,
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
    /// The values of the session's counters that are counted already.
    counted: [u64; COUNTERS.len()],
}

/// The values of a session's counters.
fn values(session: &Session) -> [u64; COUNTERS.len()] {
    COUNTERS.map(|(_, _, value)| value(session.sent(), session.received()))
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
            users: Arc::default(),
        }
    }

    fn users(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Nothing in here is left half done.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metrics of a new session with the router at this address and port, shown from now on.
    pub(super) fn session(&self, peer: &str) -> SessionCounts {
        let labels = [peer, ""];
        let mut users = self.users();
        *users.entry(peer.to_owned()).or_default() += 1;
        SessionCounts {
            counted: [0; COUNTERS.len()],
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
    /// The same for a session that is not new: what it has counted by now was for another router.
    #[must_use]
    pub(super) fn beginning_now(mut self, session: &Session) -> Self {
        self.counted = values(session);
        self
    }

    /// Shows the figures of this moment.
    pub(super) fn show(&mut self, session: &Session) {
        let rib::Counts { told, pending, .. } = session.rib().counts();
        self.up.set((session.state() == State::Established).into());
        self.announced.set(i64::try_from(told).unwrap_or(i64::MAX));
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        let values = values(session);
        for ((counter, value), counted) in self.counters.iter().zip(values).zip(self.counted) {
            counter.inc_by(value.saturating_sub(counted));
        }
        self.counted = values;
    }
}

impl Drop for SessionCounts {
    fn drop(&mut self) {
        let labels = [self.peer.as_str(), ""];
        // Held until all is removed: whoever comes meanwhile would count for nothing.
        let mut users = self.all.users();
        if let Some(count) = users.get_mut(&self.peer).filter(|count| **count > 1) {
            *count -= 1;
            return;
        }
        users.remove(&self.peer);
        for gauges in [&self.all.up, &self.all.announced, &self.all.pending] {
            gauges.remove(labels);
        }
        for counters in &self.all.counters {
            counters.remove(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use bgp::packet::Families;
    use bgp::session::{Config, ConnectionId, Input, LocalAddresses, Opening, PeerAsn, Stop, Transport, Ttl};
    use l2::Instant;

    use super::*;

    fn session() -> Session {
        let config = Config {
            my_asn: 64_512,
            local_asn: None,
            peer_asn: PeerAsn::External,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            families: Families::V4,
            hold_time: Duration::from_secs(90),
            keepalive_time: Duration::from_secs(30),
            connect_time: Duration::from_secs(5),
            opening: Opening::Active,
            graceful_restart: None,
            transport: Transport {
                peer: "192.0.2.254:179".parse().expect("an address"),
                source: None,
                password: None,
                ttl: Ttl::System,
                device: None,
            },
        };
        Session::new(config, 7)
    }

    /// A session that has sent so many OPENs.
    fn with_opens(count: u64) -> Session {
        let mut session = session();
        let v4 = Ipv4Addr::new(192, 0, 2, 1);
        let local = LocalAddresses { connection: v4.into(), v4: Some(v4), v6: None, link_local: None };
        for number in 0..count {
            let inputs = [
                Input::Start,
                Input::Connected { connection: ConnectionId(number), local },
                Input::Stop(Stop::Deconfigured),
            ];
            for input in inputs {
                session.handle(Instant::default(), input, &mut Vec::new());
            }
        }
        assert_eq!(session.sent().open, count);
        session
    }

    fn opens(metrics: &Metrics, peer: &str) -> Option<u64> {
        let start = format!("metallb_bgp_opens_sent{{peer=\"{peer}\",vrf=\"\"}} ");
        metrics.text().lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    #[test]
    fn series_stay_until_the_last_who_counts_for_the_router_is_gone() {
        let metrics = Metrics::new();
        let counts = BgpCounts::new(&metrics);
        let mut old = counts.session("a");
        old.show(&with_opens(3));
        // Another task for the same router begins before the old one has ended.
        let mut new = counts.session("a");
        drop(old);
        new.show(&with_opens(2));
        assert_eq!(opens(&metrics, "a"), Some(5));
        drop(new);
        assert_eq!(opens(&metrics, "a"), None);
        assert!(!metrics.text().contains("metallb_bgp_session_up{"));
        // It comes back from the beginning.
        let mut again = counts.session("a");
        again.show(&with_opens(1));
        assert_eq!(opens(&metrics, "a"), Some(1));
    }

    #[test]
    fn routers_that_swap_addresses_keep_their_series_and_each_counts_its_own() {
        let metrics = Metrics::new();
        let counts = BgpCounts::new(&metrics);
        let (mut one, mut two) = (counts.session("a"), counts.session("b"));
        let (first, second) = (with_opens(3), with_opens(5));
        one.show(&first);
        two.show(&second);
        assert_eq!((opens(&metrics, "a"), opens(&metrics, "b")), (Some(3), Some(5)));
        one = counts.session("b").beginning_now(&first);
        two = counts.session("a").beginning_now(&second);
        one.show(&first);
        two.show(&second);
        assert_eq!(
            (opens(&metrics, "a"), opens(&metrics, "b")),
            (Some(0), Some(5)),
            "what was counted stays"
        );
        one.show(&with_opens(4));
        assert_eq!(opens(&metrics, "b"), Some(6));
    }
}
