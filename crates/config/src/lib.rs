//! The cluster's MetalLB resources as one validated configuration.
//!
//! ```text
//! BFDProfiles ─▶ BGPPeers ◀─ Secrets
//! IPAddressPools ─parse each─▶ disjoint pools ─┐
//! Communities ─▶ names ────────────────────────┼─resolve─▶ no collisions ─▶ Config ─┬─▶ controller (ipam)
//! L2Advertisements, BGPAdvertisements ─────────┘               ▲                    ├─▶ speaker (announce)
//!                                                            Nodes                  └─▶ webhooks (validate)
//! ```
//!
//! Each object stands for itself: one that is not valid is a [`Problem`], and its last good version, where there is
//! one, stays in force; everything else goes on working. The same objects give the same Config, in whatever order
//! they are listed.
#![forbid(unsafe_code)]

mod aggregation;
mod bfd;
mod bgp;
mod build;
mod community;
mod duration;
mod error;
mod index;
mod l2;
mod local_pref;
pub mod metallb;
mod peer;
mod pools;
mod selector;
mod validate;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use net::Family;

use wanted::Announcers;

pub use bfd::BfdProfile;
pub use bgp::BgpAdvertisement;
pub use build::{Resources, Secret};
pub use community::{Community, CommunityNames, ParseCommunityError};
pub use error::ConfigError;
pub use index::Index;
pub use ipam::{Labels, Pool, Requirement, Selector, ServiceAllocation, Test};
pub use l2::{L2Advertisement, NodePreference};
pub use peer::{BgpPeer, Password, PeerAsn, PeerEndpoint, Timers};
pub use selector::{SelectorError, compile_selector};
pub use validate::{Change, Object, validate};

/// Everything that is configured, valid and in force. Made by [`Config::build`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The pools, by name. No two of them have an address in common.
    pub pools: BTreeMap<String, Pool>,
    /// The Layer 2 advertisements, by name.
    pub l2_advertisements: BTreeMap<String, L2Advertisement>,
    /// The BGP advertisements, by name.
    pub bgp_advertisements: BTreeMap<String, BgpAdvertisement>,
    /// The BGP peers, by name.
    pub bgp_peers: BTreeMap<String, BgpPeer>,
    /// The BFD profiles, by name.
    pub bfd_profiles: BTreeMap<String, BfdProfile>,
    /// The Communities, by name.
    pub communities: BTreeMap<String, CommunityNames>,
    /// What is wrong, in the order in which MetalLB finds it: by kind, then by name.
    pub problems: Vec<Problem>,
    /// The IPAddressPools that exist but have no version that could be in force. Their addresses are nobody's, yet
    /// they may be in use from before: who finds one in a Service's status had better leave it alone.
    pub pools_left_out: BTreeSet<String>,
    /// First address of a range -> (its last address, the name of its pool).
    ranges: BTreeMap<IpAddr, (IpAddr, String)>,
    /// Pool -> the advertisements that announce it.
    l2_of_pool: Announcers,
    /// Pool -> the BGP advertisements that announce it.
    bgp_of_pool: Announcers,
}

/// Something wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object at fault.
    pub object: ObjectRef,
    /// What is wrong, in MetalLB's words where it has some.
    pub error: ConfigError,
    /// What is in force until this is corrected.
    pub fate: String,
    /// Whether the cause is an object that may appear later without a change to this one.
    pub transient: bool,
    /// Whether it is no more than a hint: MetalLB takes no notice of such a thing, and calls the configuration valid.
    pub hint: bool,
}

/// An object of the configuration. All of them live in MetalLB's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Its `metadata.name`.
    pub name: String,
}

/// The kinds of configuration objects, in the order in which MetalLB reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The settings of BFD sessions.
    BFDProfile,
    /// A router.
    BGPPeer,
    /// A pool of addresses.
    IPAddressPool,
    /// Names for BGP communities.
    Community,
    /// An announcement by ARP and NDP.
    L2Advertisement,
    /// An announcement by BGP.
    BGPAdvertisement,
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
        self.l2_of_pool.of(pool).into_iter().filter_map(|name| self.l2_advertisements.get(name))
    }

    /// The BGP advertisements that announce the pool of this name, by their names.
    pub fn bgp_advertisements_of(&self, pool: &str) -> impl Iterator<Item = &BgpAdvertisement> {
        self.bgp_of_pool.of(pool).into_iter().filter_map(|name| self.bgp_advertisements.get(name))
    }

    /// The BGP advertisements that announce this address, by their names, each with the prefix length of its
    /// route. Those are left out whose route would be larger than the range that the address is from.
    pub fn bgp_routes(&self, address: IpAddr) -> impl Iterator<Item = (&BgpAdvertisement, u8)> {
        let pool = self.pool_of(address);
        let range = pool.and_then(|pool| pool.ranges.iter().find(|range| range.contains(address)));
        let least = range.map_or(0, aggregation::block);
        let advertisements = pool.map(|pool| self.bgp_advertisements_of(&pool.name));
        advertisements
            .into_iter()
            .flatten()
            .map(move |advertisement| (advertisement, advertisement.aggregation(Family::of(address))))
            .filter(move |(_, length)| *length >= least)
    }

    /// The problem that MetalLB would have met first, if any; hints do not count. Its
    /// [`error`](Problem::error), after `configuration error: `, is what a ConfigurationState reports.
    pub fn first_error(&self) -> Option<&Problem> {
        self.problems.iter().find(|problem| !problem.hint)
    }

    /// MetalLB's text of the first error: what users know from `status.errorSummary` of a ConfigurationState.
    pub fn error_summary(&self) -> Option<String> {
        self.first_error().map(|problem| format!("configuration error: {}", problem.error))
    }
}

impl Problem {
    /// What is wrong, what to do about it, and what is in force until then: for events and logs.
    pub fn message(&self) -> String {
        format!("{}; {}", self.error.explained(), self.fate)
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
            Self::BFDProfile => "BFDProfile",
            Self::BGPPeer => "BGPPeer",
            Self::IPAddressPool => "IPAddressPool",
            Self::Community => "Community",
            Self::L2Advertisement => "L2Advertisement",
            Self::BGPAdvertisement => "BGPAdvertisement",
        })
    }
}
