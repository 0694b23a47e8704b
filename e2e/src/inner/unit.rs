//! What runs on a host: programs, and what each waits for before it starts.

use std::{net::SocketAddr, path::PathBuf};

/// A program of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its name in `status`, `logs` and the control verbs.
    pub(crate) name: String,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// It starts when all of these hold.
    pub(crate) after: Vec<Condition>,
    /// Whether it is meant to end.
    pub(crate) kind: Kind,
}

/// What the end of a program means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It should not have ended.
    Daemon,
    /// Success is its purpose.
    Once,
    /// Success is its purpose; until then it is run again.
    Patient,
}

/// Something that a program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// A TCP connection is accepted there.
    Listens(SocketAddr),
    /// The path exists.
    Exists(PathBuf),
    /// The unit of that name, which is meant to end, has ended well.
    Done(String),
}

impl Unit {
    /// A program that runs for the life of its host.
    pub(crate) fn daemon(name: &str, argv: Vec<String>, after: Vec<Condition>) -> Self {
        Self { name: name.to_owned(), argv, after, kind: Kind::Daemon }
    }

    /// A program that does one thing and ends.
    pub(crate) fn once(name: &str, argv: Vec<String>, after: Vec<Condition>) -> Self {
        Self { name: name.to_owned(), argv, after, kind: Kind::Once }
    }

    /// A program that is run again until it succeeds.
    pub(crate) fn patient(name: &str, argv: Vec<String>, after: Vec<Condition>) -> Self {
        Self { name: name.to_owned(), argv, after, kind: Kind::Patient }
    }
}
