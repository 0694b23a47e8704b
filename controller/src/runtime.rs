//! Giving addresses: watches in, decisions, writes out.
//!
//! ```text
//! four watches ──┐                     ┌──▶ a task per write (at most WRITES at work) ──┐
//!                ├──▶ Owner: Core ─────┤                                                │
//!                │                     └──▶ EventRecorder                               │
//!                ├───────────────────────── outcomes, retries ◀─────────────────────────┘
//!                └──▶ Reports: metrics, readiness, the standing of the configuration
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::{IPAddressPool, L2Advertisement};
use ipam::Labels;
use k8s_openapi::api::core::v1 as core_v1;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use kube_ext::{Change, EventKind, EventRecorder, Gate, ObjectKey, watch, watch_config};
use metrics::ClientMetrics;
use tokio::sync::{Semaphore, mpsc, watch as channel};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::action::{Action, Note, Outcome, Standing, StatusWrite};
use crate::core::Core;
use crate::gauges::PoolGauges;
use crate::service::Service;
use crate::writer;

/// Writes at work at the same time. The others wait for their turn.
const WRITES: usize = 16;
/// Messages on their way to the owner; more make the watches wait.
const INBOX: usize = 1024;
/// Messages that are looked at before the next decision.
const BATCH: usize = 512;
/// After this time without all lists users are told that the configuration could not be read.
const UNREAD: Duration = Duration::from_secs(10);
/// How often a Warning that still holds is told again: events are forgotten after an hour.
const REMIND: Duration = Duration::from_secs(50 * 60);
/// The pauses between attempts to write one object double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What reaches the owner.
enum Message {
    Service(Change<Service>),
    Namespace(Change<Labels>),
    Pool(Change<IPAddressPool>),
    L2Advertisement(Change<L2Advertisement>),
    Written(StatusWrite, Outcome),
    Retry(ObjectKey),
    PoolWritten(String, Result<(), String>),
    RetryPool(String),
}

impl Message {
    /// Whether an object of the cluster has changed.
    fn is_change(&self) -> bool {
        match self {
            Self::Service(change) => !matches!(change, Change::Synced),
            Self::Namespace(change) => !matches!(change, Change::Synced),
            Self::Pool(change) => !matches!(change, Change::Synced),
            Self::L2Advertisement(change) => !matches!(change, Change::Synced),
            Self::Written(..) | Self::Retry(_) | Self::PoolWritten(..) | Self::RetryPool(_) => false,
        }
    }
}

/// The kinds that must have been listed before anything is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Services,
    Namespaces,
    Pools,
    L2Advertisements,
}

/// Where others learn how the work goes.
pub(crate) struct Reports {
    /// Events.
    pub(crate) recorder: EventRecorder,
    /// Why nothing is decided yet, `None` when it is: for the readiness probe.
    pub(crate) hindrance: channel::Sender<Option<String>>,
    /// Whether the configuration is valid, once that is known.
    pub(crate) standing: channel::Sender<Option<Standing>>,
    /// Changes handled, configuration loaded or stale.
    pub(crate) counts: ClientMetrics,
    /// What is in the pools.
    pub(crate) gauges: PoolGauges,
}

/// The one who has the state.
pub(crate) struct Owner {
    core: Core,
    gate: Gate<Kind>,
    client: Client,
    namespace: String,
    reports: Reports,
    /// What the tasks of this program send to the owner.
    inbox: mpsc::Receiver<Message>,
    outbox: mpsc::Sender<Message>,
    turns: Arc<Semaphore>,
    /// How often in a row writing an object has failed.
    failures: BTreeMap<ObjectKey, u32>,
    pool_failures: BTreeMap<String, u32>,
}

impl Owner {
    /// Knows nothing yet; `class` is that of the Services to serve, empty for those without one.
    pub(crate) fn new(client: Client, namespace: String, class: &str, reports: Reports) -> Self {
        let (outbox, inbox) = mpsc::channel(INBOX);
        let kinds = [Kind::Services, Kind::Namespaces, Kind::Pools, Kind::L2Advertisements];
        Self {
            core: Core::new(Some(class.to_owned())),
            gate: Gate::new(kinds),
            client,
            namespace,
            reports,
            inbox,
            outbox,
            turns: Arc::new(Semaphore::new(WRITES)),
            failures: BTreeMap::new(),
            pool_failures: BTreeMap::new(),
        }
    }

