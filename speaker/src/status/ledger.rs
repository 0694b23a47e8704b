//! What is wanted of status objects, what there is, and what is to be done about the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use announce::ServiceKey;
use l2::Instant;

use crate::core::{StatusView, Want, Why};

/// How long another node, which announces now, has to replace our object before we delete it ourselves.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(10);
/// Pause after the first failure; doubled with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One thing to do at the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Make this node's object say this.
    Write {
        /// The Service.
        service: ServiceKey,
        /// The interfaces, where none stands for all, or the peers.
        names: Vec<String>,
        /// Why the node announces it, where that is to be said.
        why: Option<Why>,
        /// Whether objects of other nodes for this Service are to be deleted after.
        sweep: bool,
    },
    /// Delete this node's object.
    Delete {
        /// The Service.
        service: ServiceKey,
    },
}

impl Job {
    /// The Service that it is about.
    pub fn service(&self) -> &ServiceKey {
        match self {
            Self::Write { service, .. } | Self::Delete { service } => service,
        }
    }
}

/// The state of all status objects of this node.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<ServiceKey, Entry>,
    /// When which entry is to be looked at.
    due: BTreeSet<(Instant, ServiceKey)>,
    failing: usize,
}

#[derive(Debug, Default)]
struct Entry {
    want: Option<Want>,
    /// The object that there is, as far as is known.
    actual: Option<StatusView>,
    /// Whether other nodes' objects are still to be deleted.
    sweep: bool,
    due: Option<Instant>,
    running: bool,
    failures: u32,
}

impl Ledger {
    /// Notes what is wanted for a Service.
    pub fn want(&mut self, now: Instant, service: &ServiceKey, want: Want) {
        let entry = self.entries.entry(service.clone()).or_default();
        if entry.want.as_ref() == Some(&want) {
            return;
        }
        let was_here = matches!(entry.want, Some(Want::Here { .. }));
        entry.sweep = matches!(want, Want::Here { .. }) && (entry.sweep || !was_here);
        let at = if want == Want::Elsewhere { now + LEFT_TO_OTHERS } else { now };
        entry.want = Some(want);
        self.schedule(service, at);
    }

    /// Notes what there is for a Service; `None`: no object.
    pub fn actual(&mut self, now: Instant, service: &ServiceKey, actual: Option<StatusView>) {
        let entry = self.entries.entry(service.clone()).or_default();
        entry.actual = actual;
        let at = if entry.want == Some(Want::Elsewhere) { now + LEFT_TO_OTHERS } else { now };
        // A pause after failures is not cut short, nor another node's time.
        if entry.failures == 0 && !(entry.want == Some(Want::Elsewhere) && entry.due.is_some()) {
            self.schedule(service, at);
        }
    }

    /// When the next entry is to be looked at.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next thing to do by `now`; it counts as running until [`done`](Self::done) or
    /// [`failed`](Self::failed).
    pub fn next(&mut self, now: Instant) -> Option<Job> {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let (_, service) = self.due.pop_first()?;
            let entry = self.entries.get_mut(&service)?;
            entry.due = None;
            if entry.running {
                continue;
            }
            if let Some(job) = entry.job(&service) {
                entry.running = true;
                return Some(job);
            }
            // What failed is not wanted any more.
            if std::mem::take(&mut entry.failures) > 0 {
                self.failing -= 1;
            }
            if entry.is_idle() {
                self.entries.remove(&service);
            }
        }
        None
    }

    /// The job was done; true where this ends a time of failures.
    pub fn done(&mut self, now: Instant, job: &Job) -> bool {
        let Some(entry) = self.entries.get_mut(job.service()) else { return false };
        let recovered = std::mem::take(&mut entry.failures) > 0;
        entry.running = false;
        match job {
            Job::Write { service, names, why, sweep } => {
                entry.actual = Some(StatusView {
                    service: service.clone(),
                    complete: true,
                    names: names.clone(),
                    why: why.clone(),
                });
                entry.sweep &= !sweep;
            }
            Job::Delete { .. } => entry.actual = None,
        }
        self.schedule(job.service(), now);
        if recovered {
            self.failing -= 1;
        }
        recovered && self.failing == 0
    }

    /// The job failed and is tried again later; true where this begins a time of failures.
    pub fn failed(&mut self, now: Instant, job: &Job) -> bool {
        let Some(entry) = self.entries.get_mut(job.service()) else { return false };
        entry.running = false;
        entry.failures = entry.failures.saturating_add(1);
        let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(entry.failures - 1).unwrap_or(u32::MAX));
        let first = entry.failures == 1;
        self.schedule(job.service(), now + doubled.min(LONGEST_PAUSE));
        if first {
            self.failing += 1;
        }
        first && self.failing == 1
    }

    fn schedule(&mut self, service: &ServiceKey, at: Instant) {
        let Some(entry) = self.entries.get_mut(service) else { return };
        if let Some(before) = entry.due.replace(at) {
            self.due.remove(&(before, service.clone()));
        }
        self.due.insert((at, service.clone()));
    }
}

impl Entry {
    /// What is to be done about the difference; `None` where there is none.
    fn job(&self, service: &ServiceKey) -> Option<Job> {
        match self.want.as_ref()? {
            Want::Here { names, why } => {
                let is_right = |a: &StatusView| a.complete && a.names == *names && a.why == *why;
                let right = self.actual.as_ref().is_some_and(is_right);
                let write = || Job::Write {
                    service: service.clone(),
                    names: names.clone(),
                    why: why.clone(),
                    sweep: self.sweep,
                };
                (!right || self.sweep).then(write)
            }
            Want::Elsewhere | Want::Nowhere => {
                self.actual.as_ref().map(|_| Job::Delete { service: service.clone() })
            }
        }
    }

    /// Whether there is nothing to remember.
    fn is_idle(&self) -> bool {
        self.actual.is_none() && !matches!(self.want, Some(Want::Here { .. }))
    }
}

#[cfg(test)]
mod tests;
