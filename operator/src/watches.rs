//! What starts a reconciliation beside the MetalLB resource itself, and what is kept of it.

use std::fmt::Debug;
use std::time::Duration;

use api::names::{METALLB_NAME, SPEAKERS_CONFIG_MAP};
use futures::future;
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::DynamicObject;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Config;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::build::{CONTROLLER, EXCLUDE_L2, ExtraKind, SPEAKER};
use crate::dereference::BGP_EXTRAS;
use crate::settings::Environment;

/// How long a status waits for the first lists of Pods and events.
const FIRST_LISTS: Duration = Duration::from_secs(2);

/// What the watches know, without a request.
pub(crate) struct Known {
    /// The Pods of controller and speakers, without what no decision needs.
    pub(crate) pods: Store<Pod>,
    /// Warning events of the namespace.
    pub(crate) warnings: Store<Event>,
}

impl Known {
    /// Waits for the first lists, so that an operator that starts does not take back what the status says of Pods
    /// it has not seen yet. Not for long: without them a status still tells the numbers.
    pub(crate) async fn settle(&self) {
        let listed = future::join(self.pods.wait_until_ready(), self.warnings.wait_until_ready());
        if tokio::time::timeout(FIRST_LISTS, listed).await.is_err() {
            tracing::debug!("the status is told without Pods and events, which are not listed yet");
        }
    }
}

/// Watches the objects of the MetalLB resource in the operator's namespace. The stream tells each time that one of them changed.
pub(crate) fn start(client: &Client, environment: &Environment) -> (Known, BoxStream<'static, ()>) {
    let namespace = &environment.namespace;
    let (pods, pod_writer) = reflector::store();
    let (warnings, warning_writer) = reflector::store();
    let pod_changes =
        watch::<Pod>(client, namespace, Config::default().labels(&format!("app={METALLB_NAME}")))
            .modify(prune_pod)
            .reflect(pod_writer);
    let warning_changes = watch::<Event>(client, namespace, Config::default().fields("type=Warning"))
        .modify(|event| event.metadata.managed_fields = None)
        .reflect(warning_writer)
        .filter(|change| future::ready(tells_of_ours(change)));
    let extras = crate::build::wanted_extras(environment);
    let extras = extras.into_iter().map(|(kind, name)| extra(client, namespace, kind, name));
    let changes = stream::select_all(
        [
            told(pod_changes),
            told(warning_changes),
            told(named::<ConfigMap>(client, namespace, EXCLUDE_L2)),
            told(named::<ConfigMap>(client, namespace, SPEAKERS_CONFIG_MAP)),
            told(named::<ConfigMap>(client, namespace, BGP_EXTRAS)),
            told(named::<Deployment>(client, namespace, CONTROLLER)),
            told(named::<DaemonSet>(client, namespace, SPEAKER)),
        ]
        .into_iter()
        .chain(extras),
    );
    (Known { pods, warnings }, changes.boxed())
}

/// Tells that an object which is there by request has changed, or that its kind has become known.
fn extra(client: &Client, namespace: &str, kind: ExtraKind, name: &str) -> BoxStream<'static, ()> {
    let resource = kind.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let changes = watcher(api, Config::default().fields(&format!("metadata.name={name}"))).default_backoff();
    let told = changes.filter_map(move |change| {
        let told = match change {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Ok(_) => Some(()),
            Err(error) => {
                tracing::debug!(kind = resource.kind, why = %error, "watch failed, trying again");
                None
            }
        };
        future::ready(told)
    });
    told.boxed()
}

/// A watch of one object. By its name and not by labels or owner, so that also a change of those is seen.
fn named<K: Watched>(
    client: &Client,
    namespace: &str,
    name: &str,
) -> impl stream::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K> {
    watch(client, namespace, Config::default().fields(&format!("metadata.name={name}")))
}

fn watch<K: Watched>(
    client: &Client,
    namespace: &str,
    config: Config,
) -> impl stream::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    watcher(api, config).default_backoff()
}

/// What all the watched kinds are.
trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Reduces a watch to the fact that something changed. Errors are logged; the watch goes on by itself.
fn told<K: Watched>(
    changes: impl stream::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
) -> BoxStream<'static, ()> {
    let touched = changes.touched_objects();
    let told = touched.filter_map(|change| {
        let told = match change {
            Ok(_) => Some(()),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), why = %error, "watch failed, trying again");
                None
            }
        };
        future::ready(told)
    });
    told.boxed()
}

/// Whether the event is about an object that MetalLB's readiness depends on: others in a shared namespace are not
/// our concern. Lists and errors pass.
fn tells_of_ours(change: &watcher::Result<watcher::Event<Event>>) -> bool {
    let Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) = change else {
        return !matches!(change, Ok(watcher::Event::Delete(_)));
    };
    let about = &event.involved_object;
    let name = about.name.as_deref().unwrap_or_default();
    match about.kind.as_deref() {
        Some("DaemonSet") => name == SPEAKER,
        Some("Pod") => [CONTROLLER, SPEAKER]
            .iter()
            .any(|component| name.strip_prefix(component).is_some_and(|rest| rest.starts_with('-'))),
        _ => false,
    }
}

/// Leaves what tells how a Pod fares.
fn prune_pod(pod: &mut Pod) {
    pod.managed_fields_mut().clear();
    pod.annotations_mut().clear();
    if let Some(spec) = &mut pod.spec {
        spec.containers.clear();
        spec.volumes = None;
        spec.tolerations = None;
    }
}
