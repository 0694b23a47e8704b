//! The decisions: what is known, and what follows from it. No clock, no network; so every race is a plain test.
//!
//! ```text
//! watches ──apply, delete──▶ index ──touched──▶ decide() ──▶ actions ──▶ writers
//!                              ▲                                           │
//!                              └───────────── written(), retry() ◀─────────┘
//! ```
//!
//! An address that was decided on belongs to the Service from that moment, whether or not it is written yet. What the
//! watches say about the status of a Service only counts until then: when it is first seen.

mod configuring;
mod deciding;
mod served;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use api::{Community, IPAddressPool, IPAddressPoolStatus, L2Advertisement};
use config::{Config, Problem};
use ipam::{Allocation, Allocator, Labels};
use k8s_openapi::api::core::v1::ObjectReference;
use kube_ext::{EventKind, ObjectKey};

use crate::action::{Action, Desired, Measure, Note, Outcome, Standing};
use crate::holder::Holder;
use crate::service::Service;
use served::Served;

/// All that the controller knows and has decided.
#[derive(Debug, Default)]
pub struct Core {
    /// The class that it serves; `None` serves the Services without one.
    class: Option<String>,
    started: bool,
    /// Whether a pool has ever been in force. Until then nothing is touched.
    configured: bool,
    /// In boxes: the leaves of the tree are half empty.
    services: BTreeMap<ObjectKey, Box<Entry>>,
    namespaces: BTreeMap<String, Labels>,
    pools: BTreeMap<String, IPAddressPool>,
    l2_advertisements: BTreeMap<String, L2Advertisement>,
    communities: BTreeMap<String, Community>,
    config: Config,
    /// Whether objects of the configuration have changed since `config` was made of them.
    config_changed: bool,
    /// The problems of the configuration that the user knows of.
    told: BTreeSet<Problem>,
    allocator: Allocator<Holder>,
    /// Services to decide about.
    touched: BTreeSet<ObjectKey>,
    /// Addresses that more Services may have now than before: whom that helps is not decided yet.
    freed: VecDeque<IpAddr>,
    /// Pools whose counters may have changed.
    counted: BTreeSet<String>,
    /// What the statuses of the pools say, or will when what is under way is written.
    counters: BTreeMap<String, IPAddressPoolStatus>,
    /// Whether the configuration is valid, as the user knows.
    standing: Option<Standing>,
    /// What was shown of the pools.
    measured: BTreeMap<String, Measure>,
    /// Who has addresses of which pool, for their number.
    served: Served,
    /// Pools whose counters are being written.
    writing_pools: BTreeSet<String>,
}

/// One Service and what was decided about it.
#[derive(Debug)]
struct Entry {
    service: Service,
    /// What its status shall say; `None` leaves it alone.
    desired: Option<Desired>,
    /// What is being written.
    writing: Option<Writing>,
    /// Set after a write failed, until it is time to try again.
    held_back: bool,
    /// What is the matter with it, as the user knows.
    told: BTreeSet<Note>,
    /// What to tell once `desired` is written.
    when_written: Vec<Note>,
    /// Why the last attempt to write failed, as the user knows.
    write_failure: Option<Note>,
    /// What it had until the configuration took it away, which it does not know yet.
    lost: Option<Allocation>,
    /// Addresses that it has no longer and that are kept from others until its status is written.
    leaving: Vec<IpAddr>,
}

/// A write under way.
#[derive(Debug)]
struct Writing {
    resource_version: String,
    desired: Desired,
}

impl Core {
    /// Knows nothing yet and serves Services of this class, or those without one. The empty class is none.
    pub fn new(class: Option<String>) -> Self {
        Self { class: class.filter(|class| !class.is_empty()), ..Self::default() }
    }

    /// Everything has been listed once (and this controller is the one to decide): from now on
    /// [`decide`](Self::decide) gives actions.
    pub fn start(&mut self) {
        self.started = true;
        self.config_changed = true;
    }

    /// A Service exists and looks like this. What is older than what is known already changes nothing.
    pub fn apply_service(&mut self, service: Service) {
        let key = service.key.clone();
        match self.services.get_mut(&key) {
            Some(entry) if entry.service.uid == service.uid => {
                if !service.newer_than(&entry.service) {
                    return;
                }
                entry.service = service;
            }
            Some(_) => {
                self.delete_service(&key);
                self.services.insert(key.clone(), Box::new(Entry::new(service)));
            }
            // Most Services of a cluster never had an address and never will.
            None if !service.is_load_balancer && service.status.pool.is_none() => return,
            None => {
                self.services.insert(key.clone(), Box::new(Entry::new(service)));
            }
        }
        self.touched.insert(key);
    }

    /// A Service is gone, and with it its claim to addresses.
    pub fn delete_service(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.services.remove(key) {
            self.allocator.stop_waiting(&Holder::Service(key.clone()));
            self.touched.remove(key);
            self.forget(key, &entry);
        }
    }

    /// A Namespace exists and has these labels.
    pub fn apply_namespace(&mut self, name: &str, labels: Labels) {
        if self.namespaces.get(name) != Some(&labels) {
            self.namespaces.insert(name.to_owned(), labels);
            let from = ObjectKey::new(name, "");
            let services = self.services.range(from..).map(|(key, _)| key);
            self.touched.extend(services.take_while(|key| key.namespace == name).cloned());
        }
    }

