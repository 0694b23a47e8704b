//! Membership in IPv6 multicast groups, so that interface and switches hand over their frames.

use std::collections::HashMap;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

/// The groups joined on one interface.
///
/// The kernel bounds what one socket may join by its option memory, so there are as many sockets as it
/// takes. They receive nothing themselves: they only keep the membership.
#[derive(Debug)]
pub struct Groups {
    interface: u32,
    /// Never bound. A closed socket leaves what it has joined.
    sockets: Vec<Socket>,
    /// Which socket has joined each group.
    joined: HashMap<Ipv6Addr, usize>,
}

impl Groups {
    /// No groups yet, on the interface with this index.
    pub fn new(interface: u32) -> Self {
        Self { interface, sockets: Vec::new(), joined: HashMap::new() }
    }

    /// Joins the group; nothing happens where that is done already.
    pub fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        if self.joined.contains_key(&group) {
            return Ok(());
        }
        // The last socket is the one that may have room; those before it are full, or were.
        if let Some((place, socket)) = self.sockets.iter().enumerate().next_back() {
            match socket.join_multicast_v6(&group, self.interface) {
                Err(error) if is_full(&error) => {}
                result => {
                    result?;
                    self.joined.insert(group, place);
                    return Ok(());
                }
            }
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None)?;
        socket.join_multicast_v6(&group, self.interface)?;
        self.joined.insert(group, self.sockets.len());
        self.sockets.push(socket);
        Ok(())
    }

    /// Leaves the group; nothing happens where it was not joined.
    pub fn leave(&mut self, group: Ipv6Addr) -> io::Result<()> {
        let Some(socket) = self.joined.remove(&group).and_then(|place| self.sockets.get(place)) else {
            return Ok(());
        };
        let result = socket.leave_multicast_v6(&group, self.interface);
        if self.joined.is_empty() {
            self.sockets.clear();
        }
        result
    }

    /// How many groups are joined.
    pub fn len(&self) -> usize {
        self.joined.len()
    }

    /// Whether no group is joined.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    /// How many sockets that takes.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
}

/// Whether the socket's option memory is used up (`net.core.optmem_max`).
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}
