//! Who is on the LAN and which addresses everyone has. Pure: a host's name
//! decides its addresses and MACs, so tests can name them without asking.
//!
//! | host | last part | LAN prefixes |
//! |---|---|---|
//! | `control-plane` | 10 | 192.0.2.0/24, 2001:db8::/64 |
//! | `node1` to `node5` | 11 to 15 (211 to 215 in the pools' prefixes) | all four |
//! | `client` | 250 | all four |
//! | `router` | 254 | all four; everyone's default gateway |

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};

/// The most nodes a cluster can have.
pub const MAX_NODES: u8 = 5;
/// The API server's port, on [`Host::v4`] of the control plane.
pub const API_PORT: u16 = 6443;
/// The prefix of all Services, IPv4 then IPv6.
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// The prefix of all Pods, IPv4 then IPv6; each node has a part of it.
pub const POD_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];
/// The first address of [`SERVICE_CIDRS`]: the `kubernetes` Service.
pub const API_SERVICE: [&str; 2] = ["10.96.0.1", "fd00:10:96::1"];
/// The address that Pods get as their DNS server. Nothing listens there: the
/// tests name addresses, and without one every Pod would carry a warning event.
pub const CLUSTER_DNS: &str = "10.96.0.10";

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs etcd, the API server and the controllers. Not a Kubernetes node.
    ControlPlane,
    /// A Kubernetes node: containerd, kubelet, kube-proxy.
    Node,
    /// A machine of a user on the LAN, knowing nothing of the cluster.
    Client,
    /// The LAN's default gateway, and the BGP peer of the tests.
    Router,
}

/// One of the two switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lan {
    /// `eth0` of every host: 192.0.2.0/24, 172.31.249.0/24, 10.101.0.0/24 and
    /// 2001:db8::/64.
    First,
    /// `eth1` of every host but the control plane: 198.51.100.0/24 and
    /// 2001:db8:2::/64.
    Second,
}

/// A machine on the LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, also the Kubernetes node name of nodes.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Last part of its addresses in 192.0.2.0/24 and 2001:db8::/64.
    pub id: u8,
}

impl Lan {
    /// Both, in the order of the hosts' interfaces.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// Name of the bridge.
    pub fn bridge(self) -> &'static str {
        match self {
            Self::First => "lan",
            Self::Second => "lan2",
        }
    }

    /// Name of a host's interface on it, as the host sees it.
    pub fn interface(self) -> &'static str {
        match self {
            Self::First => "eth0",
            Self::Second => "eth1",
        }
    }
}

impl Host {
    /// The host of that name.
    ///
    /// Fails for a name that no cluster has; whether a cluster is large enough
    /// to have this node is not asked here.
    pub fn by_name(name: &str) -> Result<Self> {
        let (kind, id) = match name {
            "control-plane" => (Kind::ControlPlane, 10),
            "client" => (Kind::Client, 250),
            "router" => (Kind::Router, 254),
            _ => match name.strip_prefix("node").map(str::parse::<u8>) {
                Some(Ok(number)) if (1..=MAX_NODES).contains(&number) => (Kind::Node, 10 + number),
                _ => bail!(
                    "there is no host {name:?}: hosts are control-plane, client, router and node1 to node{MAX_NODES}"
                ),
            },
        };
        Ok(Self { name: name.to_owned(), kind, id })
    }

    /// Every host of a cluster with so many nodes, the control plane first.
    pub fn all(nodes: u8) -> Vec<Self> {
        let fixed = ["control-plane", "client", "router"].map(str::to_owned);
        fixed
            .into_iter()
            .chain((1..=nodes).map(|number| format!("node{number}")))
            .map(|name| Self::by_name(&name).expect("every name made here is in by_name"))
            .collect()
    }

    /// For nodes their number from 1, which is also in their Pods' addresses.
    pub fn number(&self) -> Option<u8> {
        (self.kind == Kind::Node).then(|| self.id - 10)
    }

