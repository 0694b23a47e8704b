//! The decision about one Service.
//!
//! In this order: what it has (from the table, else from its status), whether it may keep that, whether an address of
//! the other family can be added, and where nothing is left, what it can get.

use std::net::IpAddr;

use api::names;
use config::Config;
use ipam::{Allocation, Allocator, Error, Families, Labels, QuotedList, Request, Subject};
use net::Family;

use crate::action::{Desired, Note};
use crate::holder::Holder;
use crate::service::{Claim, FamilyPolicy, MISSING_POOL, Service};

/// What the decision about one Service can see and change.
pub(crate) struct Judge<'a> {
    pub(crate) service: &'a Service,
    /// What it claims to have where the table has nothing for it.
    pub(crate) claim: Claim,
    /// The labels of the Service's namespace.
    pub(crate) namespace: &'a Labels,
    pub(crate) config: &'a Config,
    pub(crate) allocator: &'a mut Allocator<Holder>,
    /// `--lb-class`.
    pub(crate) class: Option<&'a str>,
    /// Whether a pool has ever been in force. Until then nothing is touched.
    pub(crate) configured: bool,
}

/// What was decided about a Service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What its status shall say; `None` leaves it alone.
    pub(crate) desired: Option<Desired>,
    /// What is the matter with it as things stand.
    pub(crate) notes: Vec<Note>,
    /// What to tell once the status is written.
    pub(crate) when_written: Vec<Note>,
}

impl<'a> Judge<'a> {
    pub(crate) fn decide(mut self) -> Verdict {
        self.allocator.stop_waiting(&self.holder());
        if !self.is_ours() || (!self.service.is_load_balancer && !self.configured) {
            self.release();
            return Verdict::default();
        }
        if !self.service.is_load_balancer {
            // Only what this controller wrote is taken away.
            let had = self.release() || self.service.status.pool.is_some();
            return Verdict { desired: had.then(Desired::default), ..Verdict::default() };
        }
        if !self.configured {
            return self.unconfigured();
        }
        if self.waits_for_its_pool() {
            return Verdict::default();
        }
        let families = match self.families() {
            Ok(families) => families,
            Err(note) => {
                self.release();
                return Verdict {
                    desired: Some(Desired::default()),
                    notes: vec![note],
                    ..Verdict::default()
                };
            }
        };
        let mut verdict = Verdict::default();
        if self.keep(families, &mut verdict) {
            return verdict;
        }
        self.release();
        self.assign(families, &mut verdict);
        verdict
    }

    /// Whether the Service is of the class that this controller serves.
    fn is_ours(&self) -> bool {
        // The API server takes the class away with the type; what is left is known by our annotation.
        !self.service.is_load_balancer || self.service.class.as_deref() == self.class
    }

    /// Nothing is configured (yet): what others wrote stays, and who waits is told why.
    fn unconfigured(&self) -> Verdict {
        let mut verdict = Verdict::default();
        if self.service.status.ingress.is_empty() {
            let why = "no available IPs: no IPAddressPool is in force, create or correct one";
            verdict.notes.push(self.failed(why));
        }
        verdict
    }

    /// Whether the Service has addresses from a pool that exists but cannot be in force: they stay as they are until
    /// the pool is corrected or deleted.
    fn waits_for_its_pool(&self) -> bool {
        let left_out = |pool: &String| self.config.pools_left_out.contains(pool);
        self.held().is_none()
            && self.service.status.pool.as_ref().is_some_and(left_out)
            && matches!(&self.claim, Claim::Addresses(claimed) if claimed.iter().all(|address| self.config.pool_of(*address).is_none()))
    }

    fn families(&self) -> Result<Families, Note> {
        let service = self.service;
        let families = service.families().map_err(|error| {
            let cluster_ip = service.cluster_ips.first().map_or("", String::as_str);
            let ips = quoted(&service.cluster_ips);
            let message = format!("Failed to retrieve ClusterIPs IPFamily for {ips} {cluster_ip}: {error}");
            Note::warning("noclusterIPsIPFamily", message)
        })?;
        if service.family_policy == FamilyPolicy::Require && matches!(families, Families::One(_)) {
            let ips = quoted(&service.cluster_ips);
            let message = format!("Service requires dual stack but not enough clusterips {ips}");
            return Err(Note::warning("not enough clusterips", message));
        }
        Ok(families)
    }

