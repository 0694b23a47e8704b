//! `GET /metrics` over HTTPS.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use hyper::service::service_fn;
use kube::Client;
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tls::{CertResolver, Certificate, CertificateError, DirectoryError, Limits, TlsOptions, TlsOptionsError};
use tokio::net::TcpListener;
use tracing::info;

use crate::{Metrics, access::Access};

mod answer;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Enough for several Prometheus servers, and for nobody to be kept away by one host that opens all it can.
const LIMITS: Limits = Limits {
    connections: 64,
    per_peer: 16,
    handshake: Duration::from_secs(10),
    // A scraper that comes every minute keeps its connection.
    header: Duration::from_secs(75),
    header_bytes: 16 * 1024,
    write: Duration::from_secs(30),
};

/// Names in the certificate that vouches for itself. Its clients cannot verify it anyway.
const SELF_SIGNED: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

// Not a doc comment: clap would make it the description of the program that has these flags.
// Where the metrics are served, and with which certificate.
#[expect(missing_docs, reason = "a doc comment here becomes the text of --help")]
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct MetricsOptions {
    /// The port of the metrics, over HTTPS, for whoever may get /metrics by RBAC; 0 serves none
    #[arg(long, value_name = "PORT", default_value_t = 9120)]
    pub port: u16,
    /// A folder with the certificate tls.crt and the key tls.key of the metrics, read again when they change; by default
    /// a self-signed certificate
    #[arg(long, value_name = "FOLDER", default_value = "", hide_default_value = true)]
    pub metrics_cert_dir: String,
}

/// Why metrics are not served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another socket has the port.
    #[error(
        "failed to listen on port {port} for metrics: the port is in use; stop the program that has it (`ss -ltnp` names it), choose another with --port, or serve no metrics with --port=0"
    )]
    InUse {
        /// Where to listen.
        port: u16,
    },
    /// Any other refusal of the kernel.
    #[error(
        "failed to listen on port {port} for metrics: {source}; choose a port with --port that this user may open"
    )]
    Bind {
        /// Where to listen.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// The folder of `--metrics-cert-dir` gives no certificate.
    #[error("--metrics-cert-dir: {0}")]
    Directory(#[from] DirectoryError),
    /// No self-signed certificate could be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The `--tls-*` flags contradict each other.
    #[error(transparent)]
    Options(#[from] TlsOptionsError),
}

/// Serves the metrics to whoever may `get` the non-resource URL `/metrics`, on all addresses of the host. Ends only with
/// an error, and with port 0 waits for ever.
///
/// A client shows a bearer token; the API server says by TokenReview whose it is and by SubjectAccessReview what they
/// may. So this program must be allowed to create both (the ClusterRole `system:auth-delegator`).
///
/// Run it in a task of its own, or in a `select!` beside the program's work.
pub async fn serve(
    options: &MetricsOptions,
    tls: &TlsOptions,
    metrics: Metrics,
    client: Client,
) -> Result<Infallible, ServeError> {
    if options.port == 0 {
        return std::future::pending().await;
    }
    let resolver = match options.metrics_cert_dir.as_str() {
        "" => Certificate::self_signed(SELF_SIGNED)?.into(),
        folder => CertResolver::from_directory(Path::new(folder)).await?,
    };
    let config = tls.server_config(Arc::new(resolver))?;
    let listener = listen(options.port)?;
    info!(port = options.port, "metrics are served");
    Ok(run(listener, config, metrics, client).await)
}

async fn run(listener: TcpListener, config: ServerConfig, metrics: Metrics, client: Client) -> Infallible {
    let access = Access::new(client);
    let service = service_fn(move |request| {
        let (metrics, access) = (metrics.clone(), Arc::clone(&access));
        async move { Ok::<_, Infallible>(answer::answer(&request, &metrics, &access).await) }
    });
    tls::serve(listener, Arc::new(config), LIMITS, service).await
}

/// Listens on all addresses of both families, or of IPv4 where the host has no IPv6.
fn listen(port: u16) -> Result<TcpListener, ServeError> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let bound = bind(both).or_else(|error| match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => bind((Ipv4Addr::UNSPECIFIED, port).into()),
        _ => Err(error),
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse { port },
        _ => ServeError::Bind { port, source },
    })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests;
