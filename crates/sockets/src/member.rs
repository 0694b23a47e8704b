//! The socket of the speakers' own protocol: UDP on the node network.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Class selector 6, network control (RFC 2474 §4.2.2): what keeps the network up goes before what it carries.
const TRAFFIC_CLASS: u32 = 0xC0;

/// Room for what comes in while the thread waits for a processor: 500 speakers for a second.
const RECEIVE_BUFFER: usize = 1 << 20;

/// All hosts on a link (RFC 4291 §2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A socket by which the speakers of a cluster talk to each other, all on the same port.
#[derive(Debug)]
pub struct MemberSocket {
    socket: UdpSocket,
    port: u16,
}

impl MemberSocket {
    /// Opens a socket that sends and receives on one interface alone, by IPv6 link-local addresses, which an interface
    /// has without anybody's giving it one. To be called in the runtime that uses it.
    pub fn open_on(interface: u32, name: &str, port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(TRAFFIC_CLASS)?;
        socket.bind_device(Some(name.as_bytes()))?;
        // Beside the socket of the node network, where that is IPv6, too: the kernel compares addresses and not interfaces.
        socket.set_reuse_address(true)?;
        socket.set_multicast_if_v6(interface)?;
        socket.set_multicast_loop_v6(false)?;
        socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, port })
    }

    /// Opens the socket on this node's own address. To be called in the runtime that uses it.
    pub fn open(contact: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(contact),
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        match contact {
            SocketAddr::V4(_) => socket.set_tos_v4(TRAFFIC_CLASS)?,
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.set_tclass_v6(TRAFFIC_CLASS)?;
                // For those of [`Self::open_on`].
                socket.set_reuse_address(true)?;
            }
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&contact.into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, port: contact.port() })
    }

    /// Waits for something to read.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// A packet that has come, if one has, and from where.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> Option<(&'a [u8], SocketAddr)> {
        loop {
            match self.socket.try_recv_from(buffer) {
                Ok((length, from)) => return Some((buffer.get(..length)?, from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // What ICMP says of an earlier packet: its receiver is not there.
                Err(_) => {}
            }
        }
    }

    /// Sends the packet to that speaker, or not: each is one of many.
    pub fn send(&self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        self.socket.try_send_to(packet, SocketAddr::new(to, self.port)).map(drop)
    }

    /// Sends the packet to that address on the interface of [`Self::open_on`], or to all hosts there.
    pub fn send_on(&self, packet: &[u8], interface: u32, to: Option<Ipv6Addr>) -> io::Result<()> {
        let to = to.unwrap_or(ALL_NODES);
        self.socket.try_send_to(packet, SocketAddrV6::new(to, self.port, 0, interface).into()).map(drop)
    }
}
