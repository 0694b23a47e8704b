//! From what has changed to what is to be done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipam::{Port, Sharing, Subject};
use kube_ext::ObjectKey;

use super::{Core, Entry, Writing};
use crate::action::{Action, StatusWrite};
use crate::holder::Holder;
use crate::judge::Judge;
use crate::service::Claim;

/// What a Service has, before or after a decision.
#[derive(Debug, Default)]
struct Having {
    addresses: Vec<(IpAddr, Arc<str>)>,
    conditions: Option<(Sharing, BTreeSet<Port>)>,
}

impl Core {
    /// Decides about everything that was touched since the last time; what is to be done now. Nothing before
    /// [`start`](Self::start).
    ///
    /// First what Services claim is settled, the older one winning, and only then addresses are given to those who
    /// have none, again the oldest first.
    pub fn decide(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.started {
            return actions;
        }
        if std::mem::take(&mut self.config_changed) {
            self.reconfigure(&mut actions);
        }
        let touched: BTreeSet<(i64, ObjectKey)> = std::mem::take(&mut self.touched)
            .iter()
            .filter_map(|key| self.services.get(key).map(|entry| entry.age()))
            .collect();
        for (_, key) in &touched {
            self.claim(key);
            self.note_served(key);
        }
        let (having, lacking): (Vec<_>, Vec<_>) = touched
            .into_iter()
            .map(|(_, key)| key)
            .partition(|key| self.allocator.get(&Holder::Service(key.clone())).is_some());
        for key in having.iter().chain(&lacking) {
            self.decide_one(key, &mut actions);
        }
        while let Some(freed) = self.freed.pop_front() {
            self.wake(freed, &mut actions);
        }
        self.count(&mut actions);
        actions
    }

    /// Enters a Service that is new to us at the addresses in its status, where nobody else has them. Whether it may
    /// keep them is decided later.
    fn claim(&mut self, key: &ObjectKey) {
        let Some(entry) = self.services.get(key) else { return };
        let service = &entry.service;
        let ours = service.is_load_balancer && service.class == self.class;
        let Some(labels) = self.namespaces.get(&key.namespace).filter(|_| ours) else { return };
        let Claim::Addresses(addresses) = entry.claim() else { return };
        let subject = Subject {
            namespace: &key.namespace,
            namespace_labels: labels,
            labels: &service.labels,
            sharing: &service.sharing,
            ports: &service.ports,
        };
        let holder = Holder::Service(key.clone());
        if self.allocator.get(&holder).is_some() {
            return;
        }
        // Why it may not have them is found again, and told, when it is decided about.
        if let Ok(allocation) = self.allocator.adopt(&holder, subject, &addresses) {
            self.counted.insert(allocation.pool.to_string());
        }
    }

    fn decide_one(&mut self, key: &ObjectKey, actions: &mut Vec<Action>) {
        let before = self.having(key);
        let Some(entry) = self.services.get_mut(key) else { return };
        // A Namespace that is not known yet is about to be: the Service waits for its labels.
        let Some(namespace) = self.namespaces.get(&key.namespace) else { return };
        for address in entry.leaving.drain(..) {
            self.allocator.release(&Holder::Leaving(key.clone(), address));
        }
        let judge = Judge {
            service: &entry.service,
            claim: entry.claim(),
            namespace,
            config: &self.config,
            allocator: &mut self.allocator,
            class: self.class.as_deref(),
            configured: self.configured,
        };
        let verdict = judge.decide();
        entry.lost = None;
        let more_of_the_same = match (&entry.desired, &verdict.desired) {
            (Some(before), Some(after)) => before.addresses.iter().all(|ip| after.addresses.contains(ip)),
            _ => false,
        };
        if !more_of_the_same {
            entry.when_written.clear();
        }
        entry.when_written.extend(verdict.when_written);
        entry.desired = verdict.desired;
        let notes: BTreeSet<_> = verdict.notes.into_iter().collect();
        actions.extend(notes.difference(&entry.told).map(|note| entry.event(note.clone())));
        entry.told = notes;
        self.keep_leaving(key);
        self.write(key, actions);
        self.note_freed(key, before);
    }

    /// Keeps addresses that the Service has no longer from others for as long as its status, or what is being written
    /// there, names them.
    fn keep_leaving(&mut self, key: &ObjectKey) {
        let Some(entry) = self.services.get_mut(key) else { return };
        if entry.desired.is_none() {
            return;
        }
        let held = self.allocator.get(&Holder::Service(key.clone()));
        let held: Vec<IpAddr> = held.map(|held| held.addresses.clone()).unwrap_or_default();
        let shown = entry.service.status.ingress.iter().flatten().filter_map(|text| text.parse().ok());
        let writing = entry.writing.iter().flat_map(|writing| writing.desired.addresses.iter().copied());
        let named: BTreeSet<IpAddr> =
            shown.chain(writing).filter(|address| !held.contains(address)).collect();
        for address in named {
            let holder = Holder::Leaving(key.clone(), address);
            let (sharing, ports) = (&entry.service.sharing, &entry.service.ports);
            // Where this fails the address is in no pool, or somebody has it by right.
            if self.allocator.reserve(&holder, sharing, ports, address).is_ok() {
                entry.leaving.push(address);
            }
        }
    }

