//! From a BGPPeer to what a session is to be on this node.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bgp::packet::Families;
use bgp::session::{
    self, DEFAULT_CONNECT_TIME, DEFAULT_HOLD_TIME, DEFAULT_KEEPALIVE_TIME, DEFAULT_RESTART_TIME, Opening,
    RestartConfig, Transport, Ttl, router_id,
};
use config::{BgpPeer, Password, PeerAsn, PeerEndpoint};
use sockets::MAX_KEY;

/// The time to live towards a router of another AS that may be several hops away, as FRR has it.
const MULTI_HOP_TTL: u8 = 255;

/// The password in a Secret. Shown to nobody: not even its `Debug` form has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(String);

impl Passphrase {
    /// The password of these bytes; `None` where they are no text.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        String::from_utf8(bytes).ok().map(Self)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// A Secret of MetalLB's namespace: what the configuration needs of it, and the password, where it is of the type that
/// BGPPeers may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretView {
    /// What the configuration needs.
    pub secret: config::Secret,
    /// Its password, where it is text.
    pub password: Option<Passphrase>,
}

impl From<config::Secret> for SecretView {
    fn from(secret: config::Secret) -> Self {
        Self { secret, password: None }
    }
}

/// What of this node decides how its sessions are.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The address that the kubelet gives it, where that is of IPv4: the BGP identifier unless another is given.
    pub address: Option<Ipv4Addr>,
    /// Whether routes are to outlive NOTIFICATIONs where they outlive restarts (RFC 8538).
    pub notification_restart: bool,
    /// Whether routers may connect to this node, too.
    pub listens: bool,
    /// How long routers have to take other ways before this node, being drained, withdraws its routes; not less than
    /// [`LEAST_DRAIN_TIME`](super::LEAST_DRAIN_TIME).
    pub drain_time: Duration,
}

/// What a BGPPeer comes to on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// A session.
    Session {
        /// What it is to be.
        config: Box<session::Config>,
        /// What the BGPPeer asks for that has no effect, in words.
        hints: Vec<String>,
    },
    /// No session, for this reason.
    Refused(String),
}

/// What the session with the peer is to be. `passwords` are those of Secrets, by name.
pub(super) fn setup(peer: &BgpPeer, passwords: &BTreeMap<String, Passphrase>, node: &NodeFacts) -> Setup {
    match config(peer, passwords, node) {
        Ok(config) => Setup::Session { config: Box::new(config), hints: hints(peer) },
        Err(reason) => Setup::Refused(reason),
    }
}

fn config(
    peer: &BgpPeer,
    passwords: &BTreeMap<String, Passphrase>,
    node: &NodeFacts,
) -> Result<session::Config, String> {
    let address = match &peer.endpoint {
        PeerEndpoint::Address(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
            return Err(format!(
                "peerAddress {v6} is only known on one link: give an address that is known on all"
            ));
        }
        PeerEndpoint::Address(address) => *address,
        PeerEndpoint::Interface(name) => {
            return Err(format!(
                "sessions over an interface without addresses (interface {name:?}) are not supported yet: use peerAddress"
            ));
        }
    };
    if let Some(vrf) = &peer.vrf {
        // Outside its VRF the same address may be another router.
        return Err(format!("sessions in a VRF (vrf {vrf:?}) are not supported yet"));
    }
    let families = match (peer.dual_stack, address) {
        (true, _) => Families::BOTH,
        (false, IpAddr::V4(_)) => Families { v4: true, v6: false },
        (false, IpAddr::V6(_)) => Families { v4: false, v6: true },
    };
    Ok(session::Config {
        my_asn: peer.my_asn,
        local_asn: peer.local_asn,
        peer_asn: match peer.peer_asn {
            PeerAsn::Number(number) => session::PeerAsn::Number(number),
            PeerAsn::Internal => session::PeerAsn::Internal,
            PeerAsn::External => session::PeerAsn::External,
        },
        router_id: router_id(peer.router_id, node.address, &node.name),
        families,
        hold_time: peer.timers.map_or(DEFAULT_HOLD_TIME, |timers| timers.hold),
        keepalive_time: peer.timers.map_or(DEFAULT_KEEPALIVE_TIME, |timers| timers.keepalive),
        connect_time: peer.connect_time.unwrap_or(DEFAULT_CONNECT_TIME),
        opening: if node.listens { Opening::Both } else { Opening::Active },
        graceful_restart: peer
            .graceful_restart
            .then_some(RestartConfig { time: DEFAULT_RESTART_TIME, notification: node.notification_restart }),
        transport: Transport {
            peer: SocketAddr::new(address, peer.port),
            source: peer.source_address,
            password: password(peer, passwords)?,
            ttl: ttl(peer),
            device: None,
        },
    })
}

