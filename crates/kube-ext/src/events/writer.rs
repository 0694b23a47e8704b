//! The one who writes Events to the API server.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::Event, jiff::Timestamp};
use kube::{
    Api, Client, Error,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::correlator::{Correlator, Notice, Write};
use crate::backoff::{Backoff, chance};

/// Attempts per Event: with the pauses between them a good minute and a half, so that Events outlive an API server
/// that is away for a minute.
const ATTEMPTS: u32 = 24;

/// A request without an answer by then counts as failed.
const ANSWER: Duration = Duration::from_secs(10);

/// Why an Event is not written.
enum Failure {
    /// A patch found nothing: the server has dropped the Event, as it does after an hour.
    Expired,
    /// An Event of that name exists.
    NameTaken,
    /// The server is away or busy. The Event may be written all the same.
    Later(String),
    /// The server will not have it, now or later.
    Refused(String),
}

pub(super) struct Writer {
    client: Client,
    /// Held for moments only, never while the server is asked.
    correlator: Mutex<Correlator>,
}

impl Writer {
    pub(super) fn new(client: Client, component: &'static str, instance: String) -> Self {
        Self { client, correlator: Mutex::new(Correlator::new(component, instance)) }
    }

    fn correlator(&self) -> MutexGuard<'_, Correlator> {
        // What it remembers is whole after each of its methods.
        self.correlator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one notice; returns when that is done, or given up and logged.
    pub(super) async fn write(&self, notice: Notice) {
        let object = notice.object();
        let mut write = self.correlator().observe(notice, Timestamp::now());
        let mut backoff = Backoff::default();
        let mut perhaps_written = false;
        let mut why = String::new();
        for attempt in 1..=ATTEMPTS {
            match self.attempt(&write).await {
                Ok(()) => return,
                Err(Failure::Expired) => write.repeated = false,
                Err(Failure::NameTaken) if perhaps_written => return,
                Err(Failure::NameTaken) => {
                    self.correlator().rename(&mut write, Timestamp::now());
                    why = "every name tried for it is taken".into();
                }
                Err(Failure::Later(said)) => {
                    debug!(%object, attempt, why = said, "event not written yet");
                    perhaps_written = true;
                    why = said;
                    if attempt < ATTEMPTS {
                        sleep(backoff.next(chance())).await;
                    }
                }
                Err(Failure::Refused(said)) => {
                    why = said;
                    break;
                }
            }
        }
        self.correlator().forget(&write.key);
        warn!(%object, reason = write.event.reason, text = write.event.message, why, "event not written");
    }

    async fn attempt(&self, write: &Write) -> Result<(), Failure> {
        let Event { metadata, count, last_timestamp, .. } = &write.event;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let request = async {
            if write.repeated {
                let patch = json!({"count": count, "lastTimestamp": last_timestamp});
                events.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
            } else {
                events.create(&PostParams::default(), &write.event).await
            }
        };
        match timeout(ANSWER, request).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Error::Api(status))) => Err(match status.code {
                404 if write.repeated => Failure::Expired,
                409 if !write.repeated => Failure::NameTaken,
                409 | 429 | 500.. => Failure::Later(status.message),
                _ => Failure::Refused(status.message),
            }),
            Ok(Err(error)) => Err(Failure::Later(error.to_string())),
            Err(_) => Err(Failure::Later(format!("no answer within {ANSWER:?}"))),
        }
    }
}
