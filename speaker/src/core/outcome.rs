//! What a decision comes to on this node's interfaces.

use std::net::IpAddr;

use announce::{Claim, Decision, Election, Interfaces, Reason, ServiceKey};
use tracing::{debug, info, warn};

use super::lan::Lan;

/// What becomes of a Service on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is announced.
    Announced {
        /// The addresses that this node holds, in the order of the Service's status.
        addresses: Vec<IpAddr>,
        /// The interfaces by name, as the status object names them; none stands for all.
        interfaces: Vec<String>,
    },
    /// It would be, but none of the interfaces asked for can do it.
    Hindered {
        /// For each address, what is wrong.
        messages: Vec<String>,
    },
    /// This node may announce it and does not hold its addresses; who does, where that is known.
    Standby(Option<String>),
    /// It is not.
    Not(Reason),
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Not(Reason::NoService)
    }
}

/// What a decision comes to with the interfaces that there are and the addresses held.
pub(crate) struct Upshot {
    pub(crate) claim: Option<Claim>,
    pub(crate) outcome: Outcome,
}

impl Upshot {
    /// What the decision comes to. `held` tells whether this node holds an address, `holder` who else does.
    pub(crate) fn of(
        decision: Decision,
        lan: &Lan,
        node: &str,
        held: impl Fn(IpAddr) -> bool,
        holder: impl Fn(IpAddr) -> Option<String>,
    ) -> Self {
        let Election { addresses, mut order, here } = match decision {
            Decision::Not(reason) => return Self { claim: None, outcome: Outcome::Not(reason) },
            Decision::Elect(election) => election,
        };
        let claim = |order: Vec<String>, here| {
            (!order.is_empty()).then(|| Claim { addresses: addresses.clone(), order, here })
        };
        let interfaces = match here {
            Ok(interfaces) => interfaces,
            Err(reason) => return Self { claim: claim(order, None), outcome: Outcome::Not(reason) },
        };
        let others = |address: &IpAddr| holder(*address).filter(|other| other != node);
        let usable = match usable(&interfaces, lan) {
            Ok(usable) => usable,
            Err(hindrance) => {
                let first = order.first().is_some_and(|best| best == node);
                order.retain(|other| other != node);
                let outcome = if first {
                    let message = |address: &IpAddr| hindrance.message(*address, node);
                    Outcome::Hindered { messages: addresses.iter().map(message).collect() }
                } else {
                    Outcome::Standby(addresses.first().and_then(others))
                };
                return Self { claim: claim(order, None), outcome };
            }
        };
        let mine: Vec<IpAddr> = addresses.iter().copied().filter(|&address| held(address)).collect();
        let outcome = if mine.is_empty() {
            Outcome::Standby(addresses.first().and_then(others))
        } else {
            Outcome::Announced { addresses: mine, interfaces: usable }
        };
        Self { claim: claim(order, Some(interfaces)), outcome }
    }
}

/// Why none of the interfaces asked for can announce.
enum Hindrance {
    /// The node has none at all that can, each for its reason.
    NoInterface(String),
    /// The node has none of those that were named.
    Absent,
    /// It has, and they cannot, each for its reason.
    Unfit(String),
}

impl Hindrance {
    fn message(&self, address: IpAddr, node: &str) -> String {
        match self {
            Self::NoInterface(reasons) => format!(
                "no interface of assigned node {node:?} can announce LB IP \"{address}\" with protocol \"layer2\": {reasons}"
            ),
            Self::Absent => format!(
                "the interfaces specified by LB IP \"{address}\" doesn't exist in assigned node {node:?} with protocol \"layer2\""
            ),
            Self::Unfit(reasons) => format!(
                "the interfaces specified by LB IP \"{address}\" cannot announce it on assigned node {node:?} with protocol \"layer2\": {reasons}"
            ),
        }
    }
}

/// The interfaces by name that can announce, none standing for all.
fn usable(interfaces: &Interfaces, lan: &Lan) -> Result<Vec<String>, Hindrance> {
    let names = match interfaces {
        Interfaces::All if lan.any_usable() => return Ok(Vec::new()),
        Interfaces::All => return Err(Hindrance::NoInterface(lan.hindrances().join(", "))),
        Interfaces::Only(names) => names,
    };
    let usable: Vec<String> = names.iter().filter(|name| lan.usable(name)).cloned().collect();
    if !usable.is_empty() {
        return Ok(usable);
    }
    let hindrances: Vec<String> = names.iter().filter_map(|name| lan.hindrance(name)).collect();
    Err(if hindrances.is_empty() { Hindrance::Absent } else { Hindrance::Unfit(hindrances.join(", ")) })
}

impl Outcome {
    /// The addresses that are announced.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Announced { addresses, .. } => addresses,
            Self::Hindered { .. } | Self::Standby(_) | Self::Not(_) => &[],
        }
    }

    /// Says in the log what changed.
    pub(crate) fn log(&self, service: &ServiceKey, before: Option<&Self>) {
        match self {
            Self::Announced { addresses, interfaces } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let interfaces = if interfaces.is_empty() { "all".to_owned() } else { interfaces.join(",") };
                info!(%service, addresses = addresses.join(","), interfaces, "announcing");
            }
            Self::Hindered { messages } => {
                for message in messages {
                    warn!(%service, "{message}");
                }
            }
            Self::Standby(holder) => {
                let holder = holder.as_deref().unwrap_or("nobody yet");
                if matches!(before, Some(Self::Announced { .. })) {
                    info!(%service, holder, "not announcing any more: the addresses are another node's");
                } else {
                    debug!(%service, holder, "standing by");
                }
            }
            Self::Not(reason) if matches!(before, Some(Self::Announced { .. })) => {
                info!(%service, "not announcing any more: {reason}");
            }
            Self::Not(reason) => match reason {
                Reason::NoService | Reason::NotLoadBalancer | Reason::OtherClass | Reason::NoAddress => {}
                Reason::OtherNode(_) => debug!(%service, "not announcing: {reason}"),
                _ => info!(%service, "not announcing: {reason}"),
            },
        }
    }
}
