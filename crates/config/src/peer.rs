//! BGP peers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use api::DynamicAsn;
use ipam::{Labels, Selector};

use crate::Secret;
use crate::bfd::BfdProfile;
use crate::duration;
use crate::error::ConfigError;
use crate::selector::compile_list;

/// A validated BGPPeer: a router, and how the sessions with it are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    /// The name of the BGPPeer.
    pub name: String,
    /// The AS number of the speakers, not 0.
    pub my_asn: u32,
    /// Which AS the router may be of.
    pub peer_asn: PeerAsn,
    /// An AS number to show to this router instead of `my_asn`.
    pub local_asn: Option<u32>,
    /// Where the router is.
    pub endpoint: PeerEndpoint,
    /// The address of the node that sessions are made from.
    pub source_address: Option<IpAddr>,
    /// The TCP port of the router.
    pub port: u16,
    /// Hold time and keepalive interval; `None` is the default of the BGP engine.
    pub timers: Option<Timers>,
    /// The time between attempts to connect, in whole seconds; `None` is the default of the BGP engine.
    pub connect_time: Option<Duration>,
    /// The BGP identifier, as it was written.
    pub router_id: Option<IpAddr>,
    /// The nodes that keep a session: one selector must match; none stands for every node. See
    /// [`matches_node`](Self::matches_node).
    pub node_selectors: Vec<Selector>,
    /// Where the password of the sessions (TCP MD5, RFC 2385) is.
    pub password: Password,
    /// The BFD session that guards the BGP session.
    pub bfd: Option<BfdProfile>,
    /// Whether the router shall go on using routes while the speaker restarts (RFC 4724).
    pub graceful_restart: bool,
    /// Whether the router may be more than one hop away.
    pub ebgp_multi_hop: bool,
    /// The VRF in which the router is.
    pub vrf: Option<String>,
    /// Whether IPv4 and IPv6 routes are both sent, whatever the family of the session.
    pub dual_stack: bool,
}

/// Which AS a router may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAsn {
    /// This one, not 0.
    Number(u32),
    /// The speakers' own, whichever the router says that is.
    Internal,
    /// Any but the speakers' own.
    External,
}

/// Where a router is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEndpoint {
    /// At this address.
    Address(IpAddr),
    /// On the link behind this interface, at a link-local address to be found (unnumbered BGP).
    Interface(String),
}

/// The timers of a session (RFC 4271 §10). Where the user gave only one of the two, the other follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The hold time to propose, in whole seconds: 0, or at least 3 s.
    pub hold: Duration,
    /// The time between keepalives, at most the hold time.
    pub keepalive: Duration,
}

/// Where the password of a peer is. Its `Debug` form does not show one.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    #[default]
    None,
    /// Here it is.
    Text(String),
    /// Under the key `password` of the Secret of this name, in MetalLB's namespace.
    Secret(String),
}

impl BgpPeer {
    /// Whether a node with these labels keeps a session with the router.
    pub fn matches_node(&self, labels: &Labels) -> bool {
        self.node_selectors.is_empty() || self.node_selectors.iter().any(|selector| selector.matches(labels))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Secret(name) => f.debug_tuple("Secret").field(name).finish(),
        }
    }
}

impl fmt::Display for PeerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// What the peers refer to.
pub(crate) struct References<'a> {
    pub(crate) secrets: BTreeMap<&'a str, &'a Secret>,
    pub(crate) profiles: &'a BTreeMap<String, BfdProfile>,
}

/// Reads one BGPPeer.
pub(crate) fn parse(object: &api::BGPPeer, references: &References<'_>) -> Result<BgpPeer, ConfigError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let spec = &object.spec;
    let mut peer = parse_spec(object, &name, references)
        .map_err(|source| ConfigError::Peer { peer: name.clone(), source: Box::new(source) })?;
    if let Some(profile) = spec.bfd_profile.as_ref().filter(|profile| !profile.is_empty()) {
        let found = references.profiles.get(profile);
        let missing = || ConfigError::NoBfdProfile { peer: name, profile: profile.clone() };
        peer.bfd = Some(found.ok_or_else(missing)?.clone());
    }
    Ok(peer)
}

