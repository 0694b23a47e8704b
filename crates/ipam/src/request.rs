//! What a Service brings to the allocator.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use net::Family;

use crate::labels::Labels;

/// What pools and the rules of sharing look at in a Service.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The labels of its namespace.
    pub namespace_labels: &'a Labels,
    /// Its own labels.
    pub labels: &'a Labels,
    /// With whom it would share an address.
    pub sharing: &'a Sharing,
    /// The ports that it listens on.
    pub ports: &'a BTreeSet<Port>,
}

/// With whom a Service would share an address: two Services may when both have a key, the keys and the backends are
/// equal, and no port is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharing {
    /// The key; `None` shares with nobody.
    pub key: Option<String>,
    /// What stands behind the Service, in so far as the announcing node must have it: the Pod selector in a
    /// canonical form where only local endpoints are used, else empty.
    pub backend: String,
}

/// A port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

/// The protocols of a Service's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What a Service that has no addresses asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The families it needs.
    pub families: Families,
    /// The pool it asks for by name.
    pub pool: Option<&'a str>,
    /// The addresses it asks for; empty is any.
    pub addresses: &'a [IpAddr],
}

/// The address families that a Service needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Families {
    /// One address of one family.
    One(Family),
    /// One of each.
    Both {
        /// The family that counts where only one can be had.
        primary: Family,
        /// Whether only both will do.
        required: bool,
    },
}

impl Families {
    /// Whether these addresses are all that the Service needs.
    pub fn are_all_of(self, addresses: &[IpAddr]) -> bool {
        match (self, addresses) {
            (Self::One(family), [address]) => Family::of(*address) == family,
            (Self::Both { .. }, [a, b]) => Family::of(*a) != Family::of(*b),
            _ => false,
        }
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(Family::V4) => "ipv4",
            Self::One(Family::V6) => "ipv6",
            Self::Both { .. } => "dual",
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.number)
    }
}
