//! Giving addresses: watches in, decisions, writes out.
//!
//! ```text
//! five watches ──┐                     ┌──▶ a task per write (at most WRITES at work) ──┐
//!                ├──▶ Owner: Core ─────┤                                                │
//!                │                     └──▶ EventRecorder                               │
//!                ├───────────────────────── outcomes, retries ◀─────────────────────────┘
//!                └──▶ Reports: metrics, readiness, the standing of the configuration
//! ```
//!
//! Of several replicas the one with the lease decides. The others watch too, so that one of them takes over as soon as
//! it has listed the Services once more: what it saw last may be older than what the former leader wrote.

mod performing;

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use api::{Community, IPAddressPool, L2Advertisement};
use ipam::Labels;
use k8s_openapi::api::core::v1 as core_v1;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use kube_ext::{
    Candidacy, Change, EventRecorder, Gate, LeaderElector, Leadership, ObjectKey, Relist, Tenure, watch,
    watch_config, watch_relisting,
};
use metrics::ClientMetrics;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tracing::{debug, error, info};

use crate::action::{Outcome, Standing, StatusWrite};
use crate::core::Core;
use crate::gauges::PoolGauges;
use crate::service::Service;

use performing::Write;
pub(crate) use performing::pause;

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
/// How long writes under way may take at the end, before the lease is given up.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// What reaches the owner.
enum Message {
    Service(Change<Service>),
    Namespace(Change<Labels>),
    Pool(Change<IPAddressPool>),
    L2Advertisement(Change<L2Advertisement>),
    Community(Change<Community>),
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
            Self::Community(change) => !matches!(change, Change::Synced),
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
    Communities,
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
    reports: Arc<Reports>,
    /// What the tasks of this program send to the owner.
    inbox: mpsc::Receiver<Message>,
    outbox: mpsc::Sender<Message>,
    /// Writes that wait for their turn, and those at work, at most `WRITES`.
    due: VecDeque<Write>,
    writes: JoinSet<Message>,
    /// Watches and pauses. Like the writes, none of them outlives the owner.
    tasks: JoinSet<()>,
    relist: Relist,
    /// How its candidacy for the lease goes, and until when the lease is ours.
    progress: channel::Receiver<Candidacy>,
    tenure: Option<Tenure>,
    /// Whether the first lists began after the lease was ours: nobody else can have written since.
    fresh: bool,
    /// How often in a row writing an object has failed.
    failures: BTreeMap<ObjectKey, u32>,
    pool_failures: BTreeMap<String, u32>,
}

/// Why an owner ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The lease is lost: another replica may be at work.
    Lost,
    /// It was told to stop.
    Stopped,
}

impl Owner {
    /// Knows nothing yet; `class` is that of the Services to serve, empty for those without one.
    pub(crate) fn new(client: Client, namespace: String, class: &str, reports: Arc<Reports>) -> Self {
        let (outbox, inbox) = mpsc::channel(INBOX);
        let kinds =
            [Kind::Services, Kind::Namespaces, Kind::Pools, Kind::L2Advertisements, Kind::Communities];
        Self {
            core: Core::new(Some(class.to_owned())),
            gate: Gate::new(kinds),
            client,
            namespace,
            reports,
            inbox,
            outbox,
            due: VecDeque::new(),
            writes: JoinSet::new(),
            tasks: JoinSet::new(),
            relist: Relist::default(),
            progress: channel::channel(Candidacy::Begun).1,
            tenure: None,
            fresh: false,
            failures: BTreeMap::new(),
            pool_failures: BTreeMap::new(),
        }
    }

