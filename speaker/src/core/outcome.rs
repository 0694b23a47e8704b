//! What a decision comes to on this node's interfaces.

use announce::{Announcement, Decision, Interfaces, Reason, ServiceKey};
use tracing::{debug, info, warn};

use super::lan::Lan;

/// What becomes of a Service on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is announced.
    Announced {
        announcement: Announcement,
        /// The interfaces by name, as the status object names them; none stands for all.
        interfaces: Vec<String>,
    },
    /// It would be, but none of the interfaces asked for can do it.
    Hindered {
        /// For each address, what is wrong.
        messages: Vec<String>,
    },
    /// It is not.
    Not(Reason),
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Not(Reason::NoService)
    }
}

impl Outcome {
    /// What the decision comes to with these interfaces.
    pub(crate) fn of(decision: Decision, lan: &Lan, node: &str) -> Self {
        let announcement = match decision {
            Decision::Not(reason) => return Self::Not(reason),
            Decision::Announce(announcement) => announcement,
        };
        let names = match &announcement.interfaces {
            Interfaces::All if lan.any_usable() => {
                return Self::Announced { announcement, interfaces: Vec::new() };
            }
            Interfaces::All => {
                let message = |address| {
                    format!(
                        "no interface of assigned node {node:?} can announce LB IP \"{address}\" with protocol \"layer2\": {}",
                        lan.hindrances().join(", ")
                    )
                };
                return Self::Hindered { messages: announcement.addresses.iter().map(message).collect() };
            }
            Interfaces::Only(names) => names,
        };
        let interfaces: Vec<String> = names.iter().filter(|name| lan.usable(name)).cloned().collect();
        if !interfaces.is_empty() {
            return Self::Announced { announcement, interfaces };
        }
        let hindrances: Vec<String> = names.iter().filter_map(|name| lan.hindrance(name)).collect();
        let message = |address| {
            if hindrances.is_empty() {
                format!(
                    "the interfaces specified by LB IP \"{address}\" doesn't exist in assigned node {node:?} with protocol \"layer2\""
                )
            } else {
                format!(
                    "the interfaces specified by LB IP \"{address}\" cannot announce it on assigned node {node:?} with protocol \"layer2\": {}",
                    hindrances.join(", ")
                )
            }
        };
        Self::Hindered { messages: announcement.addresses.iter().map(message).collect() }
    }

    /// What is announced, where something is.
    pub(crate) fn announcement(&self) -> Option<&Announcement> {
        match self {
            Self::Announced { announcement, .. } => Some(announcement),
            Self::Hindered { .. } | Self::Not(_) => None,
        }
    }

    /// Says in the log what changed.
    pub(crate) fn log(&self, service: &ServiceKey, before: Option<&Self>) {
        match self {
            Self::Announced { announcement, interfaces } => {
                let addresses: Vec<String> = announcement.addresses.iter().map(ToString::to_string).collect();
                let interfaces = if interfaces.is_empty() { "all".to_owned() } else { interfaces.join(",") };
                info!(%service, addresses = addresses.join(","), interfaces, "announcing");
            }
            Self::Hindered { messages } => {
                for message in messages {
                    warn!(%service, "{message}");
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
