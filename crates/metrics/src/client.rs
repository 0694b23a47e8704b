//! What controller and speaker count alike.

use crate::{Counter, Gauge, Metrics};

/// How the work on the cluster's objects goes, under MetalLB's names.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    updates: Counter,
    update_errors: Counter,
    loaded: Gauge,
    stale: Gauge,
}

impl ClientMetrics {
    /// Registers them, all 0 at first: nothing was handled, no configuration is in force.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            updates: metrics.counter(
                "metallb_k8s_client_updates_total",
                "Changes of Kubernetes objects that were handled, the failed ones included",
            ),
            update_errors: metrics.counter(
                "metallb_k8s_client_update_errors_total",
                "Changes of Kubernetes objects whose handling failed",
            ),
            loaded: metrics.gauge(
                "metallb_k8s_client_config_loaded_bool",
                "1 once a valid configuration has been loaded, else 0",
            ),
            stale: metrics.gauge(
                "metallb_k8s_client_config_stale_bool",
                "1 while the newest configuration is refused and an older one or none is in force, else 0",
            ),
        }
    }

    /// A change of an object was handled; `failed` when it has to be tried again or given up.
    pub fn updated(&self, failed: bool) {
        self.updates.inc();
        if failed {
            self.update_errors.inc();
        }
    }

    /// The newest configuration is valid and in force, be it that it was before.
    pub fn config_loaded(&self) {
        self.loaded.set(1);
        self.stale.set(0);
    }

    /// The newest configuration is not valid: what was in force stays.
    pub fn config_refused(&self) {
        self.stale.set(1);
    }
}
