//! What the status of a MetalLB resource says. [`conditions`] is pure; [`write`] sends it if it says anything new.

use api::MetalLB;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use kube_ext::ObjectKey;
use serde_json::json;

use crate::FIELD_MANAGER;
use crate::failure::Failure;
use crate::health::{Health, summary};

/// Something that the user has to cure: a reason for programs and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `reason` of the condition Degraded.
    pub reason: &'static str,
    /// `message` of the condition Degraded.
    pub message: String,
}

/// What a reconciliation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The resource has the wrong name or namespace and stands for nothing.
    Ignored(Problem),
    /// The resource stands for workloads that could not be looked at: the rest stays as it was said last.
    Unseen(Problem),
    /// The resource stands for the workloads.
    Serving {
        /// The Deployment.
        controller: Health,
        /// The DaemonSet.
        speaker: Health,
        /// Whether the workloads are now as the spec says, or on their way there.
        applied: bool,
        /// What is wrong beside the workloads' own faults.
        problem: Option<Problem>,
    },
}

/// The four conditions, in their order. `lastTransitionTime` moves from `previous` only with the status.
pub fn conditions(
    verdict: &Verdict,
    generation: Option<i64>,
    previous: &[Condition],
    now: jiff::Timestamp,
) -> Vec<Condition> {
    let says = Says::of(verdict, previous);
    let condition = |kind: &str, holds: bool, reason: Option<&str>, message: &str| {
        let status = if holds { "True" } else { "False" };
        let before = previous.iter().find(|before| before.type_ == kind && before.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.unwrap_or(kind).to_owned(),
            message: message.to_owned(),
            observed_generation: generation,
            last_transition_time: before
                .map_or_else(|| whole_seconds(now), |c| c.last_transition_time.clone()),
        }
    };
    let upgradeable = says.available && !says.progressing && says.degraded.is_none();
    let degraded = says.degraded.as_ref();
    vec![
        condition("Available", says.available, None, &says.missing),
        condition("Upgradeable", upgradeable, None, ""),
        condition("Progressing", says.progressing, None, if says.progressing { &says.missing } else { "" }),
        condition(
            "Degraded",
            degraded.is_some(),
            degraded.map(|problem| problem.reason),
            degraded.map_or("", |problem| &problem.message),
        ),
    ]
}

/// A verdict, as far as conditions can say it.
struct Says {
    available: bool,
    progressing: bool,
    missing: String,
    degraded: Option<Problem>,
}

impl Says {
    fn of(verdict: &Verdict, previous: &[Condition]) -> Self {
        match verdict {
            Verdict::Unseen(problem) => {
                let before = |kind: &str| previous.iter().find(|c| c.type_ == kind);
                let held = |kind: &str| before(kind).is_some_and(|c| c.status == "True");
                Self {
                    available: held("Available"),
                    progressing: held("Progressing"),
                    missing: before("Available").map(|c| c.message.clone()).unwrap_or_default(),
                    degraded: Some(problem.clone()),
                }
            }
            Verdict::Ignored(problem) => Self {
                available: false,
                progressing: false,
                missing: String::new(),
                degraded: Some(problem.clone()),
            },
            Verdict::Serving { controller, speaker, applied, problem } => {
                let both = [controller, speaker];
                let available = both.iter().all(|health| health.is_ready());
                let texts = both.iter().filter_map(|health| {
                    if available { health.remark.clone() } else { health.missing.clone() }
                });
                let texts: Vec<String> = texts.collect();
                let faults: Vec<String> = both.iter().flat_map(|health| health.faults.clone()).collect();
                let degraded = match (problem, faults.is_empty()) {
                    (None, true) => None,
                    (None, false) => Some(Problem { reason: "PodsFailing", message: summary(&faults) }),
                    (Some(problem), true) => Some(problem.clone()),
                    (Some(problem), false) => {
                        let message = format!("{}; {}", problem.message, summary(&faults));
                        Some(Problem { message, ..*problem })
                    }
                };
                let missing = texts.join(". ");
                Self { available, progressing: *applied && !available, missing, degraded }
            }
        }
    }
}

/// Writes the status if it says anything new. A resource that is gone needs none.
pub(crate) async fn write(client: &Client, metallb: &MetalLB, verdict: &Verdict) -> Result<(), Failure> {
    let previous = metallb.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let conditions = conditions(verdict, metallb.metadata.generation, previous, jiff::Timestamp::now());
    if conditions == previous {
        return Ok(());
    }
    let key = ObjectKey::of(metallb);
    let api: Api<MetalLB> = Api::namespaced(client.clone(), &key.namespace);
    let patch = json!({"status": {"conditions": conditions}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&metallb.name_any(), &parameters, &Patch::Merge(patch)).await {
        Ok(_) => {
            log(&key, &conditions);
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Failure::new(format!("writing the status of MetalLB {key}"), error)),
    }
}

fn log(key: &ObjectKey, conditions: &[Condition]) {
    let state = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    if let Some(degraded) = state("Degraded") {
        tracing::warn!(metallb = %key, reason = degraded.reason, why = degraded.message, "degraded");
    } else if let Some(progressing) = state("Progressing") {
        tracing::info!(metallb = %key, waiting = progressing.message, "progressing");
    } else {
        tracing::info!(metallb = %key, "available");
    }
}

/// Conditions count in seconds.
fn whole_seconds(now: jiff::Timestamp) -> Time {
    Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}