    /// Whether the Service keeps what it has. If so the verdict says what that is.
    fn keep(&mut self, families: Families, verdict: &mut Verdict) -> bool {
        let current = match self.held() {
            Some(held) => held.addresses.clone(),
            None => match &self.claim {
                Claim::None => return false,
                Claim::Addresses(claimed) => claimed.clone(),
                Claim::Malformed(why) => {
                    let shown: Vec<String> = self.service.status.ingress.iter().flatten().cloned().collect();
                    let message = format!("Failed to retrieve LBIPs IPFamily for {}: {why}", quoted(&shown));
                    verdict.notes.push(Note::warning("nolbIPsIPFamily", message));
                    return false;
                }
            },
        };
        // A Service that now needs one family of two keeps the address of that one.
        let current: Vec<IpAddr> = match families {
            Families::One(family) => current.into_iter().filter(|ip| Family::of(*ip) == family).collect(),
            Families::Both { .. } => current,
        };
        if current.is_empty() {
            return false;
        }
        let adopted = self.allocator.adopt(&self.holder(), self.subject(), &current);
        let allocation = match adopted {
            Ok(allocation) => allocation.clone(),
            Err(error) => {
                let message = format!(
                    "current IP for \"{}\" not allowed by config, will attempt for new IP assignment: {error}",
                    self.service.key
                );
                verdict.notes.push(Note::normal("ClearAssignment", message));
                return false;
            }
        };
        let Ok(missing_pool) = self.stays_in(&allocation, verdict) else { return false };
        let asked = match &self.service.asked_addresses {
            Ok(asked) => asked,
            Err(why) => {
                let message = format!("invalid requested loadbalancer IPs: {why}");
                verdict.notes.push(Note::warning("LoadBalancerFailed", message));
                verdict.desired = Some(desired(allocation, missing_pool));
                return true;
            }
        };
        if !asked.is_empty() && *asked != allocation.addresses {
            return false;
        }
        if asked.is_empty() && !self.complete(families, &allocation, verdict) {
            return false;
        }
        let Some(allocation) = self.held() else { return false };
        verdict.desired = Some(desired(allocation.clone(), missing_pool));
        true
    }

    /// Whether the Service may stay in the pool that its addresses are from; with the name of the pool that it asked
    /// for in vain.
    fn stays_in(&self, allocation: &Allocation, verdict: &mut Verdict) -> Result<Option<String>, ()> {
        let Some(asked) = self.service.asked_pool.as_deref().filter(|asked| **asked != *allocation.pool)
        else {
            return Ok(None);
        };
        if !self.exists(asked) {
            verdict.notes.push(unknown_pool(asked, &allocation.pool));
        } else if self.service.status.missing_pool.as_deref() == Some(asked) {
            let message = format!(
                "pool {asked:?} exists now, but the service keeps its address from pool \"{}\"; to move it, remove \
                 the service's annotation {MISSING_POOL}",
                allocation.pool
            );
            verdict.notes.push(Note::warning(UNKNOWN_POOL, message));
        } else {
            return Err(());
        }
        Ok(Some(asked.to_owned()))
    }

    /// Adds the address that a Service with two families lacks. False where it may not stay without.
    fn complete(&mut self, families: Families, allocation: &Allocation, verdict: &mut Verdict) -> bool {
        let Families::Both { required, .. } = families else { return true };
        if allocation.addresses.len() == 2 {
            return true;
        }
        match self.allocator.extend(&self.holder(), self.subject()) {
            Ok(added) => {
                let message = format!("Assigned additional IP \"{added}\"");
                verdict.when_written.push(Note::normal("IPAllocated", message));
                true
            }
            Err(_) if required => false,
            Err(error) => {
                let message = format!("cannot assign additional IP in PreferDualStack: {error}");
                verdict.notes.push(Note::normal("AdditionalAssignFailed", message));
                self.wait_for_the_other(allocation);
                true
            }
        }
    }

