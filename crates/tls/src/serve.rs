//! Connections: accepted, secured, counted, and ended when they last too long.

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::HttpService,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{Id, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::impatient::Impatient;

/// How long to wait after an accept that failed because something of the host is used up (file descriptors,
/// memory): the kernel does not tell when there is some again.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Header lines that a request may have.
const HEADERS: usize = 64;

/// How much a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. Further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections at once from one IP address. Further ones are closed at once.
    pub per_peer: usize,
    /// The time for the TLS handshake.
    pub handshake: Duration,
    /// The time from the handshake, or from the answer before, to the end of a request's header: also how long a
    /// connection may rest between requests.
    pub header: Duration,
    /// The bytes of a request's header, at least 8192.
    pub header_bytes: usize,
    /// How long an answer may wait for a client that does not read.
    pub write: Duration,
}

/// Answers HTTP/1.1 over TLS on `listener`. Never ends; dropping the future closes all connections.
///
/// What goes wrong on a connection ends that connection alone, with a line at level debug: whoever can reach the port
/// can cause it.
pub async fn serve<S>(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    limits: Limits,
    service: S,
) -> Infallible
where
    S: HttpService<
            Incoming,
            ResBody: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
        >,
    S: Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connections = Connections::default();
    let acceptor = TlsAcceptor::from(config);
    loop {
        tokio::select! {
            // Places that became free are known before someone new is judged.
            biased;
            () = connections.one_ended() => {}
            accepted = listener.accept(), if connections.count() < limits.connections => match accepted {
                Ok((stream, peer)) if connections.of(peer) < limits.per_peer => {
                    connections.add(peer, connection(stream, peer, acceptor.clone(), limits, service.clone()));
                }
                Ok((_, peer)) => debug!(%peer, limit = limits.per_peer, "closed a connection: its peer has enough"),
                Err(error) if is_of_one_connection(&error) => debug!(%error, "a connection was gone when accepted"),
                Err(error) => {
                    warn!(%error, "cannot accept connections for now; check the limits of open files and memory");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }
}

/// Whether accept(2) tells of the connection that was to be accepted, not of the host.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection<S>(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, limits: Limits, service: S)
where
    S: HttpService<Incoming, ResBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Without it nothing fails, answers are only slower.
    stream.set_nodelay(true).ok();
    let stream = match timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%peer, %error, "a TLS handshake failed"),
        Err(_elapsed) => return debug!(%peer, "a TLS handshake took too long"),
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_headers(HEADERS)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(Impatient::new(stream, limits.write)), service)
        .await;
    if let Err(error) = served {
        debug!(%peer, %error, "a connection ended with an error");
    }
}

/// The connections that exist, and whose they are.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    peers: HashMap<Id, IpAddr>,
    per_peer: HashMap<IpAddr, usize>,
}

impl Connections {
    fn count(&self) -> usize {
        self.tasks.len()
    }

    fn of(&self, peer: SocketAddr) -> usize {
        self.per_peer.get(&peer.ip().to_canonical()).copied().unwrap_or(0)
    }

    fn add(&mut self, peer: SocketAddr, connection: impl Future<Output = ()> + Send + 'static) {
        let ip = peer.ip().to_canonical();
        *self.per_peer.entry(ip).or_default() += 1;
        self.peers.insert(self.tasks.spawn(connection).id(), ip);
    }

    /// Waits for the end of a connection; for ever where there is none.
    async fn one_ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(panicked)) => panicked.id(),
        };
        let Some(ip) = self.peers.remove(&id) else { return };
        let count = self.per_peer.get_mut(&ip).expect("a connection that exists is counted");
        *count -= 1;
        if *count == 0 {
            self.per_peer.remove(&ip);
        }
    }
}
