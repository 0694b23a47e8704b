//! Whether a speaker that is told to end is replaced, or its node is to have none any more.

use std::time::Duration;

use api::names::SPEAKER_DAEMON_SET;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use kube_ext::wants_pod;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long to ask. Whoever is not told is replaced: that is what most ends are for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the DaemonSet has no use for this node any more. Where the DaemonSet itself is gone nobody is left to tell.
pub(crate) async fn leaves_for_good(client: &Client, namespace: &str, node: &str) -> bool {
    match timeout(PATIENCE, ask(client, namespace, node)).await {
        Ok(Ok(leaves)) => leaves,
        Ok(Err(error)) => {
            warn!(%error, "whether this speaker is replaced could not be found out");
            false
        }
        Err(_) => {
            warn!("the API server did not say in time whether this speaker is replaced");
            false
        }
    }
}

async fn ask(client: &Client, namespace: &str, node: &str) -> Result<bool, kube::Error> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let nodes: Api<Node> = Api::all(client.clone());
    let (set, node) = tokio::try_join!(sets.get_opt(SPEAKER_DAEMON_SET), nodes.get_opt(node))?;
    let Some(set) = set.filter(|set| set.metadata.deletion_timestamp.is_none()) else { return Ok(false) };
    let pod = set.spec.and_then(|spec| spec.template.spec);
    let leaves = match (&node, &pod) {
        (Some(node), Some(pod)) => !wants_pod(node, pod),
        (None, _) => true,
        (_, None) => false,
    };
    if leaves {
        info!("the node is to have no speaker any more: the others go on without this one");
    }
    Ok(leaves)
}