/// The key of signatures.
fn password(peer: &BgpPeer, passwords: &BTreeMap<String, Passphrase>) -> Result<Option<String>, String> {
    let (password, source) = match &peer.password {
        Password::None => return Ok(None),
        Password::Text(text) => (text.clone(), "password".to_owned()),
        Password::Secret(name) => {
            let Some(Passphrase(text)) = passwords.get(name) else {
                return Err(format!("the password in Secret {name:?} is no text of UTF-8"));
            };
            (text.clone(), format!("the password in Secret {name:?}"))
        }
    };
    match password.len() {
        0 => Ok(None),
        length if length > MAX_KEY => {
            Err(format!("{source} has {length} bytes: TCP MD5 signatures take at most {MAX_KEY}"))
        }
        _ => Ok(Some(password)),
    }
}

/// A router of another AS has to be on the link unless the user says otherwise.
fn ttl(peer: &BgpPeer) -> Ttl {
    let ours = peer.local_asn.unwrap_or(peer.my_asn);
    match peer.peer_asn {
        PeerAsn::Internal => Ttl::System,
        PeerAsn::Number(number) if number == ours => Ttl::System,
        PeerAsn::Number(_) | PeerAsn::External if peer.ebgp_multi_hop => Ttl::Hops(MULTI_HOP_TTL),
        PeerAsn::Number(_) | PeerAsn::External => Ttl::Hops(1),
    }
}

fn hints(peer: &BgpPeer) -> Vec<String> {
    let mut hints = Vec::new();
    if peer.bfd.is_some() {
        // As while a BFD session is down that never was up (RFC 5882 §4.2): the hold timer guards alone.
        hints.push("bfdProfile has no effect yet: a dead router is noticed by the hold time only".to_owned());
    }
    if matches!(peer.router_id, Some(IpAddr::V6(_))) {
        hints.push(
            "routerID is an IPv6 address, which no BGP identifier can be: that of the node is used"
                .to_owned(),
        );
    }
    hints
}

