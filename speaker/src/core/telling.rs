//! What users hear about their Services: on transitions, and again while a warning holds.

use std::net::IpAddr;
use std::time::Duration;

use announce::{Obstacle, ServiceKey};
use l2::Instant;
use net::MacAddr;
use tracing::{info, warn};

use super::effect::{Effect, Notice};
use super::{Core, Outcome};

/// A Warning that still holds is told again after this long: events expire after an hour.
pub(super) const REPEAT: Duration = Duration::from_secs(50 * 60);

/// A conflict is told when it is seen again within this time. An interface sees one at most every ten seconds, so
/// what is over by then (two speakers whose views differ for a moment) is not told.
const SEEN_AGAIN: Duration = Duration::from_secs(60);

/// That nobody announces a Service is told when it is still so after this long: while speakers and Pods are replaced
/// it is so for moments.
const SETTLED: Duration = Duration::from_secs(10);

/// How many Services are told about in one second: many can have one cause, and events take time to write.
const BATCH: usize = 100;
const PAUSE: Duration = Duration::from_secs(1);

/// What was done about a conflict, and when.
#[derive(Clone, Copy, Debug)]
pub(super) enum Conflict {
    Seen(Instant),
    Told(Instant),
}

impl Core {
    /// Tells the user of the Service what this transition means, where it means something.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        outcome: &Outcome,
        before: Option<&Outcome>,
        out: &mut Vec<Effect>,
    ) {
        if !self.obstacles.contains_key(service) {
            self.reminders.cancel(service);
        }
        match outcome {
            Outcome::Announced { .. } => {
                let resumed = self.resumable.remove(service);
                if !resumed && !matches!(before, Some(Outcome::Announced { .. })) {
                    out.extend(self.notice(service).map(|about| about.assigned(&self.node, "layer2")));
                }
            }
            Outcome::Hindered { messages } => {
                self.reminders.set(service, now + REPEAT);
                out.extend(self.notice(service).into_iter().flat_map(|about| about.failed(messages)));
            }
            Outcome::Standby(_) | Outcome::Not(_) => {}
        }
    }

    /// Notes why nobody in the cluster announces the Service; every speaker does, and one will tell.
    pub(super) fn obstructed(&mut self, now: Instant, service: &ServiceKey, obstacle: Option<Obstacle>) {
        let Some(obstacle) = obstacle else {
            if self.obstacles.remove(service).is_some() {
                self.reminders.cancel(service);
            }
            return;
        };
        let known = self.obstacles.get(service).is_some_and(|known| known.is_like(&obstacle));
        self.obstacles.insert(service.clone(), obstacle);
        if !known {
            self.reminders.set(service, now + SETTLED);
        }
    }

    /// Tells what is due: warnings that still hold, and obstacles, of which one speaker of all tells.
    pub(super) fn remind(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if now < self.quiet_until {
            return;
        }
        let start = out.len();
        while let Some(service) = self.reminders.take(now) {
            if let Some(obstacle) = self.obstacles.get(&service) {
                if self.index.is_spokesman(&service) {
                    warn!(%service, "no node announces it: {obstacle}");
                    out.extend(self.notice(&service).map(|about| about.unannounced(obstacle)));
                }
            } else if let Some(Outcome::Hindered { messages }) = self.outcomes.get(&service) {
                out.extend(self.notice(&service).into_iter().flat_map(|about| about.failed(messages)));
            } else {
                continue;
            }
            self.reminders.set(&service, now + REPEAT);
            if out.len() - start >= BATCH {
                self.quiet_until = now + PAUSE;
                return;
            }
        }
        while self.remind_bgp(now, out) {
            if out.len() - start >= BATCH {
                self.quiet_until = now + PAUSE;
                return;
            }
        }
    }

    /// Another host insists on an address of ours.
    pub(super) fn conflict(
        &mut self,
        now: Instant,
        interface: &str,
        address: IpAddr,
        mac: MacAddr,
        out: &mut Vec<Effect>,
    ) {
        self.conflicts.retain(|_, conflict| match *conflict {
            Conflict::Seen(at) => at + SEEN_AGAIN > now,
            Conflict::Told(at) => at + REPEAT > now,
        });
        if !self.holders.holds(address) {
            return;
        }
        match self.conflicts.get(&(address, mac)) {
            Some(Conflict::Told(_)) => return,
            None => {
                info!(%address, %mac, interface, "another host answers for an address that this node announces, watching whether it goes on");
                self.conflicts.insert((address, mac), Conflict::Seen(now));
                return;
            }
            Some(Conflict::Seen(_)) => self.conflicts.insert((address, mac), Conflict::Told(now)),
        };
        warn!(%address, %mac, interface, "another host goes on answering for an address that this node announces");
        for service in self.claims.services(address) {
            out.extend(self.notice(service).map(|about| about.conflict(interface, address, mac)));
        }
    }

    pub(super) fn notice(&self, service: &ServiceKey) -> Option<Notice> {
        self.uids.get(service).map(|uid| Notice { service: service.clone(), uid: uid.clone() })
    }
}
