//! What is decided about one Service on this node.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// What is to become of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One of these nodes announces it.
    Elect(Election),
    /// Nobody does, or it is none of ours.
    Not(Reason),
}

/// How many candidates are told apart. Where more than these die at once, whoever asks first has the address.
pub const CANDIDATES: usize = 16;

/// Who may announce a Service, and how this node would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// The addresses, in the order of the Service's status.
    pub addresses: Vec<IpAddr>,
    /// The nodes that may, the best first: at most [`CANDIDATES`], and this one where it may. Never empty.
    pub order: Vec<String>,
    /// Where this node would announce them, or why it may not.
    pub here: Result<Interfaces, Reason>,
}

/// The interfaces of a node on which an address is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Every interface that can carry it.
    All,
    /// Those of these names, as far as the node has them.
    Only(BTreeSet<String>),
}

impl Interfaces {
    /// Whether the interface of this name is one of them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// Adds the others to these.
    pub fn extend(&mut self, others: &Self) {
        match (&mut *self, others) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Only(names), Self::Only(more)) => names.extend(more.iter().cloned()),
        }
    }
}

/// Why this node does not announce a Service. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The Service does not exist.
    NoService,
    /// It is of another type.
    NotLoadBalancer,
    /// It is for another load balancer.
    OtherClass,
    /// It has no address yet.
    NoAddress,
    /// Its status has an entry that is no address.
    Unreadable(String),
    /// No pool in force has this address, or another pool than that of the first address.
    NotInPool(IpAddr),
    /// No endpoint anywhere can serve.
    NoEndpoint,
    /// It may share its address, but an advertisement (named here) picks Services by label: Services of one
    /// address could end up on different nodes.
    SharedWithServiceSelector(String),
    /// No advertisement of the pool (named here) covers this Service on this node.
    NoAdvertisement(String),
    /// No node can announce it.
    NoCandidate(Shortage),
    /// The node named here announces it.
    OtherNode(String),
}

/// Why no node is left: how many speakers each rule sorted out, in the order of the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Speakers whose node is not known.
    pub unknown: usize,
    /// Nodes whose network is unavailable.
    pub network_unavailable: usize,
    /// Nodes labelled to be left out by external load balancers.
    pub excluded: usize,
    /// Nodes that no advertisement selects.
    pub not_selected: usize,
    /// Nodes without a local endpoint, where one is needed.
    pub no_endpoint: usize,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.unknown, "on a node that does not exist any more".to_owned()),
            (self.network_unavailable, "on a node with condition NetworkUnavailable".to_owned()),
            (self.excluded, format!("on a node with the label {}", api::names::EXCLUDE_LABEL)),
            (self.not_selected, "on a node that no matching L2Advertisement selects".to_owned()),
            (
                self.no_endpoint,
                "on a node without a serving endpoint (externalTrafficPolicy is Local)".to_owned(),
            ),
        ];
        let total: usize = parts.iter().map(|(count, _)| count).sum();
        write!(f, "no node can announce it: ")?;
        if total == 0 {
            return f.write_str("there is no ready speaker");
        }
        write!(f, "of {total} ready speaker{}", if total == 1 { "" } else { "s" })?;
        for (i, (count, text)) in parts.iter().filter(|(count, _)| *count > 0).enumerate() {
            let (separator, verb) = (if i == 0 { " " } else { ", " }, if *count == 1 { "is" } else { "are" });
            write!(f, "{separator}{count} {verb} {text}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService => f.write_str("the Service does not exist"),
            Self::NotLoadBalancer => f.write_str("it is not of type LoadBalancer"),
            Self::OtherClass => f.write_str("its loadBalancerClass is that of another load balancer"),
            Self::NoAddress => f.write_str("it has no address yet"),
            Self::Unreadable(text) => write!(f, "{text:?} in its status is not an IP address"),
            Self::NotInPool(address) => write!(f, "no valid IPAddressPool contains its address {address}"),
            Self::NoEndpoint => f.write_str("no endpoint of it is ready to serve"),
            Self::SharedWithServiceSelector(name) => write!(
                f,
                "it may share its address (annotation {}), which cannot be combined with the serviceSelectors of L2Advertisement {name:?}",
                api::names::ALLOW_SHARED_IP.key
            ),
            Self::NoAdvertisement(pool) => {
                write!(f, "no L2Advertisement of IPAddressPool {pool:?} matches the Service and this node")
            }
            Self::NoCandidate(shortage) => shortage.fmt(f),
            Self::OtherNode(node) => write!(f, "node {node:?} announces it"),
        }
    }
}
