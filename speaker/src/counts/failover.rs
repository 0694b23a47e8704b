//! What is counted of the speakers' own protocol.

use std::time::Duration;

use membership::Cause;
use metrics::{Counters, Gauge, Gauges, Metrics};

/// Moves of addresses, and who is heard.
#[derive(Clone, Debug)]
pub struct FailoverCounts {
    taken: Counters<1>,
    released: Counters<1>,
    peers: Gauges<1>,
    quorum: Gauge,
    takeover: Gauge,
}

impl FailoverCounts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            taken: metrics.counters(
                "metallb_failover_addresses_taken_total",
                "Addresses that this node has come to hold, by the cause",
                ["cause"],
            ),
            released: metrics.counters(
                "metallb_failover_addresses_released_total",
                "Addresses that this node has ceased to hold, by the cause",
                ["cause"],
            ),
            peers: metrics.gauges(
                "metallb_failover_peer_up",
                "1 for each other node whose speaker is heard, 0 for each whose speaker is not",
                ["peer"],
            ),
            quorum: metrics.gauge(
                "metallb_failover_quorum",
                "1 while a majority of the speakers hears this one; without it it answers for nothing",
            ),
            takeover: metrics.gauge(
                "metallb_failover_last_takeover_milliseconds",
                "From the last word of a node that died to the last taking over of an address of it",
            ),
        }
    }

    /// This node holds an address from now on, or does not any more; `silence` is how long its holder had not been
    /// heard then.
    pub fn moved(&self, held: bool, cause: Cause, silence: Option<Duration>) {
        let counters = if held { &self.taken } else { &self.released };
        counters.with([name(cause)]).inc();
        if let Some(silence) = silence {
            self.takeover.set(i64::try_from(silence.as_millis()).unwrap_or(i64::MAX));
        }
    }

    /// The speaker of the node is heard, or not.
    pub fn peer(&self, node: &str, up: bool) {
        self.peers.with([node]).set(up.into());
    }

    /// The node has no speaker any more.
    pub fn forget(&self, node: &str) {
        self.peers.remove([node]);
    }

    /// Whether a majority hears this speaker.
    pub fn quorum(&self, is_there: bool) {
        self.quorum.set(is_there.into());
    }
}

/// The cause as a label.
fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::Unheld => "unheld",
        Cause::HolderDown(_) => "holder-down",
        Cause::Yielded(_) => "yielded",
        Cause::Drained(_) => "holder-drained",
        Cause::Unfit(_) => "holder-unfit",
        Cause::Asked(_) => "asked",
        Cause::Ineligible => "ineligible",
        Cause::Overtaken(_) => "overtaken",
        Cause::NoQuorum => "no-quorum",
    }
}

#[cfg(test)]
mod tests {
    use membership::NodeId;

    use super::*;

    #[test]
    fn moves_are_counted_by_cause_and_peers_shown_while_they_are_listed() {
        let metrics = Metrics::new();
        let counts = FailoverCounts::new(&metrics);
        let node = NodeId::of("iris1");
        counts.moved(true, Cause::HolderDown(node), Some(Duration::from_millis(253)));
        counts.moved(false, Cause::Asked(node), None);
        counts.peer("iris1", true);
        counts.peer("iris2", false);
        counts.forget("iris2");
        counts.quorum(true);
        let text = metrics.text();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("metallb_failover")).collect();
        assert_eq!(
            lines,
            [
                "metallb_failover_addresses_released_total{cause=\"asked\"} 1",
                "metallb_failover_addresses_taken_total{cause=\"holder-down\"} 1",
                "metallb_failover_last_takeover_milliseconds 253",
                "metallb_failover_peer_up{peer=\"iris1\"} 1",
                "metallb_failover_quorum 1",
            ]
        );
    }
}
