//! One connection: the handshake, then one request after another.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{AlertDescription, Error as TlsError};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, warn};

use super::{Limits, Respond, budget::Budget, patience::Patience, text};

/// The head of a request takes at most this many bytes.
const HEAD: usize = 64 << 10;

/// Requests that a client may send over one HTTP/2 connection at a time.
const STREAMS: u32 = 250;

/// An HTTP/2 connection is asked after its client this often.
const PING: Duration = Duration::from_secs(30);

/// A complaint that was made is not made again for this long.
const SILENCE: Duration = Duration::from_secs(60);

/// Says when something may be told again.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether nothing was told for a while; if so, something is told now.
    fn may_speak(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= SILENCE);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It answers.
    Serving,
    /// It still answers, and every answer is the last one of its connection.
    Leaving,
    /// It answers what it has been asked.
    Stopping,
}

/// Everything that one connection needs.
pub(super) struct Connection<R> {
    pub(super) peer: SocketAddr,
    pub(super) limits: Limits,
    pub(super) respond: Arc<R>,
    pub(super) budget: Arc<Budget>,
    /// For complaints that any client could cause again and again.
    pub(super) loud: Arc<Seldom>,
    pub(super) stage: watch::Receiver<Stage>,
}

impl<R: Respond> Connection<R> {
    /// Serves until the client leaves, misbehaves or the server stops.
    pub(super) async fn run(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let peer = self.peer;
        // Without this, answers wait for acknowledgements. A socket that cannot be told works all the same.
        stream.set_nodelay(true).ok();
        let mut stage = self.stage.clone();
        let shaken = tokio::select! {
            shaken = timeout(self.limits.handshake, acceptor.accept(stream)) => shaken,
            _ = stage.wait_for(|stage| *stage == Stage::Stopping) => return,
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return explain(peer, &error, &self.loud),
            Err(_) => return debug!(%peer, "the TLS handshake took too long"),
        };
        if let Err(error) = self.http(stream, stage).await {
            debug!(%peer, %error, "a connection ended early");
        }
    }

    async fn http(
        self,
        stream: TlsStream<TcpStream>,
        mut stage: watch::Receiver<Stage>,
    ) -> hyper::Result<()> {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let limits = self.limits;
        let io = TokioIo::new(Patience::new(stream, limits.take));
        let this = Arc::new(self);
        let service = service_fn(move |request| {
            let this = this.clone();
            async move {
                let mut answer = this.answer(request).await;
                if !http2 && *this.stage.borrow() >= Stage::Leaving {
                    answer
                        .headers_mut()
                        .insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer.map(Full::new))
            }
        });
        // A connection of HTTP/2 can be told at once that it ends, as it answers what was under way nevertheless.
        let end = if http2 { Stage::Leaving } else { Stage::Stopping };
        // Two kinds of connection with the same two methods and no trait in common.
        macro_rules! drive {
            ($connection:expr) => {{
                let mut connection = std::pin::pin!($connection);
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    _ = stage.wait_for(|stage| *stage >= end) => connection.as_mut().graceful_shutdown(),
                }
                connection.await
            }};
        }
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
            builder.keep_alive_interval(PING).keep_alive_timeout(limits.handshake);
            builder.max_header_list_size(u32::try_from(HEAD).expect("a small number"));
            drive!(builder.serve_connection(io, service))
        } else {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(limits.idle);
            builder.max_header_size(HEAD);
            drive!(builder.serve_connection(io, service))
        }
    }

    /// Answers one request; a refusal to read its body ends the connection.
    async fn answer(&self, request: Request<Incoming>) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        if let Some(refusal) = self.respond.refuse(&head.method, head.uri.path()) {
            return refusal;
        }
        let limit = self.limits.body;
        let size = body.size_hint();
        if size.lower() > u64::from(limit) {
            return too_large(limit);
        }
        let arrived = timeout(self.limits.body_time, async {
            let room = self.budget.reserve(size.exact()).await;
            let limit = usize::try_from(limit).expect("addresses have at least 32 bits");
            (room, Limited::new(body, limit).collect().await)
        });
        let (room, body) = match arrived.await {
            Ok((room, Ok(body))) => (room, body.to_bytes()),
            Ok((_, Err(error))) if error.is::<LengthLimitError>() => return too_large(limit),
            Ok((_, Err(error))) => {
                return text(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}\n"));
            }
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
        };
        let answer = timeout(self.limits.answer, self.respond.respond(Request::from_parts(head, body))).await;
        drop(room);
        answer.unwrap_or_else(|_| text(StatusCode::GATEWAY_TIMEOUT, "no answer was found in time\n"))
    }
}

fn too_large(limit: u32) -> Response<Bytes> {
    let mut response = text(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than the {limit} bytes that are read\n"),
    );
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

/// Says why a handshake failed: loudly if it is the client who does not trust us, for then no review arrives.
fn explain(peer: SocketAddr, error: &std::io::Error, loud: &Seldom) {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    let fault = error.get_ref().and_then(|error| error.downcast_ref());
    let distrusts = matches!(
        fault,
        Some(TlsError::AlertReceived(UnknownCA | BadCertificate | CertificateUnknown | CertificateExpired))
    );
    if distrusts && loud.may_speak() {
        warn!(%peer, %error, "a client does not trust the certificate of this server; if it is the API server, compare the caBundle of the webhook configuration with the CA that issued the certificate");
    } else {
        debug!(%peer, %error, "a TLS handshake failed");
    }
}
