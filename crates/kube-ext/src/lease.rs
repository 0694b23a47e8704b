//! One active replica, by a Lease (coordination.k8s.io/v1), with client-go's rules.
//!
//! ```text
//! LeaderElector::acquire ──watch Lease, decide()──▶ Leadership ──renewing task──▶ lost()
//!                                                       └── release(): no holder ──▶ a standby takes over
//! ```

mod decide;
mod hold;
mod terms;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Client, ResourceExt};
use tokio::{
    sync::{mpsc, watch as channel},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::watch::{Change, watch, watch_config};
use decide::{Action, Observed, decide};
use terms::{Failure, Terms};

pub use hold::{Leadership, Tenure};

/// Who runs for which Lease, and how patiently.
///
/// `retry_period` < `renew_deadline` < 9/10 `lease_duration`; the usual values are 2 s, 10 s and 15 s. A candidate takes
/// a Lease over up to half a second before it has run out, long after its holder has given up.
#[derive(Clone)]
pub struct LeaderConfig {
    /// Needs get, list, watch, create and update on leases in the namespace.
    pub client: Client,
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Different in each replica: the Pod's name.
    pub identity: String,
    /// How long others leave a Lease alone that its holder does not renew. Counts in whole seconds, at least one.
    pub lease_duration: Duration,
    /// A holder that could not renew for this long has lost the Lease.
    pub renew_deadline: Duration,
    /// The time between two renewals, and between two attempts that failed.
    pub retry_period: Duration,
    /// What the Lease goes with: whoever holds it makes this its only owner. Without one it stays as it is.
    pub owner: Option<OwnerReference>,
}

/// How a candidacy goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Candidacy {
    /// The Lease has not been looked at yet, or is about to be taken.
    #[default]
    Begun,
    /// Another replica holds the Lease.
    StandingBy {
        /// Who holds it.
        holder: String,
    },
    /// The Lease cannot be read or written, for this reason.
    Failing(String),
    /// The Lease is ours.
    Won,
}

/// A candidate for a Lease.
pub struct LeaderElector {
    terms: Terms,
    progress: channel::Sender<Candidacy>,
}

impl LeaderElector {
    /// A candidate; it does nothing before [`LeaderElector::acquire`].
    pub fn new(config: LeaderConfig) -> Self {
        Self { terms: Terms::new(config), progress: channel::Sender::default() }
    }

    /// How the candidacy goes, for those who have to do while they stand by.
    pub fn progress(&self) -> channel::Receiver<Candidacy> {
        self.progress.subscribe()
    }

    /// Waits until the Lease is ours; a task of the current runtime renews it from then on.
    ///
    /// Never gives up: an API server that is away is waited for. Dropping the future ends the candidacy.
    pub async fn acquire(self) -> Leadership {
        let (out, seen) = mpsc::channel(16);
        let selected = watch_config().fields(&format!("metadata.name={}", self.terms.config.name));
        let watching = watch(self.terms.leases.clone(), selected, |lease| lease, |change| change, out);
        let (lease, since) = tokio::select! {
            held = Box::pin(self.take(seen)) => held,
            () = watching => unreachable!("the watch lasts as long as its receiver, which take() holds"),
        };
        info!(lease = %self.terms.key(), identity = self.terms.config.identity, "leading");
        self.progress.send_replace(Candidacy::Won);
        Leadership::begin(self.terms, lease, since)
    }

    /// The Lease as ours, and since when that holds at the latest.
    async fn take(&self, mut seen: mpsc::Receiver<Change<Lease>>) -> (Lease, Instant) {
        let terms = &self.terms;
        let mut observed = Observed::default();
        let mut news = None;
        let mut failing = false;
        loop {
            let failure = match self.look(news.take()).await {
                Ok(lease) => {
                    let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
                    let now = Instant::now();
                    observed.note(spec, now);
                    match decide(spec, &observed, &terms.config.identity, now) {
                        Action::Acquire | Action::Renew => match terms.put(lease).await {
                            Ok(held) => return held,
                            Err(failure) => failure,
                        },
                        Action::Wait(left) => {
                            failing = false;
                            let holder =
                                spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                            let standing_by = Candidacy::StandingBy { holder };
                            if self.tell(&standing_by) {
                                info!(lease = %terms.key(), progress = ?standing_by, "standing by until the holder gives the lease up or stops renewing it");
                            }
                            news = await_news(&mut seen, lease.as_ref(), left).await;
                            continue;
                        }
                    }
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Conflict => debug!(lease = %terms.key(), "another candidate was faster"),
                Failure::Other(why) if !failing => {
                    failing = true;
                    self.tell(&Candidacy::Failing(why.clone()));
                    warn!(lease = %terms.key(), why, "running for the lease failed, trying again until it works");
                }
                Failure::Other(why) => debug!(lease = %terms.key(), why, "running for the lease still fails"),
            }
            sleep(terms.config.retry_period).await;
        }
    }

    /// Tells how it goes; whether that is news.
    fn tell(&self, progress: &Candidacy) -> bool {
        self.progress.send_if_modified(|told| {
            let news = told != progress;
            if news {
                told.clone_from(progress);
            }
            news
        })
    }

    /// The Lease as `news` shows it, else as the server has it now; `None` where there is none.
    ///
    /// News may lag behind. That does no harm: what is written on old news, the server refuses.
    async fn look(&self, news: Option<Change<Lease>>) -> Result<Option<Lease>, Failure> {
        match news {
            Some(Change::Apply(_, lease)) => Ok(Some(lease)),
            Some(Change::Delete(_)) => Ok(None),
            Some(Change::Synced) | None => self.terms.get().await,
        }
    }
}

/// Waits until the watch shows another Lease than `known`; `None` when `left` has passed before.
async fn await_news(
    seen: &mut mpsc::Receiver<Change<Lease>>,
    known: Option<&Lease>,
    left: Duration,
) -> Option<Change<Lease>> {
    let version = known.and_then(ResourceExt::resource_version);
    let news = async {
        loop {
            match seen.recv().await {
                Some(Change::Apply(_, lease)) if lease.resource_version() == version => {}
                Some(Change::Synced) => {}
                news => return news,
            }
        }
    };
    timeout(left, news).await.ok().flatten()
}

#[cfg(test)]
mod tests;