fn parse_spec(
    object: &api::BGPPeer,
    name: &str,
    references: &References<'_>,
) -> Result<BgpPeer, ConfigError> {
    let spec = &object.spec;
    let my_asn = asn("myASN", Some(spec.my_asn))?.ok_or(ConfigError::MissingLocalAsn)?;
    let peer_asn = match (asn("peerASN", spec.peer_asn)?, spec.dynamic_asn) {
        (None, None) => return Err(ConfigError::MissingPeerAsn),
        (Some(_), Some(_)) => return Err(ConfigError::BothPeerAsns),
        (Some(number), None) => PeerAsn::Number(number),
        (None, Some(DynamicAsn::Internal)) => PeerAsn::Internal,
        (None, Some(DynamicAsn::External)) => PeerAsn::External,
    };
    let ebgp_multi_hop = spec.ebgp_multi_hop.unwrap_or(false);
    if ebgp_multi_hop && peer_asn == PeerAsn::Number(my_asn) {
        return Err(ConfigError::MultiHopOfIbgp);
    }
    let (address, interface) = (given(spec.peer_address.as_ref()), given(spec.interface.as_ref()));
    if address.is_none() && interface.is_none() {
        return Err(ConfigError::NoEndpoint);
    }
    if address.is_some() && interface.is_some() {
        return Err(ConfigError::BothEndpoints);
    }
    let timers = parse_timers(spec)?;
    let address = parse_address(address, ConfigError::PeerAddress)?;
    let endpoint = match (address, interface) {
        (Some(address), _) => PeerEndpoint::Address(address),
        (None, interface) => PeerEndpoint::Interface(interface.unwrap_or_default().to_owned()),
    };
    let router_id = parse_address(given(spec.router_id.as_ref()), ConfigError::RouterId)?;
    let source_address = parse_address(given(spec.source_address.as_ref()), ConfigError::SourceAddress)?;
    let node_selectors =
        compile_list("nodeSelectors", &spec.node_selectors).map_err(|error| match error {
            ConfigError::Selector { source, .. } => {
                ConfigError::PeerSelector { peer: name.to_owned(), source }
            }
            other => other,
        })?;
    let port = match spec.peer_port.unwrap_or(179) {
        // What v1beta1 has for none.
        0 => 179,
        port => u16::try_from(port).map_err(|_| ConfigError::Port(port))?,
    };
    Ok(BgpPeer {
        name: name.to_owned(),
        my_asn,
        peer_asn,
        local_asn: asn("localASN", spec.local_asn)?,
        endpoint,
        source_address,
        port,
        timers,
        connect_time: parse_connect_time(spec)?,
        router_id,
        node_selectors,
        // Last, as a Secret that does not exist may hide no other mistake.
        password: parse_password(object, name, references)?,
        bfd: None,
        graceful_restart: spec.enable_graceful_restart.unwrap_or(false),
        ebgp_multi_hop,
        vrf: given(spec.vrf.as_ref()).map(str::to_owned),
        dual_stack: spec.dual_stack_address_family.unwrap_or(false),
    })
}

/// What is given: an empty text is as good as none.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// An AS number; 0 is as good as none.
fn asn(field: &'static str, value: Option<i64>) -> Result<Option<u32>, ConfigError> {
    let Some(value) = value.filter(|value| *value != 0) else { return Ok(None) };
    u32::try_from(value).map(Some).map_err(|_| ConfigError::Asn { field, value })
}

fn parse_address(
    text: Option<&str>,
    error: impl Fn(String) -> ConfigError,
) -> Result<Option<IpAddr>, ConfigError> {
    text.map(|text| text.parse().map_err(|_| error(text.to_owned()))).transpose()
}

fn parse_duration(field: &'static str, text: Option<&String>) -> Result<Option<Duration>, ConfigError> {
    let read = |text: &String| {
        duration::parse(text).ok_or_else(|| ConfigError::Duration { field, value: text.clone() })
    };
    text.map(read).transpose()
}

fn parse_timers(spec: &api::BGPPeerSpec) -> Result<Option<Timers>, ConfigError> {
    let hold = parse_duration("hold time", spec.hold_time.as_ref())?;
    let keepalive = parse_duration("keepaliveTime", spec.keepalive_time.as_ref())?;
    let (hold, keepalive) = match (hold, keepalive) {
        (None, None) => return Ok(None),
        (Some(hold), None) => (hold, hold / 3),
        (None, Some(keepalive)) => (keepalive.saturating_mul(3), keepalive),
        (Some(hold), Some(keepalive)) => (hold, keepalive),
    };
    let whole = Duration::from_secs(hold.as_secs());
    if !whole.is_zero() && whole < Duration::from_secs(3) {
        return Err(ConfigError::HoldTime(duration::show(hold)));
    }
    if keepalive > hold {
        return Err(ConfigError::KeepaliveTime {
            keepalive: duration::show(keepalive),
            hold: duration::show(hold),
        });
    }
    Ok(Some(Timers { hold: whole, keepalive: keepalive.min(whole) }))
}

fn parse_connect_time(spec: &api::BGPPeerSpec) -> Result<Option<Duration>, ConfigError> {
    let time = parse_duration("connect time", spec.connect_time.as_ref())?;
    match time {
        Some(time) if !(1..=65_535).contains(&time.as_secs()) => Err(ConfigError::ConnectTime),
        Some(time) if time.subsec_nanos() != 0 => Err(ConfigError::ConnectTimeFraction),
        time => Ok(time),
    }
}

fn parse_password(
    object: &api::BGPPeer,
    name: &str,
    references: &References<'_>,
) -> Result<Password, ConfigError> {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let reference = object.spec.password_secret.as_ref();
    let (text, reference) = (
        given(object.spec.password.as_ref()),
        given(reference.and_then(|reference| reference.name.as_ref())),
    );
    let peer = name.to_owned();
    let Some(reference) = reference else {
        return Ok(text.map_or(Password::None, |text| Password::Text(text.to_owned())));
    };
    if text.is_some() {
        return Err(ConfigError::BothPasswords { namespace, peer });
    }
    let Some(secret) = references.secrets.get(reference) else {
        return Err(ConfigError::NoSecret { namespace, peer, secret: reference.to_owned() });
    };
    let (namespace, name) = (secret.namespace.clone(), secret.name.clone());
    if secret.kind != "kubernetes.io/basic-auth" {
        return Err(ConfigError::SecretType { namespace, secret: name, peer });
    }
    if !secret.has_password {
        return Err(ConfigError::NoPassword { namespace, secret: name, peer });
    }
    Ok(Password::Secret(name))
}
