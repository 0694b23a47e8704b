//! The list of speakers in the API: this node entered, others struck off (docs/adr/0011).

use std::net::IpAddr;
use std::time::Duration;

use api::names::SPEAKERS_CONFIG_MAP;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use kube_ext::Backoff;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// This node, with the address by which the others reach it.
    Enlist,
    /// This node is to be struck off: its speaker ends for good.
    Leave,
    /// A node that is gone, where the list has this revision.
    Strike {
        /// The node.
        node: String,
        /// The list's revision.
        revision: u64,
    },
}

/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);

/// Writes what it is asked to.
#[derive(Debug)]
pub struct RosterWriter {
    api: Api<ConfigMap>,
    node: String,
    address: IpAddr,
}

impl RosterWriter {
    /// A writer for this node.
    pub fn new(client: Client, namespace: &str, node: String, address: IpAddr) -> Self {
        Self { api: Api::namespaced(client, namespace), node, address }
    }

    /// Runs until the senders of `entries` are gone.
    pub async fn run(self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        while let Some(entry) = entries.recv().await {
            match entry {
                Entry::Enlist => self.enlist().await,
                Entry::Leave => {
                    let patch = json!({ "data": { &self.node: null } });
                    if let Err(error) = self.patch(&patch).await {
                        warn!(
                            error,
                            "failed to strike this node off the list of speakers: another one does it in a minute"
                        );
                    }
                }
                // Whoever is still there enters itself again; what failed is asked for again.
                Entry::Strike { node, revision } => match self.strike(&node, revision).await {
                    Ok(()) => info!(node, "the node was struck off the list of speakers"),
                    Err(error) => debug!(node, error, "the node was not struck off the list of speakers"),
                },
            }
        }
    }

    /// Enters this node, however long it takes.
    async fn enlist(&self) {
        let mut backoff = Backoff::default();
        loop {
            let patch = json!({ "data": { &self.node: self.address.to_string() } });
            match self.patch(&patch).await {
                Ok(()) => {
                    info!(address = %self.address, "this node is in the list of speakers");
                    break;
                }
                Err(error) => warn!(
                    error,
                    "failed to enter this node into the ConfigMap {SPEAKERS_CONFIG_MAP}, trying again: the other speakers do not know it until then"
                ),
            }
            sleep(backoff.next_pause()).await;
        }
    }

    async fn strike(&self, node: &str, revision: u64) -> Result<(), String> {
        // The revision makes the API server refuse where the list has changed meanwhile.
        let patch = json!({
            "metadata": { "resourceVersion": revision.to_string() },
            "data": { node: null },
        });
        self.patch(&patch).await
    }

    async fn patch(&self, patch: &serde_json::Value) -> Result<(), String> {
        let params = PatchParams::default();
        let patch = Patch::Merge(patch);
        let call = self.api.patch_metadata(SPEAKERS_CONFIG_MAP, &params, &patch);
        match timeout(CALL, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the API server did not answer within ten seconds".to_owned()),
        }
    }
}
