//! An HTTPS server that nobody can keep busy for nothing.
//!
//! ```text
//! accept ──slot──▶ handshake ──▶ HTTP/1.1 (HTTP/2 if asked) ──head──▶ Budget ──body──▶ Respond ──▶ answer
//!          Limits::connections   Limits::handshake              memory    Limits::body      Limits::answer
//! ```
//!
//! Every wait has an end and every buffer a bound; what exceeds one costs the connection that did it, nothing else.
//!
//! ```text
//! Serving ──stop──▶ Leaving ──Limits::leave──▶ Stopping ──answers taken, or Limits::stop──▶ the end
//!                   answers, and closes each     closes what is idle,
//!                   connection by its answer     and the port
//! ```

mod budget;
mod connection;
mod patience;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use rustls::server::NoServerSessionStorage;
use thiserror::Error;
use tls::{CertResolver, TlsOptions, TlsOptionsError};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use budget::Budget;
use connection::{Connection, Seldom, Stage};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// The pause after the kernel could not give us a connection, most likely for want of file descriptors.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// What answers requests.
pub trait Respond: Send + Sync + 'static {
    /// Answers a request whose body has arrived as a whole. Dropped when the client goes away.
    fn respond(&self, request: Request<Bytes>) -> impl Future<Output = Response<Bytes>> + Send;

    /// The answer to a request whose body is not worth reading.
    fn refuse(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        let (_, _) = (method, path);
        None
    }
}

/// An answer of plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}

/// How much a client may ask of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time; the next ones wait to be accepted.
    pub connections: usize,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// Until a request's head is complete, from the end of the one before. The API server closes connections that
    /// it has not used for 90 s; were this shorter, a review could meet a connection that is being closed, and be lost.
    pub idle: Duration,
    /// From a request's head to the end of its body.
    pub body_time: Duration,
    /// Bytes of a request's body. The API server takes objects of up to 3 MiB and sends two of them in one review,
    /// and all objects of a list in one conversion.
    pub body: u32,
    /// Until an answer is found. The API server gives up after at most 30 s.
    pub answer: Duration,
    /// Until a whole answer is taken by the client.
    pub take: Duration,
    /// After it was asked to stop the server goes on to answer for this long: until no API server chooses it any more
    /// for a new connection, and with every answer says that the connection ends, so that none sends a review to a
    /// connection that is just being closed.
    pub leave: Duration,
    /// After that it waits this long for the answers that are being worked on.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            body_time: Duration::from_secs(10),
            body: 16 << 20,
            answer: Duration::from_secs(30),
            take: Duration::from_secs(30),
            leave: Duration::from_secs(3),
            stop: Duration::from_secs(5),
        }
    }
}

/// How a server behaves.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// The `--tls-*` flags.
    pub tls: TlsOptions,
    /// `--webhook-http2`: HTTP/2 is offered beside 1.1.
    pub http2: bool,
    /// What clients may ask.
    pub limits: Limits,
}

/// Why there is no server.
#[derive(Debug, Error)]
pub enum BindError {
    /// The `--tls-*` flags contradict each other.
    #[error(transparent)]
    Tls(#[from] TlsOptionsError),
    /// Another socket has the address.
    #[error(
        "failed to listen on {address}: the port is in use; stop the program that has it (`ss -ltnp` names it) or choose another port"
    )]
    InUse {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Any other refusal of the kernel.
    #[error(
        "failed to listen on {address}: {source}; choose an address of this host and a port that this user may open"
    )]
    Refused {
        /// Where to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An HTTPS server that has its port.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    limits: Limits,
}

impl Server {
    /// Takes the port. Connections are accepted, and wait, from now on; [`serve`](Self::serve) answers them.
    pub fn bind(
        address: SocketAddr,
        config: &ServerConfig,
        certificate: Arc<CertResolver>,
    ) -> Result<Self, BindError> {
        let mut tls = config.tls.server_config(certificate)?;
        let protocols: &[&[u8]] = if config.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // The API server never resumes a session, and each handshake shall prove the certificate in force.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        let listen = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Refused { address, source },
        })?;
        Ok(Self { listener, address, acceptor: Arc::new(tls).into(), limits: config.limits })
    }

    /// Where it listens; with the port that the kernel chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` ends and for [`Limits::leave`] after it, then closes the port, and ends with the
    /// answers that are being worked on.
    pub async fn serve<R: Respond>(self, respond: Arc<R>, stop: impl Future<Output = ()>) {
        let Self { listener, acceptor, limits, .. } = self;
        let slots = Arc::new(Semaphore::new(limits.connections));
        let (stages, stage) = watch::channel(Stage::Serving);
        let budget = Arc::new(Budget::new(limits.body));
        let loud = Arc::new(Seldom::default());
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(async {
            stop.await;
            if !limits.leave.is_zero() {
                stages.send_replace(Stage::Leaving);
                sleep(limits.leave).await;
            }
        });
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                // Reaps tasks as they end, so that the set does not grow.
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, &slots) => accepted,
            };
            match accepted {
                Ok((stream, peer, slot)) => {
                    let connection = Connection {
                        peer,
                        limits,
                        respond: respond.clone(),
                        budget: budget.clone(),
                        loud: loud.clone(),
                        stage: stage.clone(),
                    };
                    let acceptor = acceptor.clone();
                    connections.spawn(async move {
                        connection.run(stream, acceptor).await;
                        drop(slot);
                    });
                }
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "no connection can be accepted; raise the limit of open files if this stays");
                    sleep(NO_DESCRIPTOR).await;
                }
            }
        }
        drop(listener);
        stages.send_replace(Stage::Stopping);
        let all_done = async { while connections.join_next().await.is_some() {} };
        if timeout(limits.stop, all_done).await.is_err() {
            warn!(connections = connections.len(), "stopping although not every answer was taken");
        }
    }
}

/// The next connection, with its slot.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// Whether the error is about a connection that is gone and says nothing about the next (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
