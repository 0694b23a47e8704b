//! Objects as the tests write them, and what the API server says to them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::Cluster;
use futures::StreamExt as _;
use kube::api::{DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{NAMESPACE, SOON};

/// An object of MetalLB's, or a Secret, as the tables have it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Object {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) version: Option<String>,
    pub(crate) name: String,
    pub(crate) spec: Value,
}

impl Object {
    pub(crate) fn new(kind: &str, version: &str, name: &str, spec: Value) -> Self {
        let (kind, version, name) = (kind.to_owned(), Some(version.to_owned()), name.to_owned());
        Self { kind, version, name, spec }
    }

    /// The version that it is written in: where none is given, the one that is stored.
    fn version(&self) -> &str {
        let stored = if self.kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
        self.version.as_deref().unwrap_or(stored)
    }

    /// As it is sent.
    fn json(&self, namespace: &str) -> Value {
        let metadata = json!({"name": self.name, "namespace": namespace});
        if self.kind == "Secret" {
            let key = self.spec["key"].as_str().unwrap_or_default();
            return json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": metadata,
                "type": self.spec["type"], "stringData": {key: "hidden"},
            });
        }
        let api_version = format!("metallb.io/{}", self.version());
        json!({"apiVersion": api_version, "kind": self.kind, "metadata": metadata, "spec": self.spec})
    }

    fn resource(&self) -> ApiResource {
        if self.kind == "Secret" {
            return ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
        }
        resource("metallb.io", self.version(), &self.kind)
    }
}

/// A kind by its group and version, with the plural that its definition gives it.
pub(crate) fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    let plural = match kind {
        "Community" => "communities".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
}

/// Why the API server did not take an object.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// All of it.
    pub(crate) message: String,
    /// The parts of it, where it has some: one for each rule.
    pub(crate) causes: Vec<String>,
}

/// What became of an object, unless the API server could not be asked.
pub(crate) type Answer = Result<std::result::Result<DynamicObject, Refusal>>;

fn answer(result: kube::Result<DynamicObject>) -> Answer {
    match result {
        Ok(object) => Ok(Ok(object)),
        Err(kube::Error::Api(status)) => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let causes = causes.map(|cause| cause.message.clone()).collect();
            Ok(Err(Refusal { message: status.message.clone(), causes }))
        }
        Err(error) => Err(error).context("asking the API server"),
    }
}

/// Speaks to the API server as an administrator, without a program for each word.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) client: Client,
}

impl Admin {
    pub(crate) async fn new(cluster: &Cluster) -> Result<Self> {
        // An error means that a provider is installed already, and any will do.
        rustls::crypto::ring::default_provider().install_default().ok();
        let kubeconfig = Kubeconfig::read_from(cluster.instance().kubeconfig())?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.read_timeout = Some(Duration::from_secs(300));
        Ok(Self { client: Client::try_from(config)? })
    }

    pub(crate) fn api(&self, object: &Object, namespace: &str) -> Api<DynamicObject> {
        let resource = object.resource();
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    async fn post(&self, object: &Object, namespace: &str, dry_run: bool) -> Answer {
        let sent = serde_json::from_value(object.json(namespace)).context("an object")?;
        let params = PostParams { dry_run, ..PostParams::default() };
        answer(self.api(object, namespace).create(&params, &sent).await)
    }

    pub(crate) async fn create(&self, object: &Object) -> Answer {
        self.post(object, NAMESPACE, false).await
    }

    /// Whether it would be taken.
    pub(crate) async fn try_create(&self, object: &Object) -> Answer {
        self.post(object, NAMESPACE, true).await
    }

    pub(crate) async fn try_create_in(&self, object: &Object, namespace: &str) -> Answer {
        self.post(object, namespace, true).await
    }

    /// Puts the spec of `object` in the place of that of the object of its name.
    pub(crate) async fn update(&self, object: &Object, dry_run: bool) -> Answer {
        let api = self.api(object, NAMESPACE);
        let params = PostParams { dry_run, ..PostParams::default() };
        until(&format!("{} {} to be written", object.kind, object.name), async || {
            let mut present = api.get(&object.name).await?;
            present.data["spec"] = object.spec.clone();
            match api.replace(&object.name, &params, &present).await {
                // The controller has written the status in between.
                Err(kube::Error::Api(status)) if status.is_conflict() => bail!("{}", status.message),
                answered => Ok(answer(answered)),
            }
        })
        .await?
    }

    /// Deletes it where it exists.
    pub(crate) async fn delete(&self, object: &Object) -> Result<()> {
        match self.api(object, NAMESPACE).delete(&object.name, &kube::api::DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("deleting {} {}", object.kind, object.name)),
        }
    }

    /// An object without a namespace.
    pub(crate) fn of_cluster(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(group, "v1", kind))
    }
}

/// Waits until `look` says yes, each time asking anew.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut last = anyhow!("never looked");
    let looking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        loop {
            pause.tick().await;
            match look().await {
                Ok(value) => return value,
                Err(error) => last = error,
            }
        }
    };
    match timeout(SOON * 2, looking).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("{what} did not happen within {:?}; last seen: {last:#}", SOON * 2),
    }
}

/// The ConfigurationState objects: `(result, errorSummary)` by name, as a watch tells of them.
pub(crate) struct States(watch::Receiver<BTreeMap<String, (String, String)>>);

impl States {
    /// Begins to watch. Ends with the runtime.
    pub(crate) fn follow(admin: &Admin) -> Self {
        let resource = resource("metallb.io", "v1beta1", "ConfigurationState");
        let api: Api<DynamicObject> = Api::namespaced_with(admin.client.clone(), NAMESPACE, &resource);
        let (out, seen) = watch::channel(BTreeMap::new());
        tokio::spawn(async move {
            let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
            let mut events = std::pin::pin!(events);
            // The definitions change under it: what fails is begun again.
            while let Some(event) = events.next().await {
                let Ok(event) = event else { continue };
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                match event {
                    Event::Apply(object) | Event::InitApply(object) => {
                        let status = &object.data["status"];
                        let state = (text(&status["result"]), text(&status["errorSummary"]));
                        let name = object.metadata.name.unwrap_or_default();
                        out.send_modify(|states| drop(states.insert(name, state)));
                    }
                    Event::Delete(object) => {
                        let name = object.metadata.name.unwrap_or_default();
                        out.send_modify(|states| drop(states.remove(&name)));
                    }
                    Event::Init | Event::InitDone => {}
                }
            }
        });
        Self(seen)
    }

    /// Waits until the controller and the speaker say these; an empty summary is that of a valid configuration.
    pub(crate) async fn wait(&mut self, controller: &str, speaker: &str) -> Result<()> {
        let is = |states: &BTreeMap<String, (String, String)>, name: &str, summary: &str| {
            let result = if summary.is_empty() { "Valid" } else { "Invalid" };
            states.get(name).is_some_and(|(r, s)| r == result && s == summary)
        };
        let both = |states: &BTreeMap<String, (String, String)>| {
            is(states, "controller", controller) && is(states, "speaker-node1", speaker)
        };
        let waited = timeout(SOON, self.0.wait_for(both)).await.is_ok();
        ensure!(
            waited,
            "expected {controller:?} of the controller and {speaker:?} of the speaker, found {:?}",
            *self.0.borrow()
        );
        Ok(())
    }
}