    /// A Namespace is gone. Its Services, if any are left, keep what they have until they go too.
    pub fn delete_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// An IPAddressPool exists and looks like this.
    pub fn apply_pool(&mut self, pool: IPAddressPool) {
        let name = pool.metadata.name.clone().unwrap_or_default();
        let status = pool.status.clone();
        let changed = self.pools.get(&name).is_none_or(|before| {
            before.spec != pool.spec
                || before.metadata.uid != pool.metadata.uid
                || before.metadata.labels != pool.metadata.labels
        });
        if let Some(before) = self.pools.insert(name.clone(), pool)
            && before.metadata.uid != self.pools[&name].metadata.uid
        {
            self.counters.remove(&name);
        }
        if let Some(status) = status {
            if self.started {
                // What is written from here is known better than the watch knows it.
                self.counters.entry(name).or_insert(status);
            } else {
                // Another replica may be writing.
                self.counters.insert(name, status);
            }
        }
        self.config_changed |= changed;
    }

    /// An IPAddressPool is gone.
    pub fn delete_pool(&mut self, name: &str) {
        self.config_changed |= self.pools.remove(name).is_some();
        self.counters.remove(name);
    }

    /// An L2Advertisement exists and looks like this.
    pub fn apply_l2_advertisement(&mut self, advertisement: L2Advertisement) {
        let name = advertisement.metadata.name.clone().unwrap_or_default();
        let before = self.l2_advertisements.insert(name.clone(), advertisement);
        self.config_changed |= before.is_none_or(|before| before.spec != self.l2_advertisements[&name].spec);
    }

    /// An L2Advertisement is gone.
    pub fn delete_l2_advertisement(&mut self, name: &str) {
        self.config_changed |= self.l2_advertisements.remove(name).is_some();
    }

    /// A Community exists and looks like this. Nothing is allocated by it, but its mistakes are the configuration's.
    pub fn apply_community(&mut self, community: Community) {
        let name = community.metadata.name.clone().unwrap_or_default();
        let before = self.communities.insert(name.clone(), community);
        self.config_changed |= before.is_none_or(|before| before.spec != self.communities[&name].spec);
    }

    /// A Community is gone.
    pub fn delete_community(&mut self, name: &str) {
        self.config_changed |= self.communities.remove(name).is_some();
    }

    /// What came of an [`Action::WriteService`].
    pub fn written(&mut self, key: &ObjectKey, uid: &str, outcome: Outcome) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(entry) = self.services.get_mut(key).filter(|entry| entry.service.uid == uid) else {
            return actions;
        };
        let Some(written) = entry.writing.take() else { return actions };
        match outcome {
            Outcome::Done(service) => {
                entry.write_failure = None;
                if entry.desired.as_ref() == Some(&written.desired) {
                    let notes = std::mem::take(&mut entry.when_written);
                    actions.extend(notes.into_iter().map(|note| entry.event(note)));
                }
                if service.uid == entry.service.uid && service.newer_than(&entry.service) {
                    entry.service = *service;
                }
                self.touched.insert(key.clone());
            }
            // The watch brings the Service as it is now, if it has not done so already.
            Outcome::Conflict if entry.service.resource_version == written.resource_version => {}
            Outcome::Conflict => {
                self.touched.insert(key.clone());
            }
            // The watch brings its end.
            Outcome::Gone => {}
            Outcome::Failed(why) => {
                entry.held_back = true;
                let message =
                    format!("failed to write the addresses to the service's status, trying again: {why}");
                let note = Note::warning("StatusUpdateFailed", message);
                if entry.write_failure.as_ref() != Some(&note) {
                    entry.write_failure = Some(note.clone());
                    actions.push(entry.event(note));
                }
            }
        }
        actions
    }

    /// It is time to try a write again that failed.
    pub fn retry(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.services.get_mut(key) {
            entry.held_back = false;
            self.touched.insert(key.clone());
        }
    }

    /// What came of an [`Action::WritePool`]. After a failure they are written when [`retry_pool`](Self::retry_pool)
    /// says that it is time.
    pub fn pool_written(&mut self, name: &str, done: bool) {
        self.writing_pools.remove(name);
        if done {
            self.counted.insert(name.to_owned());
        } else {
            self.counters.remove(name);
        }
    }

    /// It is time to write a pool's counters again.
    pub fn retry_pool(&mut self, name: &str) {
        self.counted.insert(name.to_owned());
    }

    /// Every Warning that still holds, to be told again before it is forgotten: the cluster drops events after an hour.
    pub fn standing_warnings(&self) -> Vec<Action> {
        let services = self.services.values().flat_map(|entry| {
            let notes = entry.told.iter().chain(&entry.write_failure);
            notes.filter(|note| note.kind == EventKind::Warning).map(|note| entry.event(note.clone()))
        });
        let problems = self.told.iter().filter_map(|problem| self.problem_event(problem));
        services.chain(problems).collect()
    }
}

impl Entry {
    fn new(service: Service) -> Self {
        Self {
            service,
            desired: None,
            writing: None,
            held_back: false,
            told: BTreeSet::new(),
            when_written: Vec::new(),
            write_failure: None,
            lost: None,
            leaving: Vec::new(),
        }
    }

    /// Who waits longer comes first.
    fn age(&self) -> (i64, ObjectKey) {
        (self.service.created, self.service.key.clone())
    }

    fn event(&self, note: Note) -> Action {
        let service = &self.service;
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(service.key.namespace.clone()),
            name: Some(service.key.name.clone()),
            uid: Some(service.uid.clone()),
            resource_version: Some(service.resource_version.clone()),
            field_path: None,
        };
        Action::Event { about, note }
    }
}
