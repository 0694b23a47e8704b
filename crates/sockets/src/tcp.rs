//! TCP connections to routers: with signatures (RFC 2385) and limits to how far away the other side may be (RFC 5082).

use std::fmt;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The longest key of TCP MD5 signatures, in bytes (`TCP_MD5SIG_MAXKEYLEN`).
pub const MAX_KEY: usize = 80;

/// The class of service of routing protocols: CS6 (RFC 4594).
const NETWORK_CONTROL: u32 = 0xc0;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 16;

/// How to connect.
#[derive(Clone, PartialEq, Eq)]
pub struct TcpOptions {
    /// The address and port of the router.
    pub peer: SocketAddr,
    /// The address to connect from; the system chooses where there is none.
    pub source: Option<IpAddr>,
    /// The key of TCP MD5 signatures: 1 to [`MAX_KEY`] bytes.
    pub key: Option<Vec<u8>>,
    /// How far away the router may be.
    pub hops: Hops,
    /// The interface or VRF to connect through.
    pub device: Option<String>,
}

/// How far away the other side of a connection may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hops {
    /// What the system does by default.
    #[default]
    System,
    /// Packets leave with this time to live: 1 for a router on the link.
    Limit(u8),
    /// Packets leave with 255, and those that came over more than so many hops are dropped (RFC 5082).
    Security(u8),
}

impl fmt::Debug for TcpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpOptions")
            .field("peer", &self.peer)
            .field("source", &self.source)
            .field("key", &self.key.as_ref().map(|_| "…"))
            .field("hops", &self.hops)
            .field("device", &self.device)
            .finish()
    }
}

/// Connects. To be called in a tokio runtime; waits as long as the system does, and may be dropped while it waits.
///
/// A key that is not the other side's looks as if nobody answered. Fails with `AddrNotAvailable` where `source` is no
/// address of this host, and with `InvalidInput` where a key is too long.
pub async fn connect_tcp(options: &TcpOptions) -> io::Result<TcpStream> {
    let socket =
        Socket::new(Domain::for_address(options.peer), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(device) = &options.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    limit_hops(&socket, options.peer.ip(), options.hops)?;
    if let Some(key) = &options.key {
        sign(&socket, options.peer.ip(), key)?;
    }
    prefer(&socket, options.peer)?;
    if let Some(source) = options.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(options.peer).await
}

/// Listens for connections to an address of this host, of which those from the hosts among `keys` have to be signed by their
/// key. To be called in a tokio runtime.
///
/// Fails with `AddrInUse` where another program listens there, with `PermissionDenied` where the port takes a capability
/// (below 1024: `NET_BIND_SERVICE`), with `AddrNotAvailable` where it is no address of this host, and with `InvalidInput`
/// where a key is too long.
pub fn listen_tcp<'a>(
    address: SocketAddr,
    keys: impl IntoIterator<Item = (IpAddr, &'a [u8])>,
) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Connections of a listener that was closed may live on.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    for (peer, key) in keys {
        sign(&socket, peer, key)?;
    }
    prefer(&socket, address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Gives a connection that came in what one that was opened has: its class of service, no delay, and the limit of hops.
pub fn accepted_tcp(stream: &TcpStream, hops: Hops) -> io::Result<()> {
    let (socket, peer) = (SockRef::from(stream), stream.peer_addr()?);
    limit_hops(&socket, peer.ip(), hops)?;
    prefer(&socket, peer)
}

/// Small messages leave at once, in the class of service of routing protocols.
fn prefer(socket: &Socket, other: SocketAddr) -> io::Result<()> {
    match other {
        SocketAddr::V4(_) => socket.set_tos_v4(NETWORK_CONTROL)?,
        SocketAddr::V6(_) => socket.set_tclass_v6(NETWORK_CONTROL)?,
    }
    socket.set_tcp_nodelay(true)
}

/// Limits how far away the other side of a socket may be.
pub fn limit_hops(socket: &Socket, peer: IpAddr, hops: Hops) -> io::Result<()> {
    let (sent, least) = match hops {
        Hops::System => return Ok(()),
        Hops::Limit(limit) => (limit, None),
        Hops::Security(limit) => (255, Some(255 - limit.saturating_sub(1))),
    };
    if peer.is_ipv4() {
        socket.set_ttl_v4(sent.into())?;
    } else {
        socket.set_unicast_hops_v6(sent.into())?;
    }
    let Some(least) = least else { return Ok(()) };
    let (level, name) = if peer.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MINTTL)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
    };
    set_option(socket, level, name, &libc::c_int::from(least))
}

/// Signs what is exchanged with `peer` by this key; segments that are not signed by it are dropped. For a socket that
/// connects or listens.
pub fn sign(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    if key.is_empty() || key.len() > MAX_KEY {
        let text = format!("a key of {} bytes: it has to have 1 to {MAX_KEY}", key.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let length = u16::try_from(key.len()).expect("at most 80");
    // SAFETY: all fields are numbers and arrays of numbers, for which zeros are a value.
    let mut signature: TcpMd5Sig = unsafe { std::mem::zeroed() };
    let address = SockAddr::from(SocketAddr::new(peer, 0));
    // SAFETY: a `SockAddr` has the storage of a `sockaddr_storage`, to which the pointer is, and it is aligned so.
    signature.address = unsafe { *address.as_ptr().cast::<libc::sockaddr_storage>() };
    signature.key_length = length;
    signature.key[..key.len()].copy_from_slice(key);
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &signature)
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; MAX_KEY],
}

/// setsockopt(2) with a value of a C type.
fn set_option<T>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while it is borrowed, and `value` is valid for reading its size.
    let result = unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
