//! Connections over loopback: what is accepted, and what a hostile client can do.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tls::{CertResolver, Certificate, Limits, MinVersion, TlsOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;

/// Long enough for a busy machine, short enough for a test that fails.
const SOON: Duration = Duration::from_secs(20);

const LIMITS: Limits = Limits {
    connections: 100,
    per_peer: 100,
    handshake: SOON,
    header: SOON,
    header_bytes: 8192,
    write: SOON,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct Server {
    address: SocketAddr,
    certificate: Certificate,
    _task: AbortOnDropHandle<Infallible>,
}

/// Says `ok`, to `/panic` nothing, and to `/much` more than any buffer holds.
async fn service(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        "/panic" => panic!("a service that fails"),
        "/much" => Ok(Response::new(Full::new(vec![b'x'; 64 << 20].into()))),
        _ => Ok(Response::new(Full::new("ok".into()))),
    }
}

async fn server(options: &TlsOptions, limits: Limits) -> Server {
    let certificate = Certificate::self_signed(["localhost"]).expect("the name is fine");
    let resolver = Arc::new(CertResolver::from(certificate.clone()));
    let config = options.server_config(resolver).expect("the options go together");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(tls::serve(listener, Arc::new(config), limits, service_fn(service)));
    Server { address, certificate, _task: AbortOnDropHandle::new(task) }
}

impl Server {
    async fn connect_with(
        &self,
        version: &'static SupportedProtocolVersion,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.chain()[0].clone()).expect("it is a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("ring has suites of each version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("it is a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_with(&TLS13).await.expect("the server accepts TLS 1.3")
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server listens")
    }

    async fn answers(&self) {
        let mut stream = self.connect().await;
        assert_eq!(status(&mut stream, GET).await, "HTTP/1.1 200 OK");
    }
}

/// The first line of the answer.
async fn status(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> String {
    stream.write_all(request).await.expect("the server reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        answer.push(timeout(SOON, stream.read_u8()).await.expect("it answers soon").expect("it answers"));
    }
    String::from_utf8_lossy(&answer).trim().to_owned()
}

/// Waits until the server closes, however it does.
async fn is_closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let read = async {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    };
    timeout(SOON, read).await.expect("the server closes the connection");
}

#[tokio::test]
async fn tls_1_2_is_accepted_only_where_the_options_say_so() {
    let strict = server(&TlsOptions::default(), LIMITS).await;
    strict.connect_with(&TLS12).await.expect_err("TLS 1.2 is not accepted by default");
    strict.answers().await;
    let options = TlsOptions { min_version: MinVersion::Tls12, ..TlsOptions::default() };
    let lenient = server(&options, LIMITS).await;
    let mut stream = lenient.connect_with(&TLS12).await.expect("TLS 1.2 is accepted");
    assert_eq!(status(&mut stream, GET).await, "HTTP/1.1 200 OK");
    lenient.answers().await;
}

#[tokio::test]
async fn without_a_certificate_a_handshake_fails_and_with_one_the_next_succeeds() {
    let resolver = Arc::new(CertResolver::new());
    let config = TlsOptions::default().server_config(Arc::<CertResolver>::clone(&resolver));
    let config = config.expect("the defaults go together");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(tls::serve(listener, Arc::new(config), LIMITS, service_fn(service)));
    let certificate = Certificate::self_signed(["localhost"]).expect("the name is fine");
    let server = Server { address, certificate: certificate.clone(), _task: AbortOnDropHandle::new(task) };
    server.connect_with(&TLS13).await.expect_err("there is no certificate yet");
    resolver.set(certificate);
    server.answers().await;
}

#[tokio::test]
async fn what_is_no_tls_and_no_http_ends_its_own_connection_only() {
    let server = server(&TlsOptions::default(), LIMITS).await;
    let mut kept = server.connect().await;
    for nonsense in [GET, &[0; 1000], b"\x16\x03\x01\xff\xff", &[0xff; 10_000]] {
        let mut stream = server.raw().await;
        stream.write_all(nonsense).await.ok();
        stream.shutdown().await.ok();
        is_closed(&mut stream).await;
    }
    for (request, expected) in [
        (b"NO HTTP\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request"),
        (
            format!("GET / HTTP/1.1\r\nlong: {}\r\n\r\n", "x".repeat(9000)).into_bytes(),
            "HTTP/1.1 431 Request Header Fields Too Large",
        ),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100)).into_bytes(),
            "HTTP/1.1 431 Request Header Fields Too Large",
        ),
    ] {
        let mut stream = server.connect().await;
        assert_eq!(status(&mut stream, &request).await, expected);
        is_closed(&mut stream).await;
    }
    assert_eq!(status(&mut kept, GET).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_service_that_panics_takes_down_no_other_connection_and_its_place_is_free_again() {
    let server = server(&TlsOptions::default(), Limits { per_peer: 1, ..LIMITS }).await;
    for _ in 0..3 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the server reads");
        is_closed(&mut stream).await;
    }
    server.answers().await;
}

#[tokio::test]
async fn who_does_not_finish_a_handshake_a_header_or_reading_is_dropped() {
    let short = Duration::from_millis(100);
    let handshake = server(&TlsOptions::default(), Limits { handshake: short, ..LIMITS }).await;
    is_closed(&mut handshake.raw().await).await;

    let header = server(&TlsOptions::default(), Limits { header: short, ..LIMITS }).await;
    let mut silent = header.connect().await;
    is_closed(&mut silent).await;
    let mut slow = header.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\n").await.expect("the server reads");
    is_closed(&mut slow).await;
    let mut resting = header.connect().await;
    assert_eq!(status(&mut resting, GET).await, "HTTP/1.1 200 OK");
    is_closed(&mut resting).await;

    let limits = Limits { write: short, connections: 1, ..LIMITS };
    let write = server(&TlsOptions::default(), limits).await;
    let mut reader = write.connect().await;
    reader.write_all(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the server reads");
    // The only place is free again although this client neither reads nor closes.
    timeout(SOON, write.answers()).await.expect("the client that does not read is given up");
    drop(reader);
}

#[tokio::test]
async fn one_peer_gets_no_more_connections_than_its_share() {
    let server = server(&TlsOptions::default(), Limits { per_peer: 2, ..LIMITS }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    is_closed(&mut server.raw().await).await;
    assert_eq!(status(&mut first, GET).await, "HTTP/1.1 200 OK");
    assert_eq!(status(&mut second, GET).await, "HTTP/1.1 200 OK");
    for mut place in [first, second] {
        place.shutdown().await.expect("the server reads");
        is_closed(&mut place).await;
    }
    server.answers().await;
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_their_turn_and_none_is_lost() {
    let server = Arc::new(server(&TlsOptions::default(), Limits { connections: 4, ..LIMITS }).await);
    let clients: Vec<_> = (0..60)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.answers().await })
        })
        .collect();
    for client in clients {
        client.await.expect("every client is answered");
    }
}
