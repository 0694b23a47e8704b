//! The rotation's input and output: watches in, writes out.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use k8s_openapi::{
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use kube_ext::{Change, Gate, ObjectKey, watch, watch_config};
use serde_json::json;
use tls::CertResolver;
use tokio::{
    sync::{mpsc, watch as channel},
    task::JoinSet,
    time::{error::Elapsed, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    Readiness, RotationConfig, Target,
    keyring::{Data, Keyring, Write},
    names,
    state::{Now, Plan, SecretView, State},
    targets::{Callee, Kind, TargetView},
};
use crate::pki;

/// The owner of the fields that we write, as MetalLB names it.
const MANAGER: &str = "MetalLB";

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pauses after failures: doubled from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

/// A change that a conflict told of is seen by then, or looked for again.
const CONFLICT: Duration = Duration::from_secs(1);

/// Decisions that follow each other at once, each from the effect of the one before. Making everything takes three.
const STEPS: usize = 8;

/// Keeps a certificate of our own making in `resolver`, its CA where the API server looks for it, and both fresh.
///
/// `readiness` says when reviews can be answered: once the certificate is served and its CA trusted by every
/// target. Never ends; run it in a task of its own. Dropping it stops watching and writing, and `resolver` keeps what
/// it has.
pub async fn rotate(
    config: RotationConfig,
    resolver: Arc<CertResolver>,
    readiness: channel::Sender<Readiness>,
) -> Infallible {
    let (out, mut seen) = mpsc::channel(64);
    // Ends the watches when this future is dropped.
    let _watches = watches(&config, &out);
    let mut rotation = Rotation::new(config, resolver, readiness);
    loop {
        let pause = if rotation.gate.open() {
            rotation.step().await
        } else {
            rotation.name_missing_lists();
            Duration::MAX
        };
        tokio::select! {
            news = seen.recv() => rotation.take(news.expect("the watches live as long as this loop")),
            () = sleep(pause) => {}
        }
        while let Ok(news) = seen.try_recv() {
            rotation.take(news);
        }
    }
}

/// What the watches tell; targets by their place in the configuration.
enum Seen {
    Secret(Change<SecretView>),
    Target(usize, Change<TargetView>),
}

fn watches(config: &RotationConfig, out: &mpsc::Sender<Seen>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let named = |name: &str| watch_config().fields(&format!("metadata.name={name}"));
    let secrets: Api<Secret> = Api::namespaced(config.client.clone(), &config.namespace);
    tasks.spawn(watch(secrets, named(&config.secret), |secret| view(&secret), Seen::Secret, out.clone()));
    for (place, target) in config.targets.iter().enumerate() {
        let callee = Callee { namespace: config.namespace.clone(), name: config.service.clone() };
        let wrap = move |change| Seen::Target(place, change);
        let selected = match target {
            Target::Webhooks(name) | Target::Conversion(name) => named(name),
            Target::WebhooksLabelled(labels) => watch_config().labels(labels),
        };
        let client = config.client.clone();
        match target {
            Target::Webhooks(_) | Target::WebhooksLabelled(_) => {
                let api: Api<ValidatingWebhookConfiguration> = Api::all(client);
                let reduce = move |object| TargetView::of_webhooks(&object, &callee);
                tasks.spawn(watch(api, selected, reduce, wrap, out.clone()))
            }
            Target::Conversion(_) => {
                let api: Api<CustomResourceDefinition> = Api::all(client);
                let reduce = move |object| TargetView::of_conversion(&object, &callee);
                tasks.spawn(watch(api, selected, reduce, wrap, out.clone()))
            }
        };
    }
    tasks
}

fn view(secret: &Secret) -> SecretView {
    SecretView {
        resource_version: secret.resource_version().unwrap_or_default(),
        created: secret.creation_timestamp().map_or(i64::MIN, |time| time.0.as_second()),
        data: secret.data.clone().unwrap_or_default(),
    }
}

/// What is watched: the Secret, then each target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Secret,
    Target(usize),
}

struct Rotation {
    config: RotationConfig,
    resolver: Arc<CertResolver>,
    readiness: channel::Sender<Readiness>,
    secrets: Api<Secret>,
    gate: Gate<List>,
    state: State,
    secret: Option<SecretView>,
    targets: BTreeMap<(usize, ObjectKey), TargetView>,
    /// Failures one after the other.
    failures: u32,
}

