//! A Lease that is held.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, error, info, warn};

use super::terms::{Failure, Terms};

/// How long a release may take: a program that is told to stop has only seconds.
const RELEASE: Duration = Duration::from_secs(2);

/// Being the one active replica. Dropping it stops the renewal; the Lease then runs out by itself.
pub struct Leadership {
    terms: Terms,
    renewing: Renewing,
    tenure: Tenure,
}

/// Until when the Lease is surely ours, for those who write because of it.
#[derive(Clone, Debug)]
pub struct Tenure(watch::Receiver<Option<Instant>>);

impl Tenure {
    /// Whether the Lease is ours at this moment. To be asked right before each write: the process may have been
    /// stopped for longer than the Lease lasts, and another replica be active.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }
}

/// The renewing task, which must not outlive its [`Leadership`].
struct Renewing {
    task: JoinHandle<()>,
    /// For its end only.
    _until: Until,
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a [`Tenure`] asks. Whoever lets go of it, the Lease is not ours any more.
#[derive(Clone)]
struct Until(watch::Sender<Option<Instant>>);

impl Drop for Until {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl Leadership {
    pub(super) fn begin(terms: Terms, lease: Lease, since: Instant) -> Self {
        let (until, tenure) = watch::channel(Some(since + terms.config.renew_deadline));
        let until = Until(until);
        let task = tokio::spawn({
            let (terms, until) = (terms.clone(), until.clone());
            async move { renew(&terms, lease, since, &until).await }
        });
        Self { terms, renewing: Renewing { task, _until: until }, tenure: Tenure(tenure) }
    }

    /// Until when the Lease is ours.
    pub fn tenure(&self) -> Tenure {
        self.tenure.clone()
    }

    /// Completes when the Lease is another's or could not be renewed in time; the reason is in the log.
    ///
    /// The work ends then, at once: another replica may be active already.
    pub async fn lost(&self) {
        // An error means that the renewing task is gone, and with it the Lease.
        self.tenure.0.clone().wait_for(Option::is_none).await.ok();
    }

    /// Gives the Lease up on a clean stop, so that a standby takes over at once. Call it when all work has ended.
    ///
    /// Takes no longer than two seconds, and is silent about a Lease that is not ours any more. When the server
    /// does not answer, the Lease runs out by itself.
    pub async fn release(self) {
        let Self { terms, renewing, .. } = self;
        drop(renewing);
        match timeout(RELEASE, give_up(&terms)).await {
            Ok(Ok(())) => info!(lease = %terms.key(), "lease released"),
            Ok(Err(why)) => warn!(lease = %terms.key(), why, "lease not released, it runs out by itself"),
            Err(_) => {
                warn!(lease = %terms.key(), why = "the API server does not answer", "lease not released, it runs out by itself");
            }
        }
    }
}

/// Vacates the Lease if it is ours. A renewal that was under way may come between reading and writing: then again.
async fn give_up(terms: &Terms) -> Result<(), String> {
    loop {
        let held = match terms.get().await {
            Ok(lease) => lease.filter(|lease| is_ours(terms, lease)),
            Err(Failure::Conflict) => continue,
            Err(Failure::Other(why)) => return Err(why),
        };
        let Some(lease) = held else { return Ok(()) };
        match terms.give_up(lease).await {
            Ok(()) => return Ok(()),
            Err(Failure::Conflict) => {}
            Err(Failure::Other(why)) => return Err(why),
        }
    }
}

fn is_ours(terms: &Terms, lease: &Lease) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(&terms.config.identity)
}

/// Renews every retry period; returns when the Lease is lost.
///
/// The deadline counts from before the last request that succeeded, on the monotonic clock. It is looked at before
/// each attempt as well: a process that was stopped for longer than that must not go on as if nothing had happened.
async fn renew(terms: &Terms, lease: Lease, mut since: Instant, until: &Until) {
    let key = terms.key();
    let mut lease = Some(lease);
    let mut failing = false;
    let mut next = since + terms.config.retry_period;
    loop {
        sleep_until(next).await;
        let deadline = since + terms.config.renew_deadline;
        let now = Instant::now();
        if now >= deadline {
            error!(lease = %key, "lease lost: not renewed within {:?}", terms.config.renew_deadline);
            return;
        }
        next = (now + terms.config.retry_period).min(deadline);
        let attempt = async {
            match lease.clone() {
                Some(lease) => terms.put(Some(lease)).await,
                // Someone wrote it, perhaps an attempt of ours whose answer was lost.
                None => match terms.get().await? {
                    Some(found) if !is_ours(terms, &found) => Ok((found, now)),
                    found => terms.put(found).await,
                },
            }
        };
        let Ok(result) = tokio::time::timeout_at(deadline, attempt).await else { continue };
        match result {
            Ok((held, from)) if is_ours(terms, &held) => {
                lease = Some(held);
                since = from;
                until.0.send_replace(Some(since + terms.config.renew_deadline));
                if failing {
                    failing = false;
                    info!(lease = %key, "renewing the lease works again");
                }
            }
            Ok((taken, _)) => {
                let holder = taken.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
                error!(lease = %key, holder, "lease lost: another replica holds it");
                return;
            }
            Err(Failure::Conflict) => {
                debug!(lease = %key, "the lease was written by someone else, reading it again");
                lease = None;
                next = now;
            }
            Err(Failure::Other(why)) => {
                if !failing {
                    failing = true;
                    warn!(lease = %key, why, "renewing the lease failed, trying again until {:?} have passed", terms.config.renew_deadline);
                }
                lease = None;
            }
        }
    }
}
