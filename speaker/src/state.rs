//! This node's `ConfigurationState`: whether its speaker can use the configuration, and if not, why; and how its BGP
//! sessions are.
//!
//! ```text
//! Desired (newest counts) ──► StateWriter ──differs──► create, patch
//! watch of the one object ──────▲
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use api::{ConfigurationResult, ConfigurationState, ConfigurationStateStatus, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_ext::{Change, watch_config};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::core::SessionView;

/// The type of the condition that says whether the configuration can be used.
const CONDITION: &str = "configReconcilerValid";
/// The type of the condition of a BGP session, before the BGPPeer's name.
const SESSION: &str = "bgp.metallb.io/";
/// The longest message that a condition may have, in characters.
const LONGEST: usize = 32_768;
/// A call that takes longer has failed.
const CALL: Duration = Duration::from_secs(10);
/// Pause after the first failure; doubled with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Changes of the one object that wait.
const QUEUE: usize = 16;

/// What the object is to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Who owns it: the DaemonSet.
    pub owner: Option<OwnerReference>,
    /// What was found; `None` while the configuration was not read yet.
    pub verdict: Option<Verdict>,
    /// The BGP sessions of this node, by BGPPeer: a condition each.
    pub sessions: BTreeMap<String, SessionView>,
}

/// What a speaker makes of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is valid.
    Valid,
    /// This is wrong with it, in MetalLB's words, `configuration error: ` first.
    Invalid(String),
}

impl From<Option<String>> for Verdict {
    fn from(mistake: Option<String>) -> Self {
        mistake.map_or(Self::Valid, Self::Invalid)
    }
}

/// The name of the object of a node.
pub fn object_name(node: &str) -> String {
    format!("speaker-{node}")
}

/// Keeps the object of one node true: written on change only, made again when somebody deletes it.
#[derive(Debug)]
pub struct StateWriter {
    api: Api<ConfigurationState>,
    node: String,
    /// The status of the object that there is.
    actual: Option<ConfigurationStateStatus>,
    /// Whether `actual` is known.
    synced: bool,
    /// The status of each condition by its type, and since when it has that.
    since: BTreeMap<String, (bool, Timestamp)>,
    failures: u32,
}

/// Why a call did not do what it was for.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Refused(#[from] kube::Error),
    #[error("the API server did not answer within ten seconds")]
    Timeout,
}

