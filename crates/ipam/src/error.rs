//! Why a Service does not get addresses, in the words that users know from MetalLB's events.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use crate::request::{Families, Port};

/// Why a Service does not get, or may not keep, addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// No pool has the address, or no one pool has both.
    #[error("{} is not allowed in config", Quoted(.0))]
    NotAllowed(Vec<IpAddr>),
    /// A Service has one address, or one of each family.
    #[error("{} cannot be held by one service: it has one address, or one of each family", QuotedList(.0))]
    NotASet(Vec<IpAddr>),
    /// No pool of this name is in force.
    #[error("unknown pool {0:?}")]
    UnknownPool(String),
    /// The pool's rules about namespaces and Services exclude this one.
    #[error("pool {0} not compatible for ip assignment")]
    Incompatible(String),
    /// No pool that may be used without being asked for has a free address.
    #[error("no available IPs")]
    Exhausted,
    /// The requested pool has no free address.
    #[error("no available IPs in pool {0}")]
    PoolExhausted(String),
    /// The requested pool has no free addresses of the families that the Service needs.
    #[error("no available IPs in pool {0} for {1} IPFamily")]
    PoolLacksFamily(String, Families),
    /// The address is in use by Services that do not share it with this one.
    #[error("can't change sharing key for {service:?}, address also in use by {}", .others.join(","))]
    SharingKey {
        /// The Service that asks.
        service: String,
        /// The Services that use the address.
        others: Vec<String>,
    },
    /// Two Services that share an address cannot have a port in common.
    #[error("port {port} is already in use on \"{address}\"")]
    PortInUse {
        /// The port that both have.
        port: Port,
        /// The address.
        address: IpAddr,
    },
    /// The requested addresses are of other families than the Service.
    #[error("requested loadBalancer IP(s) {} does not match the ipFamily of the service", QuotedList(.0))]
    FamilyMismatch(Vec<IpAddr>),
    /// The requested addresses are not those of the requested pool.
    #[error("requested loadBalancer IP(s) {} is not compatible with requested address pool {pool}", QuotedList(.addresses))]
    PoolMismatch {
        /// The requested addresses.
        addresses: Vec<IpAddr>,
        /// The requested pool.
        pool: String,
    },
    /// There is not exactly one address to add another to.
    #[error("the service does not hold exactly one address, so there is none of the other family to add")]
    NothingToExtend,
}

/// Addresses as MetalLB's texts have them in lists: `["192.0.2.1" "2001:db8::1"]`.
pub struct QuotedList<'a>(pub &'a [IpAddr]);

impl fmt::Display for QuotedList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (place, address) in self.0.iter().enumerate() {
            write!(f, "{}\"{address}\"", if place == 0 { "" } else { " " })?;
        }
        f.write_str("]")
    }
}

/// One address in quotes, anything else as a list.
struct Quoted<'a>(&'a [IpAddr]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [address] => write!(f, "\"{address}\""),
            list => QuotedList(list).fmt(f),
        }
    }
}
