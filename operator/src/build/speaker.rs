//! The DaemonSet of the speakers.

use api::{FailoverProfile, OnQuorumLoss};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EmptyDirVolumeSource, PodSecurityContext, PodSpec, SecretVolumeSource,
    SecurityContext, Toleration, Volume, VolumeMount,
};

use super::pod::{self, Placement};
use super::{EXCLUDE_L2, Frame, MEMBERLIST_SECRET, SPEAKER, labels, selector};

/// Control plane nodes have speakers too; these two come first, users know the order.
const CONTROL_PLANE_TAINTS: [&str; 2] =
    ["node-role.kubernetes.io/master", "node-role.kubernetes.io/control-plane"];

/// Where a speaker keeps what must survive its restart.
const STATE_PATH: &str = "/var/lib/metallb";

/// The port of BGP.
const BGP_PORT: u16 = 179;

/// Where the speakers' common key is mounted.
const SECRET_KEY_PATH: &str = "/etc/ml_secret_key";

pub(super) fn daemon_set(frame: &Frame<'_>) -> DaemonSet {
    let spec = &frame.metallb.spec;
    let placement = Placement {
        node_selector: &spec.node_selector,
        tolerations: tolerations(&spec.speaker_tolerations),
        config: spec.speaker_config.as_ref(),
        // The network of the node, a raw socket, user 0: none of the narrower ones has all of them.
        constraints: frame.environment.openshift.then_some("privileged"),
        certificate: pod::certificate(SPEAKER, frame.environment),
    };
    DaemonSet {
        metadata: frame.metadata(SPEAKER, labels(SPEAKER)),
        spec: Some(DaemonSetSpec {
            selector: selector(SPEAKER),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..DaemonSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(3),
            template: placement.template(SPEAKER, container(frame), pod()),
            ..DaemonSetSpec::default()
        }),
        status: None,
    }
}

/// The tolerations of the speakers: those of control plane nodes, then the resource's.
pub(crate) fn tolerations(further: &[Toleration]) -> Vec<Toleration> {
    let control_plane = CONTROL_PLANE_TAINTS.iter().map(|&key| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoSchedule".to_owned()),
        ..Toleration::default()
    });
    control_plane.chain(further.iter().cloned()).collect()
}

fn container(frame: &Frame<'_>) -> Container {
    let spec = &frame.metallb.spec;
    let environment = frame.environment;
    let mut variables = vec![
        pod::from_field("METALLB_NODE_NAME", "spec.nodeName"),
        pod::from_field("METALLB_POD_NAME", "metadata.name"),
        pod::from_field("METALLB_HOST", "status.hostIP"),
        pod::from_field("METALLB_ML_BIND_ADDR", "status.podIP"),
        pod::variable("METALLB_ML_LABELS", "app=metallb,component=speaker"),
        pod::variable("METALLB_ML_BIND_PORT", &environment.member_port.to_string()),
        pod::variable("METALLB_ML_SECRET_KEY_PATH", SECRET_KEY_PATH),
        pod::variable("METALLB_STATE_DIR", STATE_PATH),
    ];
    variables.extend(pod::bgp_type(spec));
    let container = Container {
        name: SPEAKER.to_owned(),
        image: Some(environment.speaker_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["/speaker".to_owned()]),
        args: Some([arguments(frame), pod::server_arguments(environment)].concat()),
        env: Some(variables),
        ports: Some(vec![
            pod::port("metricshttps", "TCP", environment.metrics_port),
            pod::port("memberlist-tcp", "TCP", environment.member_port),
            pod::port("memberlist-udp", "UDP", environment.member_port),
        ]),
        // Raw sockets for ARP and NDP are all it needs of root, and a low port where routers connect to it; a capability
        // on the file would not survive allowPrivilegeEscalation: false.
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            ..pod::confined(if listens(frame) { &["NET_RAW", "NET_BIND_SERVICE"] } else { &["NET_RAW"] })
        }),
        volume_mounts: Some(vec![
            mount("memberlist", SECRET_KEY_PATH),
            mount(EXCLUDE_L2, "/etc/metallb"),
            VolumeMount { read_only: None, ..mount("state", STATE_PATH) },
        ]),
        ..Container::default()
    };
    // The speaker shares the node's network: its probes answer the node and no one else.
    pod::probed(container, environment.liveness_port, Some("127.0.0.1"))
}

/// The flags: only what differs from the speaker's own defaults, so that an upgrade rolls nothing without need.
fn arguments(frame: &Frame<'_>) -> Vec<String> {
    let spec = &frame.metallb.spec;
    let mut arguments = pod::arguments(spec, frame.environment);
    let failover = spec.failover.clone().unwrap_or_default();
    match failover.profile.unwrap_or_default() {
        FailoverProfile::Default => {}
        FailoverProfile::Fast => arguments.push("--failover-profile=fast".to_owned()),
        FailoverProfile::Relaxed => arguments.push("--failover-profile=relaxed".to_owned()),
    }
    match failover.on_quorum_loss.unwrap_or_default() {
        OnQuorumLoss::Silent => {}
        OnQuorumLoss::Announce => arguments.push("--on-quorum-loss=announce".to_owned()),
    }
    if listens(frame) {
        arguments.push(format!("--bgp-listen-port={BGP_PORT}"));
    }
    if spec.bgp.as_ref().and_then(|bgp| bgp.notification_restart).unwrap_or_default() {
        arguments.push("--bgp-notification-restart".to_owned());
    }
    arguments
}

/// Whether routers may connect to the speakers.
fn listens(frame: &Frame<'_>) -> bool {
    frame.metallb.spec.bgp.as_ref().and_then(|bgp| bgp.listen).unwrap_or_default()
}

fn pod() -> PodSpec {
    PodSpec {
        host_network: Some(true),
        // Time to hand addresses over, and to vote on the speakers without this one where it ends for good.
        termination_grace_period_seconds: Some(30),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(pod::runtime_default()),
            ..PodSecurityContext::default()
        }),
        volumes: Some(vec![
            Volume {
                name: "memberlist".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(MEMBERLIST_SECRET.to_owned()),
                    default_mode: Some(0o644),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: EXCLUDE_L2.to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: EXCLUDE_L2.to_owned(),
                    default_mode: Some(0o400),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "state".to_owned(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