    /// Gives a Service that has nothing what it asks for.
    fn assign(&mut self, families: Families, verdict: &mut Verdict) {
        verdict.desired = Some(Desired::default());
        let asked = match &self.service.asked_addresses {
            Ok(asked) => asked.as_slice(),
            Err(why) => return verdict.notes.push(self.failed(why)),
        };
        let asked_pool = self.service.asked_pool.as_deref();
        if let Some(pool) = asked_pool.filter(|pool| self.config.pools_left_out.contains(*pool)) {
            let why =
                format!("pool {pool:?} is not valid: correct it, the events of the IPAddressPool say how");
            return verdict.notes.push(self.failed(why));
        }
        let pool = asked_pool.filter(|pool| self.exists(pool));
        let request = Request { families, pool, addresses: asked };
        match self.allocator.allocate(&self.holder(), self.subject(), request) {
            Ok(allocation) => {
                let allocation = allocation.clone();
                let missing_pool = asked_pool.filter(|_| pool.is_none());
                verdict.notes.extend(missing_pool.map(|missing| unknown_pool(missing, &allocation.pool)));
                let message = format!("Assigned IP {}", QuotedList(&allocation.addresses));
                verdict.when_written.push(Note::normal("IPAllocated", message));
                for key in &self.service.deprecated {
                    let message = format!("Service uses deprecated annotation {key}");
                    verdict.when_written.push(Note::warning("deprecatedAnnotation", message));
                }
                let missing_pool = missing_pool.map(str::to_owned);
                if let Families::Both { required: false, .. } = families
                    && allocation.addresses.len() == 1
                {
                    // As good as it gets for now: reconsidered when the pool can give the other one.
                    self.wait_for_the_other(&allocation);
                }
                verdict.desired = Some(desired(allocation, missing_pool));
            }
            Err(error) => {
                verdict.notes.push(self.failed(&error));
                if !matches!(error, Error::FamilyMismatch(_) | Error::PoolMismatch { .. }) {
                    self.wait(request);
                }
            }
        }
    }

    /// Has the Service decided about again as soon as something is free that it can use.
    fn wait(&mut self, request: Request<'_>) {
        self.allocator.wait(&self.holder(), self.service.created, self.subject(), request);
    }

    /// The same, for a Service that has one address and would have another of the other family from that pool.
    fn wait_for_the_other(&mut self, allocation: &Allocation) {
        if let [address] = allocation.addresses[..] {
            let families = Families::One(Family::of(address).other());
            self.wait(Request { families, pool: Some(&allocation.pool), addresses: &[] });
        }
    }

    /// Whether a pool of this name exists, in force or not.
    fn exists(&self, pool: &str) -> bool {
        self.config.pools.contains_key(pool) || self.config.pools_left_out.contains(pool)
    }

    fn failed(&self, why: impl std::fmt::Display) -> Note {
        Note::warning(
            "AllocationFailed",
            format!("Failed to allocate IP for \"{}\": {why}", self.service.key),
        )
    }

    fn holder(&self) -> Holder {
        Holder::Service(self.service.key.clone())
    }

    fn held(&self) -> Option<&Allocation> {
        self.allocator.get(&self.holder())
    }

    fn release(&mut self) -> bool {
        self.allocator.release(&self.holder()).is_some()
    }

    fn subject(&self) -> Subject<'a> {
        Subject {
            namespace: &self.service.key.namespace,
            namespace_labels: self.namespace,
            labels: &self.service.labels,
            sharing: &self.service.sharing,
            ports: &self.service.ports,
        }
    }
}

/// The reason of Warnings about a pool that a Service asks for in vain.
const UNKNOWN_POOL: &str = "UnknownAddressPool";

fn unknown_pool(asked: &str, given: &str) -> Note {
    let message = format!(
        "service asks for pool {asked:?}, which does not exist: it has an address from pool {given:?} instead; create \
         the pool or correct the annotation {}",
        names::ADDRESS_POOL.key
    );
    Note::warning(UNKNOWN_POOL, message)
}

fn desired(allocation: Allocation, missing_pool: Option<String>) -> Desired {
    Desired { addresses: allocation.addresses, pool: Some(allocation.pool.to_string()), missing_pool }
}

/// Texts as MetalLB prints lists of them.
fn quoted(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
