use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

/// Status line and body of the answer to `GET path`.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("the probes listen");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the probes read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the probes answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer has a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

#[tokio::test]
async fn liveness_is_always_given_and_readiness_says_why_not() {
    let probes = Probes::new();
    let (listener, address) = listen().await;
    let task = tokio::spawn(answer(listener, probes.router(), address));

    assert_eq!(get(address, "/healthz").await, ("HTTP/1.1 200 OK".into(), "ok".into()));
    let unavailable = "HTTP/1.1 503 Service Unavailable";
    assert_eq!(get(address, "/readyz").await, (unavailable.into(), "starting".into()));
    probes.not_ready("waiting for the first list of nodes");
    let waiting = "waiting for the first list of nodes";
    assert_eq!(get(address, "/readyz").await, (unavailable.into(), waiting.into()));
    probes.clone().ready(true);
    assert_eq!(get(address, "/readyz").await, ("HTTP/1.1 200 OK".into(), "ok".into()));
    probes.ready(false);
    assert_eq!(get(address, "/readyz").await, (unavailable.into(), "not ready".into()));
    assert_eq!(get(address, "/healthz").await.0, "HTTP/1.1 200 OK");
    assert_eq!(get(address, "/").await.0, "HTTP/1.1 404 Not Found");
    task.abort();
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let (_listener, address) = listen().await;
    let error = Probes::new().serve(address).await.expect_err("the port is in use");
    assert_eq!(
        error.to_string(),
        format!(
            "failed to listen on {address} for probes: the port is in use; stop the program that has it (`ss -ltnp` names it) or choose another port"
        )
    );
}

#[tokio::test]
async fn an_address_of_another_host_is_named_with_what_to_do() {
    let address: SocketAddr = "192.0.2.1:7472".parse().expect("an address");
    let error = Probes::new().serve(address).await.expect_err("192.0.2.1 is not ours").to_string();
    assert!(error.starts_with("failed to listen on 192.0.2.1:7472 for probes: "), "{error}");
    assert!(
        error.ends_with("; choose an address of this host and a port that this user may open"),
        "{error}"
    );
}
