//! Reads what a decision depends on: the resource itself and the objects that exist for it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use api::MetalLB;
use api::names::{METALLB_NAME, SPEAKERS_CONFIG_MAP};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::build::{CONTROLLER, EXCLUDE_L2, SPEAKER};
use crate::failure::Failure;
use crate::health::{Surroundings, has_uncovered_nodes, suspect_nodes};
use crate::nodes;

/// A ConfigMap with lines for FRR's configuration file, which nothing here has.
pub(crate) const BGP_EXTRAS: &str = "bgpextras";

/// So many Nodes are read at once, for a Node is a large object.
const PAGE: u32 = 100;

/// The objects of a MetalLB resource as the API server has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// `metallb-excludel2`.
    pub exclude_l2: Option<ConfigMap>,
    /// `metallb-speakers`.
    pub(crate) speakers: Option<ConfigMap>,
    /// `controller`.
    pub(crate) controller: Option<Deployment>,
    /// `speaker`.
    pub(crate) speaker: Option<DaemonSet>,
    /// Whether the ConfigMap `bgpextras` exists.
    pub(crate) bgp_extras: bool,
}

/// The MetalLB resource as it is now: a cache may lag behind our own last write of its status.
pub(crate) async fn metallb(client: &Client, namespace: &str) -> Result<Option<MetalLB>, Failure> {
    get(client, namespace, METALLB_NAME).await
}

/// Reads the objects.
pub(crate) async fn live(client: &Client, namespace: &str) -> Result<Live, Failure> {
    let (exclude_l2, speakers, controller, speaker, bgp_extras) = tokio::try_join!(
        get(client, namespace, EXCLUDE_L2),
        get(client, namespace, SPEAKERS_CONFIG_MAP),
        get(client, namespace, CONTROLLER),
        get(client, namespace, SPEAKER),
        get::<ConfigMap>(client, namespace, BGP_EXTRAS),
    )?;
    Ok(Live { exclude_l2, speakers, controller, speaker, bgp_extras: bgp_extras.is_some() })
}

/// Adds what Nodes have to do with speakers that are missing or not ready. Reads none while all is well.
pub(crate) async fn look_at_nodes(
    client: &Client,
    speaker: Option<&DaemonSet>,
    around: &mut Surroundings,
) -> Result<(), Failure> {
    let api: Api<Node> = Api::all(client.clone());
    let mut broken = BTreeMap::new();
    for name in suspect_nodes(&around.pods) {
        let node =
            api.get_opt(name).await.map_err(|error| Failure::new(format!("reading Node {name}"), error))?;
        let why = match &node {
            Some(node) => nodes::not_ready(node),
            None => Some("it no longer exists".to_owned()),
        };
        broken.extend(why.map(|why| (name.to_owned(), why)));
    }
    around.broken_nodes = broken;
    if let Some(speaker) = speaker.filter(|speaker| has_uncovered_nodes(speaker)) {
        around.uncovered_nodes = uncovered_nodes(&api, speaker, around).await?;
    }
    Ok(())
}

/// Nodes that shall have a speaker and have none. None at all where the DaemonSet counts otherwise than we do
/// (a node affinity decides, say): better no name than a wrong one.
async fn uncovered_nodes(
    api: &Api<Node>,
    speaker: &DaemonSet,
    around: &Surroundings,
) -> Result<Vec<String>, Failure> {
    let Some(pod) = speaker.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await.map_err(|error| Failure::new("listing Nodes", error))?;
        names.extend(nodes::uncovered(&list.items, pod, &around.pods));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    let status = speaker.status.as_ref();
    let counted =
        status.map_or(0, |status| status.desired_number_scheduled - status.current_number_scheduled);
    if usize::try_from(counted) != Ok(names.len()) {
        names.clear();
    }
    Ok(names)
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    found.map_err(|error| Failure::new(format!("reading {} {namespace}/{name}", K::kind(&())), error))
}
