//! What the speaker counts, under MetalLB's names.

mod failover;

use std::net::IpAddr;

use announce::ServiceKey;
use l2::Cause;
use metrics::{ClientMetrics, Counter, Counters, Gauges, Metrics};

pub use failover::FailoverCounts;

/// All that one speaker counts.
#[derive(Clone, Debug)]
pub struct Counts {
    node: String,
    client: ClientMetrics,
    announced: Gauges<4>,
    requests: Counters<1>,
    responses: Counters<1>,
    gratuitous: Counters<1>,
    conflicts: Counters<1>,
    /// Moves of addresses, and who is heard.
    pub failover: FailoverCounts,
}

/// The counters of one address while this node holds it. After [`Counts::let_go`] they count on unseen, so that an
/// interface that is a moment behind brings nothing back.
#[derive(Clone, Debug)]
pub struct AddressCounts {
    requests: Counter,
    responses: Counter,
    gratuitous: Counter,
    conflicts: Counter,
}

impl Counts {
    /// Registers everything.
    pub fn new(metrics: &Metrics, node: &str) -> Self {
        let by_address = |name, help| metrics.counters(name, help, ["ip"]);
        Self {
            node: node.to_owned(),
            client: ClientMetrics::new(metrics),
            announced: metrics.gauges(
                "metallb_speaker_announced",
                "1 for each address of a Service that this node announces",
                ["service", "protocol", "node", "ip"],
            ),
            requests: by_address(
                "metallb_layer2_requests_received",
                "Questions by ARP and NDP for an address that this node announces",
            ),
            responses: by_address("metallb_layer2_responses_sent", "Answers to those questions"),
            gratuitous: by_address(
                "metallb_layer2_gratuitous_sent",
                "Gratuitous ARP packets and unsolicited neighbor advertisements sent",
            ),
            conflicts: by_address(
                "metallb_layer2_conflicts_detected",
                "Times that another host went on claiming an address although this node had defended it",
            ),
            failover: FailoverCounts::new(metrics),
        }
    }

    /// The counters of an address that this node takes, shown from 0.
    pub fn address(&self, address: IpAddr) -> AddressCounts {
        let ip = address.to_string();
        AddressCounts {
            requests: self.requests.with([&ip]),
            responses: self.responses.with([&ip]),
            gratuitous: self.gratuitous.with([&ip]),
            conflicts: self.conflicts.with([&ip]),
        }
    }

    /// This node does not hold the address any more.
    pub fn let_go(&self, address: IpAddr) {
        let ip = address.to_string();
        for counters in [&self.requests, &self.responses, &self.gratuitous, &self.conflicts] {
            counters.remove([&ip]);
        }
    }

    /// This node announces the address of the Service by the protocol, `layer2` or `bgp`, or not any more.
    pub fn announced(&self, service: &ServiceKey, protocol: &str, address: IpAddr, on: bool) {
        let (service, ip) = (service.to_string(), address.to_string());
        let labels = [service.as_str(), protocol, &self.node, &ip];
        if on {
            self.announced.with(labels).set(1);
        } else {
            self.announced.remove(labels);
        }
    }

    /// A change of an object was handled; `failed` where it makes a configuration that is refused.
    pub fn handled(&self, failed: bool) {
        self.client.updated(failed);
    }

    /// The newest configuration was read.
    pub fn configured(&self, valid: bool) {
        if valid {
            self.client.config_loaded();
        } else {
            self.client.config_refused();
        }
    }
}

impl AddressCounts {
    /// A question came that is to be answered.
    pub fn asked(&self) {
        self.requests.inc();
    }

    /// A frame went out.
    pub fn sent(&self, cause: Cause) {
        match cause {
            Cause::Reply => self.responses.inc(),
            Cause::Announcement | Cause::Defence => self.gratuitous.inc(),
            Cause::Probe => {}
        }
    }

    /// Another host insists on the address.
    pub fn contested(&self) {
        self.conflicts.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines about announcing and Layer 2.
    fn lines(metrics: &Metrics) -> Vec<String> {
        let ours = |line: &&str| line.starts_with("metallb_speaker") || line.starts_with("metallb_layer2");
        metrics.text().lines().filter(ours).map(str::to_owned).collect()
    }

    #[test]
    fn what_is_counted_bears_metallbs_names_and_goes_with_the_address() {
        let metrics = Metrics::new();
        let counts = Counts::new(&metrics, "iris1");
        let service = ServiceKey { namespace: "shop".into(), name: "web".into() };
        let ip: IpAddr = "192.0.2.50".parse().expect("an address");
        assert_eq!(lines(&metrics), [""; 0]);
        counts.announced(&service, "layer2", ip, true);
        let address = counts.address(ip);
        address.asked();
        for cause in [Cause::Reply, Cause::Announcement, Cause::Announcement, Cause::Defence, Cause::Probe] {
            address.sent(cause);
        }
        address.contested();
        assert_eq!(
            lines(&metrics),
            [
                "metallb_layer2_conflicts_detected{ip=\"192.0.2.50\"} 1",
                "metallb_layer2_gratuitous_sent{ip=\"192.0.2.50\"} 3",
                "metallb_layer2_requests_received{ip=\"192.0.2.50\"} 1",
                "metallb_layer2_responses_sent{ip=\"192.0.2.50\"} 1",
                "metallb_speaker_announced{ip=\"192.0.2.50\",node=\"iris1\",protocol=\"layer2\",service=\"shop/web\"} 1",
            ]
        );
        counts.announced(&service, "layer2", ip, false);
        counts.let_go(ip);
        // The interface's task has not heard of it yet.
        address.asked();
        assert_eq!(lines(&metrics), [""; 0]);
        counts.address(ip);
        assert!(lines(&metrics).iter().all(|line| line.ends_with(" 0")), "it starts anew");
    }

    #[test]
    fn a_refused_configuration_is_stale_until_it_is_mended() {
        let metrics = Metrics::new();
        let counts = Counts::new(&metrics, "iris1");
        for (valid, stale) in [(true, 0), (false, 1), (true, 0)] {
            counts.handled(!valid);
            counts.configured(valid);
            let line = format!("\nmetallb_k8s_client_config_stale_bool {stale}\n");
            assert!(metrics.text().contains(&line), "{valid}");
        }
        assert!(metrics.text().contains("\nmetallb_k8s_client_update_errors_total 1\n"));
    }
}