/// Notes where routers cannot be told apart by their address when they connect to this node.
pub(super) fn note_ambiguous(setups: &mut BTreeMap<String, Setup>) {
    let mut names: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for (name, setup) in setups.iter() {
        if let Setup::Session { config, .. } = setup {
            names.entry(config.transport.peer.ip()).or_default().push(name.clone());
        }
    }
    for (address, names) in names.into_iter().filter(|(_, names)| names.len() > 1) {
        for name in &names {
            if let Some(Setup::Session { hints, .. }) = setups.get_mut(name) {
                hints.push(format!(
                    "connections that come from {address} are not taken: BGPPeers {} have that address",
                    names.join(", ")
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use config::{Config, Resources, Secret};
    use serde_json::{Value, json};

    use super::*;

    fn node() -> NodeFacts {
        NodeFacts {
            name: "iris1".into(),
            address: Some(Ipv4Addr::new(192, 0, 2, 11)),
            ..NodeFacts::default()
        }
    }

    /// What a BGPPeer with these fields besides AS numbers and address comes to.
    fn of(fields: &Value) -> Setup {
        let mut spec = json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.254"});
        for (key, value) in fields.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        let object = json!({"metadata": {"name": "tor", "namespace": "metallb-system"}, "spec": spec});
        let peer: api::BGPPeer = serde_json::from_value(object).expect("a valid peer");
        let profile = json!({"metadata": {"name": "fast"}, "spec": {}});
        let profile: api::BFDProfile = serde_json::from_value(profile).expect("a valid profile");
        let secrets = ["good", "binary"].map(|name| Secret {
            namespace: "metallb-system".into(),
            name: name.into(),
            kind: "kubernetes.io/basic-auth".into(),
            has_password: true,
        });
        let resources = Resources {
            bgp_peers: vec![&peer],
            bfd_profiles: vec![&profile],
            secrets: secrets.iter().collect(),
            ..Resources::default()
        };
        let config = Config::build(&resources, None);
        let peer = config.bgp_peers.get("tor").unwrap_or_else(|| panic!("{:?}", config.problems));
        let passwords = BTreeMap::from([("good".to_owned(), Passphrase("s3cret".to_owned()))]);
        setup(peer, &passwords, &node())
    }

    fn session(fields: &Value) -> session::Config {
        match of(fields) {
            Setup::Session { config, .. } => *config,
            Setup::Refused(reason) => panic!("{fields}: {reason}"),
        }
    }

    #[test]
    fn what_is_not_given_is_as_frr_has_it() {
        let config = session(&json!({}));
        let seconds =
            [config.hold_time, config.keepalive_time, config.connect_time].map(|time| time.as_secs());
        assert_eq!(seconds, [180, 60, 30]);
        assert_eq!(config.router_id, Ipv4Addr::new(192, 0, 2, 11));
        assert_eq!((config.opening, config.graceful_restart), (Opening::Active, None));
        assert_eq!(config.transport.peer.to_string(), "192.0.2.254:179");
        assert_eq!(config.transport.password, None);
    }

    #[test]
    fn each_field_has_its_effect() {
        type Check = fn(&session::Config) -> bool;
        let cases: [(Value, Check); 17] = [
            (json!({"localASN": 64600}), |c| c.local_asn() == 64600 && c.my_asn == 64512),
            (json!({"peerASN": null, "dynamicASN": "external"}), |c| {
                c.peer_asn == session::PeerAsn::External && c.transport.ttl == Ttl::Hops(1)
            }),
            (json!({"peerASN": null, "dynamicASN": "internal"}), |c| {
                c.peer_asn == session::PeerAsn::Internal && c.transport.ttl == Ttl::System
            }),
            (json!({"peerASN": 64512}), |c| c.transport.ttl == Ttl::System),
            (json!({}), |c| c.transport.ttl == Ttl::Hops(1)),
            (json!({"ebgpMultiHop": true}), |c| c.transport.ttl == Ttl::Hops(255)),
            (json!({"localASN": 64513}), |c| c.transport.ttl == Ttl::System),
            (json!({"peerPort": 1179}), |c| c.transport.peer.port() == 1179),
            (json!({"sourceAddress": "192.0.2.9"}), |c| c.transport.source == "192.0.2.9".parse().ok()),
            (json!({"holdTime": "9s"}), |c| c.hold_time.as_secs() == 9 && c.keepalive_time.as_secs() == 3),
            (json!({"holdTime": "9s", "keepaliveTime": "1s"}), |c| c.keepalive_time.as_secs() == 1),
            (json!({"connectTime": "5s"}), |c| c.connect_time == Duration::from_secs(5)),
            (json!({"routerID": "10.9.8.7"}), |c| c.router_id == Ipv4Addr::new(10, 9, 8, 7)),
            (json!({"password": "hello"}), |c| c.transport.password.as_deref() == Some("hello")),
            (json!({"passwordSecret": {"name": "good"}}), |c| {
                c.transport.password.as_deref() == Some("s3cret")
            }),
            (json!({"enableGracefulRestart": true}), |c| {
                c.graceful_restart == Some(RestartConfig { time: DEFAULT_RESTART_TIME, notification: false })
            }),
            (json!({"disableMP": true}), |c| c.families == Families { v4: true, v6: false }),
        ];
        for (fields, check) in cases {
            let config = session(&fields);
            assert!(check(&config), "{fields}: {config:?}");
        }
    }

    #[test]
    fn routes_are_of_the_family_of_the_session_unless_both_are_asked_for() {
        for (address, dual, v4, v6) in [
            ("192.0.2.254", false, true, false),
            ("2001:db8::254", false, false, true),
            ("192.0.2.254", true, true, true),
            ("2001:db8::254", true, true, true),
        ] {
            let config = session(&json!({"peerAddress": address, "dualStackAddressFamily": dual}));
            assert_eq!(config.families, Families { v4, v6 }, "{address} {dual}");
        }
    }

    #[test]
    fn what_is_not_supported_yet_is_said_and_started_only_where_that_is_safe() {
        let interface = json!({"peerAddress": null, "interface": "eth1"});
        let long = json!({"password": "x".repeat(81)});
        for (fields, reason) in [
            (
                &interface,
                "sessions over an interface without addresses (interface \"eth1\") are not supported yet",
            ),
            (&json!({"vrf": "red"}), "sessions in a VRF (vrf \"red\") are not supported yet"),
            (&json!({"peerAddress": "fe80::1"}), "peerAddress fe80::1 is only known on one link"),
            (&json!({"passwordSecret": {"name": "binary"}}), "the password in Secret \"binary\" is no text"),
            (&long, "password has 81 bytes: TCP MD5 signatures take at most 80"),
        ] {
            match of(fields) {
                Setup::Refused(text) => assert!(text.starts_with(reason), "{text}"),
                Setup::Session { .. } => panic!("{fields}"),
            }
        }
        for (fields, hint) in [
            (&json!({"bfdProfile": "fast"}), "bfdProfile has no effect yet"),
            (&json!({"routerID": "2001:db8::1"}), "routerID is an IPv6 address"),
        ] {
            match of(fields) {
                Setup::Session { hints, .. } => assert!(hints[0].starts_with(hint), "{hints:?}"),
                Setup::Refused(reason) => panic!("{reason}"),
            }
        }
    }

    #[test]
    fn routers_of_one_address_cannot_be_told_apart_when_they_connect() {
        let setups = [("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.1")];
        let mut setups: BTreeMap<String, Setup> = setups
            .map(|(name, address)| (name.to_owned(), of(&json!({"peerAddress": address}))))
            .into_iter()
            .collect();
        note_ambiguous(&mut setups);
        let hints = |name: &str| match &setups[name] {
            Setup::Session { hints, .. } => hints.join("; "),
            Setup::Refused(reason) => reason.clone(),
        };
        let told = "connections that come from 192.0.2.1 are not taken: BGPPeers a, c have that address";
        assert_eq!([hints("a"), hints("b"), hints("c")], [told, "", told]);
    }

    #[test]
    fn a_password_is_never_shown() {
        let setup = of(&json!({"passwordSecret": {"name": "good"}}));
        let shown = format!("{setup:?} {:?}", Passphrase::new(b"s3cret".to_vec()));
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(Passphrase::new(vec![0xff]), None);
    }
}
