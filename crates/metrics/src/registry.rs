//! What is counted, and its text form.

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use crate::process::Process;

/// A number that only grows while the process lives.
pub type Counter = IntCounter;

/// A number that goes up and down.
pub type Gauge = IntGauge;

/// Everything that the process counts. Clones share one state.
///
/// Names stand in the output as they are given: no suffix is added or taken away, because dashboards ask for MetalLB's
/// names, among which are counters without `_total` and gauges with it.
#[derive(Clone, Debug)]
pub struct Metrics(Registry);

/// A counter for each combination of values of `N` labels; one that was never touched is not shown.
#[derive(Clone, Debug)]
pub struct Counters<const N: usize>(IntCounterVec);

/// A gauge for each combination of values of `N` labels; one that was never touched is not shown.
#[derive(Clone, Debug)]
pub struct Gauges<const N: usize>(IntGaugeVec);

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self(Registry::new());
        metrics.register(Process::new());
        metrics
    }
}

impl Metrics {
    /// Nothing but the process itself (`process_…`: processor, memory, open files, start).
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter, 0 at first.
    ///
    /// # Panics
    /// Where the name is no name of a metric or registered already: names are constants. So for all four.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let made = IntCounter::new(name, help).expect("the name of a metric is a valid constant");
        self.register(made.clone());
        made
    }

    /// Registers a gauge, 0 at first.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let made = IntGauge::new(name, help).expect("the name of a metric is a valid constant");
        self.register(made.clone());
        made
    }

    /// Registers counters that `labels` tell apart.
    pub fn counters<const N: usize>(&self, name: &str, help: &str, labels: [&str; N]) -> Counters<N> {
        let made = IntCounterVec::new(Opts::new(name, help), &labels);
        let made = made.expect("the names of a metric and its labels are valid constants");
        self.register(made.clone());
        Counters(made)
    }

    /// Registers gauges that `labels` tell apart.
    pub fn gauges<const N: usize>(&self, name: &str, help: &str, labels: [&str; N]) -> Gauges<N> {
        let made = IntGaugeVec::new(Opts::new(name, help), &labels);
        let made = made.expect("the names of a metric and its labels are valid constants");
        self.register(made.clone());
        Gauges(made)
    }

    fn register(&self, made: impl Collector + 'static) {
        self.0.register(Box::new(made)).expect("every metric is registered once");
    }

    /// The values of this moment in Prometheus' text format 0.0.4, sorted by name and labels.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.0.gather()).expect("what is registered has a text form")
    }
}

impl<const N: usize> Counters<N> {
    /// The counter with these values of the labels, in the order of their declaration.
    pub fn with(&self, values: [&str; N]) -> Counter {
        self.0.with_label_values(&values)
    }

    /// Shows the counter no more; it starts anew from 0 when it is touched again.
    pub fn remove(&self, values: [&str; N]) {
        // An error means that there was none.
        self.0.remove_label_values(&values).ok();
    }
}

impl<const N: usize> Gauges<N> {
    /// The gauge with these values of the labels, in the order of their declaration.
    pub fn with(&self, values: [&str; N]) -> Gauge {
        self.0.with_label_values(&values)
    }

    /// Shows the gauge no more, until it is touched again.
    pub fn remove(&self, values: [&str; N]) {
        // An error means that there was none.
        self.0.remove_label_values(&values).ok();
    }

    /// Shows none of them, until one is touched again.
    pub fn reset(&self) {
        self.0.reset();
    }
}