    /// Its main IPv4 address, in 192.0.2.0/24.
    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.id)
    }

    /// Its main IPv6 address, in 2001:db8::/64. The decimal digits of [`Host::id`]
    /// stand as hexadecimal ones, to be read easily: 250 is `2001:db8::250`.
    pub fn v6(&self) -> Ipv6Addr {
        let digits =
            u16::from_str_radix(&self.id.to_string(), 16).expect("decimal digits are hexadecimal digits");
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, digits)
    }

    /// The switches it is connected to.
    pub fn lans(&self) -> &'static [Lan] {
        match self.kind {
            Kind::ControlPlane => &Lan::ALL[..1],
            Kind::Node | Kind::Client | Kind::Router => &Lan::ALL,
        }
    }

    /// Its addresses with prefix lengths on one switch, as `ip address add` takes them.
    pub fn addresses(&self, lan: Lan) -> Vec<String> {
        // The pools of the tests take low addresses in the second and third
        // prefix, so hosts have high ones there.
        let high = if self.kind == Kind::Node { 200 + self.id } else { self.id };
        match (lan, self.kind) {
            (Lan::First, Kind::ControlPlane) => {
                vec![format!("{}/24", self.v4()), format!("{}/64", self.v6())]
            }
            (Lan::First, _) => vec![
                format!("{}/24", self.v4()),
                format!("172.31.249.{high}/24"),
                format!("10.101.0.{high}/24"),
                format!("{}/64", self.v6()),
            ],
            (Lan::Second, _) => {
                vec![format!("198.51.100.{}/24", self.id), format!("2001:db8:2::{}/64", self.id)]
            }
        }
    }

    /// The MAC address of its interface on that switch, in lower case.
    pub fn mac(&self, lan: Lan) -> String {
        let switch = match lan {
            Lan::First => 1,
            Lan::Second => 2,
        };
        format!("02:00:00:00:{switch:02x}:{:02x}", self.id)
    }

    /// Name of the switch's end of its cable, in the cluster's outer network
    /// namespace: what one takes down to cut the host.
    pub fn port(&self, lan: Lan) -> String {
        // An interface name has 15 characters at most.
        let short = if self.kind == Kind::ControlPlane { "control" } else { &self.name };
        format!("{short}-{}", lan.bridge())
    }

    /// For nodes the prefixes of their Pods, IPv4 then IPv6.
    pub fn pod_cidrs(&self) -> Option<[String; 2]> {
        self.number().map(|number| [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_hosts_share_an_address_a_mac_or_a_port() {
        let mut seen = HashSet::new();
        for host in Host::all(MAX_NODES) {
            for &lan in host.lans() {
                for text in host.addresses(lan).into_iter().chain([host.mac(lan), host.port(lan)]) {
                    assert!(seen.insert(text.clone()), "{text} of {} is taken", host.name);
                }
            }
        }
    }

    #[test]
    fn ports_fit_into_interface_names() {
        for host in Host::all(MAX_NODES) {
            for lan in Lan::ALL {
                assert!(host.port(lan).len() <= 15, "{}", host.port(lan));
            }
        }
    }

    #[test]
    fn hosts_keep_clear_of_the_pools_of_the_tests() {
        for host in Host::all(MAX_NODES) {
            for address in host.addresses(Lan::First) {
                let last: Option<u8> = address
                    .strip_prefix("172.31.249.")
                    .or(address.strip_prefix("10.101.0."))
                    .map(|rest| rest.trim_end_matches("/24").parse().expect("the last part is a number"));
                assert!(last.is_none_or(|last| last > 200), "{address}");
            }
        }
    }

    #[test]
    fn addresses_of_a_node_follow_from_its_number() {
        let node = Host::by_name("node2").expect("node2 exists");
        assert_eq!(node.v4().to_string(), "192.0.2.12");
        assert_eq!(node.v6().to_string(), "2001:db8::12");
        assert_eq!(node.mac(Lan::Second), "02:00:00:00:02:0c");
        assert_eq!(node.port(Lan::First), "node2-lan");
        assert_eq!(node.pod_cidrs(), Some(["10.244.2.0/24".to_owned(), "fd00:10:244:2::/64".to_owned()]));
        assert_eq!(node.addresses(Lan::First)[1], "172.31.249.212/24");
    }

    #[test]
    fn unknown_hosts_are_refused_with_the_list_of_known_ones() {
        for name in ["node0", "node6", "nodeX", "gateway", ""] {
            let error = Host::by_name(name).expect_err("not a host").to_string();
            assert!(error.contains("control-plane, client, router and node1 to node5"), "{error}");
        }
    }
}
