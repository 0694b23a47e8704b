//! The host's links as they change: a netlink socket that the kernel tells (rtnetlink(7)).

use std::collections::{BTreeSet, VecDeque};
use std::io;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use thiserror::Error;
use tokio::task::JoinHandle;

use crate::link_state::{LinkChange, Links, link_local};

/// Why links cannot be watched.
#[derive(Debug, Error)]
pub enum WatchError {
    /// No netlink socket.
    #[error("failed to open a netlink socket for the host's links: {0}")]
    Open(#[source] io::Error),
    /// The list of links or addresses was refused.
    #[error("failed to list the host's links: {0}")]
    List(#[source] rtnetlink::Error),
    /// The socket broke.
    #[error("the netlink socket for the host's links was closed")]
    Closed,
}

/// A watch of all links of the network namespace that it was opened in.
#[derive(Debug)]
pub struct LinkWatch {
    handle: Handle,
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: JoinHandle<()>,
    links: Links,
    pending: VecDeque<LinkChange>,
    /// Whether messages were lost, or none was read yet, so that all links must be listed.
    stale: bool,
    synced: bool,
}

impl LinkWatch {
    /// Begins to watch. To be called in a tokio runtime.
    pub fn new() -> Result<Self, WatchError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, messages) = new_multicast_connection(&groups).map_err(WatchError::Open)?;
        Ok(Self {
            handle,
            messages,
            connection: tokio::spawn(connection),
            links: Links::default(),
            pending: VecDeque::new(),
            stale: true,
            synced: false,
        })
    }

    /// Waits for the next change. First come all links there are, then [`LinkChange::Synced`].
    ///
    /// May be dropped while it waits; nothing is lost then.
    pub async fn next(&mut self) -> Result<LinkChange, WatchError> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(change);
            }
            if self.stale {
                self.list().await?;
                continue;
            }
            let (message, _) = self.messages.next().await.ok_or(WatchError::Closed)?;
            match message.payload {
                NetlinkPayload::InnerMessage(message) => self.pending.extend(self.links.apply(message)),
                // The kernel had more to say than the socket could hold.
                NetlinkPayload::Overrun(_) => self.stale = true,
                _ => {}
            }
        }
    }

    /// Lists all links and addresses. The messages of changes that happen meanwhile wait, and are read after.
    async fn list(&mut self) -> Result<(), WatchError> {
        let links: Vec<_> =
            self.handle.link().get().execute().try_collect().await.map_err(WatchError::List)?;
        let addresses: Vec<_> =
            self.handle.address().get().execute().try_collect().await.map_err(WatchError::List)?;
        let alive: BTreeSet<u32> = links.iter().map(|link| link.header.index).collect();
        let alive_addresses: BTreeSet<_> = addresses.iter().filter_map(link_local).collect();
        self.pending.extend(self.links.retain(&alive));
        self.pending.extend(self.links.retain_addresses(&alive_addresses));
        for message in addresses.into_iter().map(RouteNetlinkMessage::NewAddress) {
            self.pending.extend(self.links.apply(message));
        }
        for message in links.into_iter().map(RouteNetlinkMessage::NewLink) {
            self.pending.extend(self.links.apply(message));
        }
        if !self.synced {
            self.synced = true;
            self.pending.push_back(LinkChange::Synced);
        }
        self.stale = false;
        Ok(())
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
