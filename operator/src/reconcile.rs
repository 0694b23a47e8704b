//! The steps in their order, when they run, and what happens when one fails.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::MetalLB;
use api::names::METALLB_NAME;
use config::metallb::validate;
use futures::StreamExt;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::watcher;
use kube::{Api, Client};
use kube_ext::ObjectKey;

use crate::apply::Applier;
use crate::build::build;
use crate::dereference::{self, BGP_EXTRAS, Live};
use crate::failure::Failure;
use crate::health::{self, Surroundings};
use crate::settings::Environment;
use crate::status::{self, Problem, Verdict};
use crate::upgrades::{Advice, Upgrades};
use crate::watches::{self, Known};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The reason of the condition Degraded of a resource in a namespace without its operator.
const WRONG_NAMESPACE: &str = "IncorrectMetalLBNamespace";

/// What every reconciliation shares.
struct Context {
    client: Client,
    environment: Environment,
    known: Known,
    applier: Applier,
    upgrades: Upgrades,
    /// The first failure of each resource that has not been reconciled since.
    failing_since: Mutex<BTreeMap<ObjectKey, Instant>>,
}

/// Reconciles every MetalLB resource of the cluster until `stop`; one that is under way is finished.
pub(crate) async fn run(
    client: Client,
    environment: Environment,
    upgrades: Upgrades,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (known, changes) = watches::start(&client, &environment);
    // All namespaces, so that a resource in the wrong one is told so.
    let metallbs: Api<MetalLB> = Api::all(client.clone());
    let applier = Applier::new(client.clone());
    let context =
        Arc::new(Context { client, environment, known, applier, upgrades, failing_since: Mutex::default() });
    let shared = Arc::clone(&context);
    let mut runs = Controller::new(metallbs, watcher::Config::default())
        .reconcile_all_on(changes)
        .graceful_shutdown_on(stop)
        .run(reconcile, |metallb, failure, context| pause(&metallb, failure, &context), context)
        .boxed_local();
    while let Some(run) = runs.next().await {
        match run {
            // Failures are logged where they are counted.
            Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
            Err(controller::Error::ObjectNotFound(gone)) => {
                let key = ObjectKey::new(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                if misplaced(&key, &shared.environment.namespace).is_none() {
                    shared.upgrades.tell(Advice::Settled);
                }
            }
            Err(controller::Error::QueueError(error)) if is_unknown_kind(&error) => {
                tracing::warn!(
                    cure = "install the definitions of metallb.io of this version: `kubectl apply --server-side -f config/crd`",
                    "the API server does not know MetalLB resources, looking again"
                );
            }
            Err(controller::Error::QueueError(error)) => {
                tracing::warn!(kind = "MetalLB", why = %error, "watch failed, trying again");
            }
            Err(error) => tracing::error!(why = %error, "the queue of reconciliations failed"),
        }
    }
}

/// Whether a watch failed because the API server does not have the kind.
fn is_unknown_kind(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source)) = error else {
        return false;
    };
    // By the code: the answer is plain text and has no reason.
    matches!(source, kube::Error::Api(status) if status.code == 404)
}

async fn reconcile(cached: Arc<MetalLB>, context: Arc<Context>) -> Result<Action, Failure> {
    let key = ObjectKey::of(&*cached);
    attempt(&key, &cached, &context).await?;
    context.failing_since().remove(&key);
    Ok(Action::await_change())
}

async fn attempt(key: &ObjectKey, cached: &MetalLB, context: &Context) -> Result<(), Failure> {
    let Context { client, environment, .. } = context;
    if let Some(problem) = misplaced(key, &environment.namespace) {
        // An operator of that namespace has the last word there: two that contradict each other would never end.
        if key.namespace == environment.namespace || !is_served_elsewhere(cached) {
            status::write(client, cached, &Verdict::Ignored(problem)).await?;
        }
        return Ok(());
    }
    let current = dereference::metallb(client, &key.namespace).await?;
    let Some(metallb) = current.filter(|metallb| metallb.metadata.deletion_timestamp.is_none()) else {
        context.upgrades.tell(Advice::Settled);
        return Ok(());
    };
    let (verdict, failure) = match Box::pin(serve(&metallb, context)).await {
        // What the API server refuses stays refused until somebody acts, who has to be told.
        Err(failure) if failure.is_refusal() => (Verdict::Unseen(sync_failed(&[&failure])), Some(failure)),
        outcome => outcome?,
    };
    context.upgrades.tell(Advice::of(&verdict));
    status::write(client, &metallb, &verdict).await?;
    failure.map_or(Ok(()), Err)
}

