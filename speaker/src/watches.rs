//! The watches of the API server and of the kernel, as inputs of the core.

use std::fmt::Debug;

use api::{ServiceBGPStatus, ServiceL2Status, names};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, Resource};
use kube_ext::{Change, watch, watch_config};
use serde::de::DeserializeOwned;
use sockets::{LinkChange, LinkWatch, WatchError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::core::{BgpInput, Input, Passphrase, RosterView, SecretView, ServiceView, SpeakerPod};
use crate::status::StatusObject;

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
        Api::<ConfigMap>::namespaced(client.clone(), view.namespace),
        all().fields(&format!("metadata.name={}", names::SPEAKERS_CONFIG_MAP)),
        |object| RosterView::from(&object),
        Input::Roster,
        out.clone(),
    ));
    let namespace = view.namespace;
    spawn_whole(&mut tasks, client, namespace, Input::Pool, out);
    spawn_whole(&mut tasks, client, namespace, Input::Advertisement, out);
    spawn_whole(&mut tasks, client, namespace, Input::BgpAdvertisement, out);
    spawn_whole(&mut tasks, client, namespace, Input::Peer, out);
    spawn_whole(&mut tasks, client, namespace, Input::BfdProfile, out);
    spawn_whole(&mut tasks, client, namespace, Input::Community, out);
    tasks.spawn(watch(
        Api::<Secret>::namespaced(client.clone(), namespace),
        all(),
        secret,
        Input::Secret,
        out.clone(),
    ));
    let own = || all().labels(&format!("{}={}", names::NODE_LABEL, names::label_value(view.node)));
    tasks.spawn(watch(
        Api::<ServiceL2Status>::namespaced(client.clone(), namespace),
        own(),
        |object| object.view(),
        Input::Status,
        out.clone(),
    ));
    tasks.spawn(watch(
        Api::<ServiceBGPStatus>::namespaced(client.clone(), namespace),
        own(),
        |object| object.view(),
        |change| Input::Bgp(BgpInput::Status(change)),
        out.clone(),
    ));
    tasks
}

/// Watches a kind of the configuration in MetalLB's namespace, of which everything is kept.
fn spawn_whole<K>(
    tasks: &mut JoinSet<()>,
    client: &Client,
    namespace: &str,
    wrap: impl Fn(Change<K>) -> Input + Send + 'static,
    out: &mpsc::Sender<Input>,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    tasks.spawn(watch(api, watch_config(), |object| object, wrap, out.clone()));
}

/// The type of Secrets that BGPPeers may name.
const PASSWORDS: &str = "kubernetes.io/basic-auth";

/// What is kept of a Secret: whether it has a password, and that where it is of the type that a BGPPeer may name. All
/// other data is dropped at once.
fn secret(object: Secret) -> SecretView {
    let kind = object.type_.unwrap_or_default();
    let password = object.data.and_then(|mut data| data.remove("password"));
    let secret = config::Secret {
        namespace: object.metadata.namespace.unwrap_or_default(),
        name: object.metadata.name.unwrap_or_default(),
        has_password: password.is_some(),
        kind,
    };
    let password = password.filter(|_| secret.kind == PASSWORDS).and_then(|bytes| Passphrase::new(bytes.0));
    SecretView { secret, password }
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
