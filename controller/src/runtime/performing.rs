//! Doing what was decided, without waiting for it, and telling the decisions what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use api::IPAddressPoolStatus;
use k8s_openapi::api::core::v1 as core_v1;
use kube_ext::EventKind;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{Message, Owner, WRITES};
use crate::action::{Action, Note, Outcome, Standing, StatusWrite};
use crate::writer;

/// The pauses between attempts to write one object double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A write that waits for its turn.
#[derive(Debug)]
pub(super) enum Write {
    Service(StatusWrite),
    Pool { name: String, status: IPAddressPoolStatus },
}

impl Owner {
    pub(super) fn written(&mut self, write: &StatusWrite, outcome: Outcome) {
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

    pub(super) fn pool_written(&mut self, name: String, outcome: Result<(), String>) {
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
    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::WriteService(write) => self.due.push_back(Write::Service(write)),
                Action::WritePool { name, status } => self.due.push_back(Write::Pool { name, status }),
                Action::Measure { name, measure } => self.reports.gauges.show(&name, measure),
                Action::Stand(standing) => self.stand(standing),
                Action::Event { about, note } => self.tell(about, note),
            }
        }
        self.begin_writes();
    }

    /// Begins the writes whose turn it is. The others wait as what they are, which takes far less memory than a task.
    pub(super) fn begin_writes(&mut self) {
        // Without a lease nothing is decided.
        let Some(tenure) = &self.tenure else { return };
        while self.writes.len() < WRITES
            && let Some(write) = self.due.pop_front()
        {
            let (client, namespace, tenure) = (self.client.clone(), self.namespace.clone(), tenure.clone());
            self.writes.spawn(async move {
                let leads = || tenure.holds();
                match write {
                    Write::Service(write) => {
                        let outcome = writer::write_service(client, &write, leads).await;
                        Message::Written(write, outcome)
                    }
                    Write::Pool { name, status } => {
                        let outcome = writer::write_pool(client, &namespace, &name, &status, leads).await;
                        Message::PoolWritten(name, outcome)
                    }
                }
            });
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

    fn later(&mut self, pause: Duration, message: Message) {
        let out = self.outbox.clone();
        self.tasks.spawn(async move {
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
