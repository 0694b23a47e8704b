//! How a speaker ends: its addresses go to others first, and its vote where its node is to have none any more.

use std::time::Duration;

use api::names::SPEAKER_DAEMON_SET;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use kube_ext::wants_pod;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::core::Input;
use crate::failover::{Failover, Order};

/// How long to ask. Whoever is not told is replaced: that is what most ends are for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a speaker that is told to end hands its addresses over: well within its Pod's grace period.
const HAND_OVER: Duration = Duration::from_secs(10);

/// How long a speaker that ends for good takes part in the vote on the speakers without it: most of that period.
const RETIRE: Duration = Duration::from_secs(20);

/// What a speaker that ends has to see to.
pub(crate) struct Farewell<'a> {
    pub(crate) failover: &'a Failover,
    pub(crate) inputs: &'a mpsc::Sender<Input>,
    /// Whether everything is handed over.
    pub(crate) drained: watch::Receiver<bool>,
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) node: &'a str,
}

impl Farewell<'_> {
    /// Waits until other speakers have all addresses of this one and need it no more, or as long as a stopping Pod may.
    pub(crate) async fn hand_over(&self) {
        self.failover.tell(Order::Drain(true));
        if leaves_for_good(self.client, self.namespace, self.node).await {
            let struck_off = self.inputs.send(Input::Leaving).await.is_ok();
            if !struck_off || timeout(RETIRE, self.failover.retired()).await.is_err() {
                warn!("the other speakers still count this one: they do without it in a minute or two");
            }
        }
        let mut drained = self.drained.clone();
        if timeout(HAND_OVER, drained.wait_for(|drained| *drained)).await.is_err() {
            warn!("the other speakers have not taken all addresses over in time");
        }
    }
}

/// Whether the DaemonSet has no use for this node any more. Where the DaemonSet itself is gone nobody is left to tell.
async fn leaves_for_good(client: &Client, namespace: &str, node: &str) -> bool {
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
