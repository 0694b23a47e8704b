//! What the Pods of controller and speakers have in common.

use std::collections::BTreeMap;

use api::{Config, MetalLBSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
    PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{extras, labels};
use crate::settings::{Environment, Monitors};

/// Where that certificate is mounted.
const METRICS_CERTIFICATE: &str = "/etc/metrics";

/// What the resource says about the Pods of one component.
pub(super) struct Placement<'a> {
    pub(super) node_selector: &'a BTreeMap<String, String>,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) config: Option<&'a Config>,
    /// The SecurityContextConstraints of OpenShift that the Pods are made for; nothing elsewhere.
    pub(super) constraints: Option<&'static str>,
    /// The certificate of the metrics.
    pub(super) certificate: Option<(Volume, VolumeMount)>,
}

impl Placement<'_> {
    /// The template of a component's Pods: `pod` with one container, and with what the resource says.
    pub(super) fn template(
        self,
        component: &str,
        mut container: Container,
        mut pod: PodSpec,
    ) -> PodTemplateSpec {
        let mut config = self.config.cloned().unwrap_or_default();
        let constraints =
            self.constraints.map(|name| ("openshift.io/required-scc".to_owned(), name.to_owned()));
        config.annotations.extend(constraints);
        if let Some((volume, mount)) = self.certificate {
            pod.volumes.get_or_insert_default().push(volume);
            container.volume_mounts.get_or_insert_default().push(mount);
        }
        container.resources = config.resources;
        let mut node_selector = BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]);
        node_selector.extend(self.node_selector.clone());
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels(component)),
                annotations: Some(config.annotations).filter(|annotations| !annotations.is_empty()),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                containers: vec![container],
                service_account_name: Some(component.to_owned()),
                node_selector: Some(node_selector),
                tolerations: Some(self.tolerations).filter(|tolerations| !tolerations.is_empty()),
                affinity: config.affinity,
                priority_class_name: config.priority_class_name.filter(|name| !name.is_empty()),
                runtime_class_name: config.runtime_class_name.filter(|name| !name.is_empty()),
                ..pod
            }),
        }
    }
}

/// The arguments that controller and speakers share, in the order that users know.
pub(super) fn arguments(spec: &MetalLBSpec, environment: &Environment) -> Vec<String> {
    let mut arguments = vec![
        format!("--port={}", environment.metrics_port),
        format!("--health-probe-port={}", environment.liveness_port),
        format!("--log-level={}", spec.log_level.unwrap_or_default()),
    ];
    let class = spec.load_balancer_class.iter().filter(|class| !class.is_empty());
    arguments.extend(class.map(|class| format!("--lb-class={class}")));
    arguments
}

/// The arguments about their servers, which come after all others.
pub(super) fn server_arguments(environment: &Environment) -> Vec<String> {
    let mut arguments = environment.extras.tls.clone();
    if has_certificate(environment) {
        arguments.push(format!("--metrics-cert-dir={METRICS_CERTIFICATE}"));
    }
    arguments
}

/// Whether OpenShift makes certificates for the metrics: for the Services by which it scrapes them.
pub(super) fn has_certificate(environment: &Environment) -> bool {
    environment.openshift && environment.monitors() == Monitors::Services
}

/// The certificate of the metrics, where OpenShift makes one.
pub(super) fn certificate(component: &str, environment: &Environment) -> Option<(Volume, VolumeMount)> {
    let secret = SecretVolumeSource {
        secret_name: Some(extras::certificate_secret(component)),
        default_mode: Some(0o644),
        ..SecretVolumeSource::default()
    };
    has_certificate(environment).then(|| {
        let volume = Volume { name: "metrics-certs".to_owned(), secret: Some(secret), ..Volume::default() };
        let mount = VolumeMount {
            name: "metrics-certs".to_owned(),
            mount_path: METRICS_CERTIFICATE.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        (volume, mount)
    })
}

/// `METALLB_BGP_TYPE`, absent for native; one engine serves them all, and others read it.
pub(super) fn bgp_type(spec: &MetalLBSpec) -> Option<EnvVar> {
    match spec.bgp_backend.as_deref() {
        Some("native") => None,
        Some(backend) if !backend.is_empty() => Some(variable("METALLB_BGP_TYPE", backend)),
        _ => Some(variable("METALLB_BGP_TYPE", "frr")),
    }
}

pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

/// A variable that the kubelet fills from a field of the Pod.
pub(super) fn from_field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() };
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        ..EnvVar::default()
    }
}

pub(super) fn port(name: &str, protocol: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some(protocol.to_owned()),
        ..ContainerPort::default()
    }
}

/// Puts the probes on a container. Ready at once when it is: nothing waits longer than it must.
pub(super) fn probed(container: Container, port: u16, host: Option<&str>) -> Container {
    let probe = |path: &str, period: i32, timeout: i32, failures: i32| Probe {
        http_get: Some(HTTPGetAction {
            host: host.map(str::to_owned),
            path: Some(path.to_owned()),
            port: IntOrString::Int(port.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    Container {
        startup_probe: Some(probe("/healthz", 1, 1, 60)),
        readiness_probe: Some(probe("/readyz", 2, 2, 3)),
        // Slow to judge: to restart a speaker costs more than to wait for a busy node.
        liveness_probe: Some(probe("/healthz", 10, 5, 3)),
        ..container
    }
}

/// No capability but those named, nothing writable, no way to gain more.
pub(super) fn confined(capabilities: &[&str]) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(capabilities.iter().map(|&name| name.to_owned()).collect())
                .filter(|add: &Vec<String>| !add.is_empty()),
        }),
        ..SecurityContext::default()
    }
}

pub(super) fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }
}
