//! The cluster's MetalLB resources as one validated configuration.
//!
//! ```text
//! IPAddressPools, L2Advertisements ──parse each──▶ disjoint pools ──resolve──▶ Config ─┬─▶ controller (ipam)
//!              the Config in force so far ────────────▲                               └─▶ speaker (announce)
//! ```
//!
//! Each object stands for itself: one that is not valid is a [`Problem`], and its last good version, where there is
//! one, stays in force; everything else goes on working. The same objects give the same Config, in whatever order
//! they are listed.
#![forbid(unsafe_code)]

mod build;
mod error;
mod l2;
mod pools;
mod selector;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

pub use build::Resources;
pub use error::ConfigError;
pub use ipam::{Labels, Pool, Requirement, Selector, ServiceAllocation, Test};
pub use l2::{L2Advertisement, NodePreference};
pub use selector::{SelectorError, compile_selector};

/// Everything that is configured, valid and in force. Made by [`Config::build`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The pools, by name. No two of them have an address in common.
    pub pools: BTreeMap<String, Pool>,
    /// The Layer 2 advertisements, by name.
    pub l2_advertisements: BTreeMap<String, L2Advertisement>,
    /// What is wrong, sorted by kind, name and message.
    pub problems: Vec<Problem>,
    /// The IPAddressPools that exist but have no version that could be in force. Their addresses are nobody's, yet
    /// they may be in use from before: who finds one in a Service's status had better leave it alone.
    pub pools_left_out: BTreeSet<String>,
    /// First address of a range -> (its last address, the name of its pool).
    ranges: BTreeMap<IpAddr, (IpAddr, String)>,
    /// Pool -> the advertisements that announce it.
    l2_of_pool: BTreeMap<String, BTreeSet<String>>,
}

/// Something wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object at fault.
    pub object: ObjectRef,
    /// What is wrong and what to do about it, for the user.
    pub message: String,
    /// Whether the cause is an object that may appear later without a change to this one. The object is in force
    /// as far as possible.
    pub transient: bool,
}

/// An object of the configuration. All of them live in MetalLB's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Its `metadata.name`.
    pub name: String,
}

/// The kinds of configuration objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pool of addresses.
    IPAddressPool,
    /// An announcement by ARP and NDP.
    L2Advertisement,
}

impl Config {
    /// The pool whose address this is, in O(log n) of the number of ranges. `None` also for an address that its
    /// pool leaves out by `avoidBuggyIPs`.
    pub fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        let (_, (last, name)) = self.ranges.range(..=address).next_back()?;
        // IPv4 sorts before IPv6: a range of the other family ends before the address begins.
        let pool = self.pools.get(name).filter(|_| address <= *last)?;
        (!(pool.avoid_buggy_ips && ipam::is_buggy(address))).then_some(pool)
    }

    /// The Layer 2 advertisements that announce the pool of this name, by their names.
    pub fn l2_advertisements_of(&self, pool: &str) -> impl Iterator<Item = &L2Advertisement> {
        self.l2_of_pool.get(pool).into_iter().flatten().filter_map(|name| self.l2_advertisements.get(name))
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IPAddressPool => "IPAddressPool",
            Self::L2Advertisement => "L2Advertisement",
        })
    }
}
