//! What clients that mean ill leave behind in the process: nothing. A test binary of its own, as it measures the whole
//! process, and so the clients' side of it too.

mod common;

use std::{fs, sync::Arc};

use bytes::Bytes;
use common::{Caller, LONG, Running, made, routes, short, trusting};
use futures::future::join_all;
use http::Method;
use tls::CertResolver;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use webhook::ServerConfig;

/// Rounds before the measurement: allocators and tables find their size in them.
const BEFORE: usize = 3;
/// Rounds that are measured.
const ROUNDS: usize = 20;
/// Clients of each sort in a round.
const CLIENTS: usize = 20;
/// Bytes that the process may grow by. In these rounds it is asked to take more than twenty times as much.
const SLACK: u64 = 16 << 20;

/// Bytes of memory that the process has, and its open files.
fn held() -> (u64, usize) {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of the size");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    (kilobytes << 10, fs::read_dir("/proc/self/fd").expect("Linux").count())
}

#[tokio::test]
async fn malformed_and_oversized_input_leaves_nothing_behind() {
    let made = made("CA");
    let tls = trusting(&[made.authority], &[b"http/1.1"]);
    let config = ServerConfig { limits: short(), ..ServerConfig::default() };
    let resolver = Arc::new(CertResolver::from(made.certificate));
    let server = Running::new(&config, resolver, routes());
    let address = server.address;

    let deep = Bytes::from("[".repeat(90_000));
    let large = Bytes::from(vec![b' '; 1 << 20]);
    let wrong = Bytes::from_static(b"{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\"}");
    let bodies = [deep, large, wrong];
    let mut before = held();
    for round in 0..BEFORE + ROUNDS {
        if round == BEFORE {
            before = held();
        }
        let reviews = bodies.iter().flat_map(|body| {
            let tls = &tls;
            (0..CLIENTS).map(move |_| async move {
                let caller = Caller::new(address, tls).await.expect("connected");
                // A body that is too large may be answered, and the connection closed, while it is still on its way.
                let answer = caller.send(Method::POST, "/validate", body.clone()).await;
                assert!(answer.is_err() || answer.is_ok_and(|(status, _)| status.is_client_error()));
            })
        });
        join_all(reviews).await;
        let handshakes = (0..CLIENTS).map(|number| async move {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            // The head of a ClientHello that announces more than comes, or noise.
            let bytes: &[u8] =
                if number % 2 == 0 { b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" } else { &[0xff; 5000] };
            // The server may have closed already.
            stream.write_all(bytes).await.ok();
            stream.shutdown().await.ok();
            let mut rest = Vec::new();
            timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the server closes in time").ok();
        });
        join_all(handshakes).await;
    }
    let caller = Caller::new(address, &tls).await.expect("connected");
    caller.review("u", "2").await.expect("it serves on");
    drop(caller);
    // Connections end a moment after their clients.
    let after = timeout(LONG, async {
        loop {
            let now = held();
            if now.1 <= before.1 {
                return now;
            }
            tokio::task::yield_now().await;
        }
    });
    let after = after.await.expect("every connection is closed");
    assert!(after.0 <= before.0 + SLACK, "{} bytes became {}", before.0, after.0);
    server.stop().await;
}
