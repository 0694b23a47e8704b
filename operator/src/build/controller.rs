//! The Deployment of the controller.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec};

use super::pod::{self, Placement};
use super::{CONTROLLER, Frame, MEMBERLIST_SECRET, labels, selector};

/// The user and group that own nothing.
const NOBODY: i64 = 65534;

/// One replica, also where somebody scales it: the controller has no lease yet, and two would give one address to
/// two Services.
pub(super) fn deployment(frame: &Frame<'_>) -> Deployment {
    let spec = &frame.metallb.spec;
    let placement = Placement {
        node_selector: &spec.controller_node_selector,
        tolerations: spec.controller_tolerations.clone(),
        config: spec.controller_config.as_ref(),
    };
    Deployment {
        metadata: frame.metadata(CONTROLLER, labels(CONTROLLER)),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            selector: selector(CONTROLLER),
            // The old controller ends before the new one starts: two that allocate at once could give one
            // address twice. A rolling update, even without surge, starts the new one while the old one is
            // still in its grace period.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                ..DeploymentStrategy::default()
            }),
            revision_history_limit: Some(3),
            template: placement.template(CONTROLLER, container(frame), pod()),
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

fn pod() -> PodSpec {
    PodSpec {
        // Time to hand over, which takes far less.
        termination_grace_period_seconds: Some(5),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            fs_group: Some(NOBODY),
            seccomp_profile: Some(pod::runtime_default()),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}
