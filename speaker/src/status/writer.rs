//! The task that carries the ledger's jobs to the API server.

use std::time::Duration;

use announce::ServiceKey;
use api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_ext::{Change, ObjectKey};
use l2::Instant;
use serde_json::json;
use sha2::{Digest, Sha256};
use sockets::boot_time;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::ledger::{Job, Ledger};
use super::object::StatusObject;
use crate::core::{StatusView, Want, Why};

/// How many calls may be under way at once.
const PARALLEL: usize = 8;
/// A call that takes longer has failed.
const CALL: Duration = Duration::from_secs(10);

/// What the task is told.
#[derive(Debug)]
pub enum StatusInput {
    /// What is wanted for a Service.
    Want(ServiceKey, Want),
    /// What there is.
    Actual(Change<StatusView>),
    /// The owner of the objects.
    Owner(OwnerReference),
}

/// Writes the status objects of one kind of one node.
#[derive(Debug)]
pub struct StatusWriter<K> {
    ledger: Ledger,
    target: Target<K>,
    /// The Service of each object, by its name, to know what a deletion is about.
    services: std::collections::BTreeMap<ObjectKey, ServiceKey>,
}

/// Where the objects are.
#[derive(Clone, Debug)]
struct Target<K> {
    api: Api<K>,
    node: String,
    owner: Option<OwnerReference>,
}

/// The name of the object of a node for a Service: the same at every start.
pub fn object_name<K: StatusObject>(node: &str, service: &ServiceKey) -> String {
    let digest = Sha256::digest(format!("{node}/{service}").as_bytes());
    let hex: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", K::PREFIX)
}

fn now() -> Instant {
    Instant::from_origin(boot_time())
}

impl<K: StatusObject> StatusWriter<K> {
    /// A writer of the objects of `node` in MetalLB's namespace.
    pub fn new(client: Client, namespace: &str, node: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self {
            ledger: Ledger::default(),
            target: Target { api, node, owner: None },
            services: std::collections::BTreeMap::new(),
        }
    }

    /// Runs until the senders of `inputs` are gone.
    pub async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<StatusInput>) {
        let mut calls: JoinSet<(Job, Result<(), CallError>)> = JoinSet::new();
        loop {
            while calls.len() < PARALLEL
                && let Some(job) = self.ledger.next(now())
            {
                let target = self.target.clone();
                calls.spawn(async move {
                    let result = target.carry_out(&job).await;
                    (job, result)
                });
            }
            let idle = calls.len() < PARALLEL;
            let wait = self.ledger.poll_timeout().filter(|_| idle).map(|at| at.saturating_since(now()));
            let due = async {
                match wait {
                    Some(time) => sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.take_in(input),
                    None => return,
                },
                Some(result) = calls.join_next() => match result {
                    Ok((job, result)) => self.finish(&job, result),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = due => {}
            }
        }
    }

    fn take_in(&mut self, input: StatusInput) {
        match input {
            StatusInput::Want(service, want) => self.ledger.want(now(), &service, want),
            StatusInput::Owner(owner) => self.target.owner = Some(owner),
            StatusInput::Actual(Change::Apply(key, view)) => {
                if key.name != object_name::<K>(&self.target.node, &view.service) {
                    // Not of ours by its name: what wants it gone is the sweep of its Service.
                    return;
                }
                self.services.insert(key, view.service.clone());
                let service = view.service.clone();
                self.ledger.actual(now(), &service, Some(view));
            }
            StatusInput::Actual(Change::Delete(key)) => {
                if let Some(service) = self.services.remove(&key) {
                    self.ledger.actual(now(), &service, None);
                }
            }
            StatusInput::Actual(Change::Synced) => {}
        }
    }

    fn finish(&mut self, job: &Job, result: Result<(), CallError>) {
        match result {
            Ok(()) => {
                debug!(service = %job.service(), "status object written");
                if self.ledger.done(now(), job) {
                    info!("{} objects are written again", K::KIND);
                }
            }
            Err(error) => {
                if self.ledger.failed(now(), job) {
                    warn!(service = %job.service(), %error, "failed to write a {}, trying again until it works; addresses stay announced", K::KIND);
                } else {
                    debug!(service = %job.service(), %error, "still failing to write a {}", K::KIND);
                }
            }
        }
    }
}

/// Why a call did not do what it was for.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Refused(#[from] kube::Error),
    #[error("the API server did not answer within ten seconds")]
    Timeout,
}

impl<K: StatusObject> Target<K> {
    async fn carry_out(&self, job: &Job) -> Result<(), CallError> {
        let call = async {
            match job {
                Job::Write { service, names, why, sweep } => {
                    self.write(service, names, why.as_ref()).await?;
                    if *sweep && K::ONE_NODE { self.sweep(service).await } else { Ok(()) }
                }
                Job::Delete { service } => self.delete(&object_name::<K>(&self.node, service)).await,
            }
        };
        timeout(CALL, call).await.map_err(|_| CallError::Timeout)?.map_err(CallError::Refused)
    }

    /// Makes the object say this: the status is a subresource, so a new object takes two calls.
    async fn write(
        &self,
        service: &ServiceKey,
        names: &[String],
        why: Option<&Why>,
    ) -> Result<(), kube::Error> {
        let name = object_name::<K>(&self.node, service);
        let mut status = json!({
            "node": self.node,
            "serviceName": service.name,
            "serviceNamespace": service.namespace,
        });
        for (field, value) in K::details(names, why) {
            status[field] = value;
        }
        let status = Patch::Merge(json!({ "status": status }));
        let patch = || async { self.api.patch_status(&name, &PatchParams::default(), &status).await };
        match patch().await {
            Err(kube::Error::Api(error)) if error.code == 404 => {
                match self.api.create(&PostParams::default(), &self.object(&name, service)).await {
                    Err(kube::Error::Api(error)) if error.code == 409 => {}
                    result => drop(result?),
                }
                patch().await.map(drop)
            }
            result => result.map(drop),
        }
    }

    fn object(&self, name: &str, service: &ServiceKey) -> K {
        let node = names::label_value(&self.node).into_owned();
        let labels = [
            (names::NODE_LABEL, &node),
            (names::SERVICE_NAME_LABEL, &service.name),
            (names::SERVICE_NAMESPACE_LABEL, &service.namespace),
        ];
        K::bare(ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.clone())).into()),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        })
    }

    /// Deletes every other object for the Service: those of nodes that announced it before.
    async fn sweep(&self, service: &ServiceKey) -> Result<(), kube::Error> {
        let selector = format!(
            "{}={},{}={}",
            names::SERVICE_NAME_LABEL,
            service.name,
            names::SERVICE_NAMESPACE_LABEL,
            service.namespace
        );
        let own = object_name::<K>(&self.node, service);
        for object in self.api.list(&ListParams::default().labels(&selector)).await? {
            match object.meta().name.clone() {
                Some(name) if name != own => self.delete(&name).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), kube::Error> {
        match self.api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            result => result.map(drop),
        }
    }
}
