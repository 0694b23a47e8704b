//! Numbers about a program's work, for Prometheus.
//!
//! ```text
//! a struct of handles (ClientMetrics, the program's own) ──registered in──▶ Metrics ──text()──┐
//! client ──HTTPS──▶ tls::serve ──▶ token? ──▶ TokenReview ──▶ SubjectAccessReview ──allowed──▶ 200 + text
//!                                    └ 401        └ 401 (kept 10 s)   └ 403 (kept 10 s)          (kept 60 s)
//! ```
//!
//! A program declares what it counts as a struct whose fields are registered when it is made:
//!
//! ```
//! struct PoolMetrics {
//!     in_use: metrics::Gauges<1>,
//! }
//!
//! impl PoolMetrics {
//!     fn new(metrics: &metrics::Metrics) -> Self {
//!         let name = "metallb_allocator_addresses_in_use_total";
//!         Self { in_use: metrics.gauges(name, "Addresses in use, by pool", ["pool"]) }
//!     }
//! }
//!
//! let metrics = metrics::Metrics::new();
//! PoolMetrics::new(&metrics).in_use.with(["production"]).set(3);
//! assert!(metrics.text().contains("metallb_allocator_addresses_in_use_total{pool=\"production\"} 3\n"));
//! ```

mod access;
mod client;
mod process;
mod registry;
mod server;
#[cfg(test)]
mod testing;

pub use client::ClientMetrics;
pub use registry::{Counter, Counters, Gauge, Gauges, Metrics};
pub use server::{MetricsOptions, ServeError, serve};
