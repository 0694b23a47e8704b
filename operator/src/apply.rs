//! Makes the objects so, by server-side apply, and only when something is not so.
//!
//! The API server knows which fields are ours (`metadata.managedFields`): a field that we no longer apply goes
//! away, what others add stays. Whoever changes a field of ours takes it out of that set, so an object whose set
//! of our fields is still the one that our last apply left needs no other. What we applied last is remembered
//! here and not on the object; a new operator applies each object once, and the API server stores nothing when
//! that changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use api::MetalLB;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::FIELD_MANAGER;
use crate::build::{Extra, MANAGED_BY, Objects};
use crate::dereference::Live;
use crate::failure::Failure;

/// Applies objects and remembers what it applied.
pub(crate) struct Applier {
    client: Client,
    /// By kind and name; all objects are in one namespace.
    applied: Mutex<BTreeMap<Key, Applied>>,
    /// What is not wanted and was looked for.
    absent: Mutex<BTreeSet<Key>>,
    /// What is wanted and of a kind that the cluster does not know.
    unknown: Mutex<BTreeSet<Key>>,
}

/// Kind and name.
type Key = (String, String);

/// One apply: what was sent, and the object that came of it.
struct Applied {
    sent: Value,
    left: Fingerprint,
}

/// What changes with an object when anyone touches what we applied.
#[derive(Clone, Debug, PartialEq)]
struct Fingerprint {
    uid: Option<String>,
    /// The generation, or the resource version of a kind that has none: every change of a spec is looked at once,
    /// also one that passes itself off as ours.
    version: Option<String>,
    /// The fields that are ours.
    fields: Option<Value>,
}

impl Fingerprint {
    fn of(metadata: &ObjectMeta) -> Self {
        let mut entries = metadata.managed_fields.iter().flatten();
        let ours = entries.find(|entry| {
            entry.manager.as_deref() == Some(FIELD_MANAGER)
                && entry.operation.as_deref() == Some("Apply")
                && entry.subresource.as_deref().unwrap_or_default().is_empty()
        });
        Self {
            uid: metadata.uid.clone(),
            version: metadata.generation.map(|n| n.to_string()).or_else(|| metadata.resource_version.clone()),
            fields: ours.and_then(|entry| entry.fields_v1.as_ref()).map(|fields| fields.0.clone()),
        }
    }
}

