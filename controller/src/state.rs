//! The ConfigurationState `controller`: where a user looks whether the configuration is valid.
//!
//! ```text
//! owner ──Standing──▶ keep() ──plan──▶ create │ own │ write the status
//!                       ▲                           │
//!                       └──watch── ConfigurationState ◀
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use api::{ConfigurationResult, ConfigurationState, ConfigurationStateStatus, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_ext::{Change, watch, watch_config};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::action::Standing;
use crate::runtime::pause;
use crate::secret;

/// The name of the object, and what it is labelled with.
const NAME: &str = "controller";
/// The type of its condition, as MetalLB names it.
const CONDITION: &str = "poolReconcilerValid";
/// Writes that follow each other at once. To make everything takes two.
const STEPS: usize = 6;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the object as it shall be: made again when it is deleted, written when something changes. The Deployment owns
/// it, so that it outlives every Pod. Nothing is written before there is a standing.
pub(crate) async fn keep(
    client: Client,
    namespace: String,
    deployment: String,
    mut standings: channel::Receiver<Option<Standing>>,
) -> Infallible {
    let api: Api<ConfigurationState> = Api::namespaced(client.clone(), &namespace);
    let (out, mut seen) = mpsc::channel(16);
    let selected = watch_config().fields(&format!("metadata.name={NAME}"));
    tokio::spawn(watch(api.clone(), selected, |object| object, |change| change, out));
    let mut keeper = Keeper { api, owner: None, owner_known: false, seen: None, listed: false, failures: 0 };
    loop {
        let standing = standings.borrow_and_update().clone();
        let wait = match &standing {
            Some(standing) if keeper.listed => keeper.work(&client, &namespace, &deployment, standing).await,
            _ => Duration::MAX,
        };
        tokio::select! {
            change = seen.recv() => keeper.take(change.expect("the watch lives as long as its receiver")),
            // Its end is that of the program: the last standing stays.
            Ok(()) = standings.changed() => {}
            () = sleep(wait) => {}
        }
    }
}

struct Keeper {
    api: Api<ConfigurationState>,
    /// The owner that the object shall have, if any.
    owner: Option<OwnerReference>,
    /// Whether that was found out.
    owner_known: bool,
    seen: Option<ConfigurationState>,
    listed: bool,
    /// Failures one after the other.
    failures: u32,
}

/// What the object lacks.
#[derive(Debug, PartialEq)]
enum Step {
    /// It does not exist.
    Create(Box<ConfigurationState>),
    /// Its label or its owner is another.
    Own(Value),
    /// Its status says something else.
    Status(Value),
}

impl Keeper {
    fn take(&mut self, change: Change<ConfigurationState>) {
        match change {
            Change::Apply(_, object) => {
                if self.seen.as_ref().is_none_or(|seen| !is_older(&object.metadata, &seen.metadata)) {
                    self.seen = Some(object);
                }
            }
            Change::Delete(_) => self.seen = None,
            Change::Synced => self.listed = true,
        }
    }

    /// Does what is to be done; gives the time after which to try again what failed.
    async fn work(
        &mut self,
        client: &Client,
        namespace: &str,
        deployment: &str,
        standing: &Standing,
    ) -> Duration {
        match self.try_work(client, namespace, deployment, standing).await {
            Ok(()) => {
                if std::mem::take(&mut self.failures) > 0 {
                    info!("the ConfigurationState {NAME} is written again");
                }
                Duration::MAX
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    warn!(error = why, "cannot write the ConfigurationState {NAME}, trying again");
                } else {
                    debug!(error = why, "still cannot write the ConfigurationState {NAME}");
                }
                pause(self.failures)
            }
        }
    }

    async fn try_work(
        &mut self,
        client: &Client,
        namespace: &str,
        deployment: &str,
        standing: &Standing,
    ) -> Result<(), String> {
        if !self.owner_known {
            let owner = within(secret::owner(client, namespace, deployment)).await?;
            self.owner = owner.map_err(|error| format!("{error:#}"))?;
            self.owner_known = true;
        }
        for _ in 0..STEPS {
            let next = plan(self.seen.as_ref(), standing, self.owner.as_ref(), now());
            let Some(step) = next else { return Ok(()) };
            let manager = Some(names::CONTROLLER_COMPONENT.to_owned());
            let params = PatchParams { field_manager: manager.clone(), ..PatchParams::default() };
            let written = match step {
                Step::Create(object) => {
                    let params = PostParams { field_manager: manager, ..PostParams::default() };
                    within(self.api.create(&params, &object)).await?
                }
                Step::Own(patch) => within(self.api.patch(NAME, &params, &Patch::Merge(patch))).await?,
                Step::Status(patch) => {
                    within(self.api.patch_status(NAME, &params, &Patch::Merge(patch))).await?
                }
            };
            match written {
                Ok(object) => self.seen = Some(object),
                // The watch is about to tell: someone else was faster.
                Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => {
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.is_not_found() && self.seen.is_some() => {
                    self.seen = None;
                }
                Err(kube::Error::Api(status)) => return Err(status.message.clone()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("others keep changing it".to_owned())
    }
}

async fn within<T>(request: impl Future<Output = T>) -> Result<T, String> {
    let seconds = PATIENCE.as_secs();
    timeout(PATIENCE, request).await.map_err(|_| format!("the API server did not answer within {seconds} s"))
}

/// The time in whole seconds, as the API server writes times.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Whether this is a version of the same object before that one.
fn is_older(this: &ObjectMeta, that: &ObjectMeta) -> bool {
    let version = |metadata: &ObjectMeta| metadata.resource_version.as_deref()?.parse::<u64>().ok();
    this.uid == that.uid && version(this) < version(that)
}

/// The next thing that the object lacks.
fn plan(
    seen: Option<&ConfigurationState>,
    standing: &Standing,
    owner: Option<&OwnerReference>,
    now: Timestamp,
) -> Option<Step> {
    let Some(seen) = seen else { return Some(Step::Create(Box::new(object(owner)))) };
    let labels = seen.metadata.labels.as_ref();
    let labelled =
        labels.and_then(|labels| labels.get(names::COMPONENT_TYPE_LABEL)).is_some_and(|l| l == NAME);
    let owners = seen.metadata.owner_references.as_deref().unwrap_or_default();
    let is_owned = owner.is_none_or(|owner| matches!(owners, [only] if only.uid == owner.uid));
    if !labelled || !is_owned {
        let mut metadata = json!({ "labels": { (names::COMPONENT_TYPE_LABEL): NAME } });
        if let Some(owner) = owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        return Some(Step::Own(json!({ "metadata": metadata })));
    }
    let none = ConfigurationStateStatus::default();
    let before = seen.status.as_ref().unwrap_or(&none);
    let after = status(standing, before, now);
    (*before != after).then(|| {
        let summary = &after.error_summary;
        let status =
            json!({ "result": after.result, "errorSummary": summary, "conditions": after.conditions });
        Step::Status(json!({ "status": status }))
    })
}

fn object(owner: Option<&OwnerReference>) -> ConfigurationState {
    ConfigurationState {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(BTreeMap::from([(names::COMPONENT_TYPE_LABEL.to_owned(), NAME.to_owned())])),
            owner_references: owner.map(|owner| vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        status: None,
    }
}

/// The status of a standing. The time in it is that of the last change from one status of the condition to another.
fn status(
    standing: &Standing,
    before: &ConfigurationStateStatus,
    now: Timestamp,
) -> ConfigurationStateStatus {
    use ConfigurationResult::{Invalid, Unknown, Valid};
    let (result, status, reason, summary) = match standing {
        Standing::Valid => (Valid, "True", "Reconciled", None),
        Standing::Invalid(why) => (Invalid, "False", "ConfigurationError", Some(why)),
        Standing::Unknown(why) => (Unknown, "Unknown", "UnknownError", Some(why)),
    };
    let same = before.conditions.iter().find(|before| before.type_ == CONDITION && before.status == status);
    let condition = Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: summary.map_or("the configuration is valid and in force", |why| why).to_owned(),
        last_transition_time: same.map_or(Time(now), |before| before.last_transition_time.clone()),
        observed_generation: None,
    };
    ConfigurationStateStatus {
        result: Some(result),
        error_summary: summary.cloned(),
        conditions: vec![condition],
    }
}

#[cfg(test)]
mod tests;
