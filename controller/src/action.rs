//! What the decisions want done in the cluster.

use std::net::IpAddr;

use api::IPAddressPoolStatus;
use ipam::Usage;
use k8s_openapi::api::core::v1::ObjectReference;
use kube_ext::{EventKind, ObjectKey};

use crate::service::Service;

/// Something to do in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write a Service's status. At most one is under way for a Service: the next follows after the outcome was told.
    WriteService(StatusWrite),
    /// Write a pool's counters. At most one is under way for a pool.
    WritePool {
        /// The name of the pool.
        name: String,
        /// What to write.
        status: IPAddressPoolStatus,
    },
    /// Show what is in a pool now, or with `None` that it is not in force any more.
    Measure {
        /// The name of the pool.
        name: String,
        /// What is in it.
        measure: Option<Measure>,
    },
    /// Tell whether the configuration is valid: it was not, or was, before.
    Stand(Standing),
    /// Tell the user.
    Event {
        /// About which object.
        about: ObjectReference,
        /// What to tell.
        note: Note,
    },
}

/// What is in a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Its addresses, and those in use.
    pub usage: Usage,
    /// The Services that have addresses of it.
    pub services: u64,
}

/// What a program makes of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is valid and in force.
    Valid,
    /// It is not, for this reason; what was in force before stays, as far as it can.
    Invalid(String),
    /// It could not be read so far, for this reason.
    Unknown(String),
}

/// A change of a Service's status and of the annotations that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusWrite {
    /// Which Service.
    pub key: ObjectKey,
    /// The uid of the Service that was decided upon.
    pub uid: String,
    /// Its resource version. Any other makes this a conflict, and the decision is taken anew.
    pub resource_version: String,
    /// What its status shall say.
    pub desired: Desired,
    /// Whether the ingress entries are to be written. Where they are right already, they keep what the API server
    /// and others have added to them.
    pub ingress: bool,
}

/// What a Service's status shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The addresses; none clears the status.
    pub addresses: Vec<IpAddr>,
    /// The pool that they are from.
    pub pool: Option<String>,
    /// The pool that the Service asked for and that did not exist: see
    /// [`MISSING_POOL`](crate::service::MISSING_POOL).
    pub missing_pool: Option<String>,
}

/// What came of writing a Service's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is written, and this is the Service now.
    Done(Box<Service>),
    /// The Service is not the one that was decided upon: it has changed meanwhile.
    Conflict,
    /// The Service does not exist any more.
    Gone,
    /// It could not be written, for this reason; it is to be tried again later.
    Failed(String),
}

/// Something to tell the user about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Whether someone has to look.
    pub kind: EventKind,
    /// The reason, a word for programs.
    pub reason: &'static str,
    /// The message, a sentence for people.
    pub message: String,
}

impl Note {
    /// Something that was meant to happen.
    pub fn normal(reason: &'static str, message: String) -> Self {
        Self { kind: EventKind::Normal, reason, message }
    }

    /// Something that someone has to look at.
    pub fn warning(reason: &'static str, message: String) -> Self {
        Self { kind: EventKind::Warning, reason, message }
    }
}

impl Desired {
    /// Whether the Service shows this already.
    pub fn is_shown_by(&self, service: &Service) -> bool {
        service.status.shows(&self.addresses)
            && service.status.pool == self.pool
            && service.status.missing_pool == self.missing_pool
    }
}