impl Applier {
    /// An applier that has not applied anything yet.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, applied: Mutex::default(), absent: Mutex::default(), unknown: Mutex::default() }
    }

    /// Makes the objects so. Gives them as they are then, and what failed; one that fails holds up no other.
    pub(crate) async fn apply(&self, objects: &Objects, live: &Live) -> (Live, Vec<Failure>) {
        let mut failures = Vec::new();
        let namespace = objects.speaker.metadata.namespace.as_deref().unwrap_or_default();
        for extra in &objects.extras {
            if let Err(failure) = self.extra(extra, namespace).await {
                failures.push(failure);
            }
        }
        let exclude_l2 = self.object(&objects.exclude_l2, live.exclude_l2.as_ref()).await;
        let speakers = self.object(&objects.speakers, live.speakers.as_ref()).await;
        let controller = self.object(&objects.controller, live.controller.as_ref()).await;
        let speaker = self.object(&objects.speaker, live.speaker.as_ref()).await;
        let after = Live {
            exclude_l2: settle(exclude_l2, live.exclude_l2.as_ref(), &mut failures),
            speakers: settle(speakers, live.speakers.as_ref(), &mut failures),
            controller: settle(controller, live.controller.as_ref(), &mut failures),
            speaker: settle(speaker, live.speaker.as_ref(), &mut failures),
            bgp_extras: live.bgp_extras,
        };
        (after, failures)
    }

    async fn object<K>(&self, wanted: &K, live: Option<&K>) -> Result<K, Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let name = wanted.meta().name.clone().unwrap_or_default();
        let namespace = wanted.meta().namespace.clone().unwrap_or_default();
        let body = serde_json::to_value(wanted).expect("API types have string keys and finite numbers");
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        self.make_so(&api, (K::kind(&()).into_owned(), name), &namespace, body, live).await
    }

    /// Makes an object that is there by request, or takes it away.
    async fn extra(&self, extra: &Extra, namespace: &str) -> Result<(), Failure> {
        let resource = extra.kind.resource();
        let key = (resource.kind.clone(), extra.name.to_owned());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        if extra.wanted.is_none() && locked(&self.absent).contains(&key) {
            return Ok(());
        }
        let live = match api.get_opt(extra.name).await {
            // A cluster that does not know the kind says so in plain text.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            live => live,
        };
        let live = live
            .map_err(|error| Failure::new(format!("reading {} {namespace}/{}", key.0, extra.name), error))?;
        let Some(wanted) = &extra.wanted else {
            // Whoever has one of that name keeps it.
            if live.is_some_and(|live| is_ours(&live.metadata)) {
                let gone = api.delete(extra.name, &DeleteParams::default()).await;
                gone.map_err(|error| {
                    Failure::new(format!("deleting {} {namespace}/{}", key.0, extra.name), error)
                })?;
                tracing::info!(
                    kind = key.0,
                    object = format!("{namespace}/{}", extra.name),
                    "deleted: not asked for"
                );
            }
            locked(&self.absent).insert(key);
            return Ok(());
        };
        if live.as_ref().is_some_and(|live| !is_ours(&live.metadata)) {
            let object = format!("{namespace}/{}", extra.name);
            let cure =
                format!("rename or delete it, or have the operator make none by {}", extra.kind.without());
            return Err(Failure::Taken { kind: key.0, object, cure });
        }
        match self.make_so(&api, key.clone(), namespace, wanted.clone(), live.as_ref()).await {
            // As long as its definition is missing, a watch waits for it and starts the next attempt.
            Err(failure) if live.is_none() && failure.is_unknown_kind() => {
                if locked(&self.unknown).insert(key.clone()) {
                    tracing::warn!(kind = key.0, why = %failure, "is asked for, and this cluster does not know the kind");
                }
                Ok(())
            }
            result => {
                locked(&self.unknown).remove(&key);
                result.map(drop)
            }
        }
    }

    /// Applies an object unless it is so already; the object then.
    async fn make_so<K>(
        &self,
        api: &Api<K>,
        key: Key,
        namespace: &str,
        body: Value,
        live: Option<&K>,
    ) -> Result<K, Failure>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
    {
        let name = key.1.clone();
        if let Some(live) = live
            && self.is_so(&key, &body, live.meta())
        {
            return Ok(live.clone());
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&name, &parameters, &Patch::Apply(&body)).await;
        let applied =
            applied.map_err(|error| Failure::new(format!("applying {} {namespace}/{name}", key.0), error))?;
        let left = Fingerprint::of(applied.meta());
        let object = format!("{namespace}/{name}");
        match live.map(|live| live.meta().resource_version == applied.meta().resource_version) {
            None => tracing::info!(kind = key.0, object, "created"),
            Some(false) => tracing::info!(kind = key.0, object, "changed to what the MetalLB resource says"),
            Some(true) => tracing::debug!(kind = key.0, object, "is as the MetalLB resource says"),
        }
        locked(&self.applied).insert(key, Applied { sent: body, left });
        Ok(applied)
    }

    /// Whether the object is as our last apply left it, and that is what is wanted now.
    fn is_so(&self, key: &Key, wanted: &Value, live: &ObjectMeta) -> bool {
        locked(&self.applied)
            .get(key)
            .is_some_and(|last| last.sent == *wanted && last.left == Fingerprint::of(live))
    }
}

/// Nothing panics while it is held, and what is in it would still be true.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an operator made the object: this one, or MetalLB's for its MetalLB resource.
fn is_ours(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    let made =
        labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == FIELD_MANAGER);
    made || metadata.owner_references.iter().flatten().any(|owner| owner.kind == MetalLB::kind(&()))
}