    /// Has the status written where it does not say what it shall.
    fn write(&mut self, key: &ObjectKey, actions: &mut Vec<Action>) {
        let Some(entry) = self.services.get_mut(key) else { return };
        let Some(desired) = entry.desired.as_ref().filter(|_| entry.writing.is_none()) else { return };
        if desired.is_shown_by(&entry.service) {
            // Perhaps by a write whose answer was lost.
            entry.write_failure = None;
            let notes = std::mem::take(&mut entry.when_written);
            actions.extend(notes.into_iter().map(|note| entry.event(note)));
            return;
        }
        if entry.held_back {
            return;
        }
        let service = &entry.service;
        actions.push(Action::WriteService(StatusWrite {
            key: key.clone(),
            uid: service.uid.clone(),
            resource_version: service.resource_version.clone(),
            desired: desired.clone(),
            ingress: !service.status.shows(&desired.addresses),
        }));
        entry.writing =
            Some(Writing { resource_version: service.resource_version.clone(), desired: desired.clone() });
    }

    /// A Service is gone: so is what it had.
    pub(super) fn forget(&mut self, key: &ObjectKey, entry: &Entry) {
        let mut before = Having::default();
        let leaving = entry.leaving.iter().map(|address| Holder::Leaving(key.clone(), *address));
        for holder in leaving.chain([Holder::Service(key.clone())]) {
            if let Some(had) = self.allocator.release(&holder) {
                before.addresses.extend(had.addresses.into_iter().map(|address| (address, had.pool.clone())));
            }
        }
        before.conditions = Some((entry.service.sharing.clone(), entry.service.ports.clone()));
        self.note_freed(key, before);
    }

    /// Notes which pool serves a Service.
    fn note_served(&mut self, key: &ObjectKey) {
        let allocation = self.allocator.get(&Holder::Service(key.clone()));
        let changed = self.served.set(key, allocation.map(|allocation| allocation.pool.clone()));
        self.counted.extend(changed.into_iter().flatten().map(|pool| pool.to_string()));
    }

    fn having(&self, key: &ObjectKey) -> Having {
        let holder = Holder::Service(key.clone());
        let leaving = self.services.get(key).map_or(&[][..], |entry| &entry.leaving);
        let leaving = leaving.iter().map(|address| Holder::Leaving(key.clone(), *address));
        let mut addresses = Vec::new();
        for holder in leaving.chain([holder.clone()]) {
            if let Some(has) = self.allocator.get(&holder) {
                addresses.extend(has.addresses.iter().map(|address| (*address, has.pool.clone())));
            }
        }
        let conditions = self.allocator.conditions(&holder);
        Having { addresses, conditions: conditions.map(|(sharing, ports)| (sharing.clone(), ports.clone())) }
    }

    /// Notes what a Service had and has no longer, or has under other conditions, and which pools' counters that
    /// changes.
    fn note_freed(&mut self, key: &ObjectKey, before: Having) {
        let after = self.having(key);
        self.note_served(key);
        if before.addresses != after.addresses {
            let pools = before.addresses.iter().chain(&after.addresses).map(|(_, pool)| pool.to_string());
            self.counted.extend(pools);
        }
        for (address, _) in before.addresses {
            let kept = after.addresses.iter().any(|(kept, _)| *kept == address);
            if !kept || before.conditions != after.conditions {
                self.freed.push_back(address);
            }
        }
    }

    /// Decides about those whom an address helps that has become free or is shared in another way, the oldest first,
    /// until nobody is left whom it would help.
    fn wake(&mut self, address: IpAddr, actions: &mut Vec<Action>) {
        let mut last = None;
        while let Some(waiter) = self.allocator.next_waiter(address, last.as_ref()) {
            if let Holder::Service(key) = &waiter.key {
                self.decide_one(key, actions);
            }
            last = Some(waiter);
        }
    }
}

impl Entry {
    /// What the Service claims to have: its status counts when it is first seen, from then on the decisions do.
    fn claim(&self) -> Claim {
        match (&self.desired, &self.lost) {
            (_, Some(lost)) => Claim::Addresses(lost.addresses.clone()),
            (None, None) => self.service.status.claim(),
            (Some(_), None) => Claim::None,
        }
    }
}
