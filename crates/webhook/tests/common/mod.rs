//! What the tests of the server share: authorities, a server on a port of its own, the API server's side.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tls::{CertResolver, Certificate};
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use webhook::{Decision, Limits, Routes, Server, ServerConfig};

pub(crate) const HOST: &str = "metallb-webhook-service.metallb-system.svc";

/// No step of a test takes this long.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A CA and a certificate of it.
pub(crate) struct Made {
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) certificate: Certificate,
}

pub(crate) fn made(name: &str) -> Made {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let authority = params.self_signed(&key).expect("a CA").der().clone();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate").pem();
    let key = key.serialize_pem();
    let certificate = Certificate::from_pem(leaf.as_bytes(), key.as_bytes()).expect("a pair");
    Made { authority, certificate }
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// One that stops at once when it is asked to.
    pub(crate) fn new(config: &ServerConfig, resolver: Arc<CertResolver>, routes: Routes) -> Self {
        Self::leaving(Duration::ZERO, config, resolver, routes)
    }

    /// One that takes its time to leave.
    pub(crate) fn leaving(
        leave: Duration,
        config: &ServerConfig,
        resolver: Arc<CertResolver>,
        routes: Routes,
    ) -> Self {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let config = ServerConfig { limits: Limits { leave, ..config.limits }, ..config.clone() };
        let server = Server::bind(address, &config, resolver).expect("a free port");
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(Arc::new(routes), async {
            stopped.await.ok();
        }));
        Self { address, stop, task }
    }

    pub(crate) fn begin_stop(self) -> JoinHandle<()> {
        self.stop.send(()).expect("the server runs");
        self.task
    }

    pub(crate) async fn stop(self) {
        timeout(LONG, self.begin_stop()).await.expect("it stops").expect("without a panic");
    }
}

/// Allows what has an even number in its name, and converts everything.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .review("/validate", async |request| {
            let number: u64 = request.name.parse().unwrap_or_default();
            if number.is_multiple_of(2) {
                Decision::allow()
            } else {
                Decision::deny(format!("{number} is odd")).warn("odd")
            }
        })
        .convert("/convert", |mut object, desired| {
            object["apiVersion"] = desired.into();
            Ok(object)
        })
}

pub(crate) fn review(uid: &str, name: &str) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid, "name": name, "namespace": "metallb-system", "operation": "CREATE",
            "kind": {"group": "metallb.io", "version": "v1beta1", "kind": "IPAddressPool"},
            "resource": {"group": "metallb.io", "version": "v1beta1", "resource": "ipaddresspools"},
            "userInfo": {}, "oldObject": null, "dryRun": false,
            "object": {
                "kind": "IPAddressPool", "apiVersion": "metallb.io/v1beta1", "metadata": {"name": name},
                "spec": {"addresses": ["192.0.2.0/24", "2001:db8::/120"]},
            },
        },
    })
}

/// A client's TLS, that trusts `authorities`.
pub(crate) fn trusting(authorities: &[CertificateDer<'static>], alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).expect("a CA");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config).into()
}

pub(crate) fn authorities(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().expect("a bundle in PEM")
}

pub(crate) async fn connect(
    address: SocketAddr,
    tls: &TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    tls.connect(ServerName::try_from(HOST).expect("a name"), stream).await
}

/// A connection for HTTP/1.1 or, if that was agreed, HTTP/2.
#[derive(Clone)]
pub(crate) enum Caller {
    Http1(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Caller {
    pub(crate) async fn new(address: SocketAddr, tls: &TlsConnector) -> std::io::Result<Self> {
        let stream = connect(address, tls).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(std::io::Error::other)?;
            tokio::spawn(async { connection.await.ok() });
            Ok(Self::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
            tokio::spawn(async { connection.await.ok() });
            Ok(Self::Http1(Arc::new(tokio::sync::Mutex::new(sender))))
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> hyper::Result<(StatusCode, Bytes)> {
        let request = Request::builder().method(method).header("host", HOST);
        let response = match self {
            Self::Http1(sender) => {
                let request = request.uri(path).body(Full::new(body)).expect("a request");
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                let uri = format!("https://{HOST}{path}");
                let request = request.uri(uri).body(Full::new(body)).expect("a request");
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends a review as the API server does and gives the response in the answer.
    pub(crate) async fn review(&self, uid: &str, name: &str) -> hyper::Result<Value> {
        let (status, body) =
            self.send(Method::POST, "/validate", review(uid, name).to_string().into()).await?;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        let mut answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["response"]["uid"], uid);
        Ok(answer["response"].take())
    }
}

/// Limits for tests that wait for their ends.
pub(crate) fn short() -> Limits {
    let moment = Duration::from_millis(300);
    Limits {
        handshake: moment,
        idle: moment,
        body_time: moment,
        body: 100_000,
        answer: moment,
        ..Limits::default()
    }
}