/// The object after an attempt: as applied, or, where that failed, as it was.
fn settle<K: Clone>(attempt: Result<K, Failure>, live: Option<&K>, failures: &mut Vec<Failure>) -> Option<K> {
    match attempt {
        Ok(applied) => Some(applied),
        Err(failure) => {
            failures.push(failure);
            live.cloned()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(generation: Option<i64>, version: &str, manager: &str, fields: &Value) -> ObjectMeta {
        serde_json::from_value(json!({
            "uid": "u", "generation": generation, "resourceVersion": version,
            "managedFields": [
                {"manager": manager, "operation": "Apply", "fieldsV1": fields},
                {"manager": FIELD_MANAGER, "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
                {"manager": FIELD_MANAGER, "operation": "Update", "fieldsV1": {"f:other": {}}},
            ],
        }))
        .expect("metadata")
    }

    #[test]
    fn only_what_touches_our_fields_or_the_spec_makes_another_apply() {
        let ours = json!({"f:spec": {"f:a": {}, "f:b": {}}});
        let before = Fingerprint::of(&metadata(Some(1), "10", FIELD_MANAGER, &ours));
        for (case, after, same) in [
            ("a status was written", metadata(Some(1), "11", FIELD_MANAGER, &ours), true),
            (
                "someone took a field of ours",
                metadata(Some(1), "11", FIELD_MANAGER, &json!({"f:spec": {"f:a": {}}})),
                false,
            ),
            ("the spec changed", metadata(Some(2), "11", FIELD_MANAGER, &ours), false),
            ("our fields are nobody's any more", metadata(Some(1), "11", "someone", &ours), false),
        ] {
            assert_eq!(Fingerprint::of(&after) == before, same, "{case}");
        }
        let config = |version| Fingerprint::of(&metadata(None, version, FIELD_MANAGER, &ours));
        assert_ne!(config("10"), config("11"), "a kind without generation goes by its resource version");
    }

    #[tokio::test]
    async fn an_object_of_others_is_neither_changed_nor_taken_away() {
        let policy = |metadata: &Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata});
        let wanted = policy(&json!({"name": "controller"}));
        for (labels, owners, taken) in [
            (json!({}), json!([]), true),
            (json!({MANAGED_BY: "Helm"}), json!([{"kind": "Deployment"}]), true),
            (json!({MANAGED_BY: FIELD_MANAGER}), json!([]), false),
            (json!({MANAGED_BY: "Helm"}), json!([{"kind": "MetalLB"}]), false),
        ] {
            let owners: Vec<Value> = owners
                .as_array()
                .into_iter()
                .flatten()
                .cloned()
                .map(|mut owner| {
                    for field in ["apiVersion", "name", "uid"] {
                        owner[field] = json!("x");
                    }
                    owner
                })
                .collect();
            let live = policy(&json!({"name": "controller", "labels": labels, "ownerReferences": owners}));
            let (client, mut server) = kube_ext::testing::client();
            let extra = Extra {
                kind: crate::build::ExtraKind::NetworkPolicy,
                name: "controller",
                wanted: Some(wanted.clone()),
            };
            let applier = Applier::new(client);
            let serve = async {
                let path = "/apis/networking.k8s.io/v1/namespaces/lb/networkpolicies/controller";
                let read = server.asked().await;
                assert_eq!(read.what, format!("GET {path}"));
                read.answer(200, &live);
                if !taken {
                    let apply = server.asked().await;
                    assert_eq!(apply.what, format!("PATCH {path}"));
                    apply.answer(200, &wanted);
                }
            };
            let (outcome, ()) = tokio::join!(applier.extra(&extra, "lb"), serve);
            drop(applier);
            assert!(server.next().await.is_none(), "nothing more is asked for");
            let said = outcome.err().map(|failure| failure.to_string());
            let text = "NetworkPolicy lb/controller is there and not of this operator: rename or delete it, or have the operator \
                        make none by DISABLE_NETWORK_POLICIES=true";
            assert_eq!(said.as_deref(), taken.then_some(text));
        }
    }
}
