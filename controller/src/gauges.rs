//! What the allocator's pools hold, for Prometheus, under MetalLB's names.

use metrics::{Gauges, Metrics};

use crate::action::Measure;

/// The gauges, each by pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolGauges {
    total: Gauges<1>,
    total_v4: Gauges<1>,
    total_v6: Gauges<1>,
    in_use: Gauges<1>,
    in_use_v4: Gauges<1>,
    in_use_v6: Gauges<1>,
    services: Gauges<1>,
}

impl PoolGauges {
    /// Registers them. A pool is shown once it is [`show`](Self::show)n.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let gauges =
            |name: &str, help: &str| metrics.gauges(&format!("metallb_allocator_{name}"), help, ["pool"]);
        Self {
            total: gauges("addresses_total", "Usable addresses, by pool; at most about 9.2e18"),
            total_v4: gauges("ipv4_addresses_total", "Usable IPv4 addresses, by pool"),
            total_v6: gauges("ipv6_addresses_total", "Usable IPv6 addresses, by pool; at most about 9.2e18"),
            in_use: gauges("addresses_in_use_total", "Addresses in use, by pool; a shared one counts once"),
            in_use_v4: gauges(
                "ipv4_addresses_in_use_total",
                "IPv4 addresses in use, by pool; a shared one counts once",
            ),
            in_use_v6: gauges(
                "ipv6_addresses_in_use_total",
                "IPv6 addresses in use, by pool; a shared one counts once",
            ),
            services: gauges("services_allocated_total", "Services that have addresses, by pool"),
        }
    }

    /// Shows no pool any more.
    pub(crate) fn forget(&self) {
        for gauges in self.all() {
            gauges.reset();
        }
    }

    /// Shows what is in a pool, or with `None` the pool no more.
    pub(crate) fn show(&self, pool: &str, measure: Option<Measure>) {
        let Some(Measure { usage, services }) = measure else {
            for gauges in self.all() {
                gauges.remove([pool]);
            }
            return;
        };
        let used = u128::from(usage.used_v4) + u128::from(usage.used_v6);
        for (gauges, value) in [
            (&self.total, usage.total_v4.saturating_add(usage.total_v6)),
            (&self.total_v4, usage.total_v4),
            (&self.total_v6, usage.total_v6),
            (&self.in_use, used),
            (&self.in_use_v4, usage.used_v4.into()),
            (&self.in_use_v6, usage.used_v6.into()),
            (&self.services, services.into()),
        ] {
            gauges.with([pool]).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    fn all(&self) -> [&Gauges<1>; 7] {
        let Self { total, total_v4, total_v6, in_use, in_use_v4, in_use_v6, services } = self;
        [total, total_v4, total_v6, in_use, in_use_v4, in_use_v6, services]
    }
}

#[cfg(test)]
mod tests {
    use ipam::Usage;

    use super::*;

    #[test]
    fn a_pool_is_shown_under_metallb_s_names_until_it_is_gone() {
        let metrics = Metrics::new();
        let gauges = PoolGauges::new(&metrics);
        let usage = Usage { total_v4: 16, total_v6: u128::MAX, used_v4: 3, used_v6: 2 };
        gauges.show("p", Some(Measure { usage, services: 4 }));
        gauges.show("other", Some(Measure::default()));
        let shown = |pool: &str| -> Vec<String> {
            let label = format!("{{pool=\"{pool}\"}}");
            let text = metrics.text();
            text.lines().filter(|line| line.contains(&label)).map(|line| line.replace(&label, "")).collect()
        };
        assert_eq!(
            shown("p"),
            [
                "metallb_allocator_addresses_in_use_total 5",
                "metallb_allocator_addresses_total 9223372036854776000",
                "metallb_allocator_ipv4_addresses_in_use_total 3",
                "metallb_allocator_ipv4_addresses_total 16",
                "metallb_allocator_ipv6_addresses_in_use_total 2",
                "metallb_allocator_ipv6_addresses_total 9223372036854776000",
                "metallb_allocator_services_allocated_total 4",
            ]
        );
        gauges.show("p", None);
        assert_eq!(shown("p"), [""; 0]);
        assert_eq!(shown("other").len(), 7);
        gauges.forget();
        assert_eq!(shown("other"), [""; 0]);
    }
}