/// Why an effect did not come about.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the API server did not answer within {} s", PATIENCE.as_secs())]
    Slow(#[from] Elapsed),
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl Failure {
    /// The object is not what was seen: someone else was faster.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() || status.is_not_found())
    }
}

impl Rotation {
    fn new(
        config: RotationConfig,
        resolver: Arc<CertResolver>,
        readiness: channel::Sender<Readiness>,
    ) -> Self {
        let lists = (0..config.targets.len()).map(List::Target).chain([List::Secret]);
        let host = names(&config.service, &config.namespace).swap_remove(0);
        Self {
            resolver,
            readiness,
            secrets: Api::namespaced(config.client.clone(), &config.namespace),
            gate: Gate::new(lists),
            state: State::new(config.policy, host),
            secret: None,
            targets: BTreeMap::new(),
            failures: 0,
            config,
        }
    }

    fn client(&self) -> Client {
        self.config.client.clone()
    }

    fn take(&mut self, news: Seen) {
        match news {
            Seen::Secret(Change::Apply(_, secret)) => self.secret = Some(secret),
            Seen::Secret(Change::Delete(_)) => self.secret = None,
            Seen::Secret(Change::Synced) => {
                self.gate.arrived(List::Secret);
            }
            Seen::Target(place, Change::Apply(key, target)) => {
                self.targets.insert((place, key), target);
            }
            Seen::Target(place, Change::Delete(key)) => {
                self.targets.remove(&(place, key));
            }
            Seen::Target(place, Change::Synced) => {
                self.gate.arrived(List::Target(place));
            }
        }
    }

    /// Says what is waited for. No decision before everything has been listed.
    fn name_missing_lists(&self) {
        let missing = self.gate.missing().map(|list| match list {
            List::Secret => format!("Secret {}/{}", self.config.namespace, self.config.secret),
            List::Target(place) => match &self.config.targets[*place] {
                Target::Webhooks(name) => format!("{} {name}", Kind::Webhooks.name()),
                Target::WebhooksLabelled(labels) => format!("{}s with {labels}", Kind::Webhooks.name()),
                Target::Conversion(name) => format!("{} {name}", Kind::Conversion.name()),
            },
        });
        self.report(Readiness::NotReady(format!(
            "waiting to read {}",
            missing.collect::<Vec<_>>().join(", ")
        )));
    }

    fn report(&self, readiness: Readiness) {
        self.readiness.send_if_modified(|before| {
            let news = *before != readiness;
            *before = readiness;
            news
        });
    }

    /// Decides and acts until nothing is left to do; gives the pause until the next look.
    async fn step(&mut self) -> Duration {
        for _ in 0..STEPS {
            let bundles: Vec<_> = self.targets.values().map(|target| &target.bundles[..]).collect();
            let plan = self.state.plan(now(), self.secret.as_ref(), &bundles);
            if let Some(serving) = &plan.serve {
                self.resolver.set(serving.leaf.certificate.clone());
                info!(until = %time(serving.until()), "serving a new certificate for the webhooks");
            }
            self.report(plan.hindrance.clone().map_or(Readiness::Ready, Readiness::NotReady));
            let acted = match &plan.write {
                Some(write) => self.write(write).await,
                None if plan.inject.is_empty() => {
                    if self.failures > 0 {
                        self.failures = 0;
                        info!("the certificate for the webhooks is in order again");
                    }
                    return plan.wake;
                }
                None => self.inject(&plan).await,
            };
            match acted {
                Ok(()) => {}
                // The change that came between is about to be told by a watch.
                Err(failure) if failure.is_conflict() => {
                    debug!(error = %failure, "a webhook configuration has changed meanwhile");
                    return plan.wake.min(CONFLICT);
                }
                Err(failure) => return self.failed(&failure).min(plan.wake),
            }
        }
        self.failed(&"others keep changing the Secret or the webhook configurations")
            .min(self.config.policy.recheck)
    }

