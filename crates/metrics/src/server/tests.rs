use std::path::PathBuf;

use futures::FutureExt;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::testing::{self, Server, prometheus};

/// A server on loopback, the API server that it asks, and the certificate that it has at first.
struct Setup {
    address: SocketAddr,
    api: Server,
    root: CertificateDer<'static>,
    task: JoinHandle<Infallible>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn setup_with(resolver: CertResolver) -> Setup {
    let (client, api) = testing::client();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let root = resolver.certificate().expect("the resolver has a certificate").chain()[0].clone();
    let metrics = Metrics::new();
    metrics.counter("test_requests", "For tests").inc_by(7);
    let config = TlsOptions::default().server_config(Arc::new(resolver)).expect("the defaults go together");
    let task = tokio::spawn(run(listener, config, metrics, client));
    Setup { address, api, root, task }
}

async fn setup() -> Setup {
    setup_with(Certificate::self_signed(SELF_SIGNED).expect("the names are fine").into()).await
}

async fn connect(address: SocketAddr, root: &CertificateDer<'static>) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("it is a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has suites of each version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Status line, headers and body of the answer to a request on a connection of its own.
async fn ask(address: SocketAddr, root: &CertificateDer<'static>, request: &str, headers: &[&str]) -> String {
    let mut stream = connect(address, root).await.expect("the server accepts");
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let text = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the server answers and closes");
    answer
}

impl Setup {
    async fn ask(&self, request: &str, headers: &[&str]) -> String {
        ask(self.address, &self.root, request, headers).await
    }
}

#[tokio::test]
async fn what_needs_no_token_is_refused_without_asking_the_api_server() {
    let setup = setup().await;
    for (request, headers, status, contained) in [
        ("GET /", vec![], "404 Not Found", "only /metrics is served here"),
        ("GET /metrics/", vec!["Authorization: Bearer t"], "404 Not Found", "only /metrics"),
        ("POST /metrics", vec!["Content-Length: 0"], "405 Method Not Allowed", "allow: GET, HEAD"),
        ("DELETE /metrics", vec!["Authorization: Bearer t"], "405 Method Not Allowed", "use GET"),
        ("GET /metrics", vec![], "401 Unauthorized", "www-authenticate: Bearer"),
        (
            "GET /metrics",
            vec!["Authorization: Basic dTpw"],
            "401 Unauthorized",
            "show the token of a service account",
        ),
        ("GET /metrics", vec!["Authorization: Bearer "], "401 Unauthorized", "show the token"),
        ("HEAD /metrics", vec![], "401 Unauthorized", "content-length: "),
        ("GET /metrics?token=t", vec![], "401 Unauthorized", "show the token"),
    ] {
        let answer = setup.ask(request, &headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        assert!(answer.contains(contained), "{request}: {answer}");
    }
}

#[tokio::test]
async fn whoever_may_gets_the_metrics_in_the_text_format_and_is_not_asked_about_again() {
    let mut setup = setup().await;
    let (address, root) = (setup.address, setup.root.clone());
    let token = ["Authorization: Bearer the-token"];
    let api = async {
        setup.api.token_is(prometheus()).await;
        setup.api.access_is(json!({"allowed": true})).await;
    };
    let (answer, ()) = futures::join!(ask(address, &root, "GET /metrics", &token), api);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\n# TYPE test_requests counter\ntest_requests 7\n"), "{answer}");
    for request in ["GET /metrics", "GET /metrics?x=1", "HEAD /metrics"] {
        let answer = setup.ask(request, &["authorization: bearer the-token"]).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(answer.contains("test_requests 7"), request.starts_with("GET"), "{answer}");
    }
}

#[tokio::test]
async fn whoever_may_not_is_told_why_and_what_to_do() {
    let mut setup = setup().await;
    let (address, root) = (setup.address, setup.root.clone());

    let stranger = ask(address, &root, "GET /metrics", &["Authorization: Bearer unknown"]);
    let (answer, ()) = futures::join!(stranger, setup.api.token_is(json!({"authenticated": false})));
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
    assert!(answer.contains("the API server does not accept the token"), "{answer}");

    let api = async {
        setup.api.token_is(prometheus()).await;
        setup.api.access_is(json!({"allowed": false})).await;
    };
    let known = ask(address, &root, "GET /metrics", &["Authorization: Bearer known"]);
    let (answer, ()) = futures::join!(known, api);
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    let text = "\"system:serviceaccount:monitoring:prometheus\" may not read the metrics: bind it to a ClusterRole with";
    assert!(answer.contains(text), "{answer}");

    let api = async { setup.api.asked().await.refuse(503) };
    let unlucky = ask(address, &root, "GET /metrics", &["Authorization: Bearer third"]);
    let (answer, ()) = futures::join!(unlucky, api);
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    let text = "the token cannot be checked now: the API server answered 503 to a creation of tokenreviews\n";
    assert!(answer.ends_with(text), "{answer}");
}

#[tokio::test]
async fn a_certificate_whose_files_change_is_shown_to_the_next_connection() {
    let folder = std::env::temp_dir().join(format!("metrics-certificate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let write_pair = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("the name is fine");
        std::fs::write(folder.join("tls.crt"), made.cert.pem()).expect("the folder is writable");
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem())
            .expect("the folder is writable");
        made.cert.der().clone()
    };
    let first = write_pair();
    let resolver = CertResolver::from_directory(&folder).await.expect("the pair is good");
    let mut served = resolver.subscribe();
    let setup = setup_with(resolver).await;
    connect(setup.address, &first).await.expect("the first certificate is shown");
    served.mark_unchanged();
    let second = write_pair();
    served.changed().await.expect("the resolver lives");
    connect(setup.address, &second).await.expect("the second certificate is shown");
    connect(setup.address, &first).await.expect_err("the first certificate is shown no more");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

fn options(port: u16, metrics_cert_dir: &str) -> MetricsOptions {
    MetricsOptions { port, metrics_cert_dir: metrics_cert_dir.into() }
}

async fn error(options: &MetricsOptions, tls: &TlsOptions) -> String {
    let (client, _api) = testing::client();
    serve(options, tls, Metrics::new(), client).await.expect_err("it cannot serve").to_string()
}

#[tokio::test]
async fn a_port_that_is_in_use_is_named_with_the_cure() {
    let other = listen(0).expect("there are free ports");
    let port = other.local_addr().expect("it is bound").port();
    let expected = format!(
        "failed to listen on port {port} for metrics: the port is in use; stop the program that has it (`ss -ltnp` names it), choose another with --port, or serve no metrics with --port=0"
    );
    assert_eq!(error(&options(port, ""), &TlsOptions::default()).await, expected);
}

#[tokio::test]
async fn a_folder_without_certificate_and_flags_that_contradict_are_errors() {
    let missing = PathBuf::from("/nonexistent/certificates");
    let text = error(&options(1, &missing.display().to_string()), &TlsOptions::default()).await;
    let expected = "--metrics-cert-dir: failed to read /nonexistent/certificates/tls.crt: ";
    assert!(text.starts_with(expected), "{text}");

    let suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".parse().expect("it is a suite");
    let tls = TlsOptions { cipher_suites: suites, ..TlsOptions::default() };
    let text = error(&options(9120, ""), &tls).await;
    assert!(text.starts_with("cipher suites cannot be configured with TLS 1.3; "), "{text}");
}

#[tokio::test]
async fn with_port_0_nothing_is_served_and_nothing_fails() {
    let (client, _api) = testing::client();
    let (options, tls) = (options(0, "/nonexistent"), TlsOptions::default());
    assert!(serve(&options, &tls, Metrics::new(), client).now_or_never().is_none());
}

#[tokio::test]
async fn both_families_are_listened_on() {
    let listener = listen(0).expect("there are free ports");
    let port = listener.local_addr().expect("it is bound").port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("IPv4 reaches it");
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.expect("IPv6 reaches it");
    }
}