/// Whether the resource is not the one that counts.
fn misplaced(key: &ObjectKey, namespace: &str) -> Option<Problem> {
    if key.namespace != namespace {
        let message = format!(
            "Incorrect MetalLB resource namespace: {}: create it in namespace {namespace}, where the operator runs; \
             here it has no effect",
            key.namespace
        );
        return Some(Problem { reason: WRONG_NAMESPACE, message });
    }
    (key.name != METALLB_NAME).then(|| Problem {
        reason: "IncorrectMetalLBResourceName",
        message: format!("Incorrect MetalLB resource name: {}", key.name),
    })
}

/// Whether another operator has written the status of a resource that is none of ours.
fn is_served_elsewhere(metallb: &MetalLB) -> bool {
    let conditions = metallb.status.as_ref().map_or(&[][..], |status| &status.conditions);
    !conditions.is_empty() && !conditions.iter().any(|condition| condition.reason == WRONG_NAMESPACE)
}

fn sync_failed(failures: &[&Failure]) -> Problem {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Problem { reason: "FailedToSyncMetalLBResources", message: texts.join("; ") }
}

/// Makes the workloads as the spec says and looks how they fare. A failure to do so is part of the verdict, and
/// given beside it to be tried again.
async fn serve(metallb: &MetalLB, context: &Context) -> Result<(Verdict, Option<Failure>), Failure> {
    let Context { client, environment, .. } = context;
    let live = dereference::live(client, &environment.namespace).await?;
    if let Err(error) = validate(&metallb.spec) {
        let problem = Problem { reason: "InvalidMetalLBSpec", message: error.to_string() };
        return Ok(look(&live, false, Some(problem), context).await);
    }
    let (live, failures) = Box::pin(context.applier.apply(&build(metallb, environment), &live)).await;
    let problem = if failures.is_empty() {
        live.bgp_extras.then(|| bgp_extras(&environment.namespace))
    } else {
        Some(sync_failed(&failures.iter().collect::<Vec<_>>()))
    };
    let (verdict, unseen) = look(&live, failures.is_empty(), problem, context).await;
    Ok((verdict, failures.into_iter().next().or(unseen)))
}

/// How the workloads fare. Nodes that cannot be read are given beside it; nothing but their names is missing then.
async fn look(
    live: &Live,
    applied: bool,
    problem: Option<Problem>,
    context: &Context,
) -> (Verdict, Option<Failure>) {
    context.known.settle().await;
    let mut around = Surroundings {
        pods: context.known.pods.state(),
        warnings: context.known.warnings.state(),
        ..Surroundings::default()
    };
    let seen = dereference::look_at_nodes(&context.client, live.speaker.as_ref(), &mut around).await;
    let verdict = Verdict::Serving {
        controller: health::controller(live.controller.as_ref(), &around),
        speaker: health::speaker(live.speaker.as_ref(), &around),
        applied,
        problem,
    };
    (verdict, seen.err())
}

fn bgp_extras(namespace: &str) -> Problem {
    Problem {
        reason: "UnsupportedBGPExtras",
        message: format!(
            "ConfigMap {namespace}/{BGP_EXTRAS} holds lines for FRR, which the speakers do not run: say the same with \
             BGPPeer, BGPAdvertisement, BFDProfile and Community, then delete the ConfigMap"
        ),
    }
}

/// How long to wait after a failure: as long as it has gone on. So the pauses double, however often a change makes
/// another attempt in between.
fn pause(metallb: &MetalLB, failure: &Failure, context: &Context) -> Action {
    let key = ObjectKey::of(metallb);
    let since = *context.failing_since().entry(key.clone()).or_insert_with(Instant::now);
    let pause = since.elapsed().clamp(FIRST_PAUSE, LONGEST_PAUSE);
    tracing::warn!(metallb = %key, why = %failure, again_in_s = pause.as_secs_f32(), "reconciliation failed");
    Action::requeue(pause)
}

impl Context {
    /// Nothing panics while it is held, and what is in it would still be true.
    fn failing_since(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Instant>> {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
