//! How Prometheus finds the metrics: ServiceMonitors with their Services, or PodMonitors.

use serde_json::{Value, json};

use super::{Described, ExtraKind, certificate_secret, monitor_service};
use crate::build::{CONTROLLER, Frame, SPEAKER, labels};
use crate::settings::Monitors;

/// The token by which Prometheus shows who it is.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The Secret with the token for PodMonitors, which cannot use that: config/prometheus has it.
const READER: &str = "metallb-metrics-reader";
/// The CA of certificates that OpenShift makes for Services, in the Pods of its Prometheus.
const SERVICE_CA: &str = "/etc/prometheus/configmaps/serving-certs-ca-bundle/service-ca.crt";
/// The port's name in Pods and Services.
const PORT: &str = "metricshttps";

pub(super) fn objects(frame: &Frame<'_>) -> Vec<Described> {
    let components = [
        (CONTROLLER, "controller-monitor", "controller-monitor-service"),
        (SPEAKER, "speaker-monitor", "speaker-monitor-service"),
    ];
    let by_services = frame.environment.monitors() == Monitors::Services;
    let by_pods = frame.environment.monitors() == Monitors::Pods;
    let described = components.into_iter().flat_map(|(component, monitor, service)| {
        [
            (ExtraKind::Service, service, by_services.then(|| a_service(frame, component))),
            (ExtraKind::ServiceMonitor, monitor, by_services.then(|| service_monitor(frame, component))),
            (ExtraKind::PodMonitor, monitor, by_pods.then(|| pod_monitor(component))),
        ]
    });
    described.collect()
}

/// A Service without an address of its own: it only names the Pods.
fn a_service(frame: &Frame<'_>, component: &str) -> Value {
    let port = json!({"name": PORT, "port": frame.environment.metrics_port, "targetPort": frame.environment.metrics_port});
    let mut service = json!({
        "metadata": {"labels": {"app.kubernetes.io/name": monitor_service(component)}},
        "spec": {"clusterIP": "None", "selector": labels(component), "ports": [port]},
    });
    if frame.environment.openshift {
        let key = "service.beta.openshift.io/serving-cert-secret-name";
        service["metadata"]["annotations"] = json!({key: certificate_secret(component)});
    }
    service
}

fn service_monitor(frame: &Frame<'_>, component: &str) -> Value {
    let service = monitor_service(component);
    // Elsewhere the programs make their certificates themselves, anew with each start.
    let tls = if frame.environment.openshift {
        json!({"caFile": SERVICE_CA, "serverName": format!("{service}.{}.svc", frame.environment.namespace)})
    } else {
        json!({"insecureSkipVerify": true})
    };
    json!({"spec": {
        "endpoints": [{
            "bearerTokenFile": TOKEN, "honorLabels": true, "interval": "15s", "port": PORT, "scheme": "https", "tlsConfig": tls,
        }],
        "jobLabel": "app.kubernetes.io/name",
        "namespaceSelector": {"matchNames": [frame.environment.namespace]},
        "selector": {"matchLabels": {"app.kubernetes.io/name": service}},
    }})
}

fn pod_monitor(component: &str) -> Value {
    json!({"spec": {
        "podMetricsEndpoints": [{
            "authorization": {"credentials": {"key": "token", "name": READER}},
            "honorLabels": true, "interval": "15s", "port": PORT, "scheme": "https", "tlsConfig": {"insecureSkipVerify": true},
        }],
        "selector": {"matchLabels": labels(component)},
    }})
}
