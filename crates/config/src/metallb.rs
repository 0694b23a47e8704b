//! The MetalLB resource: whether the operator can do what it asks for. The admission webhook and the operator ask the
//! same question.

use api::{Config, MetalLBSpec};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Affinity, Toleration};

/// What is wrong with a spec. The texts are those that MetalLB's users know, except where ours says more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// `tolerationSeconds` stands with an effect that does not evict.
    #[error("{component}Toleration effect must be NoExecute when tolerationSeconds is set")]
    TolerationSeconds {
        /// `Controller` or `Speaker`.
        component: &'static str,
    },
    /// A preference has a weight that the scheduler does not take.
    #[error(
        "{component}Config {kind} set with invalid weight for preferred scheduling term: {weight} is not in 1-100"
    )]
    Weight {
        /// `Controller` or `Speaker`.
        component: &'static str,
        /// `NodeAffinity`, `PodAffinity` or `PodAntiAffinity`.
        kind: &'static str,
        /// The weight.
        weight: i32,
    },
    /// A BGP backend that does not exist.
    #[error("invalid BGP Backend, must be one of native, frr, frr-k8s, frr-k8s-external: {0:?}")]
    Backend(String),
    /// The backend that hands BGP to an frr-k8s which others run.
    #[error(
        "unsupported bgp backend frr-k8s-external: the speakers speak BGP themselves and hand no session to frr-k8s; \
         set spec.bgpBackend to native, frr or frr-k8s, or leave it out"
    )]
    External,
    /// An entry of `alwaysBlock` is no prefix.
    #[error("invalid CIDR {0} in AlwaysBlock")]
    AlwaysBlock(String),
}

/// Checks a spec; the first thing wrong is told.
pub fn validate(spec: &MetalLBSpec) -> Result<(), SpecError> {
    tolerations("Controller", &spec.controller_tolerations)?;
    tolerations("Speaker", &spec.speaker_tolerations)?;
    weights("Controller", spec.controller_config.as_ref())?;
    weights("Speaker", spec.speaker_config.as_ref())?;
    match spec.bgp_backend.as_deref() {
        None | Some("" | "native" | "frr" | "frr-k8s") => {}
        Some("frr-k8s-external") => return Err(SpecError::External),
        Some(other) => return Err(SpecError::Backend(other.to_owned())),
    }
    let blocked = spec.frrk8s_config.iter().flat_map(|config| &config.always_block);
    for cidr in blocked {
        if cidr.trim().parse::<IpNet>().is_err() {
            return Err(SpecError::AlwaysBlock(cidr.clone()));
        }
    }
    Ok(())
}

/// The API server refuses such Pods, whatever the number of seconds.
fn tolerations(component: &'static str, tolerations: &[Toleration]) -> Result<(), SpecError> {
    let wrong = |t: &Toleration| t.toleration_seconds.is_some() && t.effect.as_deref() != Some("NoExecute");
    if tolerations.iter().any(wrong) { Err(SpecError::TolerationSeconds { component }) } else { Ok(()) }
}

fn weights(component: &'static str, config: Option<&Config>) -> Result<(), SpecError> {
    let Some(affinity) = config.and_then(|config| config.affinity.as_ref()) else { return Ok(()) };
    match preferences(affinity).find(|(_, weight)| !(1..=100).contains(weight)) {
        Some((kind, weight)) => Err(SpecError::Weight { component, kind, weight }),
        None => Ok(()),
    }
}

/// Every preferred term's kind and weight.
fn preferences(affinity: &Affinity) -> impl Iterator<Item = (&'static str, i32)> {
    let node = affinity.node_affinity.iter();
    let node = node.flat_map(|a| a.preferred_during_scheduling_ignored_during_execution.iter().flatten());
    let pod = affinity.pod_affinity.iter();
    let pod = pod.flat_map(|a| a.preferred_during_scheduling_ignored_during_execution.iter().flatten());
    let anti = affinity.pod_anti_affinity.iter();
    let anti = anti.flat_map(|a| a.preferred_during_scheduling_ignored_during_execution.iter().flatten());
    node.map(|term| ("NodeAffinity", term.weight))
        .chain(pod.map(|term| ("PodAffinity", term.weight)))
        .chain(anti.map(|term| ("PodAntiAffinity", term.weight)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value) -> Result<(), String> {
        let spec: MetalLBSpec = serde_json::from_value(spec).expect("the shape is right");
        validate(&spec).map_err(|error| error.to_string())
    }

    fn pod_weight(weight: i32) -> Value {
        let term = json!({"weight": weight, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}});
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [term]})
    }

    #[test]
    fn what_the_operator_can_do_is_accepted() {
        for spec in [
            json!({}),
            json!({"bgpBackend": ""}),
            json!({"bgpBackend": "native"}),
            json!({"bgpBackend": "frr"}),
            json!({"bgpBackend": "frr-k8s", "frrk8sConfig": {"alwaysBlock": ["192.0.2.0/24", " 2001:db8::/32"]}}),
            json!({"speakerTolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}),
            json!({"speakerConfig": {"affinity": {"podAffinity": pod_weight(1), "podAntiAffinity": pod_weight(100)}}}),
        ] {
            assert_eq!(check(spec.clone()), Ok(()), "{spec}");
        }
    }

    #[test]
    fn what_it_cannot_do_is_refused_in_words_that_users_know() {
        let preference = json!([{"weight": 0, "preference": {}}]);
        for (spec, message) in [
            (
                json!({"controllerTolerations": [{"effect": "NoSchedule", "tolerationSeconds": 5}]}),
                "ControllerToleration effect must be NoExecute when tolerationSeconds is set",
            ),
            (
                json!({"speakerTolerations": [{"key": "a", "tolerationSeconds": 0}]}),
                "SpeakerToleration effect must be NoExecute when tolerationSeconds is set",
            ),
            (
                json!({"controllerConfig": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preference}}}}),
                "ControllerConfig NodeAffinity set with invalid weight for preferred scheduling term",
            ),
            (
                json!({"speakerConfig": {"affinity": {"podAffinity": pod_weight(101)}}}),
                "SpeakerConfig PodAffinity set with invalid weight for preferred scheduling term",
            ),
            (
                json!({"speakerConfig": {"affinity": {"podAntiAffinity": pod_weight(-1)}}}),
                "SpeakerConfig PodAntiAffinity set with invalid weight for preferred scheduling term",
            ),
            (
                json!({"bgpBackend": "bird"}),
                "invalid BGP Backend, must be one of native, frr, frr-k8s, frr-k8s-external",
            ),
            (json!({"bgpBackend": "frr-k8s-external"}), "unsupported bgp backend frr-k8s-external"),
            (
                json!({"frrk8sConfig": {"alwaysBlock": ["192.0.2.0"]}}),
                "invalid CIDR 192.0.2.0 in AlwaysBlock",
            ),
        ] {
            let error = check(spec.clone()).expect_err("refused");
            assert!(error.starts_with(message), "{spec}: {error}");
        }
    }
}