    /// Stands by, then decides for as long as the lease lasts, or until `stop` says true.
    pub(crate) async fn run(mut self, elector: LeaderElector, stop: &mut channel::Receiver<bool>) -> End {
        self.progress = elector.progress();
        let mut progress = self.progress.clone();
        let mut candidacy = Box::pin(elector.acquire());
        let mut leadership: Option<Leadership> = None;
        // A replica that is alone wins at once: then the first lists are all that it needs.
        tokio::select! {
            won = &mut candidacy => leadership = Some(won),
            _ = progress.wait_for(|progress| *progress != Candidacy::Begun) => {}
            _ = stop.wait_for(|stop| *stop) => return End::Stopped,
        }
        self.tenure = leadership.as_ref().map(Leadership::tenure);
        self.fresh = leadership.is_some();
        self.watch();
        self.say_what_is_missing();
        let unread = sleep_until(Instant::now() + UNREAD);
        let mut unread = pin!(unread);
        let mut remind = reminder();
        let mut batch = Vec::with_capacity(BATCH);
        let end = loop {
            tokio::select! {
                received = self.inbox.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break End::Stopped;
                    }
                }
                won = &mut candidacy, if leadership.is_none() => {
                    self.tenure = Some(won.tenure());
                    leadership = Some(won);
                    self.elected();
                }
                () = lost(leadership.as_ref()) => break End::Lost,
                _ = stop.wait_for(|stop| *stop) => break End::Stopped,
                _ = progress.changed(), if leadership.is_none() => self.say_what_is_missing(),
                Some(_) = self.tasks.join_next() => {}
                Some(written) = self.writes.join_next() => match written {
                    Ok(message) => batch.push(message),
                    Err(error) => error!(%error, "a write came to nothing"),
                },
                () = &mut unread, if !self.gate.open() && leadership.is_some() && !unread.is_elapsed() => {
                    let why = format!("the configuration is not known: {}", self.missing().unwrap_or_default());
                    self.reports.standing.send_replace(Some(Standing::Unknown(why)));
                }
                _ = remind.tick() => {
                    let warnings = self.core.standing_warnings();
                    self.perform(warnings);
                }
            }
            // A process that was stopped finds what happened meanwhile before it finds that the lease has run out.
            if self.tenure.as_ref().is_some_and(|tenure| !tenure.holds()) {
                break End::Lost;
            }
            for message in batch.drain(..) {
                self.handle(message);
            }
            let actions = self.core.decide();
            self.perform(actions);
        };
        self.end(end, leadership).await;
        end
    }

    /// The lease is ours. What the watches have brought may be older: the Services are listed once more.
    fn elected(&mut self) {
        if self.gate.open() {
            info!("the lease is ours: the services are listed once more before anything is decided");
            self.relist.ask();
        }
    }

    /// Ends what is under way, and gives the lease up where it is still ours.
    async fn end(mut self, end: End, leadership: Option<Leadership>) {
        if end == End::Stopped && leadership.is_some() {
            // No more writes begin. Those under way end first: the next leader shall see what they bring about.
            let last = async { while self.writes.join_next().await.is_some() {} };
            timeout(LAST_WRITES, last).await.ok();
        }
        self.writes.shutdown().await;
        self.tasks.shutdown().await;
        // What is shown of pools, and of the configuration, is the leader's to show.
        self.reports.standing.send_replace(None);
        self.reports.gauges.forget();
        if let Some(leadership) = leadership {
            leadership.release().await;
        }
    }

    /// Starts the watches.
    fn watch(&mut self) {
        let (client, out) = (&self.client, &self.outbox);
        self.tasks.spawn(watch_relisting(
            Api::all(client.clone()),
            watch_config(),
            Service::reduce,
            Message::Service,
            out.clone(),
            self.relist.clone(),
        ));
        self.tasks.spawn(watch(
            Api::<PartialObjectMeta<core_v1::Namespace>>::all(client.clone()),
            watch_config(),
            |namespace| namespace.metadata.labels.unwrap_or_default(),
            Message::Namespace,
            out.clone(),
        ));
        let namespace = self.namespace.clone();
        self.tasks.spawn(watch(
            Api::namespaced(client.clone(), &namespace),
            watch_config(),
            |pool| pool,
            Message::Pool,
            out.clone(),
        ));
        self.tasks.spawn(watch(
            Api::namespaced(client.clone(), &namespace),
            watch_config(),
            |advertisement| advertisement,
            Message::L2Advertisement,
            out.clone(),
        ));
        self.tasks.spawn(watch(
            Api::namespaced(client.clone(), &namespace),
            watch_config(),
            |community| community,
            Message::Community,
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
            Message::Community(Change::Apply(_, community)) => self.core.apply_community(community),
            Message::Community(Change::Delete(key)) => self.core.delete_community(&key.name),
            Message::Community(Change::Synced) => self.arrived(Kind::Communities),
            Message::Written(write, outcome) => self.written(&write, outcome),
            Message::Retry(key) => self.core.retry(&key),
            Message::PoolWritten(name, outcome) => self.pool_written(name, outcome),
            Message::RetryPool(name) => self.core.retry_pool(&name),
        }
    }

    fn arrived(&mut self, kind: Kind) {
        let leads = self.tenure.is_some();
        if self.gate.open() {
            // The list that was asked for when the lease became ours.
            if leads && kind == Kind::Services {
                self.start();
            }
        } else if self.gate.arrived(kind) && leads {
            if self.fresh { self.start() } else { self.elected() }
        }
        self.say_what_is_missing();
    }

    fn start(&mut self) {
        info!("everything has been listed: addresses in use are adopted, then others are given");
        self.core.start();
    }

    fn say_what_is_missing(&self) {
        let missing = self.missing();
        self.reports.hindrance.send_if_modified(|told| {
            let news = *told != missing;
            *told = missing;
            news
        });
    }

    /// What is waited for.
    fn missing(&self) -> Option<String> {
        if let (None, Candidacy::Failing(why)) = (&self.tenure, &*self.progress.borrow()) {
            return Some(format!("cannot run for the lease: {why}"));
        }
        let missing: Vec<String> = self.gate.missing().map(|kind| format!("{kind:?}")).collect();
        (!missing.is_empty()).then(|| format!("waiting for the first list of {}", missing.join(", ")))
    }
}

/// Ends when the lease is lost; never without one.
async fn lost(leadership: Option<&Leadership>) {
    match leadership {
        Some(leadership) => leadership.lost().await,
        None => pending().await,
    }
}

fn reminder() -> Interval {
    let mut interval = interval_at(Instant::now() + REMIND, REMIND);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests;
