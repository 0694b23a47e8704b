//! The Deployment of the controller.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::{self, Placement};
use super::{CONTROLLER, Frame, MEMBERLIST_SECRET, labels, selector};

/// The user and group that own nothing.
const NOBODY: i64 = 65534;

/// As many replicas as the resource says, also where somebody scales it. The one with the lease gives addresses.
pub(super) fn deployment(frame: &Frame<'_>) -> Deployment {
    let spec = &frame.metallb.spec;
    let placement = Placement {
        node_selector: &spec.controller_node_selector,
        tolerations: spec.controller_tolerations.clone(),
        config: spec.controller_config.as_ref(),
        constraints: frame.environment.openshift.then_some("restricted-v2"),
        certificate: pod::certificate(CONTROLLER, frame.environment),
    };
    Deployment {
        metadata: frame.metadata(CONTROLLER, labels(CONTROLLER)),
        spec: Some(DeploymentSpec {
            replicas: Some(spec.controller_replicas.unwrap_or(1)),
            selector: selector(CONTROLLER),
            // The new controller has listed everything when the old one gives its lease up.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            revision_history_limit: Some(3),
            template: placement.template(CONTROLLER, container(frame), pod(frame)),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn container(frame: &Frame<'_>) -> Container {
    let spec = &frame.metallb.spec;
    let environment = frame.environment;
    let mut arguments = pod::arguments(spec, environment);
    arguments.push("--webhook-mode=disabled".to_owned());
    arguments.extend(pod::server_arguments(environment));
    let mut variables = vec![
        pod::from_field("METALLB_POD_NAME", "metadata.name"),
        pod::variable("METALLB_ML_SECRET_NAME", MEMBERLIST_SECRET),
        pod::variable("METALLB_DEPLOYMENT", CONTROLLER),
    ];
    variables.extend(pod::bgp_type(spec));
    let container = Container {
        name: CONTROLLER.to_owned(),
        image: Some(environment.controller_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(arguments),
        env: Some(variables),
        ports: Some(vec![pod::port("metricshttps", "TCP", environment.metrics_port)]),
        security_context: Some(pod::confined(&[])),
        ..Container::default()
    };
    pod::probed(container, environment.liveness_port, None)
}

fn pod(frame: &Frame<'_>) -> PodSpec {
    // OpenShift gives each namespace users of its own, and takes no others. The image's user is none but nobody.
    let nobody = (!frame.environment.openshift).then_some(NOBODY);
    PodSpec {
        // Time to hand over, which takes far less.
        termination_grace_period_seconds: Some(5),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: nobody,
            fs_group: nobody,
            seccomp_profile: Some(pod::runtime_default()),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}
