//! Alerts for Prometheus and a dashboard for Grafana. The alerts that MetalLB has keep its names.

use serde_json::{Value, json};

use super::{Described, ExtraKind};
use crate::build::Frame;

/// A dashboard, as Grafana exports it.
const DASHBOARD: &str = include_str!("dashboard.json");
/// The part of a pool's addresses that is in use, in percent. Standby controllers have no say in it.
const USAGE: &str = "100 * max by (pool) (metallb_allocator_addresses_in_use_total) / max by (pool) \
                     (metallb_allocator_addresses_total > 0)";

pub(super) fn objects(frame: &Frame<'_>) -> Vec<Described> {
    let extras = &frame.environment.extras;
    let rules =
        extras.prometheus_rules.then(|| json!({"spec": {"groups": [{"name": "metallb", "rules": rules()}]}}));
    // Grafana's sidecar finds it by the label.
    let dashboard = extras.dashboards.then(
        || json!({"metadata": {"labels": {"grafana_dashboard": "1"}}, "data": {"metallb.json": DASHBOARD}}),
    );
    vec![
        (ExtraKind::PrometheusRule, "metallb-alerts", rules),
        (ExtraKind::ConfigMap, "metallb-dashboard", dashboard),
    ]
}

fn rules() -> Vec<Value> {
    let usage = |percent: u8, severity: &str| {
        alert(
            &format!("MetalLBAddressPoolUsage{percent}Percent"),
            &format!("{USAGE} > {percent}"),
            "5m",
            severity,
            &format!("More than {percent} % of the addresses of pool {{{{ $labels.pool }}}} are in use"),
        )
    };
    vec![
        alert(
            "MetalLBStaleConfig",
            "metallb_k8s_client_config_stale_bool == 1",
            "1m",
            "warning",
            "The configuration has a mistake: {{ $labels.pod }} works with what was valid before. `kubectl get \
             configurationstates -A` says which",
        ),
        alert(
            "MetalLBConfigNotLoaded",
            "metallb_k8s_client_config_loaded_bool == 0",
            "1m",
            "warning",
            "{{ $labels.pod }} has not loaded a configuration yet: see its log",
        ),
        alert(
            "MetalLBAddressPoolExhausted",
            &format!("{USAGE} >= 100"),
            "1m",
            "critical",
            "Pool {{ $labels.pool }} has no free address: a new Service gets none from it",
        ),
        usage(75, "warning"),
        usage(85, "warning"),
        usage(95, "critical"),
        alert(
            "MetalLBAddressConflict",
            "increase(metallb_layer2_conflicts_detected[5m]) > 0",
            "0m",
            "warning",
            "Another host answers for {{ $labels.ip }}, an address that MetalLB announces: take it out of the pool or from \
             that host",
        ),
        alert(
            "MetalLBBGPSessionDown",
            "metallb_bgp_session_up == 0",
            "1m",
            "critical",
            "The BGP session of {{ $labels.pod }} with {{ $labels.peer }} is down",
        ),
    ]
}

fn alert(name: &str, expression: &str, lasting: &str, severity: &str, summary: &str) -> Value {
    json!({
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_is_one_and_every_panel_asks_for_something() {
        let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        assert!(panels.len() >= 6, "{}", panels.len());
        for panel in panels {
            let asked = panel["targets"][0]["expr"].as_str().unwrap_or_default();
            assert!(asked.contains("metallb_"), "{}", panel["title"]);
        }
    }

    #[test]
    fn no_two_alerts_have_one_name() {
        let mut names: Vec<Value> = rules().iter().map(|rule| rule["alert"].clone()).collect();
        let count = names.len();
        names.sort_by_key(Value::to_string);
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
