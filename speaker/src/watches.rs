//! The watches of the API server and of the kernel, as inputs of the core.

use api::{IPAddressPool, L2Advertisement, ServiceL2Status, names};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use kube_ext::{watch, watch_config};
use sockets::{LinkChange, LinkWatch, WatchError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::core::{Input, ServiceView, SpeakerPod, StatusView};

/// Whose view it is.
pub(crate) struct Viewpoint<'a> {
    pub(crate) node: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) pod: Option<&'a str>,
    /// The label selector of the speakers' Pods.
    pub(crate) speakers: &'a str,
}

/// Starts all watches of the API server; they end with the set.
pub(crate) fn start(client: &Client, view: &Viewpoint<'_>, out: &mpsc::Sender<Input>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let all = || watch_config();
    tasks.spawn(watch(
        Api::<Service>::all(client.clone()),
        all(),
        |service| ServiceView::from(&service),
        Input::Service,
        out.clone(),
    ));
    tasks.spawn(watch(
        Api::<EndpointSlice>::all(client.clone()),
        all(),
        |slice| announce::Slice::from(&slice),
        Input::Slice,
        out.clone(),
    ));
    tasks.spawn(watch(
        Api::<Node>::all(client.clone()),
        all(),
        |node| announce::Node::from(&node),
        Input::Node,
        out.clone(),
    ));
    let own = view.pod.map(str::to_owned);
    tasks.spawn(watch(
        Api::<Pod>::namespaced(client.clone(), view.namespace),
        all().labels(view.speakers),
        move |pod| SpeakerPod::reduce(&pod, own.as_deref()),
        Input::Speaker,
        out.clone(),
    ));
    tasks.spawn(watch(
        Api::<IPAddressPool>::namespaced(client.clone(), view.namespace),
        all(),
        |pool| pool,
        Input::Pool,
        out.clone(),
    ));
    tasks.spawn(watch(
        Api::<L2Advertisement>::namespaced(client.clone(), view.namespace),
        all(),
        |advertisement| advertisement,
        Input::Advertisement,
        out.clone(),
    ));
    tasks.spawn(watch(
        Api::<ServiceL2Status>::namespaced(client.clone(), view.namespace),
        all().labels(&format!("{}={}", names::NODE_LABEL, view.node)),
        |object| StatusView::from(&object),
        Input::Status,
        out.clone(),
    ));
    tasks
}

/// Hands on the changes of this host's links. Ends with an error, or when nobody listens any more.
pub(crate) async fn links(out: mpsc::Sender<Input>) -> Result<(), WatchError> {
    let mut watch = LinkWatch::new()?;
    loop {
        let change: LinkChange = watch.next().await?;
        if out.send(Input::Link(change)).await.is_err() {
            return Ok(());
        }
    }
}
