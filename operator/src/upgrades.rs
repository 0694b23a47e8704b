//! Tells the Operator Lifecycle Manager (OLM) whether this is a time to replace the operator.
//!
//! OLM gives each installed version an OperatorCondition and its name to the operator (`OPERATOR_CONDITION_NAME`). While
//! the condition Upgradeable in it is False, OLM installs no version that replaces this one (docs/adr/0032).
//!
//! ```text
//! reconcile ──Verdict──▶ advice ──watch──▶ task: write, again until it works; after ten minutes of False: True
//! ```

use std::sync::Arc;
use std::time::Duration;

use api::names::METALLB_NAME;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use kube_ext::Backoff;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use crate::FIELD_MANAGER;
use crate::dereference;
use crate::failure::Failure;
use crate::status::Verdict;

/// The variable by which OLM tells the name of the OperatorCondition.
pub(crate) const VARIABLE: &str = "OPERATOR_CONDITION_NAME";
/// The type of the condition that OLM looks at.
const UPGRADEABLE: &str = "Upgradeable";
/// A rollout that lasts longer may need the upgrade to end.
const PATIENCE: Duration = Duration::from_mins(10);

/// What OLM is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Nothing speaks against an upgrade.
    Settled,
    /// A change is on its way and ends by itself.
    RollingOut,
    /// A change has been on its way for long: the upgrade may be what ends it.
    StillRollingOut,
}

impl Advice {
    /// What follows from a reconciliation. What is Degraded does not wait: an upgrade may be the cure.
    pub(crate) fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Serving { controller, speaker, applied: true, problem: None }
                if !(controller.is_ready() && speaker.is_ready())
                    && controller.faults.is_empty()
                    && speaker.faults.is_empty() =>
            {
                Self::RollingOut
            }
            Verdict::Serving { .. } | Verdict::Unseen(_) | Verdict::Ignored(_) => Self::Settled,
        }
    }

    /// Status, reason and message of the condition; the message does not follow each Pod, or OLM would not keep up.
    fn says(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Settled => ("True", "Settled", ""),
            Self::RollingOut => (
                "False",
                "RollingOut",
                "a change of MetalLB is being rolled out: an upgrade waits until the MetalLB resource is Available, ten minutes \
                 at most",
            ),
            Self::StillRollingOut => (
                "True",
                "RollingOutForLong",
                "a change of MetalLB has been rolled out for ten minutes: the MetalLB resource says what is waited for",
            ),
        }
    }
}

/// Where to say it. Without OLM nobody listens.
#[derive(Clone)]
pub(crate) struct Upgrades(Option<Arc<watch::Sender<Option<Advice>>>>);

impl Upgrades {
    /// Starts the task that tells OLM by the OperatorCondition of that name. It ends with the last of these.
    pub(crate) fn start(client: &Client, namespace: &str, name: Option<String>) -> Self {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Self(None) };
        let (sender, advice) = watch::channel(None);
        tracing::info!(operator_condition = name, "tells OLM when not to upgrade");
        tokio::spawn(Teller::new(client.clone(), namespace, name).run(advice));
        Self(Some(Arc::new(sender)))
    }

    /// What holds from now on.
    pub(crate) fn tell(&self, advice: Advice) {
        if let Some(sender) = &self.0 {
            sender.send_if_modified(|told| told.replace(advice) != Some(advice));
        }
    }
}

/// The task that writes.
struct Teller {
    client: Client,
    namespace: String,
    name: String,
    conditions: Api<DynamicObject>,
}

impl Teller {
    fn new(client: Client, namespace: &str, name: String) -> Self {
        let kind = GroupVersionKind::gvk("operators.coreos.com", "v2", "OperatorCondition");
        let resource = ApiResource::from_gvk_with_plural(&kind, "operatorconditions");
        let conditions = Api::namespaced_with(client.clone(), namespace, &resource);
        Self { client, namespace: namespace.to_owned(), name, conditions }
    }

    async fn run(self, mut advice: watch::Receiver<Option<Advice>>) {
        let mut told = None;
        let mut deadline = None;
        loop {
            let heard = *advice.borrow_and_update();
            deadline = match heard {
                Some(Advice::RollingOut) => deadline.or_else(|| Some(tokio::time::Instant::now() + PATIENCE)),
                _ => None,
            };
            let overdue = deadline.is_some_and(|at| at <= tokio::time::Instant::now());
            let wanted = if overdue { Some(Advice::StillRollingOut) } else { heard };
            if wanted.is_none() || wanted != told {
                let mut backoff = Backoff::default();
                let telling = async {
                    while let Err(failure) = self.tell(wanted).await {
                        tracing::warn!(why = %failure, "OLM cannot be told whether to upgrade, trying again");
                        sleep(backoff.next_pause()).await;
                    }
                };
                tokio::select! {
                    () = telling => told = wanted,
                    changed = advice.changed() => match changed {
                        // It may have been told, or may not: it is told again.
                        Ok(()) => {
                            told = None;
                            continue;
                        }
                        Err(_) => return,
                    },
                }
            }
            let due = async {
                match deadline.filter(|_| !overdue) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = advice.changed() => if changed.is_err() { return },
                () = due => {}
            }
        }
    }

    /// Tells it. As long as nothing was reconciled, only that nothing speaks against an upgrade where there is no
    /// resource: an earlier replica may have left another word.
    async fn tell(&self, advice: Option<Advice>) -> Result<(), Failure> {
        match advice {
            Some(advice) => self.write(advice).await,
            None if dereference::metallb(&self.client, &self.namespace).await?.is_none() => {
                self.write(Advice::Settled).await
            }
            None => Ok(()),
        }
    }

    async fn write(&self, advice: Advice) -> Result<(), Failure> {
        let what = |verb: &str| format!("{verb} OperatorCondition {}/{}", self.namespace, self.name);
        let found =
            self.conditions.get(&self.name).await.map_err(|error| Failure::new(what("reading"), error))?;
        let Some(conditions) = with(&found.data["spec"]["conditions"], advice, jiff::Timestamp::now()) else {
            return Ok(());
        };
        // Others may write theirs: only what was read is replaced.
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": found.resource_version()}, "spec": {"conditions": conditions},
        }));
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.conditions.patch(&self.name, &parameters, &patch).await;
        patched.map_err(|error| Failure::new(what("writing"), error))?;
        let (status, reason, _) = advice.says();
        tracing::info!(metallb = METALLB_NAME, upgradeable = status, reason, "told OLM");
        Ok(())
    }
}

/// The conditions with ours as it shall be; nothing if it is so.
fn with(conditions: &Value, advice: Advice, now: jiff::Timestamp) -> Option<Vec<Value>> {
    let (status, reason, message) = advice.says();
    let mut all = conditions.as_array().cloned().unwrap_or_default();
    let ours = all.iter().position(|condition| condition["type"] == UPGRADEABLE);
    let before = ours.map(|place| all.remove(place));
    let same = |field: &str, value: &str| before.as_ref().is_some_and(|before| before[field] == value);
    if same("status", status) && same("reason", reason) && same("message", message) {
        return None;
    }
    let now = Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now));
    let mut condition = json!(Condition {
        type_: UPGRADEABLE.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now,
        observed_generation: None,
    });
    if let Some(before) = before.filter(|before| before["status"] == status) {
        condition["lastTransitionTime"] = before["lastTransitionTime"].clone();
    }
    all.push(condition);
    Some(all)
}

#[cfg(test)]
mod tests;
