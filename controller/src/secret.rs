//! The key that the speakers have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use kube_ext::Change;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

/// The field of the Secret that holds the key.
const KEY: &str = "secretkey";
/// The length of the key, in bytes.
const LENGTH: usize = 16;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Creates the Secret whenever there is none, until the process ends. One that exists is never changed, and of its
/// content nothing is read.
pub(crate) async fn keep(client: Client, namespace: &str, name: &str, deployment: &str) {
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), namespace);
    let config = kube_ext::watch_config().fields(&format!("metadata.name={name}"));
    let (out, mut changes) = mpsc::channel(1);
    let watching = kube_ext::watch(secrets, config, |_| (), |change| change, out);
    let keeping = async {
        let mut exists = false;
        // Of a Deployment that is being removed the controller outlives the end: what it still makes goes with it.
        let home = home(&client, namespace, deployment).await;
        while let Some(change) = changes.recv().await {
            match change {
                Change::Apply(..) => exists = true,
                Change::Synced if exists => {}
                // Deleted by hand, or with the Deployment that an earlier one belonged to.
                Change::Delete(_) | Change::Synced => {
                    exists = false;
                    ensure(&client, namespace, name, deployment, home.as_ref()).await;
                }
            }
        }
    };
    tokio::join!(watching, keeping);
}

/// Creates the Secret where there is none, however long that takes.
async fn ensure(
    client: &Client,
    namespace: &str,
    name: &str,
    deployment: &str,
    home: Option<&OwnerReference>,
) {
    let mut pause = Duration::from_millis(250);
    let mut warned = false;
    loop {
        match create(client, namespace, name, deployment, home).await {
            Ok(true) => return info!(secret = name, "created the Secret with the speakers' common key"),
            Ok(false) => return,
            Err(error) => {
                if !std::mem::replace(&mut warned, true) {
                    warn!(
                        secret = name,
                        error = format!("{error:#}"),
                        "cannot create the Secret with the speakers' common key, trying again; speakers cannot start without it"
                    );
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Creates the Secret; false where it exists. It belongs to the Deployment of that name, or, where that is gone, to `home`.
async fn create(
    client: &Client,
    namespace: &str,
    name: &str,
    deployment: &str,
    home: Option<&OwnerReference>,
) -> anyhow::Result<bool> {
    let owner = owner(client, namespace, deployment).await?.or_else(|| home.cloned());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key()?.into_bytes()))])),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => Err(anyhow!(error).context("creating it")),
    }
}

/// The Deployment as an owner: what it owns goes when it goes. `None` without a name, and where there is no such
/// Deployment.
pub(crate) async fn owner(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<OwnerReference>> {
    if name.is_empty() {
        return Ok(None);
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = deployments.get_opt(name).await;
    let found = found.with_context(|| format!("looking for its owner, the Deployment {name}"))?;
    let uid = found.and_then(|deployment| deployment.metadata.uid);
    Ok(uid.map(|uid| OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: name.to_owned(),
        uid,
        ..OwnerReference::default()
    }))
}

/// As [`owner`], however long the API server takes to say so. `None` also where the Deployment may not be read.
pub(crate) async fn home(client: &Client, namespace: &str, name: &str) -> Option<OwnerReference> {
    let mut pause = Duration::from_millis(250);
    loop {
        let error = match owner(client, namespace, name).await {
            Ok(owner) => return owner,
            Err(error) => error,
        };
        if matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 403) {
            warn!(error = format!("{error:#}"), "what this program makes stays when it is removed");
            return None;
        }
        debug!(error = format!("{error:#}"), "trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A new key: random bytes as base64 without padding, as MetalLB writes it.
fn key() -> anyhow::Result<String> {
    let mut bytes = [0; LENGTH];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    base64(&bytes)
}

/// Base64 (RFC 4648 section 4) without padding. JSON of the Kubernetes API writes bytes with padding.
fn base64(bytes: &[u8]) -> anyhow::Result<String> {
    match serde_json::to_value(ByteString(bytes.to_vec()))? {
        Value::String(text) => Ok(text.trim_end_matches('=').to_owned()),
        other => Err(anyhow!("bytes became {other}, which is no text")),
    }
}

#[cfg(test)]
mod tests;