impl StateWriter {
    /// A writer of the object of `node` in MetalLB's namespace.
    pub fn new(client: Client, namespace: &str, node: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, node, actual: None, synced: false, since: BTreeMap::new(), failures: 0 }
    }

    /// Runs until the sender of `desired` is gone.
    pub async fn run(self, desired: watch::Receiver<Desired>) {
        let (out, changes) = mpsc::channel(QUEUE);
        let config = watch_config().fields(&format!("metadata.name={}", object_name(&self.node)));
        let status = |object: ConfigurationState| object.status.unwrap_or_default();
        let watching = kube_ext::watch(self.api.clone(), config, status, |change| change, out);
        tokio::select! {
            () = watching => {}
            () = self.write(desired, changes) => {}
        }
    }

    /// Writes what is desired wherever it is not what there is, as `changes` tell it.
    async fn write(
        mut self,
        mut desired: watch::Receiver<Desired>,
        mut changes: mpsc::Receiver<Change<ConfigurationStateStatus>>,
    ) {
        loop {
            let wanted = desired.borrow_and_update().clone();
            let pause = self.settle(wanted).await;
            let again = async {
                match pause {
                    Some(time) => sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                newer = desired.changed() => if newer.is_err() { return },
                change = changes.recv() => match change {
                    Some(change) => self.take_in(change),
                    None => return,
                },
                () = again => {}
            }
        }
    }

    fn take_in(&mut self, change: Change<ConfigurationStateStatus>) {
        match change {
            Change::Apply(_, status) => self.actual = Some(status),
            Change::Delete(_) => self.actual = None,
            Change::Synced => self.synced = true,
        }
    }

    /// Does what is to be done; after a failure, the time until the next attempt.
    async fn settle(&mut self, desired: Desired) -> Option<Duration> {
        let verdict = desired.verdict.filter(|_| self.synced)?;
        let wanted = self.status(&verdict, &desired.sessions, Timestamp::now());
        if self.actual.as_ref() == Some(&wanted) {
            return None;
        }
        let call = timeout(CALL, self.put(&wanted, desired.owner)).await;
        match call.unwrap_or(Err(CallError::Timeout)) {
            Ok(()) => {
                debug!(?verdict, "ConfigurationState written");
                if std::mem::take(&mut self.failures) > 0 {
                    info!("the ConfigurationState is written again");
                }
                self.actual = Some(wanted);
                None
            }
            Err(error) => {
                if self.failures == 0 {
                    warn!(%error, "failed to write the ConfigurationState, trying again until it works; addresses stay announced");
                } else {
                    debug!(%error, "still failing to write the ConfigurationState");
                }
                let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
                self.failures = self.failures.saturating_add(1);
                Some(pause.min(LONGEST_PAUSE))
            }
        }
    }

    /// The status that says this.
    fn status(
        &mut self,
        verdict: &Verdict,
        sessions: &BTreeMap<String, SessionView>,
        now: Timestamp,
    ) -> ConfigurationStateStatus {
        let valid = *verdict == Verdict::Valid;
        let reason = if valid { "Reconciled" } else { "ConfigurationError" };
        let message = match verdict {
            Verdict::Valid => "",
            Verdict::Invalid(mistake) => mistake,
        };
        let first = self.condition(CONDITION.to_owned(), valid, reason, message, now);
        let error_summary = Some(first.message.clone()).filter(|message| !message.is_empty());
        let mut conditions = vec![first];
        for (peer, view) in sessions {
            let kind = format!("{SESSION}{peer}");
            conditions.push(self.condition(kind, view.up, view.reason, &view.message, now));
        }
        self.since.retain(|kind, _| conditions.iter().any(|condition| condition.type_ == *kind));
        let result = if valid { ConfigurationResult::Valid } else { ConfigurationResult::Invalid };
        ConfigurationStateStatus { result: Some(result), error_summary, conditions }
    }

    /// A condition. Its time changes only with its status.
    fn condition(
        &mut self,
        kind: String,
        status: bool,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> Condition {
        let word = if status { "True" } else { "False" };
        let known = self.since.get(&kind).copied();
        let since = match known {
            Some((before, since)) if before == status => since,
            _ => {
                let conditions = self.actual.iter().flat_map(|actual| &actual.conditions);
                // What an earlier speaker of this node wrote is still so.
                let before = conditions
                    .filter(|c| c.type_ == kind && c.status == word)
                    .find_map(|c| known.is_none().then_some(c.last_transition_time.0));
                // As the API server keeps it, without fractions of a second.
                before.unwrap_or(Timestamp::from_second(now.as_second()).unwrap_or(now))
            }
        };
        self.since.insert(kind.clone(), (status, since));
        Condition {
            type_: kind,
            status: word.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(LONGEST).collect(),
            last_transition_time: Time(since),
            observed_generation: None,
        }
    }

    /// Makes the object say this: the status is a subresource, so a new object takes two calls.
    async fn put(
        &self,
        status: &ConfigurationStateStatus,
        owner: Option<OwnerReference>,
    ) -> Result<(), CallError> {
        if self.actual.is_none() {
            match self.api.create(&PostParams::default(), &self.object(owner)).await {
                Err(kube::Error::Api(error)) if error.code == 409 => {}
                result => drop(result?),
            }
        }
        // A summary that is not there any more has to be named to be removed.
        let patch = Patch::Merge(json!({
            "status": {
                "result": status.result,
                "errorSummary": status.error_summary,
                "conditions": status.conditions,
            }
        }));
        self.api.patch_status(&object_name(&self.node), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    fn object(&self, owner: Option<OwnerReference>) -> ConfigurationState {
        let node = names::label_value(&self.node);
        let labels = [(names::COMPONENT_TYPE_LABEL, "speaker"), (names::NODE_NAME_LABEL, &*node)];
        ConfigurationState {
            metadata: ObjectMeta {
                name: Some(object_name(&self.node)),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            ..ConfigurationState::default()
        }
    }
}

#[cfg(test)]
mod tests;
