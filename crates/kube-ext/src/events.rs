//! Events that a person reads under `kubectl describe`.
//!
//! ```text
//! record() ──bounded queue──▶ Lanes, one an object ──Correlator──▶ create Event | patch its count
//! ```
//!
//! core/v1 Events, as client-go's recorder (the one MetalLB uses) makes them: `kubectl describe` then shows the
//! component under "From", and a repeated text as one line with a count.

mod correlator;
mod lanes;
mod writer;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
};
use tracing::warn;

use correlator::Notice;
use lanes::Lanes;

/// Events waiting for the API server, some 40 MB of them: the first pool of a cluster with tens of thousands of
/// Services gives each its Event at once. What comes on top is only logged.
const QUEUE: usize = 65_536;

/// The type of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// Something happened that was meant to.
    Normal,
    /// Someone has to look.
    Warning,
}

impl EventKind {
    /// The value of the Event's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        }
    }
}

/// Hands Events to a task that writes them, those about one object in order, without ever holding its caller up.
///
/// Clones share the task; it ends, after writing what is queued, when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    component: &'static str,
    host: Option<Arc<str>>,
    queue: mpsc::Sender<Notice>,
}

impl EventRecorder {
    /// Starts the writing task on the current tokio runtime.
    ///
    /// `component` is what `kubectl describe` shows under "From" (`metallb-controller`); `instance` tells replicas
    /// apart (the Pod's name).
    pub fn new(client: Client, component: &'static str, instance: String) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE);
        tokio::spawn(Self::task(client, component, instance, notices));
        Self { component, host: None, queue }
    }

    /// The same recorder, whose Events also name the node they come from (`source.host`).
    #[must_use]
    pub fn on_host(self, node: impl Into<Arc<str>>) -> Self {
        Self { host: Some(node.into()), ..self }
    }

    /// Queues an Event about the object `about` (see [`object_reference`]).
    ///
    /// `reason` is one word in upper or lower camel case, `message` a sentence. The same type, reason and message
    /// about the same object again counts up the Event that is there. Never blocks; where far too many Events wait
    /// already, this one is only logged.
    pub fn record(&self, about: ObjectReference, kind: EventKind, reason: &str, message: String) {
        let notice = Notice { about, kind, reason: reason.to_owned(), message, host: self.host.clone() };
        match self.queue.try_send(notice) {
            Ok(()) => {}
            Err(TrySendError::Full(lost)) => {
                warn!(
                    component = self.component, object = %lost.object(), reason = lost.reason, text = lost.message,
                    "event not written: too many wait for the API server"
                );
            }
            Err(TrySendError::Closed(lost)) => {
                warn!(
                    component = self.component, object = %lost.object(), reason = lost.reason, text = lost.message,
                    "event not written: the program is ending"
                );
            }
        }
    }

    /// Writes `notices` until every sender is gone.
    async fn task(
        client: Client,
        component: &'static str,
        instance: String,
        mut notices: mpsc::Receiver<Notice>,
    ) {
        let writer = Arc::new(writer::Writer::new(client, component, instance));
        let mut lanes = Lanes::default();
        let mut writing = JoinSet::new();
        let mut open = true;
        while open || !writing.is_empty() {
            tokio::select! {
                notice = notices.recv(), if open => match notice {
                    Some(notice) => lanes.add(notice),
                    None => open = false,
                },
                Some(result) = writing.join_next() => match result {
                    Ok(lane) => lanes.done(&lane),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
            while let Some((lane, notice)) = lanes.next() {
                let writer = Arc::clone(&writer);
                writing.spawn(async move {
                    writer.write(notice).await;
                    lane
                });
            }
        }
    }
}

/// What an Event about `object` refers to: kind, version, name, namespace, uid and resource version.
pub fn object_reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: object.meta().resource_version.clone(), ..object.object_ref(&()) }
}

#[cfg(test)]
mod tests;
