//! What a user is told: facts, and what to look at next.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::config::Config;
use crate::packet::{ErrorCode, Notification};

/// Why the state of a session changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What happened.
    pub cause: Cause,
    /// The same for a user, with what to look at next.
    pub words: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Everything goes its way.
    Progress,
    /// The driver said so.
    Command,
    /// There was no connection.
    ConnectFailed,
    /// The peer closed the connection, or it broke.
    Closed,
    /// The peer sent this NOTIFICATION.
    Told(ErrorCode),
    /// We sent this NOTIFICATION.
    Said(ErrorCode),
    /// The peer restarted: a new connection took over.
    PeerRestarted,
}

impl Cause {
    /// Whether something is wrong.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Progress | Self::Command)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The peer answered that nobody listens.
    Refused,
    /// There is no way to the peer.
    Unreachable,
    /// No answer came.
    TimedOut,
    /// The address to connect from is none of this node.
    NoSource,
    /// Something else, in the system's words.
    Other(String),
}

impl Reason {
    pub(super) fn progress(words: impl Into<String>) -> Self {
        Self { cause: Cause::Progress, words: words.into() }
    }

    pub(super) fn command(words: impl Into<String>) -> Self {
        Self { cause: Cause::Command, words: words.into() }
    }

    pub(super) fn connect_failed(config: &Config, error: &ConnectError) -> Self {
        let peer = config.transport.peer;
        let words = match error {
            ConnectError::Refused => {
                format!(
                    "{peer} refuses connections: no BGP runs there, or it does not know this node as a neighbor"
                )
            }
            ConnectError::Unreachable => format!("there is no route to {peer}"),
            ConnectError::TimedOut if config.transport.password.is_some() => format!(
                "no answer from {peer}: a firewall, a wrong address, or the password is not the one that the router has"
            ),
            ConnectError::TimedOut => {
                format!("no answer from {peer}: a firewall, a wrong address, or the router wants a password")
            }
            ConnectError::NoSource => match config.transport.source {
                Some(source) => {
                    format!("{source} is no address of this node; check sourceAddress of the BGPPeer")
                }
                None => format!("this node has no address to reach {peer} from"),
            },
            ConnectError::Other(error) => format!("cannot connect to {peer}: {error}"),
        };
        Self { cause: Cause::ConnectFailed, words }
    }

    /// The peer closed the connection, or it broke. `opened` tells whether the peer's OPEN had come.
    pub(super) fn closed(peer: SocketAddr, opened: bool, error: Option<&str>) -> Self {
        let how = match error {
            Some(error) => format!("the connection to {peer} broke: {error}"),
            None => format!("{peer} closed the connection without a word"),
        };
        let words = if opened {
            how
        } else {
            format!(
                "{how}, before its OPEN; it may not know this node's address as a neighbor, or not by this AS number"
            )
        };
        Self { cause: Cause::Closed, words }
    }

    /// The peer sent a NOTIFICATION.
    pub(super) fn told(notification: &Notification, config: &Config) -> Self {
        let inner = notification.inner();
        let mut words = format!("peer says: {notification}");
        if let Some(hint) = hint(inner.error, config) {
            words.push_str(": ");
            words.push_str(&hint);
        }
        Self { cause: Cause::Told(inner.error), words }
    }

    /// We sent a NOTIFICATION, for what `why` says.
    pub(super) fn said(notification: &Notification, why: impl fmt::Display) -> Self {
        Self { cause: Cause::Said(notification.inner().error), words: why.to_string() }
    }

    pub(super) fn silent(hold_time: Duration) -> String {
        format!(
            "nothing was heard from the router for the hold time of {} s: it is down, or packets are lost",
            hold_time.as_secs()
        )
    }
}

/// What to look at where the peer gives this as its reason.
fn hint(error: ErrorCode, config: &Config) -> Option<String> {
    let local = config.local_asn();
    let field = if config.local_asn.is_some() { "localASN" } else { "myASN" };
    Some(match error {
        ErrorCode::BAD_PEER_AS => {
            format!("it expects another AS than {local}; check {field} of the BGPPeer")
        }
        ErrorCode::BAD_BGP_IDENTIFIER => {
            format!(
                "it does not accept the BGP identifier {}; check routerID of the BGPPeer",
                config.router_id
            )
        }
        ErrorCode::UNACCEPTABLE_HOLD_TIME => {
            let seconds = config.hold_time.as_secs();
            format!("it does not accept a hold time of {seconds} s; check holdTime of the BGPPeer")
        }
        ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER => {
            "it is too old for capabilities; the next attempt goes without".to_owned()
        }
        ErrorCode::UNSUPPORTED_CAPABILITY => {
            format!("it wants other capabilities than {} routes and what goes with them", config.families)
        }
        ErrorCode::HOLD_TIMER_EXPIRED => {
            "it heard nothing from this node for its hold time: the node was stalled, or packets are lost"
                .to_owned()
        }
        ErrorCode::MAXIMUM_PREFIXES => {
            "it takes fewer prefixes than are announced; raise its limit, or use aggregationLength".to_owned()
        }
        ErrorCode::ADMINISTRATIVE_SHUTDOWN => "its operator switched the session off".to_owned(),
        ErrorCode::PEER_DECONFIGURED | ErrorCode::CONNECTION_REJECTED => {
            format!("it does not know this node as a neighbor of AS {local}")
        }
        _ => return None,
    })
}
