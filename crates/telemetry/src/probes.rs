//! Answers for the kubelet: is the process alive, is it ready.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use thiserror::Error;
use tokio::net::TcpListener;

/// Why the probes are not answered.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another socket has the address.
    #[error(
        "failed to listen on {address} for probes: the port is in use; stop the program that has it (`ss -ltnp` names it) or choose another port"
    )]
    InUse {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Any other refusal of the kernel.
    #[error(
        "failed to listen on {address} for probes: {source}; choose an address of this host and a port that this user may open"
    )]
    Bind {
        /// Where to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The listening socket broke later on.
    #[error("failed to go on answering probes on {address}: {source}")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What the probes answer. Clones share one state.
///
/// `/healthz` says 200 while the process can answer at all; `/readyz` says 200 while it is ready, else 503 and why
/// not. Not ready at first.
#[derive(Debug, Clone)]
pub struct Probes {
    /// Why the process is not ready; `None` when it is.
    hindrance: Arc<RwLock<Option<String>>>,
}

impl Default for Probes {
    fn default() -> Self {
        Self { hindrance: Arc::new(RwLock::new(Some("starting".into()))) }
    }
}

impl Probes {
    /// Probes of a process that is starting and so not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether the process does its work.
    pub fn ready(&self, ready: bool) {
        self.set((!ready).then(|| "not ready".into()));
    }

    /// Says that the process does not do its work, and in a few words why ("waiting for the first list of nodes").
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    fn set(&self, hindrance: Option<String>) {
        *self.hindrance.write().unwrap_or_else(PoisonError::into_inner) = hindrance;
    }

    fn hindrance(&self) -> Option<String> {
        self.hindrance.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers `GET /healthz` and `GET /readyz` on `address` by HTTP. Ends only with an error.
    ///
    /// Run it in a task of its own, or in a `select!` beside the program's work.
    pub fn serve(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = Result<std::convert::Infallible, ServeError>> + Send + use<> {
        let router = self.router();
        async move {
            let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => ServeError::InUse { address },
                _ => ServeError::Bind { address, source },
            })?;
            answer(listener, router, address).await
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/readyz", get(readyz))
            .with_state(self.clone())
    }
}

async fn answer(
    listener: TcpListener,
    router: Router,
    address: SocketAddr,
) -> Result<std::convert::Infallible, ServeError> {
    let ended = axum::serve(listener, router).await;
    let source = ended.err().unwrap_or_else(|| io::Error::other("the listening socket was closed"));
    Err(ServeError::Serve { address, source })
}

async fn readyz(State(probes): State<Probes>) -> (StatusCode, String) {
    match probes.hindrance() {
        None => (StatusCode::OK, "ok".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

#[cfg(test)]
mod tests;