    /// The pause after a failure. The first of several is told loudly.
    fn failed(&mut self, failure: &impl std::fmt::Display) -> Duration {
        let pause = PAUSES[0].saturating_mul(1 << self.failures.min(16)).min(PAUSES[1]);
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(error = %failure, "the certificate for the webhooks cannot be kept in order, trying again; check the rights of this program's service account on Secrets, webhook configurations and custom resource definitions");
        } else {
            debug!(error = %failure, ?pause, "the certificate for the webhooks still cannot be kept in order");
        }
        pause
    }

    /// Reads the Secret afresh; whether it is another than was seen.
    async fn refresh(&mut self) -> Result<bool, Failure> {
        let fresh = timeout(PATIENCE, self.secrets.get_opt(&self.config.secret)).await??.as_ref().map(view);
        let news = fresh != self.secret;
        self.secret = fresh;
        Ok(news)
    }

    async fn write(&mut self, write: &Write) -> Result<(), Failure> {
        match self.try_write(write).await {
            Ok(secret) => {
                self.secret = Some(view(&secret));
                let secret = format!("{}/{}", self.config.namespace, self.config.secret);
                let done = match write {
                    Write::Authority { keep } if keep.is_empty() => {
                        "made a CA and a certificate for the webhooks"
                    }
                    Write::Authority { .. } => {
                        "made a new CA and a certificate for the webhooks; the old CA stays trusted until every replica serves the new certificate"
                    }
                    Write::Serving => "made a new certificate for the webhooks",
                    Write::Forget { .. } => "the old CA of the webhooks is not trusted any more",
                };
                info!(secret, "{done}");
                Ok(())
            }
            Err(failure) if failure.is_conflict() => {
                debug!(error = %failure, "another replica was faster");
                self.refresh().await.map(|_| ())
            }
            Err(failure) => Err(failure),
        }
    }

    async fn try_write(&self, write: &Write) -> Result<Secret, Failure> {
        let names = names(&self.config.service, &self.config.namespace);
        let none = Data::new();
        let data = self.secret.as_ref().map_or(&none, |secret| &secret.data);
        let data =
            Keyring::read(data, &names[0]).carry_out(write, &names, &self.config.policy, now().wall)?;
        let name = &self.config.secret;
        if let Some(secret) = &self.secret {
            let patch = json!({"metadata": {"resourceVersion": secret.resource_version}, "data": data});
            let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
            return Ok(timeout(PATIENCE, self.secrets.patch(name, &params, &Patch::Merge(patch))).await??);
        }
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.name = Some(name.clone());
        secret.metadata.owner_references = self.config.owner.clone().map(|owner| vec![owner]);
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        Ok(timeout(PATIENCE, self.secrets.create(&params, &secret)).await??)
    }

    /// Makes the targets trust what they shall, unless the Secret says something else by now.
    async fn inject(&mut self, plan: &Plan) -> Result<(), Failure> {
        if self.refresh().await? {
            return Ok(());
        }
        let keys: Vec<_> = self.targets.keys().cloned().collect();
        let callee = Callee { namespace: self.config.namespace.clone(), name: self.config.service.clone() };
        let bundle = pki::to_pem(&plan.bundle);
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let mut done = BTreeSet::new();
        for key in plan.inject.iter().map(|place| &keys[*place]) {
            let Some(target) =
                self.targets.get(key).filter(|target| done.insert((target.kind, target.name.clone())))
            else {
                continue;
            };
            let (kind, name) = (target.kind, target.name.clone());
            let patch = target.patch(&bundle);
            let patched = match kind {
                Kind::Webhooks => {
                    let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client());
                    let patched = timeout(PATIENCE, api.patch(&name, &params, &patch)).await?;
                    patched.map(|object| TargetView::of_webhooks(&object, &callee))
                }
                Kind::Conversion => {
                    let api: Api<CustomResourceDefinition> = Api::all(self.client());
                    let patched = timeout(PATIENCE, api.patch(&name, &params, &patch)).await?;
                    patched.map(|object| TargetView::of_conversion(&object, &callee))
                }
            };
            let view = patched.map_err(Failure::Api)?;
            info!(kind = kind.name(), name, cas = plan.bundle.len(), "wrote the caBundle of the webhooks");
            // The same object may be selected by a name and by labels.
            for seen in self.targets.values_mut().filter(|seen| seen.kind == kind && seen.name == name) {
                *seen = view.clone();
            }
        }
        Ok(())
    }
}

fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { wall: i64::try_from(wall).unwrap_or(i64::MAX), running: Instant::now() }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
