//! The text that Prometheus gets, with MetalLB's names letter by letter.

use clap::Parser;
use metrics::{ClientMetrics, Metrics, MetricsOptions};

/// The text without what the process itself is like, which no test can foretell.
fn text(metrics: &Metrics) -> String {
    let own = |line: &&str| !line.contains("process_");
    metrics.text().lines().filter(own).map(|line| format!("{line}\n")).collect()
}

#[test]
fn names_stand_in_the_text_as_they_are_given_and_in_order() {
    let metrics = Metrics::new();
    let total = metrics.gauges("metallb_allocator_addresses_total", "Addresses by pool", ["pool"]);
    total.with(["production"]).set(i64::MAX);
    total.with(["a \"b\"\\\n"]).set(0);
    total.with(["gone"]).set(1);
    total.remove(["gone"]);
    total.remove(["never there"]);
    // A counter without `_total`, as MetalLB has it.
    let sent = metrics.counters("metallb_layer2_gratuitous_sent", "Sent", ["ip", "protocol"]);
    sent.with(["192.0.2.1", "arp"]).inc_by(5);
    sent.with(["192.0.2.2", "arp"]).inc();
    sent.with(["192.0.2.2", "arp"]).inc();
    sent.remove(["192.0.2.1", "arp"]);
    metrics.counters("metallb_never_touched", "Nothing", ["x"]);
    ClientMetrics::new(&metrics);
    assert_eq!(text(&metrics), include_str!("golden.txt"));
}

#[test]
fn the_process_tells_what_prometheus_clients_tell() {
    let text = Metrics::new().text();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let expected = [
        "process_cpu_seconds_total counter",
        "process_max_fds gauge",
        "process_open_fds gauge",
        "process_resident_memory_bytes gauge",
        "process_start_time_seconds gauge",
        "process_virtual_memory_bytes gauge",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_configuration_is_stale_until_the_mistake_is_taken_back() {
    let metrics = Metrics::new();
    let client = ClientMetrics::new(&metrics);
    let flags = || {
        let text = metrics.text();
        let has = |line: &str| text.contains(&format!("\nmetallb_k8s_client_config_{line}\n"));
        (has("loaded_bool 1"), has("stale_bool 1"))
    };
    assert_eq!(flags(), (false, false));
    client.config_refused();
    assert_eq!(flags(), (false, true));
    client.config_loaded();
    assert_eq!(flags(), (true, false));
    client.config_refused();
    assert_eq!(flags(), (true, true));
    // The same configuration as before the mistake.
    client.config_loaded();
    assert_eq!(flags(), (true, false));
}

#[test]
fn a_failed_update_counts_as_update_and_as_error() {
    let metrics = Metrics::new();
    let client = ClientMetrics::new(&metrics);
    for failed in [false, true, false] {
        client.updated(failed);
    }
    let text = metrics.text();
    assert!(text.contains("\nmetallb_k8s_client_updates_total 3\n"), "{text}");
    assert!(text.contains("\nmetallb_k8s_client_update_errors_total 1\n"), "{text}");
}

/// Describes itself.
#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    metrics: MetricsOptions,
    #[command(flatten)]
    tls: tls::TlsOptions,
    /// Of the webhooks
    #[arg(long, default_value = "/tmp/k8s-webhook-server/serving-certs")]
    cert_dir: String,
}

#[test]
fn the_flags_are_metallbs_and_stand_beside_those_of_a_program() {
    let parse =
        |args: &[&str]| Program::try_parse_from(["program"].iter().chain(args)).expect("the flags are known");
    let program = parse(&[]);
    assert_eq!(program.metrics, MetricsOptions { port: 9120, metrics_cert_dir: String::new() });
    let program = parse(&["--port=0", "--metrics-cert-dir=/certs", "--tls-min-version=VersionTLS12"]);
    assert_eq!(program.metrics, MetricsOptions { port: 0, metrics_cert_dir: "/certs".into() });
    assert_eq!(program.cert_dir, "/tmp/k8s-webhook-server/serving-certs");
    assert_eq!(parse(&["--metrics-cert-dir="]).metrics.metrics_cert_dir, "");
    let help = <Program as clap::CommandFactory>::command().render_long_help().to_string();
    assert!(help.starts_with("Describes itself\n"), "{help}");
}
