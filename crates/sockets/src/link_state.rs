//! The host's links as netlink's messages make them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use net::MacAddr;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as the kernel tells them")]
pub struct Link {
    /// Its number, by which sockets know it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, where it is an Ethernet address.
    pub mac: Option<MacAddr>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether frames can leave it.
    pub carrier: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether it can broadcast, which ARP needs.
    pub broadcast: bool,
    /// Whether it resolves no addresses (`IFF_NOARP`).
    pub no_arp: bool,
    /// Whether it is a port of a bridge, a bond or a VRF, which has the addresses in its place.
    pub port: bool,
    /// Its IPv6 link-local addresses: without one the interface does not speak IPv6.
    pub link_local: BTreeSet<Ipv6Addr>,
}

/// Why no address can be announced on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It is the loopback interface.
    Loopback,
    /// It is not set up.
    Down,
    /// It is a port of a bridge, a bond or a VRF.
    Port,
    /// It resolves no addresses.
    NoArp,
    /// It has no Ethernet address.
    NotEthernet,
}

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// It exists and is like this.
    Apply(Link),
    /// It does not exist any more.
    Gone {
        /// Its number.
        index: u32,
        /// Its last name.
        name: String,
    },
    /// All links that there were at the start have been told. Once.
    Synced,
}

impl Link {
    /// Why no address can be announced here; `None` where one can.
    pub fn hindrance(&self) -> Option<Hindrance> {
        match self {
            Self { loopback: true, .. } => Some(Hindrance::Loopback),
            Self { up: false, .. } => Some(Hindrance::Down),
            Self { port: true, .. } => Some(Hindrance::Port),
            Self { no_arp: true, .. } => Some(Hindrance::NoArp),
            Self { mac: None, .. } => Some(Hindrance::NotEthernet),
            _ => None,
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "it is the loopback interface",
            Self::Down => "it is down",
            Self::Port => "it is a port of a bridge, a bond or a VRF",
            Self::NoArp => "it does not resolve addresses",
            Self::NotEthernet => "it has no Ethernet address",
        })
    }
}

/// All links, kept by the kernel's messages.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<u32, Link>,
    /// Link-local addresses, kept apart since they may be told before their link.
    link_local: BTreeMap<u32, BTreeSet<Ipv6Addr>>,
}

impl Links {
    /// Takes in one message and returns what it changes.
    pub(crate) fn apply(&mut self, message: RouteNetlinkMessage) -> Option<LinkChange> {
        match message {
            RouteNetlinkMessage::NewLink(message) => self.new_link(&message),
            RouteNetlinkMessage::DelLink(message) if is_whole(&message) => self.gone(message.header.index),
            RouteNetlinkMessage::NewAddress(message) => self.address(&message, true),
            RouteNetlinkMessage::DelAddress(message) => self.address(&message, false),
            _ => None,
        }
    }

    /// Forgets the links that are not among these, after a new list of all.
    pub(crate) fn retain(&mut self, alive: &BTreeSet<u32>) -> Vec<LinkChange> {
        let gone: Vec<u32> = self.links.keys().filter(|index| !alive.contains(index)).copied().collect();
        gone.into_iter().filter_map(|index| self.gone(index)).collect()
    }

    /// Forgets the addresses that are not among these, after a new list of all.
    pub(crate) fn retain_addresses(&mut self, alive: &BTreeSet<(u32, Ipv6Addr)>) -> Vec<LinkChange> {
        let known: Vec<(u32, Ipv6Addr)> =
            self.link_local.iter().flat_map(|(&index, all)| all.iter().map(move |&a| (index, a))).collect();
        let gone = known.into_iter().filter(|entry| !alive.contains(entry));
        gone.filter_map(|(index, address)| self.set_address(index, address, false)).collect()
    }

    fn new_link(&mut self, message: &LinkMessage) -> Option<LinkChange> {
        if !is_whole(message) {
            return None;
        }
        let link = self.read(message)?;
        let before = self.links.insert(link.index, link.clone());
        (before.as_ref() != Some(&link)).then_some(LinkChange::Apply(link))
    }

    fn read(&self, message: &LinkMessage) -> Option<Link> {
        let index = message.header.index;
        let flags = message.header.flags;
        let mut link = Link {
            index,
            name: String::new(),
            mac: None,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            broadcast: flags.contains(LinkFlags::Broadcast),
            no_arp: flags.contains(LinkFlags::Noarp),
            port: false,
            link_local: self.link_local.get(&index).cloned().unwrap_or_default(),
        };
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) if ethernet => {
                    link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr);
                }
                LinkAttribute::Controller(index) => link.port = *index != 0,
                // Wireless drivers report events as link messages without the link's state.
                LinkAttribute::Wireless(_) => return None,
                _ => {}
            }
        }
        Some(link)
    }

    fn gone(&mut self, index: u32) -> Option<LinkChange> {
        self.link_local.remove(&index);
        self.links.remove(&index).map(|link| LinkChange::Gone { index, name: link.name })
    }

    fn address(&mut self, message: &AddressMessage, present: bool) -> Option<LinkChange> {
        let (index, address) = link_local(message)?;
        self.set_address(index, address, present)
    }

    fn set_address(&mut self, index: u32, address: Ipv6Addr, present: bool) -> Option<LinkChange> {
        let all = self.link_local.entry(index).or_default();
        if present {
            all.insert(address)
        } else {
            all.remove(&address)
        };
        let all = all.clone();
        if all.is_empty() {
            self.link_local.remove(&index);
        }
        let link = self.links.get_mut(&index).filter(|link| link.link_local != all)?;
        link.link_local = all;
        Some(LinkChange::Apply(link.clone()))
    }
}

/// The interface and the address, where the message is about an IPv6 link-local one.
pub(crate) fn link_local(message: &AddressMessage) -> Option<(u32, Ipv6Addr)> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
            Some((message.header.index, *v6))
        }
        _ => None,
    })
}

/// Whether the message is about a link as a whole; bridges report their ports by messages of a family of
/// their own, whose "deletion" only means that the port left the bridge.
fn is_whole(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}
