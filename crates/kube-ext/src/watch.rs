//! Watches as a list of changes, through lists, relists and outages.
//!
//! ```text
//! kube watcher: Init, InitApply…, InitDone, Apply, Delete, errors
//!        │ Known: which keys and uids the receiver has heard of
//!        ▼
//! Change: Apply, Delete, Synced (once)   ──reduce, wrap──▶ the program's channel
//! ```

use std::{collections::BTreeMap, fmt::Debug, future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use crate::{
    ObjectKey,
    backoff::{Backoff, chance},
};

/// One change of a watched kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// The object exists and looks like this now; also sent for what a relist found unchanged.
    Apply(ObjectKey, T),
    /// The object, sent before by [`Change::Apply`], is gone.
    Delete(ObjectKey),
    /// Everything that existed at the first list has been sent. Once in the life of a watch, and once more for each
    /// [`Relist`].
    Synced,
}

/// Asks a watch of [`watch_relisting`] to list anew, so that what it has sent is no older than the question.
#[derive(Clone, Debug, Default)]
pub struct Relist(Arc<Notify>);

impl Relist {
    /// Asks for it. [`Change::Synced`] says that the list which began after this call has been sent, given that the
    /// one of the list before has been received.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

/// How long one watch request lasts, in seconds. A connection that died silently is noticed 5 s after that.
const WATCH_SECONDS: u32 = 60;

/// An error this long after the one before is a new outage: worth a line of its own.
const NEW_OUTAGE: Duration = Duration::from_mins(1);

/// The pause before listing anew after the server has forgotten a version, so that a server that forgets at once
/// is not asked without end.
const HISTORY_LOST: Duration = Duration::from_millis(250);

/// The configuration for every watch of ours: list in pages of 500, then watch, each request for a minute.
pub fn watch_config() -> watcher::Config {
    watcher::Config::default().page_size(500).timeout(WATCH_SECONDS)
}

/// Watches what `api` and `config` select and sends every change to `out`, as `wrap(change)`, until `out` closes.
///
/// `reduce` makes of an object the few fields that the receiver keeps; `managedFields` and the last-applied
/// annotation are gone already. A `config` without a timeout gets that of [`watch_config`].
///
/// An object that a relist no longer finds is sent as [`Change::Delete`]; one that was deleted and made anew
/// meanwhile (another uid) as a `Delete` and an `Apply`. While the server cannot be reached nothing is sent and so
/// nothing is forgotten; attempts go on, at most five seconds apart, and the log has one line per outage.
///
/// # Panics
/// Should kube's watcher ever end, which it promises not to.
pub fn watch<K, T, M>(
    api: Api<K>,
    config: watcher::Config,
    reduce: impl Fn(K) -> T + Send,
    wrap: impl Fn(Change<T>) -> M + Send,
    out: mpsc::Sender<M>,
) -> impl Future<Output = ()> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
    T: Send,
    M: Send,
{
    watch_relisting(api, config, reduce, wrap, out, Relist::default())
}

/// [`watch`], which also lists anew when it is asked to: what the server has then is sent again, what it has no
/// longer is deleted, and [`Change::Synced`] ends it.
///
/// # Panics
/// Should kube's watcher ever end, which it promises not to.
pub fn watch_relisting<K, T, M>(
    api: Api<K>,
    config: watcher::Config,
    reduce: impl Fn(K) -> T + Send,
    wrap: impl Fn(Change<T>) -> M + Send,
    out: mpsc::Sender<M>,
    relist: Relist,
) -> impl Future<Output = ()> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
    T: Send,
    M: Send,
{
    let config = watcher::Config { timeout: config.timeout.or(Some(WATCH_SECONDS)), ..config };
    async move {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let mut stream = watcher(api.clone(), config.clone()).boxed();
        let mut known = Known::default();
        let mut outage = Outage::default();
        let mut changes = Vec::new();
        loop {
            let item = tokio::select! {
                () = out.closed() => return,
                () = relist.0.notified() => {
                    // A list of the most recent state: one that is under way may have begun before the question.
                    stream = watcher(api.clone(), config.clone()).boxed();
                    known.synced = false;
                    continue;
                }
                item = stream.next() => item.expect("kube's watcher never ends"),
            };
            match item {
                Ok(event) => {
                    // Init only says that a list is about to be asked for: it proves nothing about the server.
                    if !matches!(event, Event::Init) && outage.over() {
                        info!(resource = %kind, "the API server answers again, watching goes on");
                    }
                    let listed = matches!(event, Event::InitDone);
                    known.handle(event, &mut changes);
                    if listed {
                        debug!(resource = %kind, objects = known.live.len(), "listed, watching from here");
                    }
                }
                Err(error) if expired(&error) => {
                    debug!(resource = %kind, %error, "the server's history does not reach back far enough, listing anew");
                    sleep(HISTORY_LOST).await;
                }
                Err(error) => {
                    let (pause, first) = outage.failed(Instant::now(), chance());
                    if first {
                        warn!(resource = %kind, %error, "watching failed; what is known stays in force, trying again until the API server answers");
                    } else {
                        debug!(resource = %kind, %error, pause = ?pause, "watching still fails");
                    }
                    tokio::select! {
                        () = out.closed() => return,
                        () = sleep(pause) => {}
                    }
                }
            }
            for change in changes.drain(..) {
                let change = match change {
                    Change::Apply(key, mut object) => {
                        prune(&mut object);
                        Change::Apply(key, reduce(object))
                    }
                    Change::Delete(key) => Change::Delete(key),
                    Change::Synced => Change::Synced,
                };
                if out.send(wrap(change)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether this is the ordinary end of a watch whose version the server has forgotten (410 Gone).
fn expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// Drops the half of the metadata that nobody here reads.
fn prune(object: &mut impl Resource) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// What the receiver of a watch has been told.
#[derive(Debug, Default)]
struct Known {
    /// Of each live object the list that saw it last, and its uid.
    live: BTreeMap<ObjectKey, (u64, Option<String>)>,
    /// The number of lists begun.
    round: u64,
    synced: bool,
}

impl Known {
    /// Turns one event of kube's watcher into what the receiver has to hear, appended to `out`.
    ///
    /// Listed objects are passed on as they come, and those that vanished at the end of the list: a list that
    /// breaks off half-way is begun again and takes nothing away.
    fn handle<K: Resource>(&mut self, event: Event<K>, out: &mut Vec<Change<K>>) {
        match event {
            Event::Init => self.round += 1,
            Event::InitApply(object) | Event::Apply(object) => {
                let key = ObjectKey::of(&object);
                let uid = object.meta().uid.clone();
                let before = self.live.insert(key.clone(), (self.round, uid.clone()));
                if before.is_some_and(|(_, before)| before != uid) {
                    out.push(Change::Delete(key.clone()));
                }
                out.push(Change::Apply(key, object));
            }
            Event::Delete(object) => {
                let key = ObjectKey::of(&object);
                if self.live.remove(&key).is_some() {
                    out.push(Change::Delete(key));
                }
            }
            Event::InitDone => {
                let round = self.round;
                let vanished = self.live.extract_if(.., |_, (seen, _)| *seen != round);
                out.extend(vanished.map(|(key, _)| Change::Delete(key)));
                if !self.synced {
                    self.synced = true;
                    out.push(Change::Synced);
                }
            }
        }
    }
}

/// Whether the server is away, and how patiently to try.
#[derive(Debug, Default)]
struct Outage {
    backoff: Backoff,
    last_error: Option<Instant>,
}

impl Outage {
    /// Notes an error: the pause before the next attempt, and whether this begins an outage.
    ///
    /// A watch that is taken up again says so only with its next event. So an error long after the one before
    /// begins a new outage although nothing was heard in between.
    fn failed(&mut self, now: Instant, chance: u8) -> (Duration, bool) {
        let first = self.last_error.is_none_or(|last| now.duration_since(last) > NEW_OUTAGE);
        if first {
            self.backoff.reset();
        }
        self.last_error = Some(now);
        (self.backoff.next(chance), first)
    }

    /// Notes that the server answered; true when that ends an outage.
    fn over(&mut self) -> bool {
        self.backoff.reset();
        self.last_error.take().is_some()
    }
}

#[cfg(test)]
mod tests;
