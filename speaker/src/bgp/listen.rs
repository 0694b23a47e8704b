//! Where routers may connect to us: a socket for each address of this node from which a router is reached, and nothing
//! for anyone else.
//!
//! ```text
//! Peers ──Guests──► listen ──a connection──► the task of its BGPPeer
//!                     └── of an unknown host: broken off before a byte is read
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use bgp::session::Transport;
use sockets::{listen_tcp, source_towards};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// How often it is looked up from which address a router is reached: routes of this node may change without a word.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long to wait after the system could not accept a connection, as it has no more files.
const BREATH: Duration = Duration::from_secs(1);

/// How many connections of one router may wait for its task. One that is not taken in time is broken off; the router
/// tries again.
pub(super) const WAITING: usize = 2;

/// A router that may connect.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// How it is reached: where it comes from, where to, and by which key.
    pub(super) transport: Transport,
    /// Where its connections go.
    pub(super) connections: mpsc::Sender<TcpStream>,
    /// Why it cannot connect, where that is for a user to mend.
    pub(super) hindrance: watch::Sender<Option<String>>,
}

/// All of them, by BGPPeer.
pub(super) type Guests = BTreeMap<String, Guest>;

/// A socket that listens.
struct Door {
    listener: TcpListener,
    /// The keys that it was opened with.
    keys: Keys,
    guests: BTreeMap<IpAddr, mpsc::Sender<TcpStream>>,
}

/// The keys of signatures, by router; an entry without a key is a router without signatures.
type Keys = BTreeMap<IpAddr, Option<String>>;

/// All sockets of the speaker, by their address.
#[derive(Default)]
struct Doors {
    port: u16,
    open: BTreeMap<IpAddr, Door>,
    /// What was said of things that hinder, so that it is said once.
    told: BTreeSet<String>,
}

/// Listens on `port` for those who may connect, until there is nobody to say who may.
pub(super) async fn listen(port: u16, mut guests: watch::Receiver<Guests>) {
    let mut doors = Doors { port, ..Doors::default() };
    loop {
        doors.arrange(&guests.borrow_and_update().clone());
        let again = sleep(LOOK_AGAIN);
        tokio::pin!(again);
        loop {
            tokio::select! {
                changed = guests.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                accepted = doors.accept() => match accepted {
                    Ok((door, stream, from)) => doors.receive(door, stream, from),
                    Err(error) => {
                        warn!("a connection of a router could not be accepted: {error}");
                        sleep(BREATH).await;
                    }
                },
                () = &mut again => break,
            }
        }
    }
}

impl Doors {
    /// Makes the sockets those that these guests need. A socket whose guests have the same keys stays.
    fn arrange(&mut self, guests: &Guests) {
        let mut told = BTreeSet::new();
        let mut wanted: BTreeMap<IpAddr, BTreeMap<IpAddr, &Guest>> = BTreeMap::new();
        for (name, guest) in guests {
            let from = guest.transport.peer.ip();
            if guests.values().filter(|other| other.transport.peer.ip() == from).count() > 1 {
                let problem = format!(
                    "connections from {from} are not taken: several BGPPeers of this node have that address"
                );
                self.tell(problem, &mut told);
                continue;
            }
            match guest.transport.source.map_or_else(|| source_towards(from), Ok) {
                Ok(address) => drop(wanted.entry(address).or_default().insert(from, guest)),
                Err(error) => {
                    let problem = format!("BGPPeer {name} at {from} cannot connect to this node: {error}");
                    self.tell(problem, &mut told);
                }
            }
        }
        let key = |guest: &&Guest| guest.transport.password.clone();
        let keys = |guests: &BTreeMap<IpAddr, &Guest>| -> Keys {
            guests.iter().map(|(from, guest)| (*from, key(guest))).collect()
        };
        // Closed first: the new socket of an address takes the place of the old one.
        self.open.retain(|address, door| wanted.get(address).is_some_and(|guests| keys(guests) == door.keys));
        for (address, guests) in wanted {
            let tell_guests = |hindrance: Option<&str>| {
                for guest in guests.values() {
                    guest.hindrance.send_if_modified(|known| {
                        let news = known.as_deref() != hindrance;
                        if news {
                            *known = hindrance.map(str::to_owned);
                        }
                        news
                    });
                }
            };
            let senders = guests.iter().map(|(from, guest)| (*from, guest.connections.clone())).collect();
            if let Some(door) = self.open.get_mut(&address) {
                door.guests = senders;
                tell_guests(None);
                continue;
            }
            let at = SocketAddr::new(address, self.port);
            let keys = keys(&guests);
            let signed = keys.iter().filter_map(|(from, key)| Some((*from, key.as_deref()?.as_bytes())));
            match listen_tcp(at, signed) {
                Ok(listener) => {
                    info!("routers may connect to {at}");
                    tell_guests(None);
                    self.open.insert(address, Door { listener, keys, guests: senders });
                }
                Err(error) => {
                    let problem = cannot_listen(at, &error);
                    tell_guests(Some(&problem));
                    self.tell(problem, &mut told);
                }
            }
        }
        self.told = told;
    }

    /// Says what hinders, where that is new.
    fn tell(&self, problem: String, told: &mut BTreeSet<String>) {
        if !self.told.contains(&problem) && !told.contains(&problem) {
            warn!("{problem}");
        }
        told.insert(problem);
    }

    /// Waits for the next connection: the address that it came to, and where it came from.
    async fn accept(&self) -> io::Result<(IpAddr, TcpStream, IpAddr)> {
        poll_fn(|context| {
            for (address, door) in &self.open {
                if let Poll::Ready(result) = door.listener.poll_accept(context) {
                    return Poll::Ready(result.map(|(stream, from)| (*address, stream, from.ip())));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Hands a connection to whom it is for.
    fn receive(&self, door: IpAddr, stream: TcpStream, from: IpAddr) {
        let guest = self.open.get(&door).and_then(|door| door.guests.get(&from.to_canonical()));
        let refused = match guest {
            Some(guest) => match guest.try_send(stream) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(stream) | mpsc::error::TrySendError::Closed(stream)) => {
                    stream
                }
            },
            None => stream,
        };
        debug!("a connection from {from} to {door} is broken off");
        // Nothing is kept of it: the other side is told at once, and no state waits for its answer.
        if let Err(error) = refused.set_zero_linger() {
            debug!("{error}");
        }
    }
}

fn cannot_listen(at: SocketAddr, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another BGP speaker runs on this node; end it, or let routers be passive"
        }
        io::ErrorKind::PermissionDenied => {
            "the speaker's container needs the capability NET_BIND_SERVICE for a port below 1024"
        }
        io::ErrorKind::AddrNotAvailable => {
            "it is no address of this node; check sourceAddress of the BGPPeer"
        }
        _ => "routers cannot connect to it until that is mended",
    };
    format!("cannot listen on {at}: {error}: {cure}")
}