    /// Works until the program ends.
    pub(crate) async fn run(mut self) {
        self.watch();
        self.say_what_is_missing();
        let unread = sleep_until(Instant::now() + UNREAD);
        let mut unread = std::pin::pin!(unread);
        let mut remind = reminder();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                received = self.inbox.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                () = &mut unread, if !self.gate.open() && !unread.is_elapsed() => {
                    let why = format!("the configuration is not known: {}", self.missing().unwrap_or_default());
                    self.reports.standing.send_replace(Some(Standing::Unknown(why)));
                }
                _ = remind.tick() => {
                    let warnings = self.core.standing_warnings();
                    self.perform(warnings);
                }
            }
            for message in batch.drain(..) {
                self.handle(message);
            }
            let actions = self.core.decide();
            self.perform(actions);
        }
    }

    /// Starts the watches.
    fn watch(&self) {
        let (client, out) = (&self.client, &self.outbox);
        tokio::spawn(watch(
            Api::all(client.clone()),
            watch_config(),
            Service::reduce,
            Message::Service,
            out.clone(),
        ));
        tokio::spawn(watch(
            Api::<PartialObjectMeta<core_v1::Namespace>>::all(client.clone()),
            watch_config(),
            |namespace| namespace.metadata.labels.unwrap_or_default(),
            Message::Namespace,
            out.clone(),
        ));
        let ours = || self.namespace.as_str();
        tokio::spawn(watch(
            Api::namespaced(client.clone(), ours()),
            watch_config(),
            |pool| pool,
            Message::Pool,
            out.clone(),
        ));
        tokio::spawn(watch(
            Api::namespaced(client.clone(), ours()),
            watch_config(),
            |advertisement| advertisement,
            Message::L2Advertisement,
            out.clone(),
        ));
    }

    fn handle(&mut self, message: Message) {
        if message.is_change() {
            self.reports.counts.updated(false);
        }
        match message {
            Message::Service(Change::Apply(_, service)) => self.core.apply_service(service),
            Message::Service(Change::Delete(key)) => {
                debug!(service = %key, "the service is gone, and its addresses are free");
                self.failures.remove(&key);
                self.core.delete_service(&key);
            }
            Message::Service(Change::Synced) => self.arrived(Kind::Services),
            Message::Namespace(Change::Apply(key, labels)) => self.core.apply_namespace(&key.name, labels),
            Message::Namespace(Change::Delete(key)) => self.core.delete_namespace(&key.name),
            Message::Namespace(Change::Synced) => self.arrived(Kind::Namespaces),
            Message::Pool(Change::Apply(_, pool)) => self.core.apply_pool(pool),
            Message::Pool(Change::Delete(key)) => self.core.delete_pool(&key.name),
            Message::Pool(Change::Synced) => self.arrived(Kind::Pools),
            Message::L2Advertisement(Change::Apply(_, object)) => self.core.apply_l2_advertisement(object),
            Message::L2Advertisement(Change::Delete(key)) => self.core.delete_l2_advertisement(&key.name),
            Message::L2Advertisement(Change::Synced) => self.arrived(Kind::L2Advertisements),
            Message::Written(write, outcome) => self.written(&write, outcome),
            Message::Retry(key) => self.core.retry(&key),
            Message::PoolWritten(name, outcome) => self.pool_written(name, outcome),
            Message::RetryPool(name) => self.core.retry_pool(&name),
        }
    }

    fn arrived(&mut self, kind: Kind) {
        if self.gate.arrived(kind) {
            info!("everything has been listed: addresses in use are adopted, then others are given");
            self.core.start();
            self.reports.hindrance.send_replace(None);
        } else {
            self.say_what_is_missing();
        }
    }

    fn say_what_is_missing(&self) {
        self.reports.hindrance.send_replace(self.missing());
    }

    /// What is waited for.
    fn missing(&self) -> Option<String> {
        let missing: Vec<String> = self.gate.missing().map(|kind| format!("{kind:?}")).collect();
        (!missing.is_empty()).then(|| format!("waiting for the first list of {}", missing.join(", ")))
    }

    fn written(&mut self, write: &StatusWrite, outcome: Outcome) {
        match &outcome {
            Outcome::Failed(why) => {
                self.reports.counts.updated(true);
                let failures = one_more(&mut self.failures, &write.key);
                warn!(service = %write.key, error = why, failures, "cannot write the service's status, trying again");
                self.later(pause(failures), Message::Retry(write.key.clone()));
            }
            Outcome::Done(_) => {
                self.failures.remove(&write.key);
                let pool = write.desired.pool.as_deref().unwrap_or_default();
                debug!(service = %write.key, ips = ?write.desired.addresses, pool, "status written");
            }
            Outcome::Conflict | Outcome::Gone => {
                debug!(service = %write.key, "the service has changed meanwhile, deciding anew");
            }
        }
        let actions = self.core.written(&write.key, &write.uid, outcome);
        self.perform(actions);
    }

    fn pool_written(&mut self, name: String, outcome: Result<(), String>) {
        self.core.pool_written(&name, outcome.is_ok());
        match outcome {
            Ok(()) => {
                self.pool_failures.remove(&name);
            }
            Err(why) => {
                self.reports.counts.updated(true);
                let failures = one_more(&mut self.pool_failures, &name);
                warn!(pool = name, error = why, failures, "cannot write the pool's counters, trying again");
                self.later(pause(failures), Message::RetryPool(name));
            }
        }
    }

    /// Does what was decided, without waiting for it.
    fn perform(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::WriteService(write) => {
                    let client = self.client.clone();
                    self.in_turn(async move {
                        let outcome = writer::write_service(client, &write).await;
                        Message::Written(write, outcome)
                    });
                }
                Action::WritePool { name, status } => {
                    let (client, namespace) = (self.client.clone(), self.namespace.clone());
                    self.in_turn(async move {
                        let outcome = writer::write_pool(client, &namespace, &name, &status).await;
                        Message::PoolWritten(name, outcome)
                    });
                }
                Action::Measure { name, measure } => self.reports.gauges.show(&name, measure),
                Action::Stand(standing) => self.stand(standing),
                Action::Event { about, note } => self.tell(about, note),
            }
        }
    }

    fn stand(&self, standing: Standing) {
        match &standing {
            Standing::Valid => {
                info!("the configuration is valid and in force");
                self.reports.counts.config_loaded();
            }
            Standing::Invalid(why) | Standing::Unknown(why) => {
                warn!(
                    error = why,
                    "the configuration is not valid: what was in force before stays as far as it can"
                );
                self.reports.counts.updated(true);
                self.reports.counts.config_refused();
            }
        }
        self.reports.standing.send_replace(Some(standing));
    }

    fn tell(&self, about: core_v1::ObjectReference, note: Note) {
        let kind = about.kind.as_deref().unwrap_or_default();
        let name = about.name.as_deref().unwrap_or_default();
        let object = match about.namespace.as_deref() {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        };
        match note.kind {
            EventKind::Normal => info!(event = note.reason, object, "{}", note.message),
            EventKind::Warning => warn!(event = note.reason, object, "{}", note.message),
        }
        self.reports.recorder.record(about, note.kind, note.reason, note.message);
    }

    /// Runs a write when it is its turn, and hands in what came of it.
    fn in_turn(&self, work: impl Future<Output = Message> + Send + 'static) {
        let (turns, out) = (self.turns.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let turn = turns.acquire_owned().await;
            let message = work.await;
            drop(turn);
            // Nobody listens any more only when the program ends.
            out.send(message).await.ok();
        });
    }

    fn later(&self, pause: Duration, message: Message) {
        let out = self.outbox.clone();
        tokio::spawn(async move {
            sleep(pause).await;
            out.send(message).await.ok();
        });
    }
}

/// Counts a failure; how many there are in a row.
fn one_more<K: Ord + Clone>(failures: &mut BTreeMap<K, u32>, key: &K) -> u32 {
    let count = failures.entry(key.clone()).or_default();
    *count = count.saturating_add(1);
    *count
}

/// The pause after so many failures in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

fn reminder() -> Interval {
    let mut interval = interval_at(Instant::now() + REMIND, REMIND);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u128> =
            [1, 2, 3, 6, 7, u32::MAX].map(|failures| pause(failures).as_millis()).to_vec();
        assert_eq!(pauses, [250, 500, 1000, 8000, 8000, 8000]);
    }
}
