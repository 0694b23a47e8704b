//! Raw frames of one interface: `AF_PACKET` sockets (packet(7)).

use std::ffi::c_int;
use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::age::{Ages, Both};
use crate::filter::{MAX_RANGES, Traffic};

/// Do not receive what this host sends (linux/if_packet.h; Linux 4.20).
const PACKET_IGNORE_OUTGOING: c_int = 23;

/// What waited longer than this is not handed over: an answer to it could be news of a time when the address was
/// another's, for instance after the process was stopped.
pub const STALE: Duration = Duration::from_millis(100);

/// A socket that receives some frames of one interface and sends any, Ethernet headers included.
///
/// Needs the capability `NET_RAW`. Frames that the host itself sends are not received.
#[derive(Debug)]
pub struct PacketSocket {
    traffic: Traffic,
    socket: AsyncFd<Socket>,
    ages: Mutex<Ages>,
}

impl PacketSocket {
    /// Opens a socket on the interface with this index. To be called in a tokio runtime.
    ///
    /// The order is what keeps other frames out: a socket of protocol 0 receives nothing until it is
    /// bound, and by then its filter is in place.
    pub fn open(interface: u32, traffic: Traffic) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
        socket.attach_filter(&traffic.program())?;
        ignore_outgoing(&socket)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        socket.bind(&link_address(interface, traffic.ether_type())?)?;
        // SAFETY: the AsyncFd owns the socket, whose descriptor stays open and the same until it is dropped;
        // nothing here takes the descriptor out of it.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { traffic, socket, ages: Mutex::new(Ages::new(Both::now())) })
    }

    /// Receives from now on only frames whose target or sender is one of these addresses, and some others where they
    /// are scattered over hundreds of places. The kernel changes the filter between two frames: none is lost.
    ///
    /// Kernels before 6.8 have 20 KB for the filter of a socket (`net.core.optmem_max`), and during a change for both. Where
    /// it is too small the filter is coarser, and in the end lets all of these frames through: never one less.
    pub fn narrow(&self, addresses: &[IpAddr]) -> io::Result<()> {
        let socket = self.socket.get_ref();
        let no_room = |result: &io::Result<()>| {
            result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOMEM))
        };
        let first = socket.attach_filter(&self.traffic.program_for(addresses, MAX_RANGES));
        if !no_room(&first) {
            return first;
        }
        // The former one goes first, for the room that it takes. Everything passes meanwhile.
        socket.detach_filter()?;
        let mut most = MAX_RANGES;
        while most > 0 {
            let result = socket.attach_filter(&self.traffic.program_for(addresses, most));
            if !no_room(&result) {
                return result;
            }
            most /= 2;
        }
        socket.attach_filter(&self.traffic.program())
    }

    /// Waits for a frame and returns its length. A frame longer than `buffer` is cut, one that has waited longer than
    /// [`STALE`] is left out.
    ///
    /// After the interface was down this fails once with `ENETDOWN`, at the latest with the first frame that
    /// arrives again; then receiving goes on.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive(socket.get_ref(), buffer)) {
                Ok(Ok((_, Some(stamp)))) if self.age(stamp) > STALE => {}
                Ok(result) => return result.map(|(length, _)| length),
                Err(_would_block) => {}
            }
        }
    }

    /// How long ago the kernel got a frame with this stamp.
    fn age(&self, stamp: Duration) -> Duration {
        // Nothing that holds the lock can panic half way.
        self.ages.lock().unwrap_or_else(PoisonError::into_inner).age(Both::now(), stamp)
    }

    /// Sends a frame, waiting for room in the socket's queue; whether it was sent.
    ///
    /// `may` is asked right before each attempt, after all waiting: a frame that it does not allow is dropped.
    pub async fn send(&self, frame: &[u8], may: impl Fn() -> bool) -> io::Result<bool> {
        loop {
            let mut ready = self.socket.writable().await?;
            let attempt = |socket: &AsyncFd<Socket>| {
                if may() { socket.get_ref().send(frame).map(|_sent| true) } else { Ok(false) }
            };
            if let Ok(result) = ready.try_io(attempt) {
                return result;
            }
        }
    }
}

/// Reads one frame: its length, and when the kernel got it by the wall clock, where it says that.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<Duration>)> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    });
    Ok((message.bytes, stamp))
}

fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let on: c_int = 1;
    let size = libc::socklen_t::try_from(size_of::<c_int>()).expect("an int has four bytes");
    // SAFETY: the descriptor is open while `socket` is borrowed; the option is an int, and `on` is valid for
    // reading the `size` bytes of one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address that binds a socket to the frames of one type on one interface.
fn link_address(interface: u32, ether_type: u16) -> io::Result<SockAddr> {
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).expect("address families are small");
    let index = c_int::try_from(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("a small struct");
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is zeroed, large enough and aligned for every kind of socket address, and a
    // sockaddr_ll of zeros is a valid one.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = family;
    link.sll_protocol = ether_type.to_be();
    link.sll_ifindex = index;
    // SAFETY: the storage holds a sockaddr_ll, whose family and length these are.
    Ok(unsafe { SockAddr::new(storage, size) })
}
