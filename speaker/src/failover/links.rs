//! The interfaces beside that of the node network: a socket on each, and the number by which all nodes know its LAN.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use announce::Interfaces;
use futures::future::select_all;
use membership::NodeId;
use membership::packet::{LinkId, MAX_LINKS};
use net::MacAddr;
use sockets::MemberSocket;
use tracing::{debug, warn};

/// An interface that addresses can be announced on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// Its number on this node.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<MacAddr>,
    /// Whether frames can leave it, and it has an IPv6 link-local address to be heard by.
    pub up: bool,
}

/// The sockets.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: Vec<LinkView>,
    open: BTreeMap<LinkId, Port>,
}

#[derive(Debug)]
struct Port {
    index: u32,
    socket: MemberSocket,
    /// By which address each speaker was heard there last.
    peers: HashMap<NodeId, Ipv6Addr>,
}

/// The number of a LAN: nodes whose interfaces have the same name are taken to be on the same one. Where they are
/// not, they do not hear each other there, none of them is better off, and nothing moves for it.
fn number(name: &str) -> LinkId {
    let NodeId(hash) = NodeId::of(name);
    // 0 is the node network.
    LinkId(u32::try_from(hash >> 32).unwrap_or_default().max(1))
}

impl Links {
    /// The interfaces are these now; gives those that are up. That of the node network is left out: it has the
    /// address `own`.
    pub(super) fn set(&mut self, links: Vec<LinkView>, own: SocketAddr) -> Vec<LinkId> {
        let node_network = interface_of(own.ip());
        let others = links.into_iter().filter(|link| Some(&link.name) != node_network.as_ref());
        self.known = others.take(MAX_LINKS).collect();
        self.open.retain(|number_of, port| {
            let same =
                |link: &LinkView| number(&link.name) == *number_of && link.index == port.index && link.up;
            self.known.iter().any(same)
        });
        for link in self.known.iter().filter(|link| link.up) {
            let id = number(&link.name);
            if self.open.contains_key(&id) {
                continue;
            }
            match MemberSocket::open_on(link.index, &link.name, own.port()) {
                Ok(socket) => {
                    self.open.insert(id, Port { index: link.index, socket, peers: HashMap::new() });
                }
                Err(error) => warn!(
                    interface = link.name,
                    %error, "whether other speakers hear this one on the interface's network cannot be found out"
                ),
            }
        }
        self.open.keys().copied().collect()
    }

    /// Those of these interfaces that this node has.
    pub(super) fn of(&self, interfaces: &Interfaces) -> Vec<LinkId> {
        let wanted = self.known.iter().filter(|link| interfaces.contains(&link.name));
        wanted.map(|link| number(&link.name)).collect()
    }

    /// The name of an interface.
    pub(super) fn name(&self, link: LinkId) -> Option<&str> {
        self.known.iter().map(|known| known.name.as_str()).find(|name| number(name) == link)
    }

    /// Waits until there is something to read on one of them; never where there are none.
    pub(super) async fn readable(&self) -> LinkId {
        if self.open.is_empty() {
            return std::future::pending().await;
        }
        let each = self.open.iter().map(|(&link, port)| {
            Box::pin(async move {
                if let Err(error) = port.socket.readable().await {
                    debug!(link = link.0, %error, "cannot wait for packets on an interface");
                    std::future::pending::<()>().await;
                }
                link
            })
        });
        select_all(each).await.0
    }

    /// A packet that has come on the interface.
    pub(super) fn receive<'a>(&self, link: LinkId, buffer: &'a mut [u8]) -> Option<(&'a [u8], SocketAddr)> {
        self.open.get(&link)?.socket.receive(buffer)
    }

    /// Notes by which address a speaker is heard on an interface.
    pub(super) fn heard(&mut self, link: LinkId, node: NodeId, from: SocketAddr) {
        if let (Some(port), SocketAddr::V6(from)) = (self.open.get_mut(&link), from) {
            port.peers.insert(node, *from.ip());
        }
    }

    /// Sends a packet to a speaker on the interface.
    pub(super) fn send(&self, link: LinkId, packet: &[u8], to: NodeId) -> io::Result<()> {
        let Some(port) = self.open.get(&link) else { return Ok(()) };
        port.socket.send_on(packet, port.index, port.peers.get(&to).copied())
    }
}

/// The name of this host's interface with the address.
fn interface_of(address: IpAddr) -> Option<String> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    let has = |interface: &nix::ifaddrs::InterfaceAddress| {
        let storage = interface.address.as_ref()?;
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    all.into_iter()
        .find(|interface| has(interface) == Some(address))
        .map(|interface| interface.interface_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_of_the_node_network_is_left_out() {
        let view = |name: &str| LinkView { index: 7, name: name.to_owned(), mac: None, up: false };
        let mut links = Links::default();
        let loopback = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 7946);
        assert_eq!(links.set(vec![view("lo"), view("lan7")], loopback), [], "none is up");
        assert_eq!(links.of(&Interfaces::All), [number("lan7")]);
        assert_eq!(links.name(number("lan7")), Some("lan7"));
        assert_ne!(number("lan7"), number("lan8"));
    }
}
